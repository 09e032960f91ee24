"""Measures what attempts use: CPU time, memory, and the GPU's load, temperature, power, throttling and memory errors.

A thread takes samples: after half a second, then less and less often, since most of what it reads changes slowly.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import threading
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hpo_batch import processes
from hpo_batch.records import Usage

if TYPE_CHECKING:
    from hpo_batch.worker.gpu_readings import GpuReading, ReadGpus

log = logging.getLogger(__name__)

FIRST_S: Final = 0.5
MOST_S: Final = 10.0
"""longest time between two samples: a scan of /proc takes milliseconds on a node with thousands of processes"""
SLOWER: Final = 1.5
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
TICKS: Final = os.sysconf("SC_CLK_TCK")


def no_gpus() -> Sequence[GpuReading]:
    return ()


@dataclass(kw_only=True, eq=False)
class Measuring:
    """The samples of one attempt."""

    is_function: bool
    """a function runs in this process, a command in processes of its own"""
    due: float
    """monotonic time of the next sample"""
    cpu_s: float = 0.0
    """so far; of trials that are trained together, each has an equal share"""
    pause_s: float = FIRST_S
    memory: int | None = None
    """largest so far, in bytes"""
    gpus: list[Sequence[GpuReading]] = field(default_factory=list)


class Meter:
    """Measures the attempts of this process: one at a time, or those of a block, which share it."""

    def __init__(
        self,
        *,
        read_gpus: ReadGpus = no_gpus,
        clock: Callable[[], float] = time.monotonic,
        helpers: Set[int] | None = None,
    ) -> None:
        """
        Args:
            read_gpus: readings of the GPUs.
            clock: monotonic.
            helpers: processes of the worker itself; None: all that it has now.
        """
        self._read_gpus = read_gpus
        self._clock = clock
        self._running: list[Measuring] = []
        self._shared_s = 0.0
        """CPU seconds that have been divided among attempts, or fell between them"""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ours = processes.descendants(os.getpid()) if helpers is None else helpers

    def begin(self, *, is_function: bool) -> Measuring:
        """Start to measure an attempt. The thread finds it at its next look, which costs less than waking it."""
        measuring = Measuring(is_function=is_function, due=self._clock() + FIRST_S)
        with self._lock:
            self._share(is_function=is_function)
            self._running.append(measuring)
        if self._thread is None or not self._thread.is_alive():  # threads do not survive a fork
            self._thread = threading.Thread(target=self._run, name="usage", daemon=True)
            self._thread.start()
        return measuring

    def end(self, measuring: Measuring) -> Usage:
        """What the attempt has used."""
        with self._lock:
            if measuring in self._running:
                self._share(is_function=measuring.is_function)
                self._running.remove(measuring)
            if measuring.is_function and measuring.memory is None:
                measuring.memory = _resident(os.getpid())  # it was over before the first sample
        memory = measuring.memory
        return Usage(
            cpu_s=round(measuring.cpu_s, 3),
            memory_mb=None if memory is None else round(memory / 1e6, 1),
            **_summary(measuring.gpus),
        )

    def _share(self, *, is_function: bool) -> None:
        """Divide the CPU time since the last call among the attempts that run."""
        now_s = max(self._shared_s, self._cpu_s(is_function))  # a process may end while it is being counted
        for measuring in self._running:
            measuring.cpu_s += (now_s - self._shared_s) / len(self._running)
        self._shared_s = now_s

    def _cpu_s(self, is_function: bool) -> float:
        """CPU seconds of the processes that have ended, and of those that train: this one, or the others that live.

        Processes of ranks live on from one trial to the next.
        """
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        if is_function:
            return ended.ru_utime + ended.ru_stime + time.process_time()
        return ended.ru_utime + ended.ru_stime + sum(map(_cpu_of, processes.descendants(os.getpid()) - self._ours))

    def _run(self) -> None:
        while True:
            time.sleep(FIRST_S)
            with self._lock:
                due = [one for one in self._running if self._clock() >= one.due]
                if due:
                    try:
                        self._sample(due)
                    except Exception:  # measuring must not end an attempt, nor stop for the next one
                        log.exception("the attempt's use of the machine cannot be measured")
                for measuring in due:
                    measuring.pause_s = min(MOST_S, measuring.pause_s * SLOWER)
                    measuring.due = self._clock() + measuring.pause_s

    def _sample(self, due: Sequence[Measuring]) -> None:
        """Those of a block have the memory and the GPUs of all of it."""
        own = os.getpid()
        pids = (processes.descendants(own) - self._ours) | ({own} if due[0].is_function else set())
        total = sum(filter(None, map(_resident, pids)))
        readings = self._read_gpus()
        for measuring in due:
            if total:
                measuring.memory = max(measuring.memory or 0, total)
            if readings:
                measuring.gpus.append(readings)


def _cpu_of(pid: int) -> float:
    """CPU seconds of a process and of its children that have ended; 0 if it has ended itself."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return sum(map(int, processes.stat_fields(pid)[11:15])) / TICKS
    return 0.0


def _resident(pid: int) -> int | None:
    """Resident memory of a process in bytes; None if it has ended. See proc_pid_statm(5)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * PAGE
    return None


def _summary(samples: Sequence[Sequence[GpuReading]]) -> dict[str, float | None]:
    """Over all samples and GPUs; None for what no GPU has told."""

    def known(name: str) -> list[float]:
        values = (getattr(reading, name) for sample in samples for reading in sample)
        return [value for value in values if value is not None]

    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 3)

    def mean(values: Sequence[float]) -> float | None:
        return sum(values) / len(values) if values else None

    errors = known("ecc_errors")
    return {
        "gpu_util": rounded(mean(known("util"))),
        "gpu_memory_mb": rounded(max(known("memory_mb"), default=None)),
        "gpu_temp_c": rounded(max(known("temp_c"), default=None)),
        "gpu_power_w": rounded(mean(known("power_w"))),
        "gpu_throttled": rounded(mean(known("throttled"))),
        # a counter since the driver was loaded
        "gpu_ecc_errors": max(errors) - min(errors) if errors else None,
    }
