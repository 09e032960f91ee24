"""``hpo-batch import``: somebody's finished trials as a study of their own, which a sweep takes as history."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import hint, logs_root, root_option
from hpo_batch.cli.sources import by_source, column_options
from hpo_batch.errors import StorageError, StudyNotFound, UserError
from hpo_batch.sources.source import existing_file, is_url, label_of, split

if TYPE_CHECKING:
    from hpo_batch.records import Configuration
    from hpo_batch.sources.columns import Columns
    from hpo_batch.store.home import StudyHome
    from hpo_batch.study.adopt import Fitting, Row
    from hpo_batch.sweep.schema import Sweep


@click.command(name="import")
@click.argument("files", nargs=-1, required=True, metavar="FILE ...")
@click.option(
    "--into",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="SWEEP",
    help="The sweep whose sampler is to know the trials: its TOML. It says what parameters and metric are.",
)
@click.option("--budget", metavar="BUDGET", help="The [[budget]] of SWEEP that the trials are for, if it has several.")
@click.option("--name", metavar="NAME", help="What the study is called [default: as the first file].")
@column_options
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be taken; write nothing.")
@root_option
def command(
    files: tuple[str, ...],
    into: Path,
    budget: str | None,
    name: str | None,
    maps: tuple[str, ...],
    value: tuple[str, ...],
    direction: tuple[str, ...],
    params: tuple[str, ...],
    ignore: tuple[str, ...],
    dry_run: bool,
    root: Path | None,
) -> None:
    """Make a study of the finished trials in FILE, so that the sampler of SWEEP learns from them.

    FILE is a CSV, JSON or Parquet file, a folder of Ray Tune, or an Optuna storage: a SQLite file, a journal, a URL;
    '#NAME' behind it picks one of its studies. Complete trials with a finite value that lie in the space are taken.
    stdout is the line to put into [study] of SWEEP, stderr says what was taken for what, and what was left out.
    """
    from hpo_batch.launch.ownership import check_ours
    from hpo_batch.sources.columns import Columns
    from hpo_batch.store.home import home_of
    from hpo_batch.study.adopt import adopt, check_free, settled
    from hpo_batch.sweep.load import load

    folder = logs_root(root)
    for file in files:
        _check_is_file(file, folder)
    sweeps = load(into)
    sweep = _chosen(sweeps, budget, into)
    home = home_of(folder, _name(name, files, sweep, into))
    check_free(home)
    options = {"maps": maps, "value": value, "direction": direction, "params": params, "ignore": ignore}
    shared, own = by_source(files, options)
    taken: list[tuple[Row, Configuration]] = []
    facts: list[dict[str, object]] = []
    for number, file in enumerate(files):
        given = _with_mapped_metric(own.get(file, Columns()).over(shared), sweep)
        found = _read(file, number, sweep, given, folder, budgets=sweeps, budget=budget)
        _tell(found, into)
        taken += found.fitting.taken
        facts.append({**_facts(file), "columns": dict(found.columns), "trials": len(found.fitting.taken)})
    trials = f"{len(taken)} finished trial{'' if len(taken) == 1 else 's'}"
    if dry_run:
        click.echo(f"the study '{home.name}' would be made in {home.path}, with {trials}", err=True)
    else:
        check_ours(home)
        adopt(home, settled(sweep, home.name, trials=len(taken)), taken, facts={"files": facts})
        click.echo(f"made the study '{home.name}' in {home.path}, with {trials}", err=True)
    _say_what_to_add(home, sweep, into, budget=budget, folder=folder, is_made=not dry_run)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What one FILE gives."""

    label: str
    count: int
    """trials in it"""
    fitting: Fitting
    left: Mapping[str, int]
    notes: Sequence[str]
    columns: Mapping[str, str]


