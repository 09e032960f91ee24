"""The folder of an attempt: the claim as made, how the attempt ended, the checkpoint that is taken over.

The two files hold all that the journal knows of an attempt, so that it can be made again from them
(``study.rebuild``). ``kept`` reads them back. Files count against quotas, and each call is a round trip to a file
server: the claim is there only until the result, which repeats it, and nothing empty stays.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from hpo_batch.errors import StorageError
from hpo_batch.files import remove_if_bare, unlink_if_empty, write_atomic, write_new
from hpo_batch.records import Claim, Complete, Failed, GivenBack, Outcome, Pruned
from hpo_batch.store.home import StudyHome

log = logging.getLogger(__name__)

CLAIM: Final = "claim.json"
RESULT: Final = "result.json"
CHECKPOINT: Final = "checkpoint"
METRICS_FILE: Final = "metrics.jsonl"
"""one line ``{"step": 3, "time": 1.7e9, "metrics": {...}}`` per report"""
SEEDS_METRICS_FILE: Final = "metrics.seeds.jsonl"
"""the same of the seeds behind the first, all in one file: each line has its ``seed``, counted from 1"""
STREAMS: Final = ("stdout", "stderr")
"""what an attempt prints; one that is empty when it ends is removed"""
STOP: Final = "stop"
"""tells a running command to stop"""
KINDS: Final = {Complete: "complete", Pruned: "pruned", Failed: "failed", GivenBack: "given_back"}
"""what ``outcome`` says in a result"""

COPY_TRIES = 3
ARRIVING: Final = ".checkpoint.tmp"
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
"""as ``files.write_atomic`` names them"""
_PARTS: Final = ("seed-", "rank-")
"""how the folders of a trial's further seeds and ranks begin, in that of the attempt"""


@dataclass(frozen=True, kw_only=True)
class ClaimFacts:
    """What the journal has of a claim beside the parameters, word for word."""

    trial: Mapping[str, Any]
    """the trial's attribute ``hpo:trial``: key, seeds, origin, name, set, note, revision, derived values"""
    attempt: Mapping[str, Any]
    """its attribute ``hpo:attempt:N``: the worker, the token, the time it started"""


