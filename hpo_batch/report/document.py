"""Findings -> the document: sections that open with their question and close with what they do not show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from hpo_batch.analysis.records import Answer, Correlation, Effect, Finding, Findings, Importance, StudyFindings
from hpo_batch.report import figures, tables
from hpo_batch.report.blocks import Block, Document, Part, Said, Section, Text
from hpo_batch.report.figures import Figure
from hpo_batch.report.text import NONE, clean, count, duration, hours, interval, number, p_value, percent
from hpo_batch.report.trials import Drawn

FIRST_SCREEN: Final = 7
MOST_OF_A_KIND: Final = 2
MOST_TO_DO: Final = 6

Blocks = list[Block]


def report(findings: Findings, trials: Sequence[Drawn] = (), *, version: str) -> Document:
    """The whole report. ``trials``: by label of their study, for slice plots and parallel coordinates."""
    by_label = {drawn.label: drawn for drawn in trials}
    names = _file_names([study.label for study in findings.studies])
    told = _told(findings)
    believe = tuple(_said(f, studies) for f, studies in _first_screen(told))
    sections = [
        _results(findings, names),
        _noise(findings),
        _coverage(findings, names),
        _effects(findings, names),
        _importance(findings, names),
        _relations(findings),
        _top(findings, names, by_label),
        _several(findings),
        _pooled(findings),
        _training(findings, names),
        _baseline(findings),
        _hours(findings, names),
        _expected(findings),
        _all(findings),
    ]
    return Document(
        title=_title(findings),
        subtitle=_subtitle(findings, version),
        believe=believe or (_nothing(findings),),
        believe_more=max(0, len(told) - FIRST_SCREEN),
        do=_to_do(findings),
        sections=tuple(section for section in sections if section is not None),
    )


def comparison(findings: Findings, *, version: str) -> Document:
    """Several studies beside each other."""
    studies = findings.studies
    alike = len({(study.metric, study.direction) for study in studies}) == 1
    blocks: Blocks = []
    if not alike:
        told = "; ".join(f"{study.label}: {study.metric}, {study.direction}" for study in studies)
        blocks.append(
            Said(
                answer=Answer.CANNOT_TELL,
                text=f"The studies measure different things, so no value is compared ({told}).",
            )
        )
    blocks.append(tables.studies(studies))
    for study in studies:
        blocks.append(_noise_said(study, named=True))
    sections = [
        _section(
            "beside",
            "Side by side",
            "How do the studies compare at a glance?",
            [Part(heading="", blocks=tuple(blocks))],
            "A higher best value is no better study: it grows with the number of trials, and noise alone moves it.",
        )
    ]
    if alike:
        sections.append(_several(findings))
    effects: Blocks = [tables.side_by_side(studies)] if any(study.effects for study in studies) else []
    if effects:
        sections.append(
            _section(
                "parameters",
                "Parameters",
                "Does each parameter do the same everywhere?",
                [Part(heading="", blocks=tuple(effects))],
                "'No clear trend' in one study and a trend in another is no "
                "contradiction: the first may have been too small to see it.",
            )
        )
    sections.append(_coverage(findings, {}, pictures=False))
    return Document(
        title="Comparison of "
        + (" and ".join(s.label for s in studies) if len(studies) < 4 else count(len(studies), "study", "studies")),
        subtitle=_subtitle(findings, version),
        believe=tuple(_said(f, "") for f in findings.findings if not f.study)[:FIRST_SCREEN]
        or (Said(answer=Answer.CANNOT_TELL, text="No finding is about the studies together."),),
        do=_to_do(findings),
        sections=tuple(section for section in sections if section is not None),
    )


def _title(findings: Findings) -> str:
    labels = [study.label for study in findings.studies]
    if not labels:
        return "Report: no studies"
    return "Report of " + (labels[0] if len(labels) == 1 else count(len(labels), "study", "studies"))


def _subtitle(findings: Findings, version: str) -> str:
    n = sum(study.summary.n for study in findings.studies)
    labels = [study.label for study in findings.studies]
    named = f" ({', '.join(labels[:8])}{', ...' if len(labels) > 8 else ''})" if len(labels) > 1 else ""
    return f"{count(n, 'complete trial')}{named}, {count(len(findings.findings), 'finding')}, hpo-batch {version}"


def _nothing(findings: Findings) -> Said:
    if not any(study.summary.n for study in findings.studies):
        return Said(
            answer=Answer.CANNOT_TELL,
            text="There is no complete trial with a finite value: nothing can be said of the metric.",
        )
    return Said(answer=Answer.CANNOT_TELL, text="No question of this report could be put to these trials.")


Told = tuple[Finding, str]
"""a finding, and the studies of which it is true, for readers"""


def _told(findings: Findings) -> list[Told]:
    """The findings, most telling first; what is the same of several studies is said once, at the first one's place."""
    alike: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings.findings:
        key = (finding.key, finding.question, finding.answer, _text(finding), finding.do)
        alike.setdefault(key, []).append(finding)
    every = [study.label for study in findings.studies]
    told = []
    for group in alike.values():
        names = [finding.study for finding in group if finding.study]
        # there is but one study, whose name need not be said with every sentence
        who = "" if len(every) == 1 else f"all {len(every)} studies" if names == every else ", ".join(names)
        told.append((group[0], who))
    return told


