"""Values that were tried and seldom completed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.phrases import p_text
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.findings.survival.numbers import Survival, TriedValue
from hpo_batch.records import Answer

OUTCOMES: Final = ("pruned", "failed")
METHOD: Final = "Fisher's exact test of each value against the others within thirds of the order, Holm over all values"
MOST_VALUES: Final = 2
"""with which trials end alike, that get an action each"""
KINDS: Final = {"failed": ActionKind.FIX_FAILURES, "pruned": ActionKind.DROP_VALUE}


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    for parameter in study.survival:
        for outcome in OUTCOMES:
            yield from _outcome(parameter, outcome, study.label)
        if parameter.only_one_completed:
            yield Ranked(Place.ONE_VALUE_COMPLETED, _one_completed(parameter, study.label))


def _outcome(parameter: Survival, outcome: str, where: str) -> Iterator[Ranked]:
    """One sentence for a parameter: of the values that do worse than the others, else of those that do better."""
    values = parameter.values
    clear = [v for v in values if (p := _p_holm(v, outcome)) is not None and p < ALPHA]
    worse = [v for v in clear if _share(v, outcome) > _share_elsewhere(v, values, outcome)]
    told = worse or clear
    if not told:
        return
    most = max(_share(value, outcome) for value in told)
    parts = [f"{v.label}: {_hits(v, outcome)} of {_ended(v, outcome)} {outcome}" for v in told]
    others = [v for v in values if v not in told]
    hits, ended = sum(_hits(v, outcome) for v in others), sum(_ended(v, outcome) for v in others)
    parts.append(f"the other values: {hits} of {ended}")
    p = min(p for v in told if (p := _p_holm(v, outcome)) is not None)
    yield Ranked(
        Place.SURVIVAL,
        Finding(
            key=f"survival.{parameter.parameter}.{outcome}",
            study=where,
            question=f"Are some values of {parameter.parameter} {outcome} more often?",
            answer=Answer.YES,
            text=f"{where}: {parameter.parameter} {', '.join(parts)} ({p_text(p)} after Holm)",
            actions=tuple(
                Action(kind=KINDS[outcome], parameter=parameter.parameter, value=v.value)
                for v in worse
                if v.value is not None and _share(v, outcome) == most
            )[:MOST_VALUES],
            p=min(p for v in told if (p := _p(v, outcome)) is not None),
            p_holm=p,
            n=sum(v.n for v in values),
            method=METHOD,
        ),
        within=p,
    )


def _one_completed(parameter: Survival, where: str) -> Finding:
    parts = [
        f"{v.label} in {v.n} ({v.complete} complete, {v.pruned} pruned, {v.failed} failed)"
        for v in parameter.values[:6]
    ]
    return Finding(
        key=f"survival.{parameter.parameter}",
        study=where,
        question=f"Was {parameter.parameter} tried with several values?",
        answer=Answer.YES,
        text=f"{where}: {parameter.parameter} was tried with {len(parameter.values)} values, but only trials with one "
        f"of them completed: {', '.join(parts)}. What it does to the final value is not known",
        n=sum(v.n for v in parameter.values),
        method="counts of all trials that began",
    )


def _hits(value: TriedValue, outcome: str) -> int:
    return value.pruned if outcome == "pruned" else value.failed


def _ended(value: TriedValue, outcome: str) -> int:
    """Trials of which this outcome is a share: failed ones say nothing about pruning."""
    return value.complete + value.pruned + (value.failed if outcome == "failed" else 0)


def _share(value: TriedValue, outcome: str) -> float:
    return _hits(value, outcome) / max(1, _ended(value, outcome))


def _share_elsewhere(value: TriedValue, values: tuple[TriedValue, ...], outcome: str) -> float:
    others = [v for v in values if v is not value]
    return sum(_hits(v, outcome) for v in others) / max(1, sum(_ended(v, outcome) for v in others))


def _p(value: TriedValue, outcome: str) -> float | None:
    return value.p_pruned if outcome == "pruned" else value.p_failed


def _p_holm(value: TriedValue, outcome: str) -> float | None:
    return value.p_pruned_holm if outcome == "pruned" else value.p_failed_holm
