"""Calls a function objective once, outside a study, as suggested by ``explain``. Nothing is recorded."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from hpo_batch import script
from hpo_batch.objective.load import import_function
from hpo_batch.objective.trial import Trial, TrialContext, end
from hpo_batch.records import Stopping, Value, Verdict


class _Engine:
    """Prints reports and never stops the trial."""

    def take_report(self, step: int, metrics: Mapping[str, float]) -> Verdict:
        values = ", ".join(f"{name} {value:.6g}" for name, value in metrics.items())
        sys.stderr.write(f"step {step}: {values}\n")
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
    """Run ``package.module:name`` with a trial like a worker's; print and return its result.

    Args:
        function: of the objective.
        params: active parameters by name.
        seed: of the trial.
        number: of the trial.
        dir: folder of the attempt, created if missing; a checkpoint in it is resumed.
        cpus: CPUs for the trial.
        device: for the trial.
        name: of a planned trial.

    Raises:
        UserError: the function cannot be imported.
    """
    folder = Path(dir)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint"
    context = TrialContext(
        number=number,
        attempt=1,
        params=params,
        seed=seed,
        dir=folder,
        checkpoint=checkpoint,
        name=name,
        resumes=checkpoint.is_dir() and any(checkpoint.iterdir()),
        cpus=cpus,
        device=device,
    )
    trial = Trial(context, _Engine())
    try:
        with script.running(trial):
            returned = import_function(function)(trial)
    finally:
        end(trial)
    sys.stdout.write(f"returned {returned!r}\n")
    return returned
