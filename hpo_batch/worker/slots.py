"""Several workers in one array task: a supervisor starts them as separate processes and exits after the last one.

A worker that crashes or runs out of memory does not affect the others, and its attempt is found lost at once because
its process is gone from this host. The supervisor runs no trials. It passes on signals, and decides about a requeue
when its last worker has ended. Called by ``entry``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpo_batch import processes
from hpo_batch.envvars import EnvVar
from hpo_batch.errors import Exit, UserError
from hpo_batch.records import Idle, IdleWhy, Stopping
from hpo_batch.scheduler.allocation import Allocation
from hpo_batch.scheduler.gpus import local_gpus
from hpo_batch.store.home import StudyHome
from hpo_batch.sweep.schema import Job, Sweep
from hpo_batch.worker import mps
from hpo_batch.worker.resources import Place
from hpo_batch.worker.signals import Signals
from hpo_batch.worker.tally import Tally

if TYPE_CHECKING:
    from hpo_batch.processes.forks import Fork
    from hpo_batch.worker.preload import Forks

log = logging.getLogger(__name__)

COUNTS: Final = ("complete", "pruned", "failed", "given_back")
# restarts per slot and array task; a GPU or node that kills every worker must not be tried for ever
MOST_RESTARTS: Final = 2
_LOOK_EVERY_S: Final = 0.2
_PASSED_ON: Final = {
    Stopping.TIME_LIMIT: signal.SIGUSR2,
    Stopping.PREEMPTED: signal.SIGTERM,
    Stopping.CANCELLED: signal.SIGINT,
}


@dataclass(frozen=True, kw_only=True)
class Slot:
    """The share of an array task that one worker gets."""

    number: int
    gpu: str | None
    """for CUDA_VISIBLE_DEVICES; None leaves it as it is"""
    gpu_count: float
    """its share of that GPU"""
    cpus: int


@dataclass(kw_only=True)
class _Running:
    slot: Slot
    process: processes.Process | Fork
    tally: Path
    restarts: int = 0


@dataclass(kw_only=True)
class _Ends:
    """How the task's workers have ended."""

    tally: Tally = field(default_factory=Tally)
    codes: list[int] = field(default_factory=list)
    """exit codes of workers that could not work at all"""


def is_supervisor(job: Job, allocation: Allocation, environ: Mapping[str, str]) -> bool:
    """Whether this process starts workers instead of being one; local workers are started one by one."""
    in_task = allocation.job is not None and EnvVar.SLOT not in environ
    return in_task and job.workers_per_gpu is not None and (job.mps or len(_gpus(job, allocation)) > 1)


def slot_label(environ: Mapping[str, str]) -> str:
    """Prefix of a worker's log lines in the log that it shares with its task's other workers."""
    return f" [slot {environ[EnvVar.SLOT]}]" if EnvVar.SLOT in environ else ""


