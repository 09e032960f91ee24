"""``benchmarks/scale.py`` in small: every section runs real workers, and its tables say what they did."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


def table(*options: str) -> list[dict[str, str]]:
    """The rows of the table that the benchmark prints, by the heads of its columns."""
    script = REPOSITORY / "benchmarks" / "scale.py"
    done = subprocess.run([sys.executable, str(script), *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line[2:-2].split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def kinds(row: dict[str, str]) -> dict[str, float]:
    return {kind: float(count) for count, kind in (one.split() for one in row["of these"].split(", "))}


def test_workers_that_start_at_once_here_and_in_another_checkout() -> None:
    rows = table("--start", "3", "--delays", "0", "20", "--against", str(REPOSITORY))
    assert [(row["round trip ms"], row["workers"]) for row in rows] == [("0", "3")] * 2 + [("20", "3")] * 2
    assert [row["code"] for row in rows] == [REPOSITORY.name, "this"] * 2
    for row in rows:
        assert row["died"] == "0"
        assert kinds(row)["sync"] >= 1
    for row in rows[2:]:  # one after the other, with some operations under the lock
        assert float(row["last"]) > 3 * 3 * 0.02
    assert all(row["left over: lock + lease files"].endswith(" + 4") for row in rows)  # two of three were killed


def test_a_claim_while_others_run() -> None:
    first, second, doubt = table("--claims", "3", "--delays", "0")
    assert [row["call"] for row in (first, second, doubt)][1:] == ["claim right after", "is_in_doubt"]
    assert float(first["operations"]) >= float(second["operations"]) > kinds(second)["open"] > 0


def test_reports_with_a_pruner() -> None:
    (row,) = table("--reports", "3", "--pruners", "median", "--delays", "5", "--step", "0.3", "--seconds", "3")
    assert row["writes/s wanted"] == "10"
    assert 0 < float(row["got"]) <= 12
    assert float(row["held ms per write"]) > 5


def test_trials_per_second_beside_optuna() -> None:
    ours, theirs = table("--throughput", "2", "--delays", "1", "--seconds", "2")
    assert (ours["system"], theirs["system"]) == ("ours", "Optuna journal, open lock")
    for row in (ours, theirs):
        assert float(row["trials/s"]) > 0
        assert row["died"] == "0"
    assert kinds(ours)["flock"] >= 2
    assert "flock" not in kinds(theirs)


def test_joining_and_starting() -> None:
    ours, theirs = table("--joining", "30")
    assert float(ours["peak MB"]) > 10
    assert float(theirs["CPU s"]) > 0
    starts = {row["what"]: row for row in table("--worker-start")}
    bare, worker = starts.pop("bare Python"), starts.pop("`hpo-batch worker`, nothing left to do")
    assert float(worker["CPU ms"]) > float(bare["CPU ms"])
    if shutil.which("strace"):
        assert float(worker["file calls"]) > float(bare["file calls"]) > float(bare["of these failed"]) > 0


def test_without_a_section_it_says_which_there_are() -> None:
    done = subprocess.run([sys.executable, str(REPOSITORY / "benchmarks" / "scale.py")], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--worker-start" in done.stderr