def _first_screen(told: Sequence[Told]) -> list[Told]:
    """What a reader should know first: of each kind the most telling ones, so that no kind hides the others."""
    chosen: list[Told] = []
    taken: Counter[str] = Counter()
    for finding, who in told:
        kind = finding.key.partition(".")[0]
        if len(chosen) < FIRST_SCREEN and taken[kind] < MOST_OF_A_KIND:
            taken[kind] += 1
            chosen.append((finding, who))
    return chosen


def _text(finding: Finding) -> str:
    # it may be read alone, so it begins with the study's name, which stands beside it here
    return finding.text.removeprefix(f"{finding.study}: ") if finding.study else finding.text


def _said(finding: Finding, studies: str, *, detailed: bool = False) -> Said:
    tests = [
        f"p = {p_value(finding.p)}" if finding.p is not None else "",
        f"after Holm {p_value(finding.p_holm)}" if finding.p_holm is not None else "",
        f"n = {finding.n}" if finding.n else "",
        finding.method,
    ]
    return Said(
        answer=finding.answer,
        question=finding.question,
        text=_text(finding),
        study=studies,
        do=finding.do if detailed else "",
        detail="; ".join(part for part in tests if part).replace("= <", "<") if detailed else "",
    )


def _to_do(findings: Findings) -> tuple[str, ...]:
    wanted: dict[str, list[str]] = {}
    for finding in findings.findings:
        if finding.do:
            wanted.setdefault(finding.do, []).append(finding.study)
    told = []
    for do, studies in wanted.items():
        named = [study for study in dict.fromkeys(studies) if study]
        is_told = len(findings.studies) > 1 and 0 < len(named) < len(findings.studies)
        told.append(f"{do} ({', '.join(named)})" if is_told else do)
    return tuple(told)[:MOST_TO_DO]


def _file_names(labels: Sequence[str]) -> dict[str, str]:
    """Names of files from names of studies, which may hold anything."""
    names: dict[str, str] = {}
    for label in labels:
        plain = re.sub(r"[^A-Za-z0-9.]+", "-", label).strip("-.")[:40] or "study"
        taken = sum(name == plain or name.startswith(f"{plain}~") for name in names.values())
        names[label] = f"{plain}~{taken + 1}" if taken else plain
    return names


def _section(key: str, title: str, question: str, parts: Sequence[Part], not_shown: str) -> Section | None:
    kept = tuple(part for part in parts if part.blocks)
    return Section(key=key, title=title, question=question, parts=kept, not_shown=not_shown) if kept else None


def _each(findings: Findings, blocks: Callable[[StudyFindings], Blocks]) -> list[Part]:
    """A part per study; its heading is left out where there is only one."""
    one = len(findings.studies) == 1
    return [Part(heading="" if one else study.label, blocks=tuple(blocks(study))) for study in findings.studies]


def _add(blocks: Blocks, figure: Figure | None) -> None:
    if figure is not None:
        blocks.append(figure)


