"""What the tool says to type is typed, until the sweep is finished: no advice leads in a circle."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Ended

MENDED = "TOLD"
"""the variable without which a toy fails"""
MOST = 4
"""commands after which a sweep that nothing ails any more must be finished"""


def status(cli: Cli, name: str = "toy") -> dict[str, object]:
    (one,) = json.loads(cli("status", name, "--json").out)
    return one


def wait(cli: Cli, name: str = "toy") -> None:
    end = time.monotonic() + 60
    while any(worker["live"] for worker in status(cli, name)["workers"]):  # type: ignore[attr-defined]
        assert time.monotonic() < end
        time.sleep(0.1)


def advised(text: str) -> list[str]:
    """The command behind "go on", without its program."""
    (line, *_) = [line.strip() for line in text.splitlines() if line.strip().startswith("go on")]
    words = shlex.split(line.removeprefix("go on"))
    return words[words.index("hpo-batch") + 1 :] if "hpo-batch" in words else words[1:]


def follow_advice(cli: Cli) -> int:
    """How many commands it took."""
    for count in range(1, MOST + 1):
        ended = cli(*advised(cli("status", "toy").out))
        assert ended.code in (0, 1), ended.err
        wait(cli)
        if status(cli)["trials"]["remaining"] == 0:  # type: ignore[index]
            return count
    raise AssertionError(f"not finished after {MOST} commands: {cli('status', 'toy').out}")


def broken(cli: Cli, path: Path, monkeypatch: pytest.MonkeyPatch) -> Ended:
    monkeypatch.delenv(MENDED, raising=False)
    return cli("submit", path, "--wait")


@pytest.fixture
def grid(write_sweep: Callable[..., Path]) -> Path:
    path = write_sweep("fails_unless_told")
    text = path.read_text().replace('name = "random"\nseed = 1', 'name = "grid"').replace("trials = 6\n", "")
    path.write_text(
        text.replace("x = { low = 0.0, high = 1.0 }", "x = [0.25, 0.5]").replace("n = [1, 2, 3]", "n = [1, 2]")
    )
    return path


def test_a_grid_whose_code_was_wrong(cli: Cli, grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = broken(cli, grid, monkeypatch)
    assert ended.code == 1
    assert "every configuration was tried, and 4 of their trials failed" in ended.err
    assert "failed: RuntimeError: nobody has told me how" in ended.err
    assert "logs toy" in ended.err
    monkeypatch.setenv(MENDED, "1")
    again = cli("submit", grid)  # what anybody would try first
    assert (again.code, "no workers started" in again.err, "started" in again.err.replace("workers started", "")) == (
        1, True, False,
    )  # fmt: skip
    assert advised(again.err) == advised(ended.err) == ["retry", "toy", "--resume"]
    assert cli("submit", grid, "--dry-run").code == 0
    assert follow_advice(cli) == 1
    done = cli("submit", grid, "--wait")
    assert (done.code, "nothing to do" in done.err) == (0, True)  # though four trials have failed


def test_a_search_whose_code_was_wrong(cli: Cli, write_sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = broken(cli, write_sweep("fails_unless_told", trials=8), monkeypatch)
    assert ended.code == 1
    assert "trials all failed for the same reason (exception)" in ended.err
    assert "failed: RuntimeError: nobody has told me how" in ended.err
    told = status(cli)["stopped"]
    assert isinstance(told, dict)
    assert (told["why"], told["commands"]) == ("too many failures", [["hpo-batch", "resume", "toy"]])
    monkeypatch.setenv(MENDED, "1")
    assert follow_advice(cli) == 1


@pytest.mark.parametrize(("options", "why"), [((), "it was cancelled"), (("--drain",), "it was drained")])
def test_a_study_that_was_stopped_by_hand(
    cli: Cli, write_sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], why: str
) -> None:
    monkeypatch.setenv("GO", str(tmp_path / "go"))
    assert cli("submit", write_sweep("waits_or_stops", trials=3), "--set", "job.workers=1").code == 0
    cli("cancel", "toy", *options)
    (tmp_path / "go").touch()
    wait(cli)
    assert why in cli("status", "toy").out
    assert follow_advice(cli) == 1


def test_more_trials_than_the_space_has(cli: Cli, write_sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_sweep(trials=9)
    path.write_text(path.read_text().replace("x = { low = 0.0, high = 1.0 }", "x = 0.5"))
    ended = cli("submit", path, "--wait")
    assert ended.code == 1
    assert "the space has no other configuration: 3 of 9 trials are finished" in ended.err
    assert advised(ended.err) == ["resume", "toy", "--set", "study.trials=3"]
    assert follow_advice(cli) == 1


def test_failures_that_were_replaced_are_no_failure(cli: Cli, write_sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = cli("submit", write_sweep("fails_for_two", trials=6), "--wait")
    counts = status(cli)["trials"]
    assert isinstance(counts, dict)
    assert counts["failed"] > 0
    assert (ended.code, counts["remaining"]) == (0, 0)
