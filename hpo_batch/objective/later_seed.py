"""``LaterSeed``: the ``Trial`` of a seed behind the first. What the seeds report goes into one file together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo_batch.objective.trial import Trial
from hpo_batch.store.attempt_folder import SEEDS_METRICS_FILE


class LaterSeed(Trial):
    """A trial that keeps its reports in a file of the attempt, not in its own folder."""

    def __init__(self, *, which: int, attempt_dir: Path, **facts: Any) -> None:
        """``which``: the seed's place, counted from 1. ``facts``: as ``Trial`` takes them."""
        super().__init__(**facts)
        self._which = which
        self._attempt_dir = attempt_dir

    @property
    def metrics_file(self) -> Path:
        return self._attempt_dir / SEEDS_METRICS_FILE

    def _record(self, values: Mapping[str, float]) -> dict[str, Any]:
        return {"seed": self._which, **super()._record(values)}
