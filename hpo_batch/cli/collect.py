"""``hpo-batch collect``: the trials of one or more studies as a table, on stdout or in a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import hint, logs_root, root_option, study_homes
from hpo_batch.errors import StorageError, UserError
from hpo_batch.store.home import StudyHome

if TYPE_CHECKING:
    import pandas as pd

    from hpo_batch.results.table import TrialsTable


@click.command(name="collect")
@click.argument("sources", nargs=-1, metavar="[STUDY ...]")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "json", "md", "latex", "parquet"]),
    help="How to write it [default: the output file's suffix, else a table].",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file; its suffix is the format."
)
@click.option("--top", type=click.IntRange(min=1), help="Only the best N trials.")
@click.option("--best", is_flag=True, help="Only the best trial: the same as --top 1.")
@click.option("--filter", "where", metavar="EXPR", help='Only trials for which it holds: "n_layers > 4", failed.')
@click.option("--attempts", is_flag=True, help="One row per attempt instead of one per trial.")
@root_option
def command(
    sources: tuple[str, ...],
    format_: str | None,
    output: Path | None,
    top: int | None,
    best: bool,
    where: str | None,
    attempts: bool,
    root: Path | None,
) -> None:
    """Make a table of the trials of each STUDY (left out: the newest).

    Files hold every column, tables for people the telling ones.
    """
    import pandas as pd

    from hpo_batch.results.formats import format_of, render

    chosen = format_of(output, format_)
    folder = logs_root(root)
    homes = [home for source in sources or (None,) for home in study_homes(source, folder)]
    frames = []
    for home in homes:
        table = read_table(home, attempts=attempts)
        summary = _summary(home, table)
        click.echo(summary, err=True)
        frame = _rows(table, where=where, top=1 if best else top, attempts=attempts, for_people=_is_for_people(chosen))
        if len(homes) > 1:
            frame.insert(0, "study", home.name)
        frames.append(frame)
    content = render(frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True), chosen)
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        _write(output, content, homes)
        click.echo(f"wrote {output.resolve()}", err=True)


def read_table(home: StudyHome, *, attempts: bool = False) -> TrialsTable:
    from hpo_batch.monitor.status import load_state
    from hpo_batch.results.table import trials_table

    return trials_table(load_state(home, metrics=True), source=home.name, attempts=attempts)


def print_summary(home: StudyHome, *, top: int) -> None:
    """The summary line on stderr and the best trials on stdout."""
    from hpo_batch.results.formats import render

    table = read_table(home)
    click.echo(_summary(home, table), err=True)
    frame = _rows(table, where=None, top=top, attempts=False, for_people=True)
    click.echo(render(frame, "table").decode(), nl=False)
    if len(table.trials) > len(frame):
        click.echo(f"({len(table.trials) - len(frame)} more trials: {hint('collect', home.name)})", err=True)


def _rows(table: TrialsTable, *, where: str | None, top: int | None, attempts: bool, for_people: bool) -> pd.DataFrame:
    from dataclasses import replace

    from hpo_batch.results.select import filtered
    from hpo_batch.results.select import for_people as telling

    chosen = table.trials if where is None else filtered(table.trials, where)
    if attempts:
        return table.attempts[table.attempts["number"].isin(chosen["number"])]
    narrowed = replace(table, trials=chosen)
    if top is not None:
        if len(table.metrics) > 1:
            raise UserError("with several metrics there is no single best trial: leave --top and --best out")
        complete = replace(table, trials=chosen[chosen["state"] == "COMPLETE"])
        chosen = (complete if where is None else narrowed).best_first(top)
    elif for_people:
        chosen = narrowed.best_first()
    return telling(table, chosen) if for_people else chosen


def _is_for_people(format: str) -> bool:
    return format in ("table", "md", "latex")


def _summary(home: StudyHome, table: TrialsTable) -> str:
    counts = table.counts
    parts = [f"{n} {word}" for n, word in ((counts.pruned, "pruned"), (counts.failed, "failed")) if n]
    parts += [f"{counts.running} running"] if counts.running else []
    more = f" ({', '.join(parts)})" if parts else ""
    return f"{home.name}: {counts.finished} of {counts.target} trials finished{more}"


def _write(path: Path, content: bytes, homes: Sequence[StudyHome]) -> None:
    from hpo_batch.files import write_atomic
    from hpo_batch.store.sharing import umask_for

    path = path.absolute()
    inside = [home for home in homes if path.parent.resolve().is_relative_to(home.path)]
    try:
        with umask_for(shared=any(_is_shared(home) for home in inside)):
            write_atomic(path, content)
    except OSError as error:
        raise StorageError(f"cannot write '{path}': {error.strerror}; -o takes any file that you may write") from error


def _is_shared(home: StudyHome) -> bool:
    from hpo_batch.study.create import read_revision, read_state

    state = read_state(home)
    return bool(state.revision) and read_revision(home, state).study.shared
