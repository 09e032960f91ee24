"""Which parameters explain the differences, as far as the tests of effects confirm it."""

from __future__ import annotations

from collections.abc import Iterator

from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    importance = study.importance
    if importance is None:
        return
    if importance.interpretable is not Answer.YES or not importance.rows:
        text = f"{study.label}: importances cannot be interpreted ({importance.why or 'the model explains too little'})"
        answer = Answer.CANNOT_TELL
    else:
        unclear = {e.parameter for e in study.effects if e.p_holm is None or e.p_holm >= ALPHA}
        above = [f"{row.parameter} {row.value:.2f}" for row in importance.rows if row.above_null]
        doubtful = [row.parameter for row in importance.rows if row.above_null and row.parameter in unclear]
        answer = Answer.YES if len(above) > len(doubtful) else Answer.CANNOT_TELL
        line = (
            f" (line of parameters that do nothing: {importance.null_line:.2f})"
            if importance.null_line is not None
            else ""
        )
        text = f"{study.label}: important beyond the null line: {', '.join(above) or 'none'}{line}"
        if doubtful:
            text += f"; the tests of effects, which are more reliable, do not confirm {', '.join(doubtful)}"
    yield Ranked(
        Place.IMPORTANCE,
        Finding(
            key="importance",
            study=study.label,
            question="Does a parameter explain the differences between trials?",
            answer=answer,
            text=text,
            method=importance.method,
            n=importance.n,
        ),
    )
