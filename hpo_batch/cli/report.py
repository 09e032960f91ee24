"""``hpo-batch report``: what the trials say, how sure it is, and what to do next, as one folder of documents."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo_batch.cli.options import FINITE, in_shared_study, logs_root, root_option
from hpo_batch.cli.sources import exit_code, read_sources, source_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from hpo_batch.analysis.records import Findings
    from hpo_batch.results.table import TrialsTable


def known_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a person knows beside the trials: ``--n-eval --n-pos --baseline --seed``."""
    for decorate in reversed(
        (
            click.option("--n-eval", type=click.IntRange(min=1), help="Cases that the metric was computed on."),
            click.option("--n-pos", type=click.IntRange(min=1), help="Positive ones among them, for an AUC."),
            click.option("--baseline", type=FINITE, metavar="VALUE", help="The metric of what there was before."),
            click.option("--seed", type=int, default=0, help="For resampling and forests [default: 0]."),
        )
    ):
        command = decorate(command)
    return command


@click.command(name="report")
@source_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The folder [default: 'report' in the study's folder if all is of one study, else './report'].",
)
@click.option("--top", type=click.IntRange(min=1), default=60, help="Whose shares are compared [default: 60].")
@known_options
@root_option
def command(
    output: Path | None,
    top: int,
    n_eval: int | None,
    n_pos: int | None,
    baseline: float | None,
    seed: int,
    root: Path | None,
    **given: Any,
) -> int:
    """Write a report of the trials of each SOURCE (left out: the newest study), with the uncertainty of every number.

    The folder gets report.html (one file, works offline), report.md, report.json (every number), tables.tex and figures
    as SVG. SOURCE is what 'collect' takes; several are compared with each other.
    """
    from hpo_batch import __version__

    # before the libraries of the analysis are loaded: reading a large study is where memory is highest
    tables = read_sources(**given, root=logs_root(root), reports=True)

    from hpo_batch.report.document import report
    from hpo_batch.report.trials import drawn
    from hpo_batch.report.write import write
    from hpo_batch.store.sharing import umask_for

    findings = analysed(tables, top=top, n_eval=n_eval, n_pos=n_pos, baseline=baseline, seed=seed)
    folder = output if output is not None else _folder(tables)
    trials = [
        drawn(table, label_=study.label)
        for table, study in zip(tables, findings.studies, strict=True)
        if len(table.metrics) < 2
    ]
    document = report(findings, trials, version=__version__)
    with umask_for(shared=in_shared_study(folder.absolute())):
        write(
            folder,
            document,
            findings,
            version=__version__,
            sources=tuple(table.source for table in tables),
            is_named=output is not None,
        )
    click.echo((folder / "report.html").resolve())
    for said in document.believe[:3]:
        click.echo(f"{said.answer.value}: {f'{said.study}: ' if said.study else ''}{said.text}", err=True)
    return exit_code(tables)


def analysed(
    tables: tuple[TrialsTable, ...],
    *,
    n_eval: int | None,
    n_pos: int | None,
    baseline: float | None,
    seed: int,
    top: int = 60,
) -> Findings:
    """The findings of the tables, with what the options tell."""
    from hpo_batch.analysis.analyse import Known, analyse
    from hpo_batch.errors import UserError

    if n_pos is not None and (n_eval is None or n_pos >= n_eval):
        raise UserError("--n-pos counts some of the cases of --n-eval: give both, the first smaller")
    return analyse(tables, seed=seed, top=top, known=Known(n_eval=n_eval, n_pos=n_pos, baseline=baseline))


def _folder(tables: tuple[TrialsTable, ...]) -> Path:
    """Inside the study's own directory, or that of its budgets, if all is of one study and it may be written to."""
    homes = {table.home for table in tables}
    if len(homes) > 1:  # budgets lie beside each other in the study's directory
        homes = {table.home.parent if table.home is not None and "/" in table.source else None for table in tables}
    home = homes.pop() if len(homes) == 1 else None
    return home / "report" if home is not None and os.access(home, os.W_OK) else Path("report")
