"""The worker's side of a running trial: takes its reports and tells it when to stop."""

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

# seconds between looks for the marker of `hpo-batch cancel`; each is one stat on the file server
MARKERS_EVERY_S = 2.0
# seconds between runs of chmod over a running trial's files in a shared study
SHARE_EVERY_S = 30.0


class WorkerEngine:
    """The ``Engine`` of a worker's trials."""

    def __init__(self, context: WorkerContext, claim: Claim, pulse: Pulse | None) -> None:
        self._context, self._study, self._claim, self._pulse = context, context.study, claim, pulse
        self.wanted = Wanted.parse(self._study.sweep.study.metric, self._study.sweep.metrics)
        self.lock = threading.Lock()
        """protects the study, which the watchdog's thread uses too"""
        self._looked = time.time()
        """last look for markers; the claim has just done one"""
        self._shared = time.monotonic()
        self._began = time.monotonic()
        self.first_report_s: float | None = None
        """seconds from the attempt's start to its first report"""

    def take_report(self, step: int, metrics: Mapping[str, float]) -> Verdict:
        if self.first_report_s is None:
            self.first_report_s = round(time.monotonic() - self._began, 3)
        if self._study.sweep.study.shared and time.monotonic() - self._shared > SHARE_EVERY_S:
            self._shared = time.monotonic()
            # while it runs: a killed attempt cannot open its checkpoint to the colleague who resumes it
            open_to_group(self._study.home, self._claim)
        with self.lock:
            if self._pulse is not None:
                self._pulse.beat()
            # computed metrics too, since a pruner may use one
            return self._study.reports.add(self._claim, step, self.wanted.complete(metrics))

    def seed_is_done(self) -> None:
        """Write the pending reports of a trial's first seed, which is not run again."""
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
        """What a signal means: scancel and preemption both send SIGTERM, and some sites preempt with SIGUSR2.

        SLURM sends the job's own ``--signal`` on preemption with PreemptParameters=send_user_signal:
        https://slurm.schedmd.com/slurm.conf.html
        """
        if received is Stopping.PREEMPTED and self._study.home.is_marked(Marker.CANCELLED):
            return Stopping.CANCELLED
        warned = self._context.signals.warned
        if received is Stopping.TIME_LIMIT and warned is not None and self._context.place.is_far(warned):
            return Stopping.PREEMPTED
        return received


def open_to_group(home: StudyHome, claim: Claim) -> None:
    """Give the group access to files that the user's code created; errors must not fail the trial."""
    with contextlib.suppress(OSError, RecursionError):
        sharing.open_to_group(home.attempt(claim.number, claim.attempt), below=home.path)
