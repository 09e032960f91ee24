"""Who may change a study. ``[study] shared = true``: files with mode 0660 and directories with 2770 for a group.

The process's umask, in place of the user's, takes care of most files, including those of the user's code, and setgid
directories pass on the group (inode(7)). Other files are changed explicitly, if this user owns them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from hpo_batch.errors import StorageError
from hpo_batch.files import folder_below
from hpo_batch.store.home import StudyHome, check_enterable, check_writable, group_name, make_folder, user_name

log = logging.getLogger(__name__)

UMASK = 0o007
DIRECTORY = 0o2770
FILE = 0o660


@contextlib.contextmanager
def umask_for(*, shared: bool) -> Iterator[None]:
    """Set the umask of a shared study while the block runs; does nothing without ``shared``."""
    if not shared:
        yield
        return
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)


def make(home: StudyHome) -> None:
    """Create the directories of a shared study, and open an existing study to the group.

    A new study gets the group of the logs directory, if this user is a member. The logs directory is not changed: it
    may contain other files.

    Raises:
        StorageError: the directories cannot be created. A mode that cannot be set is only a warning.
    """
    make_folder(home.root)
    refused: set[Path] = set()
    with umask_for(shared=True):
        for folder in _own_folders(home):
            try:
                is_new = _made(folder)
                # by descriptor: others who may write there could replace the folder with a link meanwhile
                with folder_below(home.root, folder) as fd:
                    facts = os.fstat(fd)
                    if is_new:
                        _take_group(fd, home.root.stat().st_gid)
                    if stat.S_IMODE(facts.st_mode) & DIRECTORY == DIRECTORY:
                        continue  # perhaps with more rights, such as read access for others, set on purpose
                    if not _set_mode(fd, DIRECTORY):
                        refused.add(folder)
            except OSError as error:
                raise StorageError.because(f"cannot create the study's directory '{folder}'", error) from error
            if folder == home.path:
                refused.update(
                    open_to_group(folder, below=home.root, leaves=lambda path: path.is_relative_to(home.code))
                )
        home.make()
    if refused:
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        log.warning(
            "cannot set the mode of a shared study (%04o, files %04o) on '%s'%s: the group may not be able to write. "
            "Its owner can change that; if the file system does not support modes, submit without study.shared",
            DIRECTORY, FILE, min(refused), more,
        )  # fmt: skip


def _made(folder: Path) -> bool:
    if os.path.lexists(folder):
        return False
    make_folder(folder)
    return True


def open_to_group(folder: Path, *, below: Path, leaves: Callable[[Path], bool] = lambda path: False) -> list[Path]:
    """Set the modes of a shared study, and the folder's group, on ``folder`` and all files in it that this user owns.

    Needed for files that the umask does not affect: Python's ``tempfile``, which many libraries use for checkpoints,
    creates files that only their owner may read. Files are changed by descriptor, never by name, since others who may
    write there could replace a name with a link to a private file. Files with several hard links are skipped: another
    name may be outside the study.

    Args:
        folder: to open.
        below: a parent folder; no link between it and ``folder`` is followed (``files.folder_below``).
        leaves: whether to skip a file.

    Returns:
        Files whose mode could not be set.

    Raises:
        OSError: the folder does not exist, or is reached through a link.
    """
    me = os.geteuid()
    refused = []
    with folder_below(below, folder) as top:
        gid = os.fstat(top).st_gid
        for path, _, files, inside in os.fwalk(".", dir_fd=top, follow_symlinks=False):
            where = Path(os.path.normpath(folder / path))
            for name in [".", *(name for name in files if not leaves(where / name))]:
                with contextlib.suppress(FileNotFoundError):  # the user's code may remove files meanwhile
                    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inside)
                    try:
                        if not _open_one(fd, gid, me):
                            refused.append(where / name)
                    finally:
                        os.close(fd)
    return refused


def _open_one(fd: int, gid: int, me: int) -> bool:
    """False if the mode could not be set."""
    facts = os.fstat(fd)
    is_folder = stat.S_ISDIR(facts.st_mode)
    if facts.st_uid != me or not (is_folder or stat.S_ISREG(facts.st_mode)):
        return True
    if not is_folder and facts.st_nlink > 1:
        return True
    _take_group(fd, gid)
    runs = 0o110 if facts.st_mode & 0o100 else 0
    return _set_mode(fd, DIRECTORY if is_folder else FILE | runs)


def group_of(home: StudyHome) -> str:
    """Name of the group that the study has, or will have.

    Raises:
        StorageError: this user may not look there.
    """
    check_enterable(home.path)
    return group_name(_gid(home))


def doubts(home: StudyHome) -> list[str]:
    """Warnings that the group may not have access to the study. Changes nothing.

    Raises:
        StorageError: this user may not look there.
    """
    check_enterable(home.path)
    warnings = []
    above = _nearest(home.root)
    gid, logs = _gid(home), above.stat().st_gid
    group, wanted = group_name(gid), group_name(logs)
    if not home.path.exists() and gid != logs:
        warnings.append(
            f"study.shared: the study will belong to your group '{group}', because you are not a member of '{wanted}', "
            f"the group of '{above}'; to change it: 'chgrp -R GROUP {home.path}'"
        )
    elif gid not in _my_groups():
        warnings.append(
            f"study.shared: '{home.path}' belongs to group '{group}', of which you are not a member: "
            f"ask to be added, or ask the study's owner to change the group (chgrp -R)"
        )
    closed = [folder for folder in (above, *above.parents) if not folder.stat().st_mode & 0o011]
    if closed:
        warnings.append(f"study.shared: only its owner may enter '{closed[-1]}', so nobody else can use the study")
    return warnings


def _own_folders(home: StudyHome) -> list[Path]:
    """The study's directory and, if the sweep has budgets, its parent, so that the group can add budgets."""
    return [*reversed([folder for folder in home.path.parents if folder.is_relative_to(home.root)][:-1]), home.path]


def _gid(home: StudyHome) -> int:
    if home.path.exists():
        return home.path.stat().st_gid
    above = _nearest(home.root).stat()
    return above.st_gid if above.st_mode & stat.S_ISGID or above.st_gid in _my_groups() else os.getegid()


def _nearest(path: Path) -> Path:
    """``path``, or its nearest parent that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _my_groups() -> set[int]:
    return {os.getegid(), *os.getgroups()}


def _take_group(fd: int, gid: int) -> None:
    """Users may change the group of their files only to one they are in (chown(2)); ``doubts`` warns otherwise."""
    if os.fstat(fd).st_gid != gid:
        with contextlib.suppress(PermissionError):
            os.chown(f"/proc/self/fd/{fd}", -1, gid)


def _set_mode(fd: int, mode: int) -> bool:
    """Set a mode by descriptor; whether it is set now.

    A correct mode is not set again: if the user is not in the file's group, chmod(2) silently clears setgid
    (chmod(2)).
    """
    if stat.S_IMODE(os.fstat(fd).st_mode) == mode:
        return True
    try:
        os.chmod(f"/proc/self/fd/{fd}", mode)  # noqa: PTH101  # fchmod(2) does not accept O_PATH descriptors
    except OSError:
        return False
    return stat.S_IMODE(os.fstat(fd).st_mode) == mode


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
