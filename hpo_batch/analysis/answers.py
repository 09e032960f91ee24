"""Findings in words: each may be read alone, has its numbers, and says what to do. No computing here.

The order is what a reader should know first: what makes the numbers wrong, what the trials carry, what they do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hpo_batch.analysis.effects import NO_TREND, POWERED, resolved
from hpo_batch.analysis.efficiency import bad_node
from hpo_batch.analysis.frame import value_text
from hpo_batch.analysis.records import (
    Answer,
    Budgets,
    Coverage,
    Effect,
    Estimate,
    Expected,
    Finding,
    Interaction,
    Pooled,
    RepeatedConfiguration,
    StudyFindings,
    Suspect,
    ValueRow,
)
from hpo_batch.records import Value

ALPHA = 0.05
TRUSTED = 0.7
"""rank correlation with the last step from which an earlier one may stand for it"""
MOST_APART = 2
"""trials that are suspect for the same reasons and have a finding each; of more, one finding tells"""
MOST_NUMBERS = 8
"""numbers of trials in a sentence"""
MATTERS = 10.0
"""told earlier than this: without it the report would be read wrongly"""
SUSPECTED = "robust distance from the median, epochs and durations, equal configurations"
SPACES = {"all": "whole space", "training": "training parameters"}
"""sets of parameters as a sentence has them"""
Told = tuple[float, Finding]
"""how early it is told, and what"""


def ordered(
    studies: Sequence[StudyFindings], beside: Budgets | None, heap: Pooled | None, *, family: int
) -> tuple[Finding, ...]:
    told: list[Told] = []
    for study in studies:
        told += _study(study, family=family)
    if family:
        told.append((40.0, _survivors(studies, family=family)))
    if beside is not None:
        told += _budgets(beside)
    if heap is not None:
        told.append(_top(heap))
    # a stable sort: findings of one kind stay in the order of the studies
    return tuple(finding for _, finding in sorted(told, key=lambda pair: pair[0]))


def _study(study: StudyFindings, *, family: int) -> Iterator[Told]:
    where = study.label
    if not study.summary.n:
        yield 0.0, _nothing(study)
        yield from _efficiency(study)
        return
    if study.summary.n > 1 and study.summary.std == 0:
        yield 0.5, _constant(study)
    yield from _suspects(study)
    yield from _noise(study)
    yield from _repeats(study)
    for effect in study.effects:
        yield _effect(effect, study, family=family)
    for pair in study.interactions:
        if pair.p_holm is not None and pair.p_holm < ALPHA:
            yield 39.0, _interaction(pair, study)
    for coverage in study.coverage:
        if not coverage.counts:
            yield _coverage(coverage, where)
    yield _collapse(study)
    yield from _best(study)
    yield from _edges(study)
    yield from _importance(study)
    yield from _fidelity(study)
    for expected in study.expected:
        yield _expected(expected, where)
    yield from _efficiency(study)


def _interaction(pair: Interaction, study: StudyFindings) -> Finding:
    best = study.direction == "maximize"
    told = sorted(
        (mean, f"{mean:.4f} at {pair.a} {_place(a)} with {pair.b} {_place(b)}")
        for a, b, n, mean in pair.cells
        if mean is not None and n >= POWERED
    )
    ends = f": plain mean {told[-1 if best else 0][1]}, {told[0 if best else -1][1]}" if len(told) > 1 else ""
    return Finding(
        key=f"interaction.{pair.a}.{pair.b}",
        study=study.label,
        question=f"Do {pair.a} and {pair.b} act together?",
        answer=Answer.YES,
        text=f"{study.label}: what {pair.a} does depends on {pair.b}{ends} ({_p(pair.p_holm)} after Holm over all "
        "pairs)",
        do=f"judge {pair.a} and {pair.b} together, not each by its mean",
        p=pair.p,
        p_holm=pair.p_holm,
        n=pair.n,
        method="F-test of the product",
    )


def _place(cell: str) -> str:
    """A third of the trials may have one value."""
    low, _, high = cell.partition(" to ")
    return low if low == high else cell


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


def _suspects(study: StudyFindings) -> Iterator[Told]:
    by_number: dict[int, list[Suspect]] = {}
    for suspect in study.suspects:
        by_number.setdefault(suspect.number, []).append(suspect)
    alike: dict[tuple[str, ...], list[int]] = {}
    for number, reasons in by_number.items():
        alike.setdefault(tuple(dict.fromkeys(s.why for s in reasons)), []).append(number)
    influence = _influence(study)
    for whys, numbers in alike.items():
        # far worse than the rest is what a search does at times; anything else makes numbers wrong
        weight = 5.0 if whys != ("outlier",) else 5.5 if influence is not None and influence[0] < MATTERS else 46.0
        if len(numbers) > MOST_APART:
            yield weight, _suspects_alike(study, whys, numbers, by_number[numbers[0]])
        else:
            yield from ((weight, _suspect(study, whys, number, by_number[number])) for number in numbers)
    if influence is not None:
        yield influence


def _suspect(study: StudyFindings, whys: Sequence[str], number: int, reasons: Sequence[Suspect]) -> Finding:
    return Finding(
        key=f"health.trial-{number}",
        study=study.label,
        question=f"Can trial {number} be believed?",
        answer=Answer.CANNOT_TELL,
        text=f"{study.label}: trial {number} is suspect ({' and '.join(whys)}). {_reasons(number, reasons)}",
        do=f"look at the log of trial {number}, run it again or leave it out: effects are given without it too",
        n=study.summary.n,
        method=SUSPECTED,
    )


def _suspects_alike(
    study: StudyFindings, whys: Sequence[str], numbers: Sequence[int], reasons: Sequence[Suspect]
) -> Finding:
    return Finding(
        key=f"health.{'-'.join(why.replace(' ', '-') for why in whys)}",
        study=study.label,
        question=f"Can the {len(numbers)} trials that stand out be believed?",
        answer=Answer.CANNOT_TELL,
        text=f"{study.label}: {len(numbers)} trials are suspect ({' and '.join(whys)}): {_some(numbers)}. "
        f"Of trial {numbers[0]}: {_reasons(numbers[0], reasons).removeprefix('It ')}",
        do="look at the logs of the trials that stand out, run them again or leave them out: effects are given without "
        "them too",
        n=study.summary.n,
        method=SUSPECTED,
    )


def _reasons(number: int, reasons: Sequence[Suspect]) -> str:
    return "It " + ". It ".join(s.text.removeprefix(f"trial {number} ") for s in reasons)


def _some(numbers: Sequence[int]) -> str:
    more = len(numbers) - MOST_NUMBERS
    return ", ".join(map(str, numbers[:MOST_NUMBERS])) + (f" and {more} more" if more > 0 else "")


def _influence(study: StudyFindings) -> Told | None:
    """What the differences between values become without the suspect trials."""
    if study.without is None:
        return None
    parts, changed = [], False
    for effect in study.effects:
        before, after = _spread(effect.rows), _spread(effect.rows_without)
        if before is None or after is None:
            continue
        parts.append(f"{effect.parameter} {before:.4f} -> {after:.4f}")
        changed |= after < 0.5 * before or after > 2 * before
        changed |= _crosses(effect)
    if not parts:
        return None
    who = _some(study.without.numbers)
    without = study.without.summary
    text = (
        f"{study.label}: largest difference between the means of a parameter's values with and without the suspect "
        f"trial{'s' if len(study.without.numbers) > 1 else ''} {who}: {', '.join(parts)}; "
        f"mean {_number(study.summary.mean)} -> {_number(without.mean)}, standard deviation "
        f"{_number(study.summary.std)} -> {_number(without.std)}"
    )
    return (
        (6.0 if changed else 47.0),
        Finding(
            key="health.influence",
            study=study.label,
            question="Do suspect trials decide the report?",
            answer=Answer.YES if changed else Answer.NO,
            text=text,
            do=f"believe no effect that hangs on trial{'s' if len(study.without.numbers) > 1 else ''} {who}"
            if changed
            else "",
            n=study.summary.n,
            method="means with and without them",
        ),
    )


def _crosses(effect: Effect) -> bool:
    return (
        effect.p is not None
        and effect.without_outliers is not None
        and ((effect.p < ALPHA) is not (effect.without_outliers < ALPHA))
    )


def _spread(rows: Sequence[ValueRow]) -> float | None:
    """Largest less smallest mean, of values with enough trials; of all where too few have."""
    means = [row.mean for row in rows if row.mean is not None and not row.underpowered]
    if len(means) < 2:
        means = [row.mean for row in rows if row.mean is not None]
    return max(means) - min(means) if len(means) > 1 else None


def _noise(study: StudyFindings) -> Iterator[Told]:
    blamed = {s.number for s in study.suspects if s.why != "conflicts with its twin"}
    open_: list[RepeatedConfiguration] = []
    explained: list[RepeatedConfiguration] = []
    for alarm in study.noise.alarms:
        (explained if blamed & set(alarm.numbers) else open_).append(alarm)
    for alarms, weight in ((open_, 4.0), (explained, 6.5)):
        if alarms:
            yield weight, _not_deterministic(study, alarms)
    sd = study.noise.sd
    known = sd is not None
    if _is_all_noise(study):
        yield 38.0, _all_noise(study)
    text = study.noise.text or ("noise floor unknown: no ranking claim is testable" if not known else "")
    do = "" if known else "run the best configurations again with other seeds, or report n_eval and n_pos"
    yield (
        50.0,
        Finding(
            key="noise.floor",
            study=study.label,
            question="Is it known how much the metric moves by chance?",
            answer=Answer.YES if known else Answer.NOT_MEASURED,
            text=f"{study.label}: {text}",
            do=do,
            estimate=sd,
            method=study.noise.source,
            n=study.noise.n_pairs,
        ),
    )


def _is_all_noise(study: StudyFindings) -> bool:
    """Whether all trials together vary no more than one configuration does from seed to seed."""
    sd, spread = study.noise.sd, study.summary.std
    return study.noise.source == "replicates" and sd is not None and spread is not None and 0 < spread <= sd.value


def _all_noise(study: StudyFindings) -> Finding:
    noise = study.noise.sd.value if study.noise.sd is not None else None
    return Finding(
        key="noise.share",
        study=study.label,
        question="Do configurations differ by more than chance?",
        answer=Answer.CANNOT_TELL,
        text=f"{study.label}: all {study.summary.n} trials vary by {_number(study.summary.std)} (standard deviation), "
        f"no more than one configuration does from seed to seed ({_number(noise)}): chance explains all differences",
        do="search a wider space, or measure with less noise (more seeds, a larger validation set): these trials do "
        "not tell configurations apart",
        n=study.summary.n,
        method="standard deviation of all trials beside the pooled one within configurations",
    )


def _not_deterministic(study: StudyFindings, alarms: Sequence[RepeatedConfiguration]) -> Finding:
    widest = max(alarms, key=lambda alarm: max(alarm.values) - min(alarm.values))
    trials, values = _some(widest.numbers), ", ".join(f"{v:.4f}" for v in widest.values[:MOST_NUMBERS])
    values += ", ..." if len(widest.values) > MOST_NUMBERS else ""
    one = f"trials {trials} have one configuration and no seeds that differ, but {values}"
    many = (
        f"{len(alarms)} configurations ran more than once without seeds that differ, and gave different values, by up "
        f"to {max(widest.values) - min(widest.values):.3g} (trials {trials}: {values})"
    )
    return Finding(
        key=f"noise.alarm-{alarms[0].numbers[0]}" if len(alarms) == 1 else "noise.alarms",
        study=study.label,
        question="Is training deterministic?",
        answer=Answer.NO,
        n=sum(alarm.count for alarm in alarms),
        text=f"{study.label}: {one if len(alarms) == 1 else many}",
        do="find out what differs between runs of one configuration, or record their seeds, before small differences "
        "are believed",
        method="trials with equal configuration",
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
            83.0,
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
        55.0,
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


def _effect(effect: Effect, study: StudyFindings, *, family: int) -> Told:
    name = f"{study.label}: {effect.parameter}"
    untold = Finding(
        key=f"effect.{effect.parameter}",
        study=study.label,
        question=f"Does {effect.parameter} matter?",
        answer=Answer.CANNOT_TELL,
        text="",
        method=effect.method,
        n=study.summary.n,
        p=effect.p,
        p_holm=effect.p_holm,
    )
    if not effect.varied:
        text = f"{name} was not varied: no statement about it is possible"
        return 80.0, replace(untold, answer=Answer.NOT_MEASURED, text=text)
    if effect.p is None:
        return 75.0, replace(untold, text=f"{name}: no test possible ({effect.why or 'too few trials'})")
    without = ""
    if effect.without_outliers is not None:
        others = _ends(effect.rows_without, maximise=study.direction == "maximize") if _moved(effect) else ""
        without = f"; without the suspect trials {others}{_p(effect.without_outliers)} before adjustment"
    if effect.p_holm is None or effect.p_holm >= ALPHA:
        detect = f", smallest detectable difference {effect.detectable:.2g}" if effect.detectable is not None else ""
        text = (
            f"{name}: no clear effect ({_p(effect.p_holm)} after Holm over {_claims(family)}, {_p(effect.p)} by itself"
        )
        text += f"{detect})"
        if effect.naive_trend not in ("", "flat"):
            text += f"; the plain means look '{effect.naive_trend}', which the trials do not carry"
        return 70.0, replace(untold, text=text + without)
    ends = _ends(effect.rows, maximise=study.direction == "maximize")
    trend = "matters" if effect.trend == NO_TREND else f"matters ({effect.trend})"
    text = f"{name} {trend}: {ends}{_p(effect.p_holm)} after Holm over {_claims(family)}{without}"
    if not resolved(effect):
        text += "; the curve does not show where (its band is wider than what it moves), so no trend is claimed"
    elif effect.trend == NO_TREND and study.noise.sd is not None:
        text += f"; its span is below the noise of one trial ({study.noise.sd.value:.2g}), so no trend is claimed"
    do = f"search {effect.parameter} further around its good values; fix it only after confirmation"
    return 41.0 + effect.p_holm, replace(untold, answer=Answer.YES, text=text, do=do)


def _moved(effect: Effect) -> bool:
    """Whether the adjusted means without the suspect trials differ much more, or much less, than with them."""
    spans = [
        max(heights) - min(heights)
        for rows in (effect.rows, effect.rows_without)
        if (heights := [row.adjusted.value for row in rows if row.adjusted is not None and not row.underpowered])
    ]
    return len(spans) == 2 and not 0.5 * spans[1] <= spans[0] <= 2 * spans[1]


def _ends(found: Sequence[ValueRow], *, maximise: bool) -> str:
    rows = [row for row in found if row.adjusted is not None and not row.underpowered]
    if len(rows) < 2:
        return ""
    told = sorted(rows, key=lambda row: row.adjusted.value if row.adjusted else 0.0, reverse=maximise)
    best, worst = told[0], told[-1]
    return f"adjusted mean {_mean(best)} at {best.label}, {_mean(worst)} at {worst.label}; "


def _mean(row: ValueRow) -> str:
    e = row.adjusted
    assert e is not None
    interval = "" if e.low is None or e.high is None else f" [{e.low:.4f}, {e.high:.4f}]"
    return f"{e.value:.4f}{interval}"


def _survivors(studies: Sequence[StudyFindings], *, family: int) -> Finding:
    carried = [
        (study.label, effect)
        for study in studies
        for effect in study.effects
        if effect.p_holm is not None and effect.p_holm < ALPHA
    ]
    carried.sort(key=lambda pair: pair[1].p_holm or 0.0)
    one = len(studies) == 1
    named = ", ".join(f"{'' if one else f'{label} '}{e.parameter} ({_p(e.p_holm)})" for label, e in carried)
    verb = "survives" if len(carried) < 2 else "survive"
    together = [i for study in studies for i in study.interactions if i.p_holm is not None and i.p_holm < ALPHA]
    text = f"{len(carried) or 'none'} of {_claims(family)} about parameters {verb} the adjustment for all of them"
    return Finding(
        key="effects.survive",
        study="",
        question="Does any parameter matter?",
        answer=Answer.YES if carried else Answer.CANNOT_TELL,
        text=f"{text}{': ' if named else ''}{named}",
        do="" if carried or together else "run more trials, or search fewer parameters, before any of them is fixed",
        method="F-tests with the other parameters in the model, equal repeats counted once, Holm",
        n=family,
    )


def _coverage(coverage: Coverage, where: str) -> Told:
    names = ", ".join(coverage.parameters)
    called = SPACES.get(coverage.label, coverage.label)
    what = f"the {called} ({names})"
    if coverage.random is None or not coverage.cells:
        text = f"{where}: coverage of {what} cannot be counted: {coverage.why or 'no cells'}"
        return 90.0, Finding(
            key=f"coverage.{coverage.label}",
            study=where,
            question=f"{'Were' if called.endswith('s') else 'Was'} the {called} covered as well as by random trials?",
            answer=Answer.CANNOT_TELL,
            text=text,
            method="distinct cells",
            n=coverage.attainable,
        )
    expected = coverage.random
    words = {
        Answer.NO: "below what random trials find",
        Answer.YES: "as many as random trials find, or more",
        Answer.CANNOT_TELL: "within what random trials find by chance",
    }
    share = coverage.found / coverage.cells
    text = (
        f"{where}: {coverage.found} of {coverage.cells} cells of {what} tried ({share:.1%}), "
        f"{coverage.attainable} attainable; random trials would find {expected.value:.1f} "
        f"[{expected.low:.0f}, {expected.high:.0f}]: {words[coverage.answer]}"
    )
    if coverage.why:
        text += f" ({coverage.why})"
    below = coverage.answer is Answer.NO
    return (52.0 if below and coverage.label != "all" else 85.0), Finding(
        key=f"coverage.{coverage.label}",
        study=where,
        question=f"{'Were' if called.endswith('s') else 'Was'} the {called} covered as well as by random trials?",
        answer=coverage.answer,
        text=text,
        do="give a share of the trials to cells not tried yet ([sampler] coverage_share)" if below else "",
        estimate=expected,
        method=expected.method,
        n=expected.n,
    )


def _collapse(study: StudyFindings) -> Told:
    answer = study.collapse.answer
    do = {
        Answer.YES: "look at the loss and at the class balance before tuning anything",
        Answer.NOT_MEASURED: "report pred_min, pred_max (or pred_std) and recall from the objective",
    }.get(answer, "")
    weight = {Answer.YES: 3.0, Answer.NOT_MEASURED: 58.0}.get(answer, 82.0)
    return weight, Finding(
        key="health.collapse",
        study=study.label,
        question="Did models collapse to one prediction?",
        answer=answer,
        text=f"{study.label}: {study.collapse.text}",
        do=do,
        n=study.summary.n,
        method="range of predictions below 0.2 on average, or zero recall in over 30 % of trials",
    )


def _best(study: StudyFindings) -> Iterator[Told]:
    if study.curse is not None:
        yield (
            48.0,
            Finding(
                key="best.optimism",
                study=study.label,
                question="Is it known how good the best really is?",
                answer=Answer.YES if study.curse.held_out is not None else Answer.CANNOT_TELL,
                text=f"{study.label}: {study.curse.text}",
                do="" if study.curse.held_out is not None else "confirm the top few with new seeds",
                estimate=study.curse.held_out or study.curse.shrunken,
                n=study.summary.n,
            ),
        )
    if study.baseline is not None:
        yield (
            49.0,
            Finding(
                key="baseline",
                study=study.label,
                question="Is anything better than the baseline?",
                answer=_beats(study),
                text=f"{study.label}: {study.baseline.text}",
                do="run the baseline and the best with the same new seeds",
                estimate=study.baseline.value,
                n=study.baseline.n,
                method="matched pairs",
            ),
        )


def _beats(study: StudyFindings) -> Answer:
    """Whether the best trial lies beyond the noise of a difference. Being the best of many makes that a low bar."""
    best, noise, baseline = study.summary.best, study.noise.sd, study.baseline
    if best is None or noise is None or baseline is None or baseline.value is None:
        return Answer.CANNOT_TELL
    lead = best.value - baseline.value.value
    lead = lead if study.direction == "maximize" else -lead
    if lead <= 0:
        return Answer.NO
    return Answer.YES if lead > 1.96 * 2**0.5 * noise.value else Answer.CANNOT_TELL


def _edges(study: StudyFindings) -> Iterator[Told]:
    """One finding for all parameters at an end: as many as there are would bury the others."""
    best = study.summary.best
    at_end = []
    for row in study.elites.rows if study.elites is not None else ():
        value = None if best is None else best.params.get(row.parameter)
        if row.at_edge == "low" and not isinstance(value, str | bool) and value == 0:
            continue  # most things that may be zero may not be less
        if row.at_edge:
            at_end.append((row.parameter, row.at_edge, value))
    if not at_end or study.elites is None:
        return
    survive = {e.parameter for e in study.effects if e.p_holm is not None and e.p_holm < ALPHA}
    carried = [f"{name} at its {end} end" for name, end, _ in at_end if name in survive]
    doubt = "" if len(carried) == len(at_end) else "; where a parameter has no clear effect, that may be chance"
    named = ", ".join(
        f"{name} ({end}{'' if value is None else f'; the best trial has {_value(value)}'})"
        for name, end, value in at_end
    )
    yield (
        (60.0 if carried else 83.5),
        Finding(
            key="edges",
            study=study.label,
            question="Does the range of a parameter end too early?",
            answer=Answer.CANNOT_TELL,
            n=study.elites.n,
            text=f"{study.label}: the best trial, or the optimum of a fitted curve, lies at an end of the range of "
            f"{named}{doubt}",
            do=f"widen in the next sweep: {', '.join(carried)}" if carried else "",
            method="best trial at the edge, or the fitted optimum in 95 % of resamples",
        ),
    )


def _importance(study: StudyFindings) -> Iterator[Told]:
    found = study.importance
    if found is None:
        return
    if found.interpretable is not Answer.YES or not found.rows:
        text = f"{study.label}: importances cannot be interpreted ({found.why or 'the model explains too little'})"
        answer = Answer.CANNOT_TELL
    else:
        unclear = {e.parameter for e in study.effects if e.p_holm is None or e.p_holm >= ALPHA}
        above = [f"{row.parameter} {row.value:.2f}" for row in found.rows if row.above_null]
        doubtful = [row.parameter for row in found.rows if row.above_null and row.parameter in unclear]
        answer = Answer.YES if len(above) > len(doubtful) else Answer.CANNOT_TELL
        line = f" (line of parameters that do nothing: {found.null_line:.2f})" if found.null_line is not None else ""
        text = f"{study.label}: important beyond the null line: {', '.join(above) or 'none'}{line}"
        if doubtful:
            text += f"; the tests of effects, which are to be believed, do not confirm {', '.join(doubtful)}"
    yield (
        65.0,
        Finding(
            key="importance",
            study=study.label,
            question="Does a parameter explain the differences between trials?",
            answer=answer,
            text=text,
            method=found.method,
            n=found.n,
        ),
    )


def _fidelity(study: StudyFindings) -> Iterator[Told]:
    known = [(step, rho, n) for step, rho, n in study.fidelity if rho is not None]
    if not known:
        return
    trusted = [step for step, rho, _ in known if rho.value >= TRUSTED]
    told = ", ".join(f"step {step} {rho.value:.2f} [{rho.low:.2f}, {rho.high:.2f}]" for step, rho, _ in known)
    text = (
        f"{study.label}: rank correlation of values at earlier steps with those of the last: {told} (n = {known[0][2]}"
    )
    text += ", trials that went all the way)"
    do = f"let a pruner begin at step {trusted[0]} at the earliest" if trusted else "do not prune by these steps"
    yield (
        74.0,
        Finding(
            key="fidelity",
            study=study.label,
            question="Do early steps tell which trials end well?",
            answer=Answer.YES if trusted else Answer.NO,
            text=text,
            do=do,
            n=known[0][2],
            method=f"Spearman; a step is trusted from {TRUSTED} on",
        ),
    )


def _expected(expected: Expected, where: str) -> Told:
    words = {Answer.YES: "holds", Answer.NO: "fails"}.get(expected.answer, "cannot be told")
    return 47.0, Finding(
        key=f"expect.{expected.statement}",
        study=where,
        question=f"Was it right that {expected.statement}?",
        answer=expected.answer,
        text=f"{where}: expected '{expected.statement}' {words}: {expected.text}",
        do=expected.then if expected.answer is Answer.YES else "",
        method=expected.expression,
    )


def _efficiency(study: StudyFindings) -> Iterator[Told]:
    used = study.efficiency
    yield (
        95.0,
        Finding(
            key="efficiency",
            study=study.label,
            question="Is it known where the hours went?",
            answer=Answer.NOT_MEASURED if used.hours is None else Answer.YES,
            text=f"{study.label}: {used.text}",
            method="sum over attempts",
        ),
    )
    worst = bad_node(used.by_node)
    if worst is not None and worst[1] < ALPHA:
        node, p = worst
        n, failed = next((row[2], row[3]) for row in used.by_node if row[0] == node)
        total, all_failed = sum(row[2] for row in used.by_node), sum(row[3] for row in used.by_node)
        yield (
            10.0,
            Finding(
                key=f"efficiency.node-{node}",
                study=study.label,
                question="Does a node fail more than others?",
                answer=Answer.YES,
                do=f"exclude {node} ([job] exclude), tell the site",
                p=p,
                n=total,
                text=f"{study.label}: {failed} of {n} attempts on {node} failed, {all_failed - failed} of {total - n} "
                f"elsewhere ({_p(p)}, over all nodes)",
                method="hypergeometric test of each node, Holm over the nodes",
            ),
        )


def _budgets(beside: Budgets) -> Iterator[Told]:
    yield (
        42.5,
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
    yield (
        43.0,
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
        values = ", ".join(f"{label} {'-' if v is None else _value(v)}" for label, v in best.items())
        words = {
            Answer.YES: "the best trials agree",
            Answer.NO: "the best trials differ, and the parameter matters in two of the studies",
            Answer.NOT_MEASURED: "not all best trials have it",
            Answer.CANNOT_TELL: "the best trials differ, which single trials do by chance",
        }
        yield (
            72.0,
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
        yield 73.0, _no_transfer(apart)
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
        yield (
            73.0,
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


def _top(heap: Pooled) -> Told:
    top = heap.top
    confounded = top.confounded is not Answer.NO
    return (20.0 if top.confounded is Answer.YES else 44.0), Finding(
        key="pooled.top",
        study="",
        question=f"Does one study fill the top {top.k}?",
        answer=top.confounded,
        text=top.text,
        do="compare within each study, not over all" if confounded else "",
        p=top.p,
        n=heap.n,
        method="shares of the top beside shares of all trials, hypergeometric test",
    )


def _claims(family: int) -> str:
    return f"{family} claim{'' if family == 1 else 's'}"


def _p(p: float | None) -> str:
    if p is None:
        return "p unknown"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


def _value(value: Value) -> str:
    """A parameter's value with the digits that a reader needs."""
    return f"{value:.4g}" if isinstance(value, float) else value_text(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
