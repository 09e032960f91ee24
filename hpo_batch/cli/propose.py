"""``hpo-batch propose``: write a sweep of supplementary trials around the best one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.confirm import NextOptions, finish, next_options
from hpo_batch.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpo_batch.results.table import TrialsTable


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
def command(study: str, others: tuple[str, ...], seeds: int | None, checked: Path | None, options: NextOptions) -> int:
    """Write a sweep of supplementary trials around the best one of STUDY: values between and beyond those tried.

    Each set has a hypothesis, and the effect that is predicted beside the one that it can tell from chance. Trials of
    the OTHER studies are not repeated either.
    """
    folder = options.folder
    tables = [options.table(one) for one in (study, *others)]
    if checked is not None:
        return _repeats_of(checked, tables)

    from hpo_batch.next.parent import parent_of
    from hpo_batch.next.propose import propose
    from hpo_batch.text.numbers import count

    parent = parent_of(tables[0], unfinished=options.unfinished, known=options.known)
    made = propose(parent, others=tables[1:], seeds=seeds, root=options.root, near=folder, seed=options.seed)
    name = made.sweep.study.name
    said = [
        f"{one.name}: {count(len(one.trials), 'trial')}. {one.lines[-1]}" if one.contrasts else one.lines[0]
        for one in made.sets
    ]
    return finish(
        made.text,
        decisions=made.decisions_json,
        path=options.path(name),
        dry_run=options.dry_run,
        said=said,
        name=name,
    )


def _repeats_of(file: Path, tables: Sequence[TrialsTable]) -> int:
    """Say which ``[[trial]]``s of a sweep are listed twice or ran before."""
    from hpo_batch.next.ran import repeated
    from hpo_batch.sweep.load import load

    sweeps = load(file)
    if len(sweeps) > 1:
        raise UserError(f"'{file}' has several budgets: --check takes a sweep without")
    lines = repeated(sweeps[0], tables)
    click.echo("\n".join([*lines, f"{len(sweeps[0].trial)} [[trial]]s, {len(lines)} of them repeat another one"]))
    return 0
