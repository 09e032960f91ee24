"""Which attempts count: those that led nowhere. Decided by what lies in the attempts' checkpoint folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.records import Cause, Claim, Failed, Reason, TrialState
from hpo_batch.store.checkpoints import fingerprint, moved_forward
from hpo_batch.store.home import StudyHome
from hpo_batch.study import policy
from hpo_batch.study.study import Study

from .helpers import claimed, complete, make, owner, state_of
from .test_fences import given_back_by_another, killed_holder

BROKEN = Failed(reason=Reason.EXIT_CODE, message="exit code 1")
RETRY = {"failures": 'exit_code = "retry"'}


def begin(study: Study, saves: str | None = None) -> Claim:
    """The next attempt, which leaves ``saves`` in its checkpoint."""
    claim = claimed(study)
    checkpoint = study.open_attempt(claim) / "checkpoint"
    if saves is not None:
        checkpoint.mkdir(exist_ok=True)
        (checkpoint / "model").write_text(saves)
    return claim


def endings(home: StudyHome, number: int = 0) -> list[tuple[str, bool]]:
    trial = state_of(home).trials[number]
    return [(trial.ending(n)["how"], trial.ending(n)["moved"]) for n in range(1, trial.attempt + 1)]


def test_a_lost_attempt_that_saved_a_newer_checkpoint_does_not_count(root: Path) -> None:
    home = make(root, study="trials = 1\nmax_attempts = 2")
    with Study.open(home, owner()) as study, Study.open(home, owner(1)) as other:
        for epoch in range(6):
            begin(study, f"epoch {epoch}")
            lost_now(other)
        assert state_of(home).trials[0].state is TrialState.WAITING
        for _ in range(2):
            begin(study)  # takes epoch 5 over and dies without another
            lost_now(other)
    assert endings(home) == [("lost", True)] * 6 + [("lost", False)] * 2
    record = state_of(home).trials[0].record()
    assert (record.state, record.reason) == (TrialState.FAIL, "lost")


def lost_now(study: Study) -> None:
    """Give back what runs as if its worker were found dead: the way of ``claim``, without the next trial."""
    study.lost_attempts.watch.is_dead = lambda facts: True  # type: ignore[method-assign]
    with pytest.raises(StopIteration):
        study.claim(fits=_stop)


def _stop(configuration: object) -> bool:
    raise StopIteration


def test_lost_attempts_of_killed_workers_count_by_what_they_saved(root: Path, tmp_path: Path) -> None:
    home = make(root, study="trials = 1\nmax_attempts = 2")
    for index in range(4):  # each saves which attempt it is
        assert killed_holder(home, tmp_path, index) == 0
    with Study.open(home, owner(9)) as study:
        assert claimed(study).attempt == 5
    assert endings_until(home, 4) == [("lost", True)] * 4


def endings_until(home: StudyHome, attempt: int) -> list[tuple[str, bool]]:
    trial = state_of(home).trials[0]
    return [(trial.ending(n)["how"], trial.ending(n)["moved"]) for n in range(1, attempt + 1)]


def test_a_retried_failure_counts_unless_it_saved_a_newer_checkpoint(root: Path) -> None:
    home = make(root, study="trials = 1\nmax_attempts = 2", tables=RETRY)
    with Study.open(home, owner()) as study:
        for epoch in range(4):
            study.tell(begin(study, f"epoch {epoch}"), BROKEN)
        study.tell(begin(study, "epoch 3"), BROKEN)  # the same again
        last = begin(study)
        study.tell(last, BROKEN)
        assert study.has_ended(last)
    assert [moved for _, moved in endings(home)] == [True] * 4 + [False] * 2


def test_whatever_it_saves_a_trial_does_not_fail_for_ever(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "MOST_FAILED_ATTEMPTS", 5)
    home = make(root, study="trials = 1\nmax_attempts = 2", tables=RETRY)
    with Study.open(home, owner()) as study:
        for epoch in range(5):
            claim = begin(study, f"epoch {epoch}")
            study.tell(claim, BROKEN)
        assert study.has_ended(claim)


def test_exit_code_75_counts_if_nothing_new_was_saved(root: Path) -> None:
    home = make(root, study="trials = 1\nmax_attempts = 3")
    with Study.open(home, owner()) as study:
        for epoch in range(5):
            study.give_back(begin(study, f"epoch {epoch}"), Cause.CHECKPOINTED)
        for left in (2, 1, 0):
            claim = begin(study)
            checkpoint = study.open_attempt(claim) / "checkpoint"
            study.give_back(claim, Cause.CHECKPOINTED)
            assert study.has_ended(claim) is (left == 0)
        assert not checkpoint.exists()  # a trial that has ended needs none
    record = state_of(home).trials[0].record()
    assert (record.state, record.reason) == (TrialState.FAIL, "exit_code")
    assert str(record.message).startswith("exit code 75 (continue later) without a newer checkpoint in HPO_BATCH_")


def test_two_attempts_that_the_limit_ended_without_a_checkpoint_are_enough(root: Path) -> None:
    home = make(root, study="trials = 1\nmax_attempts = 9", tables={"job": 'walltime = "1:00:00"'})
    now = [1e9]
    with Study.open(home, owner(), clock=lambda: now[0]) as study:
        for minutes, whole in ((3, False), (57, True), (9, False), (55, True)):
            claim = begin(study)
            now[0] += minutes * 60
            assert not study.has_ended(claim)
            study.give_back(claim, Cause.TIME_LIMIT, had_full_walltime=whole)
        assert study.has_ended(claim)
    record = state_of(home).trials[0].record()
    assert (record.state, record.reason) == (TrialState.FAIL, "time_limit")
    assert record.message == (
        "needs more than the walltime (1:00:00) and saves no checkpoint: the time limit ended attempts after 0:57:00, "
        "0:55:00; save checkpoints in trial.checkpoint, or raise job.walltime"
    )
    assert [attempt.ending for attempt in record.attempts] == ["time_limit"] * 4


def test_a_trial_that_saves_may_be_cut_by_the_limit_as_often_as_it_takes(root: Path) -> None:
    home = make(root, study="trials = 1")
    with Study.open(home, owner()) as study:
        for epoch in range(6):
            study.give_back(begin(study, f"epoch {epoch}"), Cause.TIME_LIMIT, had_full_walltime=True)
        study.give_back(begin(study), Cause.TIME_LIMIT, had_full_walltime=True)
        claim = begin(study)
        study.give_back(claim, Cause.TIME_LIMIT, had_full_walltime=True)
        assert study.has_ended(claim)
    assert "saves no newer checkpoint" in str(state_of(home).trials[0].record().message)


def test_the_policy_of_the_time_limit_may_allow_more(root: Path) -> None:
    home = make(root, study="trials = 1\nmax_attempts = 4", tables={"failures": 'time_limit = "retry"'})
    with Study.open(home, owner()) as study:
        for attempt in range(1, 5):
            claim = begin(study)
            study.give_back(claim, Cause.TIME_LIMIT, had_full_walltime=True)
            assert study.has_ended(claim) is (attempt == 4)


@pytest.mark.parametrize("cause", [Cause.PREEMPTED, Cause.CANCELLED, Cause.DRAINED])
def test_other_ordered_ends_never_count(root: Path, cause: Cause) -> None:
    home = make(root, study="trials = 1\nmax_attempts = 1")
    with Study.open(home, owner()) as study:
        for _ in range(6):
            study.give_back(begin(study), cause, had_full_walltime=True)
        last = begin(study)
        study.tell(last, complete(last))
    assert state_of(home).counts().complete == 1


def test_an_ending_of_an_older_version_counts(root: Path) -> None:
    home = make(root, study="trials = 1\nmax_attempts = 2")
    with Study.open(home, owner()) as study:
        given_back_by_another(study, claimed(study))
        trial = study.journal.state.trials[0]
        del trial.system_attrs["hpo:ended:1"]["moved"]
        claimed(study)
        assert not policy.retries(study.sweep, study.journal.state.trials[0], Reason.LOST, moved=False)
        assert policy.retries(study.sweep, study.journal.state.trials[0], Reason.LOST, moved=True)


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def same(taken: Path, left: Path) -> None:
    """As a copy is made: with the times of the original."""
    write(left, model="epoch 3")
    stat = (taken / "model").stat()
    os.utime(left / "model", ns=(stat.st_atime_ns, stat.st_mtime_ns))


MOVES: dict[str, tuple[bool, Callable[[Path, Path], None]]] = {
    "untouched": (False, same),
    "empty": (False, lambda taken, left: left.mkdir(parents=True)),
    "no folder": (False, lambda taken, left: None),
    "written again, the same": (False, lambda taken, left: write(left, model="epoch 3")),
    "of the same size": (True, lambda taken, left: write(left, model="epoch 4")),
    "longer": (True, lambda taken, left: write(left, model="epoch 10")),
    "another file": (True, lambda taken, left: write(left, model="epoch 3", more="m")),
    "under another name": (True, lambda taken, left: write(left, model4="epoch 3")),
    "a torn file": (False, lambda taken, left: write(left, **{"model": "epoch 3", ".model.1a2b.tmp": "epo"})),
    "only a torn file": (False, lambda taken, left: write(left, **{"model.tmp": "epo"})),
    "in a folder below": (True, lambda taken, left: write(left / "epoch4", model="epoch 4")),
}


@pytest.mark.parametrize("what", MOVES)
def test_a_checkpoint_is_newer_if_it_holds_something_else(root: Path, what: str) -> None:
    home = make(root)
    expected, leave = MOVES[what]
    taken, left = (home.attempt(0, attempt) / "checkpoint" for attempt in (1, 3))
    write(taken, model="epoch 3")
    (home.attempt(0, 2) / "checkpoint").mkdir(parents=True)  # which saved nothing
    leave(taken, left)
    assert moved_forward(home, 0, 3) is expected


def test_a_first_checkpoint_is_progress(root: Path) -> None:
    home = make(root)
    write(home.attempt(0, 1) / "checkpoint", model="epoch 0")
    assert moved_forward(home, 0, 1)
    assert not moved_forward(home, 0, 2)


def test_a_fingerprint_changes_with_what_is_written(tmp_path: Path) -> None:
    seen = [fingerprint(tmp_path / "c")]
    write(tmp_path / "c", model="epoch 1")
    seen.append(fingerprint(tmp_path / "c"))
    write(tmp_path / "c", model="epoch 12")
    seen.append(fingerprint(tmp_path / "c"))
    (tmp_path / "c" / "dangling").symlink_to(tmp_path / "nowhere")
    seen.append(fingerprint(tmp_path / "c"))  # a link is what it is, wherever it leads
    assert len(set(seen)) == 4
