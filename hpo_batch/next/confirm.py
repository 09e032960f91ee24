"""Confirm: the best configurations again, with new seeds that are the same for all, and the baseline beside them.

The best of many noisy trials was lucky, too. What a finalist gives with seeds that took no part in its selection is
what it will give again; with the same seeds for all, what a seed does to all of them cancels in their differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from hpo_batch.errors import UserError
from hpo_batch.findings.baseline.numbers import baseline_rows
from hpo_batch.findings.best.numbers import TopTrial
from hpo_batch.findings.ledger.prediction import Prediction
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.surrogate import surrogate
from hpo_batch.findings.noise.numbers import Noise, single_sd
from hpo_batch.next.parent import (
    Parent,
    baseline_key,
    best_configurations,
    free_name,
    list_sweep,
    new_seeds,
    own_params,
    time_text,
    used_seeds,
    with_workers,
)
from hpo_batch.next.predictions import document, of_confirm
from hpo_batch.next.sweep_text import sweep_text
from hpo_batch.records import Answer, Configuration
from hpo_batch.sweep.planned import planned_trials
from hpo_batch.sweep.schema import PlannedTrial, Previous, Sweep
from hpo_batch.text.numbers import count, number

FINALISTS: Final = "finalists"
"""set of the trials to confirm"""
WORTH: Final = 2.0
"""spread of the finalists, in noise floors, below which confirming pays; benchmarks/confirm.py measures what the advice
gains and costs on complete tables"""
WORTH_UNMEASURED: Final = 0.5
"""the same where what the model leaves unexplained stands for the noise. On two tables and 28 drawn problems, 60 trials
each, it confirms 8 of 15 searches of the noisy table, none of 15 of the quiet one, and 2 of 28. 0.75 found more of the
noisy one (11), and on a quiet table that had no part in the choice it confirmed 5 of 25, at a loss"""
UNEXPLAINED_OF: Final = 10
"""configurations, the best, whose distance from the model stands for the noise. On two tables and 20 drawn problems
(benchmarks/predictions.py) it is 0.86 to 1.29 times the noise there at the median; the variance that the model calls
noise is 0.5 to 0.7 times as large, as its way back to the metric is flat beyond the best value"""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Whether confirming is worth its trials."""

    answer: Answer
    spread: float
    """of the finalists' values"""
    noise: float | None
    """of one trial's value"""
    text: str


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """A sweep that confirms, and what it is for."""

    sweep: Sweep
    advice: Advice
    text: str
    """the file"""
    trainings: int
    """trials times seeds"""
    decisions_json: str
    """the file beside it: what is predicted"""


def confirm(
    parent: Parent, *, top: int = 5, seeds: int = 3, root: Path = Path("logs"), near: Path = Path(), seed: int = 0
) -> Confirmation:
    """The sweep that trains the best distinct configurations and the baseline again.

    Args:
        parent: the study.
        top: number of configurations.
        seeds: number of new seeds for each.
        root: the logs directory, for a name that no study has.
        near: folder that the file is for.
        seed: draws the new seeds.

    Raises:
        UserError: there are fewer than two configurations, or one cannot be run any more.
    """
    baseline = baseline_key(parent.sweep)
    finalists = best_configurations(parent, top, without=() if baseline is None else (baseline,))
    if len(finalists) < 2:
        raise UserError(
            f"{parent.label} has {count(len(finalists), 'configuration')} besides the baseline: there is nothing "
            "to choose from"
        )
    name = free_name(f"{parent.sweep.study.name}-confirm", root)
    drawn = new_seeds(seeds, used=used_seeds(parent.table), of=name, seed=seed)
    sweep = _sweep(parent, finalists, name=name, seeds=drawn)
    n = len(planned_trials(sweep))
    sweep = with_workers(sweep, n)
    advice = advise(parent.data, parent.noise, top=len(finalists))
    chosen = {trial.name: top for trial, (top, _) in zip(sweep.trial, finalists, strict=True)}
    return Confirmation(
        sweep=sweep,
        advice=advice,
        text=sweep_text(sweep, near=near, header=_header(parent, sweep, advice, n)),
        trainings=n * seeds,
        decisions_json=document(sweep, _predictions(parent, chosen, seeds), parent.data),
    )


