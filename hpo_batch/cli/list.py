"""``hpo-batch list``: the studies in the logs directory."""

from __future__ import annotations

from pathlib import Path

import click

from hpo_batch.cli.options import logs_root, root_option
from hpo_batch.text.lines import one_line


@click.command(name="list")
@root_option
def command(root: Path | None) -> int:
    """List the studies with their trials and best values."""
    from hpo_batch.errors import Exit, HpoBatchError
    from hpo_batch.journal.decode import isolated
    from hpo_batch.monitor.reader import load_state
    from hpo_batch.monitor.status import best_trial
    from hpo_batch.store.home import all_homes, closed_folders

    folder = logs_root(root)
    click.echo(f"studies in {folder}", err=True)
    code: int = Exit.OK
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
    closed = closed_folders(folder)
    if closed:
        click.echo(f"no permission to look into {', '.join(one_line(path.name) for path in closed)}", err=True)
    return code
