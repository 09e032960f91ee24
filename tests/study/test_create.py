"""A study is made once, however often and from however many processes; an edited sweep is a revision of it."""

from __future__ import annotations

import hashlib
import signal
import time
from pathlib import Path

import optuna
import pytest

from hpo_batch.errors import Irreconcilable, JournalCorrupt, StorageError
from hpo_batch.records import IdleWhy
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study import create as create_module
from hpo_batch.study.create import create, what_changes
from hpo_batch.study.read import read_revision, read_state
from hpo_batch.study.study import Study
from tests.journal.helpers import plain_storage
from tests.processes import in_processes

from .helpers import SPACE, Text, claimed, complete, idle, make, owner, plain, revise, state_of, sweep_of, work


def test_a_study_is_its_journal_its_sweep_and_the_text_of_it(root: Path) -> None:
    home = home_of(root, "s")
    text = Text()
    sweep = sweep_of(root, text)
    assert create(home, sweep, toml=str(text), now=5.0).created
    assert read_revision(home, read_state(home)) == sweep
    assert home.sweep_toml.read_text() == str(text)
    state = state_of(home)
    assert (state.study_name, state.target, state.metrics, state.revision) == ("s", 5, ("loss",), 1)
    assert state.is_ours
    assert state.attrs["hpo:armed"] == 5.0
    assert state.attrs["hpo:revision"]["digest"] == hashlib.sha256(home.revision(1).read_bytes()).hexdigest()
    assert plain(home).direction == optuna.study.StudyDirection.MINIMIZE


def test_to_make_it_again_changes_nothing_but_arms_the_breaker(root: Path) -> None:
    home = make(root)
    change = revise(home)
    assert (change.created, change.lines, change.against) == (False, (), ())
    state = state_of(home)
    assert state.revision == 1
    assert not home.revision(2).exists()
    assert len(home.journal.read_text().splitlines()) == 6


def make_at_once(root: Path, i: int) -> None:
    home = home_of(root, "s")
    create(home, sweep_of(root / str(i), Text()), toml="", now=float(i))


def test_processes_that_make_it_at_once_make_one(root: Path) -> None:
    in_processes([(make_at_once, root, i) for i in range(6)])
    home = home_of(root, "s")
    assert state_of(home).revision == 1
    assert home.journal.read_text().count('"op_code":0') == 1
    assert len(optuna.get_all_study_summaries(plain_storage(home.journal))) == 1
    assert len(work(home)[0]) == 5


def test_a_changed_sweep_is_a_revision_that_running_workers_pick_up(root: Path) -> None:
    home = make(root, study="trials = 3", space="n = [1, 2]")
    with Study.open(home, owner()) as study:
        done = [claimed(study), claimed(study)]
        for claim in done:
            study.tell(claim, complete(claim))
        assert idle(study).why is IdleWhy.SPACE_USED_UP
        change = revise(home, study="trials = 4", space="n = [1, 2, 3, 4]")
        assert change.lines == ("space.n: [1, 2] -> [1, 2, 3, 4]", "study.trials: 3 -> 4")
        assert home.revision(1).exists()
        third = claimed(study)
        assert third.configuration.values["n"] in (3, 4)
        assert study.sweep.study.trials == 4
        study.tell(third, complete(third))
    work(home)
    assert [t.facts["revision"] for t in state_of(home).trials] == [1, 1, 2, 2]
    assert sorted(t.params["n"] for t in state_of(home).trials) == [1, 2, 3, 4]
    assert len(plain(home).trials) == 4


def test_a_revision_that_comes_while_a_worker_draws_is_the_one_that_counts(root: Path) -> None:
    home = make(root, study="trials = 3", space="n = [1, 2]", sampler='name = "random"')
    with Study.open(home, owner()) as study:
        draw = study.claims.draw

        def edited_meanwhile(**arguments: bool) -> object:
            drawn = draw(**arguments)
            if state_of(home).revision == 1:
                revise(home, study="trials = 3", space="n = [3, 4]")
            return drawn

        study.claims.draw = edited_meanwhile  # type: ignore[method-assign, assignment]
        claim = claimed(study)
    assert claim.configuration.values["n"] in (3, 4)
    assert state_of(home).trials[0].facts["revision"] == 2


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"metric": 'metric = "auc"\ndirection = "minimize"'}, "study.metric"),
        ({"metric": 'metric = "loss"\ndirection = "maximize"'}, "study.direction"),
        ({"objective": 'function = "other:code"'}, "objective.function"),
        ({"space": f"{SPACE}new = [1, 2]"}, "space.new is new"),
    ],
)
def test_what_changes_the_meaning_of_trials_is_refused(root: Path, changed: dict[str, str], why: str) -> None:
    home = make(root)
    work(home)
    before = home.journal.read_bytes(), sorted(home.path.iterdir()), home.sweep_toml.read_text()
    with pytest.raises(Irreconcilable, match=why) as caught:
        revise(home, **changed)
    assert str(home.path) in str(caught.value)
    assert before == (home.journal.read_bytes(), sorted(home.path.iterdir()), home.sweep_toml.read_text())


