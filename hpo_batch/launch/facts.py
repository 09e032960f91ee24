"""Events of submit and resume, typed so that a command can print them and a script can inspect them."""

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
    """Something that was found or done."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class Warned:
    """A warning."""

    text: str

    def __str__(self) -> str:
        return f"warning: {self.text}"


@dataclass(frozen=True, kw_only=True)
class PutAside:
    """An existing study was moved to the trash to make room for a new one."""

    home: StudyHome
    why: str
    path: Path | None
    """its new path; None in a dry run"""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The plan that is carried out next, or would be in a dry run."""

    plan: Plan


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """Workers were started."""

    plan: Plan
    submission: Submission


@dataclass(frozen=True, kw_only=True)
class Refused:
    """One budget's study could not be submitted; the others are."""

    home: StudyHome
    error: HpoBatchError


@dataclass(frozen=True, kw_only=True)
class NotResumed:
    """The collector does not submit the remaining trials."""

    home: StudyHome
    reason: str


Fact: TypeAlias = Note | Warned | PutAside | Planned | Submitted | Refused | NotResumed
Tell: TypeAlias = Callable[[Fact], None]
