"""Decide, inside the journal's lock, which trial a worker gets: pure functions from the journal's state to records.

Order: what dead workers held is given back; a waiting trial; the next planned trial; a new configuration. Everything
that could be decided twice (target, repeats, quotas) is decided here, where only one worker is at a time.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, TypeAlias

from hpo_batch.errors import UserError
from hpo_batch.journal.attributes import FACTS, FAILURE, REPLICATES, SAMPLER, attempt_attr, ended_attr
from hpo_batch.journal.encode import Record, Writer
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import (
    Cause,
    Claim,
    Complete,
    Configuration,
    Failed,
    GivenBack,
    Idle,
    IdleWhy,
    Outcome,
    Owner,
    Reason,
    TrialState,
)
from hpo_batch.space.space import Space
from hpo_batch.store.attempt_archive import KeptEnd
from hpo_batch.study import policy
from hpo_batch.study.brackets import BRACKET, Brackets
from hpo_batch.study.journal_params import JournalParams
from hpo_batch.study.left import not_made
from hpo_batch.study.quota import Arm, Quotas
from hpo_batch.study.replicates import finite, may_repeat, seeds_of
from hpo_batch.study.samplers import Candidate
from hpo_batch.sweep.planned import Planned
from hpo_batch.sweep.schema import Sweep

Fits = Callable[[Configuration], bool]
ENQUEUED = "enqueued"
"""origin of a trial that somebody put into the queue with plain Optuna"""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What was drawn before the lock was taken."""

    candidates: Mapping[Arm, Sequence[Candidate]]
    used_up: bool
    """no unseen configuration is left in any arm"""
    refused: str = ""
    """if none was found: what spoke against most of the draws"""


@dataclass(frozen=True, kw_only=True)
class Granted:
    claim: Claim
    records: tuple[Record, ...]


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A trial that ends without being trained: one that repeats a finished trial, or one that makes no sense."""

    records: tuple[Record, ...]


@dataclass(frozen=True, kw_only=True)
class Redraw:
    """Others took all that was drawn."""


Decision: TypeAlias = Granted | Settled | Redraw | Idle


@dataclass(frozen=True, kw_only=True)
class Claimant:
    """What a decision needs to know beside the journal's state."""

    sweep: Sweep
    revision: int
    space: Space
    planned: tuple[Planned, ...]
    journal_params: JournalParams
    quotas: Quotas
    owner: Owner
    writer: Writer
    now: float
    brackets: Brackets | None = None
    """of hyperband"""

    def seeds(self, number: int) -> tuple[int, ...]:
        return seeds_of(self.sweep, number)


def give_back_lost(
    claimant: Claimant,
    state: JournalState,
    *,
    lost: Mapping[int, str],
    moved: Collection[int] = (),
    kept: Mapping[int, KeptEnd] | None = None,
    last_signs: Mapping[int, float] | None = None,
) -> list[Record]:
    """Records that end the attempts of dead workers: the trial waits for its next attempt, or fails.

    One that had come to its end is told in its place, and not trained again.

    Args:
        lost: tokens by number of the trial, as they were found dead before the lock was taken.
        moved: those of them whose attempt had moved its checkpoint forward.
        kept: how some of them had ended, by what lies in their folders.
        last_signs: when something in their folders changed last. An attempt ends then, not when it was found: that may
            be days later, and its hours would be charged.
    """
    records: list[Record] = []
    for number in sorted(lost.keys() & state.by_state[TrialState.RUNNING]):
        trial = state.trials[number]
        facts = trial.attempt_facts(trial.attempt)
        if facts.get("token") != lost[number]:
            continue
        if kept and number in kept:
            end = kept[number]
            if isinstance(end.ended, GivenBack):
                records += give_back(claimant, trial, end.ended.cause, moved=number in moved, whole=False)
            else:
                records += tell(claimant, trial, end.ended, moved=number in moved, time=end.time)
        else:
            message = f"worker {facts['worker']} on {facts['host']} ended without a word"
            seen = (last_signs or {}).get(number, claimant.now)
            ended = min(claimant.now, max(facts["started"], seen))
            records += end_attempt(claimant, trial, Reason.LOST, message, moved=number in moved, time=ended)
    return records


