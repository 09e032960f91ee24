"""What others leave in a journal: torn lines with whole records glued behind, binary garbage, lines of nothing.

Our next transaction copies it to ``journal.bad`` and blanks it in place; a whole record behind it is kept. Then plain
Optuna loads the file, and the study goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from benchmarks.fault_points import install
from hpo_batch.errors import JournalCorrupt
from hpo_batch.journal.file import Journal
from hpo_batch.records import IdleWhy, TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.study.study import Study
from tests.faults.helpers import AtCall, die_halfway
from tests.journal.helpers import assert_read_as_optuna_reads, plain_storage
from tests.processes import answer, in_processes, start
from tests.study.helpers import claimed, complete, make, owner, plain, state_of, work

Damage = Callable[[list[bytes]], tuple[bytes, list[bytes]]]
"""from the lines of a journal: what the file holds instead, and the lines that must still be read"""


def middle(bad: bytes) -> Damage:
    """Bytes of nobody between two lines."""

    def damage(lines: list[bytes]) -> tuple[bytes, list[bytes]]:
        at = len(lines) // 2
        return b"".join([*lines[:at], bad, *lines[at:]]), lines

    return damage


def glued(lines: list[bytes]) -> tuple[bytes, list[bytes]]:
    """A torn record, and a whole one that plain Optuna wrote behind it."""
    at = len(lines) // 2
    torn = lines[at][: len(lines[at]) // 2]
    return b"".join([*lines[:at], torn, *lines[at + 1 :]]), [*lines[:at], *lines[at + 1 :]]


def glued_twice(lines: list[bytes]) -> tuple[bytes, list[bytes]]:
    at = len(lines) // 2
    torn = lines[at][:20] + lines[at][:40]
    return b"".join([*lines[:at], torn, *lines[at + 1 :]]), [*lines[:at], *lines[at + 1 :]]


def overwritten(lines: list[bytes]) -> tuple[bytes, list[bytes]]:
    """A page of zeros, as a file system leaves it after a power cut: one record and the ends of its neighbours."""
    at = len(lines) // 2
    before, after = lines[at - 1], lines[at + 1]
    zeros = before[:10] + b"\0" * (len(before) - 10 + len(lines[at]) + 10) + after[10:]
    return b"".join([*lines[: at - 1], zeros, *lines[at + 2 :]]), [*lines[: at - 1], *lines[at + 2 :]]


DAMAGES: dict[str, Damage] = {
    "glued": glued,
    "glued twice": glued_twice,
    "garbage": middle(bytes(range(256)).replace(b"\n", b"") + b"\n"),
    "not UTF-8": middle(b'{"op_code":3,"\xff\xfe"}\n'),
    "no record": middle(b'[1, 2]\n"text"\n'),
    "empty lines": middle(b"\n\n\n"),
    "blanks": middle(b"   \n \n"),
    "a comment": middle(b"# edited by hand\n"),
    "a conflict of git": middle(b"<<<<<<< HEAD\n=======\n>>>>>>> other\n"),
    "half a line": middle(b'{"op_code":3,"worker_id":"w","sys\n'),
}
DESTROYED: dict[str, Damage] = {
    "zeros": overwritten,
    "a record without its beginning": lambda lines: (b"".join([*lines[:2], lines[2][3:], *lines[3:]]), []),
}
"""what may have been a record once: without it the ones behind may mean something else"""


NOT_YET = {
    "not UTF-8": "a line that begins and ends like a record is decoded only where its meaning is asked for",
}


@pytest.fixture
def home(root: Path) -> StudyHome:
    """A study with notes of plain Optuna's in its middle, so that a lost line there loses no trial."""
    home = make(root, study="trials = 6")
    work(home, most=2)
    storage = plain_storage(home.journal)
    for i in range(5):
        storage.set_study_user_attr(0, f"note{i}", i)
    work(home, most=2)
    return home


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.xfail(strict=False, reason=NOT_YET[kind])) if kind in NOT_YET else kind
        for kind in DAMAGES
    ],
)
def test_damage_in_the_middle_is_set_aside_and_the_study_goes_on(home: StudyHome, kind: str) -> None:
    lines = home.journal.read_bytes().splitlines(keepends=True)
    # the damage falls between the notes of plain Optuna, whatever else the file holds
    first = next(i for i, line in enumerate(lines) if b"note0" in line)
    assert all(b"note" in line for line in lines[first : first + 5])
    before, notes, after = lines[:first], lines[first : first + 5], lines[first + 5 :]
    damaged, kept = DAMAGES[kind](notes)
    home.journal.write_bytes(b"".join([*before, damaged, *after]))
    size = home.journal.stat().st_size

    assert len(state_of(home).trials) == 4  # readers repair nothing, and read on
    assert home.journal.stat().st_size == size
    _, end = work(home)
    assert end is not None
    assert end.why is IdleWhy.TARGET_MET
    state = state_of(home)
    assert (state.counts().complete, len(state.trials)) == (6, 6)
    assert_read_as_optuna_reads(home.journal)
    read = plain_storage(home.journal).get_study_user_attrs(0)
    expected: dict[str, int] = {}
    for line in kept:
        expected |= json.loads(line)["user_attr"]
    assert read == expected
    healed = home.journal.read_bytes()
    assert healed.startswith(b"".join(before))
    assert len(healed) > size, "blanked in place: nothing moves under those who know offsets"
    aside = home.journal.with_suffix(".bad")
    if kind in ("empty lines", "blanks"):
        return
    assert aside.exists()
    for bad in aside.read_bytes().split(b"\n"):
        assert bad in damaged