def _results(findings: Findings, names: dict[str, str]) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        s = study.summary
        blocks: Blocks = []
        if s.n == 0:
            states = ", ".join(f"{n} {state.lower()}" for state, n in s.states.items() if n) or "none at all"
            blocks.append(
                Said(answer=Answer.CANNOT_TELL, text=f"No complete trial with a finite value (trials: {states}).")
            )
        if s.skipped:
            blocks.append(
                Text(text=f"{count(s.skipped, 'complete trial')} without a finite value: left out of everything.")
            )
        if study.front:
            blocks.append(
                Said(
                    answer=Answer.YES,
                    text=f"Several metrics: {count(len(study.front), 'trial')} that no other dominates. "
                    "There is no single best one, so nothing that needs one is computed.",
                )
            )
            blocks.append(
                tables.top(study.front, spread=None, caption=f"The Pareto front of {study.label}", metric=study.metric)
            )
        if s.top:
            blocks.append(
                tables.top(s.top, spread=s.std, caption=f"Best configurations of {study.label}", metric=study.metric)
            )
        if study.curse is not None:
            known = study.curse.held_out is not None
            blocks.append(
                Said(
                    answer=Answer.YES if known else Answer.CANNOT_TELL,
                    question="Is it known how good the best really is?",
                    text=study.curse.text,
                )
            )
        _add(blocks, figures.history(study, name=f"history-{names[study.label]}"))
        return blocks

    parts = _each(findings, of)
    if findings.studies:
        parts = [Part(heading="", blocks=(tables.studies(findings.studies),)), *parts]
    else:
        parts = [Part(heading="", blocks=(Said(answer=Answer.CANNOT_TELL, text="There is no study to report on."),))]
    return _section(
        "results",
        "Results",
        "What ran, and what came out best?",
        parts,
        "The best of many is partly luck: its value would be worse if it were trained again with another seed. "
        "Ranks within the noise are no ranks.",
    )


def _noise_said(study: StudyFindings, *, named: bool = False) -> Said:
    noise = study.noise
    told = noise.text or (
        "The noise floor is unknown."
        if noise.sd is None
        else f"Standard deviation {interval(noise.sd)}, from {noise.source}."
    )
    answer = Answer.NOT_MEASURED if noise.sd is None else Answer.YES
    return Said(answer=answer, question="Is the noise floor known?", text=told, study=study.label if named else "")


def _noise(findings: Findings) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        blocks: Blocks = [_noise_said(study)] if study.summary.n else []
        if study.noise.alarms:
            blocks.append(
                Said(
                    answer=Answer.NO,
                    question="Is training deterministic?",
                    text="Runs of one configuration, without seeds that differ, gave different values.",
                )
            )
            blocks.append(
                tables.repeated(
                    study.noise.alarms,
                    spread=study.summary.std,
                    caption="One configuration, no seeds that differ, different values",
                )
            )
        if study.suspects:
            blocks.append(tables.suspects(study.suspects, spread=study.summary.std))
            if study.without is not None:
                blocks.append(tables.without(study, study.without))
        elif study.summary.n:
            blocks.append(Text(text="No trial stands out as divergent, under-trained or in conflict with its twin."))
        return blocks

    return _section(
        "noise",
        "Noise and suspects",
        "How much does the metric move by itself, and which trials should be looked at first?",
        _each(findings, of),
        "Repeats with the same seed say nothing about noise. What the seed "
        "does to one configuration need not be what it does to another.",
    )


def _coverage(findings: Findings, names: dict[str, str], *, pictures: bool = True) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        sets = [c for c in study.coverage if not c.counts]
        blocks: Blocks = [tables.coverage(sets or study.coverage)] if study.coverage else []
        if not pictures:
            return blocks
        for c in sets:
            if c.gaps and (c.label != "all" or len(sets) == 1):
                blocks.append(tables.gaps(c))
        _add(
            blocks,
            figures.coverage(study.coverage, name=f"coverage-{names[study.label]}", title=f"Coverage: {study.label}"),
        )
        if study.summary.repeated:
            blocks.append(
                tables.repeated(
                    study.summary.repeated, spread=study.summary.std, caption="Configurations that ran more than once"
                )
            )
        return blocks

    return _section(
        "coverage",
        "Coverage",
        "How much of the space was tried?",
        _each(findings, of),
        "Few trials in a region may be a sampler's good judgement "
        "or its blindness; coverage alone does not tell which. "
        "Invalid combinations are not counted as gaps.",
    )