def _sweep(
    parent: Parent, finalists: Sequence[tuple[TopTrial, Configuration]], *, name: str, seeds: tuple[int, ...]
) -> Sweep:
    names = [f"finalist_{i}" for i in range(1, len(finalists) + 1)]
    sweep = list_sweep(parent.sweep, name=name)
    trials = []
    for name, (trial, configuration) in zip(names, finalists, strict=True):
        times = f", the best of {trial.count} trials with it" if trial.count > 1 else ""
        trials.append(
            PlannedTrial(
                name=name,
                set=FINALISTS,
                params=own_params(sweep, configuration),
                note=f"trial {trial.number} of {parent.label}: {parent.data.metric} = {trial.value!r}{times}",
            )
        )
    return replace(
        sweep,
        study=replace(sweep.study, seeds=seeds),
        trial=tuple(trials),
        previous=Previous(
            study=(parent.source,),
            by="confirm",
            trials={name: trial.number for name, (trial, _) in zip(names, finalists, strict=True)},
            values={name: trial.value for name, (trial, _) in zip(names, finalists, strict=True)},
        ),
    )


def _predictions(parent: Parent, finalists: Mapping[str, TopTrial], seeds: int) -> Sequence[Prediction]:
    data = parent.data
    places = {int(number_): row for row, number_ in enumerate(data.numbers.tolist())}
    with threadpool_limits(limits=1, user_api="blas"):
        baseline = baseline_rows(data)
        return of_confirm(
            data,
            surrogate(data, data.distinct),
            {name: places[trial.number] for name, trial in finalists.items()},
            baseline=int(baseline[0]) if len(baseline) else None,
            sd=single_sd(parent.noise) or unexplained(data),
            seeds=seeds,
        )


def advise(data: Data, noise: Noise, *, top: int = 5) -> Advice:
    """Whether the best configurations lie so close together that chance may have chosen among them.

    Without a noise floor the model of the trials tells what it cannot explain.
    """
    best = (data.sign * data.y[data.best_of_each[:top]]).tolist()
    spread = float(best[0] - best[-1])
    sd, source, worth = single_sd(noise), "the noise", WORTH
    if sd is None:
        sd, worth = unexplained(data), WORTH_UNMEASURED
        source = "what the model of the trials leaves unexplained"
    what = f"the {len(best)} best lie within {number(spread)}" if spread else f"the {len(best)} best are equal"
    if noise.sd is not None and noise.sd.value == 0:
        return Advice(
            answer=Answer.NO, spread=spread, noise=0.0,
            text="not worth it: replicates agree exactly, so new seeds change nothing (or never reach the training)",
        )  # fmt: skip
    if sd is None:
        return Advice(
            answer=Answer.CANNOT_TELL, spread=spread, noise=None,
            text=f"{what}; the noise floor is unknown, so whether confirming is worth it is too: it measures the noise",
        )  # fmt: skip
    if spread < worth * sd:
        text = (
            f"worth it: {what}, less than {worth:g} times {source} ({number(sd)}), so chance may have chosen the first"
        )
        return Advice(answer=Answer.YES, spread=spread, noise=sd, text=text)
    so = "and that may be no noise" if single_sd(noise) is None else "so other seeds would hardly change the order"
    text = (
        f"not worth it: {what}, {spread / sd:.2g} times {source} ({number(sd)}), {so}; "
        "further trials are the better use of the time"
    )
    return Advice(answer=Answer.NO, spread=spread, noise=sd, text=text)


def unexplained(data: Data) -> float | None:
    """How far the best configurations lie from what the model expects of them: a root mean square, in the metric's
    unit, that stands for the noise of one trial where nobody has measured it. None without a model.

    It holds what the model fits badly, too, and how lucky the best ones were.
    """
    model = surrogate(data, data.distinct)
    if model is None:
        return None
    problem = model.best.problem
    best = np.argsort(-data.sign * problem.z, kind="stable")[:UNEXPLAINED_OF]
    values = np.interp(problem.z[best], model.scores.known, model.scores.values)
    expected = np.array([model.at(int(row))[0] for row in model.rows[best]])
    # a configuration that ran several times has their mean
    return float(np.sqrt(np.mean(problem.repeats[best] * (values - expected) ** 2)))


def _header(parent: Parent, sweep: Sweep, advice: Advice, n: int) -> Sequence[str]:
    study = sweep.study
    what = f"{count(len(sweep.trial), 'configuration')}{' and the baseline' if n > len(sweep.trial) else ''}"
    trainings = n * len(study.seeds)
    return [
        f"Confirms the best of {parent.label} ({count(parent.data.n, 'complete trial')}): {what} again, each with the "
        f"same {count(len(study.seeds), 'new seed')}.",
        f"{count(n, 'trial')}, {count(trainings, 'training')}: "
        f"{time_text(parent.table, trainings=trainings, workers=sweep.job.workers)}.",
        f"Advice: {advice.text}.",
        *(
            ()
            if sweep.baseline is not None
            else ("There is no [baseline]: add one to see what the search has gained.",)
        ),
        f"Judged by 'hpo-batch report {study.name}': held-out means with intervals, and differences seed by seed.",
    ]
