"""Reports of running attempts: collected in memory and written to the journal in batches."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from hpo_batch.errors import StorageError, Superseded
from hpo_batch.journal.encode import Record, Writer
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Claim, TrialState, Verdict
from hpo_batch.study.patience import raises_storage_errors
from hpo_batch.study.pruners import decides_from
from hpo_batch.study.study_journal import StudyJournal

if TYPE_CHECKING:
    from hpo_batch.study.history import PrunerHistory

log = logging.getLogger(__name__)

# longest time that a report waits in memory
REPORT_EVERY_S = 10.0
# Time between the reports of two workers on a file system that several hosts write to. A transaction takes about 7
# round trips there, 14 ms at 2 ms each, so reports keep the lock busy for about a quarter of the time, however many
# workers there are: with 1,000 workers each of them reports every 50 s instead of every 10 s.
REPORT_SPACING_S = 0.05


class _Reported(Struct, kw_only=True):
    """The reports of one claim."""

    values: dict[int, float] = {}
    """of the study's first metric, by step"""
    unwritten_steps: dict[int, None] = {}
    """used as an ordered set"""
    unwritten_attrs: dict[str, Any] = {}
    """attributes that the pruner set on the trial"""

    @property
    def unwritten(self) -> dict[int, float]:
        return {step: self.values[step] for step in self.unwritten_steps}


class Reports:
    """The reports of a worker's open claims.

    Args:
        granted: tokens of these claims; a superseded one is removed from the set.
    """

    def __init__(self, journal: StudyJournal, writer: Writer, *, clock: Callable[[], float], granted: set[str]) -> None:
        self.home = journal.home
        self.last_write = clock()
        self._journal = journal
        self._writer = writer
        self._clock = clock
        self._granted = granted
        self._of: dict[str, _Reported] = {}
        """by the claim's token"""
        self._pruner_history: tuple[JournalState, PrunerHistory] | None = None
        """created at the first question to a pruner, since it imports Optuna; valid for one JournalState"""

    def add(self, claim: Claim, step: int, metrics: Mapping[str, float]) -> Verdict:
        """Take in a step's metrics and decide whether to prune the trial.

        Reports wait in memory and are written together, unless a pruner needs the reports of all workers now.
        """
        revision = self._journal.revision
        value = metrics.get(revision.sweep.study.metric[0])
        if value is not None and not math.isfinite(value):
            value = None
        if value is not None:
            reported = self._reported(claim)
            reported.values[step] = float(value)
            reported.unwritten_steps.setdefault(step)
        is_rung = revision.pruner is not None and value is not None and step >= decides_from(revision.sweep.pruner)
        # "0 <=": a clock that was set back must not silence the reports until it has caught up
        if 0 <= self._clock() - self.last_write < self._every_s(is_rung=is_rung):
            return Verdict.CONTINUE
        try:
            self._journal.sync()
            self.trial_of(claim)
            prune = is_rung and self._should_prune(claim, step)
            if revision.pruner is not None or self._journal.is_local:
                self.flush(claim)
            self.last_write = self._clock()
            return Verdict.PRUNE if prune else Verdict.CONTINUE
        except Superseded:
            return Verdict.SUPERSEDED
        except StorageError as error:
            _warn(claim, error)
            return Verdict.CONTINUE

    def write(self, claim: Claim) -> None:
        """Write the pending reports if possible: their steps are done and will not be reported again.

        Raises:
            Superseded: another worker has the trial.
        """
        try:
            self.flush(claim)
        except StorageError as error:
            _warn(claim, error)

    @raises_storage_errors
    def flush(self, claim: Claim) -> None:
        """Write the pending reports, without fsync: a power failure may cost reports, but never a result.

        Raises:
            Superseded: another worker has the trial.
            StorageError: the journal cannot be written now.
        """
        with self._journal.transaction() as transaction:
            records = self.waiting(claim, self.trial_of(claim))
            if records:
                self._journal.state.apply(transaction.append(records, sync=False))
        reported = self._reported(claim)
        reported.unwritten_steps.clear()
        reported.unwritten_attrs.clear()
        self.last_write = self._clock()

    def waiting(self, claim: Claim, trial: ScannedTrial) -> list[Record]:
        """Records of the pending reports."""
        write, reported = self._writer, self._reported(claim)
        return [
            *(write.report(trial.trial_id, step, value) for step, value in reported.unwritten.items()),
            *(write.trial_attr(trial.trial_id, name, value) for name, value in reported.unwritten_attrs.items()),
        ]

    def values(self, claim: Claim) -> Mapping[int, float]:
        """All reported values by step."""
        return self._reported(claim).values

    def trial_of(self, claim: Claim) -> ScannedTrial:
        """The trial of a claim that is still valid, as far as the journal has been read.

        Raises:
            Superseded: it is not valid any more; its reports are dropped.
        """
        trials = self._journal.state.trials
        trial = trials[claim.number] if claim.number < len(trials) else None
        if trial is None or not _is_held(trial, claim):
            self.drop(claim)
            raise Superseded(f"trial {claim.number}: attempt {claim.attempt} was superseded")
        return trial

    def drop(self, claim: Claim) -> None:
        """Forget a claim that has ended or was superseded."""
        self._of.pop(claim.token, None)
        self._granted.discard(claim.token)

    def _every_s(self, *, is_rung: bool) -> float:
        """Seconds between two looks of a running trial at the journal.

        On a shared file system they grow with the number of running trials. Without a pruner, reports do not take the
        lock at all: ``metrics.jsonl`` has them, and the end of the trial adds them to the journal.
        """
        spacing = 0.0 if self._journal.is_local else self._journal.running * REPORT_SPACING_S
        return spacing if is_rung else max(REPORT_EVERY_S, spacing)

    def _should_prune(self, claim: Claim, step: int) -> bool:
        state, pruner = self._journal.state, self._journal.revision.pruner
        assert pruner is not None
        if self._pruner_history is None or self._pruner_history[0] is not state:
            from hpo_batch.study.history import PrunerHistory

            self._pruner_history = state, PrunerHistory()
        reported = self._reported(claim)
        prune, attrs = self._pruner_history[1].ask(pruner, state, claim.number, step, reported=reported.unwritten)
        # successive halving stores the value at each rung here, and the pruners of all workers compare with it
        reported.unwritten_attrs |= attrs
        return prune

    def _reported(self, claim: Claim) -> _Reported:
        return self._of.setdefault(claim.token, _Reported())


def _is_held(trial: ScannedTrial, claim: Claim) -> bool:
    token = trial.attempt_facts(claim.attempt).get("token")
    return trial.state is TrialState.RUNNING and trial.attempt == claim.attempt and token == claim.token


def _warn(claim: Claim, error: StorageError) -> None:
    log.warning("trial %s: cannot write reports to the journal yet: %s", claim.number, error)
