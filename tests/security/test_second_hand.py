"""Files that a colleague or another program left in a study: whatever they are, no command hangs, fails or obeys."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.cli.main import run
from hpo_batch.doctor.finding import Level
from hpo_batch.doctor.study import examine_study
from hpo_batch.files import OddFile, decode, loads, read_json_lines, read_regular
from hpo_batch.store.attempt_archive import kept_trials
from hpo_batch.store.home import home_of
from hpo_batch.store.leases import read_owners
from hpo_batch.store.submissions import read_submissions, workdir_of
from hpo_batch.study.rebuild import rebuild
from tests.security.test_bad_studies import BUG, DEEP, hurried, made, root  # noqa: F401

Spoil = Callable[[Path], None]


def _nested(path: Path) -> None:
    path.write_text(DEEP)


def _huge(path: Path) -> None:
    path.write_text("{")
    os.truncate(path, 1 << 42)


def _zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


SPOILT: dict[str, Spoil] = {
    "pipe": os.mkfifo,
    "endless": _zeros,
    "link to a private file": lambda path: path.symlink_to("/etc/passwd"),
    "folder": Path.mkdir,
    "nested": _nested,
    "huge": _huge,
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 9) and None,
    "number": lambda path: path.write_text("7") and None,
    "list": lambda path: path.write_text("[1, [2], {}]") and None,
    "other types": lambda path: path.write_text(
        '{"number": "x", "attempt": [], "token": 1, "searched": 1, "outcome": 1, "claim": [], "worker": 1, "pid": "x",'
        ' "gpus": 3, "id": 7, "kind": "slurm", "job_ids": 5, "step": "x", "time": {}, "metrics": [], "study": 5}'
    )
    and None,
}  # fmt: skip
PLACES = (
    "submissions.jsonl", "sweep.1.json", "sweep.toml", "workers/x.json", "workers/x.lease", "CANCELLED",
    "trials/0000/0000/attempts/1/result.json", "trials/0000/0000/attempts/1/claim.json",
    "trials/0000/0000/attempts/1/metrics.jsonl", "trials/0000/0000/attempts/1/exit.json",
    "trials/0000/0000/attempts/1/stdout", "imported.1.jsonl", "adopted.jsonl",
)  # fmt: skip


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", SPOILT)
def test_no_command_minds(root: Path, place: str, kind: str, capfd: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    path = root / "bad" / place
    path.unlink(missing_ok=True)
    SPOILT[kind](path)
    for argv in (["list"], ["status", "bad"], ["collect", "bad"], ["explain", "bad", "0"], ["collect", "good", "bad"]):
        code = run([*argv, "--root", str(root)])
        told = capfd.readouterr()
        assert code < BUG, (argv, told.err)
        assert "root:x:0" not in told.out + told.err
        if argv[0] in ("list", "collect"):
            assert code == 0, (argv, told.err)
    found = {finding.about: finding for finding in examine_study(home_of(root, "bad"))}
    if place == "submissions.jsonl" and kind not in ("number", "list", "other types", "binary", "nested"):
        assert found["submissions"].level is Level.BAD
    if place == "sweep.1.json":
        assert found["sweep"].level is Level.BAD


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("kind", SPOILT)
def test_one_reader(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    SPOILT[kind](path)
    if kind in ("nested", "binary", "number", "list", "other types"):
        with pytest.raises(ValueError):
            decode(read_regular(path), dict[str, int])
        list(read_json_lines(path))
    else:
        with pytest.raises(OddFile):
            read_regular(path)
        with pytest.raises(OddFile):
            list(read_json_lines(path))
    with pytest.raises(ValueError, match="nested too deeply"):
        loads(DEEP)


def test_a_trial_of_a_far_number_is_left_out(root: Path) -> None:  # noqa: F811
    """``trials/3000/3000000``: a journal of three million failed trials was made for it."""
    home = home_of(root, "bad")
    shutil.copytree(home.trial(0), home.trial(3_000_000))
    (home.path / "trials" / "9999999999999").mkdir()
    (home.path / "trials" / "0000" / ("9" * 200)).mkdir()
    rebuilt = rebuild(home, completed=lambda sweep: lambda metrics: metrics, now=1e9)
    assert rebuilt.counts.complete == 2
    assert rebuilt.counts.failed == 0
    assert any("far behind the 2 others" in problem for problem in rebuilt.problems)


@pytest.mark.parametrize(
    "changed",
    [
        {"log_pattern": "../../../etc/passwd"}, {"log_pattern": "/etc/passwd"}, {"workers": -1}, {"submitted": 1e300},
        {"id": "../../x"}, {"workers": 10**30}, {"job_ids": "1"}, {"job_ids": [1]}, {"code": []}, {"kind": "other"},
        {"walltime_s": "1"}, {"submitter": 5}, {"workers_per_task": 2.5}, {"is_open": "no"},
    ],
)  # fmt: skip
def test_a_submission_of_other_types_is_none(root: Path, changed: dict[str, object]) -> None:  # noqa: F811
    home = home_of(root, "bad")
    (first,) = read_submissions(home)
    line = json.loads(home.submissions.read_text().splitlines()[-1]) | {"id": "x"} | changed
    with home.submissions.open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert read_submissions(home) == (first,)
    findings = [finding for finding in examine_study(home) if finding.about == "submissions"]
    assert "were not written by hpo-batch" in findings[0].what


@pytest.mark.parametrize("workdir", [5, ["x"], "a\0b", {}])
def test_a_working_directory_that_is_none(root: Path, workdir: object) -> None:  # noqa: F811
    home = home_of(root, "bad")
    line = json.loads(home.submissions.read_text().splitlines()[-1]) | {"code": {"workdir": workdir}}
    home.submissions.write_text(json.dumps(line) + "\n")
    (read,) = read_submissions(home)
    assert workdir_of(home, read) is None


@pytest.mark.parametrize("pid", [-1, 0, 10**30, "1", 1.5, None, True, 1 << 23])
def test_a_card_with_a_pid_that_is_none(tmp_path: Path, pid: object) -> None:
    card = {"worker": "x", "job": "local", "host": "h", "pid": pid, "start": 1, "boot": "b", "gpus": []}
    (tmp_path / "x.json").write_text(json.dumps(card))
    (tmp_path / "y.json").write_text(json.dumps(card | {"pid": 5}))  # copied: it is that of another worker
    assert read_owners(tmp_path) == {}
    (tmp_path / "x.json").write_text(json.dumps(card | {"pid": 5}))
    assert list(read_owners(tmp_path)) == ["x"]


@pytest.mark.parametrize(
    "changed", [{"metrics": {"a": "much"}}, {"time": 1e300}, {"values": [1e400]}, {"replicates": [{"a": "x"}]}]
)
def test_a_result_with_numbers_that_are_none(root: Path, changed: dict[str, object]) -> None:  # noqa: F811
    home = home_of(root, "bad")
    path = home.attempt(0, 1) / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    first = next(kept_trials(home))
    assert first.end is None
    assert first.problems
