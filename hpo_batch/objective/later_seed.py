"""``LaterSeed``: the ``Trial`` for all seeds but the first, which write their reports to one shared file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo_batch.objective.trial import Engine, Trial, TrialContext
from hpo_batch.store.attempt_folder import SEEDS_METRICS_FILE


class LaterSeed(Trial):
    """A trial that writes its reports to a file of the attempt instead of its own folder."""

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
