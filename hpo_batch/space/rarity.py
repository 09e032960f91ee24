"""How rare valid configurations are among those drawn at random: what makes drawing slow, or hopeless."""

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
"""configurations drawn to estimate the share: four times what a worker draws before it gives up"""
RARE: Final = 0.01
"""share of valid configurations below which drawing is called slow"""


@dataclass(frozen=True, kw_only=True)
class Rarity:
    """Valid configurations are rare. As text: how rare, and the constraint that refuses most."""

    valid: int
    """of ``DRAWS``"""
    refused: int
    """by the reason that refused most"""
    reason: str
    worst: str | None
    """name of that constraint"""

    def __str__(self) -> str:
        share = f"{self.valid / DRAWS:.1%} of" if self.valid else "none of"
        drawn = f"{share} {DRAWS:,} configurations drawn at random is valid"
        return f"{drawn}; {self.refused:,} were refused because {self.reason}"


def rarely_valid(space: Space, *, also_finite: bool = False) -> Rarity | None:
    """How rare valid configurations are; None if they are not.

    Args:
        also_finite: also judge a space that can be enumerated. Its ``size`` is exact unless a constraint calls the
            user's function.
    """
    if not space.constraints or (size(space).all is not None and not also_finite):
        return None
    rng = random.Random(0)
    refused: Counter[str] = Counter()
    for _ in range(DRAWS):
        try:
            reason = space.why_constrained(at_random(space, rng).values)
        except ExpressionError:
            return None  # a condition or derived value fails, which has a message of its own
        if reason is not None:
            refused[reason] += 1
    valid = DRAWS - refused.total()
    if valid / DRAWS >= RARE:
        return None
    ((reason, count),) = refused.most_common(1)
    worst = next((name for name in space.constraints if f"constraint '{name}'" in reason), None)
    return Rarity(valid=valid, refused=count, reason=reason, worst=worst)
