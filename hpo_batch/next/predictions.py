"""What refine, propose and confirm predict of the trials that they plan; the ledger judges it when these have run.

All intervals are 80 % ones: of a few predictions, an interval that should hold in 19 of 20 cases tells next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Final

import numpy as np

from hpo_batch import __version__
from hpo_batch.files import dump_json
from hpo_batch.findings.ledger.numbers import BASELINE
from hpo_batch.findings.ledger.prediction import LEDGER, Prediction, as_rows
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.surrogate import Surrogate
from hpo_batch.monitor.gain import LEVEL, expected_gain
from hpo_batch.next.decision import Decision
from hpo_batch.next.evidence import Evidence
from hpo_batch.next.write import Draft
from hpo_batch.records import Estimate, is_number
from hpo_batch.space.parameters import Choices, Integer, Parameter, Real
from hpo_batch.store.predictions import DIGEST, digest_of
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.size import target
from hpo_batch.text.numbers import count, label, number

SUFFIX: Final = ".decisions.json"
Z: Final = NormalDist().inv_cdf(0.5 + LEVEL / 2)
DRAWS: Final = 4000
WIDER: Final = 1.25
"""times the spread that model and noise give, so that intervals of differences and means hold as often as they say: on
two tables and 40 drawn problems (benchmarks/predictions.py) 80 of 100 instead of 70, and 83 instead of 72"""
TWO: Final = "two that are alike"


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Trials that are compared with others, and what the model expects of it; above 0 is better."""

    names: tuple[str, ...]
    others: tuple[str, ...]
    gain: float
    error: float


def document(sweep: Sweep, predictions: Sequence[Prediction], data: Data) -> str:
    """The decisions file of a sweep that decides nothing about the space: what is predicted of it."""
    return dump_json(
        {
            "hpo_batch": __version__,
            "from": list(sweep.previous.study) if sweep.previous is not None else [],
            "study": sweep.study.name,
            "n": data.n,
            "metric": data.metric,
            "direction": data.direction,
            LEDGER: as_rows(predictions),
        }
    )


def decisions_path(path: Path) -> Path:
    """The file with decisions and predictions, beside a sweep."""
    return path.with_suffix(SUFFIX)


def name_in(draft: Draft, path: Path, decisions: str) -> None:
    """Let a sweep name its decisions file, with the digest by which a later change is noticed."""
    draft.set(("previous", "decisions"), decisions_path(path).name)
    draft.set(("previous", DIGEST), digest_of(decisions.encode()))


# refine


def of_refine(evidence: Evidence, sweep: Sweep, decisions: Sequence[Decision]) -> tuple[Prediction, ...]:
    """What the next sweep will find, and which widened ranges will pay.

    Args:
        evidence: what the sweep was refined from.
        sweep: the next one.
        decisions: about its parameters.
    """
    n = target(sweep) - (sweep.baseline is not None)
    best = evidence.study.summary.best
    if n < 1 or best is None:
        return ()
    wider = tuple(_wider(decisions, n))
    return (*_gain(evidence, n, best.value, wider), *wider)


def _gain(evidence: Evidence, n: int, best: float, wider: Sequence[Prediction]) -> Iterator[Prediction]:
    metric, maximize = evidence.study.metric, evidence.sign > 0
    # the values of complete trials: where many were pruned, the model's are those of an earlier step
    beyond = 1 - math.prod(1 - (one.probability or 0.0) for one in wider)
    told = expected_gain([value for _, value in evidence.study.history], n, maximize=maximize, beyond=beyond)
    if told is None:
        return
    method = f"the tail of the values so far (n = {told.n}), as if the search went on; monitor/gain.py"
    if wider:
        method += f"; and a chance of {beyond:.2f} that it is better where the space is wider"
    better, trials = "above" if maximize else "below", f"the first {count(n, 'new trial')}"
    yield Prediction(
        key="gain",
        statement=f"the best of {trials} has {metric} {better} {number(best)}, the best before",
        outcome="best",
        trials=n,
        than=best,
        probability=told.chance,
        base_rate=n / (n + told.n),
        base=f"{n} of {n + told.n} trials that are all alike",
        method=method,
    )
    yield Prediction(
        key="best",
        statement=f"{metric} of the best of {trials}",
        outcome="best",
        trials=n,
        interval=Estimate(
            value=told.best, low=told.best_low, high=told.best_high, level=LEVEL, method="median of the best", n=told.n
        ),
        method=method,
    )


def _wider(decisions: Sequence[Decision], n: int) -> Iterator[Prediction]:
    """Of each range that is wider: whether the best new trial lies in what was added."""
    for decision in decisions:
        added = _added(decision.old, decision.new)
        if decision.action != "expand" or decision.probability is None or added is None:
            continue
        side, end = added
        where = "above" if side == "high" else "below"
        yield Prediction(
            key=f"expand.{decision.parameter}",
            statement=f"the best of the first {count(n, 'new trial')} has {decision.parameter} {where} {label(end)}",
            outcome="beyond",
            trials=n,
            parameter=decision.parameter,
            side="high" if side == "high" else "low",
            end=float(end),
            probability=decision.probability,
            base_rate=max(0.0, 1 - 1 / decision.kept),
            base="share of the wider range that was added",
            method="from the share of the model's draws with the best value at that end",
        )


