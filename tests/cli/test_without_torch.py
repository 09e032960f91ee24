"""Trials are read where nothing can be trained: without torch, ``collect`` and ``report`` do all that they do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_report import GIVEN, trials_file
from tests.helpers import REPOSITORY

WITHOUT = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "lightning"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoTorch())
try:
    import torch
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("torch was imported all the same")
from hpo_batch.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


def without_torch(*argv: object, root: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HPO_BATCH_ROOT": str(root), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", WITHOUT, *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=300, check=False, cwd=root.parent)


@pytest.mark.parametrize("kind", ["a file", "a study"])
def test_collect_and_report_need_no_torch(cli: Cli, write_sweep, root: Path, tmp_path: Path, kind: str) -> None:
    if kind == "a study":
        assert cli("submit", write_sweep(trials=6), "--wait").code == 0
        source, given, n = "toy", (), 6
    else:
        source, given, n = str(trials_file(tmp_path / "runs.csv")), GIVEN, 24
    collected = without_torch("collect", source, *given, "--format", "json", root=root)
    assert collected.returncode == 0, collected.stderr
    assert len(json.loads(collected.stdout)) == n
    reported = without_torch("report", source, *given, "-o", tmp_path / "r", root=root)
    assert reported.returncode == 0, reported.stderr
    assert json.loads((tmp_path / "r" / "report.json").read_text())["studies"][0]["summary"]["n"] == n
