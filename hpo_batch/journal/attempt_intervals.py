"""The attempts of a trial as time spans, with just the fields that totals over a study need."""

from __future__ import annotations

import msgspec

from hpo_batch.journal.attributes import AttemptEnd, AttemptFacts, attempt_attr, ended_attr
from hpo_batch.journal.trial import ScannedTrial


class Span(msgspec.Struct, frozen=True, gc=False):
    """One attempt."""

    trial: int
    attempt: int
    worker: str
    job: str
    host: str
    gpus: float
    """GPUs held by its worker, over all ranks; 1/k for each of k workers sharing one"""
    started: float
    """seconds since the epoch, by the clock of its host"""
    ended: float | None
    """None while it runs; for a lost attempt, the time its loss was noticed"""
    how: str
    """``complete``, ``pruned``, a ``Reason`` or a ``Cause``; empty while it runs"""
    moved: bool
    """whether it left a newer checkpoint than the one it resumed from"""
    fused: int = 1
    """trials that shared its worker: each has one of so many parts of the worker's time"""

    @property
    def seconds(self) -> float | None:
        # start and end may come from different hosts (a lost attempt), whose clocks differ
        return None if self.ended is None else max(0.0, self.ended - self.started)


def spans(trial: ScannedTrial) -> list[Span]:
    """The attempts of a trial, ordered by number. Attempts with malformed attributes are skipped."""
    intervals = []
    for number in trial.attempts:
        try:
            facts = trial.typed(attempt_attr(number), AttemptFacts)
            end = trial.typed(ended_attr(number), AttemptEnd) or AttemptEnd()
        # `doctor` reports such a journal; a total must not fail because of one attempt
        except (ValueError, TypeError, RecursionError):
            continue
        if facts is not None:
            who = (facts.worker, facts.job, facts.host, facts.gpus_held)
            intervals.append(Span(trial.number, number, *who, facts.started, end.time, end.how, end.moved, facts.fused))
    return intervals
