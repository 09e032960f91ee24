"""Take back what a submission that was refused has made: a study that nobody else has begun to use, removed markers."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from hpo_batch.errors import StorageError
from hpo_batch.store.home import MARKERS, StudyHome
from hpo_batch.store.journal import Journal
from hpo_batch.store.submissions import read_submissions

MADE_BY_SUBMIT = ("journal.jsonl", "sweep.", "submissions.jsonl", "workers", "slurm", "trials", "code", "submit.", ".")
"""how the names begin of what lies in a study without trials and workers"""


def first_missing(path: Path) -> Path | None:
    """The uppermost folder on the way to ``path`` that is not there."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    return missing[-1] if missing else None


def remove_unused(home: StudyHome, submission: str, *, above: Path | None) -> bool:
    """Remove a study that this submission has just made, unless somebody else has begun to use it.

    Args:
        above: the uppermost folder that was made for it; None if its directory was there.
    """
    aside = home.path.with_name(f".{home.path.name}.{secrets.token_hex(4)}.refused")
    try:
        # whoever else submits to it or works on it writes into its journal, and must have this lock for that
        with Journal(home.journal).transaction(timeout_s=10.0) as transaction:
            if transaction.new.count(b'"hpo:armed"') != 1 or not _is_unused(home, submission):
                return False
            home.path.rename(aside)
    except (StorageError, OSError):
        return False
    shutil.rmtree(aside, ignore_errors=True)
    for folder in home.path.parents:
        # an empty folder of budgets means nothing, whoever made it; the logs directory and those above it may be wanted
        is_ours = home.root in folder.parents or (above is not None and folder.is_relative_to(above))
        if not is_ours:
            break
        with contextlib.suppress(OSError):  # somebody has put something there
            folder.rmdir()
    return True


def _is_unused(home: StudyHome, submission: str) -> bool:
    names = [path.name for path in home.path.iterdir()]
    return (
        all(name.startswith(MADE_BY_SUBMIT) for name in names)
        and not any((home.path / "trials").iterdir())
        and not any(home.workers.iterdir())
        and {one.id for one in read_submissions(home)} <= {submission}
    )


def take_markers(home: StudyHome) -> Mapping[str, str]:
    """Remove the markers that keep workers from starting; what they held."""
    found = {}
    for name in MARKERS:
        with contextlib.suppress(FileNotFoundError):
            found[name] = home.marker(name).read_text(encoding="utf-8", errors="replace")
            home.marker(name).unlink()
    return found


def put_back(home: StudyHome, markers: Mapping[str, str]) -> None:
    """The markers as they were; one that somebody has set in the meantime stays as it is."""
    for name, text in markers.items():
        with contextlib.suppress(OSError), home.marker(name).open("x", encoding="utf-8") as file:
            file.write(text)
