"""A bare folder on a machine without SLURM, with the Python of the tests on PATH."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest


@pytest.fixture
def folder(no_slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "my project"
    place.mkdir()
    monkeypatch.chdir(place)
    # no_slurm's python is a link, which finds no packages
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return place
