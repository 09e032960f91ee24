"""Draws values and configurations at random, and estimates how rare valid ones are."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from hpo_batch.errors import ExpressionError
from hpo_batch.records import Configuration, Value
from hpo_batch.space.cells import MOST_WALKED, size
from hpo_batch.space.parameters import Choices, Integer, Real, Searched
from hpo_batch.space.space import Space

DRAWS: Final = 4_096
"""number of draws for the estimate: four times as many as a worker makes before it gives up"""
RARE: Final = 0.01
"""share of valid configurations below which a warning is given"""


def value_at(parameter: Searched, share: float) -> Value:
    """Map ``share`` (0 <= share < 1) to a value, uniformly over choices, integers or reals, or over logarithms
    (``log``).

    Each choice or integer gets an equal part of the unit interval.
    """
    if isinstance(parameter, Choices):
        return parameter.values[min(int(share * parameter.count), parameter.count - 1)]
    if isinstance(parameter, Integer):
        if parameter.log:
            # each integer gets the part of the log axis that rounds to it, as in Optuna's IntDistribution
            low, high = math.log(parameter.low - 0.5), math.log(parameter.high + 0.5)
            return min(parameter.high, max(parameter.low, round(math.exp(low + share * (high - low)))))
        last = (parameter.high - parameter.low) // parameter.step
        return parameter.low + min(int(share * (last + 1)), last) * parameter.step
    if parameter.step is not None:
        steps = round((parameter.high - parameter.low) / parameter.step)
        return parameter.normalise(parameter.low + min(int(share * (steps + 1)), steps) * parameter.step)
    if parameter.log:
        drawn = math.exp(math.log(parameter.low) * (1 - share) + math.log(parameter.high) * share)
    else:
        # not low + share * (high - low), whose difference may overflow
        drawn = parameter.low * (1 - share) + parameter.high * share
    return min(parameter.high, max(parameter.low, drawn))


def at_random(space: Space, rng: random.Random) -> Configuration:
    """Draw a configuration uniformly, ignoring constraints."""
    return space.decide(lambda parameter: _drawn(parameter, rng))


def _drawn(parameter: Searched, rng: random.Random) -> Value:
    if isinstance(parameter, Choices):
        return rng.choice(parameter.values)
    if isinstance(parameter, Integer) and not parameter.log:
        # a float share has 53 bits, too few to reach every value of a large range
        return rng.randrange(parameter.low, parameter.high + 1, parameter.step)
    if isinstance(parameter, Real) and parameter.step is not None:
        steps = rng.randrange(round((parameter.high - parameter.low) / parameter.step) + 1)
        return parameter.normalise(parameter.low + steps * parameter.step)
    return value_at(parameter, rng.random())


def always_active(space: Space) -> list[Searched]:
    """Searched parameters with several values that are active in every configuration."""
    always: set[str] = set()
    decided: dict[str, Value] = {}
    for name in space.order:
        if name in space.varying:
            # a child of a searched parameter counts as conditional, even if its condition is always true
            is_free = space.is_searched(name) and space.varying.isdisjoint(space.parents[name])
            if is_free and space.is_active(name, decided):
                always.add(name)
        elif space.is_active(name, decided):
            derived = space.derived.get(name)
            decided[name] = space.by_name[name].cells[0] if derived is None else derived.evaluate(decided)  # type: ignore[index]
    return [parameter for parameter in space.searched if parameter.name in always and parameter.count != 1]


def shuffled_cells(space: Space, arm: Mapping[str, Value], rng: random.Random) -> Iterator[Configuration]:
    """The valid cells of an arm in random order; if there are more than ``MOST_WALKED``, that many random draws."""
    names = [parameter.name for parameter in space.searched]
    lists = [(arm[p.name],) if p.name in arm else p.cells or () for p in space.searched]
    total = math.prod(map(len, lists))
    indices: Iterable[int] = (rng.randrange(total) for _ in range(MOST_WALKED))
    if total <= MOST_WALKED:
        indices = rng.sample(range(total), total)
    for index in indices:
        values: dict[str, Value] = {}
        for name, cells in zip(names, lists, strict=True):
            # the index as a number in mixed radix: one digit per parameter
            index, place = divmod(index, len(cells))
            values[name] = cells[place]
        configuration = space.resolve(values)
        if space.why_invalid(configuration) is None:
            yield configuration


class Rarity(Struct, frozen=True, kw_only=True):
    """How rare valid configurations are, and the constraint that refuses most."""

    valid: int
    """number of valid configurations in ``DRAWS``"""
    refused: int
    """number refused for ``reason``"""
    reason: str
    worst: str | None
    """name of the constraint in ``reason``"""

    def __str__(self) -> str:
        share = f"{self.valid / DRAWS:.1%} of" if self.valid else "none of"
        drawn = f"{share} {DRAWS:,} configurations drawn at random is valid"
        return f"{drawn}; {self.refused:,} were refused because {self.reason}"


def rarely_valid(space: Space, *, also_finite: bool = False) -> Rarity | None:
    """How rare valid configurations are; None if they are not rare.

    Args:
        space: to draw from.
        also_finite: include finite spaces, whose ``size`` is exact unless a constraint calls the user's function.
    """
    if not space.constraints or (size(space).all is not None and not also_finite):
        return None
    # a fixed seed: `check` gives the same answer each time
    rng = random.Random(0)
    refused: Counter[str] = Counter()
    valid = 0
    for _ in range(DRAWS):
        try:
            reason = space.why_constrained(at_random(space, rng).values)
        except ExpressionError:
            return None  # a condition or derived value fails, which is reported elsewhere
        if reason is not None:
            refused[reason] += 1
            continue
        valid += 1
        # most spaces are known not to be rare after a few draws; `check` and `submit` ask twice
        if valid / DRAWS >= RARE:
            return None
    # the constraint that refuses most is where to start
    ((reason, count),) = refused.most_common(1)
    worst = next((name for name in space.constraints if f"constraint '{name}'" in reason), None)
    return Rarity(valid=valid, refused=count, reason=reason, worst=worst)
