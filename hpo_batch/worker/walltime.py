"""Decide whether a trial fits into the remaining time, and explain if it does not.

The estimate comes from finished trials: the time to the end if trials save no checkpoints, otherwise the time to the
first report, after which a trial can save one. Without finished trials, a trial starts while more than the lead is
left.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hpo_batch.records import Configuration, Value
from hpo_batch.store import durations
from hpo_batch.sweep.walltime import format_walltime
from hpo_batch.worker.resources import Place

if TYPE_CHECKING:  # it brings Optuna and NumPy, which read their number of threads when they are imported
    from hpo_batch.study.study import Study

log = logging.getLogger(__name__)

# safety factor on the upper quartile
MARGIN: Final = 1.1
# number of trials whose files are read for the time of their first report
LOOKED_AT: Final = 8

NParams = Callable[[Mapping[str, Value]], int]


@dataclass(frozen=True, kw_only=True)
class Need:
    """The time that a trial needs."""

    seconds: float
    what: str
    """explanation for the log"""


class Fits:
    """Called by ``Study.claim`` for each configuration, under the journal's lock; ``look`` is called before that."""

    def __init__(
        self,
        study: Study,
        place: Place,
        *,
        n_params: NParams | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._study = study
        self._place = place
        self._n_params = n_params
        self._clock = clock
        self._took: tuple[durations.Took, ...] = ()
        self._saves = False
        self._first_s: tuple[float, ...] = ()
        self._sizes: dict[int, float | None] = {}
        self.refusal = ""
        """why the last rejected configuration does not fit"""

    def look(self, *, saves: bool) -> None:
        """Read the durations of finished trials before a claim.

        Args:
            saves: whether this worker has seen a trial save a checkpoint.
        """
        self.refusal = ""
        if self._place.deadline is None:
            return
        self._took = self._study.newest_durations()
        self._saves = saves or self._saves or self._study.has_saved()
        if self._saves:
            times = (durations.first_report_s(self._study.home, one) for one in self._took[:LOOKED_AT])
            self._first_s = tuple(seconds for seconds in times if seconds is not None)

    def __call__(self, configuration: Configuration) -> bool:
        if self._place.deadline is None:
            return True
        now = self._clock()
        left = self._place.deadline - now
        usable = left - self._place.lead_s
        need = self.need(configuration)
        if usable > 0 and (need is None or need.seconds <= usable or self._is_best_chance(need, now)):
            return True
        shown = format_walltime(max(0.0, left))
        if need is None or usable <= 0:
            self.refusal = f"{shown} left, and a trial is asked to stop {format_walltime(self._place.lead_s)} before"
        else:
            self.refusal = f"{shown} left, {need.what}"
        return False

    def need(self, configuration: Configuration) -> Need | None:
        """The time that a trial with this configuration needs to leave a result or a checkpoint; None if unknown."""
        if self._saves and self._first_s:
            seconds, of = durations.upper_quartile(self._first_s), len(self._first_s)
            what = f"a trial takes about {format_walltime(math.ceil(seconds))} to its first report (p75 of {of})"
            return Need(seconds=seconds * MARGIN, what=what)
        if self._saves:
            return None
        size_of = None if self._n_params is None else self._size
        prediction = durations.predict(self._took, configuration.values, size_of=size_of)
        if prediction is None:
            return None
        seconds = prediction.seconds
        what = f"a trial like this takes about {format_walltime(math.ceil(seconds))} (p75 of {prediction.of})"
        return Need(seconds=seconds * MARGIN, what=what)

    def _is_best_chance(self, need: Need, now: float) -> bool:
        """Whether no worker could ever have more time; a prediction alone must not keep a trial from running."""
        return need.seconds > self._place.whole_s and self._place.is_fresh(now)

    def _size(self, values: Mapping[str, Value]) -> float | None:
        assert self._n_params is not None
        key = hash(tuple(sorted((name, repr(value)) for name, value in values.items())))
        if key not in self._sizes:
            try:
                self._sizes[key] = float(self._n_params(values))
            except Exception as error:  # the user's code may raise anything; the claim fails if a constraint needs it
                log.warning("[objective] n_params: %s: %s", type(error).__name__, error)
                self._sizes[key] = None
        return self._sizes[key]
