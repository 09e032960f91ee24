"""The attempts of trials as spans of time: only what sums over a whole study need, decoded at once."""

from __future__ import annotations

import msgspec

from hpo_batch.journal.trial import ATTEMPT, ScannedTrial

ENDED = "hpo:ended:"


class _Begun(msgspec.Struct):
    started: float
    worker: str = ""
    job: str = ""
    host: str = ""
    gpus: list[str] = []
    gpu_count: float | None = None


class _Ended(msgspec.Struct):
    how: str = ""
    time: float | None = None
    moved: bool = False


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


_begun = msgspec.json.Decoder(_Begun)
_ended = msgspec.json.Decoder(_Ended)


def spans(trial: ScannedTrial) -> list[Span]:
    """The attempts of a trial by number; one whose facts make no sense is left out."""
    found = []
    for number in trial.attempts:
        begun = trial.raw(f"{ATTEMPT}{number}")
        if begun is None:
            continue
        ended = trial.raw(f"{ENDED}{number}")
        try:
            facts = _begun.decode(begun)
            end = _ended.decode(ended) if ended is not None else _Ended()
        except (ValueError, RecursionError):
            continue
        found.append(
            Span(
                trial.number,
                number,
                facts.worker,
                facts.job,
                facts.host,
                len(facts.gpus) if facts.gpu_count is None else facts.gpu_count,
                facts.started,
                end.time,
                end.how,
                end.moved,
            )
        )
    return found
