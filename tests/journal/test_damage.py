"""Damaged bytes in a journal: set aside and blanked where nothing can have been lost, else told."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.errors import JournalCorrupt
from hpo_batch.journal.encode import Writer
from hpo_batch.journal.file import Journal
from hpo_batch.journal.state import JournalState
from hpo_batch.records import TrialState
from tests.journal.helpers import assert_read_as_optuna_reads, plain_storage, read_state

WHOLE = b'{"op_code":8,"worker_id":"w","trial_id":0,"user_attr":{"\xc3\xa9":"a \\"quoted\\" {\\"op_code\\":7,} text"}}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.jsonl"
    writer = Writer("w")
    create = writer.create_trial(now=1.0, state=TrialState.RUNNING, params={}, distributions={}, system_attrs={})
    with Journal(path).transaction() as transaction:
        transaction.append([writer.create_study("s", ["minimize"]), create], sync=False)
    return path


def damage(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def mend(path: Path) -> bytes:
    with Journal(path).transaction() as transaction:
        return transaction.new


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
@pytest.mark.parametrize("between", [b"", b"\n", b"\0\0\0"])
def test_a_torn_record_before_a_whole_one(path: Path, cut: int, between: bytes) -> None:
    if WHOLE[:cut].endswith(b"}") and between == b"\n":
        pytest.skip("told apart by decoding only: nobody writes a newline behind a torn record that ends so")
    before = path.read_bytes()
    damage(path, WHOLE[:cut] + between + WHOLE + b"\n")
    assert mend(path).splitlines()[-1].lstrip() == WHOLE
    assert path.read_bytes() == before + b" " * (cut + len(between)) + WHOLE + b"\n"
    assert path.with_suffix(".bad").read_bytes().rstrip(b"\n") == (WHOLE[:cut] + between).rstrip(b"\n")
    assert_read_as_optuna_reads(path)
    assert list(read_state(path).trials[0].user_attrs) == ["é"]


@pytest.mark.parametrize(
    "nothing", [b"\n", b"   \n", b"\r\n", b"\xff\xfe\x00 garbage\n", b"\n\n\n", b"[1]\n", b"echo\n"]
)
def test_what_never_was_a_record_is_blanked(path: Path, nothing: bytes) -> None:
    before = path.read_bytes()
    damage(path, nothing + WHOLE + b"\n")
    assert read_state(path).trials[0].user_attrs  # without a lock, and without mending
    assert mend(path).splitlines()[-1].lstrip() == WHOLE
    assert path.read_bytes() == before + b" " * len(nothing) + WHOLE + b"\n"
    assert_read_as_optuna_reads(path)


def test_at_the_end_it_is_cut_like_any_torn_tail(path: Path) -> None:
    before = path.read_bytes()
    damage(path, b"garbage\n\n" + WHOLE[:9] + b"\n" + WHOLE[:20])
    mend(path)
    assert path.read_bytes() == before


def test_a_reader_that_had_passed_it_reads_on(path: Path) -> None:
    early, late = Journal(path), Journal(path)
    early.read_new()
    damage(path, WHOLE[:30] + WHOLE + b"\n")
    assert early.read_new() == WHOLE + b"\n"
    with late.transaction() as transaction:
        transaction.append_lines([WHOLE], sync=False)
    assert early.read_new() == WHOLE + b"\n"  # what it had read was blanked in the meantime
    with early.transaction() as transaction:
        assert transaction.new == b""
    assert path.with_suffix(".bad").read_bytes() == WHOLE[:30] + b"\n"  # once


@pytest.mark.parametrize("wound", [b"\0" * 40, b'"' * 40, b"\n" * 3, b"\0"])
def test_a_record_that_was_destroyed_is_told_and_nothing_is_changed(path: Path, wound: bytes) -> None:
    damage(path, WHOLE + b"\n")
    content = path.read_bytes()
    second = content.index(b"\n") + 1  # the record that makes the trial
    path.write_bytes(wounded := content[: second + 20] + wound + content[second + 20 + len(wound) :])
    with pytest.raises(ValueError):
        plain_storage(path)
    with pytest.raises(JournalCorrupt, match=r"is damaged at byte|is not a record"):
        read_state(path)
    with pytest.raises(JournalCorrupt):
        JournalState().apply(mend(path))
    assert path.read_bytes() == wounded


def test_a_record_of_the_future_is_no_damage(path: Path) -> None:
    damage(path, b'{"op_code":77,"more":1}\n\n' + WHOLE + b"\n")
    mend(path)
    assert path.read_bytes().count(b'"op_code":77') == 1