def _effects(findings: Findings, names: dict[str, str]) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        if not study.effects:
            return []
        spread = study.summary.std
        blocks: Blocks = [
            tables.effects(study.effects, spread=spread, caption=f"Effects on {study.metric}, {study.label}")
        ]
        _add(
            blocks,
            figures.effects(
                study.effects,
                metric=study.metric,
                spread=spread,
                name=f"effects-{names[study.label]}",
                title=f"Effect of each parameter on {_metric(study)}: {study.label}",
            ),
        )
        blocks += [_effect_table(e, spread) for e in study.effects if e.varied and e.rows]
        if any(e.eta_squared is not None for e in study.effects):
            blocks.append(tables.variance(study.effects, caption="Shares of the variance by the plain formulas"))
        constant = [e.parameter for e in study.effects if not e.varied]
        if constant:
            blocks.append(
                Said(
                    answer=Answer.NOT_MEASURED, text=f"Not varied, so no statement is possible: {', '.join(constant)}."
                )
            )
        return blocks

    return _section(
        "effects",
        "Effects",
        "What does each parameter do to the metric, the others held alike?",
        _each(findings, of),
        "Effects are averages over the other parameters, not the effect "
        "at the best configuration. 'No clear trend' is not 'no effect': "
        "see what difference could have been detected. Values outside those tried are not spoken of.",
    )


def _effect_table(effect: Effect, spread: float | None) -> Block:
    return tables.effect(effect, spread=spread, caption=f"{effect.parameter}: {effect.trend}")


def _metric(study: StudyFindings) -> str:
    return f"{study.metric} ({'higher' if study.direction == 'maximize' else 'lower'} is better)"


def _importance(findings: Findings, names: dict[str, str]) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        found = study.importance
        if found is None:
            return (
                [Said(answer=Answer.CANNOT_TELL, text="No importances: there are too few trials or parameters.")]
                if study.summary.n
                else []
            )
        blocks: Blocks = []
        for where, each in (("", found), *found.branches):
            blocks += _importances(
                each,
                f"{study.label}{', ' if where else ''}{where}",
                name=f"importance-{names[study.label]}{_suffix(where, found)}",
            )
        return blocks

    return _section(
        "importance",
        "Importance",
        "Which parameters explain the differences between trials?",
        _each(findings, of),
        "Importance says how much of the variation goes with a parameter, "
        "not which value is good, and not that it matters near the best. "
        "Bars below the null line are what a parameter reaches that does nothing.",
    )


def _suffix(where: str, found: Importance) -> str:
    return "" if not where else f"-branch{[name for name, _ in found.branches].index(where) + 1}"


def _importances(found: Importance, label: str, *, name: str) -> Blocks:
    blocks: Blocks = []
    if found.interpretable is not Answer.YES:
        why = found.why or "the forest predicts too badly"
        blocks.append(Said(answer=found.interpretable, text=f"{label}: importances are not to be interpreted: {why}."))
    elif found.why:
        blocks.append(Text(text=found.why))
    _add(blocks, figures.importance(found, name=name, title=f"Importance: {label}"))
    if found.rows:
        blocks.append(tables.importance(found, caption=f"Importance, {label}"))
    return blocks


def _relations(findings: Findings) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        blocks: Blocks = []
        blocks += _correlations(study.correlations, study.metric)
        tested = [i for i in study.interactions if i.p is not None]
        if tested:
            blocks.append(tables.interactions(tested))
        untested = [i for i in study.interactions if i.p is None]
        if untested:
            first = untested[0]
            one = f" ({first.a} and {first.b})" if len(untested) == 1 else f", {first.a} and {first.b} for example"
            told = f"{count(len(untested), 'pair')} of parameters could not be tested{one}: {first.why}."
            blocks.append(Said(answer=Answer.CANNOT_TELL, question="Which parameters act together?", text=told))
        return blocks

    return _section(
        "relations",
        "Correlations and interactions",
        "What goes together?",
        _each(findings, of),
        "Correlation over trials that a sampler chose shows the sampler's "
        "habits as well as the metric's. An interaction that was not "
        "found may still be there: pairs need many trials.",
    )


