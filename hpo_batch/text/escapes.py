"""Escapes text for Markdown and LaTeX."""

from __future__ import annotations

import re
from typing import Final

from hpo_batch.text.lines import printable

# including ``[``: at the start of a cell it would be the optional argument of the preceding ``\\``
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


def markdown(text: object) -> str:
    """Escape text so that Markdown readers find no markup, HTML, links or mathematics in it.

    What is harmless where it stands is left as it is, so that the raw text reads well: ``p < .001``, ``[0.70, 0.72]``.
    """
    plain = printable(text)
    # what may begin an entity, and what may begin an element
    plain = re.sub(r"&(?=[A-Za-z#])", "&amp;", plain)
    if re.search(r"<[A-Za-z/!?]|<$", plain):
        plain = plain.replace("<", "&lt;").replace(">", "&gt;")
    plain = re.sub(r"^>", "&gt;", plain)
    plain = re.sub(r"([\\`*|~$])", r"\\\1", plain)
    # a link needs one of these; at the start it might be a box to tick, or the definition of a link
    if re.search(r"\][(\[]|\[\^|^\[", plain) or plain.count("[") != plain.count("]"):
        plain = re.sub(r"([\[\]])", r"\\\1", plain)
    # CommonMark: underscores inside a word are literal, elsewhere they may start emphasis
    plain = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", plain)
    plain = re.sub(r"(https?|ftp)://", r"\1:&#47;&#47;", plain).replace("www.", "www&#46;").replace("@", "&#64;")
    return re.sub(r"^([#+=-])(?=\s|$|-|=)|^(\d+)([.)])(?=\s)", lambda m: _first(m), plain)


def _first(match: re.Match[str]) -> str:
    return f"\\{match[1]}" if match[1] else f"{match[2]}\\{match[3]}"


def latex(text: object) -> str:
    """Escape text for LaTeX with UTF-8 input."""
    return "".join(_LATEX.get(character, character) for character in printable(text))
