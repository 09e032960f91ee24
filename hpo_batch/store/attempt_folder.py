"""The folder of an attempt: the claim as made, how the attempt ended, the checkpoint that is taken over.

The two files hold all that the journal knows of an attempt, so that it can be made again from them
(``study.rebuild``). ``kept`` reads them back. Files count against quotas, and each call is a round trip to a file
server: the claim is there only until the result, which repeats it, and nothing empty stays.
"""

from __future__ import annotations

import contextlib
import errno
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
from hpo_batch.files import (
    OddFile,
    copy_folder,
    folder_below,
    loads,
    open_regular,
    read_regular,
    remove_if_bare,
    unlink_if_empty,
    write_atomic,
    write_new,
)
from hpo_batch.records import Claim, Complete, Failed, GivenBack, Outcome, Pruned
from hpo_batch.store.home import StudyHome, is_counted

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
            with folder_below(home.path, folder) as inside:
                os.close(open_regular(RESULT, os.O_WRONLY | os.O_CREAT, dir_fd=inside))
        content = msgspec.json.format(msgspec.json.encode(_claim_record(claim, facts)), indent=2) + b"\n"
        with folder_below(home.path, folder) as inside:
            # Neither synced nor renamed into place: the journal has it, and so has the result. A torn one is no JSON.
            fd = open_regular(CLAIM, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, dir_fd=inside)
            try:
                os.write(fd, content)
            finally:
                os.close(fd)
            if claim.resumes is not None and not _is_there(CHECKPOINT, inside):
                _copy_checkpoint(home, home.attempt(claim.number, claim.resumes) / CHECKPOINT, inside)
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
            content = read_regular(folder / name)
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
    text, is_new = str(folder), False  # texts: this is done for every claim, and paths cost twice as much
    attempts = text.rpartition("/")[0]
    for path in (attempts.rpartition("/")[0], attempts, text) if folder.name == "1" else (text,):
        try:
            os.mkdir(path)  # noqa: PTH102
            is_new = True
        except FileExistsError:
            is_new = False
        except FileNotFoundError:
            os.makedirs(path, exist_ok=True)  # noqa: PTH103
            is_new = True
    return is_new


def _copy_checkpoint(home: StudyHome, earlier: Path, inside: int) -> None:
    """All of it or nothing: a part of a checkpoint is worse than none.

    Args:
        inside: descriptor of the attempt's folder.
    """
    refused: OSError | None = None
    for _ in range(COPY_TRIES):
        shutil.rmtree(ARRIVING, ignore_errors=True, dir_fd=inside)
        try:
            with folder_below(home.path, earlier) as source:
                refused = _copied(source, inside)
        except FileNotFoundError:
            return
        except OddFile as error:  # it would be somebody else's files
            refused = error
            break
        if refused is None:
            os.rename(ARRIVING, CHECKPOINT, src_dir_fd=inside, dst_dir_fd=inside)
            return
    shutil.rmtree(ARRIVING, ignore_errors=True, dir_fd=inside)
    log.warning("the checkpoint '%s' cannot be copied, the trial begins anew: %s", earlier, refused)


def _copied(source: int, inside: int) -> OSError | None:
    """Why the copy is not whole: files come and go below our hands where the earlier attempt lives and saves again."""
    os.mkdir(ARRIVING, dir_fd=inside)
    arriving = os.open(ARRIVING, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inside)
    try:
        copy_folder(source, arriving)
    except OSError as error:
        return error
    except RecursionError:  # folders in folders without end, which somebody made for it
        return OddFile(errno.ELOOP, "it is nested too deeply")
    finally:
        os.close(arriving)
    return None


