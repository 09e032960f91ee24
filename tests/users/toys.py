"""Objectives of users who share a study."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from hpo_batch import Trial


def quick(trial: Trial) -> float:
    (trial.dir / "figure.txt").write_text("of the user's code")
    (trial.checkpoint / "weights").write_text("1")
    trial.report(1, score=0.5)
    return float(trial.params["x"])


def long(trial: Trial) -> float | None:
    """Saves, and waits to be stopped; an attempt that resumes ends at once, with what it found."""
    if trial.resumes:
        print("from", (trial.checkpoint / "private").read_text(), (trial.checkpoint / "open").read_text())
        return 0.25
    (trial.checkpoint / "open").write_text(str(os.getuid()))
    _saved_as_libraries_do(trial.checkpoint / "private", "0600")
    while not trial.should_stop():
        trial.report(1, score=0.5)
        time.sleep(0.02)
    return None


def _saved_as_libraries_do(path: Path, text: str) -> None:
    """A temporary file that only its owner may read, renamed: so that nobody sees a half of it."""
    fd, temporary = tempfile.mkstemp(dir=path.parent)
    os.write(fd, text.encode())
    os.close(fd)
    Path(temporary).rename(path)


def until_told(trial: Trial) -> float:
    (trial.dir / "waits").write_text("")
    while not Path("go").exists():
        time.sleep(0.02)
    return float(trial.params["x"])


def fails_first(trial: Trial) -> float:
    if trial.number == 0:
        print("the first fails")
        raise ValueError("no such luck")
    print("fine")
    return float(trial.params["x"])


def in_turns(trial: Trial) -> float | None:
    """The first trial fails, every third waits to be stopped and then goes on, the others end at once."""
    if trial.number == 0:
        print("the first fails")
        raise ValueError("no such luck")
    return long(trial) if trial.number % 3 == 2 else quick(trial)
