"""Estimates how many files and folders a study takes, since quotas limit them as well as bytes.

docs/study-on-disk.md lists the files. Code snapshots (``[objective] snapshot``) are not counted.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from hpo_batch.journal.state import JournalState
from hpo_batch.store.frozen import setting
from hpo_batch.store.home import TRIALS_PER_FOLDER, StudyHome

FOLDERS: Final = 3
"""per trial with one attempt: ``0017``, ``attempts``, ``1``"""
FILES: Final = 2
"""``result.json``, ``metrics.jsonl``; while it runs, ``claim.json`` instead of the result, and its output"""
WHILE_IT_RUNS: Final = 3
OF_A_STUDY: Final = 20
"""journal, sweep, submissions, folders for trials, workers, logs and code, script and table of one submission"""
OF_A_WORKER: Final = 2
"""its card and its lease, while it lives"""
OF_A_PROCESS: Final = 3
"""per process of an array task: two logs and submitit's result"""
BLOCK: Final = 4096
"""smallest allocation for a file or folder on most file systems, in bytes"""
JOURNAL_BYTES: Final = 3000
"""journal size per trial, in bytes"""
LOOKED_AT: Final = 8
"""number of newest ended trials whose folders are counted"""
MOST_IN_ONE: Final = 1000
"""A user's code may write there: such a folder is not walked to its end while ``status`` waits."""


class Footprint(Struct, frozen=True, kw_only=True):
    files: int
    """files and folders"""
    bytes: int

    def __str__(self) -> str:
        return f"about {about(self.files)} files and folders, {_size(self.bytes)}"


class Usage(Struct, frozen=True, kw_only=True):
    """Files of an existing study, extrapolated from a few trial folders: walking through all of them takes minutes."""

    now: int
    """files and folders"""
    expected: int
    """files and folders once the target is met"""
    per_trial: float
    of: int
    """number of trials counted; 0 if none has ended yet"""

    @property
    def to_come(self) -> int:
        return max(0, self.expected - self.now)

    def as_json(self) -> dict[str, Any]:
        return {"now": self.now, "expected": self.expected, "per_trial": self.per_trial}


def of_trial(*, seeds: int, is_command: bool) -> int:
    """Files and folders of a trial that reports but prints nothing (a command: only its result)."""
    further = seeds - 1
    # further seeds share one file of reports; the output of each seed has its own folder
    return FOLDERS + FILES + (further > 0) + is_command * (1 + 2 * further)


def planned(
    *, trials: int, seeds: int = 1, is_command: bool = False, workers: int = 0, processes: int = 0
) -> Footprint:
    """Peak footprint of a sweep: all trials have ended, and all workers are still running.

    Args:
        trials: target of the sweep.
        seeds: per trial.
        is_command: whether the objective is a command.
        workers: that run at once.
        processes: over all array tasks; 0 for local workers, which have one log each.
    """
    each = of_trial(seeds=seeds, is_command=is_command)
    running = min(workers, trials) * (OF_A_WORKER + WHILE_IT_RUNS)
    logs = processes * OF_A_PROCESS or workers
    files = OF_A_STUDY + math.ceil(trials / TRIALS_PER_FOLDER) + trials * each + running + logs
    return Footprint(files=files, bytes=files * BLOCK + trials * JOURNAL_BYTES)


def of_study(home: StudyHome, state: JournalState, frozen: Mapping[str, Any] | None) -> Usage:
    """Estimate the files of a study.

    Args:
        home: of the study.
        state: its journal.
        frozen: its sweep; None if it cannot be read.
    """
    counts = state.counts()
    begun = sum(1 for trial in state.trials if trial.attempt)
    ended = (state.trials[number] for _, number in reversed(state.endings))
    counted = (_count(home.trial(trial.number)) for trial in itertools.islice(ended, 4 * LOOKED_AT) if trial.attempt)
    # a folder may have been removed by hand
    sample = list(itertools.islice(filter(None, counted), LOOKED_AT))
    if sample:
        each = sum(sample) / len(sample)
    else:
        is_command = setting(frozen, "objective", "command", None) is not None
        seeds = len(setting(frozen, "study", "seeds", ())) or int(setting(frozen, "study", "replicates", 1))
        each = float(of_trial(seeds=seeds, is_command=is_command))
    fixed = _fixed(home)
    to_begin = max(0, counts.target - counts.finished - counts.running - counts.waiting)
    return Usage(
        now=fixed + _folders(begun) + round(begun * each),
        expected=fixed + _folders(begun + to_begin) + round((begun + to_begin) * each),
        per_trial=round(each, 2),
        of=len(sample),
    )


def about(count: int) -> str:
    """A count rounded up to three significant digits: ``1,050``, ``200,000``."""
    digits = max(0, len(str(count)) - 3)
    return f"{math.ceil(count / 10**digits) * 10**digits:,}"


def _folders(trials: int) -> int:
    return math.ceil(trials / TRIALS_PER_FOLDER)


def _fixed(home: StudyHome) -> int:
    """Everything outside ``trials`` and code snapshots."""
    inside = ("", "workers", "slurm", "local", "results", "code")
    return 1 + sum(len(_names(home.path / name)) for name in inside)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []


def _count(folder: Path) -> int:
    """Number of files and folders in a folder, itself included; 0 if it does not exist. Stops at ``MOST_IN_ONE``."""
    count = 0
    for parent, folders, files in os.walk(folder):
        # os.walk lists links to folders among the folders, but does not enter them
        count += 1 + len(files) + sum(Path(parent, name).is_symlink() for name in folders)
        if count > MOST_IN_ONE:
            break
    return count


def _size(count: int) -> str:
    for unit, factor in (("TB", 10**12), ("GB", 10**9)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{max(1, round(count / 10**6))} MB"
