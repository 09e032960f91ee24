"""Decide, inside the journal's lock, which trial a worker gets: pure functions from the journal's state to records.

The order: a waiting trial, then the next planned trial, then a new configuration. Whatever could be decided twice
(target, repeats, quotas) is decided here, where only one worker is at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hpo_batch.errors import UserError
from hpo_batch.journal.encode import Record
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Configuration, GivenBack, Idle, IdleWhy, Reason, TrialState
from hpo_batch.space.space import Space
from hpo_batch.store.attempt_archive import KeptEnd
from hpo_batch.study import policy
from hpo_batch.study.end_records import EndRecords
from hpo_batch.study.quota import Arm
from hpo_batch.study.remaining import unmade_plans
from hpo_batch.study.replicates import may_repeat
from hpo_batch.study.samplers import Candidate
from hpo_batch.study.start_records import ENQUEUED, Grant, StartRecords
from hpo_batch.sweep.schema import Sweep

Fits = Callable[[Configuration], bool]
"""whether a configuration can be trained in the time that the worker has left"""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What was drawn before the lock was taken."""

    candidates: Mapping[Arm, Sequence[Candidate]]
    used_up: bool
    """no unseen configuration is left in any arm"""
    refused: str = ""
    """if there are no candidates: what spoke against most of the draws"""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A trial that ends without being trained: one that repeats a finished trial, or one that makes no sense."""

    records: tuple[Record, ...]


@dataclass(frozen=True, kw_only=True)
class Redraw:
    """Others took all that was drawn."""


Decision: TypeAlias = Grant | Settled | Redraw | Idle


@dataclass(frozen=True, kw_only=True)
class LostAttempt:
    """A running attempt whose worker was found dead before the lock was taken."""

    token: str
    """of its claim: the trial may have gone on since"""
    moved: bool = False
    """whether it had moved its checkpoint forward"""
    end: KeptEnd | None = None
    """how it had ended, by what lies in its folder"""
    last_sign: float | None = None
    """when something in its folder changed last"""


def give_back_lost(records: EndRecords, state: JournalState, lost: Mapping[int, LostAttempt]) -> list[Record]:
    """Records that end the attempts of dead workers: the trial waits for its next attempt, or fails.

    An attempt that had come to its end is told in its worker's place, and not trained again.

    Args:
        lost: by number of the trial.
    """
    made: list[Record] = []
    for number in sorted(lost.keys() & state.by_state[TrialState.RUNNING]):
        trial, attempt = state.trials[number], lost[number]
        if trial.attempt_facts(trial.attempt).get("token") == attempt.token:
            made += _end_in_its_place(records, trial, attempt)
    return made


def _end_in_its_place(records: EndRecords, trial: ScannedTrial, attempt: LostAttempt) -> list[Record]:
    if attempt.end is None:
        facts = trial.attempt_facts(trial.attempt)
        message = f"worker {facts['worker']} on {facts['host']} disappeared"
        # not when it was found: that may be days later, and its hours would be charged
        last_sign = records.now if attempt.last_sign is None else attempt.last_sign
        ended = min(records.now, max(facts["started"], last_sign))
        return records.failed_attempt(trial, Reason.LOST, message, moved=attempt.moved, time=ended)
    ended_with = attempt.end.ended
    if isinstance(ended_with, GivenBack):
        return records.given_back(trial, ended_with.cause, moved=attempt.moved, had_full_walltime=False)
    return records.told(trial, ended_with, moved=attempt.moved, time=attempt.end.time)


@dataclass(kw_only=True)
class Decider:
    """One decision: the steps in their order, each of which decides or leaves it to the next."""

    state: JournalState
    start: StartRecords
    end: EndRecords
    draws: Draws
    fits: Fits
    newest_checkpoint: Callable[[int], int | None]
    """of a trial by its number: the attempt that saved it"""
    too_long: bool = False
    """whether something was passed over because it does not fit into the time that is left"""

    def decide(self) -> Decision:
        """The next trial for this worker, or why there is none."""
        tripped = policy.why_tripped(self._sweep, self.state)
        if tripped:
            return Idle(why=IdleWhy.TRIPPED, detail=str(tripped))
        if decision := self._waiting_trial():
            return decision
        counts = self.state.counts()
        room = counts.target - counts.finished - counts.running - counts.waiting
        if room <= 0:
            return self._nothing_more()
        unmade = unmade_plans(self.start.revision.planned, self.state)
        for planned in unmade:
            earlier = self._earlier(planned.configuration)
            if earlier is not None and not earlier.state.ended:
                continue  # answered when the trial it repeats has ended
            if earlier is not None and earlier.state.finished:
                return Settled(records=(self.start.answered(planned, earlier),))
            if self._has_time(planned.configuration):
                candidate = Candidate(configuration=planned.configuration, origin=planned.origin)
                return self.start.new_trial(self.state, candidate, planned)
        if room <= len(unmade):
            return self._nothing_more()
        return self._new_configuration()

    def _waiting_trial(self) -> Grant | Settled | None:
        for number in sorted(self.state.by_state[TrialState.WAITING]):
            trial = self.state.trials[number]
            try:
                configuration = _configuration(trial, self.start.revision.space)
            except UserError as error:
                message = f"{ENQUEUED} with plain Optuna: {error}"
                return Settled(records=self.end.failure(trial, Reason.INVALID, message))
            if self._has_time(configuration):
                resumes = self.newest_checkpoint(number)
                return self.start.next_attempt(self.state, trial, configuration, resumes=resumes)
        return None

    def _new_configuration(self) -> Decision:
        """The first candidate of the quota arm most in need that nobody has tried and that fits."""
        if self._sweep.sampler.capabilities.is_list:
            return self._used_up("every listed trial has ended")
        for arm in self.start.revision.quotas.in_order_due(self.state.trials):
            for candidate in self.draws.candidates.get(arm, ()):
                earlier = self._earlier(candidate.configuration)
                if earlier is not None and not may_repeat(self._sweep, earlier):
                    continue
                if self._has_time(candidate.configuration):
                    return self.start.new_trial(self.state, candidate, None)
        if self.too_long:
            return Idle(why=IdleWhy.NO_TIME)
        return self._used_up(self.draws.refused) if self.draws.used_up else Redraw()

    def _used_up(self, detail: str) -> Idle:
        if self.state.by_state[TrialState.RUNNING]:
            return self._nothing_more()  # if one of these fails or is given back there is something to do again
        return Idle(why=IdleWhy.NO_TIME if self.too_long else IdleWhy.SPACE_USED_UP, detail=detail)

    def _nothing_more(self) -> Idle:
        if self.too_long:
            return Idle(why=IdleWhy.NO_TIME)
        return Idle(why=IdleWhy.IN_FLIGHT if self.state.counts().remaining else IdleWhy.TARGET_MET)

    def _has_time(self, configuration: Configuration) -> bool:
        fits = self.fits(configuration)
        self.too_long = self.too_long or not fits
        return fits

    def _earlier(self, configuration: Configuration) -> ScannedTrial | None:
        number = self.state.number_of_key.get(configuration.key)
        return None if number is None else self.state.trials[number]

    @property
    def _sweep(self) -> Sweep:
        return self.start.revision.sweep


def _configuration(trial: ScannedTrial, space: Space) -> Configuration:
    """A trial's configuration as it was stored, whatever today's space says; that of an enqueued one in today's space.

    Raises:
        UserError: a trial that was enqueued with plain Optuna leaves a parameter open, or does not lie in the space.
    """
    if trial.key is None:
        params = {**trial.params, **trial.system_attrs.get("fixed_params", {})}
        configuration = space.resolve(params, strict=True)
        why = space.why_invalid(configuration)
        if why:
            raise UserError(why)
        return configuration
    fixed = {p.name for p in space.fixed}
    return Configuration(
        searched={name: value for name, value in trial.params.items() if name not in fixed},
        fixed={name: value for name, value in trial.params.items() if name in fixed},
        derived=trial.facts.get("derived", {}),
    )
