"""Whether there is anything to analyse: trials, a metric that moves, configurations that differ."""

from __future__ import annotations

from collections.abc import Iterator

from hpo_batch.findings import order
from hpo_batch.findings.order import Told
from hpo_batch.findings.records import Finding, StudyFindings
from hpo_batch.records import Answer


def findings(study: StudyFindings) -> Iterator[Told]:
    if not study.summary.n:
        yield order.NO_TRIALS, _nothing(study)
        return
    if study.summary.n > 1 and study.summary.std == 0:
        yield order.CONSTANT_METRIC, _constant(study)
    yield from _repeats(study)


def _nothing(study: StudyFindings) -> Finding:
    states = ", ".join(f"{n} {state}" for state, n in study.summary.states.items()) or "no trials"
    why = f"; {study.summary.skipped} complete without a finite value" if study.summary.skipped else ""
    return Finding(
        key="trials",
        study=study.label,
        question="Is there anything to analyse?",
        answer=Answer.NO,
        text=f"{study.label}: no complete trial with a finite value ({states}{why}): nothing can be said of parameters",
        do="look at the failures first: in a study of hpo-batch, status and explain say why trials ended"
        if set(study.summary.states) != {"PRUNED"}
        else "let the pruner begin later, or some trials go on to their end",
    )


def _constant(study: StudyFindings) -> Finding:
    value = "-" if study.summary.best is None else f"{study.summary.best.value:.4g}"
    return Finding(
        key="trials.constant",
        study=study.label,
        question="Does the metric move at all?",
        answer=Answer.NO,
        text=f"{study.label}: {study.metric} is {value} in all {study.summary.n} trials: no trial is the best, and "
        "nothing can be said of parameters",
        do="look whether the objective computes the metric, before anything is tuned",
        n=study.summary.n,
    )


def _repeats(study: StudyFindings) -> Iterator[Told]:
    summary = study.summary
    if not summary.repeats:
        return
    if summary.replicates == summary.repeats:
        text = (
            f"{study.label}: {summary.repeats} of {summary.n} trials ran one of {summary.unique} configurations again, "
            "with seeds of their own: they measure noise"
        )
        yield (
            order.REPLICATES,
            Finding(
                key="repeats",
                study=study.label,
                question="Were trials wasted on repeats?",
                answer=Answer.NO,
                text=text,
                n=summary.n,
                method="complete trials less distinct configurations, seeds considered",
            ),
        )
        return
    alike = all(len(set(r.values)) == 1 for r in summary.repeated)
    more = "all gave the same values again: they carry no information on noise" if alike else "some gave other values"
    text = (
        f"{study.label}: {summary.repeats} of {summary.n} trials ({summary.repeats / summary.n:.1%}) repeated one of "
        f"{summary.unique} configurations; {more}"
        f"{f'; {summary.replicates} of them had seeds of their own and measure noise' if summary.replicates else ''}"
    )
    yield (
        order.WASTED_REPEATS,
        Finding(
            key="repeats",
            study=study.label,
            question="Were trials wasted on repeats?",
            answer=Answer.YES,
            text=text,
            do="let a sampler that skips duplicates draw, or ask for replicates with seeds of their own",
            n=summary.n,
            method="complete trials less distinct configurations",
        ),
    )
