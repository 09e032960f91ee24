"""Public scripts (tests/public_scripts), from a bare folder to a report: what a person types, and no failed trial."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpo_batch.init.propose import propose
from hpo_batch.init.script import read_script
from tests.helpers import REPOSITORY

SCRIPTS = REPOSITORY / "tests" / "public_scripts"
GEMS = "cut,carat,depth,price\n" + "".join(f"{'ab'[i % 2]},{i % 7},{i % 5},{i % 7 + i % 2}\n" for i in range(40))
LIGHTNING = """
seed_everything: true
trainer:
  logger:
    class_path: lightning.pytorch.loggers.CSVLogger
    init_args:
      save_dir: lightning_logs
  max_epochs: 1
  accelerator: cpu
  enable_progress_bar: false
model:
  class_path: cph_regression.regression.modelmodule.ModelModuleRGS
  init_args:
    lr: 0.01
    model:
      class_path: cph_regression.regression.modelfactory.RegressionModel
      init_args:
        input_dim: 3
        hidden_layers: [8]
        dropout_rates: [0.1]
data:
  class_path: cph_regression.regression.datamodule.DataModuleRGS
  init_args:
    csv_path: gems.csv
    batch_size: 16
    categorical_cols: [cut]
    numeric_cols: [carat, depth]
    target_col: price
    save_preprocessor: false
"""


@pytest.fixture
def folder(no_slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "mine"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return place


def typed(line: str) -> subprocess.CompletedProcess[str]:
    """A command of ours, which must end well."""
    argv = [str(Path(sys.executable).with_name("hpo-batch")), *shlex.split(line)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done


def to_report(*, trials: int) -> None:
    """From a sweep to a report, with every trial finished and none failed."""
    assert typed("check sweep.toml").stderr.splitlines()[-1] == "sweep.toml: no mistakes"
    typed(f"submit sweep.toml --local --wait --trials {trials}")
    (study,) = json.loads(typed("status --json").stdout)
    assert (study["trials"]["complete"], study["trials"]["failed"]) == (trials, 0)
    typed("report")
    (report,) = Path("logs").rglob("report.html")
    assert report.stat().st_size > 10_000


def test_a_hydra_application(folder: Path) -> None:
    shutil.copytree(SCRIPTS / "hypersweeper", folder, dirs_exist_ok=True)
    Path("configs/plain.yaml").write_text("defaults:\n  - target_function: branin\n")
    before = {path.name for path in folder.iterdir()}
    told = typed("init --from 'branin.py --config-name plain'").stderr
    (step,) = re.findall(r"^to do: (.*)$", told, re.MULTILINE)
    found = re.fullmatch(
        r"branin\.py returns objective and does not report it: before line (\d+), add '(.*)', and 'import hpo_batch' "
        r"at the top",
        step,
    )
    assert found is not None, step
    lines = Path("branin.py").read_text().splitlines()
    lines.insert(int(found[1]) - 1, f"    {found[2]}")
    Path("branin.py").write_text("\n".join(["import hpo_batch", *lines]) + "\n")
    to_report(trials=4)
    assert {path.name for path in folder.iterdir()} == before | {"sweep.toml", "logs"}  # no outputs/


def test_what_its_author_searches_is_proposed() -> None:
    path = SCRIPTS / "hypersweeper" / "branin.py"
    made = propose(read_script(path, subcommand="", python="python"), python="python")
    assert {name: one.value for name, one in made.parameters.items()} == {
        "x0": {"low": -5.0, "high": 10.0},
        "x1": {"low": 0.0, "high": 15.0},
    }


@pytest.mark.timeout(400)  # processes that import torch, on a machine that does much else
def test_a_lightning_cli_needs_no_edit(folder: Path) -> None:
    pytest.importorskip("lightning")
    pytest.importorskip("jsonargparse")
    shutil.copytree(SCRIPTS / "cph_regression", folder / "cph_regression")
    Path("gems.csv").write_text(GEMS)
    Path("config.yaml").write_text(LIGHTNING)
    before = {path.name for path in folder.iterdir()}
    assert "to do" not in typed("init --from '-m cph_regression.regression.main fit --config config.yaml'").stderr
    to_report(trials=1)  # each takes ten seconds of CPU, most of it to import
    assert {path.name for path in folder.iterdir()} == before | {"sweep.toml", "logs"}  # no lightning_logs
