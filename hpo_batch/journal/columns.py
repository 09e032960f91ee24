"""All trials of a study column by column: what ``ScannedTrial.record`` tells of one, for many in a quarter of the time.

The parts of the trials that are still JSON are decoded in one call each. No record, no attempt becomes an object of its
own here; a test holds the columns to what the records say.
"""

from __future__ import annotations

import datetime
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

import msgspec

from hpo_batch.errors import JournalCorrupt
from hpo_batch.journal.attributes import (
    EMPTY,
    FACTS,
    FAILURE,
    REPLICATES,
    AttemptEnd,
    AttemptFacts,
    Failure,
    TrialFacts,
    attempt_attr,
    decode_all,
    ended_attr,
    is_number,
)
from hpo_batch.journal.decode import NONSENSE, distribution_facts, distributions_of, loads, why
from hpo_batch.journal.state import no_collections
from hpo_batch.journal.trial import FEW_ATTEMPTS, ScannedTrial
from hpo_batch.records import TrialState

Column = list[Any]


def trial_columns(trials: Sequence[ScannedTrial], *, objectives: int) -> dict[str, Column]:
    """Columns by name: ``number value.0 ... started ended duration params.* metrics.* state name ...``.

    Args:
        trials: of one study, all of them, in the order of their numbers.
        objectives: how many values a trial has.

    Raises:
        JournalCorrupt: what is noted with a trial makes no sense.
    """
    try:
        with no_collections():
            return _columns(trials, objectives)
    except NONSENSE as error:  # these parts of the records are decoded here for the first time
        raise JournalCorrupt(f"the journal has a trial with a record that makes no sense: {why(error)}") from error


def attempt_columns(trials: Sequence[ScannedTrial]) -> dict[str, Column]:
    """Of all attempts, in the order of trials and attempts: what ``Attempt`` tells, as columns.

    Columns: ``number attempt how started ended seconds node gpus gpu_count job submission``; times in seconds since the
    epoch.

    Raises:
        JournalCorrupt: what is noted with an attempt makes no sense.
    """
    try:
        with no_collections():
            return _attempts(trials)
    except NONSENSE as error:
        raise JournalCorrupt(f"the journal has an attempt with a record that makes no sense: {why(error)}") from error


def _attempts(trials: Sequence[ScannedTrial]) -> dict[str, Column]:
    found: list[tuple[int, int, AttemptFacts, AttemptEnd]] = []
    unended = AttemptEnd()
    for number in _numbers(trials):
        have, parts = _parts(trials, attempt_attr(number))
        ended, endings = _parts(trials, ended_attr(number))
        endings_of = dict(zip(ended, decode_all(endings, AttemptEnd), strict=True))
        found += [
            (i, number, attempt, endings_of.get(i, unended))
            for i, attempt in zip(have, decode_all(parts, AttemptFacts), strict=True)
        ]
    found.sort(key=operator.itemgetter(0, 1))
    gpus = [attempt.gpus for _, _, attempt, _ in found]
    started = [attempt.started for _, _, attempt, _ in found]
    ended_at = [ending.time for _, _, _, ending in found]
    return {
        "number": [trials[i].number for i, _, _, _ in found],
        "attempt": [number for _, number, _, _ in found],
        "how": _shared(ending.how or "running" for _, _, _, ending in found),
        "started": list(started),
        "ended": list(ended_at),
        "seconds": [None if b is None else b - a for a, b in zip(started, ended_at, strict=True)],
        "node": _shared(attempt.host for _, _, attempt, _ in found),
        "gpus": _shared(",".join(held) for held in gpus),
        "gpu_count": [attempt.gpus_held for _, _, attempt, _ in found],
        "job": _shared(attempt.job for _, _, attempt, _ in found),
        "submission": _shared(attempt.submission for _, _, attempt, _ in found),
    }


