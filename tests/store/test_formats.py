"""Studies of older versions stay readable, and go on; those of newer ones are left alone.

Samples are in ``data/format-N``; how they are made is in ``make_sample.py`` and docs/study-on-disk.md.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from pathlib import Path

import optuna
import pytest
from msgspec.structs import asdict

from hpo_batch.journal.encode import FORMAT, Writer
from hpo_batch.journal.file import Journal
from hpo_batch.records import TrialState
from hpo_batch.store.submissions import read_submissions
from hpo_batch.study.read import read_revision
from tests.journal.helpers import assert_read_as_optuna_reads, plain_storage, read_state
from tests.store.conftest import FORMAT_1, Sample

DATA = FORMAT_1.parent


def test_every_format_has_its_sample() -> None:
    assert sorted(path.name for path in DATA.glob("format-*")) == [f"format-{n}" for n in range(1, FORMAT + 1)]


def test_no_sample_names_the_machine_it_was_made_on() -> None:
    for path in DATA.glob("format-*/study/**/*"):
        content = path.read_bytes() if path.is_file() else b""
        paths = re.findall(rb"(?<![\w.])/[a-z]+/[\w./-]+", content)
        assert all(found.startswith(b"/home/user/project") for found in paths), (path, paths)
        assert all(host == b"n1" for host in re.findall(rb'(?:host=|"host": ?")([\w.-]+)', content)), path


def test_format_1_is_read_as_it_was_written(sample: Sample) -> None:
    state = read_state(sample.home.journal)
    assert (state.study_name, state.directions, state.metrics) == ("sample", (1,), ("loss",))
    assert (state.revision, state.target, state.attrs["hpo:format"]) == (2, 9, 1)
    counts = asdict(state.counts())
    assert counts == {"target": 9, "waiting": 1, "running": 1, "complete": 3, "pruned": 1, "failed": 1}
    trials = sample.records()
    assert [(name, trial.number, trial.state.name, trial.values) for name, trial in trials.items()] == [
        ("A1", 0, "COMPLETE", (0.5 + 1 / 3,)),
        ("A2", 1, "PRUNED", (2.0,)),
        ("A3", 2, "FAIL", None),
        ("A4", 3, "COMPLETE", (0.0625 + 1 / 3,)),
        ("A5", 4, "COMPLETE", (0.5 + 1 / 3,)),
        ("A6", 5, "WAITING", None),
        ("A7", 6, "RUNNING", None),
    ]
    a1, a3, a4 = trials["A1"], trials["A3"], trials["A4"]
    assert a1.params == {"epochs": 3, "x": 0.5, "n": 2, "kind": "warm", "warmup": 3, "width": 8}
    assert trials["A2"].params == {"epochs": 3, "x": 0.25, "n": 1, "kind": "plain", "width": 4}  # no warmup
    assert (a1.set, a1.note, a1.origin) == ("A", "with a conditional parameter", "list")
    assert a1.metrics == {"loss": 0.5 + 1 / 3, "accuracy": 0.75, "cost": 1.5 + 1 / 3}
    assert trials["A5"].metrics == a1.metrics
    assert state.trials[4].facts["repeats"] == 0
    assert (a1.steps, trials["A2"].steps, trials["A6"].steps) == ({1: 1.0, 2: 0.5, 3: 1 / 3}, {1: 2.0}, {1: 1.0})
    assert (a3.reason, a3.message) == ("exception", "ValueError: A3 is meant to fail")
    assert {name: [a.ending for a in t.attempts] for name, t in trials.items()} == {
        "A1": ["complete"], "A2": ["pruned"], "A3": ["exception"], "A4": ["lost", "complete"], "A5": [],
        "A6": ["preempted"], "A7": [""],
    }  # fmt: skip
    assert {attempt.host for trial in trials.values() for attempt in trial.attempts} == {"n1"}
    assert a4.steps == {1: 1.0, 2: 0.5, 3: 1 / 3}  # one before the kill, two after
    assert [trial.revision for trial in trials.values()] == [1, 1, 1, 1, 2, 2, 2]
    assert [trial.seeds for trial in trials.values()][4] == a1.seeds
    assert all(len(trial.seeds) == 1 for trial in trials.values())
    sweep = read_revision(sample.home, state)
    assert (sweep.study.trials, sweep.study.max_attempts, len(sweep.trial), sweep.pruner.name) == (9, 2, 7, "median")
    assert [(s.kind, s.workers, len(s.job_ids)) for s in read_submissions(sample.home)] == [
        ("local", 1, 1),
        ("local", 2, 2),
    ]


def test_plain_optuna_reads_format_1(sample: Sample) -> None:
    assert_read_as_optuna_reads(sample.home.journal)
    study = optuna.load_study(study_name="sample", storage=plain_storage(sample.home.journal))
    assert (study.best_trial.number, study.best_value) == (3, 0.0625 + 1 / 3)
    assert study.best_params == {"epochs": 3, "x": 0.0625, "n": 1, "kind": "plain"}


def test_every_command_reads_format_1(sample: Sample) -> None:
    shown = sample.run("status", "sample").out
    assert "4 of 9 finished: 1 running, 1 waiting, 3 complete, 1 pruned, 1 failed" in shown
    assert "best      loss 0.395833 by trial 3 (A4)" in shown
    (told,) = json.loads(sample.run("status", "sample", "--json").out)
    assert (told["trials"]["remaining"], told["failures"], told["submissions"]) == (5, {"exception": 1}, 2)
    assert "4 of 9" in sample.run("list").out
    assert sample.run("logs", "sample", "A4").out == "attempt 2 from epoch 2\n"
    assert sample.run("logs", "sample", "A4", "--attempt", 1).out == "attempt 1 from epoch 1\n"
    assert "A3 is meant to fail" in sample.run("logs", "sample", "2").out
    rows = list(csv.DictReader(io.StringIO(sample.run("collect", "sample", "--format", "csv").out)))
    assert [row["name"] for row in rows] == ["A1", "A2", "A3", "A4", "A5", "A6", "A7"]
    assert [row["attempts"] for row in rows] == ["1", "1", "1", "2", "0", "1", "1"]
    assert [row["params_warmup"] for row in rows] == ["3", "", "", "", "3", "", ""]
    assert [row["node"] for row in rows] == ["n1", "n1", "n1", "n1", "", "n1", "n1"]
    attempts = list(csv.DictReader(io.StringIO(sample.run("collect", "sample", "--attempts", "--format", "csv").out)))
    assert len(attempts) == 7


def test_format_1_goes_on(sample: Sample) -> None:
    """A worker takes over what was left waiting and running, from its checkpoints, and does the rest."""
    before = sample.records()
    worker = sample.run("worker", "sample")
    assert worker.code == 0, worker.err
    after = sample.records()
    for name in ("A1", "A2", "A3", "A4", "A5"):
        assert after[name] == before[name]
    assert {name: [a.ending for a in after[name].attempts] for name in ("A6", "A7")} == {
        "A6": ["preempted", "complete"],
        "A7": ["lost", "complete"],
    }
    for name, number in (("A6", 5), ("A7", 6)):
        assert sample.run("logs", "sample", name).out == "attempt 2 from epoch 2\n"
        assert after[name].params == before[name].params
        assert after[name].steps == {1: 1.0, 2: 0.5, 3: 1 / 3}, number
    state = read_state(sample.home.journal)
    assert (len(state.trials), state.counts().finished, state.counts().failed) == (10, 9, 1)
    assert not state.by_state[TrialState.RUNNING] | state.by_state[TrialState.WAITING]
    assert_read_as_optuna_reads(sample.home.journal)


def test_format_1_is_submitted_again(sample: Sample) -> None:
    """Keys that came later change nothing: a sweep that was not edited is the one that was frozen."""
    options = ("--local", "--workers", "2", "--root", "logs")
    later = sample.run("submit", "sweep.toml", *options, "--trials", "9", "-n").out
    told = [line.strip() for line in later.splitlines() if "changed" in line]
    assert told == ["changed: sampler.startup_trials: 10 -> 5"]  # a default that has changed since is told
    options += ("--set", "sampler.startup_trials=10")
    planned = sample.run("submit", "sweep.toml", *options, "--trials", "9", "-n")
    assert (planned.code, "changed" in planned.out) == (0, False), planned.out
    done = sample.run("submit", "sweep.toml", *options, "--trials", "10", "--wait")
    assert [line for line in done.err.splitlines() if "changed" in line] == ["  changed: study.trials: 9 -> 10"]
    assert "sample: 10 of 10 trials finished" in done.err
    assert_read_as_optuna_reads(sample.home.journal)


@pytest.mark.parametrize(
    "argv",
    [
        ("status", "sample"), ("status", "--json"), ("list",), ("logs", "sample", "0"), ("collect", "sample"),
        ("collect", "-o", "table.csv"), ("worker", "sample"), ("submit", "sweep.toml"), ("submit", "sweep.toml", "-n"),
        ("submit", "sweep.toml", "--set", "study.shared=true"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_newer_format_is_told_and_left_alone(sample: Sample, argv: tuple[str, ...]) -> None:
    """Also when the records behind the mark make no sense to this version, and when the last one is torn."""
    writer = Writer("newer")
    with Journal(sample.home.journal).transaction() as transaction:
        transaction.append([writer.study_attr("hpo:format", FORMAT + 1)], sync=False)
        transaction.append_lines([b'{"op_code":4,"study_id":0,"params":"packed"}', b'{"op_code":99}'], sync=False)
    with sample.home.journal.open("ab") as file:
        file.write(b'{"op_code":')
    before = _picture(sample.project)
    ended = sample.run(*argv)
    assert ended.code == 4, ended.err
    told = f"this study has format {FORMAT + 1}, this hpo-batch reads up to {FORMAT}: upgrade hpo-batch"
    assert told in ended.err + ended.out
    assert _picture(sample.project) == before


@pytest.mark.parametrize(
    "argv", [("worker", "sample"), ("submit", "sweep.toml"), ("submit", "sweep.toml", "-n")], ids=" ".join
)
def test_a_key_that_a_newer_version_has_added_is_told(sample: Sample, argv: tuple[str, ...]) -> None:
    path = sample.home.revision(2)
    path.write_text(path.read_text().replace('"max_attempts": 2', '"max_attempts": 2, "replicas": 3'))
    revision = {"number": 2, "digest": hashlib.sha256(path.read_bytes()).hexdigest(), "target": 9}
    with Journal(sample.home.journal).transaction() as transaction:
        transaction.append([Writer("newer").study_attr("hpo:revision", revision)], sync=False)
    before = _picture(sample.project)
    ended = sample.run(*argv)
    assert ended.code == 4, ended.err
    assert "another version of hpo-batch (study.replicas: unknown key): upgrade" in ended.err
    assert _picture(sample.project) == before


def _picture(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {}
    for path in (path for path in (folder, *folder.rglob("*")) if "__pycache__" not in path.parts):
        facts = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (facts.st_mode, facts.st_mtime_ns, content)
    return found
