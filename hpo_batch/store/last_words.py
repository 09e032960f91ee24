"""What SLURM wrote into a worker's log when it ended the worker: the worker itself could not say it.

Its array task's log is one file for all runs of the task and all workers in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hpo_batch.files import read_regular
from hpo_batch.store.home import StudyHome

MEMORY: Final = re.compile(
    r"oom[-_ ]kill|exceeded (?:job |step )?memory limit|out[- ]of[- ]memory handler|: Out Of Memory", re.IGNORECASE
)
"""that processes of a task were ended for their memory, by the kernel or by SLURM"""
_WHOLE = re.compile(r"exceeded (?:job |step )?memory limit|task [\d,-]+: Out Of Memory", re.IGNORECASE)
"""that the task itself was; a command's own process may be killed, and its worker live on"""
_BEGINS: Final = re.compile(r" I worker on ")
_CANCELLED: Final = re.compile(r"\*\*\* (?:JOB|STEP) \S+ ON \S+ CANCELLED AT ")
_PREFIX: Final = re.compile(r"^(?:slurmstepd|srun)(?:-[\w.]+)?: (?:error: )?")
_MOST_BYTES: Final = 1 << 20


def killed_for_memory(home: StudyHome, facts: Mapping[str, Any]) -> str:
    """SLURM's words that the worker behind a claim was killed for its memory; empty if its log has none.

    Of several workers in one task nobody tells whose memory it was.
    """
    run = re.fullmatch(r"\d+-r(\d{1,9})-\d+", str(facts.get("worker")))
    job = str(facts.get("job", "local"))
    if run is None or job == "local":
        return ""
    lines = _of_run(_lines(home.slurm / f"{job}_0_log.err"), int(run[1]))
    cancelled = any(_CANCELLED.search(line) for line in lines)
    said = next((line for line in lines if _WHOLE.search(line)), "")
    if not said and not cancelled:
        said = next((line for line in lines if MEMORY.search(line)), "")
    return _PREFIX.sub("", said.strip())


def _of_run(lines: Sequence[str], number: int) -> Sequence[str]:
    """The part of a log that belongs to one run of its task; nothing if the runs cannot be told apart."""
    starts = [i for i, line in enumerate(lines) if _BEGINS.search(line)]
    if number >= len(starts):
        return ()
    end = starts[number + 1] if number + 1 < len(starts) else len(lines)
    return lines[starts[number] : end]


def _lines(path: Path) -> list[str]:
    """All of a log, unless it is too large to be read in passing."""
    try:
        return read_regular(path, most=_MOST_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return []
