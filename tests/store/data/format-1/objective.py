"""The objective of the sample study. What a trial does the first time is told by its name; a second attempt goes on."""

import os
import signal
import time
from pathlib import Path

from hpo_batch import Trial


def train(trial: Trial) -> dict[str, float] | None:
    saved = trial.checkpoint / "epoch"
    first = int(saved.read_text()) + 1 if trial.resumes else 1
    print(f"attempt {trial.attempt} from epoch {first}")
    if trial.name == "A3":
        raise ValueError("A3 is meant to fail")
    for epoch in range(first, trial.params["epochs"] + 1):
        saved.write_text(str(epoch))
        trial.report(epoch, loss=2.0 if trial.name == "A2" else 1 / epoch, accuracy=0.25 * epoch)
        if trial.attempt == 1:
            _end_early(trial)
        if trial.should_stop():
            return None
    return {"loss": trial.params["x"] + 1 / trial.params["epochs"], "accuracy": 0.75}


def _end_early(trial: Trial) -> None:
    gone = Path("gone")
    if trial.name in ("A4", "A7"):
        gone.write_text(trial.name)
        os.kill(os.getpid(), signal.SIGKILL)
    if trial.name == "A6":
        while gone.read_text() != "A7":
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        while not trial.should_stop():
            time.sleep(0.01)
