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
    """Rows of a tool that does not say what its columns mean. ``foreign`` classifies them."""

    frame: pd.DataFrame
    """one row per trial or per step of a trial, columns under the tool's own names"""
    label: str
    """name of the study if no column has it"""
    notes: tuple[str, ...] = ()
    """assumptions made while reading, one sentence each"""
    header: tuple[str, ...] | None = None
    """all columns that the tool wrote, ignored and empty ones too; None if they are those of ``frame``"""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The parts of a source to read, and the user's options about its columns."""

    sweeps: Sequence[Sweep] = ()
    """the sweeps that the trials come from (``--sweep``)"""
    reports: bool = True
    attempts: bool = True
    sweep_of_study: bool = True
    """read the frozen sweep of a study: space, baseline, expectations"""
    ignored: tuple[str, ...] = ()
    """columns that the caller will drop, so a source need not read them"""
    keep: tuple[str, ...] = ("value",)
    """columns to keep even if they are empty"""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One kind of source.

    A ``TrialsTable`` from ``read`` defines its own parameters and values: options about columns are rejected for
    it. For a ``RawTable``, they follow from the names and content of its columns, and from options.
    """

    kind: str
    """for messages: ``an Optuna storage``"""
    knows: Callable[[Place], bool]
    """whether it can read this SOURCE; asked in the order of the registry"""
    read: Callable[[Place, Request], Sequence[TrialsTable | RawTable]]
    """Raises UserError (naming file, column and remedy) or StorageError (it cannot be read)."""
    group: Callable[[str], str | None] = lambda text: None
    """SOURCEs with the same group form one table; None for a table of its own"""
