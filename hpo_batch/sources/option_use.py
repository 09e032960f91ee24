"""Apply options about columns to SOURCEs, and detect options without effect (most likely a typing error)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.sources.columns import Columns, check_column
from hpo_batch.sources.place import label_of
from hpo_batch.sources.source import RawTable

if TYPE_CHECKING:
    from hpo_batch.sweep.schema import Sweep


@dataclass(kw_only=True)
class OptionUse:
    """The user's options about columns, and those that no SOURCE has used so far."""

    shared: Columns
    """for all SOURCEs; each uses the options for columns that it has"""
    own: Mapping[str, Columns]
    """for one SOURCE; takes precedence over those for all"""
    has_several: bool
    """whether there are several SOURCEs, so that a column may be missing in some of them"""
    missing: dict[str, str] = field(default_factory=dict)
    """option -> the first SOURCE that has no such column"""
    used: set[str] = field(default_factory=set)
    """options whose column some SOURCE has"""
    kinds: list[tuple[str, str]] = field(default_factory=list)
    """each SOURCE and its kind; empty for tables to which options about columns apply"""

    def of(self, source: str) -> Columns:
        """The options for this SOURCE alone."""
        return self.own.get(source, Columns())

    def ignored(self, source: str) -> tuple[str, ...]:
        """The columns of a SOURCE to leave out."""
        return self.of(source).ignore or self.shared.ignore

    def without_ignored(self, table: RawTable, source: str) -> RawTable:
        """A table without these columns.

        Raises:
            UserError: it lacks a column that the user named for this SOURCE.
        """
        header = table.header if table.header is not None else tuple(map(str, table.frame.columns))
        is_for_all = self.has_several and not self.of(source).ignore
        notes = []
        for name in self.ignored(source):
            option = f"--ignore {name}"
            if is_for_all:
                self._note(option, source, is_there=name in header)
                notes += [f"has no column '{name}': {option} applies to other files"] if name not in header else []
            else:
                check_column(name, header, option="--ignore", file=source)
        frame = table.frame.drop(columns=list(self.ignored(source)), errors="ignore")
        return replace(table, frame=frame, notes=(*table.notes, *notes))

    def columns_for(self, frame: pd.DataFrame, source: str) -> tuple[Columns, tuple[str, ...]]:
        """The options for a table: its own, else the shared ones for columns that it has; and notes."""
        own, shared = _with_value(self.of(source)), _with_value(self.shared)
        header = set(map(str, frame.columns))
        notes: list[str] = []

        def applies(option: str, column: str) -> bool:
            is_there = column in header
            self._note(option, source, is_there=is_there)
            if not is_there and self.has_several:
                notes.append(f"has no column '{column}': {option} applies to other files")
            return is_there or not self.has_several

        mapping = {
            ours: theirs
            for ours, theirs in shared.mapping.items()
            if ours not in own.mapping and applies(f"--map {ours}={theirs}", theirs)
        }
        value = own.value or tuple(name for name in shared.value if applies(f"--value {name}", name))
        params = own.params or tuple(name for name in shared.params if applies(f"--params {name}", name))
        directions = own.directions or shared.directions
        if len(directions) == len(shared.value) > len(value) and not own.directions:
            directions = tuple(d for d, name in zip(directions, shared.value, strict=True) if name in value)
        columns = Columns(mapping={**mapping, **own.mapping}, value=value, directions=directions, params=params)
        return columns, tuple(notes)

    def _note(self, option: str, source: str, *, is_there: bool) -> None:
        if is_there:
            self.used.add(option)
        else:
            self.missing.setdefault(option, source)

    def check(self, sweeps: Sequence[Sweep]) -> None:
        """Check that every option had an effect, after all SOURCEs were read.

        Args:
            sweeps: the sweeps of ``--sweep``.

        Raises:
            UserError: no SOURCE has a column that an option names, or an option is for a SOURCE that defines its
                own columns.
        """
        unused = next((option for option in self.missing if option not in self.used), None)
        if unused is not None and self.has_several:
            raise UserError(f"{unused}: no file has this column, {self.missing[unused]} for example")
        has_files = any(not kind for _, kind in self.kinds)
        for source, kind in self.kinds:
            option = self.of(source).first_option or ("" if has_files else self.shared.first_option)
            if kind and option:
                raise UserError(
                    f"{option} applies only to files: '{label_of(source)}' is {kind}, which defines its own "
                    "parameters and values"
                )
            if kind == "a study" and sweeps and all(other == "a study" for _, other in self.kinds):
                raise UserError(f"--sweep is for files and storages: the study '{source}' has its own sweep")


def _with_value(columns: Columns) -> Columns:
    """``--map value=COLUMN`` is ``--value COLUMN``."""
    if columns.value or "value" not in columns.mapping:
        return columns
    rest = {ours: theirs for ours, theirs in columns.mapping.items() if ours != "value"}
    return replace(columns, mapping=rest, value=(columns.mapping["value"],))
