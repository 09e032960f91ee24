"""Choose GPU or CPU once per worker, before its first claim. A requested GPU that is missing is an error.

torch is asked in another process: CUDA cannot be used in forked processes once this one has initialized it
(https://github.com/pytorch/pytorch/issues/68861). Where the objective has imported torch already, a fork answers, which
saves a second import of some seconds.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from typing import Literal

from hpo_batch import processes
from hpo_batch.errors import DeviceMissing
from hpo_batch.scheduler.allocation import Allocation
from hpo_batch.sweep.schema import Sweep

Device = Literal["cuda", "cpu"]

PROBE = """
try:
    import torch
except ImportError:
    print("no torch")
else:
    print("cuda" if torch.cuda.is_available() else f"torch {torch.__version__} sees no CUDA device")
"""
ANSWER_S = 120.0


def must_ask(sweep: Sweep, allocation: Allocation) -> bool:
    """Whether torch has to be asked: a GPU was asked for, or given."""
    return sweep.job.device == "cuda" or (sweep.job.device == "auto" and bool(allocation.gpus))


def choose_device(sweep: Sweep, allocation: Allocation, *, may_fork: Callable[[], bool] = lambda: False) -> Device:
    """The device that this worker trains on.

    Args:
        sweep: whose ``[job] device`` is asked for.
        allocation: with the GPUs that this worker was given.
        may_fork: whether a fork of this process can use a GPU.

    Raises:
        DeviceMissing: a GPU was requested, or allocated by SLURM, but torch sees none.
    """
    if not must_ask(sweep, allocation):
        return "cpu"
    wanted = sweep.job.device
    answer = _of_a_fork() if "torch" in sys.modules and may_fork() else ""
    answer = answer or processes.run([sys.executable, "-c", PROBE], timeout_s=ANSWER_S).stdout.strip()
    if answer == "cuda":
        return "cuda"
    if answer == "no torch" and allocation.gpus:
        return "cuda"  # the user's command may run another Python; trust the allocation
    allocated = f"GPU {','.join(allocation.gpus)} was allocated" if allocation.gpus else "no GPU was allocated"
    requested = 'device = "cuda" was requested, ' if wanted == "cuda" else ""
    raise DeviceMissing(
        f"node {allocation.node}: {requested}{allocated}, but {answer or 'the probe of torch failed'}; "
        f"install a CUDA build of torch there, or use --set job.device=cpu"
    )


def _of_a_fork() -> str:
    from hpo_batch.processes.forks import ask_fork

    def ask() -> str:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(PROBE, {})
        return said.getvalue().strip()

    return ask_fork(ask, timeout_s=ANSWER_S)
