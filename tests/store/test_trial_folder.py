"""The folder of an attempt: its claim, its result, and the checkpoint that is handed on."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.errors import StorageError
from hpo_batch.files import folders
from hpo_batch.records import Cause, Claim, CommandEnd, Complete, Configuration, Failed, GivenBack, Pruned, Reason
from hpo_batch.store import attempt_folder
from hpo_batch.store.attempt_archive import KeptAttempt, KeptEnd, command_end, kept_trial, kept_trials, reports
from hpo_batch.store.attempt_folder import (
    CHECKPOINT,
    ClaimFacts,
    drop_checkpoints,
    has_checkpoint,
    newest_checkpoint,
    open_attempt,
    tidy,
    write_result,
)
from hpo_batch.store.home import StudyHome, home_of

CONFIGURATION = Configuration(searched={"lr": 0.1}, fixed={"epochs": 3}, derived={"d_ff": 8})
TRIAL = {"key": CONFIGURATION.key, "seeds": [7], "origin": "tpe", "revision": 1, "derived": {"d_ff": 8}}
OWNER = {"worker": "w", "job": "local", "host": "h", "token": "t", "started": 5.0}
FACTS = ClaimFacts(trial=TRIAL, attempt=OWNER)


def facts(token: str) -> ClaimFacts:
    return ClaimFacts(trial=TRIAL, attempt={**OWNER, "token": token})


def claim(**changes: Any) -> Claim:
    facts: dict[str, Any] = {"number": 5, "attempt": 1, "token": "t", "configuration": CONFIGURATION, "seeds": (7,)}
    return Claim(**{**facts, "origin": "tpe", **changes})


def opened(home: StudyHome, **changes: Any) -> Path:
    """The folder for checkpoints of an attempt made ready, as when the user's code asks for it."""
    folder = open_attempt(home, claim(**changes), FACTS) / CHECKPOINT
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def home(root: Path) -> StudyHome:
    return home_of(root, "s")


def test_an_attempt_gets_a_folder_with_its_claim_and_nothing_else(home: StudyHome) -> None:
    folder = open_attempt(home, claim(), FACTS)
    assert folder == home.attempt(5, 1)
    assert [path.name for path in folder.iterdir()] == ["claim.json"]
    told = json.loads((folder / "claim.json").read_text())
    assert (told["number"], told["attempt"], told["token"]) == (5, 1, "t")
    assert (told["searched"], told["fixed"], told["trial"]["derived"]) == ({"lr": 0.1}, {"epochs": 3}, {"d_ff": 8})
    assert (told["trial"], told["owner"]) == (TRIAL, OWNER)


def test_a_claim_is_read_as_it_was_written(home: StudyHome) -> None:
    values = {"a": 1, "b": 1.0, "c": True, "d": 1e-300, "e": 0.1 + 0.2, "f": '\N{GREEK SMALL LETTER ALPHA}\n"'}
    configuration = Configuration(searched=values, fixed={"g": False}, derived={"h": 2})
    trial = {**TRIAL, "key": configuration.key, "derived": {"h": 2}, "name": "A1", "set": "A"}
    open_attempt(home, claim(configuration=configuration), ClaimFacts(trial=trial, attempt=OWNER))
    (attempt,) = kept_trial(home, 5).attempts
    assert attempt.claim is not None
    assert repr(attempt.claim.configuration) == repr(configuration)  # 1, 1.0 and true are equal to Python
    assert (attempt.claim.trial, attempt.claim.attempt, attempt.claim.started) == (trial, OWNER, 5.0)
    assert (attempt.problem, attempt.end) == ("", None)


def test_the_newest_checkpoint_is_handed_on_as_a_copy(home: StudyHome) -> None:
    assert newest_checkpoint(home, 5) is None
    first = opened(home)
    assert newest_checkpoint(home, 5) is None  # an empty folder is none
    (first / "deep").mkdir()
    (first / "deep" / "model").write_text("epoch 3")
    open_attempt(home, claim(attempt=2), FACTS)
    assert newest_checkpoint(home, 5) == 1
    third = open_attempt(home, claim(attempt=3, resumes=1), FACTS)
    assert (third / "checkpoint" / "deep" / "model").read_text() == "epoch 3"
    (first / "deep" / "model").write_text("a zombie writes")
    assert (third / "checkpoint" / "deep" / "model").read_text() == "epoch 3"
    assert newest_checkpoint(home, 5) == 3
    open_attempt(home, claim(attempt=10, resumes=3), FACTS)
    assert newest_checkpoint(home, 5) == 10  # by number, not by text
    assert newest_checkpoint(home, 6) is None


