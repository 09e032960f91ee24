"""``hpo-batch collect``: the trials of studies, files and storages as a table, on stdout or in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo_batch.cli.options import hint, json_format_option, logs_root, root_option, study_homes
from hpo_batch.cli.sources import SourceOptions, exit_code, read_sources, source_options
from hpo_batch.cli.terminal import print_bytes
from hpo_batch.errors import HpoBatchError, UserError
from hpo_batch.results.output_format import FORMATS, format_of
from hpo_batch.sources.place import existing_file, is_url
from hpo_batch.store.home import DECISIONS, StudyHome
from hpo_batch.text.lines import printable
from hpo_batch.text.numbers import count

if TYPE_CHECKING:
    from hpo_batch.records import Counts
    from hpo_batch.results.table import TrialsTable


@click.command(name="collect")
@source_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(tuple(FORMATS)),
    help="Output format [default: from the suffix of --output, else a table].",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Output file; its suffix sets the format."
)
@click.option("--top", type=click.IntRange(min=1), help="Only the N best configurations, each once, with a count.")
@click.option("--best", is_flag=True, help="Only the best one, as --top 1; with several metrics, the Pareto front.")
@click.option("--filter", "where", metavar="EXPR", help='Only matching trials: "n_layers > 4", failed.')
@click.option(
    "--group", metavar="COLUMN", help="One row per value: budget, study, n_layers; with --top, the best of each."
)
@click.option(
    "--pivot", nargs=2, metavar="ROWS COLUMNS", help="A table of two parameters: means of the metric, or of --cell."
)
@click.option("--cell", metavar="METRIC", help="With --pivot: the metric in the cells: precision, seconds.")
@click.option("--attempts", is_flag=True, help="One row per attempt instead of one per trial.")
@click.option("--accounting", is_flag=True, help="With --attempts: add SLURM's accounting, with one sacct.")
@json_format_option
@root_option
def command(
    format_: str | None, output: Path | None, attempts: bool, accounting: bool, root: Path | None, **options: Any
) -> int:
    """Print a table of the trials of each SOURCE (default: the newest study).

    SOURCE is a study's name, directory or TOML; a CSV, JSON or Parquet file; a Ray Tune folder; or an Optuna storage: a
    SQLite file, a journal, a URL. Append '#NAME' to pick one study of a storage. stderr lists assumptions about a file.
    csv, json and parquet have every column; the other formats have the informative ones.
    """
    from hpo_batch.journal.state import no_collections

    # first, so that a wrong suffix is an error before minutes of reading
    format = format_of(output, format_)
    choices = {name: options.pop(name) for name in ("top", "best", "where", "group", "pivot", "cell")}
    _check_choices(choices, attempts=attempts, accounting=accounting)
    folder = logs_root(root)
    if not options["sources"] and not options["files"]:
        options["sources"] = tuple(str(home.path) for home in study_homes(None, folder))
    # the usual call: a whole study as CSV needs neither pandas nor frames, and takes a third of the time (``csv_text``)
    is_whole = format == "csv" and not attempts and all(value is None or value is False for value in choices.values())
    home = _only_study(SourceOptions(**options), folder) if is_whole else None
    code = 0
    # a garbage collection would free nothing, since everything that is read is needed until the end
    with no_collections():
        if home is not None:
            content = _whole_study(home)
        else:
            content, code = _chosen(options, choices, format, root=folder, attempts=attempts, accounting=accounting)
    if output is None:
        print_bytes(content)
    else:
        from hpo_batch.results.output_file import write_output

        write_output(output, content)
        click.echo(f"wrote {output.resolve()}", err=True)
    return code


def _check_choices(choices: dict[str, Any], *, attempts: bool, accounting: bool) -> None:
    of_trials = choices["top"] is not None or choices["best"] or choices["group"]
    if attempts and (of_trials or choices["pivot"]):
        raise UserError("--attempts lists attempts; --top, --best, --group and --pivot apply to trials")
    if accounting and not attempts:
        raise UserError("--accounting needs --attempts")
    if choices["pivot"] and of_trials:
        raise UserError("--pivot shows all trials, without --top, --best and --group; --filter selects among them")
    if choices["cell"] and not choices["pivot"]:
        raise UserError("--cell needs --pivot")


def _only_study(options: SourceOptions, root: Path) -> StudyHome | None:
    """The study, if SOURCE is one and no other option is set; also None if the study cannot be found."""
    if not options.is_one_source:
        return None
    from hpo_batch.journal.state import is_begun_here

    (source,) = options.sources
    try:
        if is_url(source) or (not source.endswith(".toml") and existing_file(source) is not None):
            return None
        homes = study_homes(source, root)
    except (HpoBatchError, OSError, ValueError):
        return None  # ``read_sources`` meets the same error, and reports it with the other sources
    # a journal of plain Optuna may hold records that the fast reader does not support
    return homes[0] if len(homes) == 1 and is_begun_here(homes[0].journal) else None


def _whole_study(home: StudyHome) -> bytes:
    from hpo_batch.journal.decode import isolated
    from hpo_batch.results.csv_text import csv_of_study

    with isolated(home.name):
        counts, content = csv_of_study(home.journal)
    click.echo(_summary(home.name, counts), err=True)
    return content


def _chosen(
    options: dict[str, Any], choices: dict[str, Any], format: str, *, root: Path, attempts: bool, accounting: bool
) -> tuple[bytes, int]:
    """The table selected by the options, and the exit code."""
    from hpo_batch.results.choose import Choice, choose
    from hpo_batch.results.formats import render
    from hpo_batch.sources.read import Parts

    # a table shows neither reports nor the frozen sweep: of a study with many steps, reports are most of the journal
    parts = Parts(reports=False, attempts=attempts, sweep=False, accounting=accounting)
    tables = read_sources(**options, root=root, parts=parts)
    for table in tables:
        click.echo(_summary(table.label, table.counts), err=True)
    _say_predictions(tables)
    frame, notes = choose(tables, Choice(**choices, attempts=attempts, for_people=FORMATS[format].for_people))
    for note in notes:
        click.echo(note, err=True)
    return render(frame, format), exit_code(tables)


def print_summary(home: StudyHome, *, top: int) -> None:
    """The summary line on stderr and the best configurations on stdout."""
    from hpo_batch.results.choose import Choice, choose
    from hpo_batch.results.formats import render
    from hpo_batch.sources.read import read_study

    table = read_study(home, attempts=False, frozen=False)
    click.echo(_summary(table.label, table.counts), err=True)
    several = len(table.metrics) > 1
    frame, notes = choose([table], Choice(top=None if several else top, best=several, for_people=True))
    for note in notes:
        click.echo(note, err=True)
    if not frame.empty:
        click.echo(render(frame, "table").decode(), nl=False)
    shown = int(frame["count"].sum()) if "count" in frame.columns else len(frame)
    if len(table.trials) > shown:
        others = count(len(table.trials) - shown, "more trial" if shown else "trial")
        click.echo(f"({others}: {hint('collect', home.name)})", err=True)


def print_overview(homes: Sequence[StudyHome]) -> None:
    """One line for each of several studies: progress and best value."""
    from hpo_batch.results.choose import overview
    from hpo_batch.results.formats import render
    from hpo_batch.sources.read import read_study

    tables = (read_study(home, attempts=False, frozen=False) for home in homes)
    click.echo(f"\n{render(overview(tables), 'table').decode()}", nl=False)


def _say_predictions(tables: Sequence[TrialsTable]) -> None:
    """Of each study that was predicted: how good that was, so far."""
    for table in tables:
        if table.home is None or not (table.home / DECISIONS).exists():
            continue  # the usual case, which needs no findings
        from hpo_batch.findings.ledger.numbers import ledger_of
        from hpo_batch.findings.ledger.words import study_text

        ledger = ledger_of(table)
        if ledger is not None:
            more = hint("ledger", table.source)
            click.echo(printable(f"{table.label}: {study_text(ledger)} ({more})"), err=True)


def _summary(label: str, counts: Counts) -> str:
    parts = [f"{n} {word}" for n, word in ((counts.pruned, "pruned"), (counts.failed, "failed")) if n]
    parts += [f"{counts.running} running"] if counts.running else []
    more = f" ({', '.join(parts)})" if parts else ""
    return f"{printable(label)}: {counts.progress} trials finished{more}"
