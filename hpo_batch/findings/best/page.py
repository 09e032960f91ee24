"""What ran, and what came out best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from hpo_batch.document.blocks import Part, Said, Section, Table, Text
from hpo_batch.document.tables import table
from hpo_batch.findings.best.numbers import RepeatedConfiguration, TopTrial
from hpo_batch.findings.phrases import configuration_text
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, make_section, per_study
from hpo_batch.records import Answer, Value
from hpo_batch.text.numbers import NONE, count, label, number

MOST_IN_CELL: Final = 20
MOST_REPEATED: Final = 6


def section(page: Page) -> Section | None:
    parts = per_study(page.findings, _blocks)
    if len(page.findings.studies) > 1:
        parts = [Part(heading="", blocks=(studies_table(page.findings.studies),)), *parts]
    elif not page.findings.studies:
        parts = [Part(heading="", blocks=(Said(answer=Answer.CANNOT_TELL, text="There is no study to report on."),))]
    return make_section(
        "results",
        "Results",
        "What ran, and what came out best?",
        parts,
        "The best of many is partly luck. Ranks within the noise are no ranks.",
    )


def _blocks(study: StudyFindings) -> Blocks:
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
        blocks += _front(study)
    if s.top:
        fine = _fine(s.std)
        shape = ", ".join(
            f"{name} {number(v, fine)}" for name, v in (("mean", s.mean), ("median", s.median), ("sd", s.std))
        )
        caption = f"Best configurations of {study.label}"
        more = f" All {s.n} complete trials: {shape}."
        blocks.append(top_table(s.top, spread=s.std, caption=caption, metric=study.metric, more=more))
    return blocks


def _front(study: StudyFindings) -> Blocks:
    caption = f"The Pareto front of {study.label}"
    text = "There is no single best trial, so nothing that needs one is computed."
    return [Text(text=text), top_table(study.front, spread=None, caption=caption, metric=study.metric)]


def studies_table(all_of_them: Sequence[StudyFindings]) -> Table:
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


def top_table(trials: Sequence[TopTrial], *, spread: float | None, caption: str, metric: str, more: str = "") -> Table:
    spread = _fine(spread)
    constant, names = _varying([trial.params for trial in trials])
    several = any(t.values for t in trials)
    rows = [
        [f"{t.rank}{' (tie)' if t.tied else ''}", str(t.number)]
        + [number(v, spread) for v in (t.values if several else (t.value,))]
        + [str(t.count), *(label(t.params.get(name)) for name in names)]
        for t in trials
    ]
    alike = f"The same in all: {configuration_text(constant)}." if constant else ""
    columns = ["rank", "trial", *(metric.split(", ") if several else [metric]), "ran", *names]
    rows = [row for row in rows if len(row) == len(columns)]
    texts = {name for name in names if any(isinstance(trial.params.get(name), str) for trial in trials)}
    return table(
        caption, columns, rows, text=[*texts], note=f"Distinct configurations; ran: how often. {alike}{more}".strip()
    )


def _fine(spread: float | None) -> float | None:
    """Digits for single values and means: what lies close together must not look tied."""
    return None if spread is None else spread / 3


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


def repeated_table(repeated: Sequence[RepeatedConfiguration], *, spread: float | None, caption: str) -> Table:
    rows = [
        [
            str(r.count),
            _listed([str(n) for n in r.numbers]),
            _listed(list(dict.fromkeys(number(v, spread) for v in r.values))),
            configuration_text(r.params),
        ]
        for r in repeated
    ]
    columns = ["ran", "trials", "values", "configuration"]
    cut = len(rows) - MOST_REPEATED
    note = f"{cut} further ones are in report.json." if cut > 0 else ""
    return table(caption, columns, rows[:MOST_REPEATED], text=columns[1:], secondary=True, note=note)


def _listed(texts: Sequence[str]) -> str:
    """Of a configuration that ran a thousand times a cell names some."""
    more = len(texts) - MOST_IN_CELL
    return ", ".join(texts[:MOST_IN_CELL]) + (f" and {more:,} more" if more > 0 else "")
