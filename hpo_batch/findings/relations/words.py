"""Which parameters must be judged together."""

from __future__ import annotations

from collections.abc import Iterator

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.effects.means import POWERED
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.phrases import fine, p_text
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.relations.interactions import Interaction
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer
from hpo_batch.text.numbers import number


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    for pair in study.interactions:
        if pair.p_holm is not None and pair.p_holm < ALPHA:
            yield Ranked(Place.INTERACTION, _interaction(pair, study))


def _interaction(pair: Interaction, study: StudyFindings) -> Finding:
    best = study.direction == "maximize"
    text = sorted(
        (mean, f"{number(mean, fine(study))} at {pair.a} {_place(a)} with {pair.b} {_place(b)}")
        for a, b, n, mean in pair.cells
        if mean is not None and n >= POWERED
    )
    ends = f": plain mean {text[-1 if best else 0][1]}, {text[0 if best else -1][1]}" if len(text) > 1 else ""
    return Finding(
        key=f"interaction.{pair.a}.{pair.b}",
        study=study.label,
        question=f"Do {pair.a} and {pair.b} act together?",
        answer=Answer.YES,
        text=f"{study.label}: what {pair.a} does depends on {pair.b}{ends} ({p_text(pair.p_holm)} after Holm over all "
        "pairs)",
        actions=(Action(kind=ActionKind.JUDGE_TOGETHER, parameter=pair.a, beside=(pair.b,)),),
        p=pair.p,
        p_holm=pair.p_holm,
        n=pair.n,
        method="F-test of the product",
    )


def _place(cell: str) -> str:
    """A third of the trials may have one value."""
    low, _, high = cell.partition(" to ")
    return low if low == high else cell
