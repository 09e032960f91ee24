"""What a running trial asks of its worker: reports go to the study, reasons to stop come from everywhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping

from hpo_batch.objective.metrics import Wanted
from hpo_batch.records import Claim, Stopping, Verdict
from hpo_batch.store import sharing
from hpo_batch.store.home import Marker, StudyHome
from hpo_batch.worker.context import WorkerContext
from hpo_batch.worker.watchdog import Pulse

MARKERS_EVERY_S = 2.0
"""how often a running trial looks for the markers of cancel"""
SHARE_EVERY_S = 30.0
"""how often the files of a running trial are opened to the group of a shared study"""


class WorkerEngine:
    """The ``Engine`` of a worker's trials."""

    def __init__(self, context: WorkerContext, claim: Claim, pulse: Pulse | None) -> None:
        self._context, self._study, self._claim, self._pulse = context, context.study, claim, pulse
        self.wanted = Wanted.parse(self._study.sweep.study.metric, self._study.sweep.metrics)
        self.lock = threading.Lock()
        """of the study, which the watchdog uses too"""
        self._looked = time.time()
        """for markers: the claim has just done so"""
        self._shared = time.monotonic()

    def take_report(self, step: int, metrics: Mapping[str, float]) -> Verdict:
        if self._study.sweep.study.shared and time.monotonic() - self._shared > SHARE_EVERY_S:
            self._shared = time.monotonic()
            # now, since a killed attempt can open its checkpoint to nobody, and a colleague may go on from it
            open_to_group(self._study.home, self._claim)
        with self.lock:
            if self._pulse is not None:
                self._pulse.beat()
            # a pruner may look at a computed metric: it is computed from what this step reported
            return self._study.reports.add(self._claim, step, self.wanted.complete(metrics))

    def seed_is_done(self) -> None:
        """The first seed of a trial has a result: it is not run again, whatever happens to the others."""
        with self.lock:
            self._study.reports.write(self._claim)

    def stopping(self) -> Stopping | None:
        received = self._context.signals.why(self._context.place.is_warned)
        if received is not None:
            return self._why_signalled(received)
        if self._pulse is not None and self._pulse.silent_s() > self._pulse.stall_s:
            return Stopping.STALLED
        now = time.time()
        if self._context.place.is_near(now):
            return Stopping.TIME_LIMIT
        if now - self._looked > MARKERS_EVERY_S:
            self._looked = now
            if self._study.home.is_marked(Marker.CANCELLED):
                return Stopping.CANCELLED
        return None

    def _why_signalled(self, received: Stopping) -> Stopping:
        """What a signal means here: scancel sends the same as preemption, and some sites preempt by SIGUSR2."""
        if received is Stopping.PREEMPTED and self._study.home.is_marked(Marker.CANCELLED):
            return Stopping.CANCELLED
        warned = self._context.signals.warned
        if received is Stopping.TIME_LIMIT and warned is not None and self._context.place.is_far(warned):
            return Stopping.PREEMPTED
        return received


def open_to_group(home: StudyHome, claim: Claim) -> None:
    """What the user's code has made, whatever mode it chose; what cannot be opened fails no trial."""
    with contextlib.suppress(OSError, RecursionError):
        sharing.open_to_group(home.attempt(claim.number, claim.attempt), below=home.path)
