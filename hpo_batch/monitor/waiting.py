"""Decide whether to keep waiting for a study's workers, and what to report meanwhile, from its status alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from hpo_batch.monitor.snapshot import UNSEEN
from hpo_batch.monitor.status import StudyStatus
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.tasks import Outlook, TaskState

# answers in a row without a submission's jobs before they count as gone; one empty answer of squeue may be wrong
LOOKS: Final = 3
# seconds between those
AGAIN_S: Final = 10.0


@dataclass(kw_only=True)
class Patience:
    """Observations while waiting; a single answer of squeue without our jobs proves nothing."""

    empty: int = 0
    told: set[str] = field(default_factory=set)

    def goes_on(self, statuses: Sequence[StudyStatus]) -> bool:
        """Whether to wait on: somebody works or will, or may do so unseen, or is held and may be released."""
        if any(_is_there(status) for status in statuses):
            self.empty = 0
            return True
        if any(status.is_hidden and status.counts.remaining for status in statuses):
            self.empty += 1
            return self.empty < LOOKS
        return False

    def news(self, statuses: Sequence[StudyStatus]) -> list[str]:
        """Why tasks do not work, each said once."""
        lines = [f"{status.name}: {line}" for status in statuses for line in why_not_working(status)]
        fresh = [line for line in lines if line not in self.told]
        self.told.update(fresh)
        return fresh


def why_not_working(status: StudyStatus) -> list[str]:
    """Tasks that wait and will not start, by reason."""
    pending = [w for w in status.workers if w.state == TaskState.PENDING.value]
    waiting = [w for w in pending if BATCH.explain(w.reason).outlook is not Outlook.STARTS]
    reasons = Counter((worker.reason, worker.gloss) for worker in waiting)
    return [
        f"{count} array task{'s' if count > 1 else ''} will not start: {reason}{f' ({gloss})' if gloss else ''}"
        for (reason, gloss), count in reasons.most_common()
    ]


def stuck_for(status: StudyStatus) -> str:
    """What must be changed before more workers help; empty if nothing."""
    stuck = [w.reason for w in status.workers if w.state == TaskState.PENDING.value and _is_stuck(w.reason)]
    return " and ".join(dict.fromkeys(BATCH.explain(reason).to_change for reason in stuck))


def _is_there(status: StudyStatus) -> bool:
    if status.slurm == UNSEEN and status.counts.remaining:
        return True
    # wait for ending workers too, so that their last trials are in the table
    return any(w.live and not (w.state == TaskState.PENDING.value and _is_stuck(w.reason)) for w in status.workers)


def _is_stuck(reason: str) -> bool:
    return BATCH.explain(reason).outlook is Outlook.NEVER
