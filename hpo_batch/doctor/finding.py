"""What a check found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hpo_batch.errors import Exit


class Level(Enum):
    FINE = "ok"
    NOTE = "note"
    """it has a cost, or could not be tested"""
    BAD = "bad"


@dataclass(frozen=True, kw_only=True)
class Finding:
    level: Level
    about: str
    """``journal``, ``sweep``, ``locks``, ``leases``, ``trials``, ``disk`` or ``files``; of SLURM: ``slurm``,
    ``limits``, ``preempt``, ``nodes``, ``start``, ``python``, ``gpus`` or ``clocks``"""
    what: str
    do: str = ""
    """what to do about it; empty if nothing"""
    mended_by_rebuild: bool = False
    code: Exit = Exit.STORAGE
    """exit code of the command if the finding is bad"""

    def as_json(self) -> dict[str, Any]:
        return {"level": self.level.value, "about": self.about, "what": self.what, "do": self.do}


def fine(about: str, what: str) -> Finding:
    return Finding(level=Level.FINE, about=about, what=what)


def note(about: str, what: str, do: str = "") -> Finding:
    return Finding(level=Level.NOTE, about=about, what=what, do=do)


def bad(about: str, what: str, do: str) -> Finding:
    """Something is wrong with a study or its file system."""
    return Finding(level=Level.BAD, about=about, what=what, do=do)


def bad_site(about: str, what: str, do: str = "") -> Finding:
    """Something is wrong with the scheduler or with its nodes."""
    return Finding(level=Level.BAD, about=about, what=what, do=do, code=Exit.SLURM)


def exit_code(findings: Iterable[Finding]) -> Exit:
    """The highest code of bad findings: problems of the storage (4) come before those of SLURM (3)."""
    return max((finding.code for finding in findings if finding.level is Level.BAD), default=Exit.OK)
