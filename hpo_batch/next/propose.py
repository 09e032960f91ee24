"""Propose: supplementary trials around the best one, in sets with a hypothesis each, ready to submit.

A local design tells the main effects of all parameters apart from the same few runs, where changing one at a time would
need several times as many. Single parameters get a set of their own only where the change that the model expects is
large enough to be told from chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from hpo_batch.errors import Declined
from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.best.subject import SUBJECT as BEST
from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.effects.subject import SUBJECT as EFFECTS
from hpo_batch.findings.health.subject import SUBJECT as HEALTH
from hpo_batch.findings.hours.subject import SUBJECT as HOURS
from hpo_batch.findings.model.surrogate import FEWEST, surrogate
from hpo_batch.findings.noise.numbers import single_sd
from hpo_batch.findings.noise.subject import SUBJECT as NOISE
from hpo_batch.next.around import moves
from hpo_batch.next.confirm import unexplained
from hpo_batch.next.design import MOST_FACTORS, design
from hpo_batch.next.local import Local
from hpo_batch.next.parent import (
    Parent,
    best_configurations,
    free_name,
    list_sweep,
    new_seeds,
    own_params,
    time_text,
    used_seeds,
    with_workers,
)
from hpo_batch.next.predictions import document, of_contrasts
from hpo_batch.next.ran import already_run
from hpo_batch.next.sweep_text import sweep_text
from hpo_batch.next.trial_sets import REFERENCE, TrialSet, trial_sets
from hpo_batch.results.table import TrialsTable
from hpo_batch.sweep.planned import planned_trials
from hpo_batch.sweep.schema import Expectation, Previous, Sweep
from hpo_batch.text.numbers import count, number

MOST_SEEDS: Final = 3


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A sweep of supplementary trials."""

    sweep: Sweep
    sets: tuple[TrialSet, ...]
    left_out: tuple[str, ...]
    """parameters without trials, and why"""
    trainings: int
    text: str
    decisions_json: str
    """the file beside it: what is predicted"""


def propose(
    parent: Parent,
    *,
    others: Sequence[TrialsTable] = (),
    seeds: int | None = None,
    root: Path = Path("logs"),
    near: Path = Path(),
    seed: int = 0,
) -> Proposal:
    """Supplementary trials around the best one of a study.

    Args:
        parent: the study.
        others: further studies, whose trials are not repeated either.
        seeds: for each trial; by default as many as the predicted effects need, at most ``MOST_SEEDS``.
        root: the logs directory, for a name that no study has.
        near: folder that the file is for.
        seed: draws the new seeds.

    Raises:
        Declined: the trials are too few to know what is around the best one, or everything there was tried.
        UserError: the best trial cannot be run in the space of today.
    """
    local, number_of_best = _around_the_best(parent, others)
    r = seeds or _seeds(local, is_known=_is_measured(parent))
    sets, left_out = trial_sets(local, r)
    if not sets:
        rest = f" or is not worth a trial ({'; '.join(left_out)})" if left_out else ""
        raise Declined(f"everything around the best trial of {parent.label} was tried{rest}")
    name = free_name(f"{parent.sweep.study.name}-propose", root)
    drawn = new_seeds(r, used=used_seeds(parent.table), of=name, seed=seed)
    sweep = _sweep(parent, local, sets, name=name, seeds=drawn, number_of_best=number_of_best)
    header = _header(parent, local, sweep, sets, left_out, number_of_best=number_of_best)
    text = sweep_text(sweep, near=near, header=header, above={one.name: one.lines for one in sets})
    expected = {words: contrast for one in sets for words, contrast in one.expected.items()}
    predictions = of_contrasts(expected, sd=local.sd, seeds=r, n=local.data.n)
    return Proposal(
        sweep=sweep,
        sets=sets,
        left_out=left_out,
        trainings=len(sweep.trial) * r,
        text=text,
        decisions_json=document(sweep, predictions, local.data),
    )


