"""Reads claims, results and reports back from the trial folders.

A file that cannot be read, or is in the wrong folder, becomes the ``problem`` of its attempt. Nothing is changed.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from hpo_batch.files import decode, read_json_lines, read_regular
from hpo_batch.journal.attributes import MAX_TIME_S, is_number
from hpo_batch.records import (
    USAGE,
    Cause,
    Complete,
    Configuration,
    Failed,
    GivenBack,
    Outcome,
    Pruned,
    Reason,
    Usage,
    Value,
)
from hpo_batch.store.attempt_folder import CLAIM, KINDS, METRICS_FILE, RESULT
from hpo_batch.store.home import StudyHome, is_counted

MOST_STEP = 2**62
EXIT = "exit.json"
"""how a command ended, in studies of earlier versions"""


class KeptClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A claim as written by its worker."""

    token: str
    configuration: Configuration
    trial: Mapping[str, Any]
    """the trial's attribute ``hpo:trial``"""
    attempt: Mapping[str, Any]
    """the trial's attribute ``hpo:attempt:N``"""

    @property
    def started(self) -> float:
        started: float = self.attempt["started"]
        return started


class KeptEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended, as written by its worker before it updated the journal."""

    ended: Outcome | GivenBack
    time: float

    @property
    def how(self) -> str:
        """As in the journal's ``hpo:ended:N``."""
        match self.ended:
            case Failed(reason=reason):
                return reason.value
            case GivenBack(cause=cause):
                return cause.value
            case _:
                return KINDS[type(self.ended)]


