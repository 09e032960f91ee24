"""A journal that is not the one that was expected: newer, plain Optuna's, or another one below a worker's hands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from hpo_batch.errors import JournalCorrupt, StorageError
from hpo_batch.journal.encode import FORMAT, Writer
from hpo_batch.journal.file import Journal
from hpo_batch.records import Cause, IdleWhy
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study.study import Study
from tests.journal.helpers import assert_read_as_optuna_reads, plain_storage
from tests.study.helpers import claimed, complete, make, owner, revise, state_of, work


def test_a_journal_of_a_newer_format_is_not_touched(root: Path) -> None:
    home = make(root, study="trials = 2")
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        with Journal(home.journal).transaction() as transaction:
            transaction.append([Writer("newer").study_attr("hpo:format", FORMAT + 1)], sync=True)
        before = home.journal.read_bytes()
        message = rf"has format {FORMAT + 1}, this hpo-batch reads up to {FORMAT}: upgrade hpo-batch"
        for call in (
            lambda: study.claim(),
            lambda: study.tell(claim, complete(claim)),
            lambda: work(home),
            lambda: revise(home, study="trials = 3"),
        ):
            with pytest.raises(JournalCorrupt, match=message):
                call()
    assert home.journal.read_bytes() == before


def test_a_journal_of_plain_optuna_is_not_taken_for_a_study_of_ours(root: Path) -> None:
    home = home_of(root, "s")
    home.path.mkdir()
    optuna.create_study(study_name="s", storage=plain_storage(home.journal)).enqueue_trial({"x": 1})
    before = home.journal.read_bytes()
    with pytest.raises(StorageError, match="is a journal of plain Optuna, not of hpo-batch; choose another"):
        revise(home)
    with pytest.raises(StorageError, match=r"no study in .*: submit a sweep first"):
        work(home)
    assert home.journal.read_bytes() == before


def other_study(home: StudyHome) -> None:
    other = make(home.path.parent / "other", study="trials = 5")
    work(other)
    shutil.copy(other.journal, home.journal)


def older_copy(home: StudyHome) -> None:
    home.journal.write_bytes(home.path.joinpath("older").read_bytes())


def emptied(home: StudyHome) -> None:
    home.journal.write_bytes(b"")


def removed(home: StudyHome) -> None:
    home.journal.unlink()


REPLACED: dict[str, Callable[[StudyHome], None]] = {
    "another study's": other_study,
    "an older copy": older_copy,
    "emptied": emptied,
    "removed": removed,
}


@pytest.mark.parametrize("kind", REPLACED)
def test_a_worker_whose_journal_was_replaced_writes_nothing_into_the_new_one(root: Path, kind: str) -> None:
    home = make(root, study="trials = 4")
    work(home, most=1)
    shutil.copy(home.journal, home.path / "older")
    work(home, 1, most=1)
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        study.open_attempt(claim)
        REPLACED[kind](home)
        before = home.journal.read_bytes() if home.journal.exists() else None
        for call in (lambda: study.claim(), lambda: study.tell(claim, complete(claim, 0.125)), study.is_in_doubt):
            with pytest.raises(JournalCorrupt, match=r"was replaced while in use|has disappeared") as caught:
                call()
            assert str(home.journal) in str(caught.value)
        assert (home.journal.read_bytes() if home.journal.exists() else None) == before
    assert (home.attempt(claim.number, 1) / "result.json").exists()


def test_after_an_older_copy_was_put_back_the_study_goes_on_from_there(root: Path) -> None:
    home = make(root, study="trials = 4")
    work(home, most=1)
    older = home.journal.read_bytes()
    work(home, 1, most=2)
    home.journal.write_bytes(older)
    done = []
    with Study.open(home, owner(2)) as study:
        while isinstance(given := study.claim(), tuple):
            study.open_attempt(given[0])  # as workers do: what lies there is moved away
            study.tell(given[0], complete(given[0]))
            done.append(given[0].number)
    assert (done, given.why) == ([1, 2, 3], IdleWhy.TARGET_MET)
    for trial in state_of(home).trials:
        facts = trial.attempt_facts(1)
        assert f'"token": "{facts["token"]}"' in (home.attempt(trial.number, 1) / "result.json").read_text()
    assert_read_as_optuna_reads(home.journal)


def test_a_trial_made_anew_after_an_older_copy_was_put_back_finds_no_checkpoint_of_another(root: Path) -> None:
    home = make(root, study="trials = 2")
    older = home.journal.read_bytes()
    with Study.open(home, owner()) as study:
        checkpoint = study.open_attempt(claimed(study)) / "checkpoint"
        checkpoint.mkdir(exist_ok=True)
        (checkpoint / "weights").write_text("of another configuration")
    home.journal.write_bytes(older)
    with Study.open(home, owner(1)) as study:
        claim = claimed(study)
        assert (claim.number, claim.attempt) == (0, 1)
        assert not (study.open_attempt(claim) / "checkpoint" / "weights").exists()
        assert (home.path / "trials" / "0000" / f"0000.{claim.token}" / "attempts" / "1" / "checkpoint").exists()
        study.give_back(claim, Cause.PREEMPTED)
        assert claimed(study).resumes is None
