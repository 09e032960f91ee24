"""What a command predicts of the sweep that it writes: a statement that the trials of that sweep will judge.

Everything that judging needs stands in the prediction itself, so that the earlier study may be gone by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

from hpo_batch.files import decode
from hpo_batch.records import Estimate

LEDGER: Final = "ledger"
"""key of a decisions file"""

Outcome: TypeAlias = Literal["best", "beyond", "mean", "difference", "first"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One statement about trials to come: a probability, an interval, or both."""

    key: str
    """stable: ``gain``, ``best``, ``expand.lr``, ``effect.dropout = 0.3``, ``finalists.mean``"""
    statement: str
    """what is predicted, in words"""
    outcome: Outcome
    """what of the trials decides. ``best``: the best of the first ``trials`` finished ones, the baseline left out,
    against ``than`` or ``interval``; ``beyond``: whether its ``parameter`` lies beyond ``end`` at that ``side``;
    ``mean``: of ``names``; ``difference``: mean of ``names`` less that of ``others``, above 0 where it is better;
    ``first``: whether the first of ``names`` is the best of them"""
    probability: float | None = None
    """that the statement is true"""
    base_rate: float | None = None
    """the same for somebody who knows nothing of the trials' values"""
    base: str = ""
    """where the base rate comes from"""
    interval: Estimate | None = None
    """where the number will lie, with the level at which it should"""
    trials: int | None = None
    """finished trials that it speaks of: it waits for them"""
    than: float | None = None
    """the value to beat"""
    parameter: str = ""
    side: Literal["", "low", "high"] = ""
    end: float | None = None
    """earlier end of its range"""
    names: tuple[str, ...] = ()
    """of ``[[trial]]``s, and ``baseline``"""
    others: tuple[str, ...] = ()
    """that they are compared with"""
    method: str = ""
    """how it was predicted"""

    def __post_init__(self) -> None:
        for share in (self.probability, self.base_rate):
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{self.key}: {share} is no probability")


@dataclass(frozen=True, kw_only=True)
class Document:
    """What the ledger reads of a decisions file."""

    ledger: tuple[Prediction, ...] = ()


def as_rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """As a decisions file has them: only what is set."""
    return [_filled(asdict(prediction)) for prediction in predictions]


def _filled(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _filled(value) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if value is not None and value != "" and value != ()
    } | ({"low": table["low"], "high": table["high"]} if "low" in table else {})


def predictions_in(content: bytes) -> tuple[Prediction, ...]:
    """The predictions of a decisions file.

    Raises:
        ValueError: it is not one.
    """
    return decode(content, Document).ledger
