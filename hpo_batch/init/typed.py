"""The command that somebody types by hand: what starts the script, the script, and the words behind it. Pure.

``--from 'accelerate launch train.py fit --data here --lr 0.01'``: a number is the middle of its option's range, as a
script's default is, if that option is searched. Everything else stays in the command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hpo_batch.errors import UserError
from hpo_batch.init.option import Kind, Option, Script, as_value
from hpo_batch.records import Value

_PYTHON: Final = re.compile(r"(?:.*/)?python[\d.]*")
_OPTION: Final = re.compile(r"--?[A-Za-z]")


@dataclass(frozen=True, kw_only=True)
class Typed:
    """A command line, taken apart."""

    script: Path
    launcher: tuple[str, ...] = ()
    """what stands before the script"""
    subcommand: str = ""
    """the words behind the script up to its first option: a subcommand, or positional arguments"""
    words: tuple[str, ...] = ()
    """the others"""
    module: str = ""
    """the script's name behind ``-m``, if that is how it is started"""

    @property
    def python(self) -> str:
        """The Python that starts the script; empty if none is named."""
        return self.launcher[0] if self.launcher and _PYTHON.fullmatch(self.launcher[0]) else ""


def read_typed(text: str) -> Typed:
    """Take a command apart. What is a file as a whole, also with blanks, is a script.

    Raises:
        UserError: no script is named.
    """
    if text.strip() and Path(text).exists():
        return Typed(script=Path(text))
    try:
        words = shlex.split(text)
    except ValueError:  # a quote without an end
        words = [text]
    if not words:
        raise UserError("--from names a script")
    position = next((i for i, word in enumerate(words) if word.endswith(".py")), None)
    module = ""
    if position is None and "-m" in words[:-1]:
        position = words.index("-m") + 1
        module = words[position]
    position = position or 0
    behind = words[position + 1 :]
    count = next((i for i, word in enumerate(behind) if not _is_plain(word)), len(behind))
    return Typed(
        launcher=tuple(words[: position - 1 if module else position]),
        script=_file_of(module) if module else Path(words[position]),
        module=module,
        subcommand=" ".join(behind[:count]),
        words=tuple(behind[count:]),
    )


def _file_of(module: str) -> Path:
    """The file of a module, or of the package that it is: ``src/train.py``, ``src/train/__main__.py``."""
    path = Path(*module.split("."))
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


def with_typed(script: Script, typed: Typed) -> Script:
    """A script with what somebody types, which are the defaults of its options."""
    known = {_plain(option.name): option for option in script.options if not option.is_positional}
    told: dict[Option, Option] = {}
    words_of: list[tuple[str, tuple[str, ...]]] = []
    for option, words, value in _groups(typed.words, known, is_hydra=script.is_hydra):
        words_of.append((option.flag if option else "", words))
        if option is not None:
            told[option] = replace(option, is_typed=True, default=_default(option, value))
    options = tuple(told.get(option, option) for option in script.options)
    return replace(script, options=options, typed=tuple(words_of), launcher=typed.launcher)


def is_number(option: Option) -> bool:
    """Whether what was typed for an option is a number, around which it can be searched."""
    is_real = isinstance(option.default, int | float) and not isinstance(option.default, bool)
    return is_real and not option.choices and option.kind in (Kind.INTEGER, Kind.REAL, Kind.UNKNOWN)


def _groups(
    words: Sequence[str], known: Mapping[str, Option], *, is_hydra: bool
) -> Iterator[tuple[Option | None, tuple[str, ...], str | None]]:
    """Each option with its words and its value, if it has one; words of no known option alone."""
    position = 0
    while position < len(words):
        name, equals, value = words[position].partition("=")
        is_option = _OPTION.match(name) is not None or (is_hydra and equals != "")
        option = known.get(_plain(name.lstrip("-"))) if is_option else None
        if option is None or equals or option.is_flag:
            yield option, (words[position],), value if equals else None
            position += 1
            continue
        behind = words[position + 1 :]
        count = next((i for i, word in enumerate(behind) if _OPTION.match(word)), len(behind))
        count = count if option.kind is Kind.LIST else min(count, 1)
        yield option, tuple(words[position : position + 1 + count]), behind[0] if count == 1 else None
        position += 1 + count


def _default(option: Option, value: str | None) -> Value | None:
    """The value that was typed, in place of the script's default."""
    if value is None:
        return True if option.is_flag else option.default
    read = as_value(value)
    if option.kind is Kind.REAL and isinstance(read, int) and not isinstance(read, bool):
        return float(read)
    return read


def _is_plain(word: str) -> bool:
    """Whether a word is neither an option nor an override of Hydra's: ``+experiment=a``, ``~callbacks``, ``lr=1``."""
    return not word.startswith(("-", "+", "~")) and "=" not in word


def _plain(name: str) -> str:
    return name.replace("-", "_")
