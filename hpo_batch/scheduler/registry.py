"""The schedulers that there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hpo_batch.scheduler.local import Local
from hpo_batch.scheduler.scheduler import Scheduler
from hpo_batch.scheduler.slurm.scheduler import Slurm

SCHEDULERS: Final[Mapping[str, Scheduler]] = {"slurm": Slurm(), "local": Local()}
"""by ``[job] scheduler``"""
BATCH: Final[Scheduler] = SCHEDULERS["slurm"]
"""the one whose jobs outlive the machine that submits them, and are found again by ids and names"""
