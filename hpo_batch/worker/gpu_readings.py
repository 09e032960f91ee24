"""Reads GPUs through NVML, NVIDIA's management library (https://docs.nvidia.com/deploy/nvml-api/).

Every value may be unknown: MIG slices have no load of their own, consumer cards no ECC. Unknown is None, never 0.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from hpo_batch.extras import install, is_installed
from hpo_batch.scheduler.integers import is_integer
from hpo_batch.worker.usage import no_gpus

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """One GPU at one moment."""

    util: float | None = None
    """percent of the last fraction of a second in which a kernel ran"""
    memory_mb: float | None = None
    """in use on the device, by all processes"""
    temp_c: float | None = None
    power_w: float | None = None
    throttled: float | None = None
    """1 if its clocks were reduced because of heat or power supply, else 0"""
    ecc_errors: float | None = None
    """uncorrected memory errors since the driver was loaded"""


@dataclass(frozen=True, kw_only=True)
class GpuMemory:
    """Memory of one GPU at one moment, in 1e6 bytes."""

    gpu: str
    """as in CUDA_VISIBLE_DEVICES"""
    free_mb: float | None = None
    total_mb: float | None = None
    ours_mb: float | None = None
    """held by this process; unknown if NVML does not show it, as in a container with process ids of its own"""


ReadGpus: TypeAlias = Callable[[], Sequence[GpuReading]]
ReadMemory: TypeAlias = Callable[[], Sequence[GpuMemory]]


def reader(gpus: Sequence[str]) -> ReadGpus:
    """A function that reads these GPUs; it reads none if NVML cannot be used.

    Args:
        gpus: as in CUDA_VISIBLE_DEVICES, indices in PCI order or UUIDs.
    """
    if not gpus:
        return no_gpus
    opened = _open(gpus)
    if isinstance(opened, str):
        log.log(
            logging.WARNING if is_installed("pynvml") else logging.INFO,
            "temperature, load and errors of the GPU are not recorded: %s",
            opened,
        )
        return no_gpus
    nvml, handles = opened
    return lambda: [_read(nvml, handle) for handle in handles]


def memory_reader(gpus: Sequence[str]) -> ReadMemory | str:
    """A function that reads the memory of these GPUs, or why NVML cannot be used.

    Args:
        gpus: see ``reader``.
    """
    opened = _open(gpus)
    if isinstance(opened, str):
        return opened
    nvml, handles = opened
    return lambda: [_read_memory(nvml, handle, gpu) for handle, gpu in zip(handles, gpus, strict=True)]


def _open(gpus: Sequence[str]) -> tuple[Any, list[Any]] | str:
    if not is_installed("pynvml"):
        return install("pynvml")
    import pynvml

    try:
        pynvml.nvmlInit()
        return pynvml, [_handle(pynvml, gpu) for gpu in gpus]
    except pynvml.NVMLError as error:
        return f"NVML: {error}"


def _handle(nvml: Any, gpu: str) -> Any:
    return nvml.nvmlDeviceGetHandleByIndex(int(gpu)) if is_integer(gpu) else nvml.nvmlDeviceGetHandleByUUID(gpu)


def _read(nvml: Any, handle: Any) -> GpuReading:
    def ask(question: Callable[[], float]) -> float | None:
        with contextlib.suppress(nvml.NVMLError):
            return float(question())
        return None

    # not "SwPowerCap": cards under full load always reach their power limit
    bad = (
        nvml.nvmlClocksEventReasonHwSlowdown
        | nvml.nvmlClocksEventReasonSwThermalSlowdown
        | nvml.nvmlClocksEventReasonHwThermalSlowdown
        | nvml.nvmlClocksEventReasonHwPowerBrakeSlowdown
    )
    return GpuReading(
        util=ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        memory_mb=ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used / 1e6),
        temp_c=ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        power_w=ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),  # milliwatts
        throttled=ask(lambda: bool(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle) & bad)),
        ecc_errors=ask(
            lambda: nvml.nvmlDeviceGetTotalEccErrors(
                handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
            )
        ),
    )


def _read_memory(nvml: Any, handle: Any, gpu: str) -> GpuMemory:
    memory: Any = None
    ours_mb: float | None = None
    with contextlib.suppress(nvml.NVMLError):
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    with contextlib.suppress(nvml.NVMLError):
        running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        held = [one.usedGpuMemory for one in running if one.pid == os.getpid() and one.usedGpuMemory is not None]
        ours_mb = sum(held) / 1e6 if held else None
    return GpuMemory(
        gpu=gpu,
        free_mb=None if memory is None else memory.free / 1e6,
        total_mb=None if memory is None else memory.total / 1e6,
        ours_mb=ours_mb,
    )