def test_a_checkpoint_that_has_gone_is_no_error(home: StudyHome) -> None:
    assert not has_checkpoint(open_attempt(home, claim(attempt=2, resumes=1), FACTS))


def test_a_checkpoint_that_changes_while_it_is_copied_is_copied_again(
    home: StudyHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(home)
    (first / "a").write_text("a")
    (first / "b").write_text("b")
    tries = vanishing(monkeypatch, first / "b", times=1)
    second = open_attempt(home, claim(attempt=2, resumes=1), FACTS)
    assert len(tries) == 1
    assert [p.name for p in (second / "checkpoint").iterdir()] == ["a"]


def test_a_checkpoint_that_cannot_be_copied_whole_is_not_copied(
    home: StudyHome, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = opened(home)
    (first / "a").write_text("a")
    (first / "b").write_text("b")
    tries = vanishing(monkeypatch, first / "b", times=99)
    second = open_attempt(home, claim(attempt=2, resumes=1), FACTS)
    assert len(tries) == attempt_folder.COPY_TRIES
    assert [p.name for p in second.iterdir()] == ["claim.json"]
    assert "the trial starts over" in caplog.text


def vanishing(monkeypatch: pytest.MonkeyPatch, path: Path, *, times: int) -> list[str]:
    """Take a file away between being listed and being copied, as an earlier attempt that lives does."""
    copy, tries = folders._copy_file, []

    def late(source: int, target: int, name: str) -> None:
        if name != path.name or len(tries) >= times:
            return copy(source, target, name)
        tries.append(name)
        path.unlink()
        try:
            copy(source, target, name)
        finally:
            if times > 1:
                path.write_text("again")

    monkeypatch.setattr(folders, "_copy_file", late)
    return tries


def test_a_result_is_kept_whatever_its_numbers_are(home: StudyHome) -> None:
    metrics = {"loss": math.nan, "auc": 0.5, "ratio": -math.inf}
    for outcome, kind in (
        (Complete(values=(0.5,), metrics=metrics), "complete"),
        (Pruned(step=3, metrics=metrics), "pruned"),
        (Failed(reason=Reason.NAN, message="'loss' is nan", metrics=metrics), "nan"),
        (GivenBack(cause=Cause.PREEMPTED), "preempted"),
    ):
        (home.attempt(5, 1) / "result.json").unlink(missing_ok=True)
        write_result(home, claim(), outcome, FACTS, now=9.0)
        (attempt,) = kept_trial(home, 5).attempts
        assert attempt.end is not None
        assert repr(attempt.end.ended) == repr(outcome)  # repr: NaN is not equal to itself
        assert (attempt.end.how, attempt.end.time, attempt.problem) == (kind, 9.0, "")


def test_a_result_stays_when_its_attempt_is_given_back_after_all(home: StudyHome) -> None:
    write_result(home, claim(), Complete(values=(0.5,), metrics={}), FACTS, now=9.0)
    write_result(home, claim(), GivenBack(cause=Cause.CANCELLED), FACTS, now=10.0)
    assert kept(home).end == KeptEnd(ended=Complete(values=(0.5,), metrics={}), time=9.0)


def test_a_folder_that_cannot_be_made_is_a_storage_error(home: StudyHome) -> None:
    home.path.mkdir()
    (home.path / "trials").touch()
    with pytest.raises(StorageError, match=r"cannot create the folder of an attempt.*Not a directory"):
        open_attempt(home, claim(), FACTS)
    with pytest.raises(StorageError, match="cannot write"):
        write_result(home, claim(), Pruned(step=1, metrics={}), FACTS, now=9.0)
    assert list(kept_trials(home)) == []


def test_checkpoints_of_all_attempts_are_dropped(home: StudyHome) -> None:
    for attempt in (1, 2):
        (opened(home, attempt=attempt) / "model").touch()
    drop_checkpoints(home, 5, attempts=2)
    assert newest_checkpoint(home, 5) is None
    assert (home.attempt(5, 1) / "claim.json").exists()
    drop_checkpoints(home, 6, attempts=1)


def kept(home: StudyHome) -> KeptAttempt:
    return kept_trial(home, 5).attempts[-1]


@pytest.mark.parametrize("content", [b"", b"{", b'{"number": 5, "attempt"', b"\0" * 300, b"\xff\xfe"])
def test_a_torn_claim_is_told_and_not_guessed(home: StudyHome, content: bytes) -> None:
    folder = open_attempt(home, claim(), FACTS)
    (folder / "claim.json").write_bytes(content)
    attempt = kept(home)
    assert (attempt.claim, attempt.end) == (None, None)
    assert (
        attempt.problem
        == f"'{folder / 'claim.json'}' is incomplete: its writer or its machine was stopped while writing"
    )


def test_every_torn_claim_is_recognised(home: StudyHome) -> None:
    path = open_attempt(home, claim(), FACTS) / "claim.json"
    whole = path.read_bytes()
    assert kept(home).claim is not None
    for length in range(len(whole) - 1):  # without its last newline it is whole
        path.write_bytes(whole[:length])
        assert kept(home).claim is None


def test_a_torn_claim_is_not_missed_if_there_is_a_result(home: StudyHome) -> None:
    folder = open_attempt(home, claim(), FACTS)
    write_result(home, claim(), Pruned(step=1, metrics={}), FACTS, now=9.0)
    whole = kept(home)
    (folder / "claim.json").write_bytes(b"")
    assert kept(home) == whole
    (folder / "claim.json").unlink()
    assert kept(home) == whole


@pytest.mark.parametrize("number", [1, 2])
def test_a_worker_of_a_claim_that_is_no_more_changes_nothing(home: StudyHome, number: int) -> None:
    """An older copy of the journal was put back, and the attempt given away again, while the first worker goes on."""
    theirs = claim(attempt=number, token="theirs")
    open_attempt(home, theirs, facts("theirs"))
    ours = claim(attempt=number)
    folder = open_attempt(home, ours, FACTS)
    before = kept(home)
    assert before.claim is not None
    assert (before.claim.token, before.end, before.problem) == ("t", None, "")
    with pytest.raises(StorageError, match="belongs to another claim"):
        write_result(home, theirs, Pruned(step=1, metrics={}), facts("theirs"), now=9.0)
    assert kept(home) == before
    write_result(home, ours, Pruned(step=2, metrics={}), FACTS, now=9.0)
    assert kept(home).end == KeptEnd(ended=Pruned(step=2, metrics={}), time=9.0)
    assert [path.name for path in folder.iterdir()] == ["result.json"]


def test_a_result_of_another_claim_does_not_count(home: StudyHome) -> None:
    """As above, with a worker that had ended, or of an older version, which does not look."""
    write_result(home, claim(attempt=2, token="theirs"), Pruned(step=1, metrics={}), facts("theirs"), now=9.0)
    folder = open_attempt(home, claim(attempt=2), FACTS)
    attempt = kept(home)
    assert attempt.claim is not None
    assert attempt.end is None
    assert attempt.problem == f"'{folder / 'result.json'}' belongs to another claim and is ignored"
    write_result(home, claim(attempt=2), Pruned(step=2, metrics={}), FACTS, now=9.0)
    assert kept(home).end == KeptEnd(ended=Pruned(step=2, metrics={}), time=9.0)
    assert kept(home).problem == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"searched": {"lr": 0.2}}, "was edited"),
        ({"number": 6}, "belongs to trial 6, attempt 1"),
        ({"owner": {}}, "does not name its worker"),
        ({"trial": None}, "was not written by this hpo-batch"),
    ],
)
def test_a_claim_that_is_not_as_it_was_written_is_told(home: StudyHome, change: dict[str, Any], why: str) -> None:
    path = open_attempt(home, claim(), FACTS) / "claim.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert kept(home).claim is None
    assert why in kept(home).problem