def _columns(trials: Sequence[ScannedTrial], objectives: int) -> dict[str, Column]:
    columns: dict[str, Column] = {"number": [trial.number for trial in trials]}
    fail = TrialState.FAIL
    for i in range(objectives):
        # a failed trial has no value, whatever somebody else's tool may have stored
        columns[f"value.{i}"] = [
            None if t.state is fail or t.values is None or i >= len(t.values) else t.values[i] for t in trials
        ]
    facts = _facts(trials)
    runs = _Runs(trials)
    columns |= runs.columns(trials)
    columns |= _params(trials, [fact.derived for fact in facts])
    columns |= _metrics(trials)
    columns["state"] = [trial.state.name for trial in trials]
    for name in ("name", "set", "note", "origin"):
        columns[name] = _shared(map(operator.attrgetter(name), facts))
    reasons: Column = [None] * len(trials)
    messages: Column = [trial.optunas_message for trial in trials]
    for i, trial in enumerate(trials):
        if trial.state is fail:
            failure = trial.typed(FAILURE, Failure) or Failure()
            reasons[i] = failure.reason
            messages[i] = failure.message or messages[i]
    columns |= {"reason": _shared(reasons), "message": _shared(messages)}
    columns["seeds"] = [fact.seeds for fact in facts]
    columns["replicate_of"] = [fact.replicate_of for fact in facts]
    columns["replicates"] = [trial.user_attrs.get(REPLICATES) or [] for trial in trials]
    return columns


def _facts(trials: Sequence[ScannedTrial]) -> list[TrialFacts]:
    nothing = TrialFacts()
    found: list[TrialFacts] = [nothing] * len(trials)
    have, parts = _parts(trials, FACTS)
    for i, fact in zip(have, decode_all(parts, TrialFacts), strict=True):
        found[i] = fact
    return found


class _Runs:
    """The attempts of all trials: the last of each, and their times together."""

    def __init__(self, trials: Sequence[ScannedTrial]) -> None:
        self.first: list[AttemptFacts | None] = [None] * len(trials)
        self.last: list[AttemptFacts | None] = [None] * len(trials)
        self.count = [0] * len(trials)
        self.seconds: list[float | None] = [None] * len(trials)
        for number in _numbers(trials):
            name = attempt_attr(number)
            have, parts = _parts(trials, name)
            ended, endings = _parts(trials, ended_attr(number))
            times = dict(zip(ended, decode_all(endings, AttemptEnd), strict=True))
            for i, attempt in zip(have, decode_all(parts, AttemptFacts), strict=True):
                self.first[i] = self.first[i] or attempt
                self.last[i] = attempt
                self.count[i] += 1
                ending = times.get(i)
                if ending is not None and ending.time is not None:
                    self.seconds[i] = (self.seconds[i] or 0) + (ending.time - attempt.started)

    def columns(self, trials: Sequence[ScannedTrial]) -> dict[str, Column]:
        local = datetime.datetime.fromtimestamp
        started: Column = [t.started if a is None else a.started for t, a in zip(trials, self.first, strict=True)]
        ended: Column = [t.ended for t in trials]
        return {
            "started": [None if time is None else local(time) for time in started],
            "ended": [None if time is None else local(time) for time in ended],
            "duration": [None if a is None or b is None else b - a for a, b in zip(started, ended, strict=True)],
            "attempts": self.count,
            "seconds_total": self.seconds,
            "node": _shared(None if a is None else a.host for a in self.last),
            "gpus": _shared(None if a is None else ",".join(a.gpus) for a in self.last),
            "job": _shared(None if a is None else a.job for a in self.last),
            "submission": _shared(None if a is None else a.submission for a in self.last),
        }


