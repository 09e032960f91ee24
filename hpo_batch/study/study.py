"""A worker's view of a study: claim, report, tell, give back. A worker changes the journal in no other way.

Each call makes at most one transaction. A claim is valid while its token is the one in the journal: once a trial has
been given to another worker, the old attempt cannot change it any more.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hpo_batch.journal.attributes import FAILURE
from hpo_batch.journal.encode import Writer
from hpo_batch.records import Cause, Claim, Configuration, GivenBack, Idle, Outcome, Owner, TrialState, Usage
from hpo_batch.store import attempt_folder, durations, held_lease, leases, nodes
from hpo_batch.store.home import StudyHome
from hpo_batch.study import patience
from hpo_batch.study.alike import Alike
from hpo_batch.study.claims import Claims
from hpo_batch.study.endings import Ending, Endings
from hpo_batch.study.lost_attempts import LostAttempts
from hpo_batch.study.patience import raises_storage_errors
from hpo_batch.study.reports import Reports
from hpo_batch.study.revision import NParams
from hpo_batch.study.study_journal import StudyJournal
from hpo_batch.sweep.schema import Sweep


def always(configuration: Configuration) -> bool:
    return True


class Study:
    """One worker's access to a study; create it with ``Study.open``.

    Attributes:
        journal: the journal as this worker has read it, and the current revision of the sweep.
        reports: takes the reports of running attempts (``reports.add``).
        claims, endings, lost_attempts: the implementation of the methods here.
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
        self._lease: held_lease.Lease | None = None

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
        """Open an existing study and hold the worker's lease for the length of the block.

        Raises:
            StorageError: the study cannot be read, or the lease cannot be written.
        """
        study = cls(home, owner, clock=clock, n_params=n_params)
        with held_lease.held(home.workers, owner, duration_s=study.sweep.study.lease_s) as lease:
            study._lease = lease
            study.journal.starting = leases.count(home.workers)
            yield study

    @property
    def sweep(self) -> Sweep:
        """The sweep's current revision, as of the last claim."""
        return self.journal.revision.sweep

    @property
    def retry_pauses(self) -> tuple[float, ...]:
        """Seconds between retries of a file operation."""
        return patience.RETRY_PAUSES_S

    def claim(
        self, at_most: int = 1, *, fits: Callable[[Configuration], bool] = always, alike: Alike | None = None
    ) -> tuple[Claim, ...] | Idle:
        """Up to ``at_most`` trials to run, claimed in one transaction, or why there is none.

        Args:
            fits: whether there is time to train a configuration; asked before its trial is created.
            alike: the block that they are for: all have the same values of some parameters.

        Raises:
            StorageError: the journal still cannot be read or written after all retries.
        """
        if self._lease is not None:
            self._lease.keep()
        return self.claims.claim(at_most, fits, alike=alike)

    def tell(self, claim: Claim, outcome: Outcome) -> None:
        """Record how the attempt ended, first in its folder and then in the journal.

        Raises:
            Superseded: another worker has the trial; the outcome does not count.
            StorageError: the journal still cannot be written after all retries; the result is in the folder.
        """
        self.endings.tell(self.endings.of_outcome(claim, outcome))

    def keep(self, claim: Claim, outcome: Outcome) -> Ending:
        """The first half of ``tell``: the result lies in the attempt's folder, and ``tell_all`` records it."""
        return self.endings.of_outcome(claim, outcome)

    def tell_all(self, endings: Sequence[Ending]) -> list[Ending]:
        """The second half of ``tell`` for several trials, in one transaction.

        Returns:
            Those whose trials another worker has; their outcomes do not count.

        Raises:
            StorageError: the journal still cannot be written after all retries; the results are in the folders.
        """
        return self.endings.tell_all(endings)

    def tell_and_claim(
        self, claim: Claim, outcome: Outcome, *, fits: Callable[[Configuration], bool] = always
    ) -> tuple[Claim, ...] | Idle:
        """``tell``, then ``claim`` one: in one transaction where many workers on several hosts wait for the lock.

        Raises:
            Superseded: another worker has the trial; the outcome does not count, and nothing was claimed.
            StorageError: see ``tell`` and ``claim``.
        """
        if self._lease is not None:
            self._lease.keep()
        return self.claims.tell_and_claim(claim, outcome, fits)

    def give_back(
        self, claim: Claim, cause: Cause, *, had_full_walltime: bool = False, usage: Usage | None = None
    ) -> None:
        """Return an unfinished trial to the queue: it keeps its number and waits for its next attempt.

        It fails instead if it could never finish: it needs more than the walltime and saves no checkpoint, or it keeps
        asking to continue later without saving anything.

        Args:
            had_full_walltime: whether the attempt had about all the time that a worker has.
            usage: what the attempt used.

        Raises:
            Superseded: another worker has the trial.
            StorageError: the journal still cannot be written after all retries.
        """
        ending = self.endings.of_give_back(claim, cause, had_full_walltime=had_full_walltime, usage=usage)
        self.endings.tell(ending)

    def announce_give_back(self, claim: Claim, cause: Cause) -> None:
        """Note in the attempt's folder, while it still runs, that it is being given back.

        If it is killed before it returns, the next claim gives it back in its place. If it does return, its outcome
        counts.
        """
        self.endings.keep(claim, GivenBack(cause=cause))

    @raises_storage_errors
    def open_attempt(self, claim: Claim) -> Path:
        """Create the attempt's folder."""
        return attempt_folder.open_attempt(self.home, claim, self.endings.facts(claim))

    # The rest answers questions from the journal as this worker last read it.

    def newest_durations(self) -> tuple[durations.Took, ...]:
        """How long the newest trials took."""
        return durations.newest(self.journal.state)

    def has_saved(self) -> bool:
        """Whether any trial is known to save checkpoints."""
        return durations.has_saved(self.journal.state)

    def has_ended(self, claim: Claim) -> bool:
        """Whether the claim's trial has ended; after a failed attempt it may be waiting for the next one."""
        return self.journal.state.trials[claim.number].state.ended

    def is_followed(self, claim: Claim) -> bool:
        """Whether a later run of this worker's array task has the claim's trial: SLURM considers this run dead."""
        trial = self.journal.state.trials[claim.number]
        return leases.follows(trial.attempt_facts(trial.attempt), self.owner.facts)

    def why_failed(self, claim: Claim) -> str:
        """Reason and message of the claim's failed trial."""
        failure = self.journal.state.trials[claim.number].system_attrs.get(FAILURE, {})
        return f"{failure.get('reason', 'unknown')}: {failure.get('message', '')}"

    def failing_here(self) -> nodes.FailingNode | None:
        """This worker's node, if trials fail on it in a row while they succeed on others."""
        failing = nodes.failing_nodes(self.journal.state)
        return next((node for node in failing if node.node == self.owner.host), None)

    def others_live(self) -> bool:
        """Whether a worker on another node runs a trial and is certainly alive."""
        return self.lost_attempts.others_live()

    @raises_storage_errors
    def is_in_doubt(self) -> bool:
        """Whether waiting may give this worker a trial: another worker may be dead, which only further looks tell."""
        began = time.monotonic()
        self.journal.sync()
        self.lost_attempts.watch.was_blind(time.monotonic() - began)
        if self.journal.state.by_state[TrialState.WAITING]:
            return False
        return self.lost_attempts.is_in_doubt()