def test_the_last_attempt_counts(home: StudyHome) -> None:
    for attempt, value in ((1, 0.001), (2, 0.5), (10, 0.7)):
        open_attempt(home, claim(attempt=attempt), FACTS)
        write_result(home, claim(attempt=attempt), Complete(values=(value,), metrics={}), FACTS, now=9.0)
    trial = kept_trial(home, 5)
    assert [attempt.number for attempt in trial.attempts] == [1, 2, 10]
    assert trial.end == KeptEnd(ended=Complete(values=(0.7,), metrics={}), time=9.0)
    (home.attempt(5, 11)).mkdir()  # its worker died before it could write the claim
    assert kept_trial(home, 5).end is None
    assert kept_trial(home, 5).claim == trial.claim
    assert kept_trial(home, 5).problems == (f"'{home.attempt(5, 11) / 'claim.json'}' does not exist",)


def test_trials_are_listed_by_number_and_nothing_else_is(home: StudyHome) -> None:
    for number in (12_345, 999, 1000, 5):
        open_attempt(home, claim(number=number), FACTS)
    for stray in ("notes", "0000/0001.tar", "0000/5000", "0000/x"):
        (home.path / "trials" / stray).mkdir(parents=True)
    (home.attempt(5, 1).parent / "notes.txt").touch()
    assert [trial.number for trial in kept_trials(home)] == [5, 999, 1000, 12_345]
    assert all(not trial.problems for trial in kept_trials(home))


