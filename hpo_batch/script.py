"""What a training script needs of its trial: ``hpo_batch.report``, ``should_stop`` and ``checkpoint_dir``.

For scripts that run as ``[objective] command``, through the variables of ``objective.variables``. In a function they
pass everything on to its ``Trial``. Outside a sweep they do nothing, so a script stays one that runs by hand. Imported
by scripts at their start: only what takes no time may be imported at the top.
"""

from __future__ import annotations

import os

from hpo_batch.envvars import EnvVar

TYPE_CHECKING = False  # of typing, whose import takes as long as all of this
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Protocol

    class Reporter(Protocol):
        """A trial, as a script uses it."""

        def report(self, step: int, metrics: Mapping[str, float] | None = None, **named: float) -> None: ...

        def should_stop(self) -> bool: ...

        @property
        def checkpoint(self) -> Path: ...


_trial: Reporter | None = None
"""the trial of the function that runs in this process"""
_is_told = False
"""whether the user knows that the metrics file cannot be written"""


def report(step: int | None = None, metrics: Mapping[str, float] | None = None, **named: float) -> None:
    """Report metrics after a step (an epoch, as a rule): ``hpo_batch.report(epoch, val_auc=0.71, loss=0.4)``.

    Without a step they are the result of the trial: ``hpo_batch.report(val_auc=0.71)``. If there is no such call, the
    last value reported of a metric counts. A name that is not an identifier goes into a mapping:
    ``hpo_batch.report(epoch, {"val/auc": 0.71})``. Values are real numbers: Python's, NumPy's, or tensors with one
    element. Of several processes that torchrun has started, only the first reports. Outside a sweep, the arguments
    are checked and nothing else happens.

    Raises:
        TypeError: a step or a value has the wrong type, or nothing was reported.
        ValueError: the step is negative, or a metric is called ``step``.
    """
    if _trial is not None:
        if step is None:
            raise TypeError("a function returns its result; report takes the step first: report(step, metric=value)")
        _trial.report(step, metrics, **named)
        return
    from hpo_batch.reported import as_metrics, as_step

    values = as_metrics(metrics, named)
    if "step" in values:
        raise ValueError("a metric cannot be called 'step'; the step is the first argument of report")
    line: dict[str, float] = values if step is None else {"step": as_step(step), **values}
    path = os.environ.get(EnvVar.METRICS_FILE)
    if path and _is_first():
        _append(path, line)


def should_stop() -> bool:
    """Whether to save a checkpoint and exit: pruned, walltime near, preempted, cancelled, stalled.

    Ask once per epoch, after ``report``; it is cheap. Once it is true it stays so. A script that then ends with exit
    code 0 and without a result is pruned, or goes on later from its checkpoint. Outside a sweep it is always false.
    """
    if _trial is not None:
        return _trial.should_stop()
    path = os.environ.get(EnvVar.STOP_FILE)
    return path is not None and os.access(path, os.F_OK)


def checkpoint_dir(otherwise: str | Path = "checkpoints") -> Path:
    """The folder for the trial's checkpoints, which exists; an interrupted trial finds in it what it has saved.

    Args:
        otherwise: the folder outside a sweep, which is made if need be.

    Raises:
        OSError: it cannot be made.
    """
    if _trial is not None:
        return _trial.checkpoint
    from pathlib import Path

    folder = Path(os.environ.get(EnvVar.CHECKPOINT_DIR) or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class running:  # noqa: N801  # a context manager; contextlib would double the time of the import
    """Pass what is reported in this process on to a trial, while its function runs."""

    def __init__(self, trial: Reporter) -> None:
        self._trials = (trial, _trial)

    def __enter__(self) -> None:
        global _trial
        _trial = self._trials[0]

    def __exit__(self, *error: object) -> None:
        global _trial
        _trial = self._trials[1]


def _is_first() -> bool:
    """Whether this is rank 0 of torchrun, whose processes all inherit the same metrics file.

    Not by SLURM_PROCID, which counts workers where several are started by hand: ``srun -n 4 hpo-batch worker``.
    """
    return os.environ.get("RANK", "0") in ("", "0")


def _append(path: str, line: dict[str, float]) -> None:
    """Append a line in one call. Errors are logged only: a full disk must not end the training."""
    global _is_told
    import json

    content = (json.dumps(line, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)
    except OSError as error:
        import logging

        if not _is_told:
            logging.getLogger(__name__).warning("metrics cannot be written to '%s': %s", path, error.strerror)
        _is_told = True
