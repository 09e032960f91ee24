"""Sweep files to load, and the mistakes that loading them tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hpo_batch.errors import SweepInvalid
from hpo_batch.sweep.load import load
from hpo_batch.sweep.schema import Sweep

HEAD = """[study]
name = "study"
metric = "loss"
direction = "minimize"
trials = 5
[objective]
function = "package.module:function"
"""
"""seven lines that every sweep needs; what a test adds begins in line 8"""
SPACE = """[space]
x = [1, 2, 3]
lr = { low = 1e-5, high = 1e-3, log = true }
"""

Load = Callable[..., tuple[Sweep, ...]]
LoadOne = Callable[..., Sweep]
Told = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and the working directory: templates are looked for in it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def load_text(folder: Path) -> Load:
    """The sweeps of a text."""

    def call(text: str, *overrides: str, head: str = HEAD) -> tuple[Sweep, ...]:
        path = folder / "sweep.toml"
        path.write_text(head + text)
        return load(path, overrides=overrides)

    return call


@pytest.fixture
def load_one(load_text: Load) -> LoadOne:
    def call(text: str, *overrides: str, head: str = HEAD) -> Sweep:
        (sweep,) = load_text(text, *overrides, head=head)
        return sweep

    return call


@pytest.fixture
def told(load_text: Load, folder: Path) -> Told:
    """The mistakes of a text, one line each; the sweep file is called ``sweep.toml`` in them."""

    def call(text: str, *overrides: str, head: str = HEAD) -> list[str]:
        with pytest.raises(SweepInvalid) as raised:
            load_text(text, *overrides, head=head)
        return shorten(raised.value.lines, folder)

    return call


def shorten(lines: Sequence[str], folder: Path) -> list[str]:
    return [line.replace(f"{folder}/", "") for line in lines]
