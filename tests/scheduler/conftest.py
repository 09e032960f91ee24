"""Fakes of SLURM's commands: executables first on PATH that write what they are told to."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import write_program

DATA = Path(__file__).with_name("data")


@dataclass(frozen=True, kw_only=True)
class FakeCommand:
    record: Path

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Arguments and environment of each call."""
        return [json.loads(line) for line in self.record.read_text().splitlines()] if self.record.exists() else []


@pytest.fixture
def fake_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeCommand]:
    """`fake_command(name, stdout=, stderr=, returncode=, sleep_s=)` puts a command first on PATH."""
    folder = tmp_path / "fake bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join((str(folder), os.environ["PATH"])))

    def new_command(
        name: str, *, stdout: str = "", stderr: str = "", returncode: int = 0, sleep_s: float = 0
    ) -> FakeCommand:
        record = folder / f"{name}.jsonl"
        file = folder / name
        source = f"""\
import json, os, sys, time
with open({str(record)!r}, "a") as record:
    print(json.dumps({{"argv": sys.argv[1:], "env": dict(os.environ)}}), file=record)
time.sleep({sleep_s})
sys.stdout.write({stdout!r})
sys.stderr.write({stderr!r})
sys.exit({returncode})
"""
        # Not a `#!` line: it could not hold a path with spaces.
        program = folder / f"{name}.py"
        program.write_text(source)
        write_program(file, f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S {shlex.quote(str(program))} "$@"\n')
        return FakeCommand(record=record)

    return new_command


@pytest.fixture
def no_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH with nothing on it."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
