"""Parse a SOURCE of the command line: a URL, a file or a study's name, and the study picked by ``#NAME``.

Paths and study names may contain ``#`` themselves, so the files on disk decide.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from hpo_batch.errors import StorageError
from hpo_batch.text.secrets import masked

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SQLITE: Final = re.compile(r"sqlite(\+[A-Za-z0-9_]+)?://", re.IGNORECASE)
# bytes read to detect the format; 64 KiB, since JSON may start with white space
_HEAD_BYTES: Final = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Place:
    """A SOURCE as it was typed, and what the disk has there. Sources use it to decide whether they can read it."""

    text: str
    root: Path
    """the logs directory"""
    files: tuple[Path, ...] = ()
    """all files, if several SOURCEs form one table"""

    @cached_property
    def path(self) -> Path | None:
        """The file on this machine, with or without ``#NAME`` in the text; None if there is none."""
        return existing_file(self.text)

    @property
    def is_url(self) -> bool:
        return is_url(self.text)

    @property
    def is_plain_file(self) -> bool:
        """Whether the text is the path of a file, and nothing else."""
        return self.path is not None and self.path == Path(self.text)

    @cached_property
    def is_folder(self) -> bool:
        try:
            return not self.is_url and Path(self.text).is_dir()
        except (OSError, ValueError):
            return False

    @cached_property
    def head(self) -> bytes:
        """The first bytes of the file; none where there is no file.

        Raises:
            StorageError: it cannot be read.
        """
        if self.path is None:
            return b""
        try:
            with self.path.open("rb") as file:
                return file.read(_HEAD_BYTES)
        except OSError as error:
            raise StorageError.because(f"cannot read '{self.path}'", error) from error


def is_url(source: str) -> bool:
    return _URL.match(source) is not None


def split(source: str) -> tuple[str, str]:
    """The path or URL, and the name of a study in it; an empty name if there is none."""
    for end, name in _ends(source):
        if (path := file_of(source[:end])) is not None and _is_file(path):
            return source[:end], name
    if not is_url(source):
        place, _, name = source.partition("#")
        return place, name
    # skip the host part: a password that is not percent-encoded may contain #
    behind = source.find("/", source.index("://") + 3)
    end = source.find("#", behind) if behind >= 0 else source.find("#")
    return (source, "") if end < 0 else (source[:end], source[end + 1 :])


def _ends(source: str) -> Iterator[tuple[int, str]]:
    """Possible ends of the path or URL, longest first."""
    yield len(source), ""
    for end in (i for i in range(len(source) - 1, -1, -1) if source[i] == "#"):
        yield end, source[end + 1 :]


def file_of(place: str) -> Path | None:
    """The file that a path or the URL of a SQLite database means; None for other URLs and for databases in memory."""
    if not is_url(place):
        return Path(place)
    match = _SQLITE.match(place)
    if match is None:
        return None
    text, _, query = place[match.end() :].partition("?")
    if not text.startswith("/"):
        return None  # no path, or a host, which SQLite does not support
    text = text[1:]
    if query and _is_file(Path(f"{text}?{query}")):
        return Path(f"{text}?{query}")  # the ? belongs to the path, which is not percent-encoded
    if "#" in query:
        return None  # the # starts the name of a study
    if text.startswith("file:"):  # SQLite's own URLs: https://www.sqlite.org/uri.html
        text = urllib.parse.unquote(re.sub(r"^//(localhost)?(?=/)", "", text.removeprefix("file:")))
        if "mode=memory" in query:
            return None
    return None if text in ("", ":memory:") else Path(text)


def existing_file(source: str) -> Path | None:
    """The file on this machine that a SOURCE means, with or without ``#NAME``; None if there is none."""
    path = file_of(split(source)[0])
    return path if path is not None and _is_file(path) else None


def label_of(source: str) -> str:
    """A short name for reports, without the password that a URL may contain."""
    place, study = split(source)
    path = file_of(place)
    safe = masked(place)
    bare = safe.partition("?")[0].rpartition("/")[2].rpartition("@")[2] or safe.partition("://")[0]
    return (bare if path is None else path.name) + (f"#{study}" if study else "")


def _is_file(path: Path) -> bool:
    """Also False without permission; then the text is tried as the name of a study."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
