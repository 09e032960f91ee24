"""The options of a script, however they were found."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from hpo_batch.records import Value

HOW: Final = frozenset(
    ("callbacks", "logger", "trainer", "paths", "experiment", "debug", "extras", "local", "launcher", "hparams_search")
)
"""groups of options that say how a training runs, and not what it trains"""


class Kind(StrEnum):
    """What an option takes."""

    INTEGER = "integer"
    REAL = "real"
    BOOLEAN = "boolean"
    TEXT = "text"
    PATH = "path"
    LIST = "list"
    """several values, or one of a form of its own"""
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option or positional argument of a script."""

    flag: str
    """as it is typed: ``--batch-size``, ``-lr``; of Hydra ``model.lr``; of a positional argument its name"""
    kind: Kind = Kind.UNKNOWN
    default: Value | None = None
    """None if there is none, or it is unknown"""
    choices: tuple[Value, ...] = ()
    is_required: bool = False
    is_flag: bool = False
    """whether it takes no value: there or not"""
    off: str = ""
    """the flag that switches it off: ``--no-amp``"""
    is_positional: bool = False
    low: float | None = None
    """the least that it takes, if it says so"""
    high: float | None = None
    """the most that it takes, if it says so"""
    why_left: str = ""
    """why it cannot be searched, if its source says so"""
    domain: Any = field(default=None, compare=False)
    """between which values its author searches it: a value of ``[space]``; None if that is unknown"""
    is_searched: bool = False
    """whether its author searches it"""
    is_typed: bool = False
    """whether the user has typed its default"""
    is_of_trainer: bool = False
    """whether a library of Hugging Face declares it, and not the script"""

    @property
    def name(self) -> str:
        """Without dashes: ``batch-size``."""
        return self.flag.lstrip("-")

    @property
    def words(self) -> str:
        """The name in one spelling, without what it belongs to: ``--model.hidden-dim`` is ``hidden_dim``."""
        last = self.name.rpartition(".")[2].replace("-", "_")
        return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", last).lower()


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script and its options."""

    path: Path
    text: str
    options: tuple[Option, ...]
    subcommand: str = ""
    module: str = ""
    """its name, if it has to be run as ``python -m package.train``"""
    is_hydra: bool = False
    has_equals: bool = False
    """whether it takes ``--name=value`` and no other form"""
    given: tuple[str, ...] = ()
    """words that the command needs and that are no options to search"""
    typed: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """what the user types behind it: words with the flag of the option they belong to, which is empty if it is none"""
    launcher: tuple[str, ...] = ()
    """what starts it, if the user says so: ``accelerate launch``"""
    fields: frozenset[str] = frozenset()
    """names of the fields of its own dataclasses"""
    is_of_trainer: bool = False
    """whether it takes the options of the Trainer of Hugging Face"""
    metric: str = ""
    """what its configuration optimizes"""
    direction: str | None = None
    """of the metric, if its configuration says so"""
    notes: tuple[str, ...] = ()
    """what the user should know of how they were found"""


def as_value(text: str) -> Value | None:
    """A value in the text of a help message or a YAML file: ``1e-3``, ``True``, ``adam``; None for None and null."""
    text = text.strip().strip("'\"`")
    if text.lower() in ("none", "null", ""):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?", text):
        return float(text)
    return text


def kind_of(value: Value | None) -> Kind:
    """What an option takes whose default this is."""
    match value:
        case bool():
            return Kind.BOOLEAN
        case int():
            return Kind.INTEGER
        case float():
            return Kind.REAL
        case str():
            return Kind.TEXT
        case None:
            return Kind.UNKNOWN
