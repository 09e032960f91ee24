"""Kill what a worker has started when the worker is gone, however that ended: ``kill -9`` leaves nobody else to do it.

A process of its own, started by path with ``-I -S``: it costs 10 ms and knows only the standard library while it waits.
Without it a command would go on beside the trial's next attempt, and hold its GPU. SLURM does the same at the end of a
step, but not on this machine, and not for one of several workers of an array task.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Final

MARK: Final = "HPO_BATCH_LIFE"  # EnvVar.LIFE, which this file cannot import
"""names one run of a worker for all that it starts"""
SAVING_S: Final = 10.0
"""for a checkpoint that is being written to be finished"""


def start(mark: str) -> None:
    """Have this process watched; ``mark`` is the value of ``MARK`` in the environment of all that it starts."""
    from hpo_batch import processes

    argv = [sys.executable, "-I", "-S", __file__, str(os.getpid()), mark, str(Path(__file__).parents[2])]
    null = Path(os.devnull)
    process = processes.start(argv, stdout=null, stderr=null, env={}, cwd=Path("/"))
    processes.reap_in_background(process)


def main() -> None:
    parent, mark, package = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # SLURM signals all processes of a step
    _await_end(parent)
    sys.path.insert(0, package)
    from hpo_batch import processes

    def find() -> set[int]:
        # what was forked and runs no other program has the environment of the worker, not the mark
        return (set(processes.with_environment(MARK, mark)) | processes.group_of(parent)) - {os.getpid()}

    end = time.monotonic() + SAVING_S
    while find() and time.monotonic() < end:
        if processes.kill_unless(find, lambda pids: any(map(processes.is_saving, pids))):
            return
        time.sleep(0.3)
    processes.kill(find)


def _await_end(parent: int) -> None:
    """Until the process that started us is gone."""
    try:
        fd = os.pidfd_open(parent)
    except OSError:  # before Linux 5.3, or it is gone already
        while os.getppid() == parent:
            time.sleep(0.5)
        return
    if os.getppid() == parent:  # else the number may be another process's
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll()


if __name__ == "__main__":
    main()
