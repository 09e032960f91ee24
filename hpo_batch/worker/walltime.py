"""Whether a trial fits into the time that is left, and the words for it if it does not.

What it needs is predicted from trials that have finished: to its end, if no trial was seen to save a checkpoint; else
to its first report, after which it can save one. With nothing to go by, a trial is begun while more than the lead is
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

MARGIN: Final = 1.1
"""on the upper quartile"""
LOOKED_AT: Final = 8
"""trials whose files are read for the time of their first report"""

NParams = Callable[[Mapping[str, Value]], int]


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a trial needs."""

    seconds: float
    what: str
    """in words, for the log"""


class Fits:
    """Asked by ``Study.claim`` for each configuration, inside the journal's lock; ``look`` comes before, outside."""

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
        """why the last configuration that was refused does not fit"""

    def look(self, *, saves: bool) -> None:
        """Read what is known before a claim.

        Args:
            saves: whether this worker has seen a trial save a checkpoint.
        """
        self.refusal = ""
        if self._place.deadline is None:
            return
        self._took = self._study.newest_durations()
        self._saves = saves or self._saves or self._study.has_saved()
        if self._saves:
            seen = (durations.first_report_s(self._study.home, one) for one in self._took[:LOOKED_AT])
            self._first_s = tuple(seconds for seconds in seen if seconds is not None)

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
        """What a trial with this configuration needs to leave something behind; None if nothing is known."""
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
        """Whether no worker would ever have more time than this one has now: a prediction alone fails no trial."""
        return need.seconds > self._place.whole_s and self._place.is_fresh(now)

    def _size(self, values: Mapping[str, Value]) -> float | None:
        assert self._n_params is not None
        key = hash(tuple(sorted((name, repr(value)) for name, value in values.items())))
        if key not in self._sizes:
            try:
                self._sizes[key] = float(self._n_params(values))
            except Exception as error:  # the user's code; claim tells of it where a constraint needs it
                log.warning("[objective] n_params: %s: %s", type(error).__name__, error)
                self._sizes[key] = None
        return self._sizes[key]
