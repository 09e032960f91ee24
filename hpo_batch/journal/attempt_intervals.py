"""The attempts of trials as spans of time: only what sums over a whole study need, decoded at once."""

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
    """that its worker held: of all its ranks; 1/k of one that k workers shared"""
    started: float
    """seconds since the epoch, by the clock of its host"""
    ended: float | None
    """None while it is open; that of a lost one is when its loss was noticed"""
    how: str
    """``complete``, ``pruned``, a ``Reason`` or a ``Cause``; empty while it is open"""
    moved: bool
    """whether it left a newer checkpoint than it took over"""

    @property
    def seconds(self) -> float | None:
        return None if self.ended is None else max(0.0, self.ended - self.started)


def spans(trial: ScannedTrial) -> list[Span]:
    """The attempts of a trial by number; one whose facts make no sense is left out."""
    intervals = []
    for number in trial.attempts:
        try:
            facts = trial.typed(attempt_attr(number), AttemptFacts)
            end = trial.typed(ended_attr(number), AttemptEnd) or AttemptEnd()
        except (ValueError, TypeError, RecursionError):
            continue
        if facts is not None:
            who = (facts.worker, facts.job, facts.host, facts.gpus_held)
            intervals.append(Span(trial.number, number, *who, facts.started, end.time, end.how, end.moved))
    return intervals
