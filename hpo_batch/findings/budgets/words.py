"""Several studies beside each other: their bests, the size of models, what transfers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.budgets.numbers import Budgets
from hpo_batch.findings.phrases import short_value
from hpo_batch.findings.records import Finding, Findings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer, Estimate
from hpo_batch.text.numbers import count


def common_sentences(findings: Findings) -> Iterator[Ranked]:
    beside = findings.budgets
    if beside is None:
        return
    yield from _paired(beside)
    yield _order(beside, is_retrained=bool(findings.transfer))
    yield _slope(beside)
    yield from _consistency(beside)
    if not findings.transfer:  # the matrix compares configurations that differ in what the budgets fix
        yield from _transfer(beside)


def _paired(beside: Budgets) -> Iterator[Ranked]:
    for pair in beside.pairs:
        yield Ranked(
            Place.PAIRED,
            Finding(
                key=f"budgets.paired.{pair.a}.{pair.b}",
                study="",
                question=f"Which of {pair.a} and {pair.b} is better on the configurations that both have?",
                answer=pair.better,
                text=pair.text,
                estimate=pair.difference,
                p=pair.p,
                p_holm=pair.p_holm,
                n=pair.n,
                method="t-test of paired differences, Holm over the pairs of studies",
            ),
        )


def _order(beside: Budgets, *, is_retrained: bool) -> Ranked:
    return Ranked(
        Place.ORDER_OF_BESTS,
        Finding(
            key="budgets.order",
            study="",
            question="Can the best values be put in an order?",
            answer=beside.order,
            text=beside.order_text,
            n=len(beside.rows),
            method="differences of the bests against the luck of a search and the noise floor, Holm",
            actions=()
            if beside.order is Answer.YES or is_retrained  # with common new seeds: there is nothing left to confirm
            else (Action(kind=ActionKind.CONFIRM, where="bests of all studies"),),
        ),
    )


def _slope(beside: Budgets) -> Ranked:
    slope = beside.slope
    is_clear = (
        slope is not None and slope.low is not None and slope.high is not None and (slope.low > 0 or slope.high < 0)
    )
    return Ranked(
        Place.SLOPE,
        Finding(
            key="budgets.slope",
            study="",
            question="Do larger models do better?",
            answer=Answer.YES if is_clear else Answer.CANNOT_TELL,
            text=beside.text,
            estimate=slope,
            n=len(beside.rows),
            method="" if slope is None else slope.method,
        ),
    )


def _consistency(beside: Budgets) -> Iterator[Ranked]:
    words = {
        Answer.YES: "the best trials agree",
        Answer.NO: "the best trials differ, and so do the means at their values, in at least two of the studies",
        Answer.NOT_MEASURED: "not all best trials have it",
        Answer.CANNOT_TELL: "the best trials differ, which single trials do by chance",
    }
    for parameter, best, answer in beside.consistency:
        values = ", ".join(f"{label} {'-' if v is None else short_value(v)}" for label, v in best.items())
        finding = Finding(
            key=f"budgets.consistency.{parameter}",
            study="",
            question=f"Is the best {parameter} the same everywhere?",
            answer=answer,
            text=f"{parameter}: {words[answer]} ({values})",
            n=len(best),
            method="value of each study's best trial",
        )
        yield Ranked(Place.CONSISTENCY, finding)


def _transfer(beside: Budgets) -> Iterator[Ranked]:
    """A sentence for each pair of studies; one for all pairs that have too little in common."""
    without = [pair for pair in beside.transfer if pair[2] is None]
    if len(without) > 1:
        yield Ranked(Place.TRANSFER, _no_transfer(without))
    for a, b, rho, n in beside.transfer:
        if rho is not None or len(without) < 2:
            yield Ranked(Place.TRANSFER, _transfer_of_pair(a, b, rho, n))


def _transfer_of_pair(a: str, b: str, rho: Estimate | None, n: int) -> Finding:
    text = f"{a} and {b} have {count(n, 'configuration')} in common: too few to see whether ranks transfer"
    answer = Answer.CANNOT_TELL
    if rho is not None:
        assert rho.low is not None
        assert rho.high is not None
        text = f"ranks in {a} and {b} correlate with {rho.value:.2f} [{rho.low:.2f}, {rho.high:.2f}], n = {n}"
        answer = Answer.YES if rho.low > 0 else Answer.NO if rho.high < 0.5 else Answer.CANNOT_TELL
    return Finding(
        key=f"budgets.transfer.{a}.{b}",
        study="",
        question=f"Does what is good in {a} do well in {b}?",
        answer=answer,
        text=text,
        estimate=rho,
        n=n,
        method="configurations that both have",
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
