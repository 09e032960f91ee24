"""Lists the GPUs of this machine with nvidia-smi, without CUDA or torch, for local workers and ``doctor``.

Not used in array tasks, where SLURM assigns the GPUs (``allocation``).
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Mapping

from msgspec import Struct

from hpo_batch.errors import CommandMissing, CommandTimeout
from hpo_batch.processes import run
from hpo_batch.scheduler.integers import is_integer

log = logging.getLogger(__name__)

# nvidia-smi takes seconds if persistence mode is off, since it loads the driver first.
_TIMEOUT_S = 30.0


class Gpu(Struct, frozen=True, kw_only=True):
    """A device that CUDA can use."""

    index: int | None
    """nvidia-smi's index, in PCI order; CUDA's default order may differ. None for a MIG slice."""
    uuid: str
    """`GPU-...` or `MIG-...`: for CUDA_VISIBLE_DEVICES, where it is unambiguous, unlike an index."""
    name: str


def local_gpus(environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The GPUs visible to a process with this environment, in its order; none without nvidia-smi."""
    allowed = visible(environ)
    # CUDA_VISIBLE_DEVICES is set and empty: no GPU, so nvidia-smi need not run
    if allowed == ():
        return ()
    argv = ["nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader,nounits"]
    try:
        done = run(argv, timeout_s=_TIMEOUT_S)
    except CommandMissing:
        return ()
    except CommandTimeout as error:
        log.warning("cannot list GPUs: %s", error)
        return ()
    if done.returncode != 0:
        log.warning("cannot list GPUs: nvidia-smi: %s", (done.stderr or done.stdout).strip())
        return ()
    return choose(parse_gpus(done.stdout), allowed)


def visible(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """The devices in CUDA_VISIBLE_DEVICES, up to the first invalid one; None if it is not set.

    CUDA ignores everything after an invalid device:
    https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    text = environ.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return None
    return tuple(itertools.takewhile(_is_device, (part.strip() for part in text.split(","))))


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """Lines of `nvidia-smi --query-gpu=index,uuid,name --format=csv,noheader,nounits`."""
    gpus = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 3 or not is_integer(fields[0]):
            log.warning("cannot parse a line of nvidia-smi: %r", line)
            continue
        index, uuid, name = fields
        gpus.append(Gpu(index=int(index), uuid=uuid, name=name))
    return tuple(gpus)


def choose(gpus: tuple[Gpu, ...], allowed: tuple[str, ...] | None) -> tuple[Gpu, ...]:
    """The GPUs selected by CUDA_VISIBLE_DEVICES, in its order; like CUDA, up to the first that does not exist."""
    if allowed is None:
        return gpus
    chosen: list[Gpu] = []
    for device in allowed:
        if (gpu := _find(gpus, device)) is None:
            break
        chosen.append(gpu)
    return tuple(chosen)


def named_gpus(gpus: tuple[str, ...], count: float) -> str:
    """For people: ``0,1``; ``0 (4 in all)`` if other ranks have more; ``0 (1/2)`` for a shared GPU."""
    names = ",".join(gpus)
    if not gpus or count == len(gpus):
        return names
    return f"{names} ({count:g} in all)" if count > len(gpus) else f"{names} (1/{len(gpus) / max(count, 1e-3):.0f})"


def _find(gpus: tuple[Gpu, ...], device: str) -> Gpu | None:
    if device.startswith("MIG-"):
        # `nvidia-smi --query-gpu` lists whole GPUs only, so the slice is not checked:
        # https://docs.nvidia.com/datacenter/tesla/mig-user-guide/mig-device-names.html
        return Gpu(index=None, uuid=device, name="MIG device")
    if is_integer(device):
        return next((gpu for gpu in gpus if gpu.index == int(device)), None)
    # CUDA accepts an unambiguous prefix of a UUID
    matches = [gpu for gpu in gpus if gpu.uuid.startswith(device)]
    return matches[0] if len(matches) == 1 else None


def _is_device(text: str) -> bool:
    # SLURM sets `NoDevFiles` for a job without GPUs; users write `-1` or nothing
    return re.fullmatch(r"\d+|(GPU|MIG)-\S+", text) is not None
