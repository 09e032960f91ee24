"""From the tables of a report to all of its findings: every part once, then one adjustment over all claims.

The claims are what parameters do, over all studies of the report: that family is adjusted by Holm. Interactions are a
screen and a family of their own. Coverage, budgets and nodes are judged against their own reference and say how.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from hpo_batch.findings import answers
from hpo_batch.findings.baseline.numbers import baseline, baseline_rows
from hpo_batch.findings.best.optimism import curse
from hpo_batch.findings.budgets.numbers import budgets, fidelity, single_sd
from hpo_batch.findings.coverage.numbers import coverage
from hpo_batch.findings.curves.numbers import learning_curves
from hpo_batch.findings.effects.numbers import effects, settled
from hpo_batch.findings.elites.numbers import elites
from hpo_batch.findings.expected.numbers import judge
from hpo_batch.findings.health.numbers import collapse, suspects
from hpo_batch.findings.hours.numbers import efficiency
from hpo_batch.findings.importance.numbers import importance
from hpo_batch.findings.model.frame import Data, ParamInfo, prepare, summarise
from hpo_batch.findings.model.stats import holm
from hpo_batch.findings.noise.numbers import noise_floor
from hpo_batch.findings.pooled.numbers import pooled
from hpo_batch.findings.records import (
    Effect,
    Elites,
    Expected,
    Findings,
    Interaction,
    Noise,
    StudyFindings,
    TopTrial,
    Without,
)
from hpo_batch.findings.relations.correlations import correlations
from hpo_batch.findings.relations.interactions import interactions
from hpo_batch.records import Value
from hpo_batch.results.table import TrialsTable, candidates, front_of
from hpo_batch.text.names import unique_names

MOST_TOP = 60


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a person knows beside the trials."""

    n_eval: int | None = None
    """cases that the metric was computed on, where trials do not report it"""
    n_pos: int | None = None
    """positive ones among them"""
    baseline: float | None = None
    """the metric of a baseline that is not among the trials"""


def analyse(
    tables: Sequence[TrialsTable], *, seed: int = 0, top: int = MOST_TOP, known: Known | None = None
) -> Findings:
    """All findings about the studies, most telling first. Any table will do: what cannot be computed says why."""
    # hundreds of small factorizations: threads wait for each other longer than one computes, several times longer on a
    # machine that does other things, and their number would decide the last digits
    with threadpool_limits(limits=1, user_api="blas"):
        return _analyse(tables, seed=seed, top=top, known=known or Known())


def _analyse(tables: Sequence[TrialsTable], *, seed: int, top: int, known: Known) -> Findings:
    labels = unique_names([table.label or table.source for table in tables])
    data = [prepare(table) for table in tables]
    studies = [_study(one, label, known, seed=seed) for one, label in zip(data, labels, strict=True)]
    studies, family = _adjusted(studies)
    single = [i for i, one in enumerate(data) if len(one.table.metrics) < 2]
    beside = budgets(
        [data[i] for i in single],
        [labels[i] for i in single],
        [studies[i].noise for i in single],
        [studies[i].effects for i in single],
        seed=seed,
    )
    heap = pooled([data[i] for i in single], [labels[i] for i in single], k=top)
    return Findings(
        studies=tuple(studies),
        findings=answers.ordered(studies, beside, heap, family=family),
        family=family,
        budgets=beside,
        pooled=heap,
        warnings=tuple(_warnings(data, labels)),
    )


def _study(data: Data, label: str, known: Known, *, seed: int) -> StudyFindings:
    table = data.table
    if len(table.metrics) > 1:
        return _several_metrics(data, label)
    found = suspects(data)
    flagged = {suspect.number for suspect in found}
    noise = noise_floor(data, n_eval=known.n_eval, n_pos=known.n_pos)
    noise_sd = single_sd(noise)
    best = elites(data)
    curves = learning_curves(table)
    return StudyFindings(
        label=label,
        metric=data.metric,
        direction=data.direction,
        summary=summarise(data),
        noise=noise,
        coverage=coverage(data),
        effects=effects(data, without=flagged),
        importance=importance(data, seed=seed),
        correlations=correlations(data),
        interactions=interactions(data),
        elites=best,
        curse=curse(data, noise),
        collapse=collapse(data),
        suspects=found,
        baseline=baseline(data, noise_sd=noise_sd, value=known.baseline),
        efficiency=efficiency(table),
        expected=_expected(data, best, noise_sd=noise_sd, seed=seed),
        history=tuple(zip(data.numbers.tolist(), data.y.tolist(), strict=True)),
        curves=curves,
        without=_without(data, flagged),
        fidelity=fidelity(curves, seed=seed),
    )


