"""``hpo-batch collect``: the trials of studies, files and storages as a table, on stdout or in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo_batch.cli.options import hint, in_shared_study, logs_root, root_option, study_homes
from hpo_batch.cli.sources import OPTIONS, exit_code, read_sources, source_options
from hpo_batch.cli.terminal import print_bytes
from hpo_batch.errors import HpoBatchError, StorageError, UserError
from hpo_batch.store.home import StudyHome

if TYPE_CHECKING:
    import pandas as pd

    from hpo_batch.records import Counts
    from hpo_batch.results.table import TrialsTable


@click.command(name="collect")
@source_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "json", "md", "latex", "parquet"]),
    help="How to write it [default: the output file's suffix, else a table].",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file; its suffix is the format."
)
@click.option("--top", type=click.IntRange(min=1), help="Only the best N configurations, each once with its count.")
@click.option("--best", is_flag=True, help="Only the best one: --top 1; with several metrics the Pareto front.")
@click.option("--filter", "where", metavar="EXPR", help='Only trials for which it holds: "n_layers > 4", failed.')
@click.option(
    "--group", metavar="COLUMN", help="One row per value: budget, study, n_layers; with --top the best of each."
)
@click.option("--attempts", is_flag=True, help="One row per attempt instead of one per trial.")
@click.option("--accounting", is_flag=True, help="With --attempts: what SLURM says of them, by one sacct.")
@root_option
def command(
    format_: str | None,
    output: Path | None,
    top: int | None,
    best: bool,
    where: str | None,
    group: str | None,
    attempts: bool,
    accounting: bool,
    root: Path | None,
    **given: Any,
) -> int:
    """Make a table of the trials of each SOURCE (left out: the newest study).

    SOURCE is a study's name, directory or TOML, a CSV, JSON or Parquet file, a folder of Ray Tune, or an Optuna
    storage: a SQLite file, a journal, a URL; '#NAME' behind it picks one of its studies. What is assumed of a file is
    told on stderr. Files that are written hold every column, tables for people the telling ones.
    """
    from hpo_batch.results.output_format import format_of
    from hpo_batch.store.scan import no_collections

    chosen = format_of(output, format_)
    if attempts and (top is not None or best or group):
        raise UserError("--attempts lists attempts: --top, --best and --group are for trials")
    if accounting and not attempts:
        raise UserError("--accounting is about attempts: add --attempts")
    folder = logs_root(root)
    if not given["sources"] and not given["files"]:
        given["sources"] = tuple(str(home.path) for home in study_homes(None, folder))
    chooses = top is not None or best or group is not None or where is not None or attempts
    home = None if chosen != "csv" or chooses else _only_study(given, folder)
    with no_collections():  # all that is read stays to the end
        tables: tuple[TrialsTable, ...] = ()
        if home is not None:
            content = _csv(home)
        else:
            from hpo_batch.results.formats import render

            tables = read_sources(
                **given, root=folder, reports=False, attempts=attempts, frozen=False, accounting=accounting
            )
            for table in tables:
                click.echo(_summary(table.label, table.counts), err=True)
            frame = _collected(tables, top=top, best=best, where=where, group=group, attempts=attempts,
                               for_people=_is_for_people(chosen))  # fmt: skip
            content = render(frame, chosen)
    if output is None:
        print_bytes(content)
    else:
        _write(output, content)
        click.echo(f"wrote {output.resolve()}", err=True)
    return exit_code(tables)


def _only_study(given: Mapping[str, Any], root: Path) -> StudyHome | None:
    """The study, where SOURCE is one and nothing else was said; None also where something is wrong with it."""
    if len(given["sources"]) != 1 or any(given[name] for name in OPTIONS if name != "sources"):
        return None
    from hpo_batch.results.source import existing_file, is_url
    from hpo_batch.store.scan import is_begun_here

    (source,) = given["sources"]
    try:
        if is_url(source) or (not source.endswith(".toml") and existing_file(source) is not None):
            return None
        homes = study_homes(source, root)
    except (HpoBatchError, OSError, ValueError):
        return None
    # a journal that plain Optuna made may state what this reader has no place for
    return homes[0] if len(homes) == 1 and is_begun_here(homes[0].journal) else None


def _csv(home: StudyHome) -> bytes:
    """All trials of a study. Its rows need no frame: pandas is a third of what this takes for 100,000 of them."""
    from hpo_batch.results.csv_text import csv_of_columns
    from hpo_batch.results.study_columns import replayed, study_columns
    from hpo_batch.store.decode import isolated

    with isolated(home.name):
        state = replayed(home.journal, reports=False)
        columns = study_columns(state).columns
    click.echo(_summary(home.name, state.counts()), err=True)
    return csv_of_columns(columns)


def _collected(
    tables: Sequence[TrialsTable],
    *,
    top: int | None,
    best: bool,
    where: str | None,
    group: str | None,
    attempts: bool,
    for_people: bool,
) -> pd.DataFrame:
    """One frame for all tables, with a column for the study where there are several."""
    from hpo_batch.results.select import joined

    if group is not None:
        return _groups(tables, group, where=where, top=1 if best else top, for_people=for_people)
    frames = [
        _rows(table, where=where, top=top, best=best, attempts=attempts, for_people=for_people) for table in tables
    ]
    if len(tables) == 1:
        return frames[0]
    return joined(tables, frames)


def _groups(
    tables: Sequence[TrialsTable], group: str, *, where: str | None, top: int | None, for_people: bool
) -> pd.DataFrame:
    """A row for each group of the trials of all tables, or the best configurations of each."""
    from dataclasses import replace

    import pandas as pd

    from hpo_batch.results.select import check_alike, filtered, joined
    from hpo_batch.results.top import group_column, grouped

    check_alike(tables, "--group")
    frame = joined(tables, [table.trials for table in tables])
    if where is not None:
        frame = filtered(frame, where)
    if top is None:
        return grouped(tables[0], frame, group)
    table = replace(tables[0], trials=frame)
    column = group_column(frame, group)
    frames = []
    for value, part in frame.groupby(column, sort=True, dropna=False):
        rows = _rows(replace(table, trials=part), where=None, top=top, attempts=False, for_people=for_people)
        if group in rows.columns:
            rows = rows.drop(columns=group)
        rows.insert(0, group, value)
        frames.append(rows)
    return pd.concat(frames, ignore_index=True) if frames else frame


def read_table(home: StudyHome, *, attempts: bool = False) -> TrialsTable:
    from hpo_batch.results.read import read_study

    return read_study(home, attempts=attempts, frozen=False)


def print_summary(home: StudyHome, *, top: int) -> None:
    """The summary line on stderr and the best configurations on stdout."""
    from hpo_batch.results.formats import render

    table = read_table(home)
    click.echo(_summary(table.label, table.counts), err=True)
    several = len(table.metrics) > 1
    frame = _rows(table, where=None, top=None if several else top, best=several, attempts=False, for_people=True)
    click.echo(render(frame, "table").decode(), nl=False)
    shown = int(frame["count"].sum()) if "count" in frame.columns else len(frame)
    if len(table.trials) > shown:
        click.echo(f"({len(table.trials) - shown} more trials: {hint('collect', home.name)})", err=True)


def print_overview(homes: Sequence[StudyHome]) -> None:
    """One line for each of several studies: how far it is, and its best."""
    import pandas as pd

    from hpo_batch.results.formats import render
    from hpo_batch.results.select import distinct

    rows: list[dict[str, object]] = []
    for home in homes:
        table = read_table(home)
        best = _rows(table, where=None, top=None, best=True, attempts=False, for_people=False)
        first = best.iloc[0] if len(best) else None
        columns = ["value"] if len(table.metrics) == 1 else [f"values_{metric}" for metric in table.metrics]
        row = {
            "study": home.name,
            "finished": table.counts.progress,
            "failed": table.counts.failed,
            "best": None if first is None else first["number"],
        }
        names = distinct(table.metrics, row, "metric")
        rows.append(row | {n: None if first is None else first[c] for n, c in zip(names, columns, strict=True)})
    click.echo(f"\n{render(pd.DataFrame(rows), 'table').decode()}", nl=False)


def _rows(
    table: TrialsTable, *, where: str | None, top: int | None, best: bool = False, attempts: bool, for_people: bool
) -> pd.DataFrame:
    from dataclasses import replace

    from hpo_batch.results.select import filtered
    from hpo_batch.results.select import for_people as telling
    from hpo_batch.results.top import top_configurations

    chosen = table.trials if where is None else filtered(table.trials, where)
    if attempts:
        return table.attempts[table.attempts["number"].isin(chosen["number"])]
    narrowed = replace(table, trials=chosen)
    if best and len(table.metrics) > 1:
        chosen = replace(table, trials=chosen[chosen["front"].astype(bool)]).best_first()
    elif best or top is not None:
        if len(table.metrics) > 1:
            raise UserError("with several metrics there is no best trial: --best gives the Pareto front")
        top = 1 if best or top is None else top
        if where is not None and not (chosen["state"] == "COMPLETE").any():
            chosen = narrowed.best_first(top)  # --filter failed --top 3: the first of them
        else:
            chosen, tied = top_configurations(table, chosen, top)
            if tied:
                click.echo(f"{table.label}: {tied} more with the value of the last one shown", err=True)
    elif for_people:
        chosen = narrowed.best_first()
    return telling(table, chosen) if for_people else chosen


def _is_for_people(format: str) -> bool:
    return format in ("table", "md", "latex")


def _summary(label: str, counts: Counts) -> str:
    from hpo_batch.space.words import printable

    parts = [f"{n} {word}" for n, word in ((counts.pruned, "pruned"), (counts.failed, "failed")) if n]
    parts += [f"{counts.running} running"] if counts.running else []
    more = f" ({', '.join(parts)})" if parts else ""
    return f"{printable(label)}: {counts.progress} trials finished{more}"


def _write(path: Path, content: bytes) -> None:
    from hpo_batch.files import write_atomic
    from hpo_batch.store.sharing import umask_for

    path = path.absolute()
    try:
        with umask_for(shared=in_shared_study(path.parent.resolve())):
            write_atomic(path, content)
    except OSError as error:
        raise StorageError.because(
            f"cannot write '{path}'", error, do="-o takes any file that you may write"
        ) from error
