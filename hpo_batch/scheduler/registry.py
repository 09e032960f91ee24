"""The schedulers, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hpo_batch.scheduler.local import Local
from hpo_batch.scheduler.scheduler import Scheduler
from hpo_batch.scheduler.slurm.scheduler import Slurm

SCHEDULERS: Final[Mapping[str, Scheduler]] = {"slurm": Slurm(), "local": Local()}
"""by value of ``[job] scheduler``"""
BATCH: Final[Scheduler] = SCHEDULERS["slurm"]
"""the scheduler with a queue, whose jobs are found by id and name from any machine"""
