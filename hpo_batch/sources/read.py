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
from hpo_batch.journal.damage import BEGINNING
from hpo_batch.journal.decode import isolated
from hpo_batch.journal.state import StudyTrials, is_begun_here
from hpo_batch.results.study_columns import replayed
from hpo_batch.results.table import TrialsTable, trials_table
from hpo_batch.sources.columns import Columns, check_column
from hpo_batch.sources.infer import described, distinct, from_distributions
from hpo_batch.sources.ray_tune import experiment_of
from hpo_batch.sources.source import existing_file, is_url, label_of
from hpo_batch.store.home import StudyHome, find_homes, newest_home
from hpo_batch.sweep.name import name_in_toml
from hpo_batch.text.names import listed
from hpo_batch.text.secrets import masked

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
    columns_of: Mapping[str, Columns] | None = None,
    reports: bool = True,
    attempts: bool = True,
    frozen: bool = True,
    accounting: bool = False,
) -> tuple[TrialsTable, ...]:
    """The tables of all sources, in their order; each with a label of its own.

    Args:
        sources: studies by name or directory, sweep files, files and folders of trials, Optuna storages (a path or a
            URL, with ``#name`` for one of several studies in it). None: the newest study below ``root``.
        root: the logs directory.
        sweep: a TOML file with the space, for files and storages that do not tell it.
        into: a sweep whose parameters and metrics are looked for in files; it does not say what studies are.
        mapping: our name of a column -> the file's. Of this and what follows holds for each of several files what it
            has columns for, and each name must be a column of one.
        value: columns with the objectives, for files.
        directions: ``maximize`` or ``minimize``, for files.
        params: the columns that are parameters, for files.
        ignore: columns that are left out, for files.
        columns_of: what was said of the columns of one source, which goes before what holds for all.
        reports: read what trials reported step by step too.
        attempts: fill in the table of attempts.
        frozen: read the frozen sweeps of studies: space, baseline, expectations.
        accounting: ask SLURM, once, what it knows of the attempts.

    Raises:
        UserError: a source that is not there or cannot be understood: file, column and what to do are named.
        StorageError: what is there cannot be read.
    """
    sweeps = _sweeps(sweep)
    reading = _Reading(
        root=root,
        shared=Columns(
            mapping=dict(mapping or {}),
            value=tuple(value),
            directions=tuple(directions),
            params=tuple(params),
            ignore=tuple(ignore),
        ),
        own=dict(columns_of or {}),
        sweeps=sweeps,
        of_files=sweeps if into is None else (into,),
        study=functools.partial(read_study, reports=reports, attempts=attempts, frozen=frozen),
    )
    tables: list[TrialsTable] = []
    homes: list[StudyHome | None] = []
    groups = _groups(sources)
    reading.several = len(groups) > 1
    unread: StorageError | None = None
    left_out: list[str] = []
    for group in groups:
        try:
            found = reading.read(group)
        except StorageError as error:
            if len(groups) == 1:
                raise
            left_out.append(f"{group[0]} is left out: {error}")
            unread = unread or error
            continue
        for table, home in found:
            tables.append(table)
            homes.append(home)
    if unread is not None and not tables:
        raise unread
    if into is None:  # an import asks the tables of storages, too
        reading.check_used()
    if not sources:
        home = newest_home(root)
        table = reading.study(home)
        tables.append(replace(table, notes=(f"the newest study in {root}", *table.notes)))
        homes.append(home)
    if accounting:
        from hpo_batch.results.accounting import with_accounting

        tables = with_accounting(tables, homes)
    labelled = _labelled(tables)
    if left_out:
        labelled = (replace(labelled[0], left_out=tuple(left_out)), *labelled[1:])
    return labelled


def _groups(sources: Sequence[str]) -> list[tuple[str, ...]]:
    """Sources that are one table: files of trials of one experiment of Ray Tune are no study each."""
    groups: dict[str, list[str]] = {}
    for i, source in enumerate(sources):
        experiment = None if is_url(source) else experiment_of(Path(source))
        groups.setdefault(str(i) if experiment is None else f"in {experiment}", []).append(source)
    return [tuple(group) for group in groups.values()]


def read_study(home: StudyHome, *, reports: bool = False, attempts: bool = True, frozen: bool = True) -> TrialsTable:
    """A study's table, with its frozen sweep."""
    _load(frozen=frozen)
    if not is_begun_here(home.journal):
        return replace(_of_plain_optuna(home), home=home.path)
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


def _of_plain_optuna(home: StudyHome) -> TrialsTable:
    """A journal in a study's place that hpo-batch did not begin: Optuna reads it, with all that it states."""
    tables = _storage(str(home.journal), ())
    others = [table.label for table in tables[1:]]
    told = (
        (f"the journal holds more studies, which 'collect {home.journal}' reads: {listed(others)}",) if others else ()
    )
    return replace(tables[0], source=home.name, notes=(*tables[0].notes, *told))


