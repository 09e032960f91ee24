"""Finds damaged bytes in a journal and overwrites them with blanks, so that plain Optuna can load the file.

Damage comes from plain Optuna, which appends its next record to a torn one without a newline, from power failures and
from editors. A blank line would stop plain Optuna, so a damaged line is blanked together with its newline: JSON allows
blanks before the next record.

Only bytes that were never a complete record are blanked. If a whole record may be lost, the journal is reported as
corrupt: trial ids are positions in the file, so a missing record would shift all later trials.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from hpo_batch.errors import JournalCorrupt
from hpo_batch.files import loads, open_regular

BEGINNING = b'{"op_code":'
"""start of each record, as written by Optuna and by us. It cannot occur in a JSON string, where quotes are escaped."""


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a journal that are not a record."""

    start: int
    content: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.content)


def is_sound(lines: bytes) -> bool:
    """Whether whole lines show no sign of damage. Byte counts only: every worker checks all that is written."""
    if not lines:
        return True
    # every line starts and ends like a record, and BEGINNING occurs nowhere else
    hinges = lines.count(b"}\n" + BEGINNING)
    whole = lines.startswith(BEGINNING) and lines.endswith(b"}\n")
    return whole and hinges + 1 == lines.count(BEGINNING) == lines.count(b"\n") and b"\0" not in lines


def sound_lines(lines: bytes) -> bytes:
    """Whole lines before the first that shows a sign of damage."""
    end = 0
    while (after := lines.find(b"\n", end) + 1) and is_sound(lines[end:after]):
        end = after
    return lines[:end]


def salvage(lines: bytes, offset: int) -> tuple[bytes, list[Stretch]]:
    """Split whole lines into records and damaged stretches. Adjacent stretches are merged.

    Args:
        lines: whole lines.
        offset: their position in the journal, in bytes.

    Raises:
        JournalCorrupt: a record may have been lost.
    """
    records: list[bytes] = []
    stretches: list[Stretch] = []
    for line in lines.split(b"\n")[:-1]:
        line += b"\n"
        good = next((start for start in _beginnings(line) if _is_record(line[start:])), None)
        bad = line if good is None else line[:good]
        if bad.strip(b" ") or good is None:
            if not _is_nothing_lost(bad):
                raise JournalCorrupt(
                    f"the journal is damaged at byte {offset}: {bad[:80]!r} may have been a record; "
                    f"'hpo-batch doctor STUDY --rebuild' rebuilds the journal from the trial folders"
                )
            if stretches and stretches[-1].end == offset:
                bad = stretches[-1].content + bad
                start = stretches.pop().start
            else:
                start = offset
            stretches.append(Stretch(start=start, content=bad))
        if good is not None:
            records.append(line[good:])
        offset += len(line)
    return b"".join(records), stretches


def _beginnings(line: bytes) -> list[int]:
    """Positions where a record may start: at the first non-blank byte, or after a torn record."""
    first = len(line) - len(line.lstrip(b" "))
    starts = [first]
    at = line.find(BEGINNING, first + 1)
    while at >= 0:
        starts.append(at)
        at = line.find(BEGINNING, at + 1)
    return starts


def _is_record(line: bytes) -> bool:
    """Whether the line has the form of a record. Its content is checked on replay."""
    try:
        _decoder.decode(line)
    except (ValueError, RecursionError):
        try:
            record = loads(line)  # plain Optuna writes NaN and Infinity, which msgspec rejects
        except ValueError:
            return False
        return isinstance(record, dict) and isinstance(record.get("op_code"), int)
    return True


def _is_nothing_lost(bad: bytes) -> bool:
    """Whether damaged bytes never were a complete record: blanks, a torn start of one, or unrelated text."""
    first, *others = bad.split(BEGINNING)
    return _never_was_one(first) and all(_never_was_one(BEGINNING + other) for other in others)


def _never_was_one(piece: bytes) -> bool:
    rest = piece.strip(b" \0\r\n")
    if not rest or BEGINNING.startswith(rest):
        return True
    try:
        msgspec.json.decode(rest)
    except (ValueError, RecursionError) as error:
        if rest.startswith(BEGINNING):
            return "truncated" in str(error)  # msgspec's word for input that ends too early
        return b'"op_code"' not in rest and not rest.endswith(b"}")
    return True  # valid JSON, but not a record


class _Form(msgspec.Struct):
    op_code: int


_decoder = msgspec.json.Decoder(_Form)


def mend(fd: int, stretches: Sequence[Stretch], *, keep: Path) -> None:
    """Copy each stretch to ``keep`` and blank it, unless another process already has. Call with the lock held.

    Raises:
        OSError: from the file system.
    """
    for stretch in stretches:
        if os.pread(fd, len(stretch.content), stretch.start) != stretch.content:
            continue
        # the copy is on disk before the original is overwritten
        with os.fdopen(open_regular(keep, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as file:
            file.write(stretch.content.rstrip(b"\n") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.pwrite(fd, b" " * len(stretch.content), stretch.start)
        os.fsync(fd)


def still_the_same(before: bytes, now: bytes) -> bool:
    """Whether the bytes are unchanged, except for blanks written by ``mend``."""
    return len(before) == len(now) and all(a in (b, 0x20) for a, b in zip(now, before, strict=True))
