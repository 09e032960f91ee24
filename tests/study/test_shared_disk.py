"""A study that several hosts work on: bounded looks, reports that leave the lock alone, one transaction for two."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hpo_batch import mounts
from hpo_batch.errors import StorageError, Superseded
from hpo_batch.journal.file import Journal
from hpo_batch.records import Cause, Claim, Complete, Idle, IdleWhy, TrialState, Verdict
from hpo_batch.store import leases
from hpo_batch.store.home import StudyHome
from hpo_batch.store.leases import lease_path
from hpo_batch.study import lost_attempts, patience
from hpo_batch.study.claims import CROWD
from hpo_batch.study.lost_attempts import SHARE
from hpo_batch.study.study import Study
from tests.journal.helpers import assert_read_as_optuna_reads

from .helpers import claimed, complete, make, owner, state_of


@pytest.fixture(autouse=True)
def _shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mounts.SHARED_VARIABLE, "1")
    monkeypatch.setattr(patience, "RETRY_PAUSES_S", (0.0, 0.0))


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each transaction of any journal."""
    made: list[str] = []
    real = Journal.transaction

    @contextlib.contextmanager
    def counted(self: Journal, **given: Any) -> Iterator[Any]:
        made.append("transaction")
        with real(self, **given) as transaction:
            yield transaction

    monkeypatch.setattr(Journal, "transaction", counted)
    return made


def running_elsewhere(home: StudyHome, count: int) -> list[Claim]:
    """Trials of as many workers on as many hosts, each with a lease that is there."""
    claims = []
    for i in range(count):
        worker = owner(i + 1, host=f"node{i}", worker=f"far-{i}")
        lease_path(home.workers, worker.worker).write_text("")
        claims.append(claimed(Study(home, worker, clock=lambda: 1000.0, n_params=None)))
    return claims


@pytest.mark.parametrize("count", [1, SHARE, SHARE + 1, 100])
def test_each_running_trial_is_watched_and_nobody_watches_many(root: Path, count: int) -> None:
    home = make(root, study="trials = 1000")
    claims = running_elsewhere(home, count)
    watchers: dict[int, int] = {claim.number: 0 for claim in claims}
    workers = 100
    for i in range(workers):
        study = Study(home, owner(i, worker=f"7-r0-{i}"), clock=lambda: 1000.0, n_params=None)
        share = [number for number, _ in study.lost_attempts.watched()]
        assert share == [number for number, _ in study.lost_attempts.watched()]  # the same at the next look
        assert 0 < len(share) <= SHARE
        for number in share:
            watchers[number] += 1
    assert min(watchers.values()) >= workers * SHARE / max(SHARE, count) / 4


def test_a_share_without_a_running_trial_is_followed_by_the_next(root: Path) -> None:
    """All but every 64th trial have ended: a share by number alone would leave some workers without any."""
    home = make(root, study="trials = 1000")
    claims = running_elsewhere(home, 64)
    with Study.open(home, owner()) as study:
        for claim in claims[1::2]:
            far = Study(home, owner(0, host="x", worker=f"far-{claim.number}"), clock=lambda: 1.0, n_params=None)
            far.tell(claim, complete(claim))
        study.journal.sync()
        for i in range(20):
            study.lost_attempts.owner = replace(study.owner, worker=f"w{i}")
            assert list(study.lost_attempts.watched())


