"""A result that lies in its attempt's folder counts, although the worker died, or could not write, before it told."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from benchmarks.fault_points import Call, Die, Refuse, install
from hpo_batch.errors import StorageError
from hpo_batch.records import Complete, Failed, Outcome, Pruned, Reason, TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.study import patience
from hpo_batch.study.study import Study
from tests.journal.helpers import assert_read_as_optuna_reads
from tests.processes import answer, start
from tests.study.helpers import claimed, make, owner, state_of, work


def dies_after_its_result(home: StudyHome, outcome: Outcome, point: str = "unlink") -> None:
    """When the result is on the disk, or when the claim has been removed, too."""
    names = {"fsync": "result.json", "unlink": "claim.json"}
    with Study.open(home, owner(7)) as study:
        claim = claimed(study)
        study.reports.add(claim, 3, {"loss": 0.5})
        study.reports.flush(claim)
        (study.open_attempt(claim) / "checkpoint").mkdir()
        home.attempt(0, 1).joinpath("checkpoint", "state").touch()
        install(lambda c: Die(after=True) if c.name == point and c.path.endswith(names[point]) else None)
        study.tell(claim, outcome)


OUTCOMES: dict[str, Outcome] = {
    "complete": Complete(values=(0.125,), metrics={"loss": 0.125, "ratio": float("inf")}),
    "pruned": Pruned(step=3, metrics={"loss": 0.5}),
    "failed": Failed(reason=Reason.NAN, message="'loss' is nan", traceback="...", metrics={"loss": float("nan")}),
}


@pytest.mark.parametrize("point", ["fsync", "unlink"])
@pytest.mark.parametrize("kind", OUTCOMES)
def test_the_next_claim_tells_what_a_killed_worker_had_written(root: Path, kind: str, point: str) -> None:
    home = make(root, study="trials = 2")
    process, _ = start(dies_after_its_result, home, OUTCOMES[kind], point)
    process.join()
    assert process.exitcode == -9
    assert state_of(home).trials[0].state is TrialState.RUNNING
    done, _ = work(home)
    assert 0 not in done
    trial = state_of(home).trials[0].record()
    assert [(attempt.number, attempt.ending) for attempt in trial.attempts] == [
        (1, {"failed": "nan"}.get(kind, kind)),
    ]
    assert trial.state.name == {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}[kind]
    assert trial.values == {"complete": (0.125,), "pruned": (0.5,), "failed": None}[kind]
    assert trial.reason == ("nan" if kind == "failed" else None)
    assert not list(home.attempt(0, 1).glob("checkpoint"))
    assert state_of(home).counts().finished == 2
    assert_read_as_optuna_reads(home.journal)


@pytest.mark.parametrize("point", ["fsync", "unlink"])
@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": "of another"}', '{"outcome": "complete"}'])
def test_a_file_that_is_no_result_of_the_attempt_is_not_told(root: Path, text: str, point: str) -> None:
    home = make(root, study="trials = 1")
    process, _ = start(dies_after_its_result, home, OUTCOMES["complete"], point)
    process.join()
    assert (home.attempt(0, 1) / "claim.json").exists() is (point == "fsync")
    (home.attempt(0, 1) / "result.json").write_text(text)
    assert work(home)[0] == [0]
    assert [a.ending for a in state_of(home).trials[0].record().attempts] == ["lost", "complete"]


def cannot_tell(home: StudyHome) -> str:
    patience.RETRY_PAUSES_S = (0.0, 0.0)
    with Study.open(home, owner(7)) as study:
        claim = claimed(study)
        writes = ("write", "pwrite", "writev", "pwritev")

        def full(call: Call) -> Refuse | None:
            is_append = call.name in writes and call.path == str(home.journal)
            return Refuse(errno=errno.ENOSPC, written=17) if is_append else None

        install(full)
        with pytest.raises(StorageError) as caught:
            study.tell(claim, OUTCOMES["complete"])
    return str(caught.value)


def test_a_result_that_a_full_disk_kept_from_the_journal_is_told_when_there_is_room(root: Path) -> None:
    home = make(root, study="trials = 2")
    process, pipe = start(cannot_tell, home)
    assert "No space left on device" in answer(process, pipe)
    assert state_of(home).trials[0].state is TrialState.RUNNING
    assert work(home)[0] == [1]
    assert state_of(home).trials[0].values == (0.125,)