def tell(
    claimant: Claimant,
    trial: ScannedTrial,
    outcome: Outcome,
    *,
    moved: bool,
    reported: Mapping[int, float] | None = None,
    time: float | None = None,
    noted_by_sampler: Mapping[str, Any] | None = None,
) -> list[Record]:
    """Records for how the newest attempt of a trial ended.

    Args:
        moved: whether an attempt that failed had moved its checkpoint forward.
        reported: values by step that the attempt's own worker knows; they may not all be in the journal.
        time: of the end, by the clock of that worker; left out: now.
        noted_by_sampler: attributes that the sampler has set when it heard of the end.
    """
    write, now = claimant.writer, claimant.now
    metrics = {name: value for name, value in outcome.metrics.items() if math.isfinite(value)}
    # NaN and infinity, which JSON and plain Optuna cannot hold, stay in the attempt's own files
    noted = [write.metric(trial.trial_id, name, value) for name, value in metrics.items()]
    if noted_by_sampler:
        noted.append(write.trial_attr(trial.trial_id, SAMPLER, dict(noted_by_sampler)))
    if isinstance(outcome, Failed):
        return noted + end_attempt(claimant, trial, outcome.reason, outcome.message, moved=moved)
    if isinstance(outcome, Complete):
        if outcome.replicates:
            noted.append(write.metric(trial.trial_id, REPLICATES, finite(outcome.replicates)))
        how, state, values = "complete", TrialState.COMPLETE, outcome.values
    else:
        last = {outcome.step: metrics.get(claimant.sweep.study.metric[0])}
        steps = {**last, **trial.decoded_steps, **(reported or {})}
        value = steps[outcome.step]
        if claimant.sweep.pruner.name == "wilcoxon":  # a step is an instance: the trial is worth what all of them are
            value = fmean(known) if (known := [one for one in steps.values() if one is not None]) else None
        how, state, values = "pruned", TrialState.PRUNED, () if value is None else (value,)
    ending = {"how": how, "time": now if time is None else time}
    noted.append(write.trial_attr(trial.trial_id, ended_attr(trial.attempt), ending))
    return [*noted, write.trial_state(trial.trial_id, state, now=now, values=values or None)]


def end_attempt(
    claimant: Claimant, trial: ScannedTrial, reason: Reason, message: str, *, moved: bool, time: float | None = None
) -> list[Record]:
    """Records for an attempt that failed: ordered so that every prefix is a valid state.

    Args:
        time: of its end; left out: now.
    """
    write, now = claimant.writer, claimant.now
    ending = {"how": reason.value, "time": now if time is None else time, "moved": moved}
    ended = write.trial_attr(trial.trial_id, ended_attr(trial.attempt), ending)
    if policy.retries(claimant.sweep, trial, reason, moved=moved):
        return [ended, write.trial_state(trial.trial_id, TrialState.WAITING, now=now)]
    times = 1 + sum(1 for n in range(1, trial.attempt) if trial.ending(n).get("how") == reason.value)
    if times > 1:
        message = f"{reason.value} {times} times; the last time: {message}"
    return [ended, *_fail(claimant, trial, reason, message)]


def give_back(claimant: Claimant, trial: ScannedTrial, cause: Cause, *, moved: bool, whole: bool) -> list[Record]:
    """Records for an attempt that ended in order: the trial waits, or fails if it would never come to its end."""
    write, now = claimant.writer, claimant.now
    seconds = round(now - trial.attempt_facts(trial.attempt)["started"], 3)  # both by the clock of this host
    ending = {"how": cause.value, "time": now, "moved": moved, "whole": whole, "seconds": seconds}
    ended = write.trial_attr(trial.trial_id, ended_attr(trial.attempt), ending)
    given_up = policy.why_given_up(claimant.sweep, trial, cause, moved=moved, whole=whole, seconds=seconds)
    if given_up is None:
        return [ended, write.trial_state(trial.trial_id, TrialState.WAITING, now=now)]
    return [ended, *_fail(claimant, trial, *given_up)]


