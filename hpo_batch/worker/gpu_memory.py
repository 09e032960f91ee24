"""Whether the memory that a trial needs is free on its GPUs: ``[job] gpu_mem_gb``.

NVML is asked before each claim, since others who use a GPU come and go. What this process holds counts as free: the
next trial can use it. Where NVML gives no answer nothing is known, and the log says so; that is no "enough".
"""

from __future__ import annotations

import logging

from hpo_batch.worker.gpu_readings import GpuMemory, ReadMemory

log = logging.getLogger(__name__)


class MemoryCheck:
    """Compares the GPUs of a worker with what a trial needs.

    Args:
        need_gb: in 1e9 bytes.
        read: reads the GPUs, or says why it cannot.
    """

    def __init__(self, need_gb: float, read: ReadMemory | str) -> None:
        self._need_gb = need_gb
        self._read = read
        self._is_unknown = False

    def lacks(self, *, has_run: bool) -> str:
        """What is missing on which GPU; empty if there is enough, or if nobody knows.

        Args:
            has_run: whether this process has run a trial itself, and so may hold memory.
        """
        if isinstance(self._read, str):
            self._tell(self._read)
            return ""
        for one in self._read():
            if one.free_mb is None:
                self._tell(f"NVML does not tell the memory of GPU {one.gpu}")
            elif one.free_mb + (one.ours_mb or 0.0) < 1000 * self._need_gb:
                if has_run and one.ours_mb is None:
                    self._tell(f"NVML does not tell how much of the memory of GPU {one.gpu} this process holds")
                else:
                    return self._missing(one)
        return ""

    def _missing(self, one: GpuMemory) -> str:
        free_gb = ((one.free_mb or 0.0) + (one.ours_mb or 0.0)) / 1000
        of = "" if one.total_mb is None else f" of {one.total_mb / 1000:.1f}"
        return f"{free_gb:.1f}{of} GB are free on GPU {one.gpu}, and [job] gpu_mem_gb is {self._need_gb:g}"

    def _tell(self, why: str) -> None:
        if not self._is_unknown:
            log.warning("whether the GPU has %g GB free is not known, trials start anyway: %s", self._need_gb, why)
        self._is_unknown = True
