"""The interface of a source of trials: whether it can read something, and how. ``registry`` lists all sources.

To read the files of another tool, write a module with one ``Source`` and add it to ``registry.SOURCES``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from hpo_batch.results.table import TrialsTable
from hpo_batch.sources.place import Place

if TYPE_CHECKING:
    from hpo_batch.sweep.schema import Sweep


@dataclass(frozen=True, kw_only=True)
class RawTable:
    """Rows of a tool that does not say what its columns mean. ``foreign`` finds out which is what."""

    frame: pd.DataFrame
    """one row per trial or per step of a trial, columns under the tool's own names"""
    label: str
    """what to call the study if no column names it"""
    notes: tuple[str, ...] = ()
    """what was assumed while reading, one sentence each"""
    header: tuple[str, ...] | None = None
    """all columns that the tool wrote; None: those of ``frame``"""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the reader needs, and what the user said about the columns of this SOURCE."""

    sweeps: Sequence[Sweep] = ()
    """of ``--sweep``: what the trials come from"""
    reports: bool = True
    attempts: bool = True
    sweep_of_study: bool = True
    """read the frozen sweep of a study: space, baseline, expectations"""
    ignored: tuple[str, ...] = ()
    """columns that are left out anyway: a source need not read them"""
    keep: tuple[str, ...] = ("value",)
    """columns to keep even if they are empty"""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One kind of source.

    A table that ``read`` returns as ``TrialsTable`` says itself what its parameters and values are: options about
    columns are refused for it. ``RawTable`` leaves that to the names and content of its columns, and to options.
    """

    kind: str
    """for messages: ``an Optuna storage``"""
    knows: Callable[[Place], bool]
    """whether this can be read here; asked in the order of the registry"""
    read: Callable[[Place, Request], Sequence[TrialsTable | RawTable]]
    """Raises UserError (file, column and what to do are named) or StorageError (it cannot be read)."""
    group: Callable[[str], str | None] = lambda text: None
    """SOURCEs with the same group are one table; None: a table of its own"""