class KeptAttempt(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    folder: Path
    claim: KeptClaim | None = None
    """None if it cannot be read"""
    end: KeptEnd | None = None
    """None if there is none that belongs to the claim"""
    problem: str = ""
    """which file could not be used, and why"""


class KeptTrial(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    attempts: tuple[KeptAttempt, ...]
    """in order; the last one counts"""

    @property
    def claim(self) -> KeptClaim | None:
        """The newest readable claim: all claims of a trial have the same parameters."""
        return next((a.claim for a in reversed(self.attempts) if a.claim is not None), None)

    @property
    def end(self) -> KeptEnd | None:
        """How the last attempt ended. Earlier results are from attempts that were superseded or retried."""
        return self.attempts[-1].end if self.attempts else None

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(attempt.problem for attempt in self.attempts if attempt.problem)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    step: int
    time: float
    metrics: Mapping[str, float]


def kept_trials(home: StudyHome) -> Iterator[KeptTrial]:
    """Every trial that has a folder, by number."""
    numbers = {
        int(folder.name)
        for shard in _inside(home.path / "trials")
        for folder in _inside(shard)
        if is_counted(folder.name)
    }
    for number in sorted(numbers):
        if home.trial(number).is_dir():  # not in the wrong shard
            yield kept_trial(home, number)


def kept_trial(home: StudyHome, number: int) -> KeptTrial:
    attempts = sorted(int(path.name) for path in _inside(home.trial(number) / "attempts") if is_counted(path.name))
    return KeptTrial(number=number, attempts=tuple(_attempt(home, number, attempt) for attempt in attempts))


def kept_end(home: StudyHome, number: int, attempt: int, *, token: str) -> KeptEnd | None:
    """How one attempt ended, if it wrote a result and has the token of the claim."""
    kept = _attempt(home, number, attempt)
    return kept.end if kept.claim is not None and kept.claim.token == token else None


def command_end(folder: Path) -> Mapping[str, Any]:
    """How the command of an attempt ended, as the fields of ``CommandEnd``; empty if not recorded.

    Studies of earlier versions have a separate file for it.
    """
    with contextlib.suppress(OSError, ValueError):
        return decode(read_regular(folder / EXIT), dict[str, Any])
    with contextlib.suppress(OSError, ValueError):
        return decode(read_regular(folder / RESULT), _WithCommand).command
    return {}


def reports(folder: Path) -> list[Report]:
    """The reports of an attempt, in order. Torn and foreign lines are skipped."""
    reported = []
    for line in read_json_lines(folder / METRICS_FILE):
        step, time, metrics = line.get("step"), line.get("time"), line.get("metrics")
        if isinstance(step, int) and 0 <= step <= MOST_STEP and is_number(time) and isinstance(metrics, dict):
            numbers = {
                name: float(value) for name, value in metrics.items() if is_number(value) or isinstance(value, float)
            }
            reported.append(Report(step=step, time=float(time), metrics=numbers))
    return reported


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


class _ClaimFile(msgspec.Struct):
    number: int
    attempt: int
    token: str
    searched: dict[str, Value]
    fixed: dict[str, Value]
    trial: dict[str, Any]
    owner: dict[str, Any]


class _ResultFile(msgspec.Struct):
    outcome: str
    time: float
    claim: _ClaimFile
    values: tuple[float, ...] = ()
    step: int = 0
    reason: Reason | None = None
    cause: Cause | None = None
    message: str = ""
    traceback: str = ""
    metrics: dict[str, float | str] = {}
    replicates: tuple[dict[str, float | str], ...] = ()
    usage: Any = None


class _WithCommand(msgspec.Struct):
    command: dict[str, Any] = {}


def _attempt(home: StudyHome, number: int, attempt: int) -> KeptAttempt:
    folder = home.attempt(number, attempt)
    # in this order: a worker removes the claim once the result is written
    written, claim_wrong = _read(folder / CLAIM, _ClaimFile)
    result, result_wrong = _read(folder / RESULT, _ResultFile)
    problem, source = "", folder / CLAIM
    if written is None and result is not None:
        written, source = result.claim, folder / RESULT  # the result repeats the claim
    elif result_wrong and result_wrong != GONE and (written is not None or claim_wrong == GONE):
        problem = f"'{folder / RESULT}' {result_wrong}"
    elif written is None:
        problem = f"'{folder / CLAIM}' {claim_wrong}"
    claim = None
    if written is not None:
        strange = _why_strange(written, number=number, attempt=attempt)
        claim = None if strange else _claim(written)
        problem = f"'{source}' {strange}" if strange else problem
    end = None
    if claim is not None and result is not None:
        if result.claim.token == claim.token:
            end = _end(result)
            problem = problem if end is not None else f"'{folder / RESULT}' has invalid values"
        else:
            problem = f"'{folder / RESULT}' belongs to another claim and is ignored"
    return KeptAttempt(number=attempt, folder=folder, claim=claim, end=end, problem=problem)


GONE = "does not exist"


def _read(path: Path, kind: type[Any]) -> tuple[Any, str]:
    """The decoded file, or why it cannot be used."""
    try:
        content = read_regular(path)
        if not content and kind is _ResultFile:
            return None, GONE  # placeholder in a folder taken over from another claim (attempt_folder.open_attempt)
        return decode(content, kind), ""
    except FileNotFoundError:
        return None, GONE
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"
    except msgspec.ValidationError as error:
        return None, f"was not written by this hpo-batch: {error}"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, "is incomplete: its writer or its machine was stopped while writing"
    except ValueError as error:
        return None, f"has invalid values: {error}"


def _why_strange(written: _ClaimFile, *, number: int, attempt: int) -> str:
    """Why a readable claim is not the original one for this attempt; empty if it is."""
    if (written.number, written.attempt) != (number, attempt):
        return f"belongs to trial {written.number}, attempt {written.attempt}"
    owner = written.owner
    started, texts = owner.get("started"), ("worker", "job", "host", "token")
    if (
        not is_number(started)
        or abs(float(started)) > MAX_TIME_S
        or not all(isinstance(owner.get(name), str) for name in texts)
    ):
        return "does not name its worker"
    if not isinstance(written.trial.get("derived", {}), dict):
        return "has invalid derived values"
    # the key is a digest of the values, so an edited value shows
    configuration = Configuration(searched=written.searched, fixed=written.fixed)
    if written.trial.get("key") != configuration.key or owner["token"] != written.token:
        return "was edited: its key does not match its values"
    return ""


def _claim(written: _ClaimFile) -> KeptClaim:
    derived = written.trial.get("derived", {})
    return KeptClaim(
        token=written.token,
        configuration=Configuration(searched=written.searched, fixed=written.fixed, derived=derived),
        trial=written.trial,
        attempt=written.owner,
    )


def _end(result: _ResultFile) -> KeptEnd | None:
    try:
        ended = _outcome(result)
    except (ValueError, OverflowError):  # a metric that is some other text than "nan" or "inf"
        return None
    if ended is None or abs(result.time) > MAX_TIME_S:
        return None
    return KeptEnd(ended=replace(ended, usage=_usage(result.usage)), time=result.time)


def _usage(found: Any) -> Usage | None:
    """For information only: what is no number is left out, and does not cost the result."""
    known = found if isinstance(found, dict) else {}
    numbers = {name: known[name] for name in USAGE if isinstance(known.get(name), float | int)}
    return Usage(**numbers) if numbers else None


def _outcome(result: _ResultFile) -> Outcome | GivenBack | None:
    metrics = {name: float(value) for name, value in result.metrics.items()}
    if result.outcome == KINDS[Complete] and all(map(math.isfinite, result.values)):
        replicates = tuple({name: float(value) for name, value in seed.items()} for seed in result.replicates)
        return Complete(values=result.values, metrics=metrics, replicates=replicates)
    if result.outcome == KINDS[Pruned]:
        return Pruned(step=result.step, metrics=metrics)
    if result.outcome == KINDS[Failed] and result.reason is not None:
        return Failed(reason=result.reason, message=result.message, traceback=result.traceback, metrics=metrics)
    if result.outcome == KINDS[GivenBack] and result.cause is not None:
        return GivenBack(cause=result.cause)
    return None
