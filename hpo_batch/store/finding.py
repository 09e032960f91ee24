"""What a check of a study found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

NAMED = 10
"""lines or trials that a finding names"""


class Level(Enum):
    FINE = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, kw_only=True)
class Finding:
    level: Level
    about: str
    """``journal``, ``sweep``, ``locks``, ``leases``, ``trials`` or ``disk``"""
    what: str
    do: str = ""
    """what to do about it; empty if nothing has to be done"""
    mended_by_rebuild: bool = False


def listed(items: Iterable[object]) -> str:
    texts = [str(item) for item in items]
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return ", ".join(texts[:NAMED]) + more