@pytest.mark.parametrize("with_trials", [True, False])
def test_a_journal_of_plain_optuna_is_refused(root: Path, with_trials: bool) -> None:
    home = home_of(root, "s")
    home.make()
    study = optuna.create_study(study_name="s", storage=plain_storage(home.journal))
    if with_trials:
        study.add_trial(optuna.create_trial(value=1.0))
    before = home.journal.read_bytes()
    with pytest.raises(StorageError, match="is a journal of plain Optuna"):
        revise(home)
    assert home.journal.read_bytes() == before
    with pytest.raises(StorageError, match="submit a sweep first"), Study.open(home, owner()):
        pytest.fail("there is no sweep")


def test_a_study_whose_maker_was_killed_at_any_byte_is_made_by_the_next(root: Path) -> None:
    home = make(root)
    whole = home.journal.read_bytes()
    for length in [*range(0, len(whole), 7), *(i + 1 for i, byte in enumerate(whole) if byte == ord("\n"))]:
        home.journal.write_bytes(whole[:length])
        complete_before = length > whole.index(b'"hpo:revision"') and whole.count(b"\n", 0, length) >= 4
        change = revise(home)
        assert change.created is not complete_before
        state = state_of(home)
        assert (state.study_name, state.revision, state.target, state.metrics) == ("s", 1, 5, ("loss",))
        assert len(plain(home).trials) == 0
        assert home.journal.read_text().count('"op_code":0') == 1
    assert len(work(home)[0]) == 5


def test_an_unfinished_study_of_another_direction_is_told_so(root: Path) -> None:
    home = make(root)
    home.journal.write_bytes(home.journal.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(StorageError, match="was left incomplete"):
        revise(home, metric='metric = "loss"\ndirection = "maximize"')


def test_the_journal_names_no_revision_before_its_file_is_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make(root)

    def full(path: Path, text: str, *, mode: int = 0o666) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(create_module, "_write", full)
    with pytest.raises(StorageError):
        revise(home, study="trials = 9")
    assert state_of(home).target == 5


def test_a_revision_that_cannot_be_read_is_told_with_its_path(root: Path) -> None:
    home = make(root)
    for text in (None, "{", "{}"):
        home.revision(1).unlink() if text is None else home.revision(1).write_text(text)
        why = "cannot read the sweep that the study was made from" if text is None else "was changed after"
        with pytest.raises(StorageError, match=why) as told:
            what_changes(home, sweep_of(root, Text()), state_of(home))
        assert str(home.revision(1)) in str(told.value)


def test_a_folder_that_is_a_file_is_told_so(root: Path) -> None:
    (root / "s").touch()
    with pytest.raises(StorageError, match="cannot create the study's directory"):
        make(root)


def test_several_metrics_have_their_names_in_plain_optuna(root: Path) -> None:
    home = make(root, metric='metric = ["loss", "auc"]\ndirection = ["minimize", "maximize"]')
    study = plain(home)
    assert study.metric_names == ["loss", "auc"]
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert state_of(home).metrics == ("loss", "auc")


def test_a_journal_of_a_newer_version_stops_the_worker_with_advice(root: Path) -> None:
    home = make(root)
    text = home.journal.read_text().replace('"hpo:format":1', '"hpo:format":2')
    home.journal.write_text(text)
    with pytest.raises(JournalCorrupt, match="upgrade hpo-batch"), Study.open(home, owner()):
        pytest.fail("it cannot be understood")


def make_and_die(home: StudyHome, i: int) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # before the first alarm: pytest-timeout has a handler of its own
    signal.setitimer(signal.ITIMER_REAL, 0.0002 * (i + 1))
    revise(home)
    time.sleep(1)


def test_makers_killed_at_random_moments_leave_a_study_that_can_be_made(root: Path) -> None:
    from tests.processes import FORK

    for i in range(25):
        home = home_of(root / str(i), "s")
        process = FORK.Process(target=make_and_die, args=(home, i))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGALRM
        revise(home)
        assert state_of(home).revision == 1
        assert len(plain(home).trials) == 0


def test_a_frozen_sweep_that_was_edited_is_refused(tmp_path: Path) -> None:
    home = make(tmp_path)
    path = home.revision(1)
    path.write_text(path.read_text().replace('"trials": 5', '"trials": 50'))
    with pytest.raises(StorageError, match="changed after it was frozen: edit the sweep's TOML"):
        read_revision(home, read_state(home))
