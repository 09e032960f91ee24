"""``[study] shared = true``: files 0660 and directories 2770 for a group, whatever the umask of who makes them.

Most of it is the process's own umask, which also rules what the user's code and its programs make; the group is passed
on from directory to directory by setgid. Only what neither reaches is changed by hand, and only what this user owns.
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
from hpo_batch.store.home import StudyHome, check_enterable, group_name, make_folder

log = logging.getLogger(__name__)

UMASK = 0o007
DIRECTORY = 0o2770
FILE = 0o660


@contextlib.contextmanager
def umask_for(*, shared: bool) -> Iterator[None]:
    """The umask of a shared study while the block runs; without ``shared`` the user's own stays."""
    if not shared:
        yield
        return
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)


def make(home: StudyHome) -> None:
    """The directories of a shared study; what an existing one holds is opened to the group, if its directory was not.

    A new one belongs to the group of the logs directory, if we are in it. The logs directory itself is left as it is:
    what else lies there is not the group's business.

    Raises:
        StorageError: the file system refuses the directories; that it refuses a mode is only told.
    """
    make_folder(home.root)
    refused: set[Path] = set()
    with umask_for(shared=True):
        for folder in _own_folders(home):
            try:
                is_new = _made(folder)
                # by its descriptor: where others may write, a name may lead elsewhere a moment later
                with folder_below(home.root, folder) as fd:
                    facts = os.fstat(fd)
                    if is_new:
                        _take_group(fd, home.root.stat().st_gid)
                    if stat.S_IMODE(facts.st_mode) & DIRECTORY == DIRECTORY:
                        continue  # and perhaps more, such as reading for everybody, which somebody gave on purpose
                    if not _set_mode(fd, DIRECTORY):
                        refused.add(folder)
            except OSError as error:
                raise StorageError.because(f"cannot make the study's directory '{folder}'", error) from error
            if folder == home.path:
                refused.update(
                    open_to_group(folder, below=home.root, leaves=lambda path: path.is_relative_to(home.code))
                )
        home.make()
    if refused:
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        log.warning(
            "'%s'%s did not take the modes of a shared study (%04o, files %04o): the group may not be able to write "
            "there. Its owner can change that; if the file system has no such modes, submit without study.shared",
            min(refused), more, DIRECTORY, FILE,
        )  # fmt: skip


def _made(folder: Path) -> bool:
    if os.path.lexists(folder):
        return False
    make_folder(folder)
    return True


def open_to_group(folder: Path, *, below: Path, leaves: Callable[[Path], bool] = lambda path: False) -> list[Path]:
    """``folder`` and what is in it, as far as this user owns it: the modes of a shared study, and the folder's group.

    For what the umask does not reach: Python's ``tempfile``, and so the checkpoints of many libraries, makes files
    that only their owner may read. What is changed is held by its descriptor, never named: where others may write, a
    name may lead to a private file a moment later. A file with several names is left alone, since one of them may lie
    outside of the study.

    Args:
        below: the folder above in which links are trusted to lead nowhere else (``files.folder_below``).
        leaves: whether a file keeps its mode.

    Returns:
        What did not take its mode.

    Raises:
        OSError: the folder is not there, or a link leads to it.
    """
    me = os.geteuid()
    refused = []
    with folder_below(below, folder) as top:
        gid = os.fstat(top).st_gid
        for path, _, files, inside in os.fwalk(".", dir_fd=top, follow_symlinks=False):
            where = Path(os.path.normpath(folder / path))
            for name in [".", *(name for name in files if not leaves(where / name))]:
                with contextlib.suppress(FileNotFoundError):  # the user's code may be at work here
                    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inside)
                    try:
                        if not _open_one(fd, gid, me):
                            refused.append(where / name)
                    finally:
                        os.close(fd)
    return refused


def _open_one(fd: int, gid: int, me: int) -> bool:
    """False if it should have another mode and did not take it."""
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
    """Name of the group that the study belongs to, or will belong to.

    Raises:
        StorageError: this user may not look.
    """
    check_enterable(home.path)
    return group_name(_gid(home))


def doubts(home: StudyHome) -> list[str]:
    """Why the group may not get at the study, as far as can be told without changing anything.

    Raises:
        StorageError: this user may not look.
    """
    check_enterable(home.path)
    told = []
    above = _nearest(home.root)
    gid, logs = _gid(home), above.stat().st_gid
    group, wanted = group_name(gid), group_name(logs)
    if not home.path.exists() and gid != logs:
        told.append(
            f"study.shared: the study will belong to your group '{group}', since you are not in '{wanted}', "
            f"the group of '{above}'; 'chgrp -R GROUP {home.path}' gives it to another one"
        )
    elif gid not in _my_groups():
        told.append(
            f"study.shared: '{home.path}' belongs to group '{group}', which you are not in: "
            f"ask to be added to it, or the study's owner to give it to another one (chgrp -R)"
        )
    closed = [folder for folder in (above, *above.parents) if not folder.stat().st_mode & 0o011]
    if closed:
        told.append(f"study.shared: only its owner may enter '{closed[-1]}': nobody else will get at the study")
    return told


def _own_folders(home: StudyHome) -> list[Path]:
    """The study's directory; above it the sweep's if it has budgets, so that the group can add another budget."""
    return [*reversed([folder for folder in home.path.parents if folder.is_relative_to(home.root)][:-1]), home.path]


def _gid(home: StudyHome) -> int:
    if home.path.exists():
        return home.path.stat().st_gid
    above = _nearest(home.root).stat()
    return above.st_gid if above.st_mode & stat.S_ISGID or above.st_gid in _my_groups() else os.getegid()


def _nearest(path: Path) -> Path:
    """``path``, or the folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _my_groups() -> set[int]:
    return {os.getegid(), *os.getgroups()}


def _take_group(fd: int, gid: int) -> None:
    """A user may give what is theirs to a group they are in; ``doubts`` has told of the other case."""
    if os.fstat(fd).st_gid != gid:
        with contextlib.suppress(PermissionError):
            os.chown(f"/proc/self/fd/{fd}", -1, gid)


def _set_mode(fd: int, mode: int) -> bool:
    """Give what a descriptor holds the mode, if the file system lets us; whether it has it now.

    What has it already is not touched: for one who is not in its group, chmod would drop setgid, without an error.
    """
    if stat.S_IMODE(os.fstat(fd).st_mode) == mode:
        return True
    try:
        os.chmod(f"/proc/self/fd/{fd}", mode)  # noqa: PTH101  # fchmod takes no O_PATH
    except OSError:
        return False
    return stat.S_IMODE(os.fstat(fd).st_mode) == mode
