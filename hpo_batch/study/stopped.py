"""Why a study with trials left has no running workers, and which command continues it.

``claim.Decider`` decides this for a worker, under the lock. This module applies the same rules from outside once the
workers are gone, since their own explanation is only in their logs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

from hpo_batch.errors import HpoBatchError
from hpo_batch.journal.state import JournalState
from hpo_batch.records import TrialState
from hpo_batch.store.home import Marker, StudyHome
from hpo_batch.study.policy import why_tripped
from hpo_batch.study.remaining import is_used_up
from hpo_batch.study.stop_rules import StopRules, of_frozen


class Why(StrEnum):
    CANCELLED = "cancelled"
    DRAINED = "drained"
    TRIPPED = "too many failures"
    USED_UP = "every configuration was tried"
    NO_WORKER = "no worker"


class Stopped(Struct, frozen=True, kw_only=True):
    """Why a study has stopped before its target."""

    why: Why
    text: str
    commands: tuple[tuple[str, ...], ...]
    """commands that continue it once the problem is fixed, as arguments of ``hpo-batch``"""
    trial: int | None = None
    """the newest failed trial"""
    message: str = ""
    """its error message"""

    def as_json(self) -> dict[str, Any]:
        commands = [["hpo-batch", *words] for words in self.commands]
        return {
            "why": self.why.value,
            "text": self.text,
            "trial": self.trial,
            "message": self.message,
            "commands": commands,
        }


def why_frozen_stopped(home: StudyHome, state: JournalState, frozen: Mapping[str, Any] | None) -> Stopped | None:
    """``why_stopped`` for readers that do not load the schema of sweeps.

    Args:
        frozen: the tables of the newest revision; None if they cannot be read.
    """
    if frozen is not None:
        # of another version, or changed by hand: doctor says so
        with contextlib.suppress(HpoBatchError):
            return why_stopped(home, state, of_frozen(frozen))
    return why_stopped(home, state, None)


def why_stopped(home: StudyHome, state: JournalState, rules: StopRules | None) -> Stopped | None:
    """Why a study without workers has stopped; None if all trials are finished.

    Args:
        rules: of the newest revision; None if it cannot be read.
    """
    counts = state.counts()
    if not counts.remaining:
        return None
    left = f"{counts.remaining} trial{'' if counts.remaining == 1 else 's'} left"
    resume = ("resume", home.name)
    for marker in home.markers():
        why = Why.CANCELLED if marker == Marker.CANCELLED else Why.DRAINED
        return Stopped(why=why, text=f"it was {why}, {left}", commands=(resume,))
    if rules is not None:
        tripped = why_tripped(rules, state)
        if tripped is not None:
            # a finite sampler never proposes a configuration twice, so only retry can replace failed trials
            return Stopped(
                why=Why.TRIPPED,
                text=tripped.why,
                commands=(_retry(home) if rules.sampler.is_finite else resume,),
                trial=tripped.trial,
                message=_message(state, tripped.trial),
            )
        if (nothing := nothing_left(home, state, rules)) is not None:
            return nothing
    newest = _newest_failed(state)
    text = f"{left}, no workers running"
    return Stopped(why=Why.NO_WORKER, text=text, commands=(resume,), trial=newest, message=_message(state, newest))


def nothing_left(home: StudyHome, state: JournalState, rules: StopRules) -> Stopped | None:
    """Why new workers would find nothing to do although trials are missing; None if they would find work."""
    counts = state.counts()
    if not is_used_up(rules, state):
        return None
    failed = counts.failed - _tried_again(state)
    if failed > 0:
        some = f"{failed} of their trials failed" if failed > 1 else "one of their trials failed"
        newest = _newest_failed(state)
        return Stopped(
            why=Why.USED_UP,
            text=f"every configuration was tried, and {some}",
            commands=(_retry(home),),
            trial=newest,
            message=_message(state, newest),
        )
    text = f"the space has no other configuration: {counts.finished} of {counts.target} trials are finished"
    is_enough = counts.finished and not rules.sampler.is_finite
    enough = ("resume", home.name, "--set", f"study.trials={counts.finished}")
    return Stopped(why=Why.USED_UP, text=text, commands=(enough,) if is_enough else ())


def _retry(home: StudyHome) -> tuple[str, ...]:
    return "retry", home.name, "--resume"


def _newest_failed(state: JournalState) -> int | None:
    return next((number for reason, number in reversed(state.endings) if reason), None)


def _message(state: JournalState, trial: int | None) -> str:
    """The first line of a trial's error message."""
    text = "" if trial is None else state.trials[trial].record().message or ""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _tried_again(state: JournalState) -> int:
    """Number of failed trials whose configuration has a later trial that did not fail."""
    failed: Sequence[int] = sorted(state.by_state[TrialState.FAIL])
    newest = (state.number_of_key.get(state.trials[number].key or "", number) for number in failed)
    return sum(state.trials[number].state is not TrialState.FAIL for number in newest)
