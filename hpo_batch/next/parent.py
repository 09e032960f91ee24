"""What every next sweep needs of the study that it follows: its best trials, its seeds, how long a training takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hpo_batch.errors import UserError
from hpo_batch.findings.best.numbers import TopTrial, top_configurations
from hpo_batch.findings.known import Known
from hpo_batch.findings.model.frame import Data, prepare
from hpo_batch.findings.noise.numbers import Noise, noise_floor
from hpo_batch.records import Configuration, Value
from hpo_batch.results.table import TrialsTable
from hpo_batch.space.parameters import same
from hpo_batch.store.home import home_of
from hpo_batch.sweep.planned import Planned, resolve_planned
from hpo_batch.sweep.schema import Pruner, Sampler, Sweep
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count, duration

LONGEST_NAME: Final = 100
MANY: Final = 10_000
LEAST_S: Final = 0.5
"""seconds below which a time is only said to be short"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parent:
    """A study that has trials to go on from."""

    source: str
    """as the user named it"""
    sweep: Sweep
    table: TrialsTable
    data: Data
    noise: Noise

    @property
    def label(self) -> str:
        return self.table.label or self.source


def parent_of(table: TrialsTable, *, unfinished: bool = False, known: Known | None = None) -> Parent:
    """The study behind a table.

    Args:
        table: of its trials.
        unfinished: go on from the trials so far, although some are running.
        known: what a person knows beside the trials.

    Raises:
        UserError: there is nothing to go on from; the message says why.
    """
    name, known = table.label or table.source, known or Known()
    if table.sweep is None:
        raise UserError(f"{name} is no study of hpo-batch, and does not say how trials are run: --sweep FILE does")
    if len(table.metrics) > 1:
        raise UserError(
            f"{name} has several metrics ({', '.join(table.metrics)}), and no trial is the best of all: choose from "
            f"'hpo-batch collect {name} --best' and write the [[trial]]s yourself"
        )
    counts = table.counts
    words = ((counts.running, "running trial"), (counts.waiting, "waiting trial"))
    there = " and ".join(count(n, word) for n, word in words if n)
    if not unfinished and table.home is not None and counts.running + counts.waiting and counts.remaining:
        raise UserError(
            f"{name} has {there} ({counts.progress} finished): wait for its end, cancel it, or use --unfinished to go "
            "on from the trials so far"
        )
    data = prepare(table)
    if not data.n:
        says = "" if table.home is None else f" ('hpo-batch status {name}' says why)"
        failed = f": {count(counts.failed, 'trial')} failed{says}" if counts.failed else ""
        raise UserError(f"no trial of {name} is complete{failed}; there is no best one to go on from")
    noise = noise_floor(data, n_eval=known.n_eval, n_pos=known.n_pos)
    return Parent(source=table.source, sweep=table.sweep, table=table, data=data, noise=noise)


def resolved(parent: Parent, params: Mapping[str, Value], *, number: int) -> Configuration:
    """The configuration of one of its trials in its space of today.

    Raises:
        UserError: the space was edited since, so that the trial cannot be run again as it was.
    """
    space = parent.sweep.space
    gone = [name for name in params if name not in space.by_name and name not in space.derived]
    if gone:
        raise UserError(
            f"trial {number} of {parent.label} has a value of {listed(gone)}, which the space has no more: run "
            "again it would be another configuration"
        )
    try:
        configuration = space.resolve(params)
    except UserError as error:
        raise UserError(
            f"trial {number} of {parent.label} cannot be run in the space of today: {error}; the space was edited since"
        ) from error
    broken = space.why_invalid(configuration, bounds=False)
    if broken:
        raise UserError(f"trial {number} of {parent.label} cannot be run in the space of today: {broken}")
    return configuration


def own_params(sweep: Sweep, configuration: Configuration) -> dict[str, Value]:
    """What a ``[[trial]]`` says of a configuration: its searched values, and fixed ones that differ from the space."""
    fixed = {parameter.name: parameter.value for parameter in sweep.space.fixed}
    other = {name: value for name, value in configuration.fixed.items() if not same(value, fixed[name])}
    return {**configuration.searched, **other}


def best_configurations(
    parent: Parent, top: int, *, without: Collection[str] = ()
) -> list[tuple[TopTrial, Configuration]]:
    """The best distinct configurations, best first: with the trial that each is judged by.

    Args:
        parent: the study.
        top: how many at most.
        without: keys of configurations to leave out.

    Raises:
        UserError: see ``resolved``.
    """
    found: dict[str, tuple[TopTrial, Configuration]] = {}
    for trial in top_configurations(parent.data, MANY):
        configuration = resolved(parent, trial.params, number=trial.number)
        if configuration.key not in without:
            found.setdefault(configuration.key, (trial, configuration))
        if len(found) == top:
            break
    return list(found.values())


