"""The GPUs of this machine, for the local launcher and `doctor`: asked of nvidia-smi, without CUDA or torch.

Inside an array task nothing is asked: there SLURM has said which GPUs are the worker's (`allocation`).
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hpo_batch.errors import CommandMissing, CommandTimeout
from hpo_batch.processes import run
from hpo_batch.scheduler.integers import is_integer

log = logging.getLogger(__name__)

_TIMEOUT_S = 30.0
"""nvidia-smi takes seconds where the driver's persistence mode is off."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A device that CUDA can be given."""

    index: int | None
    """nvidia-smi's number, in PCI order; CUDA's may differ. None for a MIG slice."""
    uuid: str
    """`GPU-...` or `MIG-...`: what to put into CUDA_VISIBLE_DEVICES, where it means the same to everybody."""
    name: str
    memory_mb: int | None


def local_gpus(environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The GPUs that a process with this environment may use, in its order; none where there is no nvidia-smi."""
    allowed = visible(environ)
    if allowed == ():
        return ()
    argv = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = run(argv, timeout_s=_TIMEOUT_S)
    except CommandMissing:
        return ()
    except CommandTimeout as error:
        log.warning("GPUs are unknown: %s", error)
        return ()
    if done.returncode != 0:
        log.warning("GPUs are unknown: nvidia-smi: %s", (done.stderr or done.stdout).strip())
        return ()
    return choose(parse_gpus(done.stdout), allowed)


def visible(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """The devices of CUDA_VISIBLE_DEVICES, as CUDA reads it: up to the first that is none. None if it is not set."""
    text = environ.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return None
    return tuple(itertools.takewhile(_is_device, (part.strip() for part in text.split(","))))


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """Lines of `nvidia-smi --query-gpu=index,uuid,name,memory.total --format=csv,noheader,nounits`."""
    found = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 4 or not is_integer(fields[0]):
            log.warning("nvidia-smi wrote a line that is not understood: %r", line)
            continue
        index, uuid, name, memory = fields
        # Where GPU and CPU share their memory, the amount is `[N/A]`.
        found.append(Gpu(index=int(index), uuid=uuid, name=name, memory_mb=int(memory) if is_integer(memory) else None))
    return tuple(found)


def choose(gpus: tuple[Gpu, ...], allowed: tuple[str, ...] | None) -> tuple[Gpu, ...]:
    """Those of `gpus` that CUDA_VISIBLE_DEVICES allows, in its order; like CUDA, up to the first that is not there."""
    if allowed is None:
        return gpus
    chosen: list[Gpu] = []
    for device in allowed:
        if (gpu := _find(gpus, device)) is None:
            break
        chosen.append(gpu)
    return tuple(chosen)


def named_gpus(gpus: tuple[str, ...], count: float) -> str:
    """For people: ``0,1``, ``0 (4 in all)`` if a worker has more than rank 0 sees, ``0 (1/2)`` of a shared one."""
    names = ",".join(gpus)
    if not gpus or count == len(gpus):
        return names
    return f"{names} ({count:g} in all)" if count > len(gpus) else f"{names} (1/{len(gpus) / max(count, 1e-3):.0f})"


def _find(gpus: tuple[Gpu, ...], device: str) -> Gpu | None:
    if device.startswith("MIG-"):
        # nvidia-smi's query lists whole GPUs only; that the slice exists is taken from whoever named it.
        return Gpu(index=None, uuid=device, name="MIG device", memory_mb=None)
    if is_integer(device):
        return next((gpu for gpu in gpus if gpu.index == int(device)), None)
    # CUDA takes the beginning of a UUID where it is unambiguous.
    matches = [gpu for gpu in gpus if gpu.uuid.startswith(device)]
    return matches[0] if len(matches) == 1 else None


def _is_device(text: str) -> bool:
    # SLURM writes `NoDevFiles` for a job without GPUs, users write `-1` or nothing.
    return re.fullmatch(r"\d+|(GPU|MIG)-\S+", text) is not None
