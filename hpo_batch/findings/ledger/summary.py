"""How good predictions were, over studies: scores against base rates, and whether probabilities were as often right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hpo_batch.findings.ledger.numbers import Ledger, Scored
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.records import Estimate

FEWEST_FOR_TENTHS: Final = 20
TENTHS: Final = 10


@dataclass(frozen=True, kw_only=True)
class Tenth:
    """Predictions whose probabilities lie in one tenth of 0 to 1."""

    low: float
    high: float
    n: int
    said: float
    """mean of the probabilities"""
    came: float
    """share that was true"""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All predictions that were scored."""

    n: int
    """with a probability"""
    brier: float | None
    brier_base: float | None
    """of the base rates of the same predictions"""
    intervals: int
    coverage: Estimate | None
    """share of the intervals that held, with its own interval"""
    level: float | None
    """share that should have held"""
    tenths: tuple[Tenth, ...]
    """from ``FEWEST_FOR_TENTHS`` probabilities on"""
    open: int
    """predictions that cannot be scored yet"""
    repeated: int
    """predictions of further studies of a sweep that ran before, which are not counted again"""


def summary(ledgers: Sequence[Ledger]) -> Summary:
    """Over the ledgers of studies; predictions of one decisions file count once, in the first study that scores them.

    Predictions of one sweep are about the same trials, and are not independent.
    """
    scored: list[Scored] = []
    counted: dict[str, set[str]] = {}
    open_ones = repeated = 0
    for ledger in ledgers:
        known = counted.setdefault(ledger.digest, set())
        for one in ledger.predictions:
            if one.prediction.key in known:
                repeated += 1
            elif one.why:
                open_ones += 1
            else:
                known.add(one.prediction.key)
                scored.append(one)
    told = [one for one in scored if one.came is not None]
    held = [one for one in scored if one.inside is not None]
    based = [one.brier_base for one in told if one.brier_base is not None]
    levels = [one.prediction.interval.level for one in held if one.prediction.interval is not None]
    return Summary(
        n=len(told),
        brier=_mean([one.brier for one in told if one.brier is not None]),
        brier_base=_mean(based) if len(based) == len(told) else None,
        intervals=len(held),
        coverage=coverage(sum(bool(one.inside) for one in held), len(held)),
        level=_mean(levels),
        tenths=_tenths(told) if len(told) >= FEWEST_FOR_TENTHS else (),
        open=open_ones,
        repeated=repeated,
    )


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def coverage(held: int, n: int) -> Estimate | None:
    """A share with the interval of Clopper and Pearson (1934, Biometrika 26(4), pages 404-413)."""
    if not n:
        return None
    from scipy import stats

    low = float(stats.beta.ppf(ALPHA / 2, held, n - held + 1)) if held else 0.0
    high = float(stats.beta.ppf(1 - ALPHA / 2, held + 1, n - held)) if held < n else 1.0
    return Estimate(value=held / n, low=low, high=high, method="share, Clopper-Pearson", n=n)


def _tenths(told: Sequence[Scored]) -> tuple[Tenth, ...]:
    found: list[list[tuple[float, bool]]] = [[] for _ in range(TENTHS)]
    for one in told:
        probability = one.prediction.probability
        assert probability is not None
        assert one.came is not None
        found[min(TENTHS - 1, int(probability * TENTHS))].append((probability, one.came))
    return tuple(
        Tenth(
            low=i / TENTHS,
            high=(i + 1) / TENTHS,
            n=len(each),
            said=math.fsum(p for p, _ in each) / len(each),
            came=sum(came for _, came in each) / len(each),
        )
        for i, each in enumerate(found)
        if each
    )
