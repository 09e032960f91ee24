"""The tables of a report: records -> rows of text with digits that fit their uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from hpo_batch.document.blocks import Cell, Table
from hpo_batch.findings.baseline.numbers import Baseline
from hpo_batch.findings.budgets.numbers import Budgets
from hpo_batch.findings.coverage.numbers import Coverage
from hpo_batch.findings.effects.numbers import Effect, ValueRow
from hpo_batch.findings.elites.numbers import Elites
from hpo_batch.findings.figures import FOUND
from hpo_batch.findings.health.numbers import Suspect, Without
from hpo_batch.findings.hours.numbers import Efficiency
from hpo_batch.findings.importance.numbers import Importance
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.pooled.numbers import Pooled, TopShares
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.relations.correlations import Correlation
from hpo_batch.findings.relations.interactions import Interaction
from hpo_batch.findings.trials.numbers import RepeatedConfiguration, TopTrial
from hpo_batch.records import Value
from hpo_batch.text.numbers import NONE, count, hours, interval, label, number, p_value, percent, size_range

MOST_ROWS: Final = 60
MOST_IN_CELL: Final = 100


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    text: Sequence[str] = (),
    note: str = "",
    secondary: bool = False,
) -> Table:
    """Columns hold numbers unless they are named in ``text``. Long tables are cut, which is told."""
    cut = len(rows) - MOST_ROWS
    more = f"{cut:,} further rows are in report.json." if cut > 0 else ""
    return Table(
        caption=caption,
        columns=tuple(columns),
        rows=tuple(tuple(row) for row in rows[:MOST_ROWS]),
        numeric=frozenset(i for i, name in enumerate(columns) if name not in text),
        note=" ".join(part for part in (note, more) if part),
        secondary=secondary,
    )


def studies(all_of_them: Sequence[StudyFindings]) -> Table:
    rows = []
    for study in all_of_them:
        s = study.summary
        spread = _fine(s.std)
        best = NONE if s.best is None else number(s.best.value, spread)
        others = ", ".join(f"{n} {state.lower()}" for state, n in s.states.items() if n and state != "COMPLETE") or NONE
        shape = (number(s.mean, spread), number(s.median, spread), number(s.std, spread))
        rows.append(
            [study.label, study.metric, study.direction, str(s.n), others, str(s.unique), str(s.repeats), best, *shape]
        )
    return table(
        "The studies",
        ["study", "metric", "direction", "n", "not complete", "distinct", "repeats", "best", "mean", "median", "sd"],
        rows,
        text=("study", "metric", "direction", "not complete"),
        note="n: complete trials with a finite value. Repeats: trials "
        "that ran a configuration once more. sd: between trials.",
    )


def top(trials: Sequence[TopTrial], *, spread: float | None, caption: str, metric: str) -> Table:
    spread = _fine(spread)
    constant, names = _varying([trial.params for trial in trials])
    several = any(t.values for t in trials)
    rows = [
        [f"{t.rank}{' (tie)' if t.tied else ''}", str(t.number)]
        + [number(v, spread) for v in (t.values if several else (t.value,))]
        + [str(t.count), *(label(t.params.get(name)) for name in names)]
        for t in trials
    ]
    alike = f"Alike in all: {params(constant)}." if constant else ""
    columns = ["rank", "trial", *(metric.split(", ") if several else [metric]), "ran", *names]
    rows = [row for row in rows if len(row) == len(columns)]
    return table(caption, columns, rows, note=f"Distinct configurations; ran: how often. {alike}".strip())


def _fine(spread: float | None) -> float | None:
    """Digits for single values and means: what lies close together must not look tied."""
    return None if spread is None else spread / 3


def params(values: Mapping[str, Value | None]) -> str:
    return ", ".join(f"{name} = {label(value)}" for name, value in values.items())


def _varying(all_params: Sequence[Mapping[str, Value]]) -> tuple[dict[str, Value], list[str]]:
    names = list(dict.fromkeys(name for given in all_params for name in given))
    if len(all_params) < 2:
        return {}, names
    first = all_params[0]
    constant = {
        name: first[name]
        for name in names
        if all(name in g and label(g[name]) == label(first[name]) for g in all_params)
    }
    return constant, [name for name in names if name not in constant]


def repeated(found: Sequence[RepeatedConfiguration], *, spread: float | None, caption: str) -> Table:
    rows = [
        [
            str(r.count),
            _listed([str(n) for n in r.numbers]),
            _listed(list(dict.fromkeys(number(v, spread) for v in r.values))),
            params(r.params),
        ]
        for r in found
    ]
    columns = ["ran", "trials", "values", "configuration"]
    return table(caption, columns, rows, text=columns[1:], secondary=len(rows) > 3)


def _listed(texts: Sequence[str]) -> str:
    """Of a configuration that ran a thousand times a cell names some."""
    more = len(texts) - MOST_IN_CELL
    return ", ".join(texts[:MOST_IN_CELL]) + (f" and {more:,} more" if more > 0 else "")


def suspects(found: Sequence[Suspect], *, spread: float | None) -> Table:
    rows = [[str(s.number), number(s.value, spread), s.why, s.text] for s in found]
    return table("Trials to look at", ["trial", "value", "what", "why"], rows, text=("what", "why"))


def coverage(found: Sequence[Coverage]) -> Table:
    rows: list[list[Cell]] = []
    for c in found:
        share = percent(c.found / c.cells) if c.cells else NONE
        reachable = percent(c.found / c.attainable) if c.attainable else NONE
        expected = NONE if c.random is None else _expected(c)
        rows.append(
            [
                c.label,
                str(c.found),
                str(c.cells or NONE),
                share,
                str(c.attainable),
                reachable,
                expected,
                c.answer,
                c.why,
            ]
        )
    return table(
        "Combinations tried",
        ["of", "tried", "valid", "share", "attainable", "of these", "random trials", "as random?", "remark"],
        rows,
        text=("of", "as random?", "remark"),
        note="Attainable: as many as there were trials for. Random "
        "trials: what as many uniform draws find, 95 % range.",
    )


def _expected(c: Coverage) -> str:
    assert c.random is not None
    low, high = c.random.low, c.random.high
    return f"{c.random.value:.1f}" + ("" if low is None or high is None else f" [{low:.0f}, {high:.0f}]")


def effect(found: Effect, *, spread: float | None, caption: str, top_k: bool = False) -> Table:
    columns = ["value", "n", "share", "plain mean", "sd", "min", "max", "adjusted mean [95 %]"]
    without = {row.label: row for row in found.rows_without}
    columns += ["mean without suspects", "adjusted without suspects"] if without else []
    columns += ["of the top"] if top_k else []
    rows = []
    for row in found.rows:
        shape = [number(v, spread) for v in (row.mean, row.std, row.min, row.max)]
        rows.append([row.label, str(row.n), percent(row.share), *shape, _adjusted(row)])
        if without:
            other = without.get(row.label)
            rows[-1] += [NONE, NONE] if other is None else [number(other.mean, spread), _adjusted(other)]
        if top_k:
            rows[-1].append(percent(row.top_share))
    return table(caption, columns, rows, text=("value",), secondary=True)


def _adjusted(row: ValueRow) -> str:
    return "too few to say" if row.underpowered else interval(row.adjusted)


def effects(found: Sequence[Effect], *, spread: float | None, caption: str) -> Table:
    rows: list[list[Cell]] = []
    suspected = any(e.without_outliers is not None for e in found)
    for e in found:
        size = number(e.effect_size, 0.05)
        verdict = e.trend if e.varied else "not varied"
        if e.varied and e.trend not in FOUND and e.p_holm is not None and e.p_holm < ALPHA:
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
        note="Verdict: from the adjusted test after Holm; 'no trend': it moves by less than one trial does by chance, "
        "or than the band of its curve. Detectable: the smallest difference that would be found with 80 % power. "
        "Plain means alone: the word that they suggest, which is what not to rely on.",
    )


def variance(found: Sequence[Effect], *, caption: str) -> Table:
    """What the plain formulas give, which do not adjust for anything."""
    rows = [
        [e.parameter, number(e.eta_squared, 0.05), number(e.seed_formula, 0.05), number(e.effect_size, 0.05)]
        for e in found
        if e.varied
    ]
    return table(
        caption,
        ["parameter", "eta squared", "eta squared (n-1)/n", "epsilon squared, adjusted"],
        rows,
        text=("parameter",),
        secondary=True,
        note="Eta squared does not add up to 1 where a sampler chose the trials, and is above 0 for a parameter "
        "that does nothing.",
    )


def importance(found: Importance, *, caption: str) -> Table:
    rows: list[list[Cell]] = [
        [r.parameter, number(r.value, 0.05), _stability(r.low, r.high), "above" if r.above_null else "below"]
        for r in found.rows
    ]
    line = "" if found.null_line is None else f" Null line at {number(found.null_line, 0.02)}."
    fit = (
        ""
        if found.surrogate_r2 is None
        else f" Cross-validated R squared of the forest: {number(found.surrogate_r2, 0.05)}."
    )
    return table(
        caption,
        ["parameter", "importance", "stability", "null line"],
        rows,
        text=("parameter", "null line"),
        note=f"{found.method}, n = {found.n}.{line}{fit}",
    )


def _stability(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"{number(low, 0.05)} to {number(high, 0.05)}"


def correlations(found: Sequence[Correlation], *, caption: str, secondary: bool = False) -> Table:
    rows = [
        [
            c.a,
            c.b,
            number(c.pearson, 0.01),
            p_value(c.pearson_p),
            number(c.spearman, 0.01),
            p_value(c.spearman_p),
            str(c.n),
        ]
        for c in found
    ]
    columns = ["of", "with", "Pearson", "p of Pearson", "Spearman", "p of Spearman", "n"]
    return table(
        caption,
        columns,
        rows,
        text=("of", "with"),
        secondary=secondary,
        note="Plain p of trials that the sampler chose: too small wherever it concentrated.",
    )


def interactions(found: Sequence[Interaction]) -> Table:
    rows = [[i.a, i.b, p_value(i.p), p_value(i.p_holm), str(i.n), i.why] for i in found]
    return table(
        "Interactions", ["of", "with", "p", "p after Holm", "n", "remark"], rows, text=("of", "with", "remark")
    )


def elites(found: Elites, *, spread: float | None) -> Table:
    rows = []
    for r in found.rows:
        among = "; ".join(f"{text}: {percent(a)} ({percent(b)})" for text, a, b in r.shares[:6])
        span = NONE if r.low is None else f"{label(r.low)} to {label(r.high)}"
        rows.append([r.parameter, span, r.at_edge or "no", among or NONE, number(r.rho, 0.01), p_value(r.rho_p)])
    return table(
        f"The top quarter: {count(found.n, 'trial')} at {number(found.threshold, spread)} or better",
        ["parameter", "range", "at an edge", "share among them (of all)", "Spearman", "p"],
        rows,
        text=("parameter", "range", "at an edge", "share among them (of all)"),
    )


def budgets(found: Budgets) -> Table:
    spread = _budget_spread(found)
    rows = [
        [
            r.label,
            NONE if r.n_params is None else size_range(r.n_params),
            str(r.n),
            interval(r.best, spread),
            number(r.mean, spread),
            r.best.method,
            r.n_params_source,
            params(r.params),
        ]
        for r in found.rows
    ]
    columns = [
        "study",
        "parameters",
        "n",
        "best [95 %]",
        "mean",
        "interval from",
        "size from",
        "configuration of the best",
    ]
    return table(
        "Best of each",
        columns,
        rows,
        text=("study", "parameters", "interval from", "size from", "configuration of the best"),
    )


def _budget_spread(found: Budgets) -> float | None:
    values = [r.best.value for r in found.rows] + [r.mean for r in found.rows]
    return (max(values) - min(values)) / 4 if values else None


def consistency(found: Budgets) -> Table:
    names = [r.label for r in found.rows]
    rows: list[list[Cell]] = [[p, *(label(v.get(n)) for n in names), a] for p, v, a in found.consistency]
    columns = ["parameter", *names, "agree?"]
    return table("Best value of each parameter", columns, rows, text=columns)


def transfer(found: Budgets) -> Table:
    rows = [[a, b, interval(e), str(n)] for a, b, e, n in found.transfer]
    return table(
        "Do they rank configurations alike?",
        ["of", "with", "rank correlation [95 %]", "configurations in both"],
        rows,
        text=("of", "with"),
    )


def baseline(found: Baseline, *, spread: float | None) -> Table:
    rows = [[p.parameter, label(p.value), interval(p.difference, spread), str(p.difference.n)] for p in found.pairs]
    return table(
        "One parameter changed from the baseline",
        ["parameter", "to", "difference [95 %]", "n"],
        rows,
        text=("parameter",),
    )


def attempts(found: Efficiency) -> tuple[Table, ...]:
    outcome = [[o, hours(h), str(n)] for o, h, n in found.by_outcome]
    nodes = [[node, hours(h), str(n), str(failed)] for node, h, n, failed in found.by_node]
    causes = [[cause, node, str(n)] for cause, node, n in found.failures]
    made = []
    if outcome:
        made.append(table("Hours by outcome", ["outcome", "hours", "attempts"], outcome, text=("outcome",)))
    if nodes:
        made.append(table("Hours by node", ["node", "hours", "attempts", "failed"], nodes, text=("node",)))
    if causes:
        made.append(table("Failures by cause and node", ["cause", "node", "times"], causes, text=("cause", "node")))
    return tuple(made)


def gaps(found: Coverage) -> Table:
    rows = [[label(gap.get(name)) for name in found.parameters] for gap in found.gaps]
    missing = max(len(found.gaps), found.cells - found.found)
    return table(
        f"Not tried of {found.label}: {missing} of {found.cells}",
        found.parameters,
        rows,
        secondary=len(rows) > 6,
        note="" if missing == len(rows) else f"The first {len(rows)} of {missing}.",
    )


def without(study: StudyFindings, found: Without) -> Table:
    """The study with and without its suspects."""
    rows = []
    for name, s in (("all", study.summary), (f"without {', '.join(map(str, found.numbers[:8]))}", found.summary)):
        best = None if s.best is None else s.best.value
        rows.append([name, str(s.n), *(number(v, study.summary.std) for v in (best, s.mean, s.median, s.std))])
    return table(
        "With and without the suspect trials", ["trials", "n", "best", "mean", "median", "sd"], rows, text=("trials",)
    )


def fidelity(study: StudyFindings) -> Table:
    rows = [[str(step), interval(e), str(n if e is None else min(n, e.n))] for step, e, n in study.fidelity]
    return table(
        "Does an early step rank the trials as the last one does?", ["step", "rank correlation [95 %]", "n"], rows
    )


def groups(found: TopShares) -> Table:
    rows = [[which, name, f"{n} of {found.k}", percent(base)] for which, name, n, base in found.groups]
    columns = ["studies by", "group", f"of the top {found.k}", "of all"]
    return table("Groups of studies", columns, rows, text=("studies by", "group"))


def side_by_side(all_of_them: Sequence[StudyFindings]) -> Table:
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
        note="Only what the adjusted test carries after Holm gets a word of direction.",
    )


def _verdict(e: Effect) -> str:
    if not e.varied:
        return "not varied"
    if e.p_holm is None and e.p is None:
        return f"cannot tell: {e.why}" if e.why else "cannot tell"
    means = [(r.adjusted.value, r.label) for r in e.rows if r.adjusted is not None and not r.underpowered]
    shown = f"{e.trend} (p = {p_value(e.p_holm if e.p_holm is not None else e.p)})".replace("= <", "<")
    return f"{shown}, means {number(min(means)[0])} to {number(max(means)[0])}" if e.trend in FOUND and means else shown


def pooled(found: Pooled, *, spread: float | None) -> tuple[Table, ...]:
    return tuple(
        effect(e, spread=spread, caption=f"{e.parameter}, all studies in one heap", top_k=True)
        for e in found.effects
        if e.rows
    )
