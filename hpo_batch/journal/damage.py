"""Damaged bytes in a journal: told apart from records, set aside, and blanked so that plain Optuna loads the file.

They come from plain Optuna, which glues its next record to a torn one, from machines that lose power, and from editors.
A line of blanks would end plain Optuna too, so a damaged line is blanked with its newline: blanks before a record are
allowed in JSON, and the next record follows.

Only what nobody can have relied on is blanked. Where a whole record may have been destroyed nothing is guessed: without
the record that made a trial, all later ones would speak of other trials.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hpo_batch.errors import JournalCorrupt
from hpo_batch.files import loads, open_regular

BEGINNING = b'{"op_code":'
"""of each record, as we and Optuna write it. It cannot stand in a text, where its quotes would be escaped."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Bytes of a journal that are no record."""

    start: int
    content: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.content)


def is_sound(lines: bytes) -> bool:
    """Whether there is no sign of damage in whole lines: fast, since every worker asks it of all that is written."""
    if not lines:
        return True
    # each line begins as a record does, and nothing else does; each ends as one does
    hinges = lines.count(b"}\n" + BEGINNING)
    whole = lines.startswith(BEGINNING) and lines.endswith(b"}\n")
    return whole and hinges + 1 == lines.count(BEGINNING) == lines.count(b"\n") and b"\0" not in lines


def sound_lines(lines: bytes) -> bytes:
    """Whole lines up to the first that shows a sign of damage."""
    end = 0
    while (after := lines.find(b"\n", end) + 1) and is_sound(lines[end:after]):
        end = after
    return lines[:end]


def salvage(lines: bytes, offset: int) -> tuple[bytes, list[Stretch]]:
    """The records in whole lines, as lines, and the stretches that are none; neighbouring stretches are one.

    Args:
        offset: at which the lines begin in the journal.

    Raises:
        JournalCorrupt: a record may have been destroyed.
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
                    f"the journal is damaged at byte {offset}: {bad[:80]!r} was a record once; "
                    f"'hpo-batch doctor STUDY --rebuild' makes the journal again from the trial folders"
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
    """Where a record may begin: at the first byte that is not blank, or behind a torn one."""
    first = len(line) - len(line.lstrip(b" "))
    starts = [first]
    at = line.find(BEGINNING, first + 1)
    while at >= 0:
        starts.append(at)
        at = line.find(BEGINNING, at + 1)
    return starts


def _is_record(line: bytes) -> bool:
    """Whether it has the form of one. What it says is the reader's business."""
    try:
        _decoder.decode(line)
    except (ValueError, RecursionError):
        try:
            record = loads(line)  # plain Optuna writes NaN and Infinity, which are not JSON
        except ValueError:
            return False
        return isinstance(record, dict) and isinstance(record.get("op_code"), int)
    return True


def _is_nothing_lost(bad: bytes) -> bool:
    """Whether bytes that are no record never were one: blanks, a torn beginning, or something else altogether."""
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
            return "truncated" in str(error)
        return b'"op_code"' not in rest and not rest.endswith(b"}")
    return True  # some value, but no record


class _Form(msgspec.Struct):
    op_code: int


_decoder = msgspec.json.Decoder(_Form)


def mend(fd: int, stretches: Sequence[Stretch], *, keep: Path) -> None:
    """Copy each stretch to ``keep`` and blank it, unless somebody else has done it already. Under the lock.

    Raises:
        OSError: the file system refused.
    """
    for stretch in stretches:
        if os.pread(fd, len(stretch.content), stretch.start) != stretch.content:
            continue
        with os.fdopen(open_regular(keep, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as file:
            file.write(stretch.content.rstrip(b"\n") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.pwrite(fd, b" " * len(stretch.content), stretch.start)
        os.fsync(fd)


def still_the_same(before: bytes, now: bytes) -> bool:
    """Whether bytes that were read are still there, but for what was blanked since."""
    return len(before) == len(now) and all(a in (b, 0x20) for a, b in zip(now, before, strict=True))