def _added(old: Parameter, new: Parameter) -> tuple[str, float] | None:
    """The side at which a range became wider, and its earlier end there."""
    was, now = _ends(old), _ends(new)
    if was is None or now is None:
        return None
    return ("high", was[1]) if now[1] > was[1] else ("low", was[0]) if now[0] < was[0] else None


def _ends(parameter: Parameter) -> tuple[float, float] | None:
    if isinstance(parameter, Integer | Real):
        return parameter.low, parameter.high
    if isinstance(parameter, Choices):
        numbers = [float(value) for value in parameter.values if is_number(value)]
        return (min(numbers), max(numbers)) if len(numbers) == parameter.count else None
    return None


# confirm


def of_confirm(
    data: Data, model: Surrogate | None, rows: Mapping[str, int], *, baseline: int | None, sd: float | None, seeds: int
) -> tuple[Prediction, ...]:
    """What the finalists will give with new seeds, and whether the first stays the first.

    Args:
        data: the trials that they were chosen from.
        model: of them; without one nothing is predicted.
        rows: of ``data``, by the names of the finalists, the raw best first.
        baseline: row of the baseline's configuration, if it ran.
        sd: noise of one training; without it nothing is predicted.
        seeds: for each finalist.
    """
    if model is None or sd is None or len(rows) < 2:
        return ()
    names = tuple(rows)
    told = np.array([model.at(row) for row in rows.values()])
    means, errors = data.sign * told[:, 0], told[:, 1]
    noise = sd / math.sqrt(seeds)
    method = f"Gaussian process of {data.n} trials, with the noise of {count(seeds, 'seed')}"
    drawn = np.random.default_rng(0).normal(means, np.hypot(errors, noise), size=(DRAWS, len(names)))
    first = Prediction(
        key="finalists.first",
        statement=f"{names[0]}, the best before, is the best of the finalists again",
        outcome="first",
        names=names,
        probability=float((drawn.argmax(axis=1) == 0).mean()),
        base_rate=1 / len(names),
        base=f"one of {len(names)}",
        method=method,
    )
    # errors of neighbours go together: as if they were the same for all
    error = WIDER * math.hypot(float(errors.mean()), noise / math.sqrt(len(names)))
    made = [_mean_of(data, names, float(means.mean()), error, count(seeds, "new seed"), method), first]
    if baseline is not None:
        at, own_error = model.at(baseline)
        gain = float(means[0]) - data.sign * at
        contrast = Contrast(names=names[:1], others=(BASELINE,), gain=gain, error=math.hypot(errors[0], own_error))
        words = f"{names[0]} is better than the baseline"
        made.append(_of_contrast("finalists.baseline", words, contrast, math.sqrt(2) * noise, method))
    return tuple(made)


def _mean_of(data: Data, names: tuple[str, ...], mean: float, error: float, seeds: str, method: str) -> Prediction:
    """The mean of the finalists; ``mean`` is greater where it is better."""
    low, high = sorted((data.sign * (mean - Z * error), data.sign * (mean + Z * error)))
    return Prediction(
        key="finalists.mean",
        statement=f"mean {data.metric} of the {len(names)} finalists over {seeds}",
        outcome="mean",
        names=names,
        interval=Estimate(value=data.sign * mean, low=low, high=high, level=LEVEL, method=method, n=data.n),
        method=method,
    )


# propose


def of_contrasts(contrasts: Mapping[str, Contrast], *, sd: float | None, seeds: int, n: int) -> list[Prediction]:
    """Of each comparison of new trials: how large the difference will be, and whether it is a gain.

    Args:
        contrasts: by their words.
        sd: noise of one training; None if unknown, and then nothing is predicted.
        seeds: of each trial.
        n: trials that the model rests on.
    """
    if sd is None:
        return []
    made = []
    for words, contrast in contrasts.items():
        noise = sd * math.sqrt(1 / (len(contrast.names) * seeds) + 1 / (len(contrast.others) * seeds))
        method = f"Gaussian process of {n} trials, with the noise of these means"
        made.append(_of_contrast(f"effect.{words}", words, contrast, noise, method))
    return made


def _of_contrast(key: str, words: str, contrast: Contrast, noise: float, method: str) -> Prediction:
    spread = WIDER * math.hypot(contrast.error, noise)
    chance = NormalDist().cdf(contrast.gain / spread) if spread > 0 else float(contrast.gain > 0)
    return Prediction(
        key=key,
        statement=words,
        outcome="difference",
        names=contrast.names,
        others=contrast.others,
        probability=chance,
        base_rate=0.5,
        base=TWO,
        interval=Estimate(
            value=contrast.gain,
            low=contrast.gain - Z * spread,
            high=contrast.gain + Z * spread,
            level=LEVEL,
            method=method,
            n=len(contrast.names) + len(contrast.others),
        ),
        method=method,
    )


def with_digest(text: str, path: Path, decisions: str) -> tuple[str, dict[Path, str]]:
    """A sweep's text that names its decisions file, and all files to write.

    Args:
        text: of the sweep.
        path: where it is to be.
        decisions: content of the file beside it.
    """
    draft = Draft(text)
    name_in(draft, path, decisions)
    return draft.text, {path: draft.text, decisions_path(path): decisions}