def _read(
    file: str, number: int, sweep: Sweep, given: Columns, folder: Path, *, budgets: Sequence[Sweep], budget: str | None
) -> _Found:
    """The trials of a file that lie in the sweep's space.

    Raises:
        UserError: there is none, or the file cannot be understood.
        StorageError: it cannot be read.
    """
    from hpo_batch.sources.read import read_tables
    from hpo_batch.sources.rows import rows_of
    from hpo_batch.study.adopt import fitting

    tables = read_tables(
        [file],
        root=folder,
        into=sweep,
        mapping=given.mapping,
        value=given.value,
        directions=given.directions or sweep.study.direction if given.value else given.directions,
        params=given.params,
        ignore=given.ignore,
        reports=False,
        attempts=False,
        frozen=False,
    )
    label = label_of(file)
    if len(tables) > 1 and any(table.sweep is None for table in tables):
        raise UserError(
            f"{label} holds several studies ({', '.join(table.label for table in tables)}): pick one with '{file}#NAME'"
        )
    others = {one.budget.lower() for one in budgets if one.budget is not None and one.budget != budget}
    rows: list[Row] = []
    left: Counter[str] = Counter()
    notes: dict[str, None] = {}
    columns: dict[str, str] = {}
    for table in tables:
        is_others = budget is not None and (table.budget or "").lower() in others
        if is_others and len(tables) > 1:
            left[f"of budget {table.budget}"] += len(table.trials)
            continue
        if is_others:
            notes[f"by its name it is of budget {table.budget}; it is taken for {budget}, as --budget says"] = None
        found = rows_of(table, sweep, given, file=number)
        rows += found.rows
        left += found.left
        notes |= dict.fromkeys((*table.notes, *found.notes))
        columns |= found.columns
    count = sum(len(table.trials) for table in tables)
    fits = fitting(sweep, rows)
    if not fits.taken:
        for note in notes:
            click.echo(f"{label}: {note}", err=True)
        raise UserError(_none_taken(label, count, fits, left))
    return _Found(label=label, count=count, fitting=fits, left=left, notes=tuple(notes), columns=columns)


def _none_taken(label: str, count: int, fits: Fitting, left: Mapping[str, int]) -> str:
    if not fits.against:
        return f"{label}: none of its {count} trials is complete with a finite value: {_counted(left)}"
    why, _ = fits.against.most_common(1)[0]
    more = f"; {_counted(left)}" if left else ""
    do = "; --map PARAMETER=COLUMN says which column it is" if why.startswith("no value for parameter") else ""
    return f"{label}: none of its {count} trials lies in the sweep's space; most often against them: {why}{do}{more}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in counts.items()) or "it has none"


def _tell(found: _Found, into: Path) -> None:
    """What was assumed, and which rows were taken."""
    from hpo_batch.text.values import shown

    for note in found.notes:
        click.echo(f"{found.label}: {note}", err=True)
    assumed = ", ".join(f"{name} = {shown(value)}" for name, value in found.fitting.assumed.items())
    if assumed:
        click.echo(f"{found.label}: not told of all trials, and meant as {into} fixes it: {assumed}", err=True)
    against = found.fitting.against
    left = [_counted(found.left)] if found.left else []
    if against:
        left.append(f"{against.total()} not in the space (most often: {against.most_common(1)[0][0]})")
    more = f"; left out: {', '.join(left)}" if left else ""
    click.echo(f"{found.label}: {len(found.fitting.taken)} of {found.count} trials taken{more}", err=True)


def _say_what_to_add(
    home: StudyHome, sweep: Sweep, into: Path, *, budget: str | None, folder: Path, is_made: bool
) -> None:
    import json

    named = sweep.study.import_
    if home.name in named:
        click.echo(f"{into} imports it already: nothing is to be added", err=True)
        path = sweep.study.name if budget is None else f"{sweep.study.name}/{budget}"
        if _has_read(folder, path, sweep):
            click.echo(
                f"warning: the study '{path}' has read its imports once and keeps them: take the name out of {into}, "
                f"submit it, put the name in again",
                err=True,
            )
        return
    line = f"import = {json.dumps([*named, home.name])}"
    where = "[study]" if budget is None else f"the [[budget]] '{budget}'"
    instead = ", in place of the import there" if named else ""
    click.echo(f"for the sampler to know them, put this line into {where} of {into}{instead}:", err=True)
    click.echo(line if budget is None else f"study.{line}")
    if is_made:
        click.echo(f"next: {hint('check', str(into))}   {hint('collect', home.name)}", err=True)


