"""``Afresh``: an objective that fails at once with an earlier attempt's checkpoint is run again without it.

A kill that cannot be delayed (SLURM's, the kernel's, a power cut) may tear a checkpoint that is being written. A torn
file is not a failure of the trial: it goes on from an older checkpoint, or else from the beginning.
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
    """Runs an objective, up to three times if its checkpoint is the cause of a failure."""

    objective: Runs

    def run(self, trial: Trial) -> Outcome | GivenBack:
        """As the objective's own ``run``."""
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
                "trial %s: failed with its checkpoint before anything was reported or saved (%s); it goes on %s",
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
    """Whether an attempt failed where only its checkpoint tells it from the first one."""
    if not isinstance(ended, Failed) or ended.reason not in (Reason.EXCEPTION, Reason.EXIT_CODE):
        return False
    return trial.progress.step is None and trial.stopping is None and fingerprint(checkpoint) == taken


def _older(checkpoint: Path, trial: Trial) -> Path | None:
    """The newest checkpoint of an earlier attempt that is another one than ours, which is a copy."""
    attempt = trial.dir.absolute()
    while attempt.name != str(trial.attempt) and attempt != attempt.parent:
        attempt = attempt.parent  # a later seed's folder lies in the attempt's
    if not checkpoint.is_relative_to(attempt):
        return None
    ours = fingerprint(checkpoint)
    for number in range(trial.attempt - 1, 0, -1):
        folder = attempt.with_name(str(number)) / checkpoint.relative_to(attempt)
        if fingerprint(folder) not in (ours, frozenset()):
            return folder
    return None


def _tell(stderr: Path, instead: str) -> None:
    """Behind what the failed run has printed, where the user looks first."""
    with contextlib.suppress(OSError):
        append_text(
            stderr, f"hpo-batch: it failed with its checkpoint before anything was reported; it goes on {instead}\n"
        )


def _replace(checkpoint: Path, source: Path | None) -> bool:
    """What was copied for us is removed: the attempt that saved it has the original."""
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
        log.warning("trial's checkpoint '%s' cannot be replaced: %s", checkpoint, error)
        return False
    return True
