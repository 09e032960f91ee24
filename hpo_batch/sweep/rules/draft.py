"""``Draft``, the input of rules: a sweep, its space, and the problems so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct

from hpo_batch.records import Problem
from hpo_batch.space.space import Space
from hpo_batch.sweep.lines import Key
from hpo_batch.sweep.schema import Sweep


class Draft(Struct, frozen=True, kw_only=True):
    """A sweep that may have mistakes."""

    sweep: Sweep
    """with placeholders for values that the schema refused"""
    space: Space
    """without invalid parameters"""
    problems: Sequence[Problem] = ()
    """known problems; a rule that uses a key with a problem would only repeat it"""

    def is_sound(self, *dotted: str) -> bool:
        """Whether there are no problems with these keys, the keys inside them, or the tables around them."""
        keys = [tuple(d.split(".")) for d in dotted]
        return not any(_overlap(problem.key, key) for problem in self.problems for key in keys)


Rule: TypeAlias = Callable[[Draft], Iterator[Problem]]


def _overlap(a: Key, b: Key) -> bool:
    return all(x == y for x, y in zip(a, b, strict=False))