def _has_read(folder: Path, path: str, sweep: Sweep) -> bool:
    """Whether the sweep's own study is there, and has frozen what it imports."""
    from hpo_batch.store.home import home_of
    from hpo_batch.study.imported import is_frozen
    from hpo_batch.study.read import read_state

    home = home_of(folder, path)
    return home.exists and is_frozen(read_state(home), sweep)


def _chosen(sweeps: Sequence[Sweep], budget: str | None, into: Path) -> Sweep:
    """The sweep whose space the trials are held against, without its budget's label.

    Raises:
        UserError: there are several that differ, or none of that name.
    """
    from hpo_batch.text.names import listed, nearest

    labels = [sweep.budget for sweep in sweeps if sweep.budget is not None]
    if budget is not None and budget not in labels:
        close = nearest(budget, labels)
        meant = f"did you mean '{close}'?" if close else f"there are {listed(labels)}" if labels else "there is none"
        raise UserError(f"--budget: no [[budget]] of {into} is called '{budget}'; {meant}")
    found = [sweep for sweep in sweeps if budget in (None, sweep.budget)]
    meaning = [(repr(one.space_table), one.study.metric, one.study.direction) for one in found]
    if any(other != meaning[0] for other in meaning):
        raise UserError(
            f"{into} has several budgets, with spaces or metrics of their own: --budget NAME says which one the trials "
            f"are for ({', '.join(labels)})"
        )
    return replace(found[0], budget=None)


def _name(name: str | None, files: Sequence[str], sweep: Sweep, into: Path) -> str:
    """The name of the new study.

    Raises:
        UserError: it cannot be one, or is the sweep's own.
    """
    from hpo_batch.sweep.schema import study_name

    given = _made_name(files[0]) if name is None else name
    try:
        study_name(given)
    except ValueError as error:
        raise UserError(f"--name: {error}") from error
    if given == sweep.study.name:
        raise UserError(
            f"'{given}' is the study of {into} itself, which does not import itself: choose another name with --name"
        )
    return given


def _made_name(file: str) -> str:
    """A study's name out of that of a file, or of the study in it."""
    place, study = split(file)
    text = study or Path(label_of(place)).stem
    made = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).lstrip("._-")[:80].rstrip("._-")
    made = made.removesuffix(".toml")
    return made if re.search(r"[a-z_.]", made) else f"import-{made}".rstrip("-")


def _with_mapped_metric(given: Columns, sweep: Sweep) -> Columns:
    """``--map METRIC=COLUMN`` is ``--value COLUMN``."""

    metrics = sweep.study.metric
    if given.value or not any(metric in given.mapping for metric in metrics):
        return given
    rest = {ours: theirs for ours, theirs in given.mapping.items() if ours not in metrics}
    return replace(given, mapping=rest, value=tuple(given.mapping.get(metric, metric) for metric in metrics))


def _check_is_file(file: str, folder: Path) -> None:
    """Raises UserError for what is no file: a study needs no import, a sweep has no trials."""
    from hpo_batch.store.home import find_homes

    if file.endswith(".toml"):
        raise UserError(f"'{file}' is a sweep file and holds no trials; --into takes one")
    if is_url(file) or existing_file(file) is not None:
        return
    try:
        names = [home.name for home in find_homes(folder, file)]
    except (StudyNotFound, ValueError):
        if "\0" not in file and os.path.isdir(file):  # noqa: PTH112  # False also where we may not look
            return  # of another program
        raise UserError(f"no file '{Path(file).absolute()}'") from None
    name = names[0].partition("/")[0]
    raise UserError(f"'{file}' is a study already: import = [\"{name}\"] in [study] of the sweep takes it as it is")


def _facts(file: str) -> dict[str, object]:
    import hashlib

    path = existing_file(file)
    try:
        digest = "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise StorageError.because(f"cannot read '{path}'", error) from error
    return {"source": label_of(file), "sha256": digest}
