"""Where the range of a parameter may end too early, and whether a value that fills the top does so by merit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.effects.edges import Edge
from hpo_batch.findings.effects.words import chance
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.phrases import p_text, short_value
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer, Value

FILLS: Final = 0.8
"""share of the elites from which a value fills the top"""
MOST_FILLING: Final = 4


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    yield from _separated(study)
    yield from _edges(study)
    yield from _filling(study)


def _separated(study: StudyFindings) -> Iterator[Ranked]:
    for one in study.elites.separated if study.elites is not None else ():
        end = "worst" if one.worst else "best"
        yield Ranked(
            Place.SEPARATED,
            Finding(
                key=f"separated.{one.parameter}.{one.value}",
                study=study.label,
                question=f"Does {one.parameter} = {one.value} stand apart?",
                answer=Answer.YES,
                text=f"{study.label}: all {one.n} configurations with {one.parameter} = {one.value} are the {one.n} "
                f"{end} of {one.n_all} ({p_text(one.p)} if the values had been dealt out at random)",
                actions=(Action(kind=ActionKind.DROP_VALUE, parameter=one.parameter, value=one.value),)
                if one.worst
                else (),
                p=one.p,
                n=one.n_all,
                method="share of all choices of as many configurations, two ends, Bonferroni over the values",
            ),
            within=one.p,
        )


def _filling(study: StudyFindings) -> Iterator[Ranked]:
    """One finding on the values that most of the elites have, each beside how often it was tried."""
    if study.elites is None:
        return
    filling = [
        (row, entry)
        for row in study.elites.rows
        for entry in row.evidence
        if row.n_active and entry[1] >= FILLS * row.n_active
    ]
    if not filling:
        return
    # what was tried nearly always fills the top anyway: those that say least come first, they mislead most
    filling.sort(key=lambda pair: -pair[1][2] / max(1, pair[0].n_tried))
    clear = [entry for _, entry in filling if entry[4] is not None and entry[4] < ALPHA]
    parts = []
    for row, (label, among, tried, _, p_holm) in filling[:MOST_FILLING]:
        verdict = f"more than by chance, {p_text(p_holm)}" if p_holm is not None and p_holm < ALPHA else "no evidence"
        parts.append(
            f"{row.parameter} = {label}: {among} of {row.n_active} elites, {tried} of {row.n_tried} tried: {verdict}"
        )
    more = len(filling) - MOST_FILLING
    yield Ranked(
        Place.ELITE_SHARES,
        Finding(
            key="elites.shares",
            study=study.label,
            question="Does a value fill the top because it is better?",
            answer=Answer.YES if len(clear) == len(filling) else Answer.CANNOT_TELL,
            text=f"{study.label}: {'; '.join(parts)}{f'; and {more} more' if more > 0 else ''}",
            n=study.elites.n,
            method="hypergeometric test of a value's share of the elites against that of all tried configurations, "
            "Holm. A search repeats what did well early, so the test of the effect decides",
        ),
    )


def _edges(study: StudyFindings) -> Iterator[Ranked]:
    """One finding for all parameters at an end: as many as there are would bury the others."""
    best = study.summary.best
    likely = {e.parameter: e.edge for e in study.effects if e.edge is not None}
    at_end: list[tuple[str, str, Value | None]] = []
    together = {e.parameter: e.together for e in study.effects}
    for row in study.elites.rows if study.elites is not None else ():
        model, value = likely.get(row.parameter), None if best is None else best.params.get(row.parameter)
        side = row.at_edge if model is None else model.side
        end = value if model is None else model.value
        if side and not (side == "low" and _is_least(end)):
            at_end.append((row.parameter, side, value))
    if not at_end or study.elites is None:
        return
    carried = [(name, side) for name, side, _ in at_end if name in likely]
    doubt = (
        "" if len(carried) == len(at_end) else "; where only the best trial lies there, that is chance half the time"
    )
    named = ", ".join(f"{name} ({side}{_chance(likely.get(name))}{_of_best(value)})" for name, side, value in at_end)
    yield Ranked(
        Place.EDGES_THAT_MATTER if carried else Place.EDGES,
        Finding(
            key="edges",
            study=study.label,
            question="Does the range of a parameter end too early?",
            answer=Answer.YES if carried else Answer.CANNOT_TELL,
            n=study.elites.n,
            text=f"{study.label}: the best trial, or the best place by the model, lies at an end of the range of "
            f"{named}{doubt}",
            actions=tuple(
                Action(
                    kind=ActionKind.EXPAND,
                    parameter=name,
                    where=side,
                    value=likely[name].value,
                    beside=tuple(other for other in together[name] if other != name),
                )
                for name, side in carried
                # refine keeps within limits; those that always changed together are widened together
                if not likely[name].is_limit and (not together[name] or together[name][0] == name)
            ),
            method="best trial at the edge, or the model's best place with a probability of 80 % or more",
        ),
    )


def _is_least(end: Value | None) -> bool:
    """Most things that may be zero may not be less; most of those that are counted from one may not be zero."""
    return not isinstance(end, str | bool) and (end == 0 or (isinstance(end, int) and end == 1))


def _chance(edge: Edge | None) -> str:
    if edge is None:
        return ""
    return f", {chance(edge.probability)}{', where its limits end' if edge.is_limit else ''}"


def _of_best(value: Value | None) -> str:
    return "" if value is None else f"; the best trial has {short_value(value)}"