def _is_there(name: str, inside: int) -> bool:
    try:
        os.stat(name, dir_fd=inside, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def newest_checkpoint(home: StudyHome, number: int) -> int | None:
    """The latest attempt of a trial that left something in its checkpoint folder."""
    attempts = home.trial(number) / "attempts"
    try:
        numbers = sorted((int(path.name) for path in attempts.iterdir() if is_counted(path.name)), reverse=True)
    except FileNotFoundError:
        return None
    return next((attempt for attempt in numbers if has_checkpoint(attempts / str(attempt))), None)


def has_checkpoint(folder: Path) -> bool:
    """Whether something lies in the checkpoint folder of an attempt."""
    return holds_files(folder / CHECKPOINT)


def holds_files(folder: Path) -> bool:
    """Whether a file lies in a folder or below it; an empty folder is made for each seed that has not saved yet."""
    if folder.is_symlink():
        return False  # what it leads to is no checkpoint of this study
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
    content = msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
    try:
        try:
            _write_result(home, folder, content, claim.token, keeps=isinstance(ended, GivenBack))
        except FileNotFoundError:
            folder.mkdir(parents=True)
            _write_result(home, folder, content, claim.token, keeps=isinstance(ended, GivenBack))
    except OSError as error:
        raise StorageError.because(f"cannot write '{folder / RESULT}'", error) from error


def _write_result(home: StudyHome, folder: Path, content: bytes, token: str, *, keeps: bool) -> None:
    """Durable before the claim is removed: a result that a kill has torn lies beside its claim, and is none.

    One that is there already was written when the attempt was told to end, or marks a folder that was another claim's.

    Args:
        keeps: leave one that is there as it is.
    """
    with folder_below(home.path, folder) as inside:
        if keeps and _has_content(RESULT, inside):
            return
        try:
            write_new(RESULT, content, dir_fd=inside)
        except FileExistsError:
            if not _is_of(folder, token):
                raise StorageError(f"'{folder}' belongs to another claim") from None
            # without the folder: the sync of the journal, which follows, commits the rename with it
            write_atomic(Path(f"/proc/self/fd/{inside}/{RESULT}"), content, sync_folder=False)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(CLAIM, dir_fd=inside)


def _has_content(name: str, inside: int) -> bool:
    try:
        return os.stat(name, dir_fd=inside, follow_symlinks=False).st_size > 0
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
        folder = home.attempt(number, attempt)
        if os.path.lexists(f"{folder}/{CHECKPOINT}"):
            with contextlib.suppress(OSError), folder_below(home.path, folder) as inside:
                shutil.rmtree(CHECKPOINT, ignore_errors=True, dir_fd=inside)


def tidy(home: StudyHome, number: int, attempt: int) -> None:
    """Remove what a killed attempt has left that is empty, or was there for the time of its life only.

    For whoever gives it back in its worker's place: an attempt that ends in order does so itself. What it printed,
    reported and saved stays, and so does its claim, unless there is a result. What cannot be removed is no error.
    """
    folder = home.attempt(number, attempt)
    with contextlib.suppress(OSError), folder_below(home.path, folder) as inside:
        if _is_repeated(folder):
            with contextlib.suppress(OSError):
                os.unlink(CLAIM, dir_fd=inside)
        shutil.rmtree(ARRIVING, ignore_errors=True, dir_fd=inside)
        _tidy_part(inside)


def tidy_part(folder: Path) -> None:
    """The same for what processes of the user's code have left, in an attempt's folder or that of one of its seeds."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, _FOLDER)
        try:
            _tidy_part(fd)
        finally:
            os.close(fd)


_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _tidy_part(inside: int) -> None:
    with contextlib.suppress(OSError):
        reading = os.open(".", _FOLDER, dir_fd=inside)
        try:
            names = os.listdir(reading)  # noqa: PTH208
        finally:
            os.close(reading)
        for name in names:
            with contextlib.suppress(OSError):
                if name in STREAMS:
                    unlink_if_empty(name, dir_fd=inside)
                elif name == STOP or _TEMPORARY.fullmatch(name):
                    os.unlink(name, dir_fd=inside)
                elif name.startswith(_PARTS):
                    part = os.open(name, _FOLDER, dir_fd=inside)
                    try:
                        _tidy_part(part)
                    finally:
                        os.close(part)
                    os.rmdir(name, dir_fd=inside)
                elif name == CHECKPOINT:
                    remove_if_bare(Path(f"/proc/self/fd/{inside}/{CHECKPOINT}"))


def _is_repeated(folder: Path) -> bool:
    """Whether there is a whole result that repeats the claim."""
    try:
        claim, result = (loads(read_regular(folder / name)) for name in (CLAIM, RESULT))
        return bool(claim["token"] == result["claim"]["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
