"""Which parameters must be judged together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.effects.means import POWERED
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.phrases import fine, p_text
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.relations.interactions import Interaction
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer
from hpo_batch.text.numbers import signed

MOST_COMPARED: Final = 12
"""values of a parameter of which all pairs are compared"""


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    for pair in study.interactions:
        if pair.p_holm is not None and pair.p_holm < ALPHA:
            yield Ranked(Place.INTERACTION, _interaction(pair, study))


def _interaction(pair: Interaction, study: StudyFindings) -> Finding:
    ends = _contrast(pair, study)
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


def _contrast(pair: Interaction, study: StudyFindings) -> str:
    """The two values of each that make the greatest difference to what the other one does: ``lr 0.1 rather than 0.01:
    +0.03 with depth 2, −0.01 with depth 8``."""
    means = {(a, b): mean for a, b, n, mean in pair.cells if mean is not None and n >= POWERED}
    values = [list(dict.fromkeys(cell[i] for cell in means)) for i in (0, 1)]
    squares = [
        (means[high, one] - means[low, one], means[high, other] - means[low, other], low, high, one, other)
        for low, high in itertools.combinations(values[0][:MOST_COMPARED], 2)
        for one, other in itertools.combinations(values[1][:MOST_COMPARED], 2)
        if {(low, one), (low, other), (high, one), (high, other)} <= means.keys()
    ]
    if not squares:
        return ""
    first, second, low, high, one, other = max(squares, key=lambda square: abs(square[0] - square[1]))
    return (
        f": plain means, {pair.a} {_place(high)} rather than {_place(low)}: {signed(first, fine(study))} with {pair.b} "
        f"{_place(one)}, {signed(second, fine(study))} with {pair.b} {_place(other)}"
    )


def _place(cell: str) -> str:
    """A third of the trials may have one value."""
    low, _, high = cell.partition(" to ")
    return low if low == high else cell
