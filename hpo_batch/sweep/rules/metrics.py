"""Rules for ``[study] metric`` and ``[metrics]``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hpo_batch.expressions import parse, why_constant
from hpo_batch.records import Problem
from hpo_batch.space.conditions import Cycle, decision_order
from hpo_batch.sweep.rules.draft import Draft


def directions(draft: Draft) -> Iterator[Problem]:
    """Metrics are unique and have a direction; ``best`` requires a single metric."""
    sweep = draft.sweep
    metrics, count = sweep.study.metric, len(sweep.study.direction)
    if len(metrics) != count and draft.is_sound("study.metric", "study.direction"):
        message = f"{count} directions for {len(metrics)} metrics"
        yield Problem(key=("study", "direction"), message=message, allowed="minimize, maximize")
    if len(set(metrics)) != len(metrics):
        yield Problem(key=("study", "metric"), message="a metric is listed twice")
    for claim, expectation in sweep.expect.items() if len(metrics) > 1 else ():
        if "best" in _identifiers(expectation if isinstance(expectation, str) else expectation.if_):
            message = "with several metrics there is no single 'best' trial"
            yield Problem(key=("expect", claim), message=message)


def formulas(draft: Draft) -> Iterator[Problem]:
    """Formulas use at least one metric, and no parameters."""
    for name, text in draft.sweep.metrics.items():
        formula = parse(text)
        if constant := why_constant(formula, ()):
            yield Problem(key=("metrics", name), message=constant)
        for other in sorted(formula.names & set(draft.sweep.declared_names)):
            message = f"'{other}' is a parameter, and metrics are computed from metrics: report or return it as well"
            yield Problem(key=("metrics", name), message=message)


def formula_order(draft: Draft) -> Iterator[Problem]:
    try:
        decision_order({name: sorted(parse(text).names) for name, text in draft.sweep.metrics.items()})
    except Cycle as error:
        for cycle in error.cycles:
            message = f"these metrics depend on each other: {' -> '.join((*cycle, cycle[0]))}"
            yield Problem(key=("metrics", cycle[0]), message=message)


def _identifiers(text: str) -> set[str]:
    """The identifiers in an expectation, found by pattern because it may be invalid."""
    return set(re.findall(r"(?<![\w.])[A-Za-z_]\w*", re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "", text)))