def _params(trials: Sequence[ScannedTrial], derived: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    """Searched, fixed and derived values, in the order of their first appearance."""
    by_set: dict[bytes | None, list[int]] = {}
    for i, trial in enumerate(trials):
        by_set.setdefault(trial.raw_distributions, []).append(i)
    stored = {
        key: _one_by_one([trials[i].params for i in members])
        if key is None
        else _of_one_set([trials[i].raw_params for i in members], key)
        for key, members in by_set.items()
    }
    kinds: Mapping[tuple[Any, tuple[str, ...]], None] = dict.fromkeys((key, ()) for key in by_set)
    if None in by_set or any(derived):  # then trials of one set may differ
        kinds = dict.fromkeys(
            (tuple(trial.params) if (key := trial.raw_distributions) is None else key, tuple(more))
            for trial, more in zip(trials, derived, strict=True)
        )
    names: dict[str, None] = {}
    for own, more in kinds:
        names |= dict.fromkeys((*(stored[own] if isinstance(own, bytes) else own), *more))
    columns: dict[str, Column] = {}
    for name in names:
        if len(by_set) == 1:
            (only,) = stored.values()
            columns[f"params.{name}"] = only.get(name) or [None] * len(trials)
            continue
        column: Column = [None] * len(trials)
        for key, members in by_set.items():
            for i, value in zip(members, stored[key].get(name, ()), strict=False):
                column[i] = value
        columns[f"params.{name}"] = column
    for i, values in enumerate(derived):
        for name, value in values.items():
            columns[f"params.{name}"][i] = value
    return columns


def _of_one_set(params: Sequence[bytes], distributions: bytes) -> dict[str, Column]:
    """Values that users know, of trials with the same distributions."""
    calls = {name: _external(text) for name, text in distributions_of(distributions).items()}
    # a class for these parameters: half of the time that a dict for each trial takes
    names = {f"p{i}": name for i, name in enumerate(loads(params[0]))}
    kinds = [(field, float if calls.get(name) is float else Any) for field, name in names.items()]
    try:
        row = msgspec.defstruct("Row", kinds, rename=names, forbid_unknown_fields=True, gc=False)
        rows = msgspec.json.decode(b"[" + b",".join(params) + b"]", type=list[row])  # type: ignore[valid-type]
    except ValueError:  # plain Optuna's NaN, other parameters than the first trial has, a name that no class may use
        values = _one_by_one([loads(each) for each in params])
    else:
        values = {name: list(map(operator.attrgetter(field), rows)) for field, name in names.items()}
        calls = {name: call for name, call in calls.items() if call is not float}  # they are floats already
    for name, column in values.items():
        call = calls.get(name)
        if call is not None:
            values[name] = [value if value is None else call(value) for value in column]
    return values


def _one_by_one(rows: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _external(distribution: str) -> Callable[[float], Any]:
    """What makes the value that users know out of the number that Optuna stores."""
    known = distribution_facts(distribution)
    if known.choices:
        choices = known.choices
        return lambda value: choices[int(value)]
    return int if known.is_integer else float


def _metrics(trials: Sequence[ScannedTrial]) -> dict[str, Column]:
    notes = [trial.user_attrs for trial in trials]
    names: dict[str, None] = {}
    for kind in dict.fromkeys(tuple(note) for note in notes):
        names |= dict.fromkeys(kind)
    columns = {}
    for name in names:
        column: Column = [note.get(name) for note in notes]
        if set(map(type, column)) != {float} or not isfinite(sum(column)):  # one that is not finite makes the sum so
            column = [value if is_number(value) else None for value in column]
        if any(value is not None for value in column):
            columns[f"metrics.{name}"] = column
    return columns


def _shared(texts: Iterable[str | None]) -> Column:
    """A column of few different texts, each of them once in memory: of 100,000 trials it would hold 5 MB of each."""
    known: dict[str | None, str | None] = {}
    return [known.setdefault(text, text) for text in texts]


def _numbers(trials: Sequence[ScannedTrial]) -> list[int]:
    """Of the attempts that some trial had: each is looked for in all trials."""
    most = max((trial.attempt for trial in trials), default=0)
    if most <= FEW_ATTEMPTS:
        return list(range(1, most + 1))
    return sorted({number for trial in trials for number in trial.attempts})


def _parts(trials: Sequence[ScannedTrial], name: str) -> tuple[list[int], list[bytes]]:
    """The trials that have a system attribute, by place, and the attribute as JSON; an empty one counts as none."""
    found = [(i, raw) for i, trial in enumerate(trials) if (raw := trial.raw(name)) is not None and raw != EMPTY]
    return [i for i, _ in found], [raw for _, raw in found]
