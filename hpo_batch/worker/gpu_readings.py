"""Reads GPUs through NVML, NVIDIA's management library (https://docs.nvidia.com/deploy/nvml-api/).

Every value may be unknown: MIG slices have no load of their own, consumer cards no ECC. Unknown is None, never 0.
"""

from __future__ import annotations

import contextlib
import logging
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


ReadGpus: TypeAlias = Callable[[], Sequence[GpuReading]]


def reader(gpus: Sequence[str]) -> ReadGpus:
    """A function that reads these GPUs; it reads none if NVML cannot be used.

    Args:
        gpus: as in CUDA_VISIBLE_DEVICES, indices in PCI order or UUIDs.
    """
    if not gpus:
        return no_gpus
    if not is_installed("pynvml"):
        log.info("temperature, load and errors of the GPU are not recorded: %s", install("pynvml"))
        return no_gpus
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = [_handle(pynvml, gpu) for gpu in gpus]
    except pynvml.NVMLError as error:
        log.warning("temperature, load and errors of the GPU are not recorded: NVML: %s", error)
        return no_gpus
    return lambda: [_read(pynvml, handle) for handle in handles]


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
