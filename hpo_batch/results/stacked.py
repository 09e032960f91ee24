"""The trials of several studies as one table."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from hpo_batch.results.table import TrialsTable


def stacked(tables: Sequence[TrialsTable]) -> TrialsTable:
    """One table after the other, numbered through; everything but trials and reports is the first table's.

    Args:
        tables: with the same metric; at least one.
    """
    first, *others = tables
    if not others:
        return first
    starts = [0, *itertools.accumulate(_next_number(table) for table in tables[:-1])]
    trials = [
        table.trials.assign(number=table.trials["number"] + start) for table, start in zip(tables, starts, strict=True)
    ]
    reports = [
        table.reports.assign(number=table.reports["number"] + start)
        for table, start in zip(tables, starts, strict=True)
        if len(table.reports)
    ]
    seeds = {
        number + start: values
        for table, start in zip(tables, starts, strict=True)
        for number, values in table.seeds.items()
    }
    return replace(
        first,
        trials=_one_after_the_other(trials),
        reports=pd.concat(reports, ignore_index=True) if reports else first.reports,
        seeds=seeds,
    )


def _next_number(table: TrialsTable) -> int:
    return int(table.trials["number"].max()) + 1 if len(table.trials) else 0


def _one_after_the_other(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """``concat``, which warns of columns that are empty in one of the frames, where they tell nothing about a type."""
    filled = [frame.dropna(axis="columns", how="all") for frame in frames if len(frame)]
    if not filled:
        return frames[0]
    joined = pd.concat(filled, ignore_index=True)
    missing = [name for name in frames[0].columns if name not in joined.columns]
    return joined.assign(**dict.fromkeys(missing))
