"""What the next sweep does with one parameter, and how that is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from hpo_batch.records import Estimate, Value
from hpo_batch.space.changes import described, share_kept
from hpo_batch.space.parameters import Parameter

# in the order in which changes are made: what makes the search wrong, what it could not see, then what saves trials
ACTIONS: Final = ("repair", "expand", "quota", "fix", "drop", "narrow", "keep")
LEAVES_OUT: Final = ("fix", "drop", "narrow")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the next sweep does with one parameter."""

    parameter: str
    action: str
    """one of ``ACTIONS``"""
    reason: str
    """one sentence with its numbers"""
    old: Parameter
    new: Parameter
    """equal to ``old`` for ``keep``, and for a repair that only plans trials"""
    n: int
    """trials that the reason rests on"""
    confidence: str = ""
    """``high`` or ``moderate``; empty for ``keep``"""
    probability: float | None = None
    """that the change is right: the best value lies beyond the end, or the better value is better"""
    interval: Estimate | None = None
    """of the difference that was measured, on the metric's scale; above 0 is better"""
    p_holm: float | None = None
    left_out: tuple[Value, ...] = ()
    would_change_it: str = ""
    """what would lead to another decision"""
    extremes: bool = False
    """the next sweep tries both ends of it first"""

    @property
    def changes(self) -> bool:
        return self.action != "keep"

    @property
    def kept(self) -> float:
        """Share of the old values or range that is left; above 1 for a wider one."""
        return share_kept(self.old, self.new)

    @property
    def comment(self) -> str:
        """What stands beside the parameter in the file."""
        was = f"; was {described(self.old)}" if self.changes and described(self.old) != described(self.new) else ""
        return f"{self.action}: {self.reason}{was}"


def kept(decision: Decision, reason: str) -> Decision:
    """The decision not to change a parameter after all."""
    return replace(
        decision,
        action="keep",
        reason=reason,
        new=decision.old,
        confidence="",
        left_out=(),
        would_change_it="",
        extremes=False,
    )


def summary(decisions: Sequence[Decision]) -> Mapping[str, Any]:
    """How many parameters each action is taken for, in the order of ``ACTIONS``."""
    return {action: n for action in ACTIONS if (n := sum(d.action == action for d in decisions))}


def in_order(decisions: Sequence[Decision]) -> tuple[Decision, ...]:
    """The most urgent change first, what is kept last."""
    return tuple(
        sorted(decisions, key=lambda d: (ACTIONS.index(d.action), -(d.probability or 0.0) if d.changes else 0.0))
    )
