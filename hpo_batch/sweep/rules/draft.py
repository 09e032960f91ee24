"""What a rule gets: the sweep under check, its space, and the problems found so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hpo_batch.records import Problem
from hpo_batch.space.space import Space
from hpo_batch.sweep.lines import Key
from hpo_batch.sweep.schema import Sweep


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A sweep that may still be wrong."""

    sweep: Sweep
    """with placeholders for values that the schema refused"""
    space: Space
    """without the parameters that could not be built"""
    problems: Sequence[Problem] = ()
    """a rule that builds on a key with a problem would only repeat it in other words"""

    def is_sound(self, *dotted: str) -> bool:
        """Whether no problem is known for these keys, for what is inside them, or for the tables around them."""
        keys = [tuple(d.split(".")) for d in dotted]
        return not any(_overlap(problem.key, key) for problem in self.problems for key in keys)


Rule: TypeAlias = Callable[[Draft], Iterator[Problem]]


def _overlap(a: Key, b: Key) -> bool:
    return all(x == y for x, y in zip(a, b, strict=False))
