"""Text that stays text in Markdown and in LaTeX, whatever a name or a cell holds."""

from __future__ import annotations

import re
from typing import Final

from hpo_batch.text.lines import printable

_LATEX: Final = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "\N{MINUS SIGN}": r"$-$",
    "\N{EN DASH}": "--",
    "\N{HORIZONTAL ELLIPSIS}": r"\dots{}",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "[": "{[}",
    "]": "{]}",
}
"""``[`` too: after ``\\\\`` a cell that begins with it is read as that command's optional argument"""


def markdown(text: object) -> str:
    """Text that no Markdown reader takes for markup, HTML or mathematics."""
    plain = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = re.sub(r"([\\`*\[\]|~$])", r"\\\1", plain)
    # an underscore between letters is one; elsewhere it may begin emphasis
    plain = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", plain)
    plain = re.sub(r"(https?|ftp)://", r"\1:&#47;&#47;", plain).replace("www.", "www&#46;").replace("@", "&#64;")
    return re.sub(r"^([#+=-])(?=\s|$|-|=)|^(\d+)([.)])(?=\s)", lambda m: _first(m), plain)


def _first(match: re.Match[str]) -> str:
    return f"\\{match[1]}" if match[1] else f"{match[2]}\\{match[3]}"


def latex(text: object) -> str:
    """Text as LaTeX sets it, in UTF-8."""
    return "".join(_LATEX.get(character, character) for character in printable(text))
