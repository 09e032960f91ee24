"""Numbers and counts as the sentences have them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from hpo_batch.findings.model.parameter import value_text
from hpo_batch.findings.model.stats import Z95
from hpo_batch.findings.records import StudyFindings
from hpo_batch.records import Value
from hpo_batch.text.numbers import label, number

MOST_NUMBERS: Final = 8
"""numbers of trials in a sentence"""


def some(numbers: Sequence[int]) -> str:
    """Numbers of trials, of which a sentence bears only so many."""
    more = len(numbers) - MOST_NUMBERS
    return ", ".join(map(str, numbers[:MOST_NUMBERS])) + (f" and {more} more" if more > 0 else "")


def claims(family: int) -> str:
    return f"{family} claim{'' if family == 1 else 's'}"


def p_text(p: float | None) -> str:
    if p is None:
        return "p unknown"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


def short_value(value: Value) -> str:
    """A parameter's value with the digits that a reader needs."""
    return f"{value:.4g}" if isinstance(value, float) else value_text(value)


def fixed(value: float | None, spread: float | None = None) -> str:
    """Of the metric: with the digits that values which ``spread`` like this need."""
    return "-" if value is None else number(value, None if spread is None else spread / 3)


def fine(study: StudyFindings) -> float | None:
    """To how much of a difference single values and means are rounded: what lies close together must not look tied."""
    spread = spread_of(study)
    return None if spread is None else spread / 3


def spread_of(study: StudyFindings) -> float | None:
    """How far the values of a study lie apart, for the digits of numbers."""
    return study.spread


def band(sd: float) -> float:
    """How far two values with this noise (standard deviation) lie apart by chance, in 95 % of cases."""
    return Z95 * math.sqrt(2) * sd


def metric_title(study: StudyFindings) -> str:
    """The metric with what is good, as axes and titles have it."""
    return f"{study.metric} ({'higher' if study.direction == 'maximize' else 'lower'} is better)"


def configuration_text(values: Mapping[str, Value | None]) -> str:
    """``lr = 0.001, width = 64``."""
    return ", ".join(f"{name} = {label(value)}" for name, value in values.items())
