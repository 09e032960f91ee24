"""Whether early steps tell which trials end well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.steps import SHARE, EqualSteps
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer

TRUSTED: Final = 0.7
"""rank correlation with the last step from which an earlier one may stand for it"""


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    if study.equal_steps is not None:
        yield Ranked(Place.EQUAL_STEPS, _equal_steps(study, study.equal_steps))
    known = [(step, rho, n) for step, rho, n in study.fidelity if rho is not None]
    if not known:
        return
    trusted = [step for step, rho, _ in known if rho.value >= TRUSTED]
    told = ", ".join(f"step {step} {rho.value:.2f} [{rho.low:.2f}, {rho.high:.2f}]" for step, rho, _ in known)
    rho, n = known[0][1:]
    who = f"n = {rho.n}, drawn at random from the {n}" if rho.n < n else f"n = {n},"
    text = f"{study.label}: rank correlation of values at earlier steps with those of the last: {told} ({who} trials "
    text += "that reached the last step)"
    delay = Action(kind=ActionKind.DELAY_PRUNING, count=trusted[0] if trusted else 0)
    yield Ranked(
        Place.FIDELITY,
        Finding(
            key="fidelity",
            study=study.label,
            question="Do early steps tell which trials end well?",
            answer=Answer.YES if trusted else Answer.NO,
            text=text,
            actions=(delay,),
            n=known[0][2],
            method=f"Spearman; a step is trusted from {TRUSTED} on",
        ),
    )


def _equal_steps(study: StudyFindings, at: EqualSteps) -> Finding:
    pruned = study.summary.states.get("PRUNED", 0)
    text = (
        f"{study.label}: {pruned} of {at.n_ended} trials were pruned, which the final values leave out; at step "
        f"{at.step} {at.n} of them all can be compared ({at.n_complete} that completed, {at.n_pruned} pruned ones)"
    )
    return Finding(
        key="steps.equal",
        study=study.label,
        question="Can pruned trials be compared with the others?",
        answer=Answer.YES,
        text=text,
        n=at.n,
        method=f"the latest step that {SHARE:.0%} of the complete and pruned trials reported",
    )
