"""All sources of trials, in the order in which they are tried. To add one, write a module and add a line here."""

from __future__ import annotations

from hpo_batch.sources import csv, json, optuna, parquet, ray_tune, study
from hpo_batch.sources.source import Source

SOURCES: tuple[Source, ...] = (
    study.SOURCE,
    study.JOURNAL,
    optuna.SOURCE,
    ray_tune.SOURCE,
    parquet.SOURCE,
    json.SOURCE,
    csv.SOURCE,  # last: it takes every file
)
