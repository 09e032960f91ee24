"""``hpo-batch report``: what the trials show, how certain it is, and what to do next, as one folder of documents."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo_batch.cli.options import FINITE, logs_root, root_option
from hpo_batch.cli.sources import exit_code, read_sources, source_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from hpo_batch.findings.known import Known
    from hpo_batch.results.table import TrialsTable


def known_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add ``--n-eval --n-pos --baseline --seed``; the command gets ``known`` (facts beyond the trials) and ``seed``."""
    seed = click.option("--seed", type=int, default=0, help="Seed of resampling and forests [default: 0].")
    return facts_options(seed(command))


def facts_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add ``--n-eval --n-pos --baseline``; the command gets ``known``, facts beyond the trials."""

    @functools.wraps(command)
    def with_known(*, n_eval: int | None, n_pos: int | None, baseline: float | None, **arguments: Any) -> int:
        from hpo_batch.findings.known import Known

        return command(known=Known(n_eval=n_eval, n_pos=n_pos, baseline=baseline), **arguments)

    decorated: Callable[..., int] = with_known
    for decorate in reversed(
        (
            click.option(
                "--n-eval", type=click.IntRange(min=1), help="Number of cases that the metric is computed on."
            ),
            click.option(
                "--n-pos", type=click.IntRange(min=1), help="Number of positive cases among them, for an AUC."
            ),
            click.option("--baseline", type=FINITE, metavar="VALUE", help="The metric of the baseline."),
        )
    ):
        decorated = decorate(decorated)
    return decorated


@click.command(name="report")
@source_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Output folder [default: 'report' in the study's folder for a single study, else './report'].",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=60,
    help="Number of best trials whose shares are compared [default: 60].",
)
@click.option("--json", "as_json", is_flag=True, help="Print report.json (docs/report-json.md), and write nothing.")
@known_options
@root_option
def command(
    output: Path | None, top: int, as_json: bool, known: Known, seed: int, root: Path | None, **source_arguments: Any
) -> int:
    """Write a report on the trials of each SOURCE (default: the newest study), with the uncertainty of every number.

    The folder gets report.html (one file, works offline), report.md, report.json (every number), tables.tex and figures
    as SVG. SOURCE is the same as for 'collect'; several sources are compared.
    """
    if as_json and output is not None:
        raise click.UsageError("--json prints the report and writes nothing: leave -o out")
    # before importing the analysis libraries: memory peaks while a large study is read
    tables = read_sources(**source_arguments, root=logs_root(root), reports=True)

    from hpo_batch.findings.report import report, write
    from hpo_batch.results.output_file import is_in_shared_study
    from hpo_batch.store.sharing import umask_for

    made = report(tables, known=known, top=top, seed=seed)
    if as_json:
        click.echo(made.text("json"), nl=False)
        return exit_code(tables)
    folder = output if output is not None else _folder(tables)
    # in a shared study the group must be able to replace the report
    with umask_for(shared=is_in_shared_study(folder.absolute())):
        write(made, folder, is_named=output is not None)
    click.echo((folder / "report.html").resolve())
    for line in made.document.headlines:
        click.echo(line, err=True)
    return exit_code(tables)


def _folder(tables: tuple[TrialsTable, ...]) -> Path:
    """The folder inside the study's directory for a single writable study, else ``./report``."""
    homes = {table.home for table in tables}
    if len(homes) > 1:  # budgets are folders in the study's directory
        homes = {table.home.parent if table.home is not None and "/" in table.source else None for table in tables}
    home = homes.pop() if len(homes) == 1 else None
    # who may only read the study gets the report in the current directory
    return home / "report" if home is not None and os.access(home, os.W_OK) else Path("report")
