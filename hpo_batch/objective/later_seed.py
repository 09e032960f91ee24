"""``LaterSeed``: the ``Trial`` of a seed behind the first. What the seeds report goes into one file together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo_batch.objective.trial import Engine, Trial, TrialContext
from hpo_batch.store.attempt_folder import SEEDS_METRICS_FILE


class LaterSeed(Trial):
    """A trial that keeps its reports in a file of the attempt, not in its own folder."""

    def __init__(self, context: TrialContext, engine: Engine, *, index: int, attempt_dir: Path) -> None:
        """``index``: of the seed, counted from 1."""
        super().__init__(context, engine)
        self._index = index
        self._attempt_dir = attempt_dir

    @property
    def metrics_file(self) -> Path:
        return self._attempt_dir / SEEDS_METRICS_FILE

    def _record(self, values: Mapping[str, float]) -> dict[str, Any]:
        return {"seed": self._index, **super()._record(values)}
