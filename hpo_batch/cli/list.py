"""``hpo-batch list``: the studies in the logs directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
@click.option("--json", "as_json", is_flag=True, help="Print JSON, described in docs/status-json.md.")
@root_option
def command(tree: bool, as_json: bool, root: Path | None) -> int:
    """List the studies with their trials and best values.

    With --tree: from the first study to today, with best values, hours, and what changed from one to the next.
    """
    from hpo_batch.store.home import all_homes, closed_folders

    folder = logs_root(root)
    click.echo(f"studies in {folder}", err=True)
    code = (_list_tree if tree else _list)(list(all_homes(folder)), as_json=as_json)
    closed = closed_folders(folder)
    if closed:
        click.echo(f"no permission to look into {', '.join(one_line(path.name) for path in closed)}", err=True)
    return code


def _list(homes: Sequence[StudyHome], *, as_json: bool) -> int:
    from hpo_batch.errors import Exit, HpoBatchError
    from hpo_batch.files import shown_json
    from hpo_batch.journal.decode import isolated
    from hpo_batch.monitor.listed import listed, unreadable
    from hpo_batch.monitor.reader import load_state

    code: int = Exit.OK
    rows: list[dict[str, Any]] = []
    for home in homes:
        # one unreadable study must not hide the others
        try:
            with isolated(home.name):
                row = listed(home, load_state(home))
        except HpoBatchError as error:
            rows.append(unreadable(home, error))
            code = error.exit_code
            if not as_json:
                click.echo(f"{one_line(home.name):<32}  {one_line(f'unreadable: {error}')}")
            continue
        rows.append(row.as_json())
        if not as_json:
            failed = f", {row.counts.failed} failed" if row.counts.failed else ""
            of = f"of {row.counts.target:<6}" if row.counts.target else " " * 9
            value = "" if row.best is None or not row.best.values else f"best {row.best.values[0]:.6g}"
            line = f"{one_line(home.name):<32}  {row.counts.finished:>6} {of} finished{failed}  {value}"
            click.echo(line.rstrip())
    if as_json:
        click.echo(shown_json(rows, indent=2))
    return code


def _list_tree(homes: Sequence[StudyHome], *, as_json: bool) -> int:
    """Each study on a line, what it does otherwise than the one above it on lines of their own."""
    from hpo_batch.errors import Exit
    from hpo_batch.files import shown_json
    from hpo_batch.monitor.lineage import tree
    from hpo_batch.text.numbers import count, duration

    branches = list(tree(homes))
    code: int = Exit.STORAGE if any(branch.link.unreadable for branch in branches) else Exit.OK
    if as_json:
        click.echo(shown_json([branch.as_json() for branch in branches], indent=2))
        return code
    for branch in branches:
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
    return code
