"""Writes the folder of an attempt: its claim, its result and the checkpoint it resumes from.

Together the two files contain all that the journal has of an attempt, so a lost journal can be rebuilt from them
(``study.rebuild``); ``attempt_archive`` reads them. Files count against quotas and each call is a round trip to a file
server, so the claim is removed once the result, which repeats it, is written, and empty files are removed.
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
"""one line per report: ``{"step": 3, "time": 1.7e9, "metrics": {...}}``"""
SEEDS_METRICS_FILE: Final = "metrics.seeds.jsonl"
"""the same for all seeds after the first, in one file; each line has its ``seed``, counted from 1"""
STREAMS: Final = ("stdout", "stderr")
"""output of an attempt; removed at its end if empty"""
STOP: Final = "stop"
"""asks a running command to stop"""
KINDS: Final = {Complete: "complete", Pruned: "pruned", Failed: "failed", GivenBack: "given_back"}
"""the field ``outcome`` of a result"""

COPY_TRIES = 3
ARRIVING: Final = ".checkpoint.tmp"
# temporary files of ``files.write_atomic``
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
# prefixes of the folders of further seeds and ranks within an attempt's folder
_PARTS: Final = ("seed-", "rank-")


class ClaimFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The journal's attributes of a claim, unchanged, besides the parameters."""

    trial: Mapping[str, Any]
    """the trial's attribute ``hpo:trial``: key, seeds, origin, name, set, note, revision, derived values"""
    attempt: Mapping[str, Any]
    """the trial's attribute ``hpo:attempt:N``: worker, token and start time"""


def open_attempt(home: StudyHome, claim: Claim, facts: ClaimFacts) -> Path:
    """Create the attempt's folder, with the claim and, if it resumes, a copy of the earlier checkpoint.

    The checkpoint is copied because the earlier attempt may still be alive and must not write into ours. An attempt
    that does not resume gets a checkpoint folder when it first asks for one.

    Raises:
        StorageError: the folder cannot be written.
    """
    folder = home.attempt(claim.number, claim.attempt)
    try:
        if not _make(folder) and not _is_of(folder, claim.token):
            # left by a claim that was lost when an older copy of the journal was restored
            if claim.attempt == 1:  # its checkpoints are of another configuration
                trial = home.trial(claim.number)
                trial.rename(trial.with_name(f"{trial.name}.{claim.token}"))
                _make(folder)
            # if that worker still runs, it finds a result here and checks whose folder this is (write_result)
            with folder_below(home.path, folder) as inside:
                os.close(open_regular(RESULT, os.O_WRONLY | os.O_CREAT, dir_fd=inside))
        content = msgspec.json.format(msgspec.json.encode(_claim_record(claim, facts)), indent=2) + b"\n"
        with folder_below(home.path, folder) as inside:
            # neither synced nor renamed into place: the journal and the result repeat it, and a torn one is not valid
            # JSON
            fd = open_regular(CLAIM, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, dir_fd=inside)
            try:
                os.write(fd, content)
            finally:
                os.close(fd)
            if claim.resumes is not None and not _is_there(CHECKPOINT, inside):
                _copy_checkpoint(home, home.attempt(claim.number, claim.resumes) / CHECKPOINT, inside)
    except OSError as error:
        raise StorageError.because(f"cannot create the folder of an attempt, '{folder}'", error) from error
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
    """Whether an attempt's folder belongs to the claim with this token, by its claim or result."""
    for name in (CLAIM, RESULT):
        try:
            content = read_regular(folder / name)
        except OSError:
            continue
        if b'"token": ' in content:  # else the file is incomplete
            return f'"token": "{token}"'.encode() in content
    return False


