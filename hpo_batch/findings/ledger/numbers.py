"""Judges what was predicted of a study by its trials: what came, the Brier score, and whether intervals held.

The Brier score is (probability - outcome)^2 (Brier 1950, Monthly Weather Review 78(1), pages 1-3): 0 is perfect, and
0.25 what 50 % always gets. Beside it stands the score of the base rate, which knows nothing of the trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from hpo_batch.findings.ledger.prediction import Prediction, predictions_in
from hpo_batch.results.table import TrialsTable
from hpo_batch.store.home import StudyHome
from hpo_batch.store.predictions import read_kept
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count

FINISHED: Final = ("COMPLETE", "PRUNED")
BASELINE: Final = "baseline"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A prediction and what came of it."""

    prediction: Prediction
    value: float | None = None
    """what came: the best value, a mean or a difference; None if it cannot be scored yet, or is no number"""
    came: bool | None = None
    """whether a statement with a probability was true"""
    inside: bool | None = None
    """whether the interval held"""
    brier: float | None = None
    brier_base: float | None = None
    """of the base rate"""
    why: str = ""
    """why it cannot be scored; empty if it is"""


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What was predicted of one study, and what came of it."""

    by: str
    """the command that predicted: ``refine``, ``propose``, ``confirm``"""
    previous: tuple[str, ...]
    """the studies that it predicted from"""
    digest: str
    """SHA-256 of the decisions file; equal for studies of one sweep"""
    predictions: tuple[Scored, ...] = ()
    why: str = ""
    """why nothing is known of what was predicted; empty if something is"""

    @property
    def scored(self) -> tuple[Scored, ...]:
        return tuple(one for one in self.predictions if not one.why)


def ledger_of(table: TrialsTable) -> Ledger | None:
    """What was predicted of a study; None if nothing was.

    Args:
        table: of its trials; of one that is no study of hpo-batch nothing was predicted.
    """
    if table.home is None:
        return None
    kept = read_kept(StudyHome(path=table.home, name=table.source))
    if kept is None:
        return None
    known = Ledger(by=kept.by, previous=kept.previous, digest=kept.digest, why=kept.why)
    if kept.why:
        return known
    try:
        predictions = predictions_in(kept.content)
    except ValueError as error:
        return _without(known, f"the study's decisions.json cannot be read as predictions: {error}")
    if not predictions:
        return _without(known, "its decisions.json predicts nothing that trials could judge")
    return Ledger(
        by=kept.by,
        previous=kept.previous,
        digest=kept.digest,
        predictions=tuple(score(one, table) for one in predictions),
    )


def _without(known: Ledger, why: str) -> Ledger:
    return Ledger(by=known.by, previous=known.previous, digest=known.digest, why=why)


def score(prediction: Prediction, table: TrialsTable) -> Scored:
    """One prediction judged by the trials of a study."""
    if len(table.metrics) != 1:
        return Scored(prediction=prediction, why="the study has several metrics, and no trial is the best")
    trials = _Trials.of(table)
    match prediction.outcome:
        case "best" | "beyond":
            return _of_best(prediction, trials, table)
        case "mean":
            values, why = trials.named(prediction.names)
            value = None if why else _mean(values)
        case "difference":
            values, why = trials.named(prediction.names)
            others, no_others = trials.named(prediction.others)
            why = why or no_others
            value = None if why else trials.sign * (_mean(values) - _mean(others))
        case "first":
            values, why = trials.named(prediction.names)
            if why:
                return Scored(prediction=prediction, why=why)
            signed = [trials.sign * value for value in values]
            return _scored(prediction, value=None, came=signed[0] >= max(signed))
    if value is None:
        return Scored(prediction=prediction, why=why)
    return _scored(prediction, value=value, came=value > 0 if prediction.outcome == "difference" else None)


def _of_best(prediction: Prediction, trials: _Trials, table: TrialsTable) -> Scored:
    wanted = prediction.trials or 0
    frame, finished = trials.first(wanted)
    if finished < wanted or not wanted:
        failed = f", {table.counts.failed} failed" if table.counts.failed else ""
        why = f"the study has {finished} of {count(wanted, 'trial')}{failed}"
        return Scored(prediction=prediction, why=why)
    if frame.empty:
        return Scored(prediction=prediction, why=f"none of its {count(wanted, 'trial')} is complete")
    best = frame.iloc[int((trials.sign * frame["value"]).to_numpy(dtype=float).argmax())]
    value = float(best["value"])
    if prediction.outcome == "beyond":
        at = _number(best.get(f"params_{prediction.parameter}"))
        end = prediction.end if prediction.end is not None else math.nan
        return _scored(prediction, value=value, came=at > end if prediction.side == "high" else at < end)
    came = None if prediction.than is None else trials.sign * value > trials.sign * prediction.than
    return _scored(prediction, value=value, came=came)


def _scored(prediction: Prediction, *, value: float | None, came: bool | None) -> Scored:
    probability, base, interval = prediction.probability, prediction.base_rate, prediction.interval
    inside = None
    if interval is not None and interval.low is not None and interval.high is not None and value is not None:
        inside = interval.low <= value <= interval.high
    came = came if probability is not None else None
    return Scored(
        prediction=prediction,
        value=value,
        came=came,
        inside=inside,
        brier=None if came is None or probability is None else (probability - came) ** 2,
        brier_base=None if came is None or base is None else (base - came) ** 2,
    )


@dataclass(frozen=True, kw_only=True)
class _Trials:
    """The trials that predictions are about."""

    sign: float
    frame: pd.DataFrame
    """finished ones, by number; the baseline is called so"""

    @classmethod
    def of(cls, table: TrialsTable) -> _Trials:
        frame = table.trials[table.trials["state"].isin(FINISHED)].sort_values("number")
        if "origin" in frame.columns:
            name = frame["name"].astype(object) if "name" in frame.columns else None
            name = pd.Series(None, index=frame.index, dtype=object) if name is None else name
            frame = frame.assign(name=name.mask(frame["origin"] == BASELINE, BASELINE))
        return cls(sign=1.0 if table.directions[0] == "maximize" else -1.0, frame=frame)

    def first(self, n: int) -> tuple[pd.DataFrame, int]:
        """The complete ones among the first ``n`` that have finished, and how many of these there are.

        The baseline is left out: it is no part of the search, and has run before.
        """
        frame = self.frame
        head = (frame[frame["name"] != BASELINE] if "name" in frame.columns else frame).head(n)
        return _complete(head), len(head)

    def named(self, names: Sequence[str]) -> tuple[list[float], str]:
        """Their values, and which of them have none."""
        complete = _complete(self.frame)
        known: Mapping[Any, float] = {}
        if "name" in complete.columns:
            known = dict(zip(complete["name"].tolist(), complete["value"].astype(float).tolist(), strict=True))
        missing = [name for name in names if name not in known]
        why = f"not complete: {listed(missing)}" if missing else "" if names else "it names no trials"
        return [] if why else [known[name] for name in names], why


def _complete(frame: pd.DataFrame) -> pd.DataFrame:
    values = pd.to_numeric(frame["value"], errors="coerce")
    return frame[(frame["state"] == "COMPLETE") & values.abs().lt(math.inf)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _number(cell: object) -> float:
    """NaN, which lies beyond nothing, where a parameter is not active."""
    return float(cell) if isinstance(cell, (int, float)) or hasattr(cell, "__float__") else math.nan
