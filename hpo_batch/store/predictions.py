"""Keeps what was predicted of a study: the decisions file beside its sweep, copied when the study is made.

The sweep names the file and its digest in ``[previous]``, and the study's first frozen sweep keeps both: a prediction
that is changed later no longer fits, neither in the file nor in the copy.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from hpo_batch.errors import StorageError
from hpo_batch.files import read_regular, write_new
from hpo_batch.store.frozen import read_frozen, setting
from hpo_batch.store.home import StudyHome

MOST_BYTES: Final = 16 << 20
DIGEST: Final = "digest"


class Kept(Struct, frozen=True, kw_only=True):
    """The predictions of a study as they were made, or why they are not known."""

    by: str
    """the command that predicted"""
    previous: tuple[str, ...]
    """the studies that it predicted from"""
    digest: str
    """of the file; studies with the same one were predicted by the same call"""
    content: bytes = b""
    """of the file; empty if ``why`` says so"""
    why: str = ""


def digest_of(content: bytes) -> str:
    """SHA-256 of a decisions file, as ``[previous] digest`` has it."""
    return hashlib.sha256(content).hexdigest()


def find_beside(folder: Path, *, name: str | None, digest: str | None) -> tuple[bytes | None, str]:
    """The decisions file beside a sweep, and why it cannot be used; both empty if the sweep names none.

    Args:
        folder: of the sweep's file.
        name: of the decisions file, from ``[previous]``.
        digest: what its content must have.
    """
    if name is None or digest is None:
        return None, ""
    path = folder / name
    try:
        content = read_regular(path, most=MOST_BYTES)
    except FileNotFoundError:
        return None, f"the predictions are not taken into the study: '{path}' is not there; put it beside the sweep"
    except OSError as error:
        return None, f"the predictions are not taken into the study: '{path}' cannot be read: {error}"
    if digest_of(content) != digest:
        return None, f"the predictions are not taken into the study: '{path}' was changed after it was written"
    return content, ""


def keep(home: StudyHome, content: bytes) -> None:
    """Copy a decisions file into the study, if it has none. Nothing is ever replaced.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        with contextlib.suppress(FileExistsError):
            write_new(home.decisions, content)
    except OSError as error:
        raise StorageError.because(f"cannot write '{home.decisions}'", error) from error


def read_kept(home: StudyHome) -> Kept | None:
    """What was predicted of a study before it started; None if nothing was."""
    first = read_frozen(home, 1)
    digest = setting(first, "previous", DIGEST, None)
    if not isinstance(digest, str):
        return None
    by, studies = setting(first, "previous", "by", None), setting(first, "previous", "study", None)
    known = Kept(
        by=by if isinstance(by, str) else "",
        previous=tuple(map(str, studies)) if isinstance(studies, list) else (),
        digest=digest,
    )
    try:
        content = read_regular(home.decisions, most=MOST_BYTES)
    except FileNotFoundError:
        why = "its decisions.json is not there: it was not beside the sweep at submission, or was removed since"
        return replace(known, why=why)
    except OSError as error:
        return replace(known, why=f"its decisions.json cannot be read: {error}")
    if digest_of(content) != digest:
        why = "its decisions.json was changed after it was written: what was predicted is not known any more"
        return replace(known, why=why)
    return replace(known, content=content)