def _fail(claimant: Claimant, trial: ScannedTrial, reason: Reason, message: str) -> tuple[Record, Record]:
    write = claimant.writer
    failure = write.trial_attr(trial.trial_id, FAILURE, {"reason": reason.value, "message": message})
    return failure, write.trial_state(trial.trial_id, TrialState.FAIL, now=claimant.now)


def decide(
    claimant: Claimant,
    state: JournalState,
    drawn: Drawn,
    *,
    fits: Fits,
    newest_checkpoint: Callable[[int], int | None],
) -> Decision:
    """The next trial for this worker, or why there is none."""
    tripped = policy.why_tripped(claimant.sweep, state)
    if tripped:
        return Idle(why=IdleWhy.TRIPPED, detail=str(tripped))
    counts = state.counts()
    too_long = False
    for number in sorted(state.by_state[TrialState.WAITING]):
        trial = state.trials[number]
        try:
            configuration = _configuration(trial, claimant.space)
        except UserError as error:
            return Settled(records=_fail(claimant, trial, Reason.INVALID, f"{ENQUEUED} with plain Optuna: {error}"))
        if fits(configuration):
            granted = _take(claimant, trial, configuration, resumes=newest_checkpoint(number))
            return _with_bracket(claimant, state, trial, granted)
        too_long = True
    room = counts.target - counts.finished - counts.running - counts.waiting
    if room <= 0:
        return _nothing_more(counts.remaining, too_long)
    unmade = not_made(claimant.planned, state)
    for planned in unmade:
        earlier = state.number_of_key.get(planned.configuration.key)
        if earlier is not None and not state.trials[earlier].state.ended:
            continue  # answered when the trial it repeats has ended
        if earlier is not None and state.trials[earlier].state.finished:
            return Settled(records=(answer(claimant, planned, state.trials[earlier]),))
        if fits(planned.configuration):
            candidate = Candidate(configuration=planned.configuration, origin=planned.origin)
            return _create(claimant, state, candidate, planned)
        too_long = True
    if room <= len(unmade):
        return _nothing_more(counts.remaining, too_long)
    if claimant.sweep.sampler.name == "list":
        if state.by_state[TrialState.RUNNING]:
            return _nothing_more(counts.remaining, too_long)
        return Idle(why=IdleWhy.NO_TIME if too_long else IdleWhy.SPACE_USED_UP, detail="every listed trial has ended")
    for arm in claimant.quotas.in_order_due(state.trials):
        for candidate in drawn.candidates.get(arm, ()):
            earlier = state.number_of_key.get(candidate.configuration.key)
            if earlier is not None and not may_repeat(claimant.sweep, state.trials[earlier]):
                continue
            if fits(candidate.configuration):
                return _create(claimant, state, candidate, None)
            too_long = True
    if too_long:
        return Idle(why=IdleWhy.NO_TIME)
    if drawn.used_up:
        if state.by_state[TrialState.RUNNING]:
            return _nothing_more(counts.remaining, too_long)
        return Idle(why=IdleWhy.SPACE_USED_UP, detail=drawn.refused)
    return Redraw()


def _nothing_more(remaining: int, too_long: bool) -> Idle:
    if too_long:
        return Idle(why=IdleWhy.NO_TIME)
    return Idle(why=IdleWhy.IN_FLIGHT if remaining else IdleWhy.TARGET_MET)


def _configuration(trial: ScannedTrial, space: Space) -> Configuration:
    """A trial's configuration as it was stored, whatever today's space says; that of an enqueued one in today's space.

    Raises:
        UserError: a trial that was enqueued with plain Optuna leaves a parameter open, or does not lie in the space.
    """
    if trial.key is None:
        given = {**trial.params, **trial.system_attrs.get("fixed_params", {})}
        configuration = space.resolve(given, strict=True)
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


