"""Trials in what a next sweep leaves out, so that a wrong decision shows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from hpo_batch.errors import SweepInvalid
from hpo_batch.next.decision import LEAVES_OUT, Decision
from hpo_batch.next.evidence import Evidence
from hpo_batch.next.write import Draft, checked
from hpo_batch.records import Value
from hpo_batch.space.draw import at_random
from hpo_batch.space.space import N_PARAMS, Space

ESCAPE: Final = 0.1
"""share of the new trials that go to the old space, where something was left out: a wrong decision shows"""
OLD_SPACE: Final = "old_space"
TRIES: Final = 500
"""draws for each trial in the old space"""


def plan_old_space(
    draft: Draft, evidence: Evidence, decisions: Sequence[Decision], path: Path, *, seed: int
) -> list[str]:
    """A tenth of the trials in what was left out, so that a wrong decision shows."""
    sweep = evidence.sweep
    left = [decision for decision in decisions if decision.action in LEAVES_OUT]
    total = sweep.study.trials
    if not left or total is None or sweep.sampler.capabilities.is_grid:
        draft.set(("previous", "share"), 0.0)
        return ["no trials in the earlier space: a grid runs its own cells only"] if left else []
    wanted = max(1, round(ESCAPE * total))
    if any(N_PARAMS in constraint.names for constraint in sweep.space.constraints.values()):
        draft.set(("previous", "share"), 0.0)
        return [
            "no trials in the earlier space: whether they keep the constraint on n_params is known on the nodes only"
        ]
    tried = {_values_key(row) for row in _tried(evidence)}
    drawn = list(_outside(sweep.space, left, decisions, tried, wanted, seed=seed))
    if not drawn:
        draft.set(("previous", "share"), 0.0)
        return ["no valid configuration was found in what was left out: no trials there"]
    trials = [
        {
            "name": f"old{i + 1}",
            "set": OLD_SPACE,
            "params": dict(values),
            "note": f"in the earlier space, beyond the new {', '.join(d.parameter for d in left)}",
        }
        for i, values in enumerate(drawn)
    ]
    attempt = draft.copy()
    attempt.add_trials(trials)
    attempt.set(("previous", "share"), round(len(trials) / total, 4))
    try:
        checked(attempt, path)
    except SweepInvalid as error:
        draft.set(("previous", "share"), 0.0)
        return [f"no trials in the earlier space: {error.lines[0]}"]
    draft.document = attempt.document
    return []


def _tried(evidence: Evidence) -> Iterator[Mapping[str, Value]]:
    for row in range(evidence.data.n):
        yield evidence.data.configuration(row)


def _values_key(values: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, repr(value)) for name, value in values.items()))


def _outside(
    space: Space,
    left: Sequence[Decision],
    decisions: Sequence[Decision],
    tried: set[tuple[tuple[str, str], ...]],
    wanted: int,
    *,
    seed: int,
) -> Iterator[Mapping[str, Value]]:
    """Configurations of the old space, less what never works, that the new one leaves out and nobody has tried."""
    repaired = {d.parameter: d.new for d in decisions if d.action == "repair" and d.new is not d.old}
    source = replace(space, parameters=tuple(repaired.get(p.name, p) for p in space.parameters))
    rng = random.Random(seed)
    found = 0
    for _ in range(TRIES * wanted):
        configuration = at_random(source, rng)
        values = {**configuration.searched, **configuration.fixed}
        beyond = any(d.parameter in values and d.new.why_outside(values[d.parameter]) is not None for d in left)
        if not beyond or source.why_constrained(configuration.values) is not None:
            continue
        key = _values_key(configuration.searched)
        if key in tried:
            continue
        tried.add(key)
        found += 1
        yield values
        if found == wanted:
            return
