"""Worker names, and their parts."""

from __future__ import annotations

import re

from msgspec import Struct

from hpo_batch.scheduler.integers import is_integer


class WorkerName(Struct, frozen=True, kw_only=True):
    """The parts of a worker's name: ``7-r2-0.1`` is slot 1 of task 0 of SLURM job 7, requeued twice.

    A local worker has its submission instead of the job; one started by hand has its host, pid and a random part.
    """

    origin: str
    """job, submission, or host, pid and random part"""
    run: int | None = None
    """number of requeues of the array task; None outside SLURM"""
    index: int = 0
    """of the array task, or of the local worker in its submission"""
    slot: int | None = None
    """if there are several workers per array task"""

    def __str__(self) -> str:
        run = "" if self.run is None else f"-r{self.run}"
        slot = "" if self.slot is None else f".{self.slot}"
        return f"{self.origin}{run}-{self.index}{slot}"

    @classmethod
    def parse(cls, text: str) -> WorkerName:
        """The parts of any name. Missing numbers become index 0 and no slot."""
        rest, _, place = text.rpartition("-")
        index, _, slot = place.partition(".")
        origin, marker, run = rest.rpartition("-r")
        is_task = bool(marker) and is_integer(run)
        return cls(
            origin=origin if is_task else rest,
            run=int(run) if is_task else None,
            index=int(index) if is_integer(index) else 0,
            slot=int(slot) if is_integer(slot) else None,
        )

    @staticmethod
    def pattern_of_task(job: str, index: int) -> str:
        """Regular expression for the workers of one array task, in all its runs."""
        return rf"{re.escape(job)}-r\d+-{index}(\.\d+)?"
