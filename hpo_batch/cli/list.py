"""``hpo-batch list``: the studies in the logs directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hpo_batch.cli.options import logs_root, root_option
from hpo_batch.text.lines import one_line

if TYPE_CHECKING:
    from hpo_batch.store.home import StudyHome

WIDTH: Final = 32
"""columns of names, with what they are indented by"""
MOST_INDENTED: Final = 20
"""levels; a line that is longer goes straight down"""


@click.command(name="list")
@click.option("--tree", is_flag=True, help="Each study below the one that it continues, with what changed.")
@root_option
def command(tree: bool, root: Path | None) -> int:
    """List the studies with their trials and best values.

    With --tree: from the first study to today, with best values, hours, and what changed from one to the next.
    """
    from hpo_batch.errors import Exit, HpoBatchError
    from hpo_batch.journal.decode import isolated
    from hpo_batch.monitor.reader import load_state
    from hpo_batch.monitor.status import best_trial
    from hpo_batch.store.home import all_homes, closed_folders

    folder = logs_root(root)
    click.echo(f"studies in {folder}", err=True)
    if tree:
        code: int = _print_tree(list(all_homes(folder)))
        _tell_closed(closed_folders(folder))
        return code
    code = Exit.OK
    for home in all_homes(folder):
        # one unreadable study must not hide the others
        try:
            with isolated(home.name):
                state = load_state(home)
                counts, best = state.counts(), best_trial(state)
                value = f"best {best.values[0]:.6g}" if best is not None and best.values else ""
        except HpoBatchError as error:
            click.echo(f"{one_line(home.name):<32}  {one_line(f'unreadable: {error}')}")
            code = error.exit_code
            continue
        failed = f", {counts.failed} failed" if counts.failed else ""
        of = f"of {counts.target:<6}" if counts.target else " " * 9
        click.echo(f"{one_line(home.name):<32}  {counts.finished:>6} {of} finished{failed}  {value}".rstrip())
    _tell_closed(closed_folders(folder))
    return code


def _tell_closed(closed: Sequence[Path]) -> None:
    if closed:
        click.echo(f"no permission to look into {', '.join(one_line(path.name) for path in closed)}", err=True)


def _print_tree(homes: Sequence[StudyHome]) -> int:
    """Each study on a line, what it does otherwise than the one above it on lines of their own."""
    from hpo_batch.errors import Exit
    from hpo_batch.monitor.lineage import tree
    from hpo_batch.text.numbers import count, duration

    code = Exit.OK
    for branch in tree(homes):
        link, indent = branch.link, "  " * min(branch.depth, MOST_INDENTED)
        parts = [f"{indent}{one_line(link.study)}".ljust(WIDTH)]
        if link.by is not None:
            parts.append(f"by {link.by}")
        if not link.unreadable:
            parts.append(count(link.finished, "trial") + (f" ({link.failed} failed)" if link.failed else ""))
        if link.best is not None:
            parts.append(f"best {link.best:.6g}")
        if link.hours is not None:
            parts.append(f"{duration(3600 * link.hours)}{' of GPUs' if link.unit == 'GPU' else ''}")
        click.echo("  ".join(parts).rstrip())
        for line in (*link.changes, *([link.problem] if link.problem else [])):
            click.echo(f"{indent}    {one_line(line)}")
        if link.unreadable:
            code = Exit.STORAGE
    return code
