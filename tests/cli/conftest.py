"""Running the command line as a user does, in this process, and small sweeps to run it on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.cli.main import run
from hpo_batch.doctor import file_system
from hpo_batch.monitor import waiting
from tests import forked
from tests.helpers import REPOSITORY, Ended

SWEEP = """
[study]
name = "{name}"
metric = "score"
direction = "minimize"
trials = {trials}

[objective]
function = "tests.cli.toys:{function}"

[space]
x = {{ low = 0.0, high = 1.0 }}
n = [1, 2, 3]
kind = "toy"

[sampler]
name = "random"
seed = 1

[job]
template = "local"
workers = 2
"""


Cli = Callable[..., Ended]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], root: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """``cli("submit", path)`` in the repository's root, with a logs directory of the test's own; workers are forked."""
    forked.workers(monkeypatch)
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("HPO_BATCH_ROOT", str(root))
    monkeypatch.setattr(waiting, "LOOK_EVERY_S", 0.1)

    def call(*argv: object) -> Ended:
        capsys.readouterr()
        code = run([str(word) for word in argv])
        captured = capsys.readouterr()
        return Ended(code=code, out=captured.out, err=captured.err)

    return call


@pytest.fixture
def few_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """``doctor`` has two processes contend for locks more briefly, where it does not matter whether they ever met.

    That takes some seconds of both cores otherwise.
    """
    monkeypatch.setattr(file_system, "TIMES", 10)


@pytest.fixture
def write_sweep(tmp_path: Path) -> Callable[..., Path]:
    """A sweep file over one of the toys; each worker of it is a process that imports all it needs."""

    def write(
        function: str = "quadratic", *, name: str = "toy", trials: int = 6, more: str = "", workers: int = 1
    ) -> Path:
        path = tmp_path / f"{name}.toml"
        text = SWEEP.format(name=name, trials=trials, function=function)
        path.write_text(text.replace("workers = 2", f"workers = {workers}") + more)
        return path

    return write


def lines_by_hand(cli: Cli, *argv: object) -> str:
    """The shell lines that ``explain`` prints to run a trial by hand, as they are shown."""
    shown = cli("explain", *argv).out
    return shown[shown.index("\nby hand") :].replace("\nby hand ", "\n", 1)
