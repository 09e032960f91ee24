"""The kill storm of the benchmarks, shorter: nothing stuck, lost, doubled, or read otherwise by plain Optuna."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def test_a_storm_of_kills_leaves_exactly_the_trials_asked_for(tmp_path: Path) -> None:
    script = REPOSITORY / "benchmarks" / "kill_storm.py"
    options = ["--kills", "40", "--at-each-point", "3", "--trials", "60", "--workers", "4", "--folder", str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, str(script), *options], capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    table = dict(line.strip("| ").rsplit(" | ", 1) for line in done.stdout.splitlines()[2:])
    kills = {name: int(count) for name, count in table.items() if name.startswith("SIGKILLs")}
    assert kills.pop("SIGKILLs at random") >= 40
    assert len(kills) == 8
    assert set(kills.values()) == {3}
    assert table["finished"] == table["trials asked for"]
    wrong = [name for name, count in table.items() if name.startswith("**") and count != "0"]
    assert not wrong
