"""What the finalists are worth, and whether one is better than the baseline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hpo_batch.findings.confirmed.numbers import Confirmed, Finalist
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer, Estimate
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count, interval, number

WORTH: Final = "What are the finalists worth?"
CHOSEN: Final = "Is the one that was best before still the best?"
GAINED: Final = "Is the best finalist better than the baseline?"


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    found: Confirmed | None = study.more.get("confirmed")
    if found is None:
        return
    for key, question, answer, text, estimate in said(found, study.metric):
        yield Ranked(
            Place.CONFIRMED,
            Finding(
                key=f"confirmed.{key}", study=study.label, question=question, answer=answer,
                text=f"{study.label}: {text}", estimate=estimate, n=found.seeds,
                method=estimate.method if estimate is not None else "",
            ),
        )  # fmt: skip


def said(found: Confirmed, metric: str) -> Iterator[tuple[str, str, Answer, str, Estimate | None]]:
    """Key, question, answer, sentence and number of each statement."""
    raw = ""
    if found.mean_raw is not None:
        raw = f"; the values by which they were chosen promised {number(found.mean_raw, _width(found.mean))}"
    missing = f"; not complete: {listed(found.missing)}" if found.missing else ""
    agree = "; no trial differs between its seeds: they change nothing, or never reach the training"
    yield (
        "mean", WORTH, Answer.YES,
        f"{count(len(found.finalists), 'finalist')} have {metric} = {interval(found.mean)} on average over "
        f"{count(found.seeds, 'new seed')}{raw}{agree if found.seeds_agree else ''}{missing}",
        found.mean,
    )  # fmt: skip
    yield ("best", CHOSEN, *_best(found, metric))
    best = found.finalists[0]
    if best.over_baseline is not None:
        answer = _sign(best.over_baseline, found)
        chance = ", which chance may have made" if answer is Answer.CANNOT_TELL else ""
        by = f"{interval(best.over_baseline)} over the baseline, {_how(found)}{chance}"
        yield "baseline", GAINED, answer, f"{best.name} gains {by}", best.over_baseline


def _best(found: Confirmed, metric: str) -> tuple[Answer, str, Estimate | None]:
    best, first = found.finalists[0], next(one for one in found.finalists if one.name == found.raw_best)
    held = f"{metric} = {interval(first.held_out)} over the new seeds"
    optimistic = "" if found.seeds_agree else ", optimistic"
    raw = f"{trial(first)} (raw best {number(first.raw)}{optimistic}) has {held}" if first.raw is not None else (
        f"{trial(first)} has {held}"
    )  # fmt: skip
    if best is first:
        return Answer.YES, f"{raw}, the best of the finalists again", first.held_out
    assert best.over_raw_best is not None
    by = f"{trial(best)} is better by {interval(best.over_raw_best)}, {_how(found)}"
    if _sign(best.over_raw_best, found) is Answer.YES:
        return Answer.NO, f"{raw}; {by}", best.over_raw_best
    return Answer.CANNOT_TELL, f"{raw}; {by}, which chance may have made: take either", best.over_raw_best


def trial(finalist: Finalist) -> str:
    before = f", trial {finalist.before} before" if finalist.before is not None else ""
    return f"{finalist.name} (trial {finalist.number}{before})"


def _how(found: Confirmed) -> str:
    return f"the same with each of the {found.seeds} seeds" if found.differences_agree else "seed by seed"


def _sign(difference: Estimate, found: Confirmed) -> Answer:
    if difference.low is None or difference.high is None:
        if not found.differences_agree or not difference.value:
            return Answer.CANNOT_TELL
        return Answer.YES if difference.value > 0 else Answer.NO
    return Answer.YES if difference.low > 0 else Answer.NO if difference.high < 0 else Answer.CANNOT_TELL


def _width(estimate: Estimate) -> float | None:
    return None if estimate.low is None or estimate.high is None else (estimate.high - estimate.low) / 2