def test_a_claim_opens_a_bounded_number_of_leases(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make(root, study="trials = 1000")
    running_elsewhere(home, 100)
    opened: list[Path] = []
    refreshed = leases.refreshed_ns
    monkeypatch.setattr(leases, "refreshed_ns", lambda path: (opened.append(path), refreshed(path))[1])
    with Study.open(home, owner()) as study:
        claimed(study)
        assert 0 < len(opened) <= SHARE
        opened.clear()
        study.is_in_doubt()
        assert 0 < len(opened) <= SHARE


def test_all_trials_of_dead_hosts_are_found_share_by_share(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make(root, study="trials = 40")
    running_elsewhere(home, 40)
    seconds = 0.0
    monkeypatch.setattr(lost_attempts, "LOOK_EVERY_S", -1.0)
    done = []
    with Study.open(home, owner()) as study:
        monkeypatch.setattr(study.lost_attempts.watch, "_clock", lambda: seconds)
        while len(done) < 40:
            given = study.claim()
            if isinstance(given, Idle):
                assert given.why is IdleWhy.IN_FLIGHT
                assert study.is_in_doubt()
                seconds += 20
                continue
            study.tell(given[0], complete(given[0]))
            done.append((given[0].number, given[0].attempt))
    assert sorted(done) == [(number, 2) for number in range(40)]
    assert list(home.workers.iterdir()) == []  # what the dead left is gone
    assert len(list(home.path.glob(".journal.jsonl.lock.*"))) <= 1


def test_without_a_pruner_a_running_trial_takes_no_lock(root: Path, transactions: list[str]) -> None:
    home, now = make(root), 0.0
    with Study.open(home, owner(), clock=lambda: now) as study:
        claim = claimed(study)
        transactions.clear()
        for step in range(100):
            now += 30.0
            assert study.reports.add(claim, step, {"loss": 1.0 / (step + 1)}) is Verdict.CONTINUE
        assert transactions == []
        study.tell(claim, complete(claim))
        assert transactions == ["transaction"]
    assert len(state_of(home).trials[0].steps) == 100
    assert_read_as_optuna_reads(home.journal)


def test_a_trial_that_has_gone_on_elsewhere_is_told_so_without_a_lock(root: Path) -> None:
    home, now = make(root), 0.0
    with Study.open(home, owner(), clock=lambda: now) as study:
        claim = claimed(study)
        with Study.open(home, owner(1)) as other:
            other.lost_attempts.watch.is_dead = lambda facts: True  # type: ignore[method-assign]
            assert claimed(other).attempt == 2
        assert study.reports.add(claim, 1, {"loss": 0.5}) is Verdict.CONTINUE
        now += 11
        assert study.reports.add(claim, 2, {"loss": 0.5}) is Verdict.SUPERSEDED


def test_with_a_pruner_reports_are_spaced_by_the_number_of_running_trials(root: Path, transactions: list[str]) -> None:
    pruner = {"pruner": 'name = "median"\nfirst_rung = 1'}
    home, now = make(root, study="trials = 1000", tables=pruner), 0.0
    running_elsewhere(home, 99)
    with Study.open(home, owner(), clock=lambda: now) as study:
        claim = claimed(study)
        transactions.clear()
        for step in range(1000):  # one step a second
            now += 1.0
            study.reports.add(claim, step, {"loss": 0.5})
        assert 190 <= len(transactions) <= 201  # 100 running trials at 50 ms each: one in 5 s
        study.tell(claim, complete(claim))
    assert len(state_of(home).trials[claim.number].steps) == 1000


def test_what_a_pruner_notes_at_a_rung_is_written_with_its_report(root: Path, transactions: list[str]) -> None:
    asha = {"pruner": 'name = "asha"\nfirst_rung = 1'}
    home = make(root, study="trials = 10", tables=asha)
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        study.reports.last_write = -1e9
        transactions.clear()
        study.reports.add(claim, 1, {"loss": 0.5})
        assert transactions == ["transaction"]
    trial = state_of(home).trials[0]
    assert trial.steps == {1: 0.5}
    assert any(name.startswith("completed_rung") for name in trial.system_attrs)


@pytest.mark.parametrize(("others", "expected"), [(CROWD - 2, 2), (CROWD, 1)])
def test_where_many_wait_an_end_and_the_next_claim_share_a_transaction(
    root: Path, transactions: list[str], others: int, expected: int
) -> None:
    home = make(root, study="trials = 100")
    running_elsewhere(home, others)
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        study.reports.add(claim, 1, {"loss": 0.25})
        transactions.clear()
        given = study.tell_and_claim(claim, complete(claim, 0.5))
        assert len(transactions) == expected
        assert not isinstance(given, Idle)
        assert given[0].number == claim.number + 1
        study.tell(given[0], complete(given[0]))
    state = state_of(home)
    assert (state.trials[claim.number].state, state.trials[claim.number].values) == (TrialState.COMPLETE, (0.5,))
    assert state.trials[claim.number].steps == {1: 0.25}
    assert_read_as_optuna_reads(home.journal)


def test_on_a_local_disk_they_never_share_one(
    root: Path, transactions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(mounts.SHARED_VARIABLE)
    home = make(root, study="trials = 100")
    running_elsewhere(home, CROWD)
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        transactions.clear()
        study.tell_and_claim(claim, complete(claim))
        assert len(transactions) == 2


@pytest.mark.parametrize("why", ["target", "cancelled"])
def test_an_end_is_told_also_where_nothing_more_is_to_be_had(root: Path, why: str) -> None:
    home = make(root, study=f"trials = {CROWD + 1}")
    running_elsewhere(home, CROWD)
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        if why == "cancelled":
            home.marker("CANCELLED").touch()
        given = study.tell_and_claim(claim, complete(claim))
        assert isinstance(given, Idle)
        assert given.why is (IdleWhy.CANCELLED if why == "cancelled" else IdleWhy.IN_FLIGHT)
    assert state_of(home).trials[claim.number].state is TrialState.COMPLETE


def test_a_superseded_end_claims_nothing(root: Path) -> None:
    home = make(root, study="trials = 100")
    running_elsewhere(home, CROWD)
    with Study.open(home, owner()) as study, Study.open(home, owner(999)) as other:
        claim = claimed(study)
        other.lost_attempts.watch.is_dead = lambda facts: facts["worker"] == study.owner.worker  # type: ignore[method-assign]
        other.lost_attempts._looked = -1e9
        other.journal.sync()
        other.owner = replace(other.owner, worker=study.owner.worker + "-same-share")
        other.lost_attempts.watched = lambda: other.lost_attempts._with_facts([claim.number])  # type: ignore[method-assign]
        assert claimed(other).number == claim.number
        before = len(state_of(home).trials)
        with pytest.raises(Superseded):
            study.tell_and_claim(claim, complete(claim))
        assert len(state_of(home).trials) == before


@contextlib.contextmanager
def failing_sync(
    monkeypatch: pytest.MonkeyPatch, home: StudyHome, *, times: int, rollback: bool = True
) -> Iterator[None]:
    """The next syncs of the journal fail with EIO; ``rollback``: and what was written can be taken back."""
    fsync, ftruncate, left = os.fsync, os.ftruncate, [times]

    def is_journal(fd: int) -> bool:
        return Path(f"/proc/self/fd/{fd}").readlink() == home.journal

    def broken(fd: int) -> None:
        if is_journal(fd) and left[0] > 0:
            left[0] -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(fd)

    def refused(fd: int, size: int) -> None:
        if is_journal(fd) and not rollback:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        ftruncate(fd, size)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        patch.setattr(os, "ftruncate", refused)
        yield


@pytest.mark.parametrize("rollback", [True, False])
def test_a_claim_whose_sync_fails_is_claimed_again_and_nothing_is_stuck(
    root: Path, monkeypatch: pytest.MonkeyPatch, rollback: bool
) -> None:
    home = make(root, study="trials = 3")
    done = []
    with Study.open(home, owner()) as study:
        with failing_sync(monkeypatch, home, times=1, rollback=rollback):
            claim = claimed(study)
        study.tell(claim, complete(claim))
        done.append(claim.number)
        monkeypatch.setattr(lost_attempts, "LOOK_EVERY_S", -1.0)
        while not isinstance(given := study.claim(), Idle):
            study.tell(given[0], complete(given[0]))
            done.append(given[0].number)
        assert given.why is IdleWhy.TARGET_MET
    assert sorted(done) == [0, 1, 2]
    assert state_of(home).counts().complete == 3
    assert_read_as_optuna_reads(home.journal)


@pytest.mark.parametrize("rollback", [True, False])
@pytest.mark.parametrize("crowded", [False, True])
def test_an_end_whose_sync_fails_is_told_once(
    root: Path, monkeypatch: pytest.MonkeyPatch, rollback: bool, crowded: bool
) -> None:
    home = make(root, study="trials = 100")
    running_elsewhere(home, CROWD if crowded else 1)
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        with failing_sync(monkeypatch, home, times=1, rollback=rollback):
            given = study.tell_and_claim(claim, complete(claim, 0.125))
        assert not isinstance(given, Idle)
        study.tell(given[0], complete(given[0], 0.25))
    state = state_of(home)
    assert state.trials[claim.number].values == (0.125,)
    assert state.trials[given[0].number].values == (0.25,)
    assert_read_as_optuna_reads(home.journal)


def test_a_claim_that_can_never_be_had_is_refused_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make(root)
    tries: list[int] = []

    def refuse(self: Journal, **given: Any) -> Any:
        tries.append(1)
        raise StorageError.because("cannot lock", PermissionError(errno.EACCES, os.strerror(errno.EACCES)))

    with Study.open(home, owner()) as study:
        monkeypatch.setattr(Journal, "transaction", refuse)
        with pytest.raises(StorageError, match="Permission denied"):
            study.claim()
    assert len(tries) == 1


def test_a_worker_that_was_taken_for_dead_while_it_was_suspended_comes_back(root: Path) -> None:
    home = make(root, study="trials = 10\nlease_s = 1")
    with Study.open(home, owner(1)) as study:
        claim = claimed(study)
        with Study.open(home, owner(2)) as other:
            other.lost_attempts.watch.is_dead = lambda facts: True  # type: ignore[method-assign]
            taken = claimed(other)
            assert (taken.number, taken.attempt) == (claim.number, 2)
            assert not lease_path(home.workers, study.owner.worker).exists()
            other.tell(taken, complete(taken))
        with pytest.raises(Superseded):
            study.tell(claim, complete(claim))
        assert study._lease is not None
        for _ in range(300):
            if study._lease._lease.compromise is not None:
                break
            time.sleep(0.01)
        again = claimed(study)
        assert lease_path(home.workers, study.owner.worker).exists()
        study.give_back(again, Cause.TIME_LIMIT)
    assert list(home.workers.iterdir()) == []


def test_what_was_read_and_taken_back_is_forgotten(root: Path) -> None:
    home = make(root, study="trials = 10")
    with Study.open(home, owner(1)) as study, Study.open(home, owner(2)) as other:
        first = claimed(study)
        sure = home.journal.stat().st_size
        lost = claimed(other)
        study.journal.sync()
        assert len(study.journal.state.trials) == 2
        os.truncate(home.journal, sure)  # the other's sync has failed, and it has gone
        study.tell(first, complete(first))
        second = claimed(study)
        assert second.number == lost.number == 1
        study.tell(second, Complete(values=(1.0,), metrics={}))
    assert state_of(home).counts().complete == 2
