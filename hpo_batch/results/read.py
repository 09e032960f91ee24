"""A SOURCE of a reading command to trials tables: a study, a file, an Optuna storage. One entry for all commands."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from hpo_batch.errors import StorageError, StudyNotFound, UserError
from hpo_batch.results.columns import Columns
from hpo_batch.results.infer import described, from_distributions
from hpo_batch.results.study_columns import replayed
from hpo_batch.results.table import TrialsTable, trials_table
from hpo_batch.store.damage import BEGINNING
from hpo_batch.store.home import StudyHome, find_homes, newest_home
from hpo_batch.store.scan import JournalState
from hpo_batch.sweep.name import name_in_toml

if TYPE_CHECKING:
    from hpo_batch.sweep.schema import Sweep

SQLITE: Final = b"SQLite format 3\0"
_SUFFIXES: Final = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".db", ".sqlite", ".sqlite3", ".log")


def read_tables(
    sources: Sequence[str],
    *,
    root: Path,
    sweep: Path | None = None,
    into: Sweep | None = None,
    mapping: Mapping[str, str] | None = None,
    value: Sequence[str] = (),
    directions: Sequence[str] = (),
    params: Sequence[str] = (),
    ignore: Sequence[str] = (),
    reports: bool = True,
    attempts: bool = True,
    frozen: bool = True,
    accounting: bool = False,
) -> tuple[TrialsTable, ...]:
    """The tables of all sources, in their order; each with a label of its own.

    Args:
        sources: studies by name or directory, sweep files, files of trials, Optuna storages (a path or a URL, with
            ``#name`` for one of several studies in it). None: the newest study below ``root``.
        root: the logs directory.
        sweep: a TOML file with the space, for files and storages that do not tell it.
        into: a sweep whose parameters and metrics are looked for in files; it does not say what studies are.
        mapping: our name of a column -> the file's, for files.
        value: columns with the objectives, for files.
        directions: ``maximize`` or ``minimize``, for files.
        params: the columns that are parameters, for files.
        ignore: columns that are left out, for files.
        reports: read what trials reported step by step too.
        attempts: fill in the table of attempts.
        frozen: read the frozen sweeps of studies: space, baseline, expectations.
        accounting: ask SLURM, once, what it knows of the attempts.

    Raises:
        UserError: a source that is not there or cannot be understood: file, column and what to do are named.
        StorageError: what is there cannot be read.
    """
    given = Columns(
        mapping=dict(mapping or {}),
        value=tuple(value),
        directions=tuple(directions),
        params=tuple(params),
        ignore=tuple(ignore),
    )
    sweeps = _sweeps(sweep)
    read = functools.partial(read_study, reports=reports, attempts=attempts, frozen=frozen)
    of_files = sweeps if into is None else (into,)
    tables: list[TrialsTable] = []
    homes: list[StudyHome | None] = []
    for source in sources:
        for table, home in _read(source, root, given, sweeps, of_files, read):
            tables.append(table)
            homes.append(home)
    if not sources:
        home = newest_home(root)
        table = read(home)
        tables.append(replace(table, notes=(f"the newest study in {root}", *table.notes)))
        homes.append(home)
    if accounting:
        from hpo_batch.results.accounting import with_accounting

        tables = with_accounting(tables, homes)
    return _labelled(tables)


def read_study(home: StudyHome, *, reports: bool = False, attempts: bool = True, frozen: bool = True) -> TrialsTable:
    """A study's table, with its frozen sweep."""
    _load(frozen=frozen)
    state = replayed(home.journal, reports=reports)
    table = replace(trials_table(state, source=home.name, attempts=attempts), home=home.path)
    if "/" in home.name:
        table = replace(table, budget=home.name.rpartition("/")[2])
    if not frozen:
        return table
    if state.revision:
        from hpo_batch.study.read import read_revision

        try:
            sweep = read_revision(home, state)
        except StorageError as error:
            return replace(_with_distributions(table, state), notes=(f"{error}; what it says is left out",))
        return replace(table, space=sweep.space, baseline=sweep.baseline, budget=sweep.budget, sweep=sweep)
    return _with_distributions(table, state)


def _load(*, frozen: bool) -> None:
    """Load what is loaded at its first use only, before the journal is read.

    Loaded while the records are in memory it would lie among them. What is left of 100,000 trials then kept 100 MB from
    being used again: Python gives memory back in pieces of a megabyte, and each had a class or two of pyarrow in it.
    """
    pd.Series(["text"])
    if frozen:
        import hpo_batch.study.create  # noqa: F401


def _read(
    source: str,
    root: Path,
    given: Columns,
    sweeps: Sequence[Sweep],
    of_files: Sequence[Sweep],
    read: Callable[[StudyHome], TrialsTable],
) -> list[tuple[TrialsTable, StudyHome | None]]:
    if "://" in source:
        return [(table, None) for table in _storage(source, sweeps)]
    path, _, study = source.partition("#")
    if source.endswith(".toml"):
        return [(read(home), home) for home in find_homes(root, name_in_toml(source))]
    if not _is_file(source) and _is_file(path) and study:
        return [(table, None) for table in _storage(source, sweeps)]
    if _is_file(source):
        return [(table, None) for table in _file(Path(source), given, sweeps, of_files)]
    try:
        homes = find_homes(root, source)
    except StudyNotFound:
        if (told := _no_file(source)) is not None:
            raise UserError(told) from None
        if Path(source).suffix.lower() in _SUFFIXES:
            raise UserError(f"no file '{Path(source).absolute()}'") from None
        raise
    return [(read(home), home) for home in homes]


def _is_file(path: str) -> bool:
    """Whether there is a file; not where this user may not look: what the place means as a study is told instead."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _no_file(path: str) -> str | None:
    """What is there instead of a file; None if nothing is."""
    place = Path(path)
    try:
        if place.is_dir():
            return f"'{place.absolute()}' is a folder without a study in it; name its files one by one"
        if place.exists():
            return f"'{place}' is a pipe or a device, which can be read only once; save it in a file first"
    except (OSError, ValueError):
        pass
    return None


def _file(path: Path, given: Columns, sweeps: Sequence[Sweep], of_files: Sequence[Sweep]) -> tuple[TrialsTable, ...]:
    """A file by what is in it, whatever it is called."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise StorageError.because(f"cannot read '{path}'", error) from error
    if head.startswith(SQLITE):
        return _storage(str(path), sweeps)
    if head.lstrip().startswith(BEGINNING[:-1]):
        state = replayed(path, reports=True)
        if len(state.studies) > 1:
            return _storage(str(path), sweeps)
        table = trials_table(state, source=str(path))
        table = _with_distributions(replace(table, label=state.study_name or path.stem), state)
        return (_with_sweep(table, sweeps),)
    from hpo_batch.results.foreign import tables_of
    from hpo_batch.results.read_files import read_frame

    metrics = [metric for sweep in of_files for metric in sweep.study.metric]
    frame, notes = read_frame(path, ignore=given.ignore, keep=given.value or ("value", *metrics))
    return tables_of(frame, given, source=str(path), label=path.stem, notes=notes, sweeps=of_files)


def _storage(source: str, sweeps: Sequence[Sweep]) -> tuple[TrialsTable, ...]:
    from hpo_batch.results.read_optuna import read_storage

    return tuple(_with_sweep(table, sweeps) for table in read_storage(source))


def _with_distributions(table: TrialsTable, state: JournalState) -> TrialsTable:
    """With the space that Optuna wrote down with each trial."""
    space = from_distributions(state.distributions())
    told = f"space as its trials have it: {described(space)}"
    return replace(table, space=space, space_is_inferred=True, notes=(*table.notes, told))


def _with_sweep(table: TrialsTable, sweeps: Sequence[Sweep]) -> TrialsTable:
    from hpo_batch.results.foreign import budget_in, sweep_for

    budget = table.budget or budget_in(table.label)
    sweep = sweep_for(sweeps, budget, source=table.source)
    if sweep is None:
        return replace(table, budget=budget)
    directions = tuple(sweep.study.direction)
    if directions != table.directions:
        raise UserError(
            f"{table.source}: the study's directions are {', '.join(table.directions)}, those of --sweep "
            f"{', '.join(directions)}"
        )
    return replace(
        table, space=sweep.space, space_is_inferred=False, baseline=sweep.baseline, budget=sweep.budget or budget,
        sweep=sweep,
    )  # fmt: skip


def _sweeps(path: Path | None) -> tuple[Sweep, ...]:
    if path is None:
        return ()
    from hpo_batch.sweep.load import load

    return load(path)


def _labelled(tables: Sequence[TrialsTable]) -> tuple[TrialsTable, ...]:
    """Equal labels get the folder or a number."""
    count = collections.Counter(table.label for table in tables)
    used: collections.Counter[str] = collections.Counter()
    found = []
    for table in tables:
        label = table.label
        if count[label] > 1:
            used[label] += 1
            label = f"{label} ({used[label]})"
        found.append(replace(table, label=label))
    return tuple(found)
