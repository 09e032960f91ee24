"""A sweep over a user's script, started as a command: metrics, failures and files of each attempt."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Cli

SCRIPT = """
import argparse, json, os, sys
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float); parser.add_argument("--n", type=int); parser.add_argument("--kind")
parser.add_argument("--out")
options = parser.parse_args()
with open(os.environ["HPO_BATCH_METRICS_FILE"], "a") as file:
    for step in range(1, 4):
        file.write(json.dumps({"step": step, "score": options.x / step}) + "\\n")
if options.n == 3:
    sys.exit("three is too many")
open(os.path.join(options.out, "model.txt"), "w").write(options.kind)
print(f"RESULT: score={options.x + options.n} extra=7")
"""


def test_a_script_is_swept(cli: Cli, write_sweep: Callable[..., Path], root: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    path = write_sweep(
        trials=5, more='[[trial]]\nname = "bad"\nparams = { x = 0.5, n = 3, kind = "two words; $HOME" }\n'
    )
    path.write_text(
        path.read_text()
        .replace(
            'function = "tests.cli.toys:quadratic"',
            f'command = "{sys.executable} train.py {{args}} --out {{trial_dir}}"\ncwd = "{tmp_path}"',
        )
        .replace('kind = "toy"', 'kind = "two words; $HOME"')
    )
    assert cli("check", path).err.splitlines()[-1].endswith("no mistakes")
    patient = ["--set", "study.max_failed=50", "--set", "failures.stop_after=50"]
    ended = cli("submit", path, "--wait", *patient)
    assert ended.code == 0  # the trials with n = 3 failed, and others took their place
    rows = list(csv.DictReader(io.StringIO(cli("collect", "--format", "csv").out)))
    complete = [row for row in rows if row["state"] == "COMPLETE"]
    failed = [row for row in rows if row["state"] == "FAIL"]
    assert len(complete) == 5
    for row in complete:
        assert float(row["value"]) == float(row["params_x"]) + int(row["params_n"])
        assert float(row["user_attrs_extra"]) == 7
        folder = root / "toy" / "trials" / "0000" / f"{int(row['number']):04}" / "attempts" / "1"
        assert (folder / "model.txt").read_text() == "two words; $HOME"
        assert json.loads((folder / "result.json").read_text())["command"]["exit_code"] == 0
    assert failed
    for row in failed:
        assert row["params_n"] == "3"
        assert row["reason"] == "exit_code"
        assert "three is too many" in row["message"]
        assert row["value"] == ""
        assert "three is too many" in cli("logs", "toy", row["number"]).out
