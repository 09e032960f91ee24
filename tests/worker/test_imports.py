"""What is imported by whom: readers stay light, and numeric libraries come after the number of threads is set."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hpo_batch.worker.entry import OUR_LAYERS

HEAVY = ("torch", "optuna", "numpy", "pandas", "sklearn", "submitit")


LOGGERS = """
import logging, hpo_batch.worker.entry, hpo_batch.worker.loop, hpo_batch.worker.ranks, hpo_batch.study.study
print(*{name.split(".")[1] for name in logging.root.manager.loggerDict if name.startswith("hpo_batch.")})
"""


def imported(*modules: str) -> set[str]:
    code = f"import sys\nfor name in {modules!r}: __import__(name)\nprint(*set({HEAVY!r}) & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "modules",
    [
        [f"hpo_batch.store.{name}" for name in ("leases", "submissions", "attempt_folder", "home")],
        [f"hpo_batch.journal.{name}" for name in ("file", "reader", "columns")],
        ["hpo_batch.study.create"],  # status and submit read sweeps with it
        ["hpo_batch.worker.entry", "hpo_batch.worker.loop"],  # before OMP_NUM_THREADS is set
    ],
    ids=["store", "journal", "create", "worker"],
)
def test_light_modules_stay_light(modules: list[str]) -> None:
    assert imported(*modules) == set()


def test_the_log_of_a_worker_has_what_each_layer_says() -> None:
    done = subprocess.run([sys.executable, "-c", LOGGERS], capture_output=True, text=True, check=True)
    layers = set(done.stdout.split())
    assert {"study", "worker"} <= layers
    assert layers <= {*OUR_LAYERS, "training"}