def baseline_key(sweep: Sweep) -> str | None:
    """Identity of the baseline's configuration; None without one."""
    for key, planned in resolve_planned(sweep):
        if key == ("baseline",) and isinstance(planned, Planned):
            return planned.configuration.key
    return None


def used_seeds(table: TrialsTable) -> frozenset[int]:
    """All seeds that trials of the study were given."""
    used = {int(seed) for seeds in table.seeds.values() for seed in seeds}
    for name in ("seed", "params_seed", "user_attrs_seed"):
        if name in table.trials.columns:
            used |= {int(seed) for seed in table.trials[name].dropna().tolist() if float(seed).is_integer()}
    if "seeds" in table.trials.columns:
        used |= {seed for text in table.trials["seeds"].dropna().tolist() for seed in json.loads(text)}
    if table.sweep is not None:
        used |= set(table.sweep.study.seeds)
    return frozenset(used)


def new_seeds(n: int, *, used: Collection[int], of: str, seed: int = 0) -> tuple[int, ...]:
    """Seeds that are not in ``used``, always the same for the same ``of`` and ``seed``."""
    chosen: list[int] = []
    i, start = 0, f"{of}:{seed}" if seed else of
    while len(chosen) < n:
        drawn = int.from_bytes(hashlib.blake2b(f"{start}:{i}".encode(), digest_size=4).digest(), "big")
        if drawn not in used and drawn not in chosen:
            chosen.append(drawn)
        i += 1
    return tuple(chosen)


def free_name(name: str, root: Path) -> str:
    """A study's name that no study below ``root`` has: the given one, else with a number behind it."""
    number = 1
    while True:
        ending = f"-{number}" if number > 1 else ""
        candidate = f"{name[: LONGEST_NAME - len(ending)]}{ending}"
        if not home_of(root, candidate).path.exists():
            return candidate
        number += 1


def list_sweep(sweep: Sweep, *, name: str) -> Sweep:
    """The sweep with nothing to search: its ``[[trial]]``s, which are still to be set, are all that runs."""
    return replace(
        sweep,
        study=replace(sweep.study, name=name, trials=None, replicates=1, seeds=(), import_=(), max_failed=None),
        sampler=Sampler(name="list", seed=sweep.sampler.seed),
        pruner=Pruner(),
        space_table={name: _without_weights(entry) for name, entry in sweep.space_table.items()},
        expect={},
        trial=(),
        previous=None,
        budget=None,
    )


def _without_weights(entry: object) -> object:
    """Of a parameter: shares of drawn trials are a mistake where none are drawn."""
    if isinstance(entry, Mapping) and "choices" in entry:
        return {key: value for key, value in entry.items() if key != "weights"}
    return entry


def with_workers(sweep: Sweep, n: int) -> Sweep:
    """The sweep with no more workers than it has trials."""
    return replace(sweep, job=replace(sweep.job, workers=max(1, min(sweep.job.workers, n))))


def training_seconds(table: TrialsTable) -> float | None:
    """Median time of one training among the complete trials, each with its number of seeds; None if unknown."""
    frame = table.trials[table.trials["state"] == "COMPLETE"]
    if "duration" in frame.columns and frame["duration"].notna().any():
        seconds = frame["duration"].dt.total_seconds()
    elif "seconds_total" in frame.columns:  # what a file tells
        seconds = frame["seconds_total"].astype(float)
    else:
        return None
    if "n_seeds" in frame.columns:
        seconds = seconds / frame["n_seeds"].fillna(1).astype(float)
    seconds = seconds[seconds > 0]
    return float(seconds.median()) if len(seconds) else None


def time_text(table: TrialsTable, *, trainings: int, workers: int) -> str:
    """How long so many trainings take: ``about 2.3 h with 4 workers (18 x 30 min, the median so far)``."""
    each = training_seconds(table)
    if each is None:
        return "how long they take is unknown: no durations were recorded"
    at_once = max(1, min(workers, trainings))
    rounds = -(-trainings // at_once)
    total = rounds * each
    about = "" if total < LEAST_S else "about "
    return (
        f"{about}{duration(total)} with {count(at_once, 'worker')} ({trainings} x {duration(each)}, the median so far)"
    )
