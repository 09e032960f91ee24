"""The study as a worker sees it: claim, report, tell, give back. Nothing else may be done to a journal by a worker.

Each call is one transaction at most. A claim belongs to whoever's token stands in the journal: an attempt that has been
given to somebody else can change nothing any more.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hpo_batch.journal.attributes import FAILURE
from hpo_batch.journal.encode import Writer
from hpo_batch.records import Cause, Claim, Configuration, GivenBack, Idle, Outcome, Owner, TrialState
from hpo_batch.store import attempt_folder, durations, leases, nodes
from hpo_batch.store.home import StudyHome
from hpo_batch.study import patience
from hpo_batch.study.claims import Claims
from hpo_batch.study.endings import Endings
from hpo_batch.study.lost_attempts import LostAttempts
from hpo_batch.study.patience import raises_storage_errors
from hpo_batch.study.reports import Reports
from hpo_batch.study.revision import NParams
from hpo_batch.study.study_journal import StudyJournal
from hpo_batch.sweep.schema import Sweep


def always(configuration: Configuration) -> bool:
    return True


class Study:
    """One worker's access to a study. Make it with ``Study.open``.

    Attributes:
        journal: what this worker has read, and the current revision of the sweep.
        reports: takes what running attempts report, by ``reports.add``.
        claims, endings, lost_attempts: the parts behind the methods here.
    """

    def __init__(self, home: StudyHome, owner: Owner, *, clock: Callable[[], float], n_params: NParams | None) -> None:
        self.home = home
        self.owner = owner
        granted: set[str] = set()
        writer = Writer(owner.worker)
        self.journal = StudyJournal(home, n_params=n_params)
        self.reports = Reports(self.journal, writer, clock=clock, granted=granted)
        self.endings = Endings(self.journal, self.reports, writer, clock=clock)
        self.lost_attempts = LostAttempts(self.journal, owner, granted=granted)
        self.claims = Claims(self.journal, self.endings, self.lost_attempts, writer, clock=clock, granted=granted)
        self._lease: leases.Lease | None = None

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        home: StudyHome,
        owner: Owner,
        *,
        clock: Callable[[], float] = time.time,
        n_params: NParams | None = None,
    ) -> Iterator[Study]:
        """Open an existing study and hold the worker's lease while the block runs.

        Raises:
            StorageError: the study cannot be read, or its folder of leases not written.
        """
        study = cls(home, owner, clock=clock, n_params=n_params)
        with leases.held(home.workers, owner, duration_s=study.sweep.study.lease_s) as lease:
            study._lease = lease
            study.journal.starting = leases.count(home.workers)
            yield study

    @property
    def sweep(self) -> Sweep:
        """The current revision, as read at the last claim."""
        return self.journal.revision.sweep

    @property
    def retry_pauses(self) -> tuple[float, ...]:
        """Seconds between the tries of what a file system refuses now and may allow later."""
        return patience.RETRY_PAUSES_S

    def claim(self, at_most: int = 1, *, fits: Callable[[Configuration], bool] = always) -> tuple[Claim, ...] | Idle:
        """Up to ``at_most`` trials to run, claimed in one transaction, or why there is none.

        Args:
            fits: whether a configuration can be trained in the time that is left, asked before the trial exists.

        Raises:
            StorageError: the journal could not be read or written, also not after waiting.
        """
        if self._lease is not None:
            self._lease.keep()
        return self.claims.claim(at_most, fits)

    def tell(self, claim: Claim, outcome: Outcome) -> None:
        """Write how the attempt ended. The result lies in the attempt's folder before the journal is told.

        Raises:
            Superseded: the trial has gone on elsewhere; the outcome does not count.
            StorageError: the journal could not be written, also not after waiting; the result is in the folder.
        """
        self.endings.tell(self.endings.of_outcome(claim, outcome))

    def tell_and_claim(
        self, claim: Claim, outcome: Outcome, *, fits: Callable[[Configuration], bool] = always
    ) -> tuple[Claim, ...] | Idle:
        """``tell``, then ``claim`` one: in one transaction where many workers on several hosts wait for the lock.

        Raises:
            Superseded: the trial has gone on elsewhere; the outcome does not count, and nothing was claimed.
            StorageError: as of ``tell`` and ``claim``.
        """
        if self._lease is not None:
            self._lease.keep()
        return self.claims.tell_and_claim(claim, outcome, fits)

    def give_back(self, claim: Claim, cause: Cause, *, had_full_walltime: bool = False) -> None:
        """End the attempt in order: the trial keeps its number and waits for its next attempt.

        It fails instead if it would never come to its end: without a checkpoint it is too long for the time limit, or
        it asks to go on later again and again and saves nothing.

        Args:
            had_full_walltime: whether the attempt had about all the time that a worker has.

        Raises:
            Superseded: the trial has gone on elsewhere.
            StorageError: the journal could not be written, also not after waiting.
        """
        self.endings.tell(self.endings.of_give_back(claim, cause, had_full_walltime=had_full_walltime))

    def announce_give_back(self, claim: Claim, cause: Cause) -> None:
        """Write into the attempt's folder that it is given back, while it still runs: should it be killed before it
        returns, whoever finds that gives it back in its worker's place. What it then returns counts all the same."""
        self.endings.keep(claim, GivenBack(cause=cause))

    @raises_storage_errors
    def open_attempt(self, claim: Claim) -> Path:
        """The attempt's own folder, made ready."""
        return attempt_folder.open_attempt(self.home, claim, self.endings.facts(claim))

    # ---- what this worker knows, as of its last look at the journal ----

    def newest_durations(self) -> tuple[durations.Took, ...]:
        """How long the newest trials took."""
        return durations.newest(self.journal.state)

    def has_saved(self) -> bool:
        """Whether a trial was seen to save a checkpoint."""
        return durations.has_saved(self.journal.state)

    def has_ended(self, claim: Claim) -> bool:
        """Whether the claim's trial has ended: a failed one may be tried again."""
        return self.journal.state.trials[claim.number].state.ended

    def is_followed(self, claim: Claim) -> bool:
        """Whether the claim's trial has gone on in a later run of this worker's array task: this one is no more."""
        trial = self.journal.state.trials[claim.number]
        return leases.follows(trial.attempt_facts(trial.attempt), self.owner.facts)

    def why_failed(self, claim: Claim) -> str:
        """What the journal says of a trial that has failed."""
        failure = self.journal.state.trials[claim.number].system_attrs.get(FAILURE, {})
        return f"{failure.get('reason', 'unknown')}: {failure.get('message', '')}"

    def failing_here(self) -> nodes.FailingNode | None:
        """This worker's node, if trials fail on it in a row while they do well on others."""
        failing = nodes.failing_nodes(self.journal.state)
        return next((node for node in failing if node.node == self.owner.host), None)

    def others_live(self) -> bool:
        """Whether a worker on another node has a trial, and was seen to live just now."""
        return self.lost_attempts.others_live()

    @raises_storage_errors
    def is_in_doubt(self) -> bool:
        """Whether it is worth to wait: some trial's worker may be dead, which only more watching can tell."""
        began = time.monotonic()
        self.journal.sync()
        self.lost_attempts.watch.was_blind(time.monotonic() - began)
        if self.journal.state.by_state[TrialState.WAITING]:
            return False
        return self.lost_attempts.is_in_doubt()
