"""What a function finds in the worker's process is what it would find in one of its own."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.worker.entry import Worker
from tests.helpers import REPOSITORY

from .conftest import Project

Build = Callable[..., Project]

ARGPARSE = """
import argparse
at_import = argparse.ArgumentParser().parse_args()
def train(trial):
    argparse.ArgumentParser().parse_args()
    return 0.5
"""
HYDRA = """
import hydra
from omegaconf import DictConfig
found = {}
@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig):
    found["loss"] = config.loss
def train(trial):
    main()
    return found["loss"]
"""
LOGGING = """
import logging, sys
library = logging.getLogger("library")
def train(trial):
    assert not logging.getLogger().handlers, logging.getLogger().handlers
    assert logging.getLogger().level == logging.WARNING
    handler = logging.StreamHandler()  # as Optuna, Lightning and others print by themselves
    handler.setFormatter(logging.Formatter("library: %(message)s"))
    library.addHandler(handler)
    library.setLevel("INFO")
    library.info("once")
    library.removeHandler(handler)
    logging.basicConfig(level="INFO", format="mine: %(message)s")
    logging.getLogger("train").info("as I want it")
    return 0.5
"""
OURS = """
import logging
def train(trial):
    logging.getLogger("hpo_batch.training.shipped").info("epoch 1")
    return 0.5
"""


def by_submitit(here: Project) -> subprocess.CompletedProcess[str]:
    """As submitit's runner calls what was pickled, behind arguments of its own."""
    pickled = here.path / "pickled"
    pickled.write_bytes(pickle.dumps(Worker(home=str(here.home.path))))
    code = "import pickle, sys; sys.exit(pickle.load(open(sys.argv[1], 'rb'))())"
    return subprocess.run(
        [sys.executable, "-c", code, str(pickled), "--array", "17"],
        cwd=here.path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("how", ["worker", "submitit"])
@pytest.mark.parametrize("code", [ARGPARSE, HYDRA, LOGGING, OURS], ids=["argparse", "hydra", "logging", "ours"])
def test_a_function_finds_neither_our_arguments_nor_our_handlers(project: Build, how: str, code: str) -> None:
    here = project(study="", space="n = [1]", sampler='name = "grid"', objective='function = "code:train"')
    (here.path / "conf").mkdir()
    (here.path / "conf" / "__init__.py").touch()
    (here.path / "conf" / "config.yaml").write_text("loss: 0.5\n")
    (here.path / "code.py").write_text(code)
    said = here.run().said if how == "worker" else by_submitit(here).stderr
    (record,) = [trial.record() for trial in here.state.trials]
    errors = Path(here.home.attempt(0, 1), "stderr")
    told = errors.read_text() if errors.exists() else ""
    assert record.state.name == "COMPLETE", f"{record.message}\n{told}\n{said}"
    if code is LOGGING:
        assert told == "library: once\nmine: as I want it\n"
    if code is OURS:
        assert told.endswith(" I epoch 1\n")
    assert "trial 0: 0.5 after" in said


def test_a_process_with_any_name_disturbs_nobody(project: Build) -> None:
    """Its name is bytes, and stands in the file that we read of all processes."""
    code = (
        "import ctypes, time; ctypes.CDLL(None).prctl(15, b'caf\\xe9) x ('); print('named', flush=True); time.sleep(60)"
    )
    named = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert named.stdout is not None
        named.stdout.readline()
        assert here_runs(project)
    finally:
        named.kill()
        named.communicate()


def here_runs(project: Build) -> bool:
    here = project(study="trials = 1", objective=f"command = ['{sys.executable}', '-c', 'print(\"RESULT: 1\")']")
    return here.run().process.returncode == 0
