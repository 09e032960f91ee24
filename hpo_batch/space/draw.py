"""Draws values and configurations at random, and maps the unit interval to values."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping

from hpo_batch.records import Configuration, Value
from hpo_batch.space.cells import MOST_WALKED
from hpo_batch.space.parameters import Choices, Integer, Real, Searched
from hpo_batch.space.space import Space


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