def test_reports_are_read_and_torn_lines_left_out(home: StudyHome) -> None:
    folder = open_attempt(home, claim(), FACTS)
    assert reports(folder) == []
    lines = [
        '{"step": 1, "time": 2.0, "metrics": {"loss": 0.5}}',
        '{"step": 2, "time": 3, "metrics": {"loss": NaN, "text": "no"}}',
        '{"step": 3, "time"',
        '{"step": 4}',
        '{"step": 5, "time": 4.0, "metrics": {"loss": 1}}',
    ]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    found = reports(folder)
    assert [report.step for report in found] == [1, 2, 5]
    assert found[1].metrics.keys() == {"loss"}
    assert (found[2].time, found[2].metrics) == (4.0, {"loss": 1.0})


def test_the_claim_is_there_until_the_result_is(home: StudyHome) -> None:
    folder = open_attempt(home, claim(), FACTS)
    before = kept(home).claim
    write_result(home, claim(), Pruned(step=1, metrics={}), FACTS, now=9.0)
    assert [path.name for path in folder.iterdir()] == ["result.json"]
    assert kept(home).claim == before
    assert open_attempt(home, claim(), FACTS) == folder  # of the same claim: nothing is moved away
    assert not list(folder.parents[2].glob("0005.*"))


def test_a_result_follows_the_note_that_the_attempt_is_given_back(home: StudyHome) -> None:
    folder = open_attempt(home, claim(), FACTS)
    write_result(home, claim(), GivenBack(cause=Cause.PREEMPTED), FACTS, now=9.0)
    assert kept(home).problem == ""
    write_result(home, claim(), Complete(values=(0.5,), metrics={}), FACTS, now=10.0)
    assert kept(home).end == KeptEnd(ended=Complete(values=(0.5,), metrics={}), time=10.0)
    assert [path.name for path in folder.iterdir()] == ["result.json"]


