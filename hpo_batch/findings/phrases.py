"""Numbers and counts as the sentences have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from hpo_batch.findings.model.parameter import value_text
from hpo_batch.findings.records import StudyFindings
from hpo_batch.records import Value
from hpo_batch.text.numbers import label

MOST_NUMBERS: Final = 8
"""numbers of trials in a sentence"""


def some(numbers: Sequence[int]) -> str:
    """Numbers of trials, of which a sentence bears only so many."""
    more = len(numbers) - MOST_NUMBERS
    return ", ".join(map(str, numbers[:MOST_NUMBERS])) + (f" and {more} more" if more > 0 else "")


def claims(family: int) -> str:
    return f"{family} claim{'' if family == 1 else 's'}"


def p_text(p: float | None) -> str:
    if p is None:
        return "p unknown"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


def short_value(value: Value) -> str:
    """A parameter's value with the digits that a reader needs."""
    return f"{value:.4g}" if isinstance(value, float) else value_text(value)


def fixed(value: float | None) -> str:
    """Of the metric: four digits after the point."""
    return "-" if value is None else f"{value:.4f}"


def metric_title(study: StudyFindings) -> str:
    """The metric with what is good, as axes and titles have it."""
    return f"{study.metric} ({'higher' if study.direction == 'maximize' else 'lower'} is better)"


def configuration_text(values: Mapping[str, Value | None]) -> str:
    """``lr = 0.001, width = 64``."""
    return ", ".join(f"{name} = {label(value)}" for name, value in values.items())
