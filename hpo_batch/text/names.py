"""Suggestions and lists of names for messages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from hpo_batch.text.lines import LONGEST

MOST_LISTED = 30
MOST_COMPARED = 100
"""number of names compared with difflib, which takes milliseconds; a file may have thousands of mistakes"""


def listed(names: Iterable[object], *, most: int = MOST_LISTED) -> str:
    """Names in the given order, cut after ``most``: ``a, b, ... (7 more)``."""
    texts = [str(name) for name in names]
    rest = len(texts) - most
    return ", ".join(texts[:most]) + (f", ... ({rest} more)" if rest > 0 else "")


def nearest(name: str, known: Collection[str]) -> str:
    """The known name most similar to ``name``; empty if none is similar."""
    import difflib  # takes 3 ms to import, and is only needed for errors

    if len(name) > 2 * LONGEST:
        return ""
    candidates = list(known)
    if len(candidates) > MOST_COMPARED:
        alike = [k for k in candidates if k[:1] == name[:1] and abs(len(k) - len(name)) <= 2]
        candidates = alike[:MOST_COMPARED]
    guess = difflib.get_close_matches(name, candidates, n=1)
    return guess[0] if guess else ""


def did_you_mean(name: str, known: Collection[str], *, otherwise: str = "") -> str:
    """``; did you mean 'lr'?`` if a known name is similar, else ``otherwise``."""
    guess = nearest(name, known)
    return f"; did you mean '{guess}'?" if guess else otherwise


def plain_name(text: str) -> str:
    """A text as a name of files and studies: lower case, a-z 0-9 . _ -; empty if nothing is left."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-._")[:60]


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, made unique: the second ``runs`` becomes ``runs (2)``."""
    used = set()
    unique = []
    for name in names:
        one, number = name, 1
        while one in used or (number > 1 and one in names):
            number += 1
            one = f"{name} ({number})"
        used.add(one)
        unique.append(one)
    return unique
