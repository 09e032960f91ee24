"""Types of sweep values besides numbers and strings: names, commands, expressions and durations.

Each has a function that converts or checks it and raises ValueError with the message for the user.
"""

from __future__ import annotations

import keyword
import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from hpo_batch.errors import ExpressionError, UserError
from hpo_batch.expressions import parse
from hpo_batch.records import Value, is_finite
from hpo_batch.space.declaration import why_no_value
from hpo_batch.sweep.tables import Limits, Through
from hpo_batch.sweep.walltime import format_walltime, parse_walltime
from hpo_batch.text.values import shown

ENTRY: Final = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"
"""``package.module:name``"""
GROUPS: Final = ("baseline", "best", "elites")
"""names in [expect] besides trials and sets"""
MOST_NESTED: Final = 20
"""depth of tables and lists in an option; deeper ones could exceed Python's recursion limit when written as JSON"""


def study_name(name: str) -> str:
    """Check a study's name. On the command line, ``7`` or ``1-3`` would mean trials and ``x.toml`` a sweep file.

    Raises:
        ValueError: the name is not valid.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", name) or re.fullmatch(r"[0-9-]+", name):
        rules = "use at most 100 of a-z 0-9 . _ -, begin with a letter or digit, not only digits"
        raise ValueError(f"{shown(name)} cannot be a study's name: {rules}")
    if name.endswith(".toml"):
        raise ValueError(f"'{name}' cannot be a study's name: it would be taken for a sweep file")
    return name


def trial_name(name: str) -> str:
    # an identifier, because [expect] refers to trials by name
    if not re.fullmatch(r"[A-Za-z_]\w{0,99}", name, flags=re.ASCII) or keyword.iskeyword(name):
        raise ValueError(f"{shown(name)} is not an identifier (letters, digits and _, and no keyword of Python)")
    if name in GROUPS:
        raise ValueError(f"'{name}' is a group in [expect] and cannot be a trial's name")
    return name


def command_words(command: object) -> object:
    """Check that a command can be split and is not empty; ``objective`` checks its placeholders."""
    if isinstance(command, list | tuple) and all(isinstance(word, str) for word in command):
        words = list(command)
    elif isinstance(command, str):
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ValueError(f"the command cannot be split: {error}; write it as a list of arguments") from error
    else:
        raise ValueError(f"a command must be a text or a list of texts, not {shown(command)}")
    if not words or not words[0].strip():
        raise ValueError("the command is empty")
    return command


def _value(value: object) -> object:
    reason = why_no_value(value)
    if reason:
        raise ValueError(f"{shown(value)}: {reason}")
    return value


def _sbatch_value(value: object) -> object:
    if not isinstance(value, str | int):
        raise ValueError(f"an option of sbatch must be a text, an integer, true or false, not {shown(value)}")
    return value


def _option(value: object, depth: int = 0) -> object:
    """Check that an option can be stored as JSON without change."""
    if isinstance(value, bool | str) or value is None or is_finite(value):
        return value
    if depth < MOST_NESTED and isinstance(value, Mapping):
        return {key: _option(inner, depth + 1) for key, inner in value.items()}
    if depth < MOST_NESTED and isinstance(value, list | tuple):
        return [_option(inner, depth + 1) for inner in value]
    raise ValueError(
        f"an option must be a finite number, a text, true, false, a list or a table of these, not {shown(value)}"
    )


def _expression(text: str) -> str:
    try:
        parse(text)
    except ExpressionError as error:
        raise ValueError(str(error)) from error
    return text


def _seconds(value: object) -> float | None:
    try:
        return parse_walltime(value)
    except UserError as error:
        raise ValueError(str(error)) from error


def as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


ExpressionText = Annotated[str, Through(_expression, "after")]
Seconds = Annotated[float, Through(_seconds, "before", spelled=format_walltime)]
"""a duration in SLURM's formats: "4:00:00", "1-12", "240" (minutes)"""
# "instead": the exact type of a value is kept, whatever pydantic does with unions
ParamValue = Annotated[Value, Through(_value, "instead")]
SbatchValue = Annotated[str | int | bool, Through(_sbatch_value, "instead")]
# strict: by default, pydantic converts "no" to false and true to 1.0
# https://docs.pydantic.dev/latest/concepts/conversion_table/
Flag = Annotated[bool, Limits(strict=True)]
Number = Annotated[float, Limits(strict=True)]
Options = Annotated[dict[str, Any], Through(_option, "after")]
Policy = Literal["retry", "fail"]
Direction = Literal["minimize", "maximize"]


MOST_FUSED = 1024


def fused_trials(value: object) -> object:
    if value is None or value == "auto" or (type(value) is int and 1 <= value <= MOST_FUSED):
        return value
    raise ValueError(f'must be "auto" or a number of trials from 1 to {MOST_FUSED}, not {shown(value)}')
