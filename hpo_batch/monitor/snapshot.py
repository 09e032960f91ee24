"""A snapshot of a study: its journal, submissions and workers, and what could not be checked.

All facts are read here, once; ``status`` and others derive their views from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from hpo_batch.journal.attempt_intervals import Span
from hpo_batch.journal.state import JournalState
from hpo_batch.monitor.queue import Answer
from hpo_batch.monitor.reader import StudyHistory
from hpo_batch.monitor.workers import Workers, WorkerStatus, find_workers
from hpo_batch.store.frozen import read_frozen, setting
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission

ANSWERED: Final = "answered"
UNSEEN: Final = "unseen"
NOT_ASKED: Final = "not asked"
# default of ``[study] lease_s``, if the frozen sweep cannot be read
LEASE_S: Final = 60.0


class Snapshot(Struct, frozen=True, kw_only=True):
    """One study at one moment."""

    home: StudyHome
    now: float
    """seconds since the epoch"""
    state: JournalState
    frozen: Mapping[str, Any] | None
    """the sweep as frozen in the study; None if it cannot be read"""
    submissions: Sequence[Submission]
    queue: Answer
    spans: Sequence[Span]
    """all attempts"""
    workers: Workers
    slurm: str
    """``answered``, ``unseen``, or ``not asked`` where no array was submitted"""
    unseen: tuple[str, ...]
    """what could not be checked, and why"""

    @property
    def live(self) -> tuple[WorkerStatus, ...]:
        return tuple(worker for worker in self.workers.there if worker.live)


def take(study: StudyHistory, submissions: Sequence[Submission], queue: Answer, *, now: float) -> Snapshot:
    """Take a snapshot of a study.

    Raises:
        StorageError: its journal cannot be read.
    """
    home, state = study.home, study.read()
    unseen: list[str] = []
    frozen = read_frozen(home, state.revision)
    if frozen is None and state.revision:
        unseen.append(f"the frozen sweep '{home.revision(state.revision)}' cannot be read")
    spans = study.spans()
    workers = find_workers(
        home.workers,
        state,
        submissions,
        queue,
        lease_s=float(setting(frozen, "study", "lease_s", LEASE_S)),
        began=lambda job: max((span.started for span in spans if span.job == job), default=None),
        now=now,
    )
    slurm = NOT_ASKED
    if any(s.is_batch and not s.refused for s in submissions):
        slurm = UNSEEN if queue.unseen else ANSWERED
        unseen += [queue.unseen] if queue.unseen else []
    return Snapshot(
        home=home,
        now=now,
        state=state,
        frozen=frozen,
        submissions=submissions,
        queue=queue,
        spans=spans,
        workers=workers,
        slurm=slurm,
        unseen=(*unseen, *workers.unseen, *_gone_folders(home, submissions)),
    )


def _gone_folders(home: StudyHome, submissions: Iterable[Submission]) -> list[str]:
    """Missing folders that must have existed: somebody has removed them."""
    kinds = {s.kind for s in submissions if s.job_ids}
    wanted = [(home.slurm, "logs of array tasks")] if kinds - {"local"} else []
    wanted += [(home.path / "local", "logs of local workers")] if "local" in kinds else []
    wanted += [(home.path / "trials", "output of trials")]
    return [f"{what}: '{folder}' is not there" for folder, what in wanted if not folder.is_dir()]
