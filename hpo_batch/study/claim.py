"""Decide, under the journal's lock, which trial a worker gets: pure functions from the journal's state to records.

Waiting trials come first, then planned trials, then new configurations. Target, repeats and quotas are decided here,
because only one worker at a time holds the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from hpo_batch.errors import UserError
from hpo_batch.journal.encode import Record
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Configuration, GivenBack, Idle, IdleWhy, Reason, TrialState
from hpo_batch.space.space import Space
from hpo_batch.store.attempt_archive import KeptEnd
from hpo_batch.study import policy, stop_rules
from hpo_batch.study.alike import Alike
from hpo_batch.study.end_records import EndRecords
from hpo_batch.study.quota import Arm
from hpo_batch.study.remaining import unmade_plans
from hpo_batch.study.replicates import may_repeat
from hpo_batch.study.samplers import Candidate
from hpo_batch.study.start_records import ENQUEUED, Grant, StartRecords
from hpo_batch.sweep.schema import Sweep

# whether the worker has enough time left to train a configuration
Fits = Callable[[Configuration], bool]


class Draws(Struct, frozen=True, kw_only=True):
    """What was drawn before the lock was taken."""

    candidates: Mapping[Arm, Sequence[Candidate]]
    used_up: bool
    """whether no arm has an untried configuration left"""
    refused: str = ""
    """if there are no candidates: the most frequent reason against the draws"""

    def without(self, key: str) -> Draws:
        """The others, once a configuration has become a trial."""
        left = {arm: [c for c in found if c.configuration.key != key] for arm, found in self.candidates.items()}
        return replace(self, candidates=left)


class Settled(Struct, frozen=True, kw_only=True):
    """A trial that ends without training: it repeats a finished trial, or its parameters are invalid."""

    records: tuple[Record, ...]


class Redraw(Struct, frozen=True, kw_only=True):
    """Other workers took every candidate."""


Decision: TypeAlias = Grant | Settled | Redraw | Idle


class LostAttempt(Struct, frozen=True, kw_only=True):
    """A running attempt whose worker was found dead before the lock was taken."""

    token: str
    """token of its claim; the trial may have a newer one by now"""
    moved: bool = False
    """whether it saved a newer checkpoint than it started from"""
    end: KeptEnd | None = None
    """how it ended, from the result in its folder"""
    last_sign: float | None = None
    """last change in its folder, in seconds since the epoch"""


def give_back_lost(records: EndRecords, state: JournalState, lost: Mapping[int, LostAttempt]) -> list[Record]:
    """Records that end the attempts of dead workers: each trial waits for its next attempt, or fails.

    If an attempt had finished before its worker died, its result is recorded and the trial is not trained again.

    Args:
        lost: by trial number.
    """
    ended: list[Record] = []
    for number in sorted(lost.keys() & state.by_state[TrialState.RUNNING]):
        trial, attempt = state.trials[number], lost[number]
        if trial.attempt_facts(trial.attempt).get("token") == attempt.token:
            ended += _end_in_its_place(records, trial, attempt)
    return ended


def _end_in_its_place(records: EndRecords, trial: ScannedTrial, attempt: LostAttempt) -> list[Record]:
    if attempt.end is None:
        facts = trial.attempt_facts(trial.attempt)
        message = f"worker {facts['worker']} on {facts['host']} disappeared"
        # not the time of discovery, which may be days later: those hours would count as GPU hours
        last_sign = records.now if attempt.last_sign is None else attempt.last_sign
        ended = min(records.now, max(facts["started"], last_sign))
        return records.failed_attempt(trial, Reason.LOST, message, moved=attempt.moved, time=ended)
    ended_with = attempt.end.ended
    if isinstance(ended_with, GivenBack):
        return records.given_back(
            trial, ended_with.cause, moved=attempt.moved, had_full_walltime=False, usage=ended_with.usage
        )
    return records.told(trial, ended_with, moved=attempt.moved, time=attempt.end.time)


class Decider(Struct, kw_only=True):
    """One decision, in steps; each step decides or passes on to the next."""

    state: JournalState
    start: StartRecords
    end: EndRecords
    draws: Draws
    fits: Fits
    newest_checkpoint: Callable[[int], int | None]
    """trial number -> the attempt that saved its newest checkpoint"""
    alike: Alike | None = None
    """the block that the trial must fit into; None: any trial will do"""
    too_long: bool = False
    """whether something was skipped because it does not fit into the remaining time"""

    def decide(self) -> Decision:
        """The next trial for this worker, or why there is none."""
        # first, because a broken sweep must not start even its waiting trials
        tripped = policy.why_tripped(stop_rules.of_sweep(self._sweep), self.state)
        if tripped:
            return Idle(why=IdleWhy.TRIPPED, detail=str(tripped))
        if decision := self._waiting_trial():
            return decision
        counts = self.state.counts()
        # running trials count as if they finish: else the last free workers would all start one and overshoot
        room = counts.target - counts.finished - counts.running - counts.waiting
        if room <= 0:
            return self._nothing_more()
        unmade = unmade_plans(self.start.revision.planned, self.state)
        for planned in unmade:
            earlier = self._earlier(planned.configuration)
            if earlier is not None and not earlier.state.ended:
                continue  # it gets that trial's result when that trial ends
            if earlier is not None and earlier.state.finished:
                return Settled(records=(self.start.answered(planned, earlier),))
            if self._is_alike(planned.configuration) and self._has_time(planned.configuration):
                candidate = Candidate(configuration=planned.configuration, origin=planned.origin)
                return self.start.new_trial(self.state, candidate, planned)
        # the rest of the target is reserved for planned trials that have to wait
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
            if self._is_alike(configuration) and self._has_time(configuration):
                resumes = self.newest_checkpoint(number)
                return self.start.next_attempt(self.state, trial, configuration, resumes=resumes)
        return None

    def _new_configuration(self) -> Decision:
        """The first untried candidate that fits, from the quota arm furthest below its share."""
        if self._sweep.sampler.capabilities.is_list:
            return self._used_up("every listed trial has ended")
        for arm in self.start.revision.quotas.in_order_due(self.state.trials):
            for candidate in self.draws.candidates.get(arm, ()):
                earlier = self._earlier(candidate.configuration)
                if earlier is not None and not may_repeat(self._sweep, earlier):
                    continue
                if self._is_alike(candidate.configuration) and self._has_time(candidate.configuration):
                    return self.start.new_trial(self.state, candidate, None)
        if self.too_long:
            return Idle(why=IdleWhy.NO_TIME)
        return self._used_up(self.draws.refused) if self.draws.used_up else Redraw()

    def _used_up(self, detail: str) -> Idle:
        if self.state.by_state[TrialState.RUNNING]:
            return self._nothing_more()  # if one of these fails or is given back, there is work again
        return Idle(why=IdleWhy.NO_TIME if self.too_long else IdleWhy.SPACE_USED_UP, detail=detail)

    def _nothing_more(self) -> Idle:
        if self.too_long:
            return Idle(why=IdleWhy.NO_TIME)
        return Idle(why=IdleWhy.IN_FLIGHT if self.state.counts().remaining else IdleWhy.TARGET_MET)

    def _is_alike(self, configuration: Configuration) -> bool:
        return self.alike is None or self.alike.fits(configuration)

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
    """A trial's configuration as stored, whatever the current space says; an enqueued one is resolved in that space.

    Raises:
        UserError: a trial enqueued with plain Optuna lacks a parameter, or lies outside the space.
    """
    if trial.key is None:
        # study.enqueue_trial writes the values to this attribute; suggest_* would move them into the parameters:
        # https://optuna.readthedocs.io/en/stable/reference/generated/optuna.study.Study.html
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
