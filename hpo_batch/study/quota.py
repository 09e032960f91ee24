"""Weights of choices as quotas: which combination of weighted values the next trial should have.

A sampler that is merely given repeated choices ignores the shares (document 003's 3 to 1 came out 43 to 1).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Value
from hpo_batch.space.parameters import Choices, same
from hpo_batch.space.space import Space

Arm: TypeAlias = tuple[tuple[str, Value], ...]
"""values of the weighted parameters, in the order of the space; empty without weights"""

NOT_DRAWN = (None, "list", "baseline")
"""origins of trials that somebody else chose: they do not count"""


class Quotas:
    """The arms of a space, their shares, and how many trials each of them has got so far."""

    def __init__(self, space: Space) -> None:
        weighted = [p for p in space.searched if isinstance(p, Choices) and p.weights is not None]
        self._names = [parameter.name for parameter in weighted]
        options = [
            [
                ((p.name, value), weight / sum(p.weights or ()))
                for value, weight in zip(p.values, p.weights or (), strict=True)
            ]
            for p in weighted
        ]
        self._share: dict[Arm, float] = {}
        for combination in itertools.product(*options):
            share = math.prod(part for _, part in combination)
            if share > 0:
                self._share[tuple(chosen for chosen, _ in combination)] = share
        self._arm_of = {tuple(repr(value) for _, value in arm): arm for arm in self._share}
        self._started = dict.fromkeys(self._share, 0)
        self._drawn = 0
        self._counted = 0

    @property
    def arms(self) -> list[Arm]:
        """All combinations of weighted values with a weight above zero."""
        return list(self._share)

    def in_order_due(self, trials: Sequence[ScannedTrial]) -> list[Arm]:
        """The arms, the one furthest below its share of the drawn trials first.

        Args:
            trials: of the study; those of the last call are not looked at again.
        """
        if not self._names:
            return list(self._share)
        for trial in itertools.islice(trials, self._counted, None):
            if trial.identity.origin not in NOT_DRAWN:
                self._drawn += 1
                arm = self._arm_of.get(tuple(repr(trial.params.get(name)) for name in self._names))
                if arm is not None:
                    self._started[arm] += 1
        self._counted = len(trials)
        return sorted(self._share, key=lambda arm: self._started[arm] - self._share[arm] * (self._drawn + 1))


def has_values(trial: ScannedTrial, arm: Arm) -> bool:
    """Whether a trial lies in an arm."""
    return all(name in trial.params and same(trial.params[name], value) for name, value in arm)


@dataclass(frozen=True, kw_only=True)
class Share:
    """Planned and realised share of one value of a weighted parameter among the trials that were drawn."""

    parameter: str
    value: Value
    planned: float
    count: int
    drawn: int
    """trials that were drawn, over all values"""

    @property
    def realised(self) -> float:
        return self.count / self.drawn if self.drawn else 0.0

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "realised": self.realised}


def shares(space: Space, trials: Iterable[ScannedTrial]) -> list[Share]:
    """The shares of all weighted values, in the order of the space; none without weights."""
    drawn = [trial.params for trial in trials if trial.identity.origin not in NOT_DRAWN]
    found: list[Share] = []
    for parameter in space.searched:
        if not isinstance(parameter, Choices) or parameter.weights is None:
            continue
        counts = Counter(repr(params.get(parameter.name)) for params in drawn)
        for value, weight in zip(parameter.values, parameter.weights, strict=True):
            planned = weight / sum(parameter.weights)
            found.append(
                Share(
                    parameter=parameter.name, value=value, planned=planned, count=counts[repr(value)], drawn=len(drawn)
                )
            )
    return found
