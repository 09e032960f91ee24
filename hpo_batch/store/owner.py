"""Checks whether this user may change a study, before a command does."""

from __future__ import annotations

import os

from hpo_batch.errors import StorageError
from hpo_batch.store.home import StudyHome, check_enterable, check_writable, user_name


def check_ours(home: StudyHome) -> None:
    """Fail early, naming the owner, if this user may not change the study.

    Raises:
        StorageError: the study's directory, or the one it would be created in, is not writable.
    """
    check_enterable(home.path)
    try:
        check_writable(home.path)
    except StorageError as error:
        if not home.exists:
            raise
        uid = home.path.stat().st_uid
        if uid == os.geteuid():
            raise  # such as a read-only file system
        owner = user_name(uid)
        raise StorageError(
            f"no permission to write to '{home.path}': the study '{home.name}' belongs to {owner}; ask {owner} to run "
            f"the command, or to set [study] shared = true, which opens it to a group"
        ) from error
