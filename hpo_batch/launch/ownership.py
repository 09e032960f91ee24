"""Whether a study is this user's to change."""

from __future__ import annotations

import os

from hpo_batch.errors import StorageError
from hpo_batch.store.home import StudyHome, check_enterable, check_writable, user_name


def check_ours(home: StudyHome) -> None:
    """Say early, in one line, that this user cannot change the study, and whose it is.

    Raises:
        StorageError: the study's directory, or the one that it would be made in, refuses writing.
    """
    check_enterable(home.path)
    try:
        check_writable(home.path)
    except StorageError as error:
        if not home.exists:
            raise
        uid = home.path.stat().st_uid
        if uid == os.geteuid():
            raise  # of a read-only file system, for example
        owner = user_name(uid)
        raise StorageError(
            f"no permission to write in '{home.path}': the study '{home.name}' is {owner}'s; ask {owner}, or for "
            f"[study] shared = true, which opens it to a group"
        ) from error
