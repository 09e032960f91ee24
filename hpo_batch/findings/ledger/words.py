"""Whether what was predicted of a study came, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hpo_batch.findings.ledger.numbers import Ledger, Scored
from hpo_batch.findings.ledger.prediction import Prediction
from hpo_batch.findings.ledger.summary import Summary, summary
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count, number

MOST_CERTAIN: Final = 0.995
MOST_WHYS: Final = 2
"""reasons to wait that a sentence names; the table has all"""
QUESTION = "Was what was predicted of this sweep right?"


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    ledger = study.ledger
    if ledger is None:
        return
    made = summary([ledger])
    answer = Answer.NOT_MEASURED if ledger.why else Answer.YES if ledger.scored else Answer.CANNOT_TELL
    yield Ranked(
        Place.PREDICTED,
        Finding(
            key="ledger",
            study=study.label,
            question=QUESTION,
            answer=answer,
            text=f"{study.label}: {study_text(ledger)}",
            estimate=made.coverage,
            n=len(ledger.scored),
            method="Brier score of probabilities, coverage of intervals",
        ),
    )


def study_text(ledger: Ledger) -> str:
    """One sentence about the predictions of a study."""
    by = f"{ledger.by or 'the last command'}'s predictions"
    origin = f" (from {listed(ledger.previous)})" if ledger.previous else ""
    if ledger.why:
        return f"{by}{origin} cannot be scored: {ledger.why}"
    if not ledger.scored:
        whys = dict.fromkeys(one.why for one in ledger.predictions)
        if len(whys) > MOST_WHYS:
            return f"{by}{origin} cannot be scored yet: all {len(ledger.predictions)} wait for trials"
        return f"{by}{origin} cannot be scored yet: {'; '.join(whys)}"
    left = len(ledger.predictions) - len(ledger.scored)
    waits = f"; {count(left, 'further one waits', 'further ones wait')}" if left else ""
    return f"{by}{origin}: {summary_text(summary([ledger]))}{waits}"


def summary_text(made: Summary) -> str:
    """The scores in one sentence, with what they are compared with."""
    parts = []
    if made.n and made.brier is not None:
        base = f" (base rates alone: {number(made.brier_base)})" if made.brier_base is not None else ""
        parts.append(f"{count(made.n, 'probability', 'probabilities')} with a Brier score of {made.brier:.3f}{base}")
    if made.intervals and made.coverage is not None and made.level is not None:
        held = round(made.coverage.value * made.intervals)
        parts.append(f"{held} of {count(made.intervals, 'interval')} held what came ({made.level:.0%} should)")
    return "; ".join(parts) if parts else "nothing was scored"


def predicted_text(prediction: Prediction) -> str:
    """A prediction as one line."""
    return f"{prediction.statement}: {said_text(prediction)}"


def said_text(prediction: Prediction) -> str:
    """What a prediction says: ``62% (base rate 50%)``, ``0.91 [0.88, 0.93] at 80%``."""
    parts = []
    if prediction.probability is not None:
        base = f" (base rate {_share(prediction.base_rate)})" if prediction.base_rate is not None else ""
        parts.append(f"{_share(prediction.probability)}{base}")
    interval = prediction.interval
    if interval is not None and interval.low is not None and interval.high is not None:
        spread = (interval.high - interval.low) / 2
        ends = f"[{number(interval.low, spread)}, {number(interval.high, spread)}]"
        parts.append(f"{number(interval.value, spread)} {ends} at {interval.level:.0%}")
    return "; ".join(parts)


def _share(probability: float) -> str:
    """In whole percent; nothing is certain before it came."""
    return ">99%" if probability > MOST_CERTAIN else "<1%" if probability < 1 - MOST_CERTAIN else f"{probability:.0%}"


def came_text(one: Scored) -> str:
    """What came, or why that cannot be told yet."""
    if one.why:
        return one.why
    parts = []
    if one.came is not None:
        parts.append("true" if one.came else "false")
    interval = one.prediction.interval
    if one.value is not None and interval is not None:
        spread = (interval.high - interval.low) / 2 if interval.high is not None and interval.low is not None else None
        parts.append(number(one.value, spread))
    if one.inside is not None:
        parts.append("inside" if one.inside else "outside")
    return ", ".join(parts)
