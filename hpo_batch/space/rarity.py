"""Estimates how rare valid configurations are among random ones: rare ones make drawing slow, or impossible."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Final

from hpo_batch.errors import ExpressionError
from hpo_batch.space.cells import size
from hpo_batch.space.draw import at_random
from hpo_batch.space.space import Space

DRAWS: Final = 4_096
"""number of draws for the estimate: four times as many as a worker makes before it gives up"""
RARE: Final = 0.01
"""share of valid configurations below which a warning is given"""


@dataclass(frozen=True, kw_only=True)
class Rarity:
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