def slots_of(job: Job, allocation: Allocation, environ: Mapping[str, str]) -> tuple[Slot, ...]:
    """``workers_per_gpu`` slots per GPU of the task, or in total if it has none, with equal shares of its CPUs."""
    gpus = _gpus(job, allocation)
    if job.mps and allocation.gpus:
        # UUIDs instead of indexes, because the MPS daemon numbers its GPUs from 0 again, so that an index would be
        # applied twice: https://docs.nvidia.com/deploy/mps/appendix-tools-and-interface-reference.html
        visible = local_gpus(environ)
        if len(visible) == len(allocation.gpus):
            names = {index: gpu.uuid for index, gpu in zip(allocation.gpus, visible, strict=True)}
        else:
            names = {index: str(position) for position, index in enumerate(allocation.gpus)}
        gpus = [names[gpu] if gpu is not None else None for gpu in gpus]
    cpus = max(1, allocation.cpus // len(gpus))
    return tuple(
        Slot(number=number, gpu=gpu, gpu_count=0.0 if gpu is None else 1 / (job.workers_per_gpu or 1), cpus=cpus)
        for number, gpu in enumerate(gpus)
    )


def supervise(
    home: StudyHome, sweep: Sweep, allocation: Allocation, *, place: Place, signals: Signals, environ: Mapping[str, str]
) -> Tally:
    """Run the workers of this array task until all have ended; returns their combined tally.

    Raises:
        UserError: none of them could work; the log has the reasons.
    """
    from hpo_batch.worker.preload import preload  # most array tasks have one worker

    job = sweep.job
    slots = slots_of(job, allocation, environ)
    log.info("%s workers in this array task, %s CPUs each", len(slots), slots[0].cpus)
    ends = _Ends()
    forks = preload(home, sweep, cpus=slots[0].cpus)
    signals.take_over()  # what was imported may have set its own handlers
    with contextlib.ExitStack() as stack:
        reports = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hpo-batch-slots-")))
        led = stack.enter_context(mps.daemon(environ)) if job.mps else {}
        running = [_start(home, slot, reports, {**environ, **led}, forks=forks) for slot in slots]
        try:
            _watch(home, running, ends, lambda: signals.why(place.is_warned), {**environ, **led})
        finally:
            for one in running:  # only if we ourselves failed
                processes.signal_group(one.process, signal.SIGKILL)
                processes.wait(one.process, 10.0)
    if ends.codes and len(ends.codes) == len(slots):
        raise UserError("none of the workers of this array task could work; see their errors above")
    return ends.tally


def write_tally(environ: Mapping[str, str], tally: Tally, *, cut_short: bool) -> None:
    """Write a worker's tally for its supervisor, which considers a worker without one as killed.

    Args:
        cut_short: whether it ends because its trial's function does not return; then the slot is restarted.
    """
    if EnvVar.TALLY in environ:
        facts = {name: getattr(tally, name) for name in COUNTS}
        no_time = tally.idle is not None and tally.idle.why is IdleWhy.NO_TIME
        facts |= {"progress": tally.progress, "stopped": tally.stopped, "no_time": no_time, "cut_short": cut_short}
        Path(environ[EnvVar.TALLY]).write_text(json.dumps(facts), encoding="utf-8")


def _gpus(job: Job, allocation: Allocation) -> list[str | None]:
    """The GPU of each worker."""
    each = job.workers_per_gpu or 1
    return [gpu for gpu in allocation.gpus or (None,) for _ in range(each)]


def _start(
    home: StudyHome,
    slot: Slot,
    reports: Path,
    environ: Mapping[str, str],
    *,
    restarts: int = 0,
    forks: Forks | None = None,
) -> _Running:
    tally = reports / f"{slot.number}.{restarts}.json"
    env = {
        **environ,
        EnvVar.SLOT: str(slot.number),
        EnvVar.TALLY: str(tally),
        EnvVar.CPUS: str(slot.cpus),
    }
    if slot.gpu is not None:
        env["CUDA_VISIBLE_DEVICES"] = slot.gpu
        env[EnvVar.GPUS] = str(slot.gpu_count)
    if forks is not None:
        return _Running(slot=slot, process=forks(env), tally=tally, restarts=restarts)
    argv = [sys.executable, "-u", "-m", "hpo_batch", "worker", str(home.path)]
    process = processes.start(argv, stdout=None, stderr=None, env=env)
    return _Running(slot=slot, process=process, tally=tally, restarts=restarts)


def _watch(
    home: StudyHome,
    running: list[_Running],
    ends: _Ends,
    why_stop: Callable[[], Stopping | None],
    environ: Mapping[str, str],
) -> None:
    """Wait until all have ended; updates ``running``.

    Args:
        why_stop: the valid reason to stop, from SLURM or the terminal.
    """
    passed_on: Stopping | None = None
    while running:
        why = why_stop()
        if why is not passed_on:
            passed_on = why
            if why is not None:
                _pass_on(running, why)
        for one in list(running):
            code = processes.wait(one.process, 0.0)
            if code is None:
                continue
            running.remove(one)
            if _has_ended_well(one, code, ends) or why is not None:
                continue
            if one.restarts < MOST_RESTARTS:
                running.append(_start(home, one.slot, one.tally.parent, environ, restarts=one.restarts + 1))
            else:
                log.warning("slot %s: giving up on restarting it", one.slot.number)
        time.sleep(_LOOK_EVERY_S)


def _pass_on(running: list[_Running], why: Stopping) -> None:
    """Send the signal to the workers, not to their process groups: each worker stops its own children.

    SLURM may have signalled them already; a worker acts only once.
    """
    for one in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one.process.pid, _PASSED_ON.get(why, signal.SIGTERM))
            os.kill(one.process.pid, signal.SIGCONT)  # a worker that SLURM suspended could not react otherwise


def _has_ended_well(one: _Running, code: int, ends: _Ends) -> bool:
    """Add a worker's tally; False if it was killed or ended by its watchdog, so that it may be restarted."""
    try:
        done = json.loads(one.tally.read_bytes())
    except (OSError, ValueError):
        done = None
    if done is not None:
        _add(ends.tally, done)
        return not done["cut_short"]
    if code < 0:
        processes.signal_group(one.process, signal.SIGKILL)  # what it had started
        hint = "; out of memory?" if code == -signal.SIGKILL else ""
        log.warning(
            "slot %s: the worker was killed by %s%s; the others go on",
            one.slot.number, signal.Signals(-code).name, hint,
        )  # fmt: skip
        return False
    if code in (Exit.OK, Exit.TRIALS_FAILED):  # it ended normally but could not write its tally
        return code == Exit.OK
    log.warning("slot %s: the worker ended with exit code %s", one.slot.number, code)
    ends.codes.append(code)
    return True


def _add(tally: Tally, done: Mapping[str, Any]) -> None:
    """Add to the task's tally; the task made progress if any of its workers did."""
    for name in COUNTS:
        setattr(tally, name, getattr(tally, name) + done[name])
    tally.progress = tally.progress or done["progress"]
    if done["stopped"] is not None:
        tally.stopped = Stopping(done["stopped"])
    if done["no_time"]:
        tally.idle = Idle(why=IdleWhy.NO_TIME)
