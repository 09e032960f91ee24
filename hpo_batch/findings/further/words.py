"""What further trials would gain, in one sentence. It is a suggestion: nothing stops by itself."""

from __future__ import annotations

from collections.abc import Iterator

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.further.numbers import Further
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.monitor.gain import gain_text
from hpo_batch.records import Answer
from hpo_batch.text.numbers import hours, number

QUESTION = "Would further trials gain more than noise?"


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    found = study.further
    if found is None:
        return
    stop = found.worth is Answer.NO
    yield Ranked(
        Place.FURTHER,
        Finding(
            key="further",
            study=study.label,
            question=QUESTION,
            answer=found.worth,
            text=f"{study.label}: {further_text(found, study.metric)}",
            actions=(Action(kind=ActionKind.STOP, count=found.gain.trials),) if stop else (),
            estimate=found.estimate,
            n=found.gain.n,
            method=found.estimate.method,
        ),
    )


def further_text(found: Further, metric: str) -> str:
    """One sentence without its full stop."""
    noise = "noise floor unknown" if found.noise is None else f"noise of one trial {number(found.noise, found.noise)}"
    cost = "" if found.hours is None else f"; {hours(found.hours)} of {'GPUs' if found.unit == 'GPU' else 'workers'}"
    return f"{gain_text(found.gain, metric, planned=found.planned)}; {noise}{cost}"
