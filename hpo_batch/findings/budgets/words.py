"""Several studies beside each other: their bests, the size of models, what transfers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpo_batch.findings.phrases import short_value
from hpo_batch.findings.records import Finding, Findings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer, Estimate


def common_sentences(findings: Findings) -> Iterator[Ranked]:
    beside = findings.budgets
    if beside is None:
        return
    yield Ranked(
        Place.ORDER_OF_BESTS,
        Finding(
            key="budgets.order",
            study="",
            question="Can the best values be put in an order?",
            answer=beside.order,
            text=beside.order_text,
            n=len(beside.rows),
            method="differences of the bests against the noise floor, Holm",
            do=""
            if beside.order is Answer.YES
            else "confirm the finalists of each study with common seeds before comparing them",
        ),
    )
    slope = beside.slope
    told = slope is not None and slope.low is not None and slope.high is not None and (slope.low > 0 or slope.high < 0)
    yield Ranked(
        Place.SLOPE,
        Finding(
            key="budgets.slope",
            study="",
            question="Does size pay?",
            answer=Answer.YES if told else Answer.CANNOT_TELL,
            text=beside.text,
            estimate=slope,
            n=len(beside.rows),
            method="" if slope is None else slope.method,
        ),
    )
    for parameter, best, answer in beside.consistency:
        values = ", ".join(f"{label} {'-' if v is None else short_value(v)}" for label, v in best.items())
        words = {
            Answer.YES: "the best trials agree",
            Answer.NO: "the best trials differ, and the parameter matters in two of the studies",
            Answer.NOT_MEASURED: "not all best trials have it",
            Answer.CANNOT_TELL: "the best trials differ, which single trials do by chance",
        }
        yield Ranked(
            Place.CONSISTENCY,
            Finding(
                key=f"budgets.consistency.{parameter}",
                study="",
                question=f"Is the best {parameter} the same everywhere?",
                answer=answer,
                text=f"{parameter}: {words[answer]} ({values})",
                n=len(best),
                method="value of each study's best trial",
            ),
        )
    apart = [pair for pair in beside.transfer if pair[2] is None]
    if len(apart) > 1:
        yield Ranked(Place.TRANSFER, _no_transfer(apart))
    for a, b, rho, n in beside.transfer:
        if rho is None and len(apart) > 1:
            continue
        if rho is None:
            text = f"{a} and {b} have {n} configurations in common: too few to see whether ranks transfer"
            answer = Answer.CANNOT_TELL
        else:
            assert rho.low is not None
            assert rho.high is not None
            text = f"ranks in {a} and {b} correlate with {rho.value:.2f} [{rho.low:.2f}, {rho.high:.2f}], n = {n}"
            answer = Answer.YES if rho.low > 0 else Answer.NO if rho.high < 0.5 else Answer.CANNOT_TELL
        yield Ranked(
            Place.TRANSFER,
            Finding(
                key=f"budgets.transfer.{a}.{b}",
                study="",
                question=f"Does what is good in {a} do well in {b}?",
                answer=answer,
                text=text,
                estimate=rho,
                n=n,
                method="configurations that both have",
            ),
        )


def _no_transfer(pairs: Sequence[tuple[str, str, Estimate | None, int]]) -> Finding:
    most = max(n for *_, n in pairs)
    return Finding(
        key="budgets.transfer",
        study="",
        question="Does what is good in one study do well in the others?",
        answer=Answer.CANNOT_TELL,
        text=f"{len(pairs)} pairs of studies have too few configurations in common to see whether ranks transfer "
        f"({most} at the most)",
        n=len(pairs),
        method="configurations that both have",
    )
