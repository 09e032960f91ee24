"""``LaterSeed``: the ``Trial`` of a seed behind the first. What the seeds report goes into one file together."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo_batch.files import append_json_line
from hpo_batch.objective.trial import Trial
from hpo_batch.store.trial_folder import METRICS_FILE, SEEDS_METRICS_FILE

log = logging.getLogger(__name__)


class LaterSeed(Trial):
    """A trial that keeps its reports in a file of the attempt, not in its own folder."""

    def __init__(self, *, which: int, attempt_dir: Path, **facts: Any) -> None:
        """``which``: the seed's place, counted from 1. ``facts``: as ``Trial`` takes them."""
        super().__init__(**facts)
        self._which = which
        self.metrics_file = attempt_dir / SEEDS_METRICS_FILE

    def _write(self, values: Mapping[str, float]) -> None:
        if not self._can_write:
            return
        now = round(time.time(), 3)
        record = {"seed": self._which, "step": self._step, "time": now, "metrics": dict(values)}
        try:
            append_json_line(self.metrics_file, record, sync=False)
        except OSError as error:
            self._can_write = False
            log.warning("trial %d: no metrics are kept in '%s': %s", self.number, self.metrics_file, error)


def metrics_file(trial: Trial) -> Path:
    """Where the reports of a trial, or of one of its seeds, are kept."""
    return trial.metrics_file if isinstance(trial, LaterSeed) else trial.dir / METRICS_FILE