def open_attempt(home: StudyHome, claim: Claim, facts: ClaimFacts) -> Path:
    """Make the attempt's folder, with the claim and, if it resumes, a copy of the earlier attempt's checkpoint.

    A copy: the earlier attempt may still be alive somewhere, and must not write into ours. An attempt that does not
    resume gets a folder for checkpoints when it first asks for one.

    Raises:
        StorageError: the folder cannot be written.
    """
    folder = home.attempt(claim.number, claim.attempt)
    try:
        if not _make(folder) and not _is_of(folder, claim.token):
            # of a claim that is no more, since an older copy of the journal was put back
            if claim.attempt == 1:  # its checkpoints are of another configuration
                trial = home.trial(claim.number)
                trial.rename(trial.with_name(f"{trial.name}.{claim.token}"))
                _make(folder)
            # Should its worker still be at work, it finds a result here, and looks whose folder this is (write_result).
            (folder / RESULT).touch()
        # Neither synced nor renamed into place: the journal has it, and so has the result. A torn one is no JSON.
        fd = os.open(folder / CLAIM, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            os.write(fd, msgspec.json.format(msgspec.json.encode(_claim_record(claim, facts)), indent=2) + b"\n")
        finally:
            os.close(fd)
        if claim.resumes is not None and not (folder / CHECKPOINT).exists():
            _copy_checkpoint(home.attempt(claim.number, claim.resumes) / CHECKPOINT, folder / CHECKPOINT)
    except OSError as error:
        raise StorageError.because(f"cannot make the folder of an attempt, '{folder}'", error) from error
    return folder


def _claim_record(claim: Claim, facts: ClaimFacts) -> dict[str, object]:
    return {
        "number": claim.number,
        "attempt": claim.attempt,
        "token": claim.token,
        "resumes": claim.resumes,
        "searched": claim.configuration.searched,
        "fixed": claim.configuration.fixed,
        "trial": facts.trial,
        "owner": facts.attempt,
    }


def _is_of(folder: Path, token: str) -> bool:
    """Whether the claim in an attempt's folder is the one with the token; the result repeats it when it has ended."""
    for name in (CLAIM, RESULT):
        try:
            content = (folder / name).read_bytes()
        except OSError:
            continue
        if b'"token": ' in content:  # else it was torn
            return f'"token": "{token}"'.encode() in content
    return False


def _make(folder: Path) -> bool:
    """The attempt's folder: one call where the trial has one already, three for the first attempt of most trials.

    Returns:
        Whether it was not there before.
    """
    attempts, is_new = folder.parent, False
    for path in (attempts.parent, attempts, folder) if folder.name == "1" else (folder,):
        try:
            os.mkdir(path)  # noqa: PTH102  # pathlib's costs twice as much, and this is done for every claim
            is_new = True
        except FileExistsError:
            is_new = False
        except FileNotFoundError:
            path.mkdir(parents=True, exist_ok=True)
            is_new = True
    return is_new


def _copy_checkpoint(earlier: Path, checkpoint: Path) -> None:
    """All of it or nothing: a part of a checkpoint is worse than none."""
    arriving = checkpoint.with_name(ARRIVING)
    refused: list[tuple[str, str, str]] = []
    for _ in range(COPY_TRIES):
        shutil.rmtree(arriving, ignore_errors=True)
        try:
            shutil.copytree(earlier, arriving)
        except FileNotFoundError:
            return
        except shutil.Error as error:
            # files come and go below our hands: the earlier attempt lives and saves another one
            refused = error.args[0]
            continue
        arriving.rename(checkpoint)
        return
    shutil.rmtree(arriving, ignore_errors=True)
    # the first of copytree's reasons, of which it has one for each file
    log.warning("the checkpoint '%s' cannot be copied, the trial begins anew: %s", earlier, refused[0][2])


def newest_checkpoint(home: StudyHome, number: int) -> int | None:
    """The latest attempt of a trial that left something in its checkpoint folder."""
    attempts = home.trial(number) / "attempts"
    try:
        numbers = sorted((int(path.name) for path in attempts.iterdir() if path.name.isdigit()), reverse=True)
    except FileNotFoundError:
        return None
    return next((attempt for attempt in numbers if has_checkpoint(attempts / str(attempt))), None)


def has_checkpoint(folder: Path) -> bool:
    """Whether something lies in the checkpoint folder of an attempt."""
    return holds_files(folder / CHECKPOINT)


def holds_files(folder: Path) -> bool:
    """Whether a file lies in a folder or below it; an empty folder is made for each seed that has not saved yet."""
    return any(names for _, _, names in os.walk(folder))


def write_result(home: StudyHome, claim: Claim, ended: Outcome | GivenBack, facts: ClaimFacts, *, now: float) -> None:
    """The second copy of how an attempt ended, on disk before the journal is told.

    It repeats the claim, which is then removed: a claim that was torn when the machine crashed is not missed. An
    attempt that is given back while its result is there (Ctrl-C between the two) keeps the result.

    Raises:
        StorageError: the folder cannot be written, or is another claim's.
    """
    record: dict[str, Any] = {"outcome": KINDS[type(ended)], "time": now, **_facts_of(ended)}
    if not isinstance(ended, GivenBack):
        record["metrics"] = _in_json(ended.metrics)
    if isinstance(ended, Complete):
        replicates = [_in_json(metrics) for metrics in ended.replicates]
        record |= {"replicates": replicates} if replicates else {}
    record["claim"] = _claim_record(claim, facts)
    folder = home.attempt(claim.number, claim.attempt)
    try:
        if isinstance(ended, GivenBack) and _has_content(folder / RESULT):
            return
        content = msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
        try:
            _write_result(folder, content, claim.token)
        except FileNotFoundError:
            folder.mkdir(parents=True)
            _write_result(folder, content, claim.token)
        (folder / CLAIM).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError.because(f"cannot write '{folder / RESULT}'", error) from error


def _write_result(folder: Path, content: bytes, token: str) -> None:
    """Durable before the claim is removed: a result that a kill has torn lies beside its claim, and is none.

    One that is there already was written when the attempt was told to end, or marks a folder that was another claim's.
    """
    try:
        write_new(folder / RESULT, content)
    except FileExistsError:
        if not _is_of(folder, token):
            raise StorageError(f"'{folder}' belongs to another claim") from None
        # without the folder: the sync of the journal, which follows, commits the rename with it
        write_atomic(folder / RESULT, content, sync_folder=False)


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _facts_of(ended: Outcome | GivenBack) -> dict[str, Any]:
    facts = {name: value for name, value in vars(ended).items() if name != "replicates"}
    if ended.command is None:
        del facts["command"]
    return facts


def _in_json(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """JSON has no NaN and no infinity: they are written as texts, which ``float`` reads."""
    return {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}


def last_sign(folder: Path) -> float | None:
    """When something in an attempt's folder changed last, by the file server's clock; None if nothing is to be seen."""
    try:
        with os.scandir(folder) as entries:
            return max((entry.stat(follow_symlinks=False).st_mtime for entry in entries), default=None)
    except OSError:
        return None


def drop_checkpoints(home: StudyHome, number: int, *, attempts: int) -> None:
    """A trial that has ended after so many attempts needs its checkpoints no more."""
    for attempt in range(1, attempts + 1):
        folder = home.attempt(number, attempt) / CHECKPOINT
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)


def tidy(home: StudyHome, number: int, attempt: int) -> None:
    """Remove what a killed attempt has left that is empty, or was there for the time of its life only.

    For whoever gives it back in its worker's place: an attempt that ends in order does so itself. What it printed,
    reported and saved stays, and so does its claim, unless there is a result. What cannot be removed is no error.
    """
    folder = home.attempt(number, attempt)
    if _is_repeated(folder):
        with contextlib.suppress(OSError):
            (folder / CLAIM).unlink()
    shutil.rmtree(folder / ARRIVING, ignore_errors=True)
    tidy_part(folder)


def tidy_part(folder: Path) -> None:
    """The same for what processes of the user's code have left, in an attempt's folder or that of one of its seeds."""
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return
    for name in names:
        path = folder / name
        if name in STREAMS:
            unlink_if_empty(path)
        elif name == STOP or _TEMPORARY.fullmatch(name):
            with contextlib.suppress(OSError):
                path.unlink()
        elif name.startswith(_PARTS):
            tidy_part(path)
            with contextlib.suppress(OSError):
                path.rmdir()
        elif name == CHECKPOINT:
            remove_if_bare(path)


def _is_repeated(folder: Path) -> bool:
    """Whether there is a whole result that repeats the claim."""
    try:
        claim, result = (msgspec.json.decode((folder / name).read_bytes()) for name in (CLAIM, RESULT))
        return bool(claim["token"] == result["claim"]["token"])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return False
