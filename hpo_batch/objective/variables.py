"""What a command is told of its trial: ``HPO_BATCH_*`` variables, and placeholders that say the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hpo_batch.records import Value
from hpo_batch.store.attempt_folder import STOP

TRIAL_DIR: Final = "HPO_BATCH_TRIAL_DIR"
"""also the mark by which all processes of an attempt are found"""
DEADLINE: Final = "HPO_BATCH_DEADLINE"
PARAMS: Final = "HPO_BATCH_PARAMS"
REPORTED: Final = "reported.jsonl"
"""The metrics file, which the command writes. ``metrics.jsonl`` beside it is ours, with what could be read of it; when
that is everything, the command's own file is removed."""
VARIABLES: Final = {
    "HPO_BATCH_TRIAL": "trial_number",
    "HPO_BATCH_ATTEMPT": "trial_attempt",
    "HPO_BATCH_SEED": "trial_seed",
    TRIAL_DIR: "trial_dir",
    "HPO_BATCH_CHECKPOINT_DIR": "checkpoint_dir",
    "HPO_BATCH_METRICS_FILE": "metrics_file",
    "HPO_BATCH_STOP_FILE": "stop_file",
    PARAMS: "params_json",
    DEADLINE: "",
}
"""each variable with its placeholder; empty: there is none"""


def placeholder_values(*, folder: Path, checkpoint: Path, number: int, attempt: int, seed: int) -> dict[str, str]:
    """The values of ``placeholders.FACTS``.

    Args:
        folder: of the attempt, or of one of its seeds.
        checkpoint: its folder for checkpoints.
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
        deadline: in seconds since the epoch; None: the attempt has none, or it is not known yet.
    """
    variables = {variable: values[name] for variable, name in VARIABLES.items() if name in values}
    variables[PARAMS] = json.dumps(dict(params), ensure_ascii=False)
    if deadline is not None:
        variables[DEADLINE] = repr(deadline)
    return variables
