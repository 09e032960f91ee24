"""What a SOURCE on the command line is: a URL, a file, or a study's name; with the study that ``#NAME`` picks of it.

A path may hold a ``#`` itself, and so may a study's name: what is there on the disk decides.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hpo_batch.text.secrets import masked

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SQLITE: Final = re.compile(r"sqlite(\+[A-Za-z0-9_]+)?://", re.IGNORECASE)


def is_url(source: str) -> bool:
    return _URL.match(source) is not None


def split(source: str) -> tuple[str, str]:
    """The place, a path or a URL, and the name of a study in it; an empty name where none was given."""
    for end, name in _ends(source):
        if (path := file_of(source[:end])) is not None and _is_file(path):
            return source[:end], name
    if not is_url(source):
        place, _, name = source.partition("#")
        return place, name
    # the # of a password that nobody encoded stands before the first slash behind the ://
    behind = source.find("/", source.index("://") + 3)
    end = source.find("#", behind) if behind >= 0 else source.find("#")
    return (source, "") if end < 0 else (source[:end], source[end + 1 :])


def _ends(source: str) -> Iterator[tuple[int, str]]:
    """Where the place may end, the longest first."""
    yield len(source), ""
    for end in (i for i in range(len(source) - 1, -1, -1) if source[i] == "#"):
        yield end, source[end + 1 :]


def file_of(place: str) -> Path | None:
    """The file that a path or the URL of a SQLite database means; None for any other URL, and for one in memory."""
    if not is_url(place):
        return Path(place)
    match = _SQLITE.match(place)
    if match is None:
        return None
    text, _, query = place[match.end() :].partition("?")
    if not text.startswith("/"):
        return None  # no file, or a host, which SQLite has none of
    text = text[1:]
    if query and _is_file(Path(f"{text}?{query}")):
        return Path(f"{text}?{query}")  # a path that nobody encoded
    if "#" in query:
        return None  # the name of a study ends a query
    if text.startswith("file:"):  # SQLite's own form of URL
        text = urllib.parse.unquote(re.sub(r"^//(localhost)?(?=/)", "", text.removeprefix("file:")))
        if "mode=memory" in query:
            return None
    return None if text in ("", ":memory:") else Path(text)


def existing_file(source: str) -> Path | None:
    """The file on this machine that a SOURCE means, with or without a study in it; None if there is none."""
    path = file_of(split(source)[0])
    return path if path is not None and _is_file(path) else None


def label_of(source: str) -> str:
    """Short, and without what a URL may hold: a password."""
    place, study = split(source)
    path = file_of(place)
    safe = masked(place)
    bare = safe.partition("?")[0].rpartition("/")[2].rpartition("@")[2] or safe.partition("://")[0]
    return (bare if path is None else path.name) + (f"#{study}" if study else "")


def _is_file(path: Path) -> bool:
    """Whether there is a file; not where this user may not look: what the place means as a study is told instead."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
