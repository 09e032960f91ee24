"""How much of the space was tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hpo_batch.document.blocks import Cell, Section, Table
from hpo_batch.document.tables import table
from hpo_batch.findings.best.page import repeated_table
from hpo_batch.findings.coverage.figure import coverage_figure
from hpo_batch.findings.coverage.numbers import Coverage
from hpo_batch.findings.phrases import spread_of
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, add, make_section, per_study
from hpo_batch.text.numbers import NONE, label, percent


def section(page: Page) -> Section | None:
    """How much was tried, with gaps, pairs of parameters, and what ran more than once."""

    def of(study: StudyFindings) -> Blocks:
        sets = _sets(study)
        blocks = _shares(study)
        blocks += [gaps_table(c) for c in sets if c.gaps and (c.label != "all" or len(sets) == 1)]
        add(
            blocks,
            coverage_figure(
                study.coverage, name=f"coverage-{page.file_names[study.label]}", title=f"Coverage: {study.label}"
            ),
        )
        if study.summary.repeated:
            blocks.append(
                repeated_table(
                    study.summary.repeated, spread=spread_of(study), caption="Configurations that ran more than once"
                )
            )
        return blocks

    return _section(page, of)


def short_section(page: Page) -> Section | None:
    """How much was tried, for a comparison: the shares alone."""
    return _section(page, _shares)


def _section(page: Page, blocks: Callable[[StudyFindings], Blocks]) -> Section | None:
    return make_section(
        "coverage",
        "Coverage",
        "How much of the space was tried?",
        per_study(page.findings, blocks),
        "Few trials in a region may be a sampler's good judgement "
        "or its blindness; coverage alone does not tell which. "
        "Invalid combinations are not counted as gaps.",
    )


def _sets(study: StudyFindings) -> list[Coverage]:
    """Coverage of sets of parameters, without the matrices of pairs."""
    return [c for c in study.coverage if not c.counts]


def _shares(study: StudyFindings) -> Blocks:
    return [coverage_table(_sets(study) or study.coverage)] if study.coverage else []


def coverage_table(coverages: Sequence[Coverage]) -> Table:
    rows: list[list[Cell]] = []
    for c in coverages:
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
            ]
        )
    remarks = dict.fromkeys(c.why for c in coverages if c.why)
    return table(
        "Combinations tried",
        ["of", "tried", "valid", "share", "attainable", "of these", "random trials", "as random?"],
        rows,
        text=("of", "as random?"),
        note="Attainable: as many as there were trials for. Random trials: what as many uniform draws find, 95 % range."
        + "".join(f" {why[0].upper()}{why[1:]}." for why in remarks),
    )


def _expected(c: Coverage) -> str:
    assert c.random is not None
    low, high = c.random.low, c.random.high
    return f"{c.random.value:.1f}" + ("" if low is None or high is None else f" [{low:.0f}, {high:.0f}]")


def gaps_table(coverage: Coverage) -> Table:
    rows = [[label(gap.get(name)) for name in coverage.parameters] for gap in coverage.gaps]
    missing = max(len(coverage.gaps), coverage.cells - coverage.found)
    return table(
        f"Not tried of {coverage.label}: {missing} of {coverage.cells}",
        coverage.parameters,
        rows,
        paper=True,
        note="" if missing == len(rows) else f"The first {len(rows)} of {missing}.",
    )