def test_a_result_that_cannot_be_written_leaves_the_claim_and_no_part(
    home: StudyHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_attempt(home, claim(), FACTS)

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            write_result(home, claim(), Pruned(step=1, metrics={}), FACTS, now=9.0)
    assert [path.name for path in folder.iterdir()] == ["claim.json"]
    write_result(home, claim(), GivenBack(cause=Cause.CANCELLED), FACTS, now=9.0)
    assert kept(home).end == KeptEnd(ended=GivenBack(cause=Cause.CANCELLED), time=9.0)


def test_a_torn_result_lies_beside_its_claim_and_is_none(home: StudyHome) -> None:
    folder = open_attempt(home, claim(), FACTS)
    write_result(home, claim(attempt=9), Pruned(step=1, metrics={}), FACTS, now=9.0)
    content = (home.attempt(5, 9) / "result.json").read_bytes()
    shutil.rmtree(home.attempt(5, 9))
    for length in (1, 40, len(content) - 3):
        (folder / "result.json").write_bytes(content[:length])
        attempt = kept(home)
        assert attempt.claim is not None
        assert attempt.end is None
        assert "result.json' is incomplete" in attempt.problem
        tidy(home, 5, 1)
        assert sorted(path.name for path in folder.iterdir()) == ["claim.json", "result.json"]


def test_a_result_that_is_damaged_later_is_named(home: StudyHome) -> None:
    write_result(home, claim(), Pruned(step=1, metrics={}), FACTS, now=9.0)
    path = home.attempt(5, 1) / "result.json"
    path.write_bytes(path.read_bytes()[:40])
    assert kept(home).problem == f"'{path}' is incomplete: its writer or its machine was stopped while writing"


def test_what_a_killed_attempt_leaves_is_tidied_and_nothing_else(home: StudyHome) -> None:
    folder = open_attempt(home, claim(), FACTS)
    for name in (
        "stdout",
        "stderr",
        "stop",
        ".result.json.0a1b2c3d.tmp",
        ".checkpoint.tmp/deep/model",
        "checkpoint/seed-1/deeper/",
        "seed-2/stdout",
        "seed-2/stderr",
        "seed-3/stdout",
        "seed-3/notes",
        "seed-2/rank-1/stdout",
        "rank-1/stderr",
        "mine/",
        "empty.txt",
        ".mine.tmp",
        "rank-list",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(parents=True)
        elif name != "rank-list":
            path.touch()
    (folder / "rank-list").write_text("of the user's")
    (folder / "stderr").write_text("last words")
    tidy(home, 5, 1)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == [
        ".mine.tmp", "claim.json", "empty.txt", "mine", "rank-list", "seed-3", "seed-3/notes", "stderr",
    ]  # fmt: skip
    tidy(home, 5, 1)
    tidy(home, 6, 1)  # of which nobody has made a folder
    (folder / "checkpoint" / "seed-1").mkdir(parents=True)
    (folder / "checkpoint" / "model").touch()
    tidy(home, 5, 1)
    assert (folder / "checkpoint" / "seed-1").is_dir()  # part of a checkpoint


def test_a_worker_that_is_killed_before_it_removes_its_claim(home: StudyHome) -> None:
    folder = open_attempt(home, claim(), FACTS)
    whole = (folder / "claim.json").read_bytes()
    write_result(home, claim(), Pruned(step=1, metrics={}), FACTS, now=9.0)
    (folder / "claim.json").write_bytes(whole)
    before = kept(home)
    tidy(home, 5, 1)
    assert [path.name for path in folder.iterdir()] == ["result.json"]
    assert kept(home) == before
    (folder / "claim.json").write_bytes(whole.replace(b'"token": "t"', b'"token": "u"'))
    tidy(home, 5, 1)  # the claim of somebody else
    assert sorted(path.name for path in folder.iterdir()) == ["claim.json", "result.json"]


def test_how_a_command_ended_stands_in_the_result(home: StudyHome) -> None:
    end = CommandEnd(argv=("sh", "-c", "x"), exit_code=None, signal=9, stopped="pruned", seconds=1.5)
    folder = open_attempt(home, claim(), FACTS)
    assert command_end(folder) == {}
    write_result(home, claim(), Failed(reason=Reason.EXIT_CODE, message="no", command=end), FACTS, now=9.0)
    assert command_end(folder) == {"argv": ["sh", "-c", "x"], "exit_code": None, "signal": 9, "stopped": "pruned",
                                   "seconds": 1.5}  # fmt: skip
    assert kept(home).end == KeptEnd(ended=Failed(reason=Reason.EXIT_CODE, message="no"), time=9.0)
    (folder / "exit.json").write_text('{"exit_code": 3}')  # of an earlier version
    assert command_end(folder) == {"exit_code": 3}
