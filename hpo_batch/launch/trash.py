"""Studies that are put aside: moved into ``.trash`` of the logs directory, where no command looks for studies."""

from __future__ import annotations

import time
from pathlib import Path

from hpo_batch.errors import StorageError, UserError
from hpo_batch.files import sync_directory
from hpo_batch.journal.state import JournalState
from hpo_batch.monitor.live import Live
from hpo_batch.monitor.snapshot import LEASE_S
from hpo_batch.store import leases
from hpo_batch.store.frozen import read_frozen, setting
from hpo_batch.store.home import StudyHome

TRASH = ".trash"


def put_aside(home: StudyHome, state: JournalState, live: Live | None, *, now: float) -> Path:
    """Move a study's directory into the trash; where it lies then. Nothing in it is changed.

    Raises:
        UserError: workers are at it, or will be.
        StorageError: the file system refuses.
    """
    frozen = read_frozen(home, state.revision)
    duration_s = float(setting(frozen, "study", "lease_s", LEASE_S))
    alive = leases.refreshed_lately(home.workers, duration_s=duration_s)
    count = max(len(alive), live.workers if live is not None else 0)
    if count:
        at_it = f"{count} workers are" if count > 1 else "a worker is"
        raise UserError(f"{at_it} at the study '{home.name}': end them first with 'hpo-batch cancel {home.name}'")
    stamp = time.strftime("%Y%m%dT%H%M%S", time.localtime(now))
    folder, name = home.root / TRASH, f"{home.name.replace('/', '.')}.{stamp}"
    try:
        folder.mkdir(exist_ok=True)
        aside = next(path for i in range(1000) if not (path := folder / f"{name}{f'.{i}' if i else ''}").exists())
        home.path.rename(aside)
        sync_directory(folder)
        sync_directory(home.path.parent)
    except OSError as error:
        raise StorageError.because(f"cannot move '{home.path}' to '{folder}'", error) from error
    return aside
