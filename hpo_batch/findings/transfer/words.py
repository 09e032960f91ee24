"""Whether a budget needs configurations of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hpo_batch.findings.records import Finding, Findings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.findings.transfer.numbers import Matrix
from hpo_batch.records import Answer
from hpo_batch.sweep.factors import factor_text
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count, interval, number

OWN: Final = "Does a budget need configurations of its own?"
VARIED: Final = "Does anything vary between the budgets?"


def common_sentences(findings: Findings) -> Iterator[Ranked]:
    several = len(findings.transfer) > 1
    for i, matrix in enumerate(findings.transfer):
        metric = findings.studies[0].metric if findings.studies else "value"
        answer, text = gap_text(matrix, metric)
        number_of = f".{i + 1}" if several else ""
        yield Ranked(
            Place.MATRIX,
            Finding(
                key=f"transfer.gap{number_of}",
                study="",
                question=OWN,
                answer=answer,
                text=f"{matrix.study}: {text}",
                estimate=matrix.gap,
                n=0 if matrix.gap is None else matrix.gap.n,
                method="" if matrix.gap is None else matrix.gap.method,
            ),
        )


def gap_text(matrix: Matrix, metric: str) -> tuple[Answer, str]:
    """What the matrix says of the gap."""
    missing = f"; not complete: {listed(matrix.missing, most=6)}" if matrix.missing else ""
    if not matrix.varied:
        return Answer.CANNOT_TELL, f"nothing varies between the budgets, so the matrix says nothing{missing}"
    gap, diagonal, elsewhere = matrix.gap, matrix.diagonal, matrix.elsewhere
    if gap is None or diagonal is None or elsewhere is None:
        return (
            Answer.CANNOT_TELL,
            f"no two budgets can be compared: each needs a configuration that is complete in both{missing}",
        )
    spread = None if gap.low is None or gap.high is None else (gap.high - gap.low) / 2
    seen = (
        f"{count(len(matrix.compared), 'configuration')} have {metric} = {number(diagonal.value, spread)} on their own "
        f"budget and {number(elsewhere.value, spread)} on the others"
    )
    left = [budget for budget in matrix.budgets if budget not in matrix.compared_budgets]
    rest = f"{f'; without {listed(left)}, for want of complete trials' if left else ''}{missing}"
    by = f"(gap {interval(gap)}, above 0 where the own is better)"
    if gap.low is None or gap.high is None:
        return Answer.CANNOT_TELL, f"{seen} {by}; the gap has no interval: {gap.method.rpartition(': ')[2]}{rest}"
    if gap.low > 0:
        return Answer.YES, f"{seen}: their own is better for them {by}{rest}"
    if gap.high < 0:
        return Answer.NO, f"{seen}: their own is worse for them {by}{rest}"
    return Answer.CANNOT_TELL, f"{seen}: no clear difference {by}{rest}"


def varied_text(matrix: Matrix) -> str:
    """``epochs (2M: 12, 20M: 50)``, for each factor."""
    return (
        listed(factor_text(one.name, one.values) for one in matrix.varied)
        or "nothing: the matrix is of one budget under several names"
    )
