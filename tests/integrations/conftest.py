"""This process as a command of a trial, whose reports can be read and which can be told to stop."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpo_batch.envvars import EnvVar


@dataclass(frozen=True, kw_only=True)
class Command:
    folder: Path

    @property
    def reports(self) -> list[dict[str, float]]:
        path = self.folder / "reported.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def steps(self) -> list[float]:
        return [line["step"] for line in self.reports]

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    def stop(self) -> None:
        (self.folder / "STOP").touch()

    def go_on(self) -> None:
        (self.folder / "STOP").unlink()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv(EnvVar.METRICS_FILE, str(tmp_path / "reported.jsonl"))
    monkeypatch.setenv(EnvVar.STOP_FILE, str(tmp_path / "STOP"))
    monkeypatch.setenv(EnvVar.CHECKPOINT_DIR, str(tmp_path / "checkpoint"))
    monkeypatch.chdir(tmp_path)
    return Command(folder=tmp_path)
