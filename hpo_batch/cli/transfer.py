"""``hpo-batch transfer``: write a sweep that trains the best configurations of each budget on all of them."""

from __future__ import annotations

from pathlib import Path

import click

from hpo_batch.cli.confirm import finish, folder_of, output_options
from hpo_batch.cli.options import logs_root, root_option
from hpo_batch.cli.sources import read_sources
from hpo_batch.errors import UserError


@click.command(name="transfer")
@click.argument("studies", nargs=-1, required=True, metavar="STUDY STUDY ...")
@click.option("--top", type=click.IntRange(min=1, max=100), default=3, help="Configurations of each [default: 3].")
@click.option("--seeds", type=click.IntRange(min=1, max=100), default=3, help="New seeds for each [default: 3].")
@output_options
@root_option
def command(
    studies: tuple[str, ...],
    top: int,
    seeds: int,
    output: Path | None,
    dry_run: bool,
    unfinished: bool,
    root: Path | None,
) -> int:
    """Write a sweep that trains the best configurations of each STUDY in all of them, with the same new seeds.

    Each STUDY stands for a budget: the fixed parameters and the settings of the objective in which the studies differ.
    A name of several budgets stands for all of them. Nothing is overwritten. If nothing varies between two
    studies, nothing is written, and the exit code is 5.

    After 'submit', 'report' shows a matrix, and what a budget loses with configurations of another.
    """
    folder, logs = folder_of(output), logs_root(root)
    tables = read_sources(
        sources=studies, files=(), sweep=None, root=logs, maps=(), value=(), direction=(), params=(), ignore=()
    )

    from hpo_batch.next.parent import parent_of
    from hpo_batch.next.transfer import transfer
    from hpo_batch.sweep.factors import factor_text

    if tables[0].left_out:
        raise UserError("a STUDY could not be read: a matrix has all that were named, or is not made")
    for table in tables:
        if table.sweep is None:
            raise UserError(f"'{table.source}' is no study of hpo-batch, and does not say how its trials are run")
    parents = [parent_of(table, unfinished=unfinished) for table in tables]
    made = transfer(parents, top=top, seeds=seeds, root=logs, near=folder)
    labels = [sweep.budget or "" for sweep in made.sweeps]
    return finish(
        made.text,
        path=output if output is not None else Path(f"{made.name}.toml"),
        dry_run=dry_run,
        said=[
            *(f"note: {note}" for note in made.notes),
            *(
                f"varies: {factor_text(factor.name, dict(zip(labels, factor.values, strict=True)))}"
                for factor in made.factors
            ),
            *(f"left out: {one.text}" for one in made.left_out),
        ],
        name=made.name,
    )
