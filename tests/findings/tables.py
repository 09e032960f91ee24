"""Trials tables by hand, as results would read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from hpo_batch.records import Counts
from hpo_batch.results.table import TrialsTable

ATTEMPTS = ["number", "attempt", "how", "started", "ended", "seconds", "node", "gpus", "job", "submission"]


def table(
    rows: Sequence[Mapping[str, Any]],
    *,
    params: Sequence[str],
    attempts: Sequence[Mapping[str, Any]] = (),
    metrics: tuple[str, ...] = ("val_auc",),
    directions: tuple[str, ...] = ("maximize",),
    **more: Any,
) -> TrialsTable:
    """Each row: the parameters under their names, ``value`` (or one entry per metric), and other columns.

    What is no column of a trials table is a reported metric.
    """
    columns = {"number", "value", "state", "name", "set", "seed", "seconds_total"}
    columns |= {f"values_{metric}" for metric in metrics}
    trials = []
    for i, row in enumerate(rows):
        named = {"number": i, "state": "COMPLETE", "value": None, "name": None, "set": None}
        if len(metrics) > 1:
            del named["value"]
        for key, value in row.items():
            prefix = "params_" if key in params else "" if key in columns else "user_attrs_"
            named[prefix + key] = value
        trials.append(named)
    frame = pd.DataFrame(trials) if trials else pd.DataFrame({"number": [], "state": [], "value": []})
    more = {"counts": Counts(target=len(rows), complete=len(rows)), "source": "study", "label": "study", **more}
    return TrialsTable(
        trials=frame,
        attempts=pd.DataFrame(
            list(attempts), columns=list(dict.fromkeys([*ATTEMPTS, *(k for a in attempts for k in a)]))
        ),
        metrics=metrics,
        directions=directions,
        **more,
    )
