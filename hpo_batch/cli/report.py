"""``hpo-batch report``: what the trials say, how sure it is, and what to do next, as one folder of documents."""

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
    """``--n-eval --n-pos --baseline --seed``; the command gets ``known``, what a person knows beside the trials, and
    ``seed``."""

    @functools.wraps(command)
    def with_known(*, n_eval: int | None, n_pos: int | None, baseline: float | None, **arguments: Any) -> int:
        from hpo_batch.findings.known import Known

        return command(known=Known(n_eval=n_eval, n_pos=n_pos, baseline=baseline), **arguments)

    decorated: Callable[..., int] = with_known
    for decorate in reversed(
        (
            click.option("--n-eval", type=click.IntRange(min=1), help="Cases that the metric was computed on."),
            click.option("--n-pos", type=click.IntRange(min=1), help="Positive ones among them, for an AUC."),
            click.option("--baseline", type=FINITE, metavar="VALUE", help="The metric of what there was before."),
            click.option("--seed", type=int, default=0, help="For resampling and forests [default: 0]."),
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
    help="The folder [default: 'report' in the study's folder if all is of one study, else './report'].",
)
@click.option("--top", type=click.IntRange(min=1), default=60, help="Whose shares are compared [default: 60].")
@known_options
@root_option
def command(output: Path | None, top: int, known: Known, seed: int, root: Path | None, **source_arguments: Any) -> int:
    """Write a report of the trials of each SOURCE (left out: the newest study), with the uncertainty of every number.

    The folder gets report.html (one file, works offline), report.md, report.json (every number), tables.tex and figures
    as SVG. SOURCE is what 'collect' takes; several are compared with each other.
    """
    # before the libraries of the analysis are loaded: reading a large study is where memory is highest
    tables = read_sources(**source_arguments, root=logs_root(root), reports=True)

    from hpo_batch.findings.report import report, write
    from hpo_batch.results.output_file import is_in_shared_study
    from hpo_batch.store.sharing import umask_for

    made = report(tables, known=known, top=top, seed=seed)
    folder = output if output is not None else _folder(tables)
    with umask_for(shared=is_in_shared_study(folder.absolute())):
        write(made, folder, is_named=output is not None)
    click.echo((folder / "report.html").resolve())
    for said in made.document.believe[:3]:
        click.echo(f"{said.answer.value}: {f'{said.study}: ' if said.study else ''}{said.text}", err=True)
    return exit_code(tables)


def _folder(tables: tuple[TrialsTable, ...]) -> Path:
    """Inside the study's own directory, or that of its budgets, if all is of one study and it may be written to."""
    homes = {table.home for table in tables}
    if len(homes) > 1:  # budgets lie beside each other in the study's directory
        homes = {table.home.parent if table.home is not None and "/" in table.source else None for table in tables}
    home = homes.pop() if len(homes) == 1 else None
    return home / "report" if home is not None and os.access(home, os.W_OK) else Path("report")
