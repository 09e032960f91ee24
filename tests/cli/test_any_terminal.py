"""Terminals and locales that cannot show a sign: every command still says what it has to say."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.helpers import run_for_bytes

TERMINALS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]
COMMANDS = [
    ("status", "toy"),
    ("logs", "toy", "0"),
    ("explain", "toy", "0"),
    ("compare", "toy", "toy"),
    ("collect", "toy", "--format", "csv"),
    ("list",),
    ("check", "SWEEP"),
    ("status", "größe"),
]
CODE = """
import sys
def train(trial):
    print("Grüße → ✓ 😀 …", trial.params, flush=True)
    if trial.number == 0: raise ValueError("zu groß → …")
    return 0.5
"""


@pytest.fixture
def study(cli: Cli, write_sweep: Callable[..., Path], tmp_path: Path, root: Path) -> Path:
    (tmp_path / "signs.py").write_text(CODE)
    path = write_sweep(trials=2)
    text = path.read_text().replace('"tests.cli.toys:quadratic"', f'"signs:train"\ncwd = "{tmp_path}"')
    path.write_text(text.replace('kind = "toy"', 'kind = "größe ✓"\n"mödel" = ["é", "ж"]'))
    return path


@pytest.mark.parametrize("terminal", TERMINALS, ids=["ascii", "latin-1", "C"])
def test_no_command_ends_by_a_sign(study: Path, root: Path, terminal: dict[str, str], tmp_path: Path) -> None:
    encoding = "latin-1" if "latin-1" in terminal.values() else "utf-8"  # click prints UTF-8 where it is told ASCII

    def run(*words: str) -> subprocess.CompletedProcess[bytes]:
        argv = [str(study) if word == "SWEEP" else word for word in words]
        return run_for_bytes(*argv, env={"HPO_BATCH_ROOT": str(root), **terminal}, cwd=tmp_path)

    done = run("submit", "SWEEP", "--wait")
    assert done.returncode in (0, 1), done.stderr
    for words in COMMANDS:
        done = run(*words)
        assert done.returncode == (2 if words[-1] == "größe" else 0), (words, done.stderr)
        assert b"Traceback (most recent call last):\n  File" not in done.stderr
        assert b"a bug in hpo-batch" not in done.stderr
    logs = run("logs", "toy", "1").stdout
    assert b"Gr" in logs
    assert b"\\ud83d\\ude00" in logs  # an escape that JSON and Python read
    told = json.loads(run("explain", "toy", "0", "--json").stdout.decode(encoding))
    assert "größe ✓" in json.dumps(told, ensure_ascii=False)
