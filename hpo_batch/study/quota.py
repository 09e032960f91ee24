"""Weights of choices as quotas: which combination of weighted values the next trial should have.

A sampler that is merely given repeated choices ignores the shares (document 003's 3 to 1 came out 43 to 1).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hpo_batch.records import Value
from hpo_batch.space.parameters import Choices
from hpo_batch.space.space import Space
from hpo_batch.store.scan import ScannedTrial

Arm = tuple[tuple[str, Value], ...]
"""values of the weighted parameters, in the order of the space; empty without weights"""


def arms(space: Space) -> list[Arm]:
    """All combinations of weighted values with a weight above zero."""
    weighted = [p for p in space.searched if isinstance(p, Choices) and p.weights is not None]
    lists = [
        [(p.name, value) for value, weight in zip(p.values, p.weights or (), strict=True) if weight > 0]
        for p in weighted
    ]
    return list(itertools.product(*lists))


def in_order_due(space: Space, trials: Sequence[ScannedTrial]) -> list[Arm]:
    """The arms, the one furthest below its share of the drawn trials first."""
    candidates = arms(space)
    if len(candidates) <= 1:
        return candidates
    shares = dict.fromkeys(candidates, 1.0)
    for parameter in space.searched:
        if isinstance(parameter, Choices) and parameter.weights is not None:
            share_of = dict(zip(map(repr, parameter.values), parameter.weights, strict=True))
            total = sum(parameter.weights)
            for arm in candidates:
                shares[arm] *= share_of[repr(dict(arm)[parameter.name])] / total
    drawn = [t for t in trials if t.facts.get("origin") not in (None, "list", "baseline")]
    started = dict.fromkeys(candidates, 0)
    for trial in drawn:
        for arm in candidates:
            if all(trial.params.get(name) == value for name, value in arm):
                started[arm] += 1
    return sorted(candidates, key=lambda arm: started[arm] - shares[arm] * (len(drawn) + 1))
