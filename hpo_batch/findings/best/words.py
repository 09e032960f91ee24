"""Whether there is anything to analyse, whether trials were wasted, and how good the best one really is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.best.numbers import TopTrial, is_constant
from hpo_batch.findings.phrases import band
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer
from hpo_batch.text.numbers import number as short

UNKNOWN: Final = 3
"""best trials to confirm where the noise floor is unknown"""
MOST: Final = 5
"""trials to confirm at once"""
SEEDS: Final = 2
"""new ones for each trial: with that of the search, three"""
FEWEST: Final = 5
"""trials from which two values are few"""


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    yield from _unfinished(study)
    if not study.summary.n:
        yield Ranked(Place.NO_TRIALS, _nothing(study))
        return
    if is_constant(study.summary):
        yield Ranked(Place.CONSTANT_METRIC, _constant(study))
    yield from _two_values(study)
    yield from _repeats(study)
    yield from _optimism(study)


def _optimism(study: StudyFindings) -> Iterator[Ranked]:
    if study.curse is not None:
        yield Ranked(
            Place.OPTIMISM,
            Finding(
                key="best.optimism",
                study=study.label,
                question="Is it known how good the best really is?",
                answer=Answer.YES if study.curse.held_out is not None else Answer.CANNOT_TELL,
                text=f"{study.label}: {study.curse.text}",
                actions=() if study.curse.held_out is not None or study.confirms else (_confirm(study),),
                estimate=study.curse.held_out or study.curse.shrunken,
                n=study.summary.n,
            ),
        )


def _confirm(study: StudyFindings) -> Action:
    """Again with new seeds: the best one, and those that chance does not tell from it; two at the least."""
    best, noise, better = study.summary.best, study.noise.sd, study.direction == "maximize"
    near = study.summary.top[:UNKNOWN]
    if best is not None and noise is not None:
        reach = best.value - band(noise.value) * (1 if better else -1)
        near = tuple(t for t in study.summary.top if (t.value >= reach if better else t.value <= reach))
    chosen = _not_tied(near[:MOST] if len(near) > 1 else study.summary.top[:2], study)
    return Action(kind=ActionKind.CONFIRM, trials=tuple(trial.number for trial in chosen), seeds=SEEDS)


def _not_tied(chosen: Sequence[TopTrial], study: StudyFindings) -> Sequence[TopTrial]:
    """Without the last ones, where as many others have their value; all if nothing else is left."""
    others = Counter(value for _, value in study.history)
    for trial in chosen:
        others[trial.value] -= trial.count
    clear = [trial for trial in chosen if others[trial.value] <= MOST]
    return clear or chosen


def _unfinished(study: StudyFindings) -> Iterator[Ranked]:
    states = study.summary.states
    running, waiting = states.get("RUNNING", 0), states.get("WAITING", 0)
    if not running + waiting:
        return
    yield Ranked(
        Place.UNFINISHED,
        Finding(
            key="trials.unfinished",
            study=study.label,
            question="Is the study finished?",
            answer=Answer.NO,
            text=f"{study.label}: the study is not finished: {running} running, {waiting} waiting, "
            f"{sum(states.values()) - running - waiting} ended. What is said here may change",
            actions=(Action(kind=ActionKind.REPORT_AGAIN),),
            n=sum(states.values()),
            method="states of the trials",
        ),
    )


def _two_values(study: StudyFindings) -> Iterator[Ranked]:
    """Of a metric that hardly tells trials apart."""
    counts = Counter(value for _, value in study.history)
    if len(counts) != 2 or study.summary.n < FEWEST:
        return
    (usual, n), (other, rest) = counts.most_common()
    if rest == 1:
        number = next(number for number, value in study.history if value == other)
        text = (
            f"{study.metric} is {short(usual)} in {n} of {study.summary.n} trials and differs in one alone, trial "
            f"{number} ({short(other)}): that trial decides everything, and nothing can be said about the parameters"
        )
    else:
        text = (
            f"{study.metric} has only two values, {short(usual)} ({n} trials) and {short(other)} ({rest}): it tells "
            "how often a setting does well, not how well"
        )
    yield Ranked(
        Place.CONSTANT_METRIC,
        Finding(
            key="trials.two_values",
            study=study.label,
            question="Does the metric tell configurations apart?",
            answer=Answer.NO if rest == 1 else Answer.CANNOT_TELL,
            text=f"{study.label}: {text}",
            actions=(Action(kind=ActionKind.USE_FINER_METRIC),),
            n=study.summary.n,
        ),
    )


def _nothing(study: StudyFindings) -> Finding:
    states = ", ".join(f"{n} {state}" for state, n in study.summary.states.items()) or "no trials"
    at = study.equal_steps
    more = "" if at is None else f"; {at.n} of them can be compared at step {at.step}, by what they reported there"
    why = f"; {study.summary.skipped} complete without a finite value" if study.summary.skipped else ""
    return Finding(
        key="trials",
        study=study.label,
        question="Is there anything to analyse?",
        answer=Answer.NO,
        text=f"{study.label}: no complete trial with a finite value ({states}{why}): nothing can be said about "
        f"what the parameters do in the end{more}",
        actions=_of_nothing(study.summary.states),
    )


def _of_nothing(states: Mapping[str, int]) -> tuple[Action, ...]:
    if set(states) == {"PRUNED"}:
        return (Action(kind=ActionKind.DELAY_PRUNING),)
    return (Action(kind=ActionKind.FIX_FAILURES),) if states.get("FAIL") else ()


def _constant(study: StudyFindings) -> Finding:
    value = "-" if study.summary.best is None else short(study.summary.best.value)
    return Finding(
        key="trials.constant",
        study=study.label,
        question="Does the metric move at all?",
        answer=Answer.NO,
        text=f"{study.label}: {study.metric} is {value} in all {study.summary.n} trials: no trial is the best, and "
        "nothing can be said about the parameters",
        actions=(Action(kind=ActionKind.FIX_OBJECTIVE),),
        n=study.summary.n,
    )


def _repeats(study: StudyFindings) -> Iterator[Ranked]:
    summary = study.summary
    if not summary.repeats:
        return
    finding = Finding(
        key="repeats",
        study=study.label,
        question="Were trials wasted on repeats?",
        answer=Answer.NO,
        text=f"{study.label}: {summary.repeats} of {summary.n} trials ran one of {summary.unique} configurations "
        "again, with seeds of their own: they measure noise",
        n=summary.n,
        method="complete trials less distinct configurations, seeds considered",
    )
    if summary.replicates == summary.repeats:
        yield Ranked(Place.REPLICATES, finding)
        return
    alike = all(len(set(r.values)) == 1 for r in summary.repeated)
    more = "all gave the same values again: they carry no information on noise" if alike else "some gave other values"
    text = (
        f"{study.label}: {summary.repeats} of {summary.n} trials ({summary.repeats / summary.n:.1%}) repeated one of "
        f"{summary.unique} configurations; {more}"
        f"{f'; {summary.replicates} of them had seeds of their own and measure noise' if summary.replicates else ''}"
    )
    wasted = replace(
        finding,
        answer=Answer.YES,
        text=text,
        actions=(Action(kind=ActionKind.SKIP_DUPLICATES),),
        method="complete trials less distinct configurations",
    )
    yield Ranked(Place.WASTED_REPEATS, wasted)
