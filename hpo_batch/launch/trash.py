"""Move studies into ``.trash`` in the logs directory, where no command looks for them."""

from __future__ import annotations

import time
from pathlib import Path

from hpo_batch.errors import StorageError, UserError
from hpo_batch.files import sync_directory
from hpo_batch.journal.state import JournalState
from hpo_batch.launch.submit_lock import turn
from hpo_batch.monitor.live import Live, live
from hpo_batch.monitor.snapshot import LEASE_S
from hpo_batch.store import leases
from hpo_batch.store.frozen import read_frozen, setting
from hpo_batch.store.home import StudyHome
from hpo_batch.store.sharing import check_ours
from hpo_batch.study.read import read_state

TRASH = ".trash"


def remove(home: StudyHome) -> Path:
    """Move a study without workers to the trash and return its new path.

    Raises:
        UserError: it has running or pending workers.
        StorageError: it belongs to somebody else, or cannot be read or moved.
        SlurmError, CommandMissing: it has SLURM jobs, and SLURM cannot be asked about them.
    """
    check_ours(home)
    with turn(home):
        return put_aside(home, read_state(home), live([home])[home.name], now=time.time())


def put_aside(home: StudyHome, state: JournalState, workers: Live | None, *, now: float) -> Path:
    """Move a study's directory unchanged into the trash and return its new path.

    Raises:
        UserError: it has running or pending workers.
        StorageError: it cannot be moved.
    """
    frozen = read_frozen(home, state.revision)
    duration_s = float(setting(frozen, "study", "lease_s", LEASE_S))
    alive = leases.refreshed_lately(home.workers, duration_s=duration_s)
    count = max(len(alive), workers.workers if workers is not None else 0)
    if count:
        subject = f"{count} workers are" if count > 1 else "a worker is"
        raise UserError(f"{subject} running in the study '{home.name}'; first run 'hpo-batch cancel {home.name}'")
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
