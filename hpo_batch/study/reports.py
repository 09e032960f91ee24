"""What running attempts report, on its way to the journal: it waits in memory and is written in batches."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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

REPORT_EVERY_S = 10.0
"""reports are written together, at latest after so long"""
REPORT_SPACING_S = 0.05
"""on a file system that several hosts write to: time between two workers' reports. A transaction there takes about 7
round trips, 14 ms at 2 ms each, so that reports keep the lock busy for a quarter of the time however many workers there
are. With 1,000 workers each reports every 50 s instead of every 10 s"""


@dataclass(kw_only=True)
class _Reported:
    """What one claim has reported."""

    values: dict[int, float] = field(default_factory=dict)
    """of the study's first metric, by step"""
    unwritten_steps: dict[int, None] = field(default_factory=dict)
    """in the order of their reports"""
    unwritten_attrs: dict[str, Any] = field(default_factory=dict)
    """of the trial, set by the pruner"""

    @property
    def unwritten(self) -> dict[int, float]:
        return {step: self.values[step] for step in self.unwritten_steps}


class Reports:
    """The reports of the claims that a worker holds.

    Args:
        granted: tokens of these claims; one that is found to be somebody else's is taken out.
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
        """made when a pruner is first asked, since it brings Optuna; of the trials as they were read last"""

    def add(self, claim: Claim, step: int, metrics: Mapping[str, float]) -> Verdict:
        """Note a step's metrics; with a pruner, say whether the trial should end.

        Reports wait in memory and are written together, unless a pruner needs those of all workers now.
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
        """Write the reports that wait, if that works now: what they tell of is done, and will not be reported again.

        Raises:
            Superseded: the trial has gone on elsewhere.
        """
        try:
            self.flush(claim)
        except StorageError as error:
            _warn(claim, error)

    @raises_storage_errors
    def flush(self, claim: Claim) -> None:
        """Write the reports that wait; unsynced, since a later report or the result repeats their gist.

        Raises:
            Superseded: the trial has gone on elsewhere.
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
        """Records of what has not been written."""
        write, reported = self._writer, self._reported(claim)
        return [
            *(write.report(trial.trial_id, step, value) for step, value in reported.unwritten.items()),
            *(write.trial_attr(trial.trial_id, name, value) for name, value in reported.unwritten_attrs.items()),
        ]

    def values(self, claim: Claim) -> Mapping[int, float]:
        """All that was reported, by step."""
        return self._reported(claim).values

    def trial_of(self, claim: Claim) -> ScannedTrial:
        """The trial of a claim that is still the one that counts, as far as the journal has been read.

        Raises:
            Superseded: it is not; its reports are dropped.
        """
        trials = self._journal.state.trials
        trial = trials[claim.number] if claim.number < len(trials) else None
        if trial is None or not _is_held(trial, claim):
            self.drop(claim)
            raise Superseded(f"trial {claim.number}: attempt {claim.attempt} was superseded")
        return trial

    def drop(self, claim: Claim) -> None:
        """The claim has ended, or is somebody else's."""
        self._of.pop(claim.token, None)
        self._granted.discard(claim.token)

    def _every_s(self, *, is_rung: bool) -> float:
        """Between two looks at the journal from a running trial.

        Where other hosts write too, that grows with the running trials, and without a pruner, which compares them,
        reports leave the lock alone: ``metrics.jsonl`` has them, and the end of the trial brings them along.
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
        # what a trial was worth at its rungs is written with its reports: the pruners of all workers compare with it
        reported.unwritten_attrs |= attrs
        return prune

    def _reported(self, claim: Claim) -> _Reported:
        return self._of.setdefault(claim.token, _Reported())


def _is_held(trial: ScannedTrial, claim: Claim) -> bool:
    token = trial.attempt_facts(claim.attempt).get("token")
    return trial.state is TrialState.RUNNING and trial.attempt == claim.attempt and token == claim.token


def _warn(claim: Claim, error: StorageError) -> None:
    log.warning("trial %s: reports are held back, the journal cannot be written: %s", claim.number, error)
