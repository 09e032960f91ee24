"""Read SOURCEs into trials tables: the entry point for all commands and for Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hpo_batch.errors import StorageError, UserError
from hpo_batch.results.accounting import with_accounting
from hpo_batch.results.table import TrialsTable
from hpo_batch.sources import registry
from hpo_batch.sources.columns import Columns
from hpo_batch.sources.foreign import budget_in, sweep_for, tables_of
from hpo_batch.sources.option_use import OptionUse
from hpo_batch.sources.place import Place
from hpo_batch.sources.source import RawTable, Request, Source
from hpo_batch.sources.study import read_study as read_study
from hpo_batch.store.home import find_homes, newest_home
from hpo_batch.sweep.load import load
from hpo_batch.text.names import unique_names
from hpo_batch.text.secrets import masked

if TYPE_CHECKING:
    from hpo_batch.sweep.schema import Sweep

# a SOURCE with such a suffix is a file, not a study's name
_SUFFIXES: Final = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".db", ".sqlite", ".sqlite3", ".log")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What to read of a SOURCE; each part takes time and memory."""

    reports: bool = True
    """what trials reported step by step"""
    attempts: bool = True
    """the table of attempts"""
    sweep: bool = True
    """the frozen sweeps of studies: space, baseline, expectations"""
    accounting: bool = False
    """SLURM's accounting of the attempts, from one call of sacct"""


def read_tables(
    sources: Sequence[str],
    *,
    root: Path,
    sweep: Path | None = None,
    columns: Columns | None = None,
    columns_of: Mapping[str, Columns] | None = None,
    parts: Parts | None = None,
) -> tuple[TrialsTable, ...]:
    """The tables of all sources, in their order, each with a label of its own.

    Args:
        sources: studies by name or directory, sweep files, files and folders of trials, Optuna storages (a path or a
            URL, with ``#name`` for one of several studies in it). None: the newest study below ``root``.
        root: the logs directory.
        sweep: a TOML file with the space, for files and storages.
        columns: the meaning of columns of files. Each file uses the options for columns that it has; each option must
            apply to at least one file.
        columns_of: the same for one source; takes precedence over ``columns``.
        parts: what to read; by default everything but SLURM's accounts.

    Returns:
        One table per study. The first one lists the sources that could not be read (``left_out``).

    Raises:
        UserError: a source does not exist or cannot be understood; the message names file, column and remedy.
        StorageError: no source can be read.
    """
    parts = parts or Parts()
    sweeps = load(sweep) if sweep is not None else ()
    use = OptionUse(shared=columns or Columns(), own=dict(columns_of or {}), has_several=len(_groups(sources)) > 1)
    reading = _Reading(root=root, use=use, parts=parts, sweeps=sweeps, sweeps_of_files=sweeps)
    tables, left_out = reading.read_all(sources)
    use.check(sweeps)
    if not sources:
        home = newest_home(root)
        table = read_study(home, reports=parts.reports, attempts=parts.attempts, frozen=parts.sweep)
        tables = [replace(table, notes=(f"the newest study in {root}", *table.notes))]
    if parts.accounting:
        tables = with_accounting(tables)
    first, *others = _labelled(tables)
    return (replace(first, left_out=left_out), *others)


def read_for_sweep(source: str, sweep: Sweep, columns: Columns, *, root: Path) -> tuple[TrialsTable, ...]:
    """The tables of one source whose trials may be history for a sweep, without reports and attempts.

    Parameters and metrics of the sweep are looked for in files; what an Optuna storage says is left as it is.

    Raises:
        UserError: see ``read_tables``.
        StorageError: the source cannot be read.
    """
    use = OptionUse(shared=columns, own={}, has_several=False)
    parts = Parts(reports=False, attempts=False, sweep=False)
    reading = _Reading(root=root, use=use, parts=parts, sweeps=(), sweeps_of_files=(sweep,))
    tables, _ = reading.read_all([source])
    return _labelled(tables)


def _labelled(tables: Sequence[TrialsTable]) -> tuple[TrialsTable, ...]:
    """Make the labels unique."""
    labels = unique_names([table.label for table in tables])
    return tuple(replace(table, label=label) for table, label in zip(tables, labels, strict=True))


def _groups(sources: Sequence[str]) -> list[tuple[str, ...]]:
    """Group the sources that form one table."""
    groups: dict[object, list[str]] = {}
    for i, text in enumerate(sources):
        keys = ((source.kind, source.group(text)) for source in registry.SOURCES)
        groups.setdefault(next((key for key in keys if key[1] is not None), i), []).append(text)
    return [tuple(group) for group in groups.values()]


