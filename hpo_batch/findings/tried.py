"""All trials that tried something, whatever became of them: a pruned or failed trial has tried its parameters too."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

import numpy as np

from hpo_batch.findings.model.frame import Data, prepare

TRIED: Final = ("COMPLETE", "PRUNED", "FAIL", "RUNNING")
"""states of trials that have begun with their parameters"""


def tried(data: Data, *, states: Collection[str] = TRIED) -> Data:
    """The trials of a study that have begun, as if all of them were complete with one value.

    For what asks about parameters alone: ``y`` means nothing. The same data where it lacks none of them.

    Args:
        data: the study.
        states: of the trials that are wanted.
    """
    trials = data.table.trials
    begun = np.array([str(state) in states for state in trials["state"].tolist()], dtype=bool)
    if int(begun.sum()) == data.n:
        return data
    frame = trials[begun].copy()
    frame["state"] = "COMPLETE"
    frame["value"] = 0.0
    frame = frame.drop(columns=[name for name in ("feasible", "value_by_seed") if name in frame])
    return prepare(replace(data.table, trials=frame.reset_index(drop=True)))