def _take(claimant: Claimant, trial: ScannedTrial, configuration: Configuration, *, resumes: int | None) -> Granted:
    attempt = trial.attempt + 1
    claim = Claim(
        number=trial.number,
        attempt=attempt,
        token=secrets.token_hex(8),
        configuration=configuration,
        seeds=tuple(trial.facts.get("seeds", ())) or claimant.seeds(trial.number),
        origin=trial.facts.get("origin", ENQUEUED),
        name=trial.facts.get("name"),
        resumes=resumes,
    )
    write = claimant.writer
    records = (
        *(_adopt(claimant, trial, claim) if trial.key is None else ()),
        write.trial_attr(trial.trial_id, attempt_attr(attempt), _attempt_facts(claimant, claim.token)),
        write.trial_state(trial.trial_id, TrialState.RUNNING, now=claimant.now),
    )
    return Granted(claim=claim, records=records)


def _adopt(claimant: Claimant, trial: ScannedTrial, claim: Claim) -> list[Record]:
    """What a trial enqueued with plain Optuna lacks: its parameters, and our facts."""
    write = claimant.writer
    params, distributions = claimant.journal_params(claim.configuration)
    records = [write.trial_param(trial.trial_id, name, params[name], distributions[name]) for name in params]
    facts = _trial_facts(claimant, claim.configuration, claim.origin, None, claim.seeds)
    return [*records, write.trial_attr(trial.trial_id, FACTS, facts)]


def _create(claimant: Claimant, state: JournalState, candidate: Candidate, planned: Planned | None) -> Granted:
    claim = Claim(
        number=len(state.trials),
        attempt=1,
        token=secrets.token_hex(8),
        configuration=candidate.configuration,
        seeds=claimant.seeds(len(state.trials)),
        origin=candidate.origin,
        name=planned.name if planned else None,
    )
    facts = _trial_facts(claimant, claim.configuration, candidate.origin, planned, claim.seeds)
    facts |= {**candidate.facts, **_bracket(claimant, state)}
    earlier = state.number_of_key.get(claim.configuration.key)
    if earlier is not None and planned is None:
        facts["replicate_of"] = state.trials[earlier].facts.get("replicate_of", earlier)
    params, distributions = claimant.journal_params(claim.configuration)
    record = claimant.writer.create_trial(
        now=claimant.now,
        state=TrialState.RUNNING,
        params=params,
        distributions=distributions,
        system_attrs={
            FACTS: facts,
            attempt_attr(1): _attempt_facts(claimant, claim.token),
        },
    )
    return Granted(claim=claim, records=(record,))


def _with_bracket(claimant: Claimant, state: JournalState, trial: ScannedTrial, granted: Granted) -> Granted:
    """A bracket for a trial that was made without one, under another pruner."""
    if claimant.brackets is None or trial.key is None or BRACKET in trial.facts:
        return granted
    facts = {**trial.facts, **_bracket(claimant, state)}
    return replace(granted, records=(claimant.writer.trial_attr(trial.trial_id, FACTS, facts), *granted.records))


def _bracket(claimant: Claimant, state: JournalState) -> dict[str, object]:
    return {} if claimant.brackets is None else {BRACKET: claimant.brackets.due(state)}


def answer(claimant: Claimant, planned: Planned, source: ScannedTrial) -> Record:
    params, distributions = claimant.journal_params(planned.configuration)
    seeds = tuple(source.facts.get("seeds", ()))
    facts = _trial_facts(claimant, planned.configuration, planned.origin, planned, seeds)
    return claimant.writer.create_trial(
        now=claimant.now,
        state=source.state,
        params=params,
        distributions=distributions,
        system_attrs={FACTS: {**facts, "repeats": source.number}},
        user_attrs=source.user_attrs,
        values=source.values,
        steps=source.steps,
    )


def _trial_facts(
    claimant: Claimant,
    configuration: Configuration,
    origin: str,
    planned: Planned | None,
    seeds: tuple[int, ...],
) -> dict[str, object]:
    facts: dict[str, object] = {
        "key": configuration.key,
        "seeds": list(seeds),
        "origin": origin,
        "revision": claimant.revision,
        "derived": dict(configuration.derived),
    }
    if planned is not None:
        told = {"name": planned.name, "set": planned.set, "note": planned.note}
        facts |= {key: value for key, value in told.items() if value is not None}
    return facts


def _attempt_facts(claimant: Claimant, token: str) -> dict[str, object]:
    return {**claimant.owner.facts, "token": token, "started": claimant.now}
