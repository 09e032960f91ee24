"""The lease of this process: acquired, refreshed and released. ``leases`` looks at those of others.

A module of its own because filelock takes as long to import as all of ``store``, and who only looks holds no lease.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import filelock
from msgspec.structs import asdict

from hpo_batch.errors import StorageError
from hpo_batch.files import dump_json, write_atomic
from hpo_batch.records import Owner
from hpo_batch.store.leases import lease_path

TAKE_OVER_S = 1.0
"""time to take over the lease of a dead worker of our name. A single attempt fails if another process removes it at
that moment: restarted slots ended with "another worker is running" """


class Lease:
    """The lease of one worker, refreshed by a thread while it is held (``filelock.SoftFileLease``, since filelock
    3.30)."""

    def __init__(self, folder: Path, owner: Owner, *, duration_s: float) -> None:
        self._folder, self._owner, self._mark = folder, owner, -1
        self._lease = filelock.SoftFileLease(
            lease_path(folder, owner.worker),
            lease_duration=duration_s,
            timeout=TAKE_OVER_S,
            poll_interval=TAKE_OVER_S / 50,
            # any thread may release it
            thread_local=False,
        )

    def acquire(self) -> None:
        """Raises StorageError if the folder is not writable, or another worker has the same name."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lease.acquire()  # takes over the lease of a dead process of this host
            # after acquiring the lease, so as not to overwrite another worker's card
            write_atomic(self._card, dump_json(asdict(self._owner)), sync=False)  # useless after a crash
            # an open descriptor proves that this process is the one named (``proof``): a card could be forged or copied
            self._mark = os.open(self._card, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except filelock.Timeout as error:  # before OSError, its base class
            raise StorageError(f"another worker called '{self._owner.worker}' is running") from error
        except OSError as error:
            raise StorageError.because(f"cannot write a lease in '{self._folder}'", error) from error

    def keep(self) -> None:
        """Acquire it again if it was lost because this process was suspended and taken for dead.

        Raises:
            StorageError: see ``acquire``.
        """
        if self._lease.compromise is not None:
            self.release()
            self.acquire()

    def release(self) -> None:
        mark, self._mark = self._mark, -1
        if mark >= 0:
            with contextlib.suppress(OSError):
                os.close(mark)
        # a lease that cannot be removed expires by itself: no reason to fail after the work is done
        with contextlib.suppress(OSError):
            self._lease.release(force=True)
        with contextlib.suppress(OSError):
            self._card.unlink(missing_ok=True)

    @property
    def _card(self) -> Path:
        return self._folder / f"{self._owner.worker}.json"


@contextlib.contextmanager
def held(folder: Path, owner: Owner, *, duration_s: float) -> Iterator[Lease]:
    """Hold the lease of ``owner`` while the block runs.

    Raises:
        StorageError: the folder is not writable, or another worker has the same name.
    """
    lease = Lease(folder, owner, duration_s=duration_s)
    lease.acquire()
    try:
        yield lease
    finally:
        lease.release()
