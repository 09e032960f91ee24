"""What ran, and what came out best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from hpo_batch.document.blocks import Part, Said, Section, Table, Text
from hpo_batch.document.tables import table
from hpo_batch.findings.best.figure import history_figure
from hpo_batch.findings.best.numbers import RepeatedConfiguration, TopTrial
from hpo_batch.findings.phrases import configuration_text
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, add, make_section, per_study
from hpo_batch.records import Answer, Value
from hpo_batch.text.numbers import NONE, count, label, number

MOST_IN_CELL: Final = 100


def section(page: Page) -> Section | None:
    parts = per_study(page.findings, lambda study: _blocks(study, page.file_names[study.label]))
    if page.findings.studies:
        parts = [Part(heading="", blocks=(studies_table(page.findings.studies),)), *parts]
    else:
        parts = [Part(heading="", blocks=(Said(answer=Answer.CANNOT_TELL, text="There is no study to report on."),))]
    return make_section(
        "results",
        "Results",
        "What ran, and what came out best?",
        parts,
        "The best of many is partly luck: its value would be worse if it were trained again with another seed. "
        "Ranks within the noise are no ranks.",
    )


def _blocks(study: StudyFindings, file_name: str) -> Blocks:
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
        blocks.append(
            top_table(s.top, spread=s.std, caption=f"Best configurations of {study.label}", metric=study.metric)
        )
    if study.curse is not None:
        blocks.append(
            Said(
                answer=Answer.CANNOT_TELL if study.curse.held_out is None else Answer.YES,
                question="Is it known how good the best really is?",
                text=study.curse.text,
            )
        )
    add(blocks, history_figure(study, name=f"history-{file_name}"))
    return blocks


def _front(study: StudyFindings) -> Blocks:
    text = (
        f"Several metrics: {count(len(study.front), 'trial')} that no other dominates. "
        "There is no single best one, so nothing that needs one is computed."
    )
    caption = f"The Pareto front of {study.label}"
    return [
        Said(answer=Answer.YES, text=text),
        top_table(study.front, spread=None, caption=caption, metric=study.metric),
    ]


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


def top_table(trials: Sequence[TopTrial], *, spread: float | None, caption: str, metric: str) -> Table:
    spread = _fine(spread)
    constant, names = _varying([trial.params for trial in trials])
    several = any(t.values for t in trials)
    rows = [
        [f"{t.rank}{' (tie)' if t.tied else ''}", str(t.number)]
        + [number(v, spread) for v in (t.values if several else (t.value,))]
        + [str(t.count), *(label(t.params.get(name)) for name in names)]
        for t in trials
    ]
    alike = f"Alike in all: {configuration_text(constant)}." if constant else ""
    columns = ["rank", "trial", *(metric.split(", ") if several else [metric]), "ran", *names]
    rows = [row for row in rows if len(row) == len(columns)]
    return table(caption, columns, rows, note=f"Distinct configurations; ran: how often. {alike}".strip())


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
    return table(caption, columns, rows, text=columns[1:], secondary=len(rows) > 3)


def _listed(texts: Sequence[str]) -> str:
    """Of a configuration that ran a thousand times a cell names some."""
    more = len(texts) - MOST_IN_CELL
    return ", ".join(texts[:MOST_IN_CELL]) + (f" and {more:,} more" if more > 0 else "")
