"""Trials whose GPUs were slowed down or had memory errors, as workers read it through NVML. Unknown is not "no"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from hpo_batch.findings.json_keys import json_keys
from hpo_batch.monitor.usage import THROTTLED
from hpo_batch.results.accounting import gpus_held
from hpo_batch.results.table import TrialsTable


@dataclass(frozen=True, kw_only=True)
class GpuHealth:
    """What is known of the GPUs of a study's trials."""

    trials: int
    """that had a GPU"""
    measured: int
    """of them, those whose GPUs were read"""
    nodes: int
    """on which these trials ran"""
    throttled: tuple[tuple[int, float], ...] = field(metadata=json_keys("number", "share"))
    """trials during which clocks were reduced because of heat or power supply, and the share of the time; from a tenth
    of it on"""
    memory_errors: tuple[tuple[int, int], ...] = field(metadata=json_keys("number", "errors"))
    """trials during which there were uncorrected memory errors, and how many"""
    throttled_on: tuple[str, ...]
    """nodes of `throttled`"""
    memory_errors_on: tuple[str, ...]
    """nodes of `memory_errors`"""


def gpu_health(table: TrialsTable) -> GpuHealth | None:
    """From all attempts of the trials; None if none had a GPU, as far as is known."""
    attempts = table.attempts
    throttled, errors = (_known(attempts, name) for name in ("gpu_throttled", "gpu_ecc_errors"))
    is_read = throttled.notna() | errors.notna()
    had = attempts[gpus_held(attempts).notna() | is_read]
    if not len(had):
        return None
    shares = throttled.groupby(attempts["number"]).max()
    counts = errors.groupby(attempts["number"]).sum()
    slow, bad = shares[shares >= THROTTLED], counts[counts > 0].astype(int)
    return GpuHealth(
        trials=had["number"].nunique(),
        measured=attempts["number"][is_read].nunique(),
        nodes=len(_nodes(had)),
        throttled=tuple(zip(slow.index.tolist(), slow.tolist(), strict=True)),
        memory_errors=tuple(zip(bad.index.tolist(), bad.tolist(), strict=True)),
        throttled_on=_nodes(attempts[throttled >= THROTTLED]),
        memory_errors_on=_nodes(attempts[errors > 0]),
    )


def _known(attempts: pd.DataFrame, name: str) -> pd.Series[float]:
    if name not in attempts:
        return pd.Series(float("nan"), index=attempts.index)
    return pd.to_numeric(attempts[name], errors="coerce").astype("float64")


def _nodes(attempts: pd.DataFrame) -> tuple[str, ...]:
    names: Sequence[str] = attempts["node"].dropna().astype(str).unique().tolist()
    return tuple(sorted(name for name in names if name))
