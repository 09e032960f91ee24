"""Turn weights of choices into quotas: which combination of weighted values the next trial should have.

Repeating a choice in Optuna's list of choices does not work: TPE models what is good, and 3 to 1 came out as 43 to 1.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import asdict

from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Value
from hpo_batch.space.build import build
from hpo_batch.space.parameters import Choices, same
from hpo_batch.space.space import Space

# values of the weighted parameters, in the order of the space; empty without weights
Arm: TypeAlias = tuple[tuple[str, Value], ...]

# origins of trials that no sampler drew; they do not count
NOT_DRAWN = (None, "list", "baseline")


class Quotas:
    """The arms of a space, their shares, and the number of trials of each so far."""

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
        # repr, because 1, 1.0 and True are equal as keys but different choices
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
            trials: all trials of the study; only those since the last call are counted.
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
    """Whether a trial belongs to an arm."""
    return all(name in trial.params and same(trial.params[name], value) for name, value in arm)


class Share(Struct, frozen=True, kw_only=True):
    """Planned and realised share of one value of a weighted parameter among the drawn trials."""

    parameter: str
    value: Value
    planned: float
    count: int
    drawn: int
    """drawn trials over all values"""

    @property
    def realised(self) -> float:
        return self.count / self.drawn if self.drawn else 0.0

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "realised": self.realised}


def shares(space: Space, trials: Iterable[ScannedTrial]) -> list[Share]:
    """The shares of all weighted values, in the order of the space; none without weights."""
    drawn = [trial.params for trial in trials if trial.identity.origin not in NOT_DRAWN]
    shares_: list[Share] = []
    for parameter in space.searched:
        if not isinstance(parameter, Choices) or parameter.weights is None:
            continue
        counts = Counter(repr(params.get(parameter.name)) for params in drawn)
        for value, weight in zip(parameter.values, parameter.weights, strict=True):
            planned = weight / sum(parameter.weights)
            shares_.append(
                Share(
                    parameter=parameter.name, value=value, planned=planned, count=counts[repr(value)], drawn=len(drawn)
                )
            )
    return shares_


def shares_in(table: Mapping[str, Any], trials: Iterable[ScannedTrial], *, with_n_params: bool = False) -> list[Share]:
    """``shares`` of the space that a table ``[space]`` describes.

    Args:
        table: of a frozen sweep.
        trials: of its study.
        with_n_params: see ``space.build``.
    """
    space, _ = build(table, with_n_params=with_n_params)
    return shares(space, trials)
