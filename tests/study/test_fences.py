"""Who holds a trial: one attempt at a time, taken over from the dead, and closed to those who come back from there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo_batch.errors import JournalCorrupt, StorageError, Superseded
from hpo_batch.journal.columns import trial_columns
from hpo_batch.journal.file import Journal
from hpo_batch.records import Cause, Claim, Complete, Failed, Idle, IdleWhy, Pruned, Reason, TrialState, Verdict
from hpo_batch.store.home import StudyHome
from hpo_batch.store.leases import lease_path
from hpo_batch.study import patience
from hpo_batch.study.claim import LostAttempt, give_back_lost
from hpo_batch.study.study import Study
from tests.helpers import until
from tests.processes import dead_process, in_processes, kill, start

from .helpers import checkpoints, claimed, complete, idle, make, owner, plain, state_of, work


def hold(home: StudyHome, index: int, ready: Path, saves: bool = True) -> None:
    """Claim a trial, leave a checkpoint, and never tell."""
    with Study.open(home, owner(index)) as study:
        claim = claimed(study)
        if saves:
            (checkpoints(study, claim) / "epoch").write_text(f"epoch of attempt {claim.attempt}")
        else:
            study.open_attempt(claim)
        study.reports.add(claim, 1, {"loss": 0.5})
        study.reports.flush(claim)
        ready.write_text(str(claim.number))
        time.sleep(60)


def killed_holder(home: StudyHome, tmp_path: Path, index: int = 7, *, saves: bool = True) -> int:
    ready = tmp_path / f"ready{index}"
    process, _ = start(hold, home, index, ready, saves)
    until(lambda: ready.exists() and ready.read_text())
    kill(process)
    return int(ready.read_text())


def test_a_trial_of_a_killed_worker_is_taken_over_at_once_under_its_number(root: Path, tmp_path: Path) -> None:
    home = make(root, study="trials = 3")
    number = killed_holder(home, tmp_path)
    first = state_of(home).trials[number]
    assert (first.state, first.attempt) == (TrialState.RUNNING, 1)
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        assert (claim.number, claim.attempt, claim.resumes) == (number, 2, 1)
        assert claim.configuration.values == {**first.params}
        assert claim.seeds == tuple(first.facts["seeds"])
        folder = study.open_attempt(claim)
        assert (folder / "checkpoint" / "epoch").read_text() == "epoch of attempt 1"
        study.tell(claim, complete(claim))
    work(home)
    state = state_of(home)
    assert state.counts().complete == 3
    attempts = state.trials[number].record().attempts
    assert [(a.number, a.ending) for a in attempts] == [(1, "lost"), (2, "complete")]
    assert state.trials[number].steps == {1: 0.5}  # what the first attempt reported is kept
    assert len(plain(home).trials) == 3


def test_a_trial_that_is_lost_too_often_fails(root: Path, tmp_path: Path) -> None:
    home = make(root, study="trials = 1\nmax_attempts = 3")
    for index in range(3):
        assert killed_holder(home, tmp_path, index, saves=False) == 0
    assert work(home)[0] == [1]  # another configuration takes its place
    record = state_of(home).trials[0].record()
    assert (record.state, record.reason) == (TrialState.FAIL, "lost")
    assert str(record.message).startswith("lost 3 times; the last time: worker ")
    assert state_of(home).counts().complete == 1


def test_a_lost_trial_is_not_retried_if_that_is_the_policy(root: Path, tmp_path: Path) -> None:
    home = make(root, study="trials = 1", tables={"failures": 'lost = "fail"'})
    killed_holder(home, tmp_path)
    work(home)
    assert [t.state.name for t in state_of(home).trials] == ["FAIL", "COMPLETE"]


def die_while_claiming(home: StudyHome, index: int, after: int) -> None:
    with Study.open(home, owner(index)) as study:
        for _ in range(after):
            claim = claimed(study)
            study.tell(claim, complete(claim))
        study.claim()
        os.kill(os.getpid(), 9)


def test_workers_that_die_one_after_another_leave_exactly_the_target(root: Path) -> None:
    home = make(root, study="trials = 12\nmax_attempts = 50")
    for after in (0, 3, 0, 1):
        process, _ = start(die_while_claiming, home, after, after)
        process.join()
        assert process.exitcode == -9
    in_processes([(work, home, i) for i in range(3)])
    state = state_of(home)
    assert (state.counts().complete, len(state.trials)) == (12, 12)


def test_a_trial_given_back_keeps_number_and_parameters_and_goes_on_from_its_checkpoint(root: Path) -> None:
    home = make(root, study="trials = 2")
    with Study.open(home, owner()) as study, Study.open(home, owner(1)) as other:
        first = claimed(study)
        (checkpoints(study, first) / "epoch").write_text("3")
        study.reports.add(first, 3, {"loss": 0.5})
        study.give_back(first, Cause.PREEMPTED)
        waiting = state_of(home).trials[0]
        assert (waiting.state, waiting.steps) == (TrialState.WAITING, {3: 0.5})
        again = claimed(other)
        assert (again.number, again.attempt, again.resumes) == (0, 2, 1)
        assert again.configuration == first.configuration
        assert (again.seeds, again.origin, again.token != first.token) == (first.seeds, first.origin, True)
        other.give_back(again, Cause.TIME_LIMIT)  # before it saved anything of its own
        third = claimed(study)
        assert (third.number, third.attempt, third.resumes) == (0, 3, 1)
        study.tell(third, complete(third))
    trials = state_of(home).trials
    record = trials[0].record()
    assert [attempt.ending for attempt in record.attempts] == ["preempted", "time_limit", "complete"]
    (seconds,) = trial_columns(trials, objectives=1)["seconds_total"]
    assert seconds == pytest.approx(sum(a.ended - a.started for a in record.attempts if a.ended))


def test_a_waiting_trial_comes_before_a_new_one(root: Path) -> None:
    home = make(root, study="trials = 5", rest="[baseline]\nx = 0.5\nn = 2\n")
    with Study.open(home, owner()) as study:
        claims = [claimed(study) for _ in range(3)]
        for claim in (claims[2], claims[1]):
            study.give_back(claim, Cause.PREEMPTED)
        assert [claimed(study).number for _ in range(3)] == [1, 2, 3]


ZOMBIES: dict[str, Callable[[Study, Claim], Any]] = {
    "complete": lambda study, claim: study.tell(claim, complete(claim, 0.001)),
    "pruned": lambda study, claim: study.tell(claim, Pruned(step=1, metrics={"loss": 0.001})),
    "failed": lambda study, claim: study.tell(claim, Failed(reason=Reason.NAN, message="m")),
    "give back": lambda study, claim: study.give_back(claim, Cause.PREEMPTED),
}


@pytest.mark.parametrize("then", ["runs", "waits", "has ended"])
@pytest.mark.parametrize("does", ZOMBIES)
def test_a_worker_back_from_the_dead_changes_nothing(root: Path, does: str, then: str) -> None:
    home = make(root, study="trials = 2", tables={"pruner": 'name = "median"\nfirst_rung = 1'})
    now = 100.0
    with Study.open(home, owner(), clock=lambda: now) as zombie, Study.open(home, owner(1)) as rightful:
        claim = claimed(zombie)
        zombie.open_attempt(claim)
        zombie.reports.add(claim, 0, {"loss": 0.9})  # waits in memory
        given_back_by_another(rightful, claim)
        if then != "waits":
            mine = claimed(rightful)
            assert (mine.number, mine.attempt) == (claim.number, 2)
            folder = rightful.open_attempt(mine)
            if then == "has ended":
                rightful.tell(mine, complete(mine, 0.5))
        before = home.journal.read_bytes()
        assert zombie.reports.add(claim, 9, {"loss": 0.001}) is Verdict.SUPERSEDED
        with pytest.raises(Superseded, match=f"trial {claim.number}: attempt 1 was superseded"):
            ZOMBIES[does](zombie, claim)
        assert home.journal.read_bytes() == before
        if then == "runs":
            assert not (folder / "result.json").exists()
            rightful.tell(mine, complete(mine, 0.5))
        if then != "waits":
            told = json.loads((home.attempt(0, 2) / "result.json").read_text())
            assert told["values"] == [0.5]
            assert state_of(home).trials[0].values == (0.5,)
        assert claimed(zombie).number == (0 if then == "waits" else 1)  # it may go on with another trial


def given_back_by_another(study: Study, claim: Claim) -> None:
    """As when the lease of its worker ran out."""
    lost = {claim.number: LostAttempt(token=claim.token)}
    study.journal.sync()
    with study.journal.file.transaction() as transaction:
        study.journal.state.apply(transaction.new)
        records = give_back_lost(study.endings.records, study.journal.state, lost)
        study.journal.state.apply(transaction.append(records, sync=True))


def test_a_second_attempt_of_the_same_worker_is_not_the_first(root: Path) -> None:
    home = make(root, study="trials = 1")
    with Study.open(home, owner()) as study:
        first = claimed(study)
        study.give_back(first, Cause.CHECKPOINTED)
        second = claimed(study)
        with pytest.raises(Superseded):
            study.tell(first, complete(first))
        study.tell(second, complete(second))
        with pytest.raises(Superseded):
            study.tell(second, complete(second, 0.0))
    assert state_of(home).trials[0].attempt == 2


def test_a_trial_that_plain_optuna_ended_is_superseded(root: Path) -> None:
    home = make(root, study="trials = 1")
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        plain(home).tell(claim.number, state=optuna.trial.TrialState.FAIL)
        with pytest.raises(Superseded):
            study.tell(claim, complete(claim))


ELSEWHERE = {"host": "elsewhere", "pid": 1, "start": 1}


def test_a_worker_on_another_host_is_waited_for_until_its_lease_was_silent(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make(root, study="trials = 1\nlease_s = 30")
    seconds = 0.0
    with Study.open(home, owner(1, **ELSEWHERE)) as far:
        held = claimed(far)
        lease = lease_path(home.workers, far.owner.worker)
        with Study.open(home, owner()) as study:
            monkeypatch.setattr(study.lost_attempts.watch, "_clock", lambda: seconds)
            assert idle(study) == Idle(why=IdleWhy.IN_FLIGHT)
            assert study.is_in_doubt()
            seconds = 10.0
            os.utime(lease, ns=(1, 1))  # a sign of life
            assert not study.is_in_doubt()
            assert idle(study) == Idle(why=IdleWhy.IN_FLIGHT)
            seconds = 41.0  # silent for longer than its duration: that is to be confirmed
            assert idle(study) == Idle(why=IdleWhy.IN_FLIGHT)
            assert study.is_in_doubt()
            seconds = 49.0
            taken = claimed(study)
            assert (taken.number, taken.attempt) == (held.number, 2)
            study.tell(taken, complete(taken))
        with pytest.raises(Superseded):
            far.tell(held, complete(held))


def test_a_worker_on_another_host_that_ended_without_a_word_is_followed_at_once(root: Path) -> None:
    home = make(root, study="trials = 1")
    with Study.open(home, owner(1, **ELSEWHERE)) as far:
        claimed(far)
    with Study.open(home, owner()) as study:
        assert claimed(study).attempt == 2


def test_doubt_ends_when_a_trial_waits(root: Path) -> None:
    home = make(root, study="trials = 2")
    with Study.open(home, owner(1, **ELSEWHERE)) as far, Study.open(home, owner()) as study:
        claims = [claimed(far), claimed(far)]
        assert study.is_in_doubt()
        far.give_back(claims[0], Cause.TIME_LIMIT)
        assert not study.is_in_doubt()
        assert claimed(study).number == claims[0].number


def test_the_living_on_this_host_are_not_waited_for(root: Path) -> None:
    home = make(root, study="trials = 1")
    with Study.open(home, owner(1)) as other, Study.open(home, owner()) as study:
        claimed(other)
        assert idle(study) == Idle(why=IdleWhy.IN_FLIGHT)
        assert not study.is_in_doubt()


def test_a_result_that_cannot_be_written_is_offered_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RETRY_PAUSES_S", (0.0, 0.0, 0.0))
    home = make(root, study="trials = 2")
    refused: list[int] = []
    append = Journal.transaction

    def full(journal: Journal, **arguments: Any) -> Any:
        if len(refused) < 3:
            refused.append(1)
            raise StorageError("no space left on device")
        return append(journal, **arguments)

    with Study.open(home, owner()) as study:
        claim = claimed(study)
        study.reports.add(claim, 1, {"loss": 0.5})
        monkeypatch.setattr(Journal, "transaction", full)
        study.tell(claim, complete(claim, 0.25))
        assert len(refused) == 3
        record = state_of(home).trials[0].record()
        assert (record.values, dict(record.steps)) == ((0.25,), {1: 0.5})
        second = claimed(study)
        refused.clear()
        monkeypatch.setattr(patience, "RETRY_PAUSES_S", (0.0,))
        with pytest.raises(StorageError, match="no space left"):
            study.tell(second, complete(second, 0.75))
    told = json.loads((home.attempt(1, 1) / "result.json").read_text())
    assert told["values"] == [0.75]  # the second copy is there


def test_a_replaced_journal_is_not_waited_for(root: Path) -> None:
    home = make(root)
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        home.journal.unlink()
        with pytest.raises(JournalCorrupt):
            study.tell(claim, complete(claim))


def test_a_result_without_a_second_copy_is_told_all_the_same(root: Path) -> None:
    home = make(root, study="trials = 1")
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        (home.path / "trials").rmdir()
        (home.path / "trials").touch()
        study.tell(claim, Complete(values=(0.5,), metrics={}))
    assert state_of(home).trials[0].values == (0.5,)
    assert state_of(home).counts().remaining == 0


def test_a_result_whose_sync_failed_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is in the file when its sync fails: offered again it is neither doubled nor called superseded."""
    home = make(tmp_path)
    synced: list[bool] = []
    real = Journal._sync

    def fails_once(self: Journal, fd: int, *, with_folder: bool) -> None:
        synced.append(len(synced) > 0)
        if len(synced) == 1:
            raise StorageError("cannot sync: Input/output error")
        real(self, fd, with_folder=with_folder)

    with Study.open(home, owner(0)) as study:
        claim = claimed(study)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        monkeypatch.setattr(Journal, "_sync", fails_once)
        study.tell(claim, Complete(values=(1.0,), metrics={}))
    assert synced == [False]
    trial = state_of(home).trials[claim.number]
    assert trial.state is TrialState.COMPLETE
    assert home.journal.read_text().count('"hpo:ended:1"') == 1


def test_a_lost_attempt_ends_with_its_last_sign_of_life(root: Path, tmp_path: Path) -> None:
    """Not when it is found: that may be after a weekend, and its hours would be charged."""
    home = make(root, study="trials = 2")
    began = time.time() - 100_000
    with dead_process() as pid, Study.open(home, owner(0, pid=pid), clock=lambda: began) as study:
        claim = claimed(study)
        folder = study.open_attempt(claim)
        for path in (*folder.iterdir(), folder):
            os.utime(path, (began + 60, began + 60))
    with Study.open(home, owner(1)) as other:
        assert claimed(other).number == 0
    ending = state_of(home).trials[0].ending(1)
    assert ending["how"] == "lost"
    assert ending["time"] - began == pytest.approx(60, abs=1)
