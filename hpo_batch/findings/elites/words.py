"""Where the range of a parameter may end too early."""

from __future__ import annotations

from collections.abc import Iterator

from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.phrases import short_value
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    """One finding for all parameters at an end: as many as there are would bury the others."""
    best = study.summary.best
    at_end = []
    for row in study.elites.rows if study.elites is not None else ():
        value = None if best is None else best.params.get(row.parameter)
        if row.at_edge == "low" and not isinstance(value, str | bool) and value == 0:
            continue  # most things that may be zero may not be less
        if row.at_edge:
            at_end.append((row.parameter, row.at_edge, value))
    if not at_end or study.elites is None:
        return
    survive = {e.parameter for e in study.effects if e.p_holm is not None and e.p_holm < ALPHA}
    carried = [f"{name} at its {end} end" for name, end, _ in at_end if name in survive]
    doubt = "" if len(carried) == len(at_end) else "; where a parameter has no clear effect, that may be chance"
    named = ", ".join(
        f"{name} ({end}{'' if value is None else f'; the best trial has {short_value(value)}'})"
        for name, end, value in at_end
    )
    yield Ranked(
        Place.EDGES_THAT_MATTER if carried else Place.EDGES,
        Finding(
            key="edges",
            study=study.label,
            question="Does the range of a parameter end too early?",
            answer=Answer.CANNOT_TELL,
            n=study.elites.n,
            text=f"{study.label}: the best trial, or the optimum of a fitted curve, lies at an end of the range of "
            f"{named}{doubt}",
            do=f"widen in the next sweep: {', '.join(carried)}" if carried else "",
            method="best trial at the edge, or the fitted optimum in 95 % of resamples",
        ),
    )
