"""Objectives that meet the ends of SLURM jobs. They know nothing of the tests but the files that say go on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from hpo_batch import Trial


def meets_preemption(trial: Trial) -> float | None:
    kinds = {"listens": _listens, "loads": _loads, "deaf": _deaf, "ignores": _ignores}
    return kinds[trial.params["kind"]](trial)


def sleeps(trial: Trial) -> float | None:
    """A minute of steps, of which it saves the last one when it is told to stop."""
    saved = trial.checkpoint / "step"
    for step in range(int(saved.read_text()) + 1 if trial.resumes else 0, 600):
        time.sleep(0.1)
        trial.report(step, score=float(step))
        if trial.should_stop():
            saved.write_text(str(step))
            return None
    return 1.0


def _study(trial: Trial) -> Path:
    return trial.dir.parents[4]


def _listens(trial: Trial) -> float | None:
    """Epochs, saved only when it is told to stop, beside two forked children that would never end by themselves."""
    for _ in range(2):
        if (pid := os.fork()) == 0:
            while not trial.should_stop():
                time.sleep(0.05)
            (trial.checkpoint / "child").write_text("a child saved a checkpoint")
            time.sleep(1000)
        with (trial.dir / "children").open("a") as file:
            file.write(f"{pid}\n")
    return _epochs(trial, 8, seconds=0.5)


def _loads(trial: Trial) -> float | None:
    """A data loader of torch's with two forked processes in each epoch, saved in each epoch."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    saved = trial.checkpoint / "epoch"
    data = TensorDataset(torch.arange(8.0))
    for epoch in range(int(saved.read_text()) + 1 if trial.resumes else 0, 1000):
        for _ in DataLoader(data, batch_size=1, num_workers=2):
            time.sleep(0.05)
        saved.write_text(str(epoch))
        trial.report(epoch, score=1.0)
        if trial.attempt > 1:
            return 0.5
        if trial.should_stop():
            return None
    return None


def _deaf(trial: Trial) -> float:
    """It neither asks nor ends. Fine when it is tried again."""
    trial.report(0, score=1.0)
    while trial.attempt == 1:
        time.sleep(0.05)
    return 0.5


def _ignores(trial: Trial) -> float:
    """As deaf, and the process ignores whatever can be ignored."""
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return _deaf(trial)


def trains(trial: Trial) -> float | None:
    return _epochs(trial, trial.params["epochs"], seconds=trial.params["seconds"], until_told=False)


def _epochs(trial: Trial, most: int, *, seconds: float, until_told: bool = True) -> float | None:
    """The first attempt goes on for ever, if ``until_told``."""
    saved = trial.checkpoint / "epoch"
    first = int(saved.read_text()) + 1 if trial.resumes else 0
    last = 10_000 if until_told and trial.attempt == 1 else max(most, first + 2 if until_told else most)
    for epoch in range(first, last):
        time.sleep(seconds)
        trial.report(epoch, score=1 / (1 + epoch))
        if trial.should_stop():
            saved.write_text(str(epoch))
            return None
    return 0.5


def meets_node_failure(trial: Trial) -> float:
    """The first attempt saves an epoch and waits until it is late, then gives a result that must not count."""
    saved = trial.checkpoint / "epoch"
    if trial.attempt > 1:
        assert saved.read_text() == "0"
        return 0.5
    saved.write_text("0")
    while not (_study(trial) / "late").exists():
        time.sleep(0.05)
    saved.write_text("late")
    return 99.0


def waits(trial: Trial) -> float | None:
    """Until the test says go on."""
    while not (_study(trial) / "go").exists():
        time.sleep(0.05)
        if trial.should_stop():
            return None
    return 0.5


def slow(trial: Trial) -> float | None:
    """Twenty seconds, in which it listens and saves nothing."""
    for step in range(200):
        time.sleep(0.1)
        trial.report(step, score=1.0)
        if trial.should_stop():
            return None
    return 0.5


def greedy(trial: Trial) -> float:
    """Trial 0 takes more memory than its job has."""
    if trial.number == 0:
        held = bytearray(os.urandom(1 << 20) * 900)
        time.sleep(20)
        del held
    return 0.5
