"""Wait for the workers of studies, and say meanwhile why some do not start."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from hpo_batch.monitor.reader import StudyReader
from hpo_batch.monitor.snapshot import UNSEEN
from hpo_batch.monitor.status import ASK_SLURM_EVERY_S, StudyStatus, View
from hpo_batch.records import Counts
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.tasks import Outlook, TaskState
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import read_submissions

# seconds between looks at journals and local processes; a progress bar should not lag
LOOK_EVERY_S = 0.5
# answers in a row without a submission's jobs before they count as gone: a single one may be incomplete, because
# slurmctld was restarting or because the job was just being submitted
LOOKS: Final = 3
# seconds between those
AGAIN_S: Final = 10.0


def wait_for_workers(homes: Sequence[StudyHome], *, tell: Callable[[str], None]) -> Iterator[list[Counts]]:
    """Wait until the workers of all studies have ended; yields the counts of trials every ``LOOK_EVERY_S``.

    SLURM is asked at most every ``ASK_SLURM_EVERY_S``. The wait also ends when no trial is left or running, since the
    workers are about to exit then.

    Args:
        tell: called with why tasks do not start.
    """
    view, readers = View(homes), [StudyReader(home) for home in homes]
    asked, is_waiting, patience = float("-inf"), True, Patience()
    while is_waiting:
        is_batch = any(s.is_batch for home in homes for s in read_submissions(home))
        if is_batch and time.monotonic() - asked < (AGAIN_S if patience.empty else ASK_SLURM_EVERY_S):
            counts = [reader.read().counts() for reader in readers]
            is_waiting = any(c.remaining or c.running for c in counts)
        else:
            statuses = view.look()
            for line in patience.news(statuses):
                tell(line)
            is_waiting, asked = patience.goes_on(statuses), time.monotonic()
            counts = [reader.read().counts() for reader in readers]
        yield counts
        if is_waiting:
            time.sleep(LOOK_EVERY_S)


class Patience(Struct, kw_only=True):
    """What was observed while waiting."""

    empty: int = 0
    told: set[str] = set()

    def goes_on(self, statuses: Sequence[StudyStatus]) -> bool:
        """Whether to keep waiting: a worker runs, will run, may run unseen, or is held and may be released."""
        if any(_is_there(status) for status in statuses):
            self.empty = 0
            return True
        if any(status.is_hidden and status.counts.remaining for status in statuses):
            self.empty += 1
            return self.empty < LOOKS
        return False

    def news(self, statuses: Sequence[StudyStatus]) -> list[str]:
        """Why tasks do not start, each reason once."""
        lines = [f"{status.name}: {line}" for status in statuses for line in why_not_working(status)]
        fresh = [line for line in lines if line not in self.told]
        self.told.update(fresh)
        return fresh


def why_not_working(status: StudyStatus) -> list[str]:
    """Pending tasks that will not start, by reason."""
    pending = [w for w in status.workers if w.state == TaskState.PENDING.value]
    waiting = [w for w in pending if BATCH.explain(w.reason).outlook is not Outlook.STARTS]
    reasons = Counter((worker.reason, worker.gloss) for worker in waiting)
    return [
        f"{count} array task{'s' if count > 1 else ''} will not start: {reason}{f' ({gloss})' if gloss else ''}"
        for (reason, gloss), count in reasons.most_common()
    ]


def stuck_for(status: StudyStatus) -> str:
    """The keys to change before more workers help; empty if there are none."""
    stuck = [w.reason for w in status.workers if w.state == TaskState.PENDING.value and _is_stuck(w.reason)]
    return " and ".join(dict.fromkeys(BATCH.explain(reason).to_change for reason in stuck))


def _is_there(status: StudyStatus) -> bool:
    if status.slurm == UNSEEN and status.counts.remaining:
        return True
    # wait for ending workers too, so that their last trials are in the table
    return any(w.live and not (w.state == TaskState.PENDING.value and _is_stuck(w.reason)) for w in status.workers)


def _is_stuck(reason: str) -> bool:
    return BATCH.explain(reason).outlook is Outlook.NEVER
