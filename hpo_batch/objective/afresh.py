"""Retries an objective without its checkpoint if it fails right after resuming.

A kill by SLURM, by the kernel or by a power failure may leave a torn checkpoint. That is not a failure of the trial,
which resumes from an older checkpoint, or starts over.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hpo_batch.files import append_text, copy_folder
from hpo_batch.objective.trial import Trial
from hpo_batch.records import Failed, GivenBack, Outcome, Reason
from hpo_batch.store.checkpoints import Print, fingerprint

log = logging.getLogger(__name__)


class Runs(Protocol):
    def run(self, trial: Trial) -> Outcome | GivenBack: ...


@dataclass(frozen=True, kw_only=True)
class Afresh:
    """Runs an objective, up to three times if its checkpoint causes the failure."""

    objective: Runs

    def run(self, trial: Trial) -> Outcome | GivenBack:
        """Same as the objective's ``run``."""
        if not trial.resumes:
            return self.objective.run(trial)
        checkpoint = trial.checkpoint.absolute()
        older = _older(checkpoint, trial)
        for source in (older, None):
            taken = fingerprint(checkpoint)
            ended = self.objective.run(trial)
            if not _is_checkpoints_fault(ended, trial, taken, checkpoint):
                return ended
            assert isinstance(ended, Failed)
            instead = "from the beginning" if source is None else f"from the checkpoint in '{source}'"
            log.warning(
                "trial %s: failed after resuming, before it reported or saved anything (%s); it continues %s",
                trial.number, ended.message, instead,
            )  # fmt: skip
            _tell(trial.dir / "stderr", instead)
            if not _replace(checkpoint, source):
                return ended
            trial.resumes = source is not None
            if source is None:
                break
        return self.objective.run(trial)


def _is_checkpoints_fault(ended: Outcome | GivenBack, trial: Trial, taken: Print, checkpoint: Path) -> bool:
    """Whether an attempt failed before doing anything that a first attempt would not do, apart from resuming."""
    if not isinstance(ended, Failed) or ended.reason not in (Reason.EXCEPTION, Reason.EXIT_CODE):
        return False
    # any report, request to stop or new checkpoint shows that resuming worked
    return trial.progress.step is None and trial.stopping is None and fingerprint(checkpoint) == taken


def _older(checkpoint: Path, trial: Trial) -> Path | None:
    """The newest checkpoint of an earlier attempt that differs from ours, which is a copy of the last one."""
    attempt = trial.dir.absolute()
    while attempt.name != str(trial.attempt) and attempt != attempt.parent:
        attempt = attempt.parent  # the folder of a later seed is inside the attempt's
    if not checkpoint.is_relative_to(attempt):
        return None
    ours = fingerprint(checkpoint)
    for number in range(trial.attempt - 1, 0, -1):
        folder = attempt.with_name(str(number)) / checkpoint.relative_to(attempt)
        if fingerprint(folder) not in (ours, frozenset()):
            return folder
    return None


def _tell(stderr: Path, instead: str) -> None:
    """Append a note to the output of the failed run, where users look first."""
    with contextlib.suppress(OSError):
        append_text(stderr, f"hpo-batch: failed after resuming, before anything was reported; continues {instead}\n")


def _replace(checkpoint: Path, source: Path | None) -> bool:
    """Replace our copy of the checkpoint by ``source``; the attempt that saved it keeps the original."""
    try:
        shutil.rmtree(checkpoint)
        checkpoint.mkdir()
        if source is not None:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            with contextlib.ExitStack() as stack:
                fds = [os.open(folder, flags) for folder in (source, checkpoint)]
                for fd in fds:
                    stack.callback(os.close, fd)
                copy_folder(*fds)
    except OSError as error:
        log.warning("cannot replace the checkpoint '%s': %s", checkpoint, error)
        return False
    return True