class _Reading:
    """What one command reads: how columns are told apart, and what of it no source has made use of."""

    def __init__(
        self,
        *,
        root: Path,
        shared: Columns,
        own: Mapping[str, Columns],
        sweeps: Sequence[Sweep],
        of_files: Sequence[Sweep],
        study: Callable[[StudyHome], TrialsTable],
    ) -> None:
        self.root = root
        self.shared = shared
        self.own = own
        self.sweeps = sweeps
        self.of_files = of_files
        self.study = study
        self.several = False
        self.missed: dict[str, str] = {}
        """options that hold for all sources -> the first file that has no such column"""
        self.found: set[str] = set()
        """those whose column some file has"""
        self.kinds: list[tuple[str, str]] = []
        """each source with what it is"""

    def read(self, group: tuple[str, ...]) -> list[tuple[TrialsTable, StudyHome | None]]:
        """The tables of a source, or of several files of one experiment."""
        source = group[0]
        try:
            return self._read(group, source)
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            # somebody else's program made it, and pandas has its own words for each thing that it did not expect
            what = f"{type(error).__name__}: {str(error)[:300]}"
            raise UserError(f"'{masked(source)[:300]}' cannot be read as a table of trials: {what}") from error

    def _read(self, group: tuple[str, ...], source: str) -> list[tuple[TrialsTable, StudyHome | None]]:
        if len(group) > 1 or (not is_url(source) and experiment_of(Path(source)) is not None):
            return self._others(self._folder(source, tuple(map(Path, group))))
        if is_url(source):
            return self._others(self._of_storage(source))
        if source.endswith(".toml") and not _is_file_of_trials(source):
            return self._studies(source, find_homes(self.root, name_in_toml(source)))
        path = existing_file(source)
        if path is not None and path == Path(source):
            return self._others(self._file(path, source))
        if path is not None:
            return self._others(self._of_storage(source))
        try:
            homes = find_homes(self.root, source)
        except StudyNotFound:
            if _is_folder(source):
                return self._others(self._folder(source, ()))
            if (told := _no_file(source)) is not None:
                raise UserError(told) from None
            if Path(source).suffix.lower() in _SUFFIXES:
                raise UserError(f"no file '{Path(source).absolute()}'") from None
            raise
        return self._studies(source, homes)

    @staticmethod
    def _others(tables: Sequence[TrialsTable]) -> list[tuple[TrialsTable, StudyHome | None]]:
        return [(table, None) for table in tables]

    def _studies(self, source: str, homes: Sequence[StudyHome]) -> list[tuple[TrialsTable, StudyHome | None]]:
        self.kinds.append((source, "a study"))
        found: list[tuple[TrialsTable, StudyHome | None]] = []
        for home in homes:
            with isolated(home.name):
                found.append((self.study(home), home))
        return found

    def _of_storage(self, source: str) -> tuple[TrialsTable, ...]:
        self.kinds.append((source, "an Optuna storage"))
        return _storage(source, self.sweeps)

    def _file(self, path: Path, source: str) -> tuple[TrialsTable, ...]:
        """A file by what is in it, whatever it is called."""
        try:
            with path.open("rb") as file:
                head = file.read(64)
        except OSError as error:
            raise StorageError.because(f"cannot read '{path}'", error) from error
        if head.startswith(SQLITE):
            return self._of_storage(source)
        if head.lstrip().startswith(BEGINNING[:-1]):
            self.kinds.append((source, "an Optuna storage"))
            return self._journal(path)
        from hpo_batch.sources.files import LACKING, read_frame

        given = self._columns(source)
        metrics = [metric for sweep in self.of_files for metric in sweep.study.metric]
        keep = given.value or self.shared.value or ("value", *metrics)
        shared = () if given.ignore else self.shared.ignore
        ignore, maybe = (given.ignore, shared) if self.several else ((*given.ignore, *shared), ())
        frame, notes = read_frame(path, ignore=ignore, maybe=maybe, keep=keep)
        for name in maybe:
            if LACKING.format(name) in notes:
                self.missed.setdefault(f"--ignore {name}", source)
            else:
                self.found.add(f"--ignore {name}")
        return self._tables(frame, notes, source=source, label=path.stem)

    def _journal(self, path: Path) -> tuple[TrialsTable, ...]:
        if not is_begun_here(path):
            return _storage(str(path), self.sweeps)
        with isolated(str(path)):
            state = replayed(path, reports=True)
            if len(state.studies) > 1:
                return _storage(str(path), self.sweeps)
            table = trials_table(state, source=str(path))
            table = _with_distributions(replace(table, label=state.study_name or path.stem), state)
        return (_with_sweep(table, self.sweeps),)

    def _folder(self, source: str, files: tuple[Path, ...]) -> tuple[TrialsTable, ...]:
        from hpo_batch.sources.ray_tune import read_experiments

        found: list[TrialsTable] = []
        ignore = self._columns(source).ignore or self.shared.ignore
        for experiment in read_experiments(Path(source), files=files):
            frame = experiment.frame
            for name in ignore:
                check_column(name, list(map(str, frame.columns)), option="--ignore", file=source)
            frame = frame.drop(columns=list(ignore))
            found += self._tables(frame, experiment.notes, source=source, label=experiment.label)
        return tuple(found)

    def _tables(self, frame: pd.DataFrame, notes: Sequence[str], *, source: str, label: str) -> tuple[TrialsTable, ...]:
        from hpo_batch.sources.foreign import tables_of

        self.kinds.append((source, ""))
        given, told = self._fitting(frame, source)
        try:
            return tables_of(frame, given, source=source, label=label, notes=(*notes, *told), sweeps=self.of_files)
        except UserError as error:  # what was meant for other files may have been meant for this one
            raise UserError("; ".join([str(error), *told])) from None

    def _columns(self, source: str) -> Columns:
        """What was said of this source alone."""
        return self.own.get(source, Columns())

    def _fitting(self, frame: pd.DataFrame, source: str) -> tuple[Columns, list[str]]:
        """What holds for a file: what was said of it, else of all files, as far as it has such columns."""
        own, shared = _with_value(self._columns(source)), _with_value(self.shared)
        told: list[str] = []
        have = set(map(str, frame.columns))

        def kept(text: str, column: str) -> bool:
            if column in have:
                self.found.add(text)
                return True
            self.missed.setdefault(text, source)
            if self.several:
                told.append(f"has no column '{column}': {text} holds for others")
            return not self.several

        mapping = {o: t for o, t in shared.mapping.items() if o not in own.mapping and kept(f"--map {o}={t}", t)}
        value = own.value or tuple(name for name in shared.value if kept(f"--value {name}", name))
        params = own.params or tuple(name for name in shared.params if kept(f"--params {name}", name))
        directions = own.directions or shared.directions
        if len(directions) == len(shared.value) > len(value) and not own.directions:
            directions = tuple(d for d, n in zip(directions, shared.value, strict=True) if n in value)
        given = Columns(mapping={**mapping, **own.mapping}, value=value, directions=directions, params=params)
        return given, told

    def check_used(self) -> None:
        """What was said of columns has to be of some use.

        Raises:
            UserError: no source has such a column, or a source that options are about tells itself what it holds.
        """
        unused = next((text for text in self.missed if text not in self.found), None)
        if unused is not None and self.several:
            raise UserError(
                f"{unused}: none of the files has such a column ({self.missed[unused]} is the first without)"
            )
        files = [source for source, kind in self.kinds if not kind]
        for source, kind in self.kinds:
            option = self._columns(source).an_option or ("" if files else self.shared.an_option)
            if kind and option:
                raise UserError(
                    f"{option} is for files: '{label_of(source)}' is {kind}, which tells itself what its parameters "
                    "and values are"
                )
            if kind == "a study" and self.sweeps and not files and all(k == "a study" for _, k in self.kinds):
                raise UserError(f"--sweep is for files and storages: the study '{source}' has its own sweep with it")


