"""Where a trial computes: its device, precision and memory. Decided once, and logged with the reason."""

from __future__ import annotations

import logging
import os
import resource

import torch

log = logging.getLogger(__name__)


def choose_device(name: str) -> tuple[torch.device, bool]:
    """The device and whether to compute in bfloat16 there, decided once.

    Raises:
        RuntimeError: a GPU was asked for, and torch sees none.
    """
    device = torch.device(name)
    if device.type != "cuda":
        log.info("training on '%s' in float32 with torch %s", device, torch.__version__)
        return device, False
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"the trial was given device '{name}' but torch {torch.__version__} sees no GPU: "
            'install a torch build with CUDA, or set [job] device = "cpu"'
        )
    torch.cuda.reset_peak_memory_stats(device)
    # Without emulation: there bfloat16 is slower than float32.
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    log.info(
        "training on '%s' (%s) in %s with torch %s",
        device,
        torch.cuda.get_device_name(device),
        "bfloat16" if bf16 else "float32: it has no bfloat16",
        torch.__version__,
    )
    return device, bf16


def set_deterministic(wanted: bool) -> None:
    """Whether a GPU must give the same bits in each run, which is slower; a CPU with a fixed number of threads does.

    For the whole process, so a trainer calls it for each trial.
    https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Only where something changes: the call loads torch's compiler, which takes 1.6 s of CPU.
    if wanted != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(wanted)


def peak_memory_mb(device: torch.device) -> float:
    """Of the trial on a GPU; on a CPU only that of the whole process is known. In MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # kilobytes on Linux


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was short, of a GPU or of this machine. torch has no exception of its own for the latter."""
    is_torchs = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or is_torchs
