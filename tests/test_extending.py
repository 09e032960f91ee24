"""One of each extension point of CONTRIBUTING.md, added from outside: an output format, a trainer, a command.

The others have a test beside what they extend: a sampler in ``study/test_new_sampler.py``, a source in
``sources/test_registry.py``, a subject of the report in ``findings/test_subjects.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import click
import pandas as pd
import pytest

from hpo_batch.cli import main
from hpo_batch.results import output_format
from hpo_batch.results.output_format import Format, format_of

SWEEP = """
[study]
name = "toy"
metric = "loss"
direction = "minimize"
trials = 3

[objective]
function = "toy_trainer:train"

[space]
lr = [0.1, 0.2, 0.3]

[sampler]
name = "grid"

[job]
workers = 1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy_trainer.py").write_text("def train(trial):\n    return trial.params['lr'] ** 2\n")
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return tmp_path


def as_yaml(frame: pd.DataFrame) -> bytes:
    rows = ["- " + ", ".join(f"{name}: {value}" for name, value in row.items()) for row in frame.to_dict("records")]
    return ("\n".join(rows) + "\n").encode()


def test_a_trainer_is_a_function_that_a_sweep_names_and_a_format_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setitem(output_format.FORMATS, "yaml", Format(writer=f"{__name__}:as_yaml", suffix=".yaml"))
    assert main.run(["submit", "sweep.toml", "--local", "--wait"]) == 0
    capfdbinary.readouterr()
    assert format_of(Path("table.yaml"), None) == "yaml"
    assert main.run(["collect", "toy", "-o", "table.yaml"]) == 0
    lines = (folder / "table.yaml").read_text().splitlines()
    assert len(lines) == 3
    assert sorted(line.split("params_lr: ")[1].split(",")[0] for line in lines) == ["0.1", "0.2", "0.3"]


def test_a_command_is_a_module_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def command() -> None:
        """Say hello."""
        click.echo("hello")

    module = ModuleType("hpo_batch.cli.hello")
    module.command = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(main.SECTIONS["Keep"], "hello", "Say hello.")
    assert main.run(["hello"]) == 0
    assert main.run(["--help"]) == 0
    assert capsys.readouterr().out.startswith("hello\n")
