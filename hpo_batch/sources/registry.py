"""All sources of trials, in the order in which they are tried. To add one, write a module and add a line here."""

from __future__ import annotations

from hpo_batch.sources import csv, json, optuna, parquet, ray_tune, study
from hpo_batch.sources.source import Source

SOURCES: tuple[Source, ...] = (
    study.SOURCE,
    study.JOURNAL,  # before optuna, which reads our journals too, but loses what Optuna has no field for
    optuna.SOURCE,
    ray_tune.SOURCE,  # before json and csv, which the result files of a trial are
    parquet.SOURCE,
    json.SOURCE,
    csv.SOURCE,  # last, since it accepts any file
)