@pytest.mark.parametrize("kind", DESTROYED)
def test_where_a_record_may_have_been_destroyed_nothing_is_guessed(home: StudyHome, kind: str) -> None:
    lines = home.journal.read_bytes().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if b"note0" in line)
    damaged, _ = DESTROYED[kind](lines[first : first + 5])
    home.journal.write_bytes(b"".join([*lines[:first], damaged, *lines[first + 5 :]]))
    before = home.journal.read_bytes()
    for call in (state_of, work):
        with pytest.raises(JournalCorrupt, match=r"is damaged at byte \d+: .*'hpo-batch doctor STUDY --rebuild'"):
            call(home)
    assert home.journal.read_bytes() == before


def test_what_plain_optuna_glues_to_a_torn_tail_is_kept(root: Path) -> None:
    """A writer of ours died within a record; plain Optuna, which cuts nothing, wrote its own behind it."""
    home = make(root, study="trials = 4")
    work(home, most=2)
    with home.journal.open("ab") as file:
        file.write(b'{"op_code":9,"worker_id":"hpo-batch-w","trial_id":1,"system_attr":{"hpo:en')
    plain_storage(home.journal).set_study_user_attr(0, "note", "of the dashboard")
    work(home)
    assert state_of(home).counts().complete == 4
    assert plain_storage(home.journal).get_study_user_attrs(0) == {"note": "of the dashboard"}
    assert_read_as_optuna_reads(home.journal)


def test_a_tail_torn_at_any_byte_and_what_plain_optuna_glues_to_it(root: Path) -> None:
    home = make(root, study="trials = 2")
    work(home, most=1)
    whole = home.journal.read_bytes()
    torn = whole.splitlines()[-1]
    for length in [*range(1, 40), len(torn) - 1]:
        home.journal.write_bytes(whole + torn[:length])
        plain_storage(home.journal).set_study_user_attr(0, "note", length)
        assert state_of(home).trials[0].state is TrialState.COMPLETE
        with Journal(home.journal).transaction():
            pass
        assert plain_storage(home.journal).get_study_user_attrs(0) == {"note": length}
        assert_read_as_optuna_reads(home.journal)


def test_a_plain_writer_that_meets_a_torn_tail_again_and_again(root: Path) -> None:
    home = make(root, study="trials = 8")
    for round in range(4):
        with home.journal.open("ab") as file:
            file.write(b'{"op_code":9,"wor')
        plain_storage(home.journal).set_study_user_attr(0, f"note{round}", round)
        work(home, most=2)
    assert state_of(home).counts().complete == 8
    assert plain_storage(home.journal).get_study_user_attrs(0) == {f"note{i}": i for i in range(4)}
    assert_read_as_optuna_reads(home.journal)


def test_a_worker_that_read_the_damage_before_it_was_mended_goes_on(home: StudyHome) -> None:
    with Study.open(home, owner(1)) as other:
        with home.journal.open("ab") as file:
            file.write(b"garbage\n")
        plain(home)  # whatever plain Optuna makes of it
        claim = claimed(other)
        work(home, most=1)
        other.tell(claim, complete(claim))
    work(home)
    assert state_of(home).counts().complete == 6
    assert_read_as_optuna_reads(home.journal)


def mends(home: StudyHome, k: int) -> None:
    install(AtCall(k=k, fault=die_halfway))
    with Journal(home.journal).transaction():
        pass


def test_a_worker_killed_at_every_call_while_it_mends(home: StudyHome) -> None:
    lines = home.journal.read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if b"note2" in line)
    damaged = b"".join([*lines[:at], b"<garbage>\n" + lines[at][:30], *lines[at + 1 :]])
    for k in range(100):
        home.journal.write_bytes(damaged)
        process, pipe = start(mends, home, k)
        process.join()
        with Journal(home.journal).transaction() as transaction:
            assert transaction.new.count(b"\n") == len(lines) - 1
        assert len(home.journal.read_bytes()) == len(damaged)
        notes = plain_storage(home.journal).get_study_user_attrs(0)
        assert notes == {f"note{i}": i for i in (0, 1, 3, 4)}
        if process.exitcode == 0:
            answer(process, pipe)
            break
    else:
        pytest.fail("it made more calls than that")
    assert k >= 5


def finishes(home: StudyHome, index: int) -> int:
    return len(work(home, index)[0])


def test_several_workers_meet_the_damage_at_once(home: StudyHome) -> None:
    with home.journal.open("ab") as file:
        file.write(b"garbage\n\0\0\0\0\n")
    assert sum(in_processes([(finishes, home, i) for i in range(4)])) == 2
    assert all(trial.state is TrialState.COMPLETE for trial in state_of(home).trials)
    assert_read_as_optuna_reads(home.journal)
    study = plain(home)
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))  # and plain Optuna writes on
    assert len(plain(home).trials) == 7