def _make(folder: Path) -> bool:
    """Create the attempt's folder with as few calls as possible: three for a first attempt, else one.

    Returns:
        Whether it is new.
    """
    text, is_new = str(folder), False  # str instead of Path, which takes twice as long, for every claim
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
    """Copy a checkpoint completely or not at all: half a checkpoint is worse than none.

    Args:
        home: of the study.
        earlier: checkpoint folder of the earlier attempt.
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
        except OddFile as error:  # a link to files of somebody else; trying again does not help
            refused = error
            break
        if refused is None:
            os.rename(ARRIVING, CHECKPOINT, src_dir_fd=inside, dst_dir_fd=inside)
            return
    shutil.rmtree(ARRIVING, ignore_errors=True, dir_fd=inside)
    log.warning("cannot copy the checkpoint '%s', the trial starts over: %s", earlier, refused)


def _copied(source: int, inside: int) -> OSError | None:
    """Copy once; the error if it is incomplete, as when the earlier attempt is still alive and saves meanwhile."""
    os.mkdir(ARRIVING, dir_fd=inside)
    arriving = os.open(ARRIVING, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inside)
    try:
        copy_folder(source, arriving)
    except OSError as error:
        return error
    except RecursionError:  # deeper than Python's recursion limit, which only an attacker would build
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
    """The latest attempt of a trial with files in its checkpoint folder."""
    attempts = home.trial(number) / "attempts"
    try:
        numbers = sorted((int(path.name) for path in attempts.iterdir() if is_counted(path.name)), reverse=True)
    except FileNotFoundError:
        return None
    return next((attempt for attempt in numbers if has_checkpoint(attempts / str(attempt))), None)


def has_checkpoint(folder: Path) -> bool:
    """Whether there are files in the checkpoint folder of an attempt."""
    return holds_files(folder / CHECKPOINT)


def holds_files(folder: Path) -> bool:
    """Whether there is a file in a folder or below it: seeds that have not saved yet have empty folders."""
    if folder.is_symlink():
        return False  # its target is not a checkpoint of this study
    return any(names for _, _, names in os.walk(folder))


def write_result(home: StudyHome, claim: Claim, ended: Outcome | GivenBack, facts: ClaimFacts, *, now: float) -> None:
    """Write how an attempt ended to disk, before the journal is updated.

    The result repeats the claim, which is then removed. If an attempt is given back although it has a result (Ctrl-C
    between the two), the result stays.

    Args:
        home: of the study.
        claim: of the attempt.
        ended: its outcome.
        facts: the journal's attributes of the claim.
        now: seconds since the epoch.

    Raises:
        StorageError: the folder cannot be written, or belongs to another claim.
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
    """Write the result durably, then remove the claim: a torn result always has its claim beside it.

    A result that exists already was written when the attempt was asked to stop, or is the placeholder of
    ``open_attempt``.

    Args:
        keeps: do not overwrite a result that exists.
    """
    with folder_below(home.path, folder) as inside:
        if keeps and _has_content(RESULT, inside):
            return
        try:
            write_new(RESULT, content, dir_fd=inside)
        except FileExistsError:
            if not _is_of(folder, token):
                raise StorageError(f"'{folder}' belongs to another claim") from None
            # the folder is not synced here: the sync of the journal follows, and commits the rename with it
            write_atomic(Path(f"/proc/self/fd/{inside}/{RESULT}"), content, sync_folder=False)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(CLAIM, dir_fd=inside)


def _has_content(name: str, inside: int) -> bool:
    try:
        return os.stat(name, dir_fd=inside, follow_symlinks=False).st_size > 0
    except FileNotFoundError:
        return False


def _facts_of(ended: Outcome | GivenBack) -> dict[str, Any]:
    facts = {name: value for name, value in vars(ended).items() if name not in ("replicates", "usage")}
    if ended.command is None:
        del facts["command"]
    if ended.usage is not None and (known := ended.usage.known()):
        facts["usage"] = known
    return facts


def _in_json(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Metrics with NaN and infinity as strings, which JSON can store and ``float`` parses."""
    return {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}


def last_sign(folder: Path) -> float | None:
    """When an attempt's folder last changed, by the file server's clock; None if it is empty or unreadable."""
    try:
        with os.scandir(folder) as entries:
            return max((entry.stat(follow_symlinks=False).st_mtime for entry in entries), default=None)
    except OSError:
        return None


def drop_checkpoints(home: StudyHome, number: int, *, attempts: int) -> None:
    """Remove the checkpoints of a finished trial with this number of attempts."""
    for attempt in range(1, attempts + 1):
        folder = home.attempt(number, attempt)
        if os.path.lexists(f"{folder}/{CHECKPOINT}"):
            with contextlib.suppress(OSError), folder_below(home.path, folder) as inside:
                shutil.rmtree(CHECKPOINT, ignore_errors=True, dir_fd=inside)


def tidy(home: StudyHome, number: int, attempt: int) -> None:
    """Remove empty and temporary files that a killed attempt left. An attempt that ends normally does so itself.

    Output, reports and checkpoints stay, and so does the claim unless there is a result. Files that cannot be removed
    are ignored.
    """
    folder = home.attempt(number, attempt)
    with contextlib.suppress(OSError), folder_below(home.path, folder) as inside:
        if _is_repeated(folder):
            with contextlib.suppress(OSError):
                os.unlink(CLAIM, dir_fd=inside)
        shutil.rmtree(ARRIVING, ignore_errors=True, dir_fd=inside)
        _tidy_part(inside)


def tidy_part(folder: Path) -> None:
    """The same for the folder of an attempt or of one of its seeds, after processes of the user's code."""
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
    """Whether there is a complete result that repeats the claim."""
    try:
        claim, result = (loads(read_regular(folder / name)) for name in (CLAIM, RESULT))
        return bool(claim["token"] == result["claim"]["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
