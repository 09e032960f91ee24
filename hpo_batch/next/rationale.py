"""Why the next sweep is as it is: for people as Markdown, for programs as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hpo_batch import __version__
from hpo_batch.files import dump_json
from hpo_batch.findings.ledger.prediction import LEDGER, as_rows
from hpo_batch.findings.ledger.words import predicted_text
from hpo_batch.next.decision import Decision, summary
from hpo_batch.records import Estimate
from hpo_batch.space.changes import described
from hpo_batch.sweep.size import target
from hpo_batch.text.lines import printable
from hpo_batch.text.numbers import count, duration, hours, interval, label, number

if TYPE_CHECKING:
    from hpo_batch.next.evidence import Evidence
    from hpo_batch.next.refine import NextSweep


def as_json(next_sweep: NextSweep) -> str:
    evidence, sweep = next_sweep.evidence, next_sweep.sweep
    return dump_json(
        {
            "hpo_batch": __version__,
            "from": list(sweep.previous.study) if sweep.previous is not None else [],
            "study": sweep.study.name,
            "n": evidence.n,
            "metric": evidence.study.metric,
            "direction": evidence.study.direction,
            "noise_sd": _estimate(evidence.study.noise.sd),
            "searched": list(next_sweep.change.searched),
            "size_ratio": next_sweep.change.size_ratio,
            "actions": dict(summary(next_sweep.decisions)),
            "decisions": [_decision(decision) for decision in next_sweep.decisions],
            "trials": {"target": target(sweep), "old_space": sum(trial.set == "old_space" for trial in sweep.trial)},
            "suspects": [{"trial": s.number, "value": s.value, "why": s.why} for s in evidence.study.suspects],
            "predictions": _predictions(evidence),
            LEDGER: as_rows(next_sweep.predictions),
            "notes": list(next_sweep.notes),
        }
    )


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "parameter": decision.parameter,
        "action": decision.action,
        "old": described(decision.old),
        "new": described(decision.new),
        "reason": decision.reason,
        "confidence": decision.confidence,
        "probability": decision.probability,
        "difference": _estimate(decision.interval),
        "p_holm": decision.p_holm,
        "n": decision.n,
        "left_out": list(decision.left_out),
        "kept": decision.kept,
        "would_change_it": decision.would_change_it,
    }


def _estimate(estimate: Estimate | None) -> Mapping[str, Any] | None:
    if estimate is None:
        return None
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "level": estimate.level,
        "n": estimate.n,
        "method": estimate.method,
    }


def _predictions(evidence: Evidence) -> dict[str, Any]:
    """What the next trials are measured against."""
    best = evidence.study.summary.best
    if evidence.model is None or best is None:
        return {}
    places = [row for row in evidence.model.rows.tolist() if int(evidence.data.numbers[row]) == best.number]
    expected = evidence.model.at(places[0]) if places else None
    return {
        "best_observed": best.value,
        # less than what was observed: the best of many trials was lucky, too
        "best_expected": None if expected is None else {"value": expected[0], "standard_error": expected[1]},
    }


def markdown(next_sweep: NextSweep) -> str:
    return "\n".join(_lines(next_sweep)) + "\n"


def _lines(next_sweep: NextSweep) -> Iterator[str]:
    evidence, decisions = next_sweep.evidence, next_sweep.decisions
    yield from _summary(next_sweep)
    yield from _trials(next_sweep)
    yield ""
    yield "## Changes"
    yield ""
    for decision in decisions:
        if decision.changes:
            yield from _section(decision)
    kept = [decision for decision in decisions if not decision.changes]
    if kept:
        yield "## What we did not conclude"
        yield ""
        for decision in kept:
            more = f" Would take: {decision.would_change_it}." if decision.would_change_it else ""
            name = f"**{printable(decision.parameter)}** ({described(decision.old)})"
            yield f"- {name}: {printable(decision.reason)}.{more}"
        yield ""
    yield from _look_at(evidence)
    if next_sweep.predictions:
        yield "## Predictions"
        yield ""
        yield f"Judged by `hpo-batch ledger {next_sweep.sweep.study.name}` when the trials have run."
        yield ""
        yield from (f"- {printable(predicted_text(one))}" for one in next_sweep.predictions)
        yield ""
    if next_sweep.notes:
        yield "## Notes"
        yield ""
        yield from (f"- {printable(note)}" for note in next_sweep.notes)
        yield ""
    yield "## To undo it"
    yield ""
    yield "Put the declarations of `[previous] space` back into `[space]`; each is the earlier one of its parameter."


def _summary(next_sweep: NextSweep) -> Iterator[str]:
    evidence, sweep = next_sweep.evidence, next_sweep.sweep
    source = ", ".join(sweep.previous.study) if sweep.previous is not None else ""
    yield f"# {sweep.study.name}: why it searches what it searches"
    yield ""
    counts = ", ".join(f"{n} {action}" for action, n in summary(next_sweep.decisions).items())
    goal = f"{evidence.study.direction} {evidence.study.metric}"
    yield f"From {source}: {count(evidence.n, 'trial')} (n), {goal}. {counts}."
    yield f"{next_sweep.change.text[0].upper()}{next_sweep.change.text[1:]}."
    best = evidence.study.summary.best
    if best is not None:
        yield f"Best so far: trial {best.number}, {number(best.value)}; the best of many values, and so optimistic."
    noise = evidence.study.noise
    yield (
        f"Noise of one trial: {interval(noise.sd)} ({noise.source})."
        if noise.sd is not None
        else "Noise of one trial: unknown; replicates (`study.replicates`) or `n_eval` would tell."
    )


def _trials(next_sweep: NextSweep) -> Iterator[str]:
    sweep = next_sweep.sweep
    old = sum(trial.set == "old_space" for trial in sweep.trial)
    parts = [f"{count(target(sweep), 'trial')} in the next sweep"]
    if old:
        parts.append(f"{old} of them in the earlier space, so that a wrong decision shows")
    if sweep.baseline is not None:
        parts.append("the baseline among them")
    if sweep.study.import_:
        parts.append(f"the sampler learns from {', '.join(sweep.study.import_)}")
    yield "; ".join(parts) + "."
    took = (
        [
            seconds
            for seconds in next_sweep.evidence.table.trials["duration"].dt.total_seconds().dropna().tolist()
            if seconds > 0
        ]
        if "duration" in next_sweep.evidence.table.trials
        else []
    )
    if took:
        middle = sorted(took)[len(took) // 2]
        total = hours(middle * target(sweep) / 3600)
        yield f"Expected time: {total} of training (median trial {duration(middle)})."


def _section(decision: Decision) -> Iterator[str]:
    yield f"### {printable(decision.parameter)}: {decision.action} ({decision.confidence})"
    yield ""
    yield f"- {described(decision.old)} -> {described(decision.new)}"
    yield f"- {printable(decision.reason)}"
    if decision.interval is not None:
        rests = "" if decision.interval.n is None else f" ({count(decision.interval.n, 'configuration')})"
        yield f"- measured difference: {interval(decision.interval)}, above 0 is better{rests}"
    if decision.would_change_it:
        yield f"- would change it: {printable(decision.would_change_it)}"
    yield ""


def _look_at(evidence: Evidence) -> Iterator[str]:
    """Trials to look at before any of this is believed, and what the baseline leaves open."""
    suspects, baseline = evidence.study.suspects, evidence.study.baseline
    untested = list(_untested(evidence))
    if not (suspects or untested or baseline is not None):
        return
    yield "## Look at first"
    yield ""
    for suspect in suspects:
        yield f"- trial {suspect.number} ({suspect.why}): {printable(suspect.text)}"
    if baseline is not None and baseline.text:
        yield f"- baseline: {printable(baseline.text)}"
    for text in untested:
        yield f"- {text}"
    yield ""


def _untested(evidence: Evidence) -> Iterator[str]:
    """Parameters in which the best configuration differs from the baseline, without a pair of trials that differ in it
    alone."""
    pairs = {pair.parameter for pair in evidence.study.baseline.pairs} if evidence.study.baseline is not None else set()
    for name, value in evidence.baseline.items():
        best = evidence.incumbent.get(name)
        if best is not None and best != value and name not in pairs and name not in evidence.sweep.space.derived:
            yield (
                f"{printable(name)}: the best has {label(best)}, the baseline {label(value)}, and no two trials differ "
                "in it alone: what it gains is not tested"
            )
