"""What is around the best configuration: changes of it, what is predicted of them, what these trials could tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.model.frame import Data
from hpo_batch.next.around import Move, short_text
from hpo_batch.records import Configuration
from hpo_batch.space.space import Space
from hpo_batch.text.numbers import number

POWER: Final = 2.8
"""standard errors of a difference that is found with 80 % power at p < 0.05: 1.96 + 0.84"""


@dataclass(frozen=True, kw_only=True)
class Local:
    """What is around the best configuration, and what ran already."""

    space: Space
    data: Data
    best: Configuration
    moves: Mapping[str, list[Move]]
    effects: Mapping[str, Effect]
    sd: float | None
    ran: Mapping[str, str]

    @property
    def order(self) -> list[str]:
        """Parameters with moves, those that explain most first."""

        def share(name: str) -> float:
            effect = self.effects.get(name)
            found = effect.variance_share if effect is not None else None
            return found.value if found is not None else 0.0

        return sorted(self.moves, key=lambda name: -share(name))

    def detectable(self, runs: int, seeds: int) -> float | None:
        """Between the two halves of so many runs."""
        return None if self.sd is None else POWER * self.sd * math.sqrt(4 / (runs * seeds))


def better(local: Local, a: str, b: str) -> str:
    return f"{a} {'>' if local.data.sign > 0 else '<'} {b}"


def told(local: Local, move: Move) -> str:
    """A change with what is predicted of it, and what the trials so far could have told."""
    effect = local.effects.get(move.parameter)
    sizes = f"gain {number(move.gain)} ± {number(move.error)} predicted" if move.gain is not None else "no prediction"
    so_far = ""
    if effect is not None and effect.detectable is not None:
        so_far = f"; on average over settings, the trials so far tell differences from {number(effect.detectable)} on"
    return f"  {move.text} ({move.where}) instead of {short_text(local.best.searched[move.parameter])}: {sizes}{so_far}"
