"""Rejects control characters in the values of a sweep.

Values of ``[job]`` become lines of the job's script, where a newline would start another sbatch option or command. A
NUL ends arguments and environment variables (execve(2)). ``rules`` checks sweep files; ``launch`` checks again when it
writes a script, because frozen sweeps and paths do not pass the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hpo_batch.errors import UserError
from hpo_batch.records import Problem
from hpo_batch.sweep.lines import Key
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.tables import to_raw
from hpo_batch.text.lines import one_line
from hpo_batch.text.values import shown

CONTROLS: Final = "".join(map(chr, (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029)))
"""including characters that some programs treat as line ends"""
_ON_A_LINE: Final = re.compile(f"[{re.escape(CONTROLS)}]")
_IN_LINES: Final = re.compile(f"[{re.escape(CONTROLS.replace(chr(9), '').replace(chr(10), ''))}]")
_NUL: Final = re.compile("\0")


def control_in(text: str) -> str:
    """The first control character of a text, escaped for messages; empty if there is none."""
    control = _ON_A_LINE.search(text)
    return one_line(control[0]) if control else ""


def check_line(key: str, value: object) -> None:
    """Check that an option fits on one line of a script.

    Raises:
        UserError: a part of it would become another option or command.
    """
    # the value's text: numbers and booleans of [job.sbatch] are written with str() too
    for text in (key, str(value)):
        if control := control_in(text):
            message = f"{shown(text)} cannot be in a batch script: it contains the control character {control}"
            raise UserError(f"{one_line(key)}: {message}")
    if re.search(r"[\s=]", key):
        raise UserError(f"{shown(key)} is not the long name of an sbatch option")


def control_problems(sweep: Sweep) -> Iterator[Problem]:
    """Problems for texts of a sweep with control characters."""
    for key, text in _texts(to_raw(sweep), ()):
        # environ entries are NAME=value, so a name cannot contain "=" (environ(7))
        if key[:2] == ("objective", "env") and text == key[-1] and ("=" in text or not text):
            yield Problem(key=key, message=f"{shown(text)} cannot be the name of an environment variable")
        elif control := _forbidden(key, text).search(text):
            why = "ends the text" if control[0] == "\0" else "would start another line, or be lost"
            yield Problem(
                key=key, message=f"{shown(text)} contains the control character {one_line(control[0])}, which {why}"
            )


def _forbidden(key: Key, text: str) -> re.Pattern[str]:
    if key[:2] == ("job", "setup"):
        return _IN_LINES  # shell code may have several lines
    if key[:1] == ("job",) or key[:2] in (("objective", "cwd"), ("study", "import")):
        return _ON_A_LINE
    if key[:2] == ("objective", "env") and text == key[-1]:
        return _ON_A_LINE
    return _NUL


def _texts(node: Any, key: Key) -> Iterator[tuple[Key, str]]:
    """All texts with their keys, including the names of keys."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, Mapping):
        for name, inner in node.items():
            yield (*key, name), name
            yield from _texts(inner, (*key, name))
    elif isinstance(node, list | tuple):
        for i, inner in enumerate(node):
            yield from _texts(inner, (*key, i))
