"""A worker killed at every single change that it makes to any file, or refused it: the study goes on without a loss."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.fault_points import WRITES, Call, Die, Refuse, install
from hpo_batch.errors import StorageError
from hpo_batch.records import Cause, Claim, IdleWhy, TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission, read_submissions, write_submission
from hpo_batch.study import patience
from hpo_batch.study.study import Study
from tests.faults.helpers import AtCall, Fault, die_halfway
from tests.journal.helpers import assert_read_as_optuna_reads
from tests.processes import answer, start
from tests.study.helpers import claimed, complete, make, owner, revise, state_of, work

MOST_CALLS = 200


def lives(home: StudyHome, k: int, fault: Fault, among: tuple[str, ...] | None = None) -> tuple[int, str]:
    """A worker's whole life with a fault at its call number ``k``: how many it made, and the error that ended it."""
    patience.RETRY_PAUSES_S = (0.0,)
    at_call = AtCall(k=k, fault=fault, among=among)
    install(at_call)
    try:
        with Study.open(home, owner(7)) as study:
            first = claimed(study)
            study.open_attempt(first)
            study.reports.add(first, 1, {"loss": 0.5})
            study.give_back(first, Cause.PREEMPTED)
            again = claimed(study)
            study.open_attempt(again)
            study.tell(again, complete(again))
    except StorageError as error:
        return at_call.made, str(error)
    return at_call.made, ""


def check(home: StudyHome, acknowledged: bool = False) -> None:
    """Another worker finishes the study."""
    _, end = work(home)
    assert end is not None
    assert end.why is IdleWhy.TARGET_MET
    state = state_of(home)
    assert (state.counts().complete, len(state.trials)) == (2, 2)
    assert len({trial.key for trial in state.trials}) == 2
    if acknowledged:
        assert state.trials[0].attempt == 2
    assert_read_as_optuna_reads(home.journal)


@pytest.fixture
def fresh(root: Path) -> Callable[[], StudyHome]:
    """The same study again and again, with nothing done in it."""
    kept = make(root / "kept", study="trials = 2\nmax_attempts = 9").path

    def copy() -> StudyHome:
        shutil.rmtree(root / "s", ignore_errors=True)
        shutil.copytree(kept, root / "s")
        return StudyHome(path=root / "s", name="s")

    return copy


def in_own_process(
    home: StudyHome, k: int, fault: Fault, among: tuple[str, ...] | None = None
) -> tuple[int, str] | None:
    """What ``lives`` says in a process of its own; None if it was killed."""
    process, pipe = start(lives, home, k, fault, among)
    process.join()
    if process.exitcode == -9:
        return None
    return tuple(answer(process, pipe))


@pytest.mark.parametrize("how", ["before", "half", "all but one byte"])
def test_killed_at_every_call(fresh: Callable[[], StudyHome], how: str) -> None:
    def dies(call: Call) -> Die:
        return {
            "before": Die(),
            "half": Die(written=len(call.data) // 2),
            "all but one byte": Die(written=len(call.data) - 1),
        }[how]

    for k in range(MOST_CALLS):
        home = fresh()
        ended = in_own_process(home, k, dies, None if how == "before" else WRITES)
        check(home, acknowledged=ended is not None)
        if ended is not None:
            assert ended == (k, "")
            break
    else:
        pytest.fail("there is no end of its calls")
    assert k >= (40 if how == "before" else 4)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_refused_at_every_call(fresh: Callable[[], StudyHome], error: int) -> None:
    """One call fails, with a part of its data written if it writes: the error is ours and says why, or it is healed."""
    said, healed = 0, 0
    for k in range(MOST_CALLS):
        home = fresh()
        ended = in_own_process(home, k, lambda call: Refuse(errno=error, written=len(call.data) // 3))
        assert ended is not None
        made, message = ended
        said += bool(message)
        healed += not message and made > k
        if message:
            assert "cannot" in message, message
        check(home)
        if made <= k:
            break
    else:
        pytest.fail("there is no end of its calls")
    assert said >= 10
    assert healed >= 3


def submits(home: StudyHome, k: int) -> None:
    install(AtCall(k=k, fault=die_halfway))
    revise(home, study="trials = 3")
    write_submission(
        home, Submission(id="killed", kind="local", workers=1, walltime_s=60, submitted=1.0, job_ids=("1",))
    )


def test_a_submission_killed_at_every_call_is_made_good_by_the_next(root: Path) -> None:
    """Of a new study, and of one that is revised."""
    for before in ("new", "revised"):
        for k in range(MOST_CALLS):
            shutil.rmtree(root / "s", ignore_errors=True)
            home = StudyHome(path=root / "s", name="s")
            if before == "revised":
                revise(home, study="trials = 2")
                work(home)
            process, _ = start(submits, home, k)
            process.join()
            assert process.exitcode in (0, -9)
            revise(home, study="trials = 3")
            write_submission(home, Submission(id="next", kind="local", workers=1, walltime_s=60, submitted=2.0))
            assert read_submissions(home)[-1].id == "next"
            work(home)
            state = state_of(home)
            assert state.counts().complete == 3
            assert state.target == 3
            assert all(trial.state is TrialState.COMPLETE for trial in state.trials)
            if process.exitcode == 0:
                break
        assert k >= 12, "a submission makes more changes than that"


def test_the_faults_are_where_they_say(tmp_path: Path) -> None:
    """What is cut short is cut short, what fails changes nothing: or the tests above prove nothing."""
    path = tmp_path / "file"

    def child(fault: Die | Refuse) -> str:
        import os

        install(lambda call: fault if call.name in WRITES else None)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            os.pwrite(fd, b"0123456789", 2)
        except OSError as error:
            return os.strerror(error.errno or 0)
        return "fine"

    process, pipe = start(child, Refuse(errno=errno.EIO, written=3))
    assert answer(process, pipe) == "Input/output error"
    assert path.read_bytes() == b"\0\0" + b"012"
    process, _ = start(child, Die(written=4))
    process.join()
    assert (process.exitcode, path.read_bytes()) == (-9, b"\0\0" + b"0123")
    process, _ = start(child, Die())
    process.join()
    assert (process.exitcode, path.read_bytes()) == (-9, b"")


def test_a_claim_is_a_claim_only_when_it_was_returned(root: Path) -> None:
    """Killed between the append and the return: the trial is there, and the next worker takes it over."""
    home = make(root, study="trials = 1")

    def claims() -> Claim:
        def at_first_sync(call: Call) -> Die | None:
            return Die() if call.name in ("fsync", "fdatasync") and call.path == str(home.journal) else None

        with Study.open(home, owner(7)) as study:
            install(at_first_sync)
            return claimed(study)

    process, _ = start(claims)
    process.join()
    assert process.exitcode == -9
    assert state_of(home).trials[0].state is TrialState.RUNNING
    assert work(home)[0] == [0]
    assert state_of(home).trials[0].attempt == 2
