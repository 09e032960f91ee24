"""``confirm``: the best again with common new seeds, judged seed by seed; from the command line, as a user meets it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.findings.confirmed.numbers import confirmed
from hpo_batch.findings.confirmed.words import said
from hpo_batch.findings.model.frame import prepare
from hpo_batch.findings.noise.numbers import Noise
from hpo_batch.next.confirm import advise
from hpo_batch.records import Answer, Estimate
from hpo_batch.sources.read import read_tables
from hpo_batch.sweep.load import load, loads
from tests.cli.conftest import SWEEP, Cli, cli
from tests.findings import simulate
from tests.helpers import Ended, until

__all__ = ["cli"]

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*, trials: int = 12, function: str = "noisy", more: str = "", name: str = "toy") -> Path:
        path = tmp_path / f"{name}.toml"
        path.write_text(SWEEP.format(name=name, trials=trials, function=function) + more)
        return path

    return write


BASELINE = "[baseline]\nx = 0.9\nn = 2\n"


def test_the_whole_loop_from_a_search_to_its_confirmed_winner(cli: Cli, write: Write, tmp_path: Path) -> None:
    assert cli("submit", write(more=BASELINE), "--wait").code == 0
    assert cli("report", "toy", "-o", tmp_path / "first").code == 0
    new = tmp_path / "again.toml"
    ended = cli("confirm", "toy", "--top", "4", "--seeds", "3", "-o", new)
    assert ended.code == 0, ended.err
    assert "advice: " in ended.err
    (sweep,) = load(new)
    assert sweep.study.name == "toy-confirm"
    assert [trial.name for trial in sweep.trial] == [f"finalist_{i}" for i in range(1, 5)]
    assert cli("check", new).code == 0
    (before,) = read_tables(["toy"], root=tmp_path / "logs")
    assert not set(sweep.study.seeds) & set(before.trials["seed"])

    assert cli("submit", new, "--wait").code == 0
    again = cli("submit", new)
    assert again.code == 0, again.err
    assert "->" not in again.err  # submitted twice without a change
    assert cli("collect", "toy-confirm", "-o", tmp_path / "all.json").code == 0
    (table,) = read_tables(["toy-confirm"], root=tmp_path / "logs")
    assert len(table.trials) == 5
    assert {tuple(json.loads(seeds)) for seeds in table.trials["seeds"]} == {sweep.study.seeds}

    assert cli("report", "toy-confirm", "-o", tmp_path / "second").code == 0
    told = json.loads((tmp_path / "second" / "report.json").read_text())
    found = told["studies"][0]["confirmed"]
    assert found["missing"] == []
    for finalist in found["finalists"]:
        # the seeds' own effect (0.3) is not in a paired difference, only that of seed and configuration (0.02)
        width = finalist["over_baseline"]["high"] - finalist["over_baseline"]["low"]
        assert width < 0.15
        assert finalist["over_baseline"]["low"] > 0
        row = before.trials[before.trials["number"] == finalist["before"]].iloc[0]
        assert finalist["raw"] == row["value"]
    means = [finalist["held_out"]["value"] for finalist in found["finalists"]]
    assert means == sorted(means)
    keys = {finding["key"]: finding for finding in told["findings"]}
    assert keys["confirmed.baseline"]["answer"] == "yes"
    # nothing is left to confirm
    assert not [action for action in told["actions"] if action["kind"] == "confirm"]
    assert not keys["best.optimism"]["actions"]
    assert not keys["baseline"]["actions"]
    assert "raw best" in keys["confirmed.best"]["text"]
    assert "raw best" in (tmp_path / "second" / "report.md").read_text()


def test_nothing_is_written_that_is_there_or_only_looked_at(cli: Cli, write: Write, tmp_path: Path) -> None:
    assert cli("submit", write(trials=4), "--wait").code == 0
    there = tmp_path / "there.toml"
    there.write_text("mine")
    ended = cli("confirm", "toy", "-o", there)
    assert ended.code == 2
    assert "exists already" in ended.err
    assert there.read_text() == "mine"
    ended = cli("confirm", "toy", "--dry-run")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("# Confirms the best of toy (4 complete trials): 4 configurations")
    assert "12 trainings" in ended.out
    assert not list(tmp_path.glob("toy-confirm*"))
    assert cli("confirm", "toy", "-o", tmp_path / "x.txt").code == 2
    assert cli("confirm", "no-such-study").code == 2


@pytest.mark.parametrize("function", ["raises_always", "returns_nan"])
def test_a_study_of_failures_has_nothing_to_confirm(cli: Cli, write: Write, function: str) -> None:
    cli("submit", write(trials=2, function=function), "--wait")
    for command in ("confirm", "propose"):
        ended = cli(command, "toy", "--dry-run")
        assert ended.code == 2
        assert re.search(r"no trial of toy is complete: \d trials failed", ended.err)


def test_a_study_that_runs_is_confirmed_only_when_asked(
    cli: Cli, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told_running(command: str) -> Ended | None:
        ended = cli(command, "toy", "--dry-run")
        return ended if "running" in ended.err else None

    monkeypatch.setenv("GO", str(tmp_path / "go"))
    assert cli("submit", write(trials=3, function="waits_or_stops")).code == 0
    try:
        ended = cli("confirm", "toy", "--dry-run", "--unfinished")
        assert ended.code == 2
        assert "no trial of toy is complete" in ended.err
        for command in ("confirm", "propose"):
            ended = until(lambda command=command: told_running(command))
            assert ended.code == 2
            assert "wait for its end, cancel it, or use --unfinished" in ended.err
    finally:
        (tmp_path / "go").touch()
        cli("cancel", "toy")


def test_several_metrics_have_no_best(cli: Cli, write: Write) -> None:
    path = write(trials=3, function="quadratic")
    path.write_text(
        path.read_text().replace('"score"', '["score", "twice"]').replace('"minimize"', '["minimize", "minimize"]')
    )
    assert cli("submit", path, "--wait").code == 0
    for command in ("confirm", "propose"):
        ended = cli(command, "toy", "--dry-run")
        assert ended.code == 2
        assert "several metrics (score, twice)" in ended.err


def test_a_space_edited_since_is_noticed(cli: Cli, write: Write) -> None:
    path = write(trials=4)
    assert cli("submit", path, "--wait").code == 0
    path.write_text(
        path.read_text().replace("n = [1, 2, 3]\n", "n = [1, 2, 3]\ny = { low = 0.0, high = 1.0, before = 0.5 }\n")
    )
    assert cli("submit", path, "--wait").code == 0
    for command in ("confirm", "propose"):
        ended = cli(command, "toy", "--dry-run")
        assert ended.code == 2, ended.out
        assert "no value for parameter 'y'" in ended.err
        assert "the space was edited since" in ended.err


def test_a_file_of_trials_needs_the_sweep_that_runs_them(cli: Cli, write: Write, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("x,n,score\n" + "".join(f"0.{i},{1 + i % 3},{i}\n" for i in range(1, 9)))
    options = ("--value", "score", "--direction", "minimize")
    ended = cli("confirm", path, "--dry-run", *options)
    assert ended.code == 2
    assert "--sweep FILE" in ended.err
    sweep = write()
    new = tmp_path / "new.toml"
    ended = cli("confirm", path, "--sweep", sweep, "--map", "score=score", "-o", new)
    assert ended.code == 0, ended.err
    assert cli("check", new).code == 0


def known(sd: float) -> Noise:
    return Noise(sd=Estimate(value=sd, low=None, high=None, method="given", n=1), source="replicates")


def test_the_advice_follows_the_spread_of_the_best_against_the_noise() -> None:
    data = prepare(simulate.table([({"x": i}, 1.0 + 0.1 * i) for i in range(12)]))  # the five best span 0.4
    assert advise(data, known(0.25)).answer is Answer.YES
    assert advise(data, known(0.15)).answer is Answer.NO
    assert advise(data, known(0.0)).answer is Answer.NO
    few = prepare(simulate.table([({"x": i}, 1.0 + 0.1 * i) for i in range(3)]))
    unknown = Noise(sd=None, source="unknown")
    assert advise(few, unknown).answer is Answer.CANNOT_TELL


CONFIRM = """
[study]
name = "again"
metric = "score"
direction = "maximize"
seeds = [5, 6, 7]
[objective]
function = "tests.cli.toys:noisy"
[space]
x = { low = 0.0, high = 1.0 }
[sampler]
name = "list"
[baseline]
x = 0.1
[previous]
study = ["s"]
by = "confirm"
trials = { finalist_1 = 4, finalist_2 = 9 }
values = { finalist_1 = 0.9, finalist_2 = 0.8 }
[[trial]]
name = "finalist_1"
set = "finalists"
params = { x = 0.5 }
[[trial]]
name = "finalist_2"
set = "finalists"
params = { x = 0.6 }
"""


def told_of(*values: list[float]) -> dict[str, tuple[Answer, str]]:
    """What is said of two finalists and the baseline, with a value for each seed."""
    (sweep,) = loads(CONFIRM, path=Path("again.toml"))
    table = simulate.table(
        [({"x": x}, sum(each) / 3) for x, each in zip((0.5, 0.6, 0.1), values, strict=True)],
        columns={
            "name": ["finalist_1", "finalist_2", None],
            "origin": ["list", "list", "baseline"],
            "n_seeds": [3] * 3,
            "value_by_seed": [json.dumps(each) for each in values],
        },
        sweep=sweep,
        space=sweep.space,
    )
    found = confirmed(prepare(table))
    assert found is not None
    return {key: (answer, text) for key, _, answer, text, _ in said(found, "score")}


def test_seeds_that_change_nothing_are_said_and_no_chance_is_blamed() -> None:
    told = told_of([0.9] * 3, [0.8] * 3, [0.2] * 3)
    assert "no trial differs between its seeds: they change nothing, or never reach the training" in told["mean"][1]
    assert "optimistic" not in told["best"][1]
    assert told["baseline"] == (
        Answer.YES,
        "finalist_1 gains 0.7 over the baseline, the same with each of the 3 seeds",
    )


def test_a_difference_that_every_seed_repeats_is_none_of_chance() -> None:
    told = told_of([0.5, 0.7, 0.9], [0.6, 0.8, 1.0], [0.3, 0.5, 0.7])
    assert "no trial differs" not in told["mean"][1]
    assert told["best"][0] is Answer.NO
    assert "is better by 0.1, the same with each of the 3 seeds" in told["best"][1]
    mixed = told_of([0.5, 0.7, 0.9], [0.7, 0.6, 0.95], [0.3, 0.5, 0.7])
    assert (mixed["best"][0], "which chance may have made" in mixed["best"][1]) == (Answer.CANNOT_TELL, True)


@pytest.mark.parametrize("command", ["refine", "propose", "confirm", "transfer"])
@pytest.mark.parametrize(
    ("output", "code", "said"),
    [
        ("", 2, "-o names a TOML file, not '.'"),
        ("next", 2, "-o names a TOML file, not 'next'"),
        ("nowhere/next.toml", 4, "cannot write 'nowhere/next.toml': there is no folder 'nowhere'"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(
    command: str, output: str, code: int, said: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = cli(command, "no-such-study", "-o", output)
    assert (ended.code, said in ended.err) == (code, True), ended.err
    assert not list(tmp_path.glob("n*"))
