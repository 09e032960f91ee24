"""What a check of a study found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hpo_batch.errors import Exit

"""lines or trials that a finding names"""


class Level(Enum):
    FINE = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, kw_only=True)
class Finding:
    level: Level
    about: str
    """``journal``, ``sweep``, ``locks``, ``leases``, ``trials``, ``disk`` or ``files``; of SLURM: ``slurm``,
    ``limits``, ``preempt``, ``nodes``, ``python``, ``gpus`` or ``clocks``"""
    what: str
    do: str = ""
    """what to do about it; empty if nothing has to be done"""
    mended_by_rebuild: bool = False
    code: Exit = Exit.STORAGE
    """exit code of a command that found it, if it is bad"""

    def as_json(self) -> dict[str, Any]:
        return {"level": self.level.value, "about": self.about, "what": self.what, "do": self.do}


def exit_code(findings: Iterable[Finding]) -> Exit:
    """The highest of the bad ones: what is wrong with the storage (4) before what is wrong with SLURM (3)."""
    return max((finding.code for finding in findings if finding.level is Level.BAD), default=Exit.OK)
