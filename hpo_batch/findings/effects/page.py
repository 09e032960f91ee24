"""What each parameter does to the metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hpo_batch.document.blocks import Block, Cell, Said, Section, Table
from hpo_batch.document.tables import table
from hpo_batch.findings.effects.figure import directed, effects_figure
from hpo_batch.findings.effects.means import ValueRow
from hpo_batch.findings.effects.numbers import TRENDS, Effect
from hpo_batch.findings.effects.words import chance, compared_values, graded, lost_values, more_trials, short_labels
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.phrases import metric_title, spread_of
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, add, make_section, per_study
from hpo_batch.records import Answer
from hpo_batch.text.numbers import NONE, interval, number, p_value, percent

FEW_VALUES: Final = 6


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        if not study.effects:
            return []
        spread = spread_of(study)
        blocks: Blocks = [short_table(study)]
        add(
            blocks,
            effects_figure(
                study.effects,
                metric=study.metric,
                spread=spread,
                name=f"effects-{page.file_names[study.label]}",
                title=f"Effect of each parameter on {metric_title(study)}: {study.label}",
            ),
        )
        blocks += [_effect_table(e, spread) for e in study.effects if e.varied and _tells(e.rows)]
        blocks += _for_papers(study)
        constant = [e.parameter for e in study.effects if not e.varied and not lost_values(e)]
        if constant:
            text = f"Not varied, so no statement is possible: {', '.join(constant)}."
            blocks.append(Said(answer=Answer.NOT_MEASURED, text=text))
        lost = [f"{e.parameter} ({lost_values(e)})" for e in study.effects if lost_values(e)]
        if lost:
            blocks.append(Said(answer=Answer.NOT_MEASURED, text=f"One value among the results: {', '.join(lost)}."))
        return blocks

    return make_section(
        "effects",
        "Effects",
        "What does each parameter do to the metric, with the others held equal?",
        per_study(page.findings, of),
        "Effects are averages over the settings of the other parameters that were tried, not the effect at the best "
        "configuration. What is not confirmed may still be there.",
    )


def _for_papers(study: StudyFindings) -> Blocks:
    """Every number of the effects, for an appendix."""
    spread = spread_of(study)
    blocks: Blocks = [
        effects_table(study.effects, spread=spread, caption=f"Effects on {study.metric}, {study.label}", paper=True)
    ]
    for effect in study.effects:
        if effect.varied and effect.rows:
            caption = f"{effect.parameter}: {effect.trend}"
            blocks.append(effect_table(effect, spread=spread, caption=caption, paper=True))
    if any(effect.eta_squared is not None for effect in study.effects):
        blocks.append(variance_table(study.effects, caption="Shares of the variance by the plain formulas"))
    return blocks


def short_table(study: StudyFindings) -> Table:
    """What can be said of each parameter, what is at stake most first."""
    first = [effect for effect, _ in directed(study)]
    rest = [effect for effect in study.effects if effect.varied and effect not in first]
    rest.sort(key=lambda effect: 1.0 if effect.p is None else effect.p)
    rows = []
    for e in (*first, *rest):
        d = e.direction
        better = NONE if d is None else compared_values(d)
        by = NONE if d is None else interval(d.difference, spread_of(study))
        more = more_trials(e, study)
        tell = NONE if more is None else f"{more:,}"
        rows.append(
            [e.parameter, better, NONE if d is None else chance(d.probability), by, p_value(e.p_holm), tell, e.why]
        )
    columns = ["parameter", "better", "likely", "by [95 %]", "p after Holm", "trials to tell", "remark"]
    if all(e.direction is None for e in study.effects):
        return _table_of_trends(study, [*first, *rest])
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return table(
        f"What each parameter does to {study.metric}, {study.label}",
        columns,
        rows,
        text=("parameter", "better", "remark"),
        note="Likely: the probability that the first value is better than the second. Trials to tell: how many more "
        "would confirm a difference as large as this, where these trials are enough to say.",
    )


def _table_of_trends(study: StudyFindings, effects: Sequence[Effect]) -> Table:
    rows = [[e.parameter, e.trend, p_value(e.p_holm), number(e.detectable, spread_of(study)), e.why] for e in effects]
    return table(
        f"What each parameter does to {study.metric}, {study.label}",
        ["parameter", "verdict", "p after Holm", "detectable", "remark"],
        rows,
        text=("parameter", "verdict", "remark"),
        note="Detectable: the smallest difference that would be found with 80 % power.",
    )


def _tells(rows: Sequence[ValueRow]) -> bool:
    """Whether there is more to see than one trial a value: that is the table of all trials."""
    return any(not row.underpowered for row in rows) or 0 < len(rows) <= FEW_VALUES


def _effect_table(effect: Effect, spread: float | None) -> Block:
    """Each value with its mean, for a look at one parameter."""
    names = short_labels([row.label for row in effect.rows])
    rows = [
        [name, str(row.n), number(row.mean, spread), _adjusted(row)]
        for name, row in zip(names, effect.rows, strict=True)
    ]
    columns = ["value", "n", "plain mean", "adjusted mean [95 %]"]
    return table(f"Values of {effect.parameter}", columns, rows, text=("value",), secondary=True)


def effect_table(
    effect: Effect, *, spread: float | None, caption: str, top_k: bool = False, paper: bool = False
) -> Table:
    columns = ["value", "n", "share", "plain mean", "sd", "min", "max", "adjusted mean [95 %]"]
    without = {row.label: row for row in effect.rows_without}
    columns += ["mean without suspects", "adjusted without suspects"] if without else []
    columns += ["of the top"] if top_k else []
    rows = []
    for row in effect.rows:
        shape = [number(v, spread) for v in (row.mean, row.std, row.min, row.max)]
        rows.append([row.label, str(row.n), percent(row.share), *shape, _adjusted(row)])
        if without:
            other = without.get(row.label)
            rows[-1] += [NONE, NONE] if other is None else [number(other.mean, spread), _adjusted(other)]
        if top_k:
            rows[-1].append(percent(row.top_share))
    return table(caption, columns, rows, text=("value",), secondary=True, paper=paper)


def _adjusted(row: ValueRow) -> str:
    return "too few to say" if row.underpowered else interval(row.adjusted)


def effects_table(effects: Sequence[Effect], *, spread: float | None, caption: str, paper: bool = False) -> Table:
    rows: list[list[Cell]] = []
    suspected = any(e.without_outliers is not None for e in effects)
    for e in effects:
        size = number(e.effect_size, 0.05)
        verdict = e.trend if e.varied else _unvaried(e)
        if e.varied and e.trend not in TRENDS and e.p_holm is not None and e.p_holm < ALPHA:
            verdict = "matters, no trend"
        row: list[Cell] = [e.parameter, verdict, p_value(e.p), p_value(e.p_holm), size, number(e.detectable, spread)]
        row += [p_value(e.without_outliers)] if suspected else []
        rows.append([*row, e.naive_trend or NONE, e.why])
    columns = ["parameter", "verdict", "p", "p after Holm", "epsilon squared", "detectable"]
    columns += ["p without suspects"] if suspected else []
    columns += ["plain means alone", "remark"]
    return table(
        caption,
        columns,
        rows,
        text=("parameter", "verdict", "plain means alone", "remark"),
        paper=paper,
        note="Verdict: from the adjusted test after Holm; 'no trend': which of its values is best is not 95 % certain. "
        "Detectable: the smallest difference that would be found with 80 % power after the adjustment. "
        "Plain means alone: the trend that they suggest; do not rely on it.",
    )


def _unvaried(e: Effect) -> str:
    return "other values without a result" if lost_values(e) else "not varied"


def variance_table(effects: Sequence[Effect], *, caption: str) -> Table:
    """What the plain formulas give, which do not adjust for anything."""
    rows = [
        [e.parameter, number(e.eta_squared, 0.05), number(e.seed_formula, 0.05), number(e.effect_size, 0.05)]
        for e in effects
        if e.varied
    ]
    return table(
        caption,
        ["parameter", "eta squared", "eta squared (n-1)/n", "epsilon squared, adjusted"],
        rows,
        text=("parameter",),
        paper=True,
        note="Eta squared does not add up to 1 where a sampler chose the trials, and is above 0 for a parameter "
        "that does nothing.",
    )


def side_by_side_table(all_of_them: Sequence[StudyFindings]) -> Table:
    """What each parameter does in each study."""
    names = list(dict.fromkeys(e.parameter for study in all_of_them for e in study.effects))
    rows = []
    for name in names:
        row = [name]
        for study in all_of_them:
            (e,) = [e for e in study.effects if e.parameter == name][:1] or (None,)
            row.append("not a parameter" if e is None else _verdict(e))
        rows.append(row)
    columns = ["parameter", *(study.label for study in all_of_them)]
    return table(
        "What each parameter does",
        columns,
        rows,
        text=columns,
        note="Only what the adjusted test carries after Holm is called a trend. Better values stand with their "
        "probability, and by how much (95 % interval).",
    )


def _verdict(e: Effect) -> str:
    if not e.varied:
        return _unvaried(e)
    if e.p_holm is None and e.p is None:
        return f"cannot tell: {e.why}" if e.why else "cannot tell"
    p = f"p = {p_value(e.p_holm if e.p_holm is not None else e.p)}".replace("= <", "<")
    return f"{e.trend} ({p}){f'; {graded(e.direction)}' if e.direction is not None else ''}"