def _around_the_best(parent: Parent, others: Sequence[TrialsTable]) -> tuple[Local, int]:
    """What is around the best configuration, and the number of its trial."""
    ((top, best),) = best_configurations(parent, 1)
    data, sweep = parent.data, parent.sweep
    with threadpool_limits(limits=1, user_api="blas"):
        model = surrogate(data, data.distinct)
        if model is None:
            raise Declined(_too_little(parent))
        row = int(np.flatnonzero(data.numbers == top.number)[0])
        local = Local(
            space=sweep.space,
            data=data,
            best=best,
            moves=moves(data, model, sweep.space, best, row),
            effects={effect.parameter: effect for effect in _effects(parent.table)},
            sd=single_sd(parent.noise) or unexplained(data),
            ran=already_run(sweep, [parent.table, *others]),
        )
    return local, top.number


def _too_little(parent: Parent) -> str:
    """Why there is no model of the trials."""
    data, n = parent.data, len(parent.data.configurations)
    if n >= FEWEST:
        most = f"all {n}" if float(np.ptp(data.y)) == 0 else f"all but one of the {n}"
        return f"{most} configurations of {parent.label} have the same {data.metric}: nothing says what to try next"
    return (
        f"{parent.label} has {count(n, 'configuration')}, too few to know what is around the best: {FEWEST} with "
        "different values are the least"
    )


def _effects(table: TrialsTable) -> tuple[Effect, ...]:
    return analyse([table], subjects=(BEST, NOISE, HEALTH, EFFECTS, HOURS)).studies[0].effects


def _seeds(local: Local, *, is_known: bool) -> int:
    """As few as the largest predicted effect needs; two at least where they have to measure the noise."""
    fewest = 1 if is_known else 2
    runs = len(design(min(MOST_FACTORS, len(local.moves))))
    gains = [abs(move.gain) for each in local.moves.values() for move in each[:1] if move.gain is not None]
    for r in range(fewest, MOST_SEEDS):
        limit = local.detectable(runs, r)
        if limit is None or (gains and max(gains) >= limit):
            return r
    return MOST_SEEDS


def _is_measured(parent: Parent) -> bool:
    """Whether seeds have measured the noise: what the size of the validation set tells is shared by all trials."""
    return single_sd(parent.noise) is not None and parent.noise.source == "replicates"


def _source(parent: Parent) -> str:
    if _is_measured(parent):
        return " (replicates)"
    if single_sd(parent.noise) is not None:
        return f" ({parent.noise.source}: of the validation set, shared by all trials; what seeds do was not measured)"
    return ", estimated: it was never measured, and the best trials lie that far from what their model expects"


def _sweep(
    parent: Parent,
    local: Local,
    sets: Sequence[TrialSet],
    *,
    name: str,
    seeds: tuple[int, ...],
    number_of_best: int,
) -> Sweep:
    sweep = list_sweep(parent.sweep, name=name)
    trials = tuple(
        replace(trial, params=own_params(sweep, local.best)) if trial.name == REFERENCE else trial
        for one in sets
        for trial in one.trials
    )
    expect: dict[str, str | Expectation] = {}
    for one in sets:
        expect |= one.contrasts
    sweep = replace(
        sweep,
        study=replace(sweep.study, seeds=seeds),
        baseline=None,
        trial=trials,
        expect=expect,
        previous=Previous(study=(parent.source,), by="propose", trials={REFERENCE: number_of_best},
                          values={REFERENCE: float(local.data.y[local.data.best_row])}),
    )  # fmt: skip
    n = len(planned_trials(sweep))
    assert n == len({trial.name for trial in trials}) == len(trials)
    return with_workers(sweep, n)


def _header(
    parent: Parent,
    local: Local,
    sweep: Sweep,
    sets: Sequence[TrialSet],
    left_out: Sequence[str],
    *,
    number_of_best: int,
) -> Sequence[str]:
    seeds = len(sweep.study.seeds)
    trainings = len(sweep.trial) * seeds
    return [
        f"Supplementary trials around the best of {parent.label} (trial {number_of_best}): "
        f"{count(len(sweep.trial), 'trial')} in {count(len(sets), 'set')}, each with the same "
        f"{count(seeds, 'new seed')}.",
        f"{count(trainings, 'training')}: {time_text(parent.table, trainings=trainings, workers=sweep.job.workers)}.",
        *(() if local.sd is None else (f"Noise of one training: {number(local.sd)}{_source(parent)}.",)),
        *(f"Not tried: {text}." for text in left_out),
        f"Run all: hpo-batch submit FILE; one set: hpo-batch submit FILE --set-of {sets[-1].name}. The report judges "
        "[expect].",
    ]
