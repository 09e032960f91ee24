"""``Trial``: the interface of hpo-batch for the user's function.

It validates reports, writes them to the attempt's folder, and passes them to the worker's ``Engine``. It is independent
of the study and of Optuna.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from hpo_batch.errors import StorageError
from hpo_batch.files import JsonLines, make_real_folder
from hpo_batch.mounts import is_local
from hpo_batch.records import Stopping, Verdict
from hpo_batch.reported import as_metrics, as_step
from hpo_batch.store.attempt_folder import METRICS_FILE

log = logging.getLogger(__name__)

SYNC_EVERY_S = 10.0
"""interval of syncs on shared file systems, where ``status`` and ``logs -f`` may read the reports from another host"""


class Engine(Protocol):
    """What a trial needs from its worker."""

    def take_report(self, step: int, metrics: Mapping[str, float]) -> Verdict:
        """Store a report and return whether the trial continues."""
        ...

    def stopping(self) -> Stopping | None:
        """Why the attempt must end now, apart from pruning. Called often, so it must be cheap."""
        ...


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of an attempt, which becomes part of its outcome."""

    step: int | None
    metrics: Mapping[str, float]
    stopping: Stopping | None


@dataclass(frozen=True, kw_only=True)
class TrialContext:
    """The fields of a trial, documented in ``Trial``."""

    number: int
    attempt: int
    params: Mapping[str, Any]
    seed: int
    dir: Path
    checkpoint: Path
    """created on first access"""
    name: str | None = None
    resumes: bool = False
    cpus: int = 1
    device: Literal["cuda", "cpu"] = "cpu"
    deadline: float | None = None
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0


