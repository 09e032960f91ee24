"""Go on with studies as they were last submitted."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from hpo_batch.errors import StorageError
from hpo_batch.files import read_regular
from hpo_batch.launch.facts import Tell, Warned
from hpo_batch.launch.submit import Request
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import read_submissions, workdir_of
from hpo_batch.study.read import read_revision, read_state
from hpo_batch.sweep.load import override


def resume_request(home: StudyHome, overrides: Sequence[str] = (), *, tell: Tell = lambda fact: None) -> Request:
    """What to submit to go on with a study: its sweep as it is stored, where its workers ran last.

    Args:
        overrides: changes of the sweep, ``key=value``.

    Raises:
        StorageError: the study cannot be read, or was made without a sweep.
        UserError: an override does not fit.
    """
    state = read_state(home)
    if not state.revision:
        raise StorageError(f"no sweep in '{home.path}': submit its TOML")
    sweep = override(read_revision(home, state), overrides)
    try:
        toml = read_regular(home.sweep_toml).decode()
    except (OSError, ValueError):
        toml = ""  # it is for people; what counts is the revision
    return Request(sweep=sweep, home=home, toml=toml, workdir=last_workdir(home, tell=tell))


def last_workdir(home: StudyHome, *, tell: Tell = lambda fact: None) -> Path:
    """Where the workers of the last submission ran, as the user's code is found from there; else here."""
    folders = [folder for one in read_submissions(home) if (folder := workdir_of(home, one)) is not None]
    if not folders:
        return Path.cwd()
    why = _why_unusable(folders[-1])
    if why:
        tell(Warned(text=f"{folders[-1]}, where the workers of {home.name} ran, {why}; they run here now"))
        return Path.cwd()
    return folders[-1]


def _why_unusable(folder: Path) -> str:
    """Why a working directory that was noted cannot be this user's: it may be in a colleague's home."""
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            return "is not a directory"
    except PermissionError:
        return "is behind a directory that you may not enter"
    except (OSError, ValueError):
        return "does not exist here"
    return "" if os.access(folder, os.X_OK, effective_ids=True) else "may not be entered by you"
