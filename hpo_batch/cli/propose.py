"""``hpo-batch propose``: write a sweep of supplementary trials around the best one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo_batch.cli.confirm import finish, folder_of, next_options, one_table
from hpo_batch.cli.options import logs_root
from hpo_batch.errors import UserError

if TYPE_CHECKING:
    from hpo_batch.findings.known import Known


@click.command(name="propose")
@click.argument("study")
@click.argument("others", nargs=-1, metavar="[OTHER ...]")
@click.option("--seeds", type=click.IntRange(min=1, max=100), help="Seeds for each trial [default: as effects need].")
@click.option(
    "--check",
    "checked",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Only say which [[trial]]s of this sweep are listed twice or ran before.",
)
@next_options
def command(
    study: str,
    others: tuple[str, ...],
    seeds: int | None,
    checked: Path | None,
    sweep: Path | None,
    output: Path | None,
    dry_run: bool,
    unfinished: bool,
    known: Known,
    seed: int,
    root: Path | None,
    **columns: Any,
) -> int:
    """Write a sweep of supplementary trials around the best one of STUDY: values between and beyond those tried.

    Each set has a hypothesis, and the effect that is predicted beside the one that it can tell from chance. Trials of
    the OTHER studies are not repeated either.
    """
    folder, logs = folder_of(output), logs_root(root)
    tables = [one_table(one, sweep=sweep, root=logs, **columns) for one in (study, *others)]

    from hpo_batch.next.parent import parent_of
    from hpo_batch.next.propose import propose
    from hpo_batch.next.ran import repeated
    from hpo_batch.text.numbers import count

    if checked is not None:
        from hpo_batch.sweep.load import load

        sweeps = load(checked)
        if len(sweeps) > 1:
            raise UserError(f"'{checked}' has several budgets: --check takes a sweep without")
        lines = repeated(sweeps[0], tables)
        click.echo("\n".join([*lines, f"{len(sweeps[0].trial)} [[trial]]s, {len(lines)} of them repeat another one"]))
        return 0
    made = propose(
        parent_of(tables[0], unfinished=unfinished, known=known),
        others=tables[1:],
        seeds=seeds,
        root=logs,
        near=folder,
    )
    return finish(
        made.text,
        path=output if output is not None else Path(f"{made.sweep.study.name}.toml"),
        dry_run=dry_run,
        said=[f"{one.name}: {count(len(one.trials), 'trial')}. {one.lines[-1]}" for one in made.sets],
        name=made.sweep.study.name,
    )
