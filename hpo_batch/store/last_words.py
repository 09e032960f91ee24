"""Finds SLURM's message in a worker's log after it killed the worker for its memory.

The log is one file for all runs of an array task and all workers in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hpo_batch.files import read_regular
from hpo_batch.store.home import StudyHome
from hpo_batch.store.worker_name import WorkerName

MEMORY: Final = re.compile(
    r"oom[-_ ]kill|exceeded (?:job |step )?memory limit|out[- ]of[- ]memory handler|: Out Of Memory", re.IGNORECASE
)
"""processes of a task were killed for their memory, by the kernel or by SLURM"""
PREFIX: Final = re.compile(
    r"^(?:(?:slurmstepd|srun|slurmd|sbatch)(?:-[\w.]+)?:|\[\d{4}-\d\d-\d\dT[\d:.]{8,20}\]) (?:error: |fatal: )?"
)
"""what SLURM's messages begin with; in 26.05 those of slurmstepd begin with a time instead of its name"""
# the task itself was killed; otherwise it may have been a command, whose worker lives on
_WHOLE = re.compile(r"exceeded (?:job |step )?memory limit|task [\d,-]+: Out Of Memory", re.IGNORECASE)
_BEGINS: Final = re.compile(r" I worker on ")
_CANCELLED: Final = re.compile(r"\*\*\* (?:JOB|STEP) \S+ ON \S+ CANCELLED AT ")
_MOST_BYTES: Final = 1 << 20


def killed_for_memory(home: StudyHome, facts: Mapping[str, Any]) -> str:
    """SLURM's message that the worker of a claim was killed for its memory; empty if its log has none.

    With several workers in a task, SLURM does not say which one exceeded the limit.
    """
    name = WorkerName.parse(str(facts.get("worker")))
    job = str(facts.get("job", "local"))
    if name.run is None or name.slot is not None or job == "local":  # with a slot it is not alone in its task
        return ""
    lines = _of_run(_lines(home.slurm / f"{job}_0_log.err"), name.run)
    cancelled = any(_CANCELLED.search(line) for line in lines)
    message = next((line for line in lines if _WHOLE.search(line)), "")
    # in a cancelled task, a killed command is not why the worker ended
    if not message and not cancelled:
        message = next((line for line in lines if MEMORY.search(line)), "")
    return PREFIX.sub("", message.strip())


def _of_run(lines: Sequence[str], number: int) -> Sequence[str]:
    """The part of a log from one run of its task; empty if the runs cannot be distinguished."""
    starts = [i for i, line in enumerate(lines) if _BEGINS.search(line)]
    if number >= len(starts):
        return ()
    end = starts[number + 1] if number + 1 < len(starts) else len(lines)
    return lines[starts[number] : end]


def _lines(path: Path) -> list[str]:
    """The lines of a log; none if it is too large to read here."""
    try:
        return read_regular(path, most=_MOST_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return []