class Trial:
    """One configuration to train: the argument of your function.

    For example::

        def train(trial: hpo_batch.Trial) -> float | dict[str, float] | None:
            model = Model(trial.params["d_model"]).to(trial.device)
            start = load(trial.checkpoint, model) if trial.resumes else 0
            for epoch in range(start, trial.params["epochs"]):
                auc = run_epoch(model)
                trial.report(epoch, val_auc=auc)
                if trial.should_stop():
                    save(trial.checkpoint, model, epoch + 1)
                    return None
            return auc

    What you return decides how the attempt ends:

    - a number (the study's metric), or a dict of numbers that contains it: the trial is complete, also after
      ``should_stop()``. Only returned values count as the result, whatever was reported before.
    - ``None`` after ``should_stop()`` said yes: the trial is pruned, or goes on later from its checkpoint; ``stopping``
      says which.
    - anything else, ``None`` without having been asked to stop, or an exception: the attempt has failed.

    What your code prints goes to the files ``stdout`` and ``stderr`` in ``dir``.
    """

    number: int
    """the trial's number in the study, the same in every attempt"""
    attempt: int
    """1 for the first run of the trial, 2 after it was interrupted once, ..."""
    params: dict[str, Any]
    """the active parameters by name, fixed and derived ones included"""
    seed: int
    """seed everything random with it: the same in every attempt. With ``[study] replicates`` the function is called
    once for each seed of the trial, each time with a ``Trial`` of its own: another seed, folder and checkpoint"""
    name: str | None
    """the name of a planned trial, from its ``[[trial]]`` table"""
    dir: Path
    """this attempt's own folder, for any files you want to keep"""
    resumes: bool
    """whether ``checkpoint`` already holds the checkpoint of an earlier attempt"""
    cpus: int
    """CPU cores for this trial: pass it to ``torch.set_num_threads`` and to data loaders"""
    device: Literal["cuda", "cpu"]
    """where to train; the GPU that is yours is the only one visible"""
    rank: int
    """which of ``world_size`` processes this is that train the trial together; 0 if it is alone"""
    world_size: int
    """1 unless ``[job] nodes`` or ``tasks_per_node`` says otherwise"""
    local_rank: int
    """the same as ``rank``, counted on this node: ``torch.cuda.set_device(trial.local_rank)``"""
    deadline: float | None
    """when the walltime ends, in seconds since the epoch; ``should_stop()`` says yes early enough before it"""

    def __init__(self, context: TrialContext, engine: Engine) -> None:
        self.context = context
        self.number = context.number
        self.attempt = context.attempt
        self.params = dict(context.params)
        self.seed = context.seed
        self.name = context.name
        self.dir = context.dir
        self.resumes = context.resumes
        self.cpus = context.cpus
        self.device = context.device
        self.deadline = context.deadline
        self.rank = context.rank
        self.world_size = context.world_size
        self.local_rank = context.local_rank
        self._engine = engine
        self._step: int | None = None
        self._metrics: dict[str, float] = {}
        self._stopping: Stopping | None = None
        self._can_write = True
        self._file: JsonLines | None = None
        """reports in ``dir``, open from the first report to the end of the attempt"""
        self._is_over = False

    @property
    def checkpoint(self) -> Path:
        """Directory for checkpoints; what lies there when the attempt ends is there when the trial resumes.

        Made when it is first asked for: most short trials save nothing, and a directory counts against a quota.

        Raises:
            StorageError: it cannot be made.
        """
        try:
            try:
                make_real_folder(self.context.checkpoint)
            except FileNotFoundError:
                self.context.checkpoint.mkdir(parents=True)
        except OSError as error:
            what = f"cannot make the folder for checkpoints of trial {self.number}, '{self.context.checkpoint}'"
            raise StorageError.because(what, error) from error
        return self.context.checkpoint

    def report(self, step: int, metrics: Mapping[str, float] | None = None, **named: float) -> None:
        """Report metrics after a step (an epoch, as a rule): ``trial.report(epoch, val_auc=0.71, loss=0.4)``.

        A name that is not an identifier goes into a mapping: ``trial.report(epoch, {"val/auc": 0.71})``. Values are
        real numbers: Python's, NumPy's, or tensors with one element; NaN is a value too. Pruning looks at the study's
        metric only, and every report is a sign of life.

        Raises:
            TypeError: a step or a value has the wrong type, or nothing was reported.
            ValueError: the step is negative.
        """
        values = as_metrics(metrics, named)
        self._step = as_step(step)
        self._metrics.update(values)
        self._write(values)
        verdict = self._engine.take_report(self._step, values)
        if verdict is Verdict.SUPERSEDED:
            self._stopping = Stopping.SUPERSEDED
        elif verdict is Verdict.PRUNE and self._stopping is not Stopping.SUPERSEDED:
            # overrides a time limit: a pruned trial does not resume
            self._stopping = Stopping.PRUNED

    def should_stop(self) -> bool:
        """Whether to save a checkpoint and return None: pruned, walltime near, preempted, cancelled, stalled.

        Ask once per epoch, after ``report``; it is cheap. Once it said yes it stays so.
        """
        return self.stopping is not None

    @property
    def stopping(self) -> Stopping | None:
        """Why to stop; None while there is no reason to."""
        if self._stopping is None:
            self._stopping = self._engine.stopping()
        return self._stopping

    @property
    def progress(self) -> Progress:
        """The last step, the last value of every metric reported, and why to stop."""
        return Progress(step=self._step, metrics=dict(self._metrics), stopping=self.stopping)

    def __repr__(self) -> str:
        return f"Trial(number={self.number}, attempt={self.attempt}, params={self.params})"

    def _write(self, values: Mapping[str, float]) -> None:
        """Write the report to the attempt's folder. Errors are logged only: a full disk must not end the training."""
        if not self._can_write:
            return
        record = self._record(values)
        path = self.metrics_file
        try:
            if self._file is None:
                self._file = JsonLines(path, sync_every_s=None if is_local(self.dir) else SYNC_EVERY_S)
            self._file.append(record)
            if self._is_over:  # a thread of the user's code is still reporting
                self._close()
        except OSError as error:
            # one warning is enough; retrying on each report would slow down the training
            self._can_write = False
            log.warning("trial %d: metrics are no longer written to '%s': %s", self.number, path, error)
            with contextlib.suppress(OSError):
                self._close()

    @property
    def metrics_file(self) -> Path:
        """File with the reports, one JSON line each."""
        return self.dir / METRICS_FILE

    def _record(self, values: Mapping[str, float]) -> dict[str, Any]:
        return {"step": self._step, "time": round(time.time(), 3), "metrics": dict(values)}

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def __getstate__(self) -> dict[str, Any]:
        """Copies, also in other processes, open the file themselves."""
        return {**self.__dict__, "_file": None}


def end(trial: Trial) -> None:
    """Close the trial's files after its function has returned."""
    trial._is_over = True
    try:
        trial._close()
    except OSError as error:  # a network file system may report a full disk only now
        log.warning("trial %d: its last reports may be missing from its folder: %s", trial.number, error)
