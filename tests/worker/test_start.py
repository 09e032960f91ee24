"""What the start of a worker costs: modules, and calls to the file system. On a loaded file server users feel each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import REPOSITORY
from tests.study.helpers import make

COUNTING = """
import collections, json, os, posix, sys
counted = collections.Counter()
def counting(call):
    def count(*args, **options):
        counted["calls"] += 1
        return call(*args, **options)
    return count
for name in ("stat", "lstat", "listdir", "scandir", "readlink"):
    setattr(posix, name, counting(getattr(posix, name)))  # what imports use
    setattr(os, name, getattr(posix, name))
sys.addaudithook(lambda event, args: counted.update(calls=event == "open"))
def tell():
    print(json.dumps([counted["calls"], sorted(sys.modules)]), file=sys.__stdout__, flush=True)
    os._exit(0)
"""
OBJECTIVE = """
import __main__
__main__.tell()
def train(trial):
    return 1.0
"""
NEVER = ("pydantic", "pydantic_core", "pandas", "torch", "submitit", "sklearn", "scipy", "click", "rich", "jinja2")


class Cost:
    """Of a fresh Python that runs some code."""

    def __init__(self, code: str, *, cwd: Path) -> None:
        environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        argv = [sys.executable, "-c", COUNTING + code]
        done = subprocess.run(argv, cwd=cwd, env=environ, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        self.calls, modules = json.loads(done.stdout)
        self.modules = set(modules)


def foreign(modules: set[str]) -> set[str]:
    return {name for name in modules if not name.startswith("hpo_batch")}


def worker(tmp_path: Path, sampler: str) -> Cost:
    """Up to the moment where the study is open and the objective is imported."""
    (tmp_path / "objective.py").write_text(OBJECTIVE)
    listed = '[[trial]]\nname = "a"\nparams = { x = 2 }\n' if sampler == "list" else ""
    home = make(
        tmp_path / "logs",
        study="" if sampler == "list" else "trials = 4",
        objective='function = "objective:train"',
        sampler=f'name = "{sampler}"',
        space="x = [1, 2, 3, 4]",
        rest=listed,
    )
    code = f"from hpo_batch.worker.entry import Worker\nWorker(home={str(home.path)!r})()"
    return Cost(code, cwd=tmp_path)


def test_a_worker_loads_little_beside_optuna(tmp_path: Path) -> None:
    bare = Cost("import optuna\ntell()", cwd=tmp_path)
    ours = worker(tmp_path, "tpe")
    assert not ours.modules & set(NEVER)
    # 204 and 3,370 with pydantic, whose models looked for their own source
    assert len(foreign(ours.modules - bare.modules)) < 65  # 52
    assert len(ours.modules - bare.modules) < 228  # 226
    assert ours.calls - bare.calls < 1110  # 1,071; each module costs 4


@pytest.mark.parametrize("sampler", ["random", "list", "grid", "qmc"])
def test_a_sampler_of_our_own_needs_no_optuna(tmp_path: Path, sampler: str) -> None:
    bare = Cost("tell()", cwd=tmp_path)
    ours = worker(tmp_path, sampler)
    assert not ours.modules & {*NEVER, "optuna", "numpy"}
    assert len(foreign(ours.modules - bare.modules)) < 140  # 128
    assert len(ours.modules - bare.modules) < 298  # 296
    assert ours.calls - bare.calls < 1510  # 1,471
