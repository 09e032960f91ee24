"""What a wider range adds, and whether the constraints leave anything of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from msgspec import structs

from hpo_batch.space.draw import at_random
from hpo_batch.space.parameters import Choices, Fixed, Integer, Parameter, Real, Searched, same
from hpo_batch.space.space import N_PARAMS, Space
from hpo_batch.text.numbers import label

DRAWS: Final = 1_000
"""configurations drawn for each added part before it counts as out of reach; as many as a worker draws"""


def unreachable(space: Space, wider: Searched) -> str:
    """Why no valid configuration has anything of what a wider range adds; empty if one has.

    Args:
        space: with the parameter as it is.
        wider: the parameter with further values.
    """
    if not space.constraints:
        return ""
    # the functions behind a constraint on n_params are asked by workers only
    known = {name: rule for name, rule in space.constraints.items() if N_PARAMS not in rule.names}
    for part, words in _added(space.by_name[wider.name], wider):
        parameters = tuple(part if p.name == part.name else p for p in space.parameters)
        if not _has_valid(replace(space, parameters=parameters, constraints=known), part.name):
            return f"no configuration with {part.name} {words} meets the constraints"
    return ""


def _added(old: Parameter, new: Searched) -> Iterator[tuple[Parameter, str]]:
    """The parameter with only what is new, in parts that are each to be reached, and how each is called."""
    if isinstance(old, Choices) and isinstance(new, Choices):
        for value in new.values:
            if not any(same(value, known) for known in old.values):
                yield Fixed(name=new.name, value=value, when=new.when, before=new.before), f"= {label(value)}"
    elif isinstance(old, Integer | Real) and isinstance(new, Integer | Real):
        step = new.step or 0
        if new.high > old.high:
            yield structs.replace(new, low=old.high + step), f"above {label(old.high)}"
        if new.low < old.low:
            yield structs.replace(new, high=old.low - step), f"below {label(old.low)}"


def _has_valid(space: Space, parameter: str) -> bool:
    rng = random.Random(0)
    for _ in range(DRAWS):
        configuration = at_random(space, rng)
        if parameter in configuration.values and space.why_constrained(configuration.values) is None:
            return True
    return False