def _several_metrics(data: Data, label: str) -> StudyFindings:
    """The front, and what needs no single best."""
    summary = summarise(data)
    return StudyFindings(
        label=label,
        metric=", ".join(data.table.metrics),
        direction=", ".join(data.table.directions),
        summary=replace(summary, mean=None, median=None, std=None, best=None, top=()),
        noise=Noise(sd=None, source="unknown", text="several metrics: no noise floor is computed"),
        coverage=coverage(data),
        effects=(),
        importance=None,
        correlations=(),
        interactions=(),
        elites=None,
        curse=None,
        collapse=collapse(data),
        suspects=(),
        baseline=None,
        efficiency=efficiency(data.table),
        front=_front(data),
    )


def _adjusted(studies: Sequence[StudyFindings]) -> tuple[list[StudyFindings], int]:
    """Every claim with its p after Holm over all studies, and the size of that family."""
    claims = [effect.p for study in studies for effect in study.effects]
    screened = [interaction.p for study in studies for interaction in study.interactions]
    of_claims, of_screened = iter(holm(claims)), iter(holm(screened))
    found = []
    for study in studies:
        noise_sd = single_sd(study.noise)
        settled_effects: tuple[Effect, ...] = tuple(
            settled(effect, p_holm=next(of_claims), noise_sd=noise_sd) for effect in study.effects
        )
        settled_pairs: tuple[Interaction, ...] = tuple(
            replace(interaction, p_holm=next(of_screened)) for interaction in study.interactions
        )
        found.append(replace(study, effects=settled_effects, interactions=settled_pairs))
    return found, sum(p is not None for p in claims)


def _without(data: Data, flagged: set[int]) -> Without | None:
    if not flagged:
        return None
    trials = data.table.trials
    kept = replace(data.table, trials=trials[~trials["number"].isin(list(flagged))])
    return Without(numbers=tuple(sorted(flagged)), summary=summarise(prepare(kept)))


def _expected(data: Data, best: Elites | None, *, noise_sd: float | None, seed: int) -> tuple[Expected, ...]:
    sweep = data.table.sweep
    if sweep is None or not sweep.expect:
        return ()
    frame = pd.DataFrame({param.name: _cells(param) for param in data.params if param.levels})
    frame["number"] = data.numbers
    frame["value"] = data.y
    groups = dict(_named(data, frame))
    if data.n:
        groups["best"] = frame.iloc[[data.best_row]]
        threshold = None if best is None else best.threshold
        groups["elites"] = (
            frame[data.sign * frame["value"] >= data.sign * threshold] if threshold is not None else frame[:0]
        )
        groups["baseline"] = frame.iloc[baseline_rows(data)]
    names = [trial.name for trial in sweep.trial] + [trial.set for trial in sweep.trial if trial.set]
    return judge(sweep.expect, groups, noise_sd=noise_sd, known=names, seed=seed)


def _cells(param: ParamInfo) -> list[Value | float]:
    """A value for each trial; NaN where the parameter is not active."""
    levels = [*param.levels, math.nan]
    return [levels[code] for code in param.codes.tolist()]


def _named(data: Data, frame: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    """Complete trials by their names and their sets."""
    trials = data.table.trials
    found: dict[str, list[int]] = {}
    place = {int(number): i for i, number in enumerate(data.numbers)}
    for column in ("set", "name"):  # a trial's name wins over a set's
        if column in trials:
            groups: dict[str, list[int]] = {}
            for number, name in zip(trials["number"].tolist(), trials[column].tolist(), strict=True):
                if isinstance(name, str) and int(number) in place:
                    groups.setdefault(name, []).append(place[int(number)])
            found.update(groups)
    return {name: frame.iloc[rows] for name, rows in found.items()}


def _front(data: Data) -> tuple[TopTrial, ...]:
    """Trials that no other dominates, by number."""
    table = data.table
    frame = table.trials[candidates(table.trials)]
    columns = [frame[name].astype(float) for name in table.value_columns if name in frame]
    if len(columns) < 2:
        return ()
    points = pd.concat(columns, axis=1).dropna()
    values = points.to_numpy()
    states, directions = ["COMPLETE"] * len(points), table.directions[: len(columns)]
    on_front = np.flatnonzero(front_of(values.T.tolist(), states, directions)).tolist()
    numbers = frame.loc[points.index, "number"].tolist()
    place = {int(number): i for i, number in enumerate(data.numbers.tolist())}
    return tuple(
        TopTrial(
            rank=1,
            number=int(numbers[i]),
            value=float(values[i, 0]),
            params=data.configuration(place[int(numbers[i])]) if int(numbers[i]) in place else {},
            values=tuple(values[i].tolist()),
        )
        for i in on_front
    )


def _warnings(data: Sequence[Data], labels: Sequence[str]) -> list[str]:
    told = [f"{label}: {note}" for one, label in zip(data, labels, strict=True) for note in one.table.notes]
    told += [
        f"{label}: {one.skipped} complete trial(s) without a finite value are left out of everything"
        for one, label in zip(data, labels, strict=True)
        if one.skipped
    ]
    if len({(one.metric, one.direction) for one in data}) > 1:
        told.append("the studies have different metrics or directions: they are not compared with each other")
    return told
