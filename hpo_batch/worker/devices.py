"""GPU or CPU, decided once per worker before it takes a trial. A GPU that was asked for and is missing is an error."""

from __future__ import annotations

import sys
from typing import Literal

from hpo_batch import processes
from hpo_batch.errors import DeviceMissing
from hpo_batch.scheduler.allocation import Allocation
from hpo_batch.sweep.schema import Sweep

Device = Literal["cuda", "cpu"]

# In a process of its own: torch takes seconds to import, and CUDA must not be initialised in a process that forks.
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
        DeviceMissing: a GPU was asked for, or given by SLURM, and torch sees none.
    """
    wanted = sweep.job.device
    if wanted == "cpu" or (wanted == "auto" and not allocation.gpus):
        return "cpu"
    answer = processes.run([sys.executable, "-c", PROBE], timeout_s=120).stdout.strip()
    if answer == "cuda":
        return "cuda"
    if answer == "no torch" and allocation.gpus:
        return "cuda"  # the user's command may have a Python of its own; what was allocated is there
    given = f"GPU {','.join(allocation.gpus)} was allocated" if allocation.gpus else "no GPU was allocated"
    asked = 'device = "cuda" was asked for, ' if wanted == "cuda" else ""
    raise DeviceMissing(
        f"node {allocation.node}: {asked}{given}, but {answer or 'the probe of torch failed'}; "
        f"install a CUDA build of torch there, or say --set job.device=cpu"
    )
