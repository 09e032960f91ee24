"""Read a study from disk: its journal, and the frozen sweep that the journal names. Without Optuna."""

from __future__ import annotations

import hashlib

from hpo_batch.errors import StorageError
from hpo_batch.files import read_regular
from hpo_batch.journal.decode import NONSENSE
from hpo_batch.journal.reader import summary_reader
from hpo_batch.journal.state import JournalState, StudyTrials
from hpo_batch.store.home import StudyHome
from hpo_batch.sweep.schema import Sweep


def read_revision(home: StudyHome, state: StudyTrials) -> Sweep:
    """The frozen sweep that the journal names.

    Raises:
        StorageError: its file is missing, damaged, or not the one that was frozen.
    """
    path = home.revision(state.revision)
    try:
        content = read_regular(path)
        if hashlib.sha256(content).hexdigest() != state.digest:
            raise StorageError(f"'{path}' was changed after it was frozen: edit the sweep's TOML and submit it instead")
    except OSError as error:
        raise StorageError.because(f"cannot read the sweep that the study was made from, '{path}'", error) from error
    try:
        return Sweep.from_json(content)
    except NONSENSE as error:  # the digest matches, so the file is complete: another version wrote it
        raise StorageError(
            f"'{path}' was frozen by another version of hpo-batch ({error}): upgrade hpo-batch"
        ) from error


def read_state(home: StudyHome) -> JournalState:
    """The study's journal as it is now, read without a lock and without reports and metrics; empty without a study."""
    return summary_reader(home.journal).read()