def _correlations(found: Sequence[Correlation], metric: str) -> Blocks:
    with_metric = [c for c in found if metric in (c.a, c.b)]
    rest = [c for c in found if metric not in (c.a, c.b)]
    blocks: Blocks = [tables.correlations(with_metric, caption=f"Correlations with {metric}")] if with_metric else []
    if rest:
        blocks.append(tables.correlations(rest, caption="Correlations between parameters", secondary=True))
    return blocks


def _top(findings: Findings, names: dict[str, str], trials: dict[str, Drawn]) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        blocks: Blocks = []
        if study.elites is not None and study.elites.rows:
            blocks.append(tables.elites(study.elites, spread=study.summary.std))
        drawn = trials.get(study.label)
        if drawn is not None:
            spread, name = study.summary.std, names[study.label]
            _add(
                blocks,
                figures.parallel(
                    drawn, direction=study.direction, metric=study.metric, spread=spread, name=f"parallel-{name}"
                ),
            )
            _add(
                blocks,
                figures.slices(
                    drawn, direction=study.direction, metric=study.metric, spread=spread, name=f"slices-{name}"
                ),
            )
        return blocks

    return _section(
        "top",
        "The best quarter",
        "What do the best trials have in common?",
        _each(findings, of),
        "A value is frequent among the best also where the sampler "
        "merely tried it often: compare with its share of all trials. "
        "A best value at an edge of the space says that the space may end too early, not what lies beyond.",
    )


def _several(findings: Findings) -> Section | None:
    found = findings.budgets
    if found is None:
        return None
    blocks: Blocks = [
        Said(
            answer=found.order,
            question="Can the best values be put in an order?",
            text=found.order_text or "Whether the best values can be ordered.",
        )
    ]
    if found.text and found.text != found.order_text:
        blocks.append(Text(text=found.text))
    metric = findings.studies[0].metric if findings.studies else "value"
    _add(blocks, figures.budgets(found, metric=metric, name="budgets"))
    blocks.append(tables.budgets(found))
    if found.slope is not None:
        blocks.append(
            Text(
                text="Slope of the best value over the logarithm of the parameter count: "
                f"{interval(found.slope)} ({found.slope.method}, n = {found.slope.n})."
            )
        )
    if found.consistency:
        blocks.append(tables.consistency(found))
    if found.transfer:
        blocks.append(tables.transfer(found))
    return _section(
        "budgets",
        "Studies beside each other",
        "Do larger budgets do better, and do the studies agree?",
        [Part(heading="", blocks=tuple(blocks))],
        "Best values rest on one trial each. An order of them is no "
        "scaling law, and the label of a budget is not its parameter count.",
    )


def _pooled(findings: Findings) -> Section | None:
    found = findings.pooled
    if found is None:
        return None
    top = found.top
    blocks: Blocks = [
        Said(
            answer=top.confounded,
            question=f"Does one study fill the top {top.k}?",
            text=top.text or f"Whether one study fills the top {top.k}.",
        )
    ]
    _add(blocks, figures.shares(top.studies, k=top.k, name="shares", title=f"Who fills the top {top.k}"))
    if top.groups:
        blocks.append(tables.groups(top))
    spread = max((s.summary.std or 0.0 for s in findings.studies), default=0.0)
    blocks.append(
        Text(
            text=f"{count(top.unique, 'distinct configuration')} among "
            f"the top {top.k}; {count(found.n, 'trial')} in all."
        )
    )
    if found.effects:
        blocks.append(tables.effects(found.effects, spread=spread, caption="All studies in one heap"))
        blocks += tables.pooled(found, spread=spread)
    blocks += _correlations(found.correlations, findings.studies[0].metric if findings.studies else "")
    return _section(
        "pooled",
        "All trials in one heap",
        "What do the trials of all studies show together?",
        [Part(heading="", blocks=tuple(blocks))],
        "Studies differ in more than the parameters shown: where one of "
        "them fills the top, shares of values are shares of that study.",
    )


