"""What submit and resume tell while they run: typed, so that a command can print it and a script can look at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from hpo_batch.errors import HpoBatchError
from hpo_batch.launch.plan import Plan
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something that is so, or was done."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something that needs a look."""

    text: str

    def __str__(self) -> str:
        return f"warning: {self.text}"


@dataclass(frozen=True, kw_only=True)
class PutAside:
    """A study of the same name makes room for a new one."""

    home: StudyHome
    why: str
    path: Path | None
    """where it lies now; None in a dry run"""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What is carried out next; in a dry run what would be."""

    plan: Plan


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """Workers were started."""

    plan: Plan
    submission: Submission


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The study of one budget could not be submitted; the others are."""

    home: StudyHome
    error: HpoBatchError


@dataclass(frozen=True, kw_only=True)
class NotResumed:
    """The job that collects may not submit what is left."""

    home: StudyHome
    reason: str


Fact: TypeAlias = Note | Warned | PutAside | Planned | Submitted | Refused | NotResumed
Tell: TypeAlias = Callable[[Fact], None]
