"""The ``HPO_BATCH_*`` variables and placeholders that describe a trial to a command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hpo_batch.envvars import EnvVar
from hpo_batch.records import Value
from hpo_batch.store.attempt_folder import STOP

REPORTED: Final = "reported.jsonl"
"""the command's metrics file. Its readable lines are copied to our ``metrics.jsonl``; if that is all, it is removed"""
VARIABLES: Final[dict[str, str]] = {
    EnvVar.TRIAL: "trial_number",
    EnvVar.ATTEMPT: "trial_attempt",
    EnvVar.SEED: "trial_seed",
    EnvVar.TRIAL_DIR: "trial_dir",
    EnvVar.CHECKPOINT_DIR: "checkpoint_dir",
    EnvVar.METRICS_FILE: "metrics_file",
    EnvVar.STOP_FILE: "stop_file",
    EnvVar.PARAMS: "params_json",
    EnvVar.DEADLINE: "",
}
"""placeholder of each variable; empty if there is none"""


def placeholder_values(*, folder: Path, checkpoint: Path, number: int, attempt: int, seed: int) -> dict[str, str]:
    """The values of ``placeholders.FACTS``.

    Args:
        folder: of the attempt, or of one of its seeds.
        checkpoint: its checkpoint folder.
        number: of the trial.
        attempt: counted from 1.
        seed: of the trial.
    """
    return {
        "trial_number": str(number),
        "trial_attempt": str(attempt),
        "trial_seed": str(seed),
        "trial_dir": str(folder),
        "checkpoint_dir": str(checkpoint),
        "metrics_file": str(folder / REPORTED),
        "stop_file": str(folder / STOP),
    }


def environment(
    values: Mapping[str, str], params: Mapping[str, Value], *, deadline: float | None = None
) -> dict[str, str]:
    """The variables of one attempt.

    Args:
        values: of the placeholders.
        params: of the trial.
        deadline: in seconds since the epoch; None if there is none, or it is unknown.
    """
    variables = {variable: values[name] for variable, name in VARIABLES.items() if name in values}
    variables[EnvVar.PARAMS] = json.dumps(dict(params), ensure_ascii=False)
    if deadline is not None:
        variables[EnvVar.DEADLINE] = repr(deadline)
    return variables
