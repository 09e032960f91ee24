"""What is imported once for several workers, or once for a worker and its question to torch; and when it is not."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.errors import UserError
from hpo_batch.records import TrialState
from tests.study.helpers import Text, sweep_of

from .conftest import Project
from .test_slots import TASK

Build = Callable[..., Project]
MODULE = """
import os, random, threading
from pathlib import Path
import numpy as np

with Path("imports").open("a") as file:
    print(os.getpid(), file=file)
DATA = []
{more}

def data(fixed):
    DATA.append((fixed["epochs"], os.getpid()))

def train(trial):
    if {first_is_killed} and trial.number == 0 and trial.attempt == 1:
        os.kill(os.getpid(), 9)
    print(os.getpid(), os.getsid(0), os.environ["OMP_NUM_THREADS"], random.random(), np.random.random(), DATA)
    return 0.5
"""


def shared(
    project: Build,
    *,
    more: str = "",
    first_is_killed: bool = False,
    job: str = "",
    objective: str = "",
    trials: int = 6,
) -> Project:
    """A project whose module says who imports it, and with what its trials begin."""
    here = project(
        study=f"trials = {trials}",
        objective=f'function = "shares:train"\n{objective}',
        tables={"job": f'template = "cpu"\ncpus = 2\nworkers_per_gpu = 2\n{job}'},
    )
    (here.path / "shares.py").write_text(MODULE.format(more=more, first_is_killed=first_is_killed))
    return here


def imports(here: Project) -> list[int]:
    return [int(line) for line in (here.path / "imports").read_text().split()]


def begun(here: Project) -> list[list[str]]:
    """What each trial has printed."""
    numbers = range(len(here.state.trials))
    return [here.file("stdout", n, here.state.trials[n].attempt).split(maxsplit=5) for n in numbers]


def test_workers_share_what_was_imported_once(project: Build) -> None:
    here = shared(project, objective='preload = "shares:data"')
    worker = here.run(**TASK)
    assert worker.process.returncode == 0, worker.said
    (importer,) = imports(here)
    assert importer == worker.process.pid
    assert worker.said.count("the objective is imported once for all workers, in ") == 1
    trials = begun(here)
    assert 1 <= len({one[0] for one in trials}) <= 2
    assert importer not in {int(one[0]) for one in trials}
    assert all(one[0] == one[1] for one in trials), "each leads a session, as after a start"
    assert {one[2] for one in trials} == {"4"}  # half of the task's CPUs
    assert {one[5].strip() for one in trials} == {f"[(5, {importer})]"}
    # numbers of their own, though one import has made the generators
    assert len({one[3] for one in trials}) == len({one[4] for one in trials}) == len(trials)
    assert worker.said.count(" trial 0: attempt 1, ") == 1  # one handler, not that of the supervisor, too
    assert list(here.home.workers.iterdir()) == []


def test_numbers_that_a_module_has_seeded_are_those_of_its_own_import(project: Build) -> None:
    here = shared(project, more="random.seed(7)\nnp.random.seed(7)")
    assert here.run(**TASK).process.returncode == 0
    assert len(imports(here)) == 1
    first = {one[0]: (one[3], one[4]) for one in reversed(begun(here))}  # of each worker
    assert set(first.values()) == {("0.32383276483316237", "0.07630828937395717")}


@pytest.mark.parametrize(
    ("more", "job", "why"),
    [
        ('threading.Thread(target=threading.Event().wait, name="mine", daemon=True).start()', "", "a thread (mine)"),
        ('OPEN = open("shares.py")', "", "open files ({path}/shares.py)"),
        ("", "fork = false", ""),
        ('raise ValueError("no luck")', "", "'shares:train': module 'shares' failed while it was imported: ValueError"),
    ],
    ids=["thread", "file", "not wanted", "broken"],
)
def test_each_worker_imports_for_itself_where_a_fork_is_not_safe_or_not_wanted(
    project: Build, more: str, job: str, why: str
) -> None:
    here = shared(project, more=more, job=job, trials=2)
    worker = here.run(**TASK)
    assert len(set(imports(here)) - {worker.process.pid}) == 2
    assert ("workers start by themselves" in worker.said) == bool(why)
    assert why.format(path=here.path) in worker.said
    if more.startswith("raise"):
        assert worker.process.returncode == 2
        assert worker.said.count("no luck; no trial was started") == 2  # from each worker, with its traceback
    else:
        assert [trial.state for trial in here.state.trials] == [TrialState.COMPLETE] * 2


def test_who_replaces_a_killed_worker_imports_for_itself(project: Build) -> None:
    here = shared(project, first_is_killed=True)
    worker = here.run(**TASK)
    assert worker.process.returncode == 0, worker.said
    assert f"killed by {signal.SIGKILL.name}" in worker.said
    assert len(imports(here)) == 2
    assert [trial.state for trial in here.state.trials] == [TrialState.COMPLETE] * 6


def test_preload_is_for_functions(root: Path) -> None:
    with pytest.raises(UserError, match="preload is for functions"):
        sweep_of(root, Text(objective='command = "echo {args}"\npreload = "shares:data"'))


TORCH = """
import os, sys, types

with open("torches", "a") as file:
    print(os.getpid(), file=file)
__version__ = "9.9"
{more}

def is_available():
    print("asked by", os.getpid(), file=open("torches", "a"))
    return {found}

cuda = types.SimpleNamespace(is_available=is_available)
"""


def with_torch(project: Build, *, found: bool, imported: bool = True, more: str = "") -> Project:
    """A project with a torch of its own, and a function that trains where it is told."""
    here = project(objective='function = "asks:train"', tables={"job": 'template = "local"'}, study="trials = 1")
    (here.path / "torch.py").write_text(TORCH.format(found=found, more=more))
    text = "def train(trial):\n    print(trial.device)\n    return 0.5\n"
    (here.path / "asks.py").write_text(("import torch\n" if imported else "") + text)
    return here


@pytest.mark.parametrize(
    ("imported", "more", "n_imports"),
    [
        (True, "", 1),
        (False, "", 1),
        (True, "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()", 2),
    ],
    ids=["by the function", "by nobody else", "with a thread"],
)
def test_torch_is_imported_once_and_asked_in_another_process(
    project: Build, imported: bool, more: str, n_imports: int
) -> None:
    here = with_torch(project, found=True, imported=imported, more=more)
    worker = here.run(CUDA_VISIBLE_DEVICES="0")
    assert worker.process.returncode == 0, worker.said
    assert here.file("stdout") == "cuda\n"
    lines = (here.path / "torches").read_text().splitlines()
    (asked,) = (line for line in lines if "asked" in line)
    assert asked != f"asked by {worker.process.pid}", "where CUDA was initialized, no data loader can fork"
    assert len(lines) - 1 == n_imports


def test_a_missing_gpu_is_told_before_what_follows_from_it(project: Build) -> None:
    here = with_torch(project, found=False)
    (here.path / "asks.py").write_text("import torch\nraise RuntimeError('no CUDA-capable device')\n")
    worker = here.run(CUDA_VISIBLE_DEVICES="0")
    assert worker.process.returncode == 2
    assert "GPU 0 was allocated, but torch 9.9 sees no CUDA device" in worker.said
    assert list(here.home.workers.iterdir()) == []
