"""The attempts of a trial as time spans, with just the fields that totals over a study need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from hpo_batch.journal.attributes import AttemptEnd, AttemptFacts, attempt_attr, ended_attr
from hpo_batch.journal.trial import ScannedTrial

AT_ONCE: Final = 1000
"""trials whose attempts are decoded together"""
_workers, _ends = msgspec.json.Decoder(list[AttemptFacts]), msgspec.json.Decoder(list[AttemptEnd])


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
            intervals.append(_span(trial, number, facts, end))
    return intervals


def spans_of(trials: Sequence[ScannedTrial]) -> Iterator[list[Span]]:
    """``spans`` of each trial, three times as fast for trials with one attempt that has ended, which most have."""
    for start in range(0, len(trials), AT_ONCE):
        some = trials[start : start + AT_ONCE]
        plain = {trial.number: attempt for trial in some if (attempt := trial.only_attempt()) is not None}
        try:
            workers = _workers.decode(b"[" + b",".join(worker for worker, _ in plain.values()) + b"]")
            ends = _ends.decode(b"[" + b",".join(ending for _, ending in plain.values()) + b"]")
        except (
            ValueError,
            RecursionError,
        ):  # one is malformed, or plain Optuna wrote it: ``spans`` knows what to do
            yield from map(spans, some)
            continue
        decoded = iter(zip(workers, ends, strict=True))
        yield from ([_span(t, 1, *next(decoded))] if t.number in plain else spans(t) for t in some)


def _span(trial: ScannedTrial, number: int, facts: AttemptFacts, end: AttemptEnd) -> Span:
    return Span(
        trial.number,
        number,
        facts.worker,
        facts.job,
        facts.host,
        facts.gpus_held,
        facts.started,
        end.time,
        end.how,
        end.moved,
        facts.fused,
    )
