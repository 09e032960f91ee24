"""Continue studies as they were last submitted."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from hpo_batch.errors import StorageError
from hpo_batch.files import read_regular
from hpo_batch.launch.facts import Tell, Warned
from hpo_batch.launch.submit import Request, requests_of_file
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import read_submissions, workdir_of
from hpo_batch.study.read import read_revision, read_state
from hpo_batch.sweep.load import override


def resume_request(home: StudyHome, overrides: Sequence[str] = (), *, tell: Tell = lambda fact: None) -> Request:
    """The request that continues a study: its stored sweep, in the working directory of its last workers.

    Args:
        overrides: changes to the sweep, ``key=value``.

    Raises:
        StorageError: the study cannot be read, or has no sweep.
        UserError: an override is invalid.
    """
    state = read_state(home)
    if not state.revision:
        raise StorageError(f"no sweep in '{home.path}': submit its TOML")
    sweep = override(read_revision(home, state), overrides)
    try:
        toml = read_regular(home.sweep_toml).decode()
    except (OSError, ValueError):
        toml = ""  # only a copy for people to read
    return Request(sweep=sweep, home=home, toml=toml, workdir=last_workdir(home, tell=tell))


def resume_file(path: Path, *, root: Path, overrides: Sequence[str] = ()) -> list[Request]:
    """The requests of a sweep's file that continue its studies; one that names no template goes on where it ran.

    Raises:
        SweepInvalid: the file has mistakes; the error lists all of them.
        UserError: there is no such file.
    """
    requests = requests_of_file(path, root=root, overrides=overrides)
    unnamed = [one for one in requests if one.sweep.job.template is None]
    if unnamed and all(_ran_here(one.home) for one in unnamed):
        return requests_of_file(path, root=root, overrides=["job.template=local", *overrides])
    return requests


def _ran_here(home: StudyHome) -> bool:
    """Whether the newest workers of a study were processes of a machine, as with ``submit --local``."""
    submissions = read_submissions(home)
    return bool(submissions) and not submissions[-1].is_batch


def last_workdir(home: StudyHome, *, tell: Tell = lambda fact: None) -> Path:
    """The working directory of the last submission's workers, where the user's code is; else the current one."""
    folders = [folder for one in read_submissions(home) if (folder := workdir_of(home, one)) is not None]
    if not folders:
        return Path.cwd()
    why = _why_unusable(folders[-1])
    if why:
        tell(Warned(text=f"{folders[-1]}, where the workers of {home.name} ran, {why}; using this directory instead"))
        return Path.cwd()
    return folders[-1]


def _why_unusable(folder: Path) -> str:
    """Why a recorded working directory cannot be used; it may be in a colleague's home."""
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            return "is not a directory"
    except PermissionError:
        return "is in a directory that you may not enter"
    except (OSError, ValueError):
        return "does not exist here"
    return "" if os.access(folder, os.X_OK, effective_ids=True) else "is not accessible to you"
