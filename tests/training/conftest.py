"""A trial that records what the trainer tells it, a training frame, and one thread for torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

SMALL = {"d_model": 8, "n_layers": 1, "n_heads": 2, "batch_size": 128, "learning_rate": 3e-3, "dropout": 0.3}


class KilledError(Exception):
    """Stands for the kill of a worker between a report and the checkpoint after it."""


@dataclass(kw_only=True)
class RecordingTrial:
    params: Mapping[str, Any]
    dir: Path
    number: int = 0
    attempt: int = 1
    seed: int = 7
    resumes: bool = False
    cpus: int = 1
    device: str = "cpu"
    deadline: float | None = None
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    stop_after: int | None = None
    kill_at: int | None = None
    reports: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    stop_asked_at: list[int] = field(default_factory=list)

    @property
    def checkpoint(self) -> Path:
        return self.dir / "checkpoint"

    def report(self, step: int, **metrics: float) -> None:
        self.reports.append((step, metrics))
        if step == self.kill_at:
            raise KilledError

    def should_stop(self) -> bool:
        epoch = self.reports[-1][0]
        self.stop_asked_at.append(epoch)
        return self.stop_after is not None and epoch >= self.stop_after


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_trial(tmp_path: Path) -> Callable[..., RecordingTrial]:
    def new_trial(*, dir: str = "attempt", **values: Any) -> RecordingTrial:
        params = {**SMALL, "epochs": 4, **values.pop("params", {})}
        return RecordingTrial(params=params, dir=tmp_path / dir, **values)

    return new_trial


@pytest.fixture
def prices() -> pd.DataFrame:
    """400 days of a random walk: date, open, high, close, volume."""
    random = np.random.default_rng(0)
    close = 100 * np.exp(random.normal(0, 0.01, 400).cumsum())
    return pd.DataFrame(
        {
            "date": pd.date_range("2020-01-01", periods=400).strftime("%Y-%m-%d"),
            "open": close * np.exp(random.normal(0, 0.003, 400)),
            "high": close * np.exp(abs(random.normal(0, 0.008, 400))),
            "close": close,
            "volume": random.integers(1000, 9000, 400),
        }
    )


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a frame as CSV, return its path as text."""

    def write(frame: pd.DataFrame, name: str = "prices.csv") -> str:
        path = tmp_path / name
        frame.to_csv(path, index=False) if ".csv" in name else frame.to_parquet(path)
        return str(path)

    return write