@dataclass(frozen=True, kw_only=True)
class _Reading:
    root: Path
    use: OptionUse
    parts: Parts
    sweeps: Sequence[Sweep]
    """the sweeps of ``--sweep``"""
    sweeps_of_files: Sequence[Sweep]
    """the sweeps that trials in files come from: the same, or the sweep of an import"""

    def read_all(self, sources: Sequence[str]) -> tuple[list[TrialsTable], tuple[str, ...]]:
        """The tables, and which sources could not be read.

        Raises:
            StorageError: the first source that cannot be read, if none can.
        """
        tables: list[TrialsTable] = []
        errors: dict[str, StorageError] = {}
        for group in _groups(sources):
            try:
                tables += self._read(group)
            except StorageError as error:
                # a study that cannot be read, such as a damaged one, must not prevent the report of all others
                errors[group[0]] = error
        if errors and not tables:
            raise next(iter(errors.values()))
        return tables, tuple(f"{source} is left out: {error}" for source, error in errors.items())

    def _read(self, texts: Sequence[str]) -> list[TrialsTable]:
        """The tables of one SOURCE, or of several that form one table."""
        text = texts[0]
        try:
            place = Place(text=text, root=self.root, files=tuple(map(Path, texts)))
            source = _source_of(place)
            tables = source.read(place, self._request(text))
            if not tables:
                raise UserError(f"'{masked(text)}' holds no trials")
            self.use.kinds.append((text, "" if any(isinstance(one, RawTable) for one in tables) else source.kind))
            return [
                trials
                for one in tables
                for trials in (self._from_raw(one, text) if isinstance(one, RawTable) else [self._with_sweep(one)])
            ]
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            # pandas raises many kinds of errors for unexpected content of files from other programs
            what = f"{type(error).__name__}: {str(error)[:300]}"
            raise UserError(f"'{masked(text)[:300]}' cannot be read as a table of trials: {what}") from error

    def _request(self, text: str) -> Request:
        metrics = [metric for sweep in self.sweeps_of_files for metric in sweep.study.metric]
        return Request(
            reports=self.parts.reports,
            attempts=self.parts.attempts,
            sweep_of_study=self.parts.sweep,
            ignored=self.use.ignored(text),
            # even if no trial has a value yet: then the error can say that the objective is empty
            keep=self.use.of(text).value or self.use.shared.value or ("value", *metrics),
        )

    def _from_raw(self, raw: RawTable, text: str) -> Sequence[TrialsTable]:
        raw = self.use.without_ignored(raw, text)
        columns, notes = self.use.columns_for(raw.frame, text)
        try:
            raw = replace(raw, notes=(*raw.notes, *notes))
            return tables_of(raw, columns, source=text, sweeps=self.sweeps_of_files)
        except (
            UserError
        ) as error:  # the notes say which options did not apply here; the user may have meant one of them
            raise UserError("; ".join([str(error), *notes])) from None

    def _with_sweep(self, table: TrialsTable) -> TrialsTable:
        """Add the space of ``--sweep`` to the table of an Optuna storage; a study has its own."""
        if table.home is not None:
            return table
        budget = table.budget or budget_in(table.label)
        sweep = sweep_for(self.sweeps, budget, source=table.source)
        if sweep is None:
            return replace(table, budget=budget)
        directions = tuple(sweep.study.direction)
        if directions != table.directions:
            raise UserError(
                f"{table.source}: the study's directions are {', '.join(table.directions)}, those of --sweep "
                f"{', '.join(directions)}"
            )
        return replace(
            table,
            space=sweep.space,
            space_is_inferred=False,
            baseline=sweep.baseline,
            budget=sweep.budget or budget,
            sweep=sweep,
        )


def _source_of(place: Place) -> Source:
    """The first source in the registry that can read the place.

    Raises:
        UserError: none does.
        StudyNotFound: none does, and the text may be the name of a study.
    """
    for source in registry.SOURCES:
        if source.knows(place):
            return source
    path = Path(place.text)
    # is_plain_file is False for these: sources look at the head of a file first, and a pipe can be read only once
    try:
        is_special = not place.is_url and path.exists()
    except (OSError, ValueError):
        is_special = False
    if is_special:
        raise UserError(f"'{place.text}' is a pipe or a device, which can be read only once: save it to a file first")
    if path.suffix.lower() in _SUFFIXES:
        raise UserError(f"no file '{path.absolute()}'")
    find_homes(place.root, place.text)  # says what there is instead
    raise UserError(f"no source of trials '{place.text}'")
