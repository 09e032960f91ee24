"""Call a function objective once, outside any study: what ``explain`` prints leads here. Nothing is noted anywhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from hpo_batch.objective.load import import_function
from hpo_batch.objective.trial import Trial, end
from hpo_batch.records import Stopping, Value, Verdict


class _Engine:
    """Reports are printed; nobody asks to stop."""

    def take_report(self, step: int, metrics: Mapping[str, float]) -> Verdict:
        told = ", ".join(f"{name} {value:.6g}" for name, value in metrics.items())
        sys.stderr.write(f"step {step}: {told}\n")
        return Verdict.CONTINUE

    def stopping(self) -> Stopping | None:
        return None


def by_hand(
    function: str,
    *,
    params: Mapping[str, Value],
    seed: int,
    number: int,
    dir: str,
    cpus: int = 1,
    device: Literal["cuda", "cpu"] = "cpu",
    name: str | None = None,
) -> object:
    """Run ``package.module:name`` with a trial like that of a worker; print and return what it returns.

    Args:
        dir: the folder of the attempt, made if need be; a checkpoint in it is gone on from.

    Raises:
        UserError: the function cannot be imported.
    """
    folder = Path(dir)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint"
    trial = Trial(
        number=number,
        attempt=1,
        params=params,
        seed=seed,
        dir=folder,
        checkpoint=checkpoint,
        engine=_Engine(),
        name=name,
        resumes=checkpoint.is_dir() and any(checkpoint.iterdir()),
        cpus=cpus,
        device=device,
    )
    try:
        returned = import_function(function)(trial)
    finally:
        end(trial)
    sys.stdout.write(f"returned {returned!r}\n")
    return returned