def _with_value(given: Columns) -> Columns:
    """``--map value=COLUMN`` is ``--value COLUMN``."""
    if given.value or "value" not in given.mapping:
        return given
    rest = {ours: theirs for ours, theirs in given.mapping.items() if ours != "value"}
    return replace(given, mapping=rest, value=(given.mapping["value"],))


def _is_file_of_trials(source: str) -> bool:
    """Whether a file that is called like a sweep is none: what is in a file decides."""
    try:
        with Path(source).open("rb") as file:
            head = file.read(64)
    except (OSError, ValueError):
        return False
    return head.startswith(SQLITE) or head.lstrip().startswith(BEGINNING[:-1])


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def _no_file(path: str) -> str | None:
    """What is there instead of a file; None if nothing is."""
    try:
        if Path(path).exists():
            return f"'{path}' is a pipe or a device, which can be read only once; save it in a file first"
    except (OSError, ValueError):
        pass
    return None


def _storage(source: str, sweeps: Sequence[Sweep]) -> tuple[TrialsTable, ...]:
    from hpo_batch.sources.optuna import read_storage

    return tuple(_with_sweep(table, sweeps) for table in read_storage(source))


def _with_distributions(table: TrialsTable, state: StudyTrials) -> TrialsTable:
    """With the space that Optuna wrote down with each trial."""
    seen = {name: distinct(table.trials[f"params_{name}"].dropna()) for name in table.parameters}
    space, more = from_distributions(state.distributions(), seen)
    told = (f"space as its trials have it: {described(space)}", *more)
    return replace(table, space=space, space_is_inferred=True, notes=(*table.notes, *told))


def _with_sweep(table: TrialsTable, sweeps: Sequence[Sweep]) -> TrialsTable:
    from hpo_batch.sources.foreign import budget_in, sweep_for

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
