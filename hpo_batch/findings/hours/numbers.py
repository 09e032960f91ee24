"""Where the hours went: by outcome, by node, by cause of failure. Counts and sums; the only test is of single nodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from hpo_batch.findings.json_keys import json_keys
from hpo_batch.findings.model.arrays import Floats
from hpo_batch.findings.model.frame import Data
from hpo_batch.records import Reason
from hpo_batch.results.accounting import gpu_hours, gpus_held
from hpo_batch.results.table import TrialsTable
from hpo_batch.store.nodes import chance_of_share

FAILURES = frozenset(reason.value for reason in Reason)
LOST_STATES = {"FAIL": "failed", "COMPLETE": "complete", "PRUNED": "pruned"}
LEAST_ATTEMPTS = 3
"""on a node, before it is compared with the others"""


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """Where the hours went."""

    gpu_hours: float | None
    hours: float | None
    by_outcome: tuple[tuple[str, float, int], ...] = field(metadata=json_keys("outcome", "hours", "attempts"))
    """outcome of attempts, hours, attempts"""
    by_node: tuple[tuple[str, float, int, int], ...] = field(metadata=json_keys("node", "hours", "attempts", "failed"))
    """node, hours, attempts, failed ones"""
    failures: tuple[tuple[str, str, int], ...] = field(metadata=json_keys("cause", "node", "count"))
    """cause, node, count"""
    queue_wait_s: float | None
    text: str
    why: str = ""


def efficiency(table: TrialsTable) -> Efficiency:
    """From attempts; from the trials' own times where there are none (a CSV, a foreign storage)."""
    attempts = table.attempts
    # SLURM's accounts know the end of attempts that were killed
    seconds = _column(attempts, "elapsed_s", "seconds")
    if seconds is None:
        return _from_trials(table.trials)
    ended = attempts[seconds.notna()]
    hours = seconds[seconds.notna()] / 3600
    if "fused" in ended:  # trials that were trained together share the hours of their worker
        hours = hours / ended["fused"].fillna(1).clip(lower=1)
    in_gpus = _gpu_hours(ended, seconds[seconds.notna()])
    failed = ended["how"].isin(FAILURES)
    by_node = _by_node(ended, hours, failed)
    by_outcome = tuple(
        sorted(
            ((str(how), float(group.sum()), len(group)) for how, group in hours.groupby(ended["how"])),
            key=lambda row: -row[1],
        )
    )
    counted = Counter(zip(ended["how"][failed], _nodes(ended)[failed], strict=True))
    causes = tuple((str(how), str(node), n) for (how, node), n in sorted(counted.items()))
    # one wait for all attempts of a run of an array task
    queue = _column(attempts.drop_duplicates("job"), "queue_wait_s")
    return Efficiency(
        gpu_hours=in_gpus,
        hours=float(hours.sum()),
        by_outcome=by_outcome,
        by_node=by_node,
        failures=causes,
        queue_wait_s=None if queue is None else float(queue.median()),
        text=_text(float(hours.sum()), in_gpus, by_outcome, by_node),
        why="" if in_gpus is not None else "no attempt says which GPUs it had: hours are those of workers",
    )


def bad_node(by_node: tuple[tuple[str, float, int, int], ...]) -> tuple[str, float] | None:
    """The node whose attempts fail more often than those of the others, and p after Holm over the nodes."""
    total, failed = sum(row[2] for row in by_node), sum(row[3] for row in by_node)
    if len(by_node) < 2 or failed == 0:
        return None
    tested = [(chance_of_share(bad, n, failed, total), node) for node, _, n, bad in by_node if n >= LEAST_ATTEMPTS]
    if not tested:
        return None
    p, node = min(tested)
    return node, min(1.0, p * len(tested))


def _gpu_hours(ended: pd.DataFrame, seconds: pd.Series[float]) -> float | None:
    recorded = _column(ended, "gpu_hours")
    each = gpu_hours(seconds, gpus_held(ended)) if recorded is None else recorded
    return float(each.sum()) if each.notna().any() else None


def _by_node(
    ended: pd.DataFrame, hours: pd.Series[float], failed: pd.Series[bool]
) -> tuple[tuple[str, float, int, int], ...]:
    rows = [
        (str(node), float(group.sum()), len(group), int(failed.loc[group.index].sum()))
        for node, group in hours.groupby(_nodes(ended))
    ]
    return tuple(sorted(rows, key=lambda row: -row[1]))


def _nodes(attempts: pd.DataFrame) -> pd.Series[str]:
    return attempts["node"].fillna("").astype(str).replace("", "unknown")


def _from_trials(trials: pd.DataFrame) -> Efficiency:
    seconds = _seconds(trials)
    if seconds is None:
        why = "neither attempts nor durations of trials are recorded"
        return Efficiency(
            gpu_hours=None, hours=None, by_outcome=(), by_node=(), failures=(), queue_wait_s=None, text=why, why=why
        )
    hours = seconds.dropna() / 3600
    states = trials.loc[hours.index, "state"].map(lambda state: LOST_STATES.get(state, str(state).lower()))
    by_outcome = tuple(
        sorted(((str(s), float(g.sum()), len(g)) for s, g in hours.groupby(states)), key=lambda row: -row[1])
    )
    ended = trials.loc[hours.index]
    has_nodes = "node" in ended and ended["node"].notna().any()
    by_node = _by_node(ended, hours, ended["state"] == "FAIL") if has_nodes else ()
    return Efficiency(
        gpu_hours=None,
        hours=float(hours.sum()),
        by_outcome=by_outcome,
        by_node=by_node,
        failures=(),
        queue_wait_s=None,
        text=_text(float(hours.sum()), None, by_outcome, by_node),
        why=f"hours are the trials' own durations: attempts{'' if by_node else ', nodes'} and GPUs are not recorded",
    )


def trial_seconds(data: Data) -> Floats | None:
    """Seconds that each complete trial took, whoever wrote them down; None if nobody did."""
    seconds = _seconds(data.table.trials)
    if seconds is None:
        return None
    return np.asarray(seconds, dtype=np.float64)[data.places]


def _seconds(trials: pd.DataFrame) -> pd.Series[float] | None:
    known = _column(trials, "seconds_total")
    if known is None and "duration" in trials and pd.api.types.is_timedelta64_dtype(trials["duration"]):
        seconds = trials["duration"].dt.total_seconds()
        known = seconds if seconds.notna().any() else None
    return known if known is not None else _column(trials, "user_attrs_duration_sec", "user_attrs_duration_s")


def _column(frame: pd.DataFrame, *names: str) -> pd.Series[float] | None:
    """The first of these columns that holds any number."""
    for name in names:
        if name in frame:
            numbers = pd.to_numeric(frame[name], errors="coerce").astype(float)
            if numbers.notna().any():
                return numbers
    return None


def _text(
    hours: float,
    gpu_hours: float | None,
    by_outcome: tuple[tuple[str, float, int], ...],
    by_node: tuple[tuple[str, float, int, int], ...],
) -> str:
    worked = f"{hours:.3g} hours" if hours >= 0.1 else f"{3600 * hours:.3g} seconds"
    spent = worked if gpu_hours is None else f"{gpu_hours:.3g} GPU hours ({worked} of workers)"
    parts = [f"{outcome} {h / hours:.0%} ({n})" for outcome, h, n in by_outcome if hours > 0]
    nodes = f" on {len(by_node)} node{'s' if len(by_node) > 1 else ''}" if by_node else ""
    return f"{spent}{nodes}" + (f": {', '.join(parts)}" if parts else "")
