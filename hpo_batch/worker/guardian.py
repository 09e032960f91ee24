"""Kill everything that a worker has started once the worker is gone; after ``kill -9`` nobody else can.

A separate process, started by path with ``-I -S``, so that it takes 10 ms and only the standard library. Without it, a
command would run on beside the trial's next attempt and hold its GPU. SLURM cleans up at the end of a step, but not
outside SLURM, and not for one of several workers in an array task.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Final

# identifies one run of a worker in the environment of its children; EnvVar.LIFE, which this file cannot import
MARK: Final = "HPO_BATCH_LIFE"
# time for a checkpoint that is being written
SAVING_S: Final = 10.0


def start(mark: str) -> None:
    """Start a guardian for this process; ``mark`` is the value of ``MARK`` in the environment of its children."""
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
        # a forked process without exec has the worker's own environment, without the mark
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
    except OSError:  # Linux before 5.3 (https://man7.org/linux/man-pages/man2/pidfd_open.2.html), or it is gone
        while os.getppid() == parent:
            time.sleep(0.5)
        return
    if os.getppid() == parent:  # otherwise the pid may have been reused before pidfd_open
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll()


if __name__ == "__main__":
    main()
