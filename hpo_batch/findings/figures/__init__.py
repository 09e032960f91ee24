"""The figures of a report: each a few panels with a caption and words for those who cannot see it."""

from __future__ import annotations

from hpo_batch.document.drawing import Figure
from hpo_batch.findings.figures.parameters import FOUND, coverage, effects, importance
from hpo_batch.findings.figures.studies import budgets, gpu_hours, shares
from hpo_batch.findings.figures.trials import curves, history, parallel, slices

__all__ = [
    "FOUND",
    "Figure",
    "budgets",
    "coverage",
    "curves",
    "effects",
    "gpu_hours",
    "history",
    "importance",
    "parallel",
    "shares",
    "slices",
]
