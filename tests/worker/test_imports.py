"""What is imported by whom: readers stay light, and numeric libraries come after the number of threads is set."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "optuna", "numpy", "pandas", "sklearn", "submitit")


def imported(*modules: str) -> set[str]:
    code = f"import sys\nfor name in {modules!r}: __import__(name)\nprint(*set({HEAVY!r}) & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "modules",
    [
        [
            *(f"hpo_batch.journal.{name}" for name in ("file", "reader", "columns")),
            *(f"hpo_batch.store.{name}" for name in ("leases", "submissions", "attempt_folder", "home")),
        ],
        ["hpo_batch.study.create"],  # status and submit read sweeps with it
        ["hpo_batch.worker.entry", "hpo_batch.worker.loop"],  # before OMP_NUM_THREADS is set
    ],
    ids=["store", "create", "worker"],
)
def test_light_modules_stay_light(modules: list[str]) -> None:
    assert imported(*modules) == set()
