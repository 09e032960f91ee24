"""What a user sees of a sweep that fails: as a whole, or in one trial that hangs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Cli


def test_a_trial_that_hangs_costs_its_worker_and_nothing_else(cli: Cli, write_sweep: Callable[..., Path]) -> None:
    sweep = write_sweep("first_hangs", trials=4, workers=2, more='\n[failures]\nstall = "0:00:02"\n')
    ended = cli("submit", sweep, "--local", "--wait")
    assert ended.code == 1  # a trial has failed
    told = json.loads(cli("status", "toy", "--json").out)[0]
    # the other worker left when the rest was running: what takes the place of the failed trial is for the next one
    assert told["trials"]["complete"] == 3
    assert told["failures"] == {"stalled": 1}
    assert told["trials"]["running"] == 0
    assert told["workers"] == told["failing_nodes"] == []
    stack = cli("logs", "toy", "0")
    assert "in first_hangs" in stack.out + stack.err
    cli("submit", sweep, "--local", "--wait")
    assert json.loads(cli("status", "toy", "--json").out)[0]["trials"]["complete"] == 4


def test_a_sweep_whose_trials_all_fail_alike_is_stopped(cli: Cli, write_sweep: Callable[..., Path]) -> None:
    ended = cli("submit", write_sweep("raises_always", trials=500), "--local", "--workers", "4", "--wait")
    assert ended.code == 1
    told = json.loads(cli("status", "toy", "--json").out)[0]
    assert 5 <= told["trials"]["failed"] <= 5 + 4 + 3  # one more for each that ran, and those that ran anyway
    assert told["failures"] == {"exception": told["trials"]["failed"]}
    log = max((Path(told["path"]) / "local").iterdir(), key=lambda path: path.stat().st_mtime).read_text()
    assert "all failed for the same reason (exception); see 'hpo-batch logs toy" in log


def test_a_command_that_asks_to_go_on_and_saves_nothing_ends(
    cli: Cli, write_sweep: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_sweep(trials=1, more="\n[failures]\nstop_after = 1\n")
    text = path.read_text().replace('function = "tests.cli.toys:quadratic"', 'command = ["sh", "-c", "exit 75"]')
    path.write_text(text)
    assert cli("submit", path, "--local", "--workers", "1", "--wait").code == 1
    told = json.loads(cli("status", "toy", "--json").out)[0]
    assert told["failures"] == {"exit_code": 1}
    rows = json.loads(cli("collect", "toy", "--format", "json").out)
    assert "exit code 75 (continue later) without a newer checkpoint" in json.dumps(rows)
