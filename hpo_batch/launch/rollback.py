"""Undo a rejected submission: remove the study that it created if nobody else uses it, and restore markers.

Only files that the submission itself created are removed, by a list. Everything that was in the directory before stays,
replaced files are restored, and no link is followed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpo_batch.errors import StorageError
from hpo_batch.files import read_regular
from hpo_batch.journal.attributes import ARMED
from hpo_batch.journal.file import Journal
from hpo_batch.store.home import DECISIONS, JOURNAL, Marker, StudyHome
from hpo_batch.store.submissions import read_submissions

# folders of a study without trials and workers
FOLDERS = ("trials", "workers", "slurm", "code", "local")
# files that a submission writes or replaces
FILES = ("sweep.toml", "sweep.1.json", "imported.1.jsonl", DECISIONS, "submissions.jsonl")
OF_JOURNAL = (JOURNAL, f"{JOURNAL}.flock", f"{JOURNAL}.lock", "submit.flock", "submit.lock")
# prefixes of the files that name a lock's holder (``journal.locks``)
CARDS = (f".{JOURNAL}.lock.", ".submit.lock.")
MOST_BYTES = 16 << 20
MARKER_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Before:
    """What existed before a submission started to create its study."""

    above: Path | None
    """the topmost folder that must be created; None if the study's directory exists"""
    names: frozenset[str] = frozenset()
    """entries of its directory, and of the folders that a submission writes into (``slurm/a``)"""
    submissions: frozenset[str] = frozenset()
    """ids of the submissions recorded there"""
    replaced: Mapping[str, tuple[bytes, int] | str] = field(default_factory=dict)
    """files that the submission replaces: content and mode, or a link's target"""


def look_before(home: StudyHome) -> Before:
    """Record the state of a study's directory for ``remove_unused``.

    Raises:
        StorageError: a file is in the way that could not be restored.
    """
    if not os.path.lexists(home.path):
        return Before(above=first_missing(home.path))
    try:
        replaced = _replaced(home)
        noted = frozenset(one.id for one in read_submissions(home))
        return Before(above=None, names=frozenset(_names(home.path)), submissions=noted, replaced=replaced)
    except OSError as error:
        raise StorageError.because(f"cannot read '{home.path}'", error) from error


def _replaced(home: StudyHome) -> dict[str, tuple[bytes, int] | str]:
    replaced: dict[str, tuple[bytes, int] | str] = {}
    for name in FILES:
        path = home.path / name
        with contextlib.suppress(FileNotFoundError):
            facts = path.lstat()
            if path.is_symlink():
                replaced[name] = str(path.readlink())
            elif not path.is_file() or facts.st_size > MOST_BYTES:
                raise StorageError(f"'{path}' is in the way: move it, or choose another [study] name")
            else:
                replaced[name] = (path.read_bytes(), facts.st_mode & 0o7777)
    return replaced


def first_missing(path: Path) -> Path | None:
    """The topmost missing folder on the way to ``path``."""
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    return missing[-1] if missing else None


def remove_unused(home: StudyHome, submission: str, *, before: Before) -> bool:
    """Remove a study that this submission has just created, unless somebody else uses it; whether it was removed."""
    is_ours = before.above is not None
    base = home.path.with_name(f".{home.path.name}.{secrets.token_hex(4)}.refused") if is_ours else home.path
    try:
        # under the journal's lock, which every other submission and worker needs to write
        with Journal(home.journal).transaction(timeout_s=10.0) as transaction:
            if transaction.new.count(f'"{ARMED}"'.encode()) != 1 or not _is_unused(home, submission, before):
                return False
            if is_ours:
                home.path.rename(base)  # atomic: nobody sees a partly removed study
            _remove_made(base, submission, before)
    except (StorageError, OSError):
        return False
    with contextlib.suppress(OSError):
        if is_ours and os.path.lexists(base) and not os.path.lexists(home.path):
            base.rename(home.path)  # it holds files of somebody else: put it back
    for folder in home.path.parents:
        if before.above is None or not folder.is_relative_to(before.above):
            break
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()
    return True


def _remove_made(base: Path, submission: str, before: Before) -> None:
    """Remove what this submission created in ``base``, and restore what it replaced."""
    made = [name for name in _names(base) if name not in before.names and _is_of(name, submission)]
    for name in (name for name in made if name not in FOLDERS):
        path = base / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)  # a snapshot, named by this submission's id
        else:
            path.unlink(missing_ok=True)
    for name, was in before.replaced.items():
        _put_back(base / name, was)
    for folder in (*(base / name for name in made if name in FOLDERS), *([base] if before.above is not None else [])):
        with contextlib.suppress(OSError):  # not empty: holds files of others
            folder.rmdir()


def _put_back(path: Path, was: tuple[bytes, int] | str) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    if isinstance(was, str):
        temporary.symlink_to(was)
    else:
        content, mode = was
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
    temporary.replace(path)


def _is_of(name: str, submission: str) -> bool:
    """Whether a submission creates an entry of this name; anything else may belong to somebody else."""
    folder, slash, inner = name.partition("/")
    if slash:
        return folder in FOLDERS and inner.startswith(submission)
    return name in FOLDERS + FILES + OF_JOURNAL or name.startswith(CARDS)


def _names(base: Path) -> Iterator[str]:
    for path in base.iterdir():
        yield path.name
        if path.name in FOLDERS and path.is_dir() and not path.is_symlink():
            yield from (f"{path.name}/{inner.name}" for inner in path.iterdir())


def _is_unused(home: StudyHome, submission: str, before: Before) -> bool:
    """Whether nobody else has submitted to the study or worked on it since."""
    new = {name for name in _names(home.path) if name not in before.names}
    return not any(name.startswith(("trials/", "workers/")) for name in new) and {
        one.id for one in read_submissions(home)
    } <= before.submissions | {submission}


def take_markers(home: StudyHome) -> Mapping[str, str]:
    """Remove the markers that keep workers from starting; returns their contents.

    Raises:
        StorageError: one cannot be removed.
    """
    contents: dict[str, str] = {}
    for name in Marker:
        path = home.marker(name)
        if not home.is_marked(name):
            continue
        contents[name] = ""  # a marker counts by existing; anybody may have written its content
        with contextlib.suppress(OSError):
            contents[name] = read_regular(path, most=MARKER_BYTES).decode(errors="replace")
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError.because(f"cannot remove '{path}'", error) from error
    return contents


def put_back(home: StudyHome, markers: Mapping[str, str]) -> None:
    """Restore the markers, except those that somebody has set in the meantime."""
    for name, text in markers.items():
        with contextlib.suppress(OSError), home.marker(name).open("x", encoding="utf-8") as file:
            file.write(text)