def _training(findings: Findings, names: dict[str, str]) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        blocks: Blocks = []
        if study.summary.n:
            c = study.collapse
            blocks.append(
                Said(
                    answer=c.answer,
                    question="Did models collapse?",
                    text=c.text or "Whether models predict one thing for all.",
                )
            )
            hit = [str(n) for n, answer in c.trials if answer is Answer.YES]
            if hit:
                blocks.append(Text(text=f"Collapsed trials: {', '.join(hit[:40])}{' ...' if len(hit) > 40 else ''}."))
        _add(blocks, figures.curves(study, name=f"curves-{names[study.label]}"))
        if study.fidelity:
            blocks.append(tables.fidelity(study))
        if study.summary.n and not study.curves:
            blocks.append(Said(answer=Answer.NOT_MEASURED, text="No learning curves: the trials reported no steps."))
        return blocks

    return _section(
        "training",
        "Training",
        "Did models collapse, and how did training go?",
        _each(findings, of),
        "No collapse by these measures is no proof of a sound model.",
    )


def _baseline(findings: Findings) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        found = study.baseline
        if found is None:
            return []
        answer = Answer.CANNOT_TELL if found.value is None else Answer.YES
        blocks: Blocks = [Said(answer=answer, question="Is the baseline known?", text=found.text or found.why)]
        if found.value is not None:
            above = (
                f"{found.n_above} of {count(found.n, 'trial')} ({percent(found.n_above / found.n)}) do better."
                if found.n
                else ""
            )
            blocks.append(
                Text(text=f"Baseline: {interval(found.value, study.summary.std)} (n = {found.value.n}). {above}")
            )
        if found.pairs:
            blocks.append(tables.baseline(found, spread=study.summary.std))
        if found.unexplained is not None:
            blocks.append(
                Text(
                    text=f"Of the best trial's lead, {number(found.unexplained, study.summary.std)} "
                    "is unexplained by these single changes."
                )
            )
        return blocks

    return _section(
        "baseline",
        "Against the baseline",
        "Is the search better than what there was before?",
        _each(findings, of),
        "One trial per configuration cannot tell small differences "
        "from the seed; confirm with the same seeds for both.",
    )


def _hours(findings: Findings, names: dict[str, str]) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        found = study.efficiency
        blocks: Blocks = []
        known = found.gpu_hours is not None or found.hours is not None
        told = found.text or found.why or "Times were not recorded."
        blocks.append(
            Said(answer=Answer.YES if known else Answer.NOT_MEASURED, question="Are the hours known?", text=told)
        )
        parts = [f"GPU hours: {hours(found.gpu_hours)}"] if found.gpu_hours is not None else []
        parts += [f"hours of attempts: {hours(found.hours)}"] if found.hours is not None else []
        parts += [f"median wait in the queue: {duration(found.queue_wait_s)}"] if found.queue_wait_s is not None else []
        if parts:
            blocks.append(Text(text="; ".join(parts) + "."))
        _add(
            blocks,
            figures.gpu_hours(found, name=f"hours-{names[study.label]}", title=f"Where the hours went: {study.label}"),
        )
        return [*blocks, *tables.attempts(found)]

    return _section(
        "hours",
        "Hours",
        "Where did the time go?",
        _each(findings, of),
        "Times are those of attempts, from claim to end; waiting inside "
        "SLURM's queue is not in them. A slow node and a node that drew long "
        "trials look alike here.",
    )


def _expected(findings: Findings) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        return [
            Said(
                answer=e.answer,
                question=f"Was it right that {e.statement}?",
                text=f"{e.text} ({e.expression})",
                do=e.then if e.answer is Answer.YES else "",
            )
            for e in study.expected
        ]

    return _section(
        "expected",
        "Expectations",
        "Did what was expected before the sweep come true?",
        _each(findings, of),
        "An expectation that held once may have held by chance.",
    )


def _all(findings: Findings) -> Section | None:
    blocks: Blocks = [_said(finding, studies, detailed=True) for finding, studies in _told(findings)]
    if findings.family:
        blocks.append(
            Text(
                text=f"p after Holm: adjusted for all {count(findings.family, 'claim')} "
                "of this report. No p: a count or a fact, not a claim."
            )
        )
    blocks += [Text(text=f"Left out or assumed: {clean(warning)}") for warning in findings.warnings]
    methods = dict.fromkeys(e.method for study in findings.studies for e in study.effects if e.method)
    blocks += [Text(text=f"Effects: {method}") for method in methods]
    return _section(
        "findings",
        "All findings and methods",
        "What exactly was asked, and how?",
        [Part(heading="", blocks=tuple(blocks))],
        "Findings are about these trials. Numbers with full precision "
        f"are in report.json; {NONE} stands where one cannot be given.",
    )
