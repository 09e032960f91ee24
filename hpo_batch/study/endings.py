"""Record how attempts end: first in the attempt's folder, then in the journal.

The order matters: a worker that dies in between leaves a result that the next claim can record.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from hpo_batch.errors import StorageError, Superseded
from hpo_batch.journal.encode import Record, Writer
from hpo_batch.journal.file import Transaction
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Cause, Claim, Complete, Failed, GivenBack, Outcome, Reason, Usage
from hpo_batch.store import attempt_folder
from hpo_batch.store.checkpoints import moved_forward
from hpo_batch.study.end_records import EndRecords
from hpo_batch.study.patience import patiently, raises_storage_errors
from hpo_batch.study.quota import has_values
from hpo_batch.study.reports import Reports
from hpo_batch.study.study_journal import StudyJournal
from hpo_batch.text.numbers import count

log = logging.getLogger(__name__)


class Ending(Struct, kw_only=True, eq=False):
    """How an attempt ended, not yet in the journal."""

    claim: Claim
    records: Callable[[ScannedTrial], list[Record]]
    """called under the lock, with the trial as it is in the journal"""
    is_told: bool = False


class Endings:
    """Writes the ends of one worker's attempts."""

    def __init__(self, journal: StudyJournal, reports: Reports, writer: Writer, *, clock: Callable[[], float]) -> None:
        self.home = journal.home
        self._journal = journal
        self._reports = reports
        self._writer = writer
        self._clock = clock

    @property
    def records(self) -> EndRecords:
        return EndRecords(sweep=self._journal.revision.sweep, writer=self._writer, now=self._clock())

    @raises_storage_errors
    def of_outcome(self, claim: Claim, outcome: Outcome) -> Ending:
        """The end of an attempt with an outcome; afterwards a second copy lies in the attempt's folder."""
        self.keep(claim, outcome)
        moved = isinstance(outcome, Failed) and moved_forward(self.home, claim.number, claim.attempt)
        noted = self._after_trial(claim, outcome)

        def records(trial: ScannedTrial) -> list[Record]:
            reported = self._reports.values(claim)
            return self.records.told(trial, outcome, moved=moved, reported=reported, noted_by_sampler=noted)

        return Ending(claim=claim, records=records)

    @raises_storage_errors
    def of_give_back(
        self, claim: Claim, cause: Cause, *, had_full_walltime: bool, usage: Usage | None = None
    ) -> Ending:
        """The same for an attempt that is given back."""
        self.keep(claim, GivenBack(cause=cause, usage=usage))
        moved = moved_forward(self.home, claim.number, claim.attempt)

        def records(trial: ScannedTrial) -> list[Record]:
            return self.records.given_back(trial, cause, moved=moved, had_full_walltime=had_full_walltime, usage=usage)

        return Ending(claim=claim, records=records)

    def keep(self, claim: Claim, ended: Outcome | GivenBack) -> None:
        """Write the second copy of an attempt's end into its folder."""
        try:
            attempt_folder.write_result(self.home, claim, ended, self.facts(claim), now=self._clock())
        except StorageError as error:  # go on with the journal: it may be on another disk
            log.warning("trial %s: could not save a second copy of its result: %s", claim.number, error)

    def facts(self, claim: Claim) -> attempt_folder.ClaimFacts:
        trial = self._journal.state.trials[claim.number]
        return attempt_folder.ClaimFacts(trial=trial.facts, attempt=trial.attempt_facts(claim.attempt))

    @raises_storage_errors
    def tell(self, ending: Ending, *, tried: bool = False) -> None:
        """Record in the journal how an attempt ended.

        Args:
            tried: whether an earlier call may have written it without learning so.

        Raises:
            Superseded: another worker has the trial.
            StorageError: the journal still cannot be written after all retries.
        """
        claim = ending.claim

        def attempt() -> None:
            nonlocal tried
            was_tried, tried = tried, True
            try:
                with self._journal.transaction() as transaction:
                    self.append(transaction, ending)
            except Superseded:
                if not (was_tried and self._was_ended_by_us(claim)):
                    raise  # otherwise the previous try wrote it, and only its fsync failed

        patiently(f"trial {claim.number}: its end", attempt)
        self.settle(ending)

    def tell_all(self, endings: Sequence[Ending]) -> list[Ending]:
        """As ``tell`` for several, in one transaction; returns those whose trials another worker has.

        Raises:
            StorageError: the journal still cannot be written after all retries.
        """
        superseded: list[Ending] = []
        tried = False

        def attempt() -> None:
            nonlocal tried
            was_tried, tried = tried, True
            superseded.clear()
            with self._journal.transaction() as transaction:
                for ending in endings:
                    try:
                        self.append(transaction, ending)
                    except Superseded:
                        if not (was_tried and self._was_ended_by_us(ending.claim)):  # see ``tell``
                            superseded.append(ending)

        patiently(f"the ends of {count(len(endings), 'trial')}", attempt)
        for ending in endings:
            if ending not in superseded:
                self.settle(ending)
        return superseded

    def append(self, transaction: Transaction, ending: Ending) -> None:
        """Append an attempt's end, with its pending reports, if its claim is still valid.

        Raises:
            Superseded: the claim is not valid any more.
        """
        trial = self._reports.trial_of(ending.claim)
        records = [*self._reports.waiting(ending.claim, trial), *ending.records(trial)]
        self._journal.state.apply(transaction.append(records, sync=True))

    def settle(self, ending: Ending) -> None:
        """Clean up once the journal holds an attempt's end."""
        ending.is_told = True
        self._reports.drop(ending.claim)
        self.drop_checkpoints([ending.claim.number])

    def drop_checkpoints(self, numbers: Iterable[int]) -> None:
        """Remove the checkpoints of trials that have ended, unless ``[study] keep_checkpoints`` is "all"."""
        if self._journal.revision.sweep.study.keep_checkpoints != "unfinished":
            return
        for trial in (self._journal.state.trials[number] for number in numbers):
            if trial.state.ended:
                with contextlib.suppress(OSError):  # leftovers cost space; an error here must not cost the result
                    attempt_folder.drop_checkpoints(self.home, trial.number, attempts=trial.attempt)

    def _after_trial(self, claim: Claim, outcome: Outcome) -> dict[str, object]:
        """Attributes that the sampler of the claim's quota arm wants to store with the trial."""
        state = self._journal.state
        trial = state.trials[claim.number]
        source = next((s for arm, s in self._journal.revision.sources.items() if has_values(trial, arm)), None)
        if source is None:
            return {}
        ended = {Complete: "COMPLETE", Failed: "FAIL"}.get(type(outcome), "PRUNED")
        values = outcome.values if isinstance(outcome, Complete) else None
        return dict(source.after_trial(state, trial, ended, values))

    def _was_ended_by_us(self, claim: Claim) -> bool:
        trial = self._journal.state.trials[claim.number]
        is_ours = trial.attempt_facts(claim.attempt).get("token") == claim.token
        return is_ours and trial.ending(claim.attempt).get("how", Reason.LOST) != Reason.LOST
