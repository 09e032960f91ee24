"""Faults at one of the calls by which a process changes files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from benchmarks.fault_points import WRITES, Call, Die, Refuse

Fault: TypeAlias = Callable[[Call], Die | Refuse | None]


def die_halfway(call: Call) -> Die:
    """Die before the call; of a write, after half of its bytes."""
    return Die(written=len(call.data) // 2 if call.name in WRITES else None)


@dataclass(kw_only=True)
class AtCall:
    """A fault at call number ``k``, for ``fault_points.install``."""

    k: int
    """from 0"""
    fault: Fault
    among: tuple[str, ...] | None = None
    """names of the calls that count; None for all"""
    made: int = 0
    """calls so far"""

    def __call__(self, call: Call) -> Die | Refuse | None:
        if self.among is not None and call.name not in self.among:
            return None
        self.made += 1
        return self.fault(call) if self.made == self.k + 1 else None
