"""Take back what a submission that was refused has made: a study that nobody else has begun to use, removed markers.

Only what the submission itself has made is removed, by a list: what lay in the directory before stays, whatever it is
called, and a file that was replaced is put back. No link is followed.
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
from hpo_batch.store.home import JOURNAL, Marker, StudyHome
from hpo_batch.store.submissions import read_submissions

FOLDERS = ("trials", "workers", "slurm", "code", "local")
"""that a study without trials and workers may have"""
FILES = ("sweep.toml", "sweep.1.json", "imported.1.jsonl", "submissions.jsonl")
"""that a submission writes, whatever was there"""
OF_JOURNAL = (JOURNAL, f"{JOURNAL}.flock", f"{JOURNAL}.lock", "submit.flock", "submit.lock")
CARDS = (f".{JOURNAL}.lock.", ".submit.lock.")
"""how the names begin of what says who holds a lock (``journal.locks``)"""
MOST_BYTES = 16 << 20
MARKER_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Before:
    """What was there before a submission began to make its study."""

    above: Path | None
    """the uppermost folder that has to be made for it; None if its directory is there"""
    names: frozenset[str] = frozenset()
    """what lies in its directory, and in the folders of it that a submission writes into (``slurm/a``)"""
    submissions: frozenset[str] = frozenset()
    """ids of those that are noted there"""
    replaced: Mapping[str, tuple[bytes, int] | str] = field(default_factory=dict)
    """files that the submission replaces: content and mode, or where a link leads"""


def look_before(home: StudyHome) -> Before:
    """Note what is there, for ``remove_unused``.

    Raises:
        StorageError: a file is in the way that could not be put back.
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
    """The uppermost folder on the way to ``path`` that is not there."""
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    return missing[-1] if missing else None


def remove_unused(home: StudyHome, submission: str, *, before: Before) -> bool:
    """Remove a study that this submission has just made, unless somebody else has begun to use it."""
    is_ours = before.above is not None
    base = home.path.with_name(f".{home.path.name}.{secrets.token_hex(4)}.refused") if is_ours else home.path
    try:
        # whoever else submits to it or works on it writes into its journal, and must have this lock for that
        with Journal(home.journal).transaction(timeout_s=10.0) as transaction:
            if transaction.new.count(f'"{ARMED}"'.encode()) != 1 or not _is_unused(home, submission, before):
                return False
            if is_ours:
                home.path.rename(base)  # at once: nobody sees a half of it
            _remove_made(base, submission, before)
    except (StorageError, OSError):
        return False
    with contextlib.suppress(OSError):
        if is_ours and os.path.lexists(base) and not os.path.lexists(home.path):
            base.rename(home.path)  # somebody has put something there in the meantime
    for folder in home.path.parents:
        if before.above is None or not folder.is_relative_to(before.above):
            break
        with contextlib.suppress(OSError):  # somebody has put something there
            folder.rmdir()
    return True


def _remove_made(base: Path, submission: str, before: Before) -> None:
    """Remove what this submission has made in ``base``, and put back what it has replaced."""
    made = [name for name in _names(base) if name not in before.names and _is_of(name, submission)]
    for name in (name for name in made if name not in FOLDERS):
        path = base / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)  # a snapshot: its name is ours alone
        else:
            path.unlink(missing_ok=True)
    for name, was in before.replaced.items():
        _put_back(base / name, was)
    for folder in (*(base / name for name in made if name in FOLDERS), *([base] if before.above is not None else [])):
        with contextlib.suppress(OSError):  # what is in it is not ours
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
    """Whether a submission makes something of this name: of all else nobody can say whose it is."""
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
    """Whether nobody else has submitted to it or worked on it since."""
    new = {name for name in _names(home.path) if name not in before.names}
    return not any(name.startswith(("trials/", "workers/")) for name in new) and {
        one.id for one in read_submissions(home)
    } <= before.submissions | {submission}


def take_markers(home: StudyHome) -> Mapping[str, str]:
    """Remove the markers that keep workers from starting; what they held.

    Raises:
        StorageError: one cannot be removed.
    """
    found: dict[str, str] = {}
    for name in Marker:
        path = home.marker(name)
        if not home.is_marked(name):
            continue
        found[name] = ""  # it counts for being there: what it says may be anybody's
        with contextlib.suppress(OSError):
            found[name] = read_regular(path, most=MARKER_BYTES).decode(errors="replace")
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError.because(f"cannot remove '{path}'", error) from error
    return found


def put_back(home: StudyHome, markers: Mapping[str, str]) -> None:
    """The markers as they were; one that somebody has set in the meantime stays as it is."""
    for name, text in markers.items():
        with contextlib.suppress(OSError), home.marker(name).open("x", encoding="utf-8") as file:
            file.write(text)
