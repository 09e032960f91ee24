"""Choose GPU or CPU once per worker, before its first claim. A requested GPU that is missing is an error."""

from __future__ import annotations

import sys
from typing import Literal

from hpo_batch import processes
from hpo_batch.errors import DeviceMissing
from hpo_batch.scheduler.allocation import Allocation
from hpo_batch.sweep.schema import Sweep

Device = Literal["cuda", "cpu"]

# in a separate process: torch takes seconds to import, and CUDA cannot be used in forked processes once initialized
# (https://github.com/pytorch/pytorch/issues/68861)
PROBE = """
try:
    import torch
except ImportError:
    print("no torch")
else:
    print("cuda" if torch.cuda.is_available() else f"torch {torch.__version__} sees no CUDA device")
"""


def choose_device(sweep: Sweep, allocation: Allocation) -> Device:
    """The device that this worker trains on.

    Raises:
        DeviceMissing: a GPU was requested, or allocated by SLURM, but torch sees none.
    """
    wanted = sweep.job.device
    if wanted == "cpu" or (wanted == "auto" and not allocation.gpus):
        return "cpu"
    answer = processes.run([sys.executable, "-c", PROBE], timeout_s=120).stdout.strip()
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
