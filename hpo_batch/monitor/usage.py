"""What the newest trials used of their machines, from what their workers measured."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict

from hpo_batch.journal.attributes import AttemptEnd, AttemptFacts, attempt_attr, ended_attr
from hpo_batch.journal.trial import ScannedTrial

MOST: Final = 500
"""newest ended attempts that are looked at: decoding them takes 5 ms"""
SHORT_S: Final = 1.0
"""attempts that took less say nothing about load"""
THROTTLED: Final = 0.1
"""share of the samples with reduced clocks from which a trial counts as throttled"""


class TrialUsage(Struct, frozen=True, kw_only=True):
    """Of the newest ended attempts. None: unknown."""

    attempts: int
    """of which anything is known"""
    cpus: float | None
    """CPUs in use, median"""
    memory_mb: float | None
    """largest memory"""
    first_report_s: float | None
    """seconds from an attempt's start to its first report, median"""
    gpu_util: float | None
    """percent of the time in which GPUs were busy, median"""
    gpu_memory_mb: float | None
    """largest memory in use on one GPU"""
    gpu_temp_c: float | None
    """highest temperature"""
    throttled: tuple[int, ...]
    """trials in which GPUs reduced their clocks because of heat or power supply"""
    memory_errors: tuple[int, ...]
    """trials in which GPUs had uncorrected memory errors"""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "throttled": list(self.throttled), "memory_errors": list(self.memory_errors)}


def usage(trials: Sequence[ScannedTrial]) -> TrialUsage | None:
    """A summary; None if no worker has measured anything.

    Args:
        trials: of the study, by number.
    """
    known = list(itertools.islice(_measured(trials), MOST))
    if not known:
        return None

    def values(name: str) -> list[float]:
        return [used[name] for _, used, _ in known if name in used]

    long = [(used, seconds) for _, used, seconds in known if seconds >= SHORT_S]
    busy = [used["cpu_s"] / seconds for used, seconds in long if "cpu_s" in used]
    first = values("first_report_s")
    loads = [used["gpu_util"] for used, _ in long if "gpu_util" in used]
    return TrialUsage(
        attempts=len(known),
        cpus=statistics.median(busy) if busy else None,
        memory_mb=max(values("memory_mb"), default=None),
        first_report_s=statistics.median(first) if first else None,
        gpu_util=statistics.median(loads) if loads else None,
        gpu_memory_mb=max(values("gpu_memory_mb"), default=None),
        gpu_temp_c=max(values("gpu_temp_c"), default=None),
        throttled=_numbers(number for number, used, _ in known if used.get("gpu_throttled", 0) >= THROTTLED),
        memory_errors=_numbers(number for number, used, _ in known if used.get("gpu_ecc_errors", 0) > 0),
    )


def _numbers(found: Iterator[int]) -> tuple[int, ...]:
    return tuple(sorted(set(found)))


def _measured(trials: Sequence[ScannedTrial]) -> Iterator[tuple[int, dict[str, float], float]]:
    """Trial, what it used, and how many seconds it took; the newest trials first."""
    looked = 0
    for trial in reversed(trials):
        for attempt in range(trial.attempt, 0, -1):
            looked += 1
            if looked > 2 * MOST:
                return
            try:
                ending = trial.typed(ended_attr(attempt), AttemptEnd)
                if ending is None or not ending.usage:
                    continue
                facts = trial.typed(attempt_attr(attempt), AttemptFacts)
            # `doctor` reports such a journal; a summary must not fail because of one attempt
            except (ValueError, TypeError, RecursionError):
                continue
            if facts is not None:
                seconds = 0.0 if ending.time is None else ending.time - facts.started
                yield trial.number, ending.usage, seconds
