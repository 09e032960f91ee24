"""A file that a command writes with ``-o``."""

from __future__ import annotations

from pathlib import Path

from hpo_batch.errors import StorageError
from hpo_batch.files import write_atomic
from hpo_batch.store.frozen import read_frozen, setting
from hpo_batch.store.home import StudyHome
from hpo_batch.store.sharing import umask_for
from hpo_batch.study.read import read_state


def write_output(path: Path, content: bytes) -> None:
    """Write a file completely or not at all. In the directory of a shared study, its group can read and replace it.

    Raises:
        StorageError: the file system refuses.
    """
    path = path.absolute()
    try:
        with umask_for(shared=is_in_shared_study(path.parent.resolve())):
            write_atomic(path, content)
    except OSError as error:
        raise StorageError.because(f"cannot write '{path}'", error, do="choose another file with -o") from error


def is_in_shared_study(folder: Path) -> bool:
    """Whether ``folder`` lies in the directory of a study that a group shares."""
    for path in (folder, *folder.parents):
        home = StudyHome(path=path, name=path.name)
        if home.exists:
            state = read_state(home)
            # not the whole sweep: a later hpo-batch may have written it, and its report can be made all the same
            return bool(setting(read_frozen(home, state.revision), "study", "shared", False))
    return False
