"""Commands that people type often must not load what they do not need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

HEAVY = ("torch", "optuna", "pandas", "submitit", "numpy", "pydantic", "sklearn", "rich")


def loaded_after(*argv: str, root: Path) -> set[str]:
    """Heavy modules in ``sys.modules`` after a command ran in a fresh process."""
    code = (
        "import json, sys\n"
        "from hpo_batch.cli.main import run\n"
        f"code = run({list(argv)!r})\n"
        f"print('\\n' + json.dumps([code, [m for m in {HEAVY!r} if m in sys.modules]]))"
    )
    env = {**os.environ, "HPO_BATCH_ROOT": str(root)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=60, check=True)
    exit_code, modules = json.loads(done.stdout.splitlines()[-1])
    assert exit_code == 0, done.stderr
    return set(modules)


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["submit", "--help"], ["collect", "--help"], ["list"]])
def test_help_loads_nothing_heavy(argv: list[str], root: Path) -> None:
    assert loaded_after(*argv, root=root) == set()


def test_reading_a_study_needs_neither_optuna_nor_pandas(cli: Cli, write_sweep, root: Path) -> None:
    assert cli("submit", write_sweep(trials=2), "--wait").code == 0
    commands = (("status",), ("status", "--json"), ("logs", "0"), ("explain", "0"), ("list",))
    assert {command: loaded_after(*command, root=root) for command in commands} == {
        command: set() for command in commands
    }


def test_status_makes_few_dataclasses() -> None:
    """Each takes 0.7 ms; a Struct, 0.02 ms. docs/architecture.md says which records may be dataclasses here."""
    code = (
        "import dataclasses, sys, hpo_batch.cli.status, hpo_batch.monitor.status\n"
        "modules = [module for name, module in sys.modules.items() if name.startswith('hpo_batch.')]\n"
        "found = [value for module in modules for value in vars(module).values()]\n"
        "print(*{v.__name__ for v in found if isinstance(v, type) and dataclasses.is_dataclass(v)})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert set(done.stdout.split()) == {"Complete", "Completed", "Pruned", "Failed", "GivenBack", "Estimate", "Gain"}


def test_importing_the_package_for_a_trial_loads_neither_torch_nor_optuna() -> None:
    code = f"import sys, hpo_batch; hpo_batch.Trial; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_checking_a_sweep_loads_what_judges_it_and_no_more(write_sweep, root: Path) -> None:
    assert loaded_after("check", str(write_sweep(trials=2)), root=root) == {"pydantic"}
