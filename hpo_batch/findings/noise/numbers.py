"""The noise floor: how far two trainings of one configuration lie apart. Below it no ranking means anything.

From replicates with different seeds, else from the size of the validation set, else unknown. Repeats with equal seed
are no replicates: they tell whether training is deterministic, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hpo_batch.findings.best.numbers import RepeatedConfiguration
from hpo_batch.findings.model.arrays import Floats
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.stats import binomial_se, hanley_mcneil, pooled_sd, sd_interval
from hpo_batch.findings.noise.grid import cases_by_grid
from hpo_batch.records import Estimate
from hpo_batch.text.numbers import count

FEW = 5
"""degrees of freedom below which the interval of a spread is too wide to lean on"""
LEVEL = 0.90
N_EVAL = ("n_eval", "n_val", "n_valid", "n_test")
N_POS = ("n_pos", "n_positive", "positives")
N_NEG = ("n_neg", "n_negative", "negatives")
RANKING = ("auc", "auroc", "roc")
SHARES = ("acc", "accuracy", "top1", "error", "err", "hit")
NO_SHARES = (
    *RANKING,
    *("loss", "mse", "mae", "rms", "mape", "squared", "absolute", "nll", "entropy", "likelihood", "perplexity", "ppl"),
    *("bpb", "bpc", "bits", "bleu", "rouge", "f1", "r2", "corr", "kappa", "mcc", "time", "second", "latency", "reward"),
)
"""words of metrics that are no shares of cases, whatever their values"""
SHARED = "Trials that share it share part of that error; noise from the seed comes on top"


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How much the metric moves without any parameter changing."""

    sd: Estimate | None
    source: str
    """``replicates``, ``standard error of an AUC``, ``binomial``, ``grid`` (binomial, with the number of cases read off
    the values) or ``unknown``"""
    alarms: tuple[RepeatedConfiguration, ...] = ()
    """equal configuration and equal seed with different values: not deterministic"""
    n_pairs: int = 0
    text: str = ""


def noise_floor(data: Data, *, n_eval: float | None = None, n_pos: float | None = None) -> Noise:
    """How much the metric moves without any parameter changing.

    Args:
        data: the trials
        n_eval: cases of the validation set, where trials do not report ``n_eval``
        n_pos: positive ones among them, where trials do not report ``n_pos``
    """
    alarms = _alarms(data)
    replicated = _from_replicates(data, alarms)
    if replicated is not None:
        return replicated
    return _from_validation_set(data, alarms, n_eval=n_eval, n_pos=n_pos)


def _from_replicates(data: Data, alarms: tuple[RepeatedConfiguration, ...]) -> Noise | None:
    groups = [values for values in data.seed_values if len(values) > 1]
    for rows in data.repeated:
        by_seed = {data.seeds[i]: float(data.y[i]) for i in rows if data.seeds[i] is not None}
        # trials with several seeds hold means: their spread is that of means, and is not mixed with that of values
        if len(by_seed) > 1 and not any(data.seed_values[i] for i in rows):
            groups.append(tuple(by_seed.values()))
    result = pooled_sd(groups)
    if result is None:
        return None
    sd, df = result
    low, high = sd_interval(sd, df, level=LEVEL)
    few = f"; only {df} degrees of freedom: a rough number" if df < FEW else ""
    zero = "; all replicates agree exactly: did the seed reach the training?" if sd == 0 else ""
    return Noise(
        sd=Estimate(
            value=sd,
            low=low,
            high=high,
            method=f"pooled spread within {count(len(groups), 'configuration')} with several seeds, "
            "interval by chi-square",
            n=sum(len(group) for group in groups),
            level=LEVEL,
        ),
        source="replicates",
        alarms=alarms,
        n_pairs=len(groups),
        text=f"{data.metric} moves by {sd:.3g} (90 % interval {low:.3g} to {high:.3g}) from seed to seed, "
        f"measured on {count(len(groups), 'configuration')}{few}{zero}",
    )


def _from_validation_set(
    data: Data, alarms: tuple[RepeatedConfiguration, ...], *, n_eval: float | None, n_pos: float | None
) -> Noise:
    name = data.metric.lower()
    level, scale = _typical(data.y), 1.0
    # of shares and areas; an error above 1 is as likely no share at all
    if level is not None and level > 1 and data.y.min() >= 0 and data.y.max() <= 100 and "err" not in name:
        level, scale = level / 100, 100.0
    total = _count(data.column(*N_EVAL), n_eval)
    positive = _count(data.column(*N_POS), n_pos)
    negative = _count(data.column(*N_NEG), None)
    if negative is None and total is not None and positive is not None:
        negative = total - positive
    is_share = any(word in name for word in SHARES) and not any(word in name for word in NO_SHARES)
    # a column called "value" may be anything; who tells positives of a metric that is no share means an AUC, and who
    # tells cases alone means a share of them
    ranked = any(word in name for word in RANKING) or (n_pos is not None and not any(word in name for word in SHARES))
    is_share |= n_eval is not None and not ranked and not any(word in name for word in NO_SHARES)
    if ranked and _both(positive, negative) and level is not None and 0 < level < 1:
        assert positive is not None
        assert negative is not None
        se = scale * hanley_mcneil(level, positive, negative)
        source, method = "standard error of an AUC", f"Hanley and McNeil, {positive:g} positive, {negative:g} negative"
    elif is_share and total and total > 1 and level is not None and 0 <= level <= 1:
        se = scale * binomial_se(level, total)
        source, method = "binomial", f"standard error of a share of {total:g} cases"
    else:
        found = _from_grid(data, alarms, level=level, scale=scale) if total is None else None
        return found or Noise(sd=None, source="unknown", alarms=alarms, text=_unknown(data, n_eval=n_eval))
    method += ", values in percent" if scale > 1 else ""
    return Noise(
        sd=Estimate(value=se, low=None, high=None, method=method, n=data.n),
        source=source,
        alarms=alarms,
        text=f"the validation set alone moves {data.metric} by {se:.3g} (one standard error; {method}). {SHARED}",
    )


def _from_grid(
    data: Data, alarms: tuple[RepeatedConfiguration, ...], *, level: float | None, scale: float
) -> Noise | None:
    """The noise of a share whose values betray of how many cases; None if they do not."""
    if level is None or any(word in data.metric.lower() for word in NO_SHARES):
        return None
    # a mean over seeds lies on a finer grid, which says nothing of the cases
    several = [value for values in data.seed_values for value in values]
    shares = (np.array(several) if several else data.y) / scale
    if shares.min() < 0 or shares.max() > 1:
        return None
    cases = cases_by_grid(shares)
    if cases is None:
        return None
    se = scale * binomial_se(level, cases)
    method = f"standard error of a share of {cases} cases, whose number the values betray"
    method += ", values in percent" if scale > 1 else ""
    return Noise(
        sd=Estimate(value=se, low=None, high=None, method=method, n=data.n),
        source="grid",
        alarms=alarms,
        text=f"the values of {data.metric} lie on a grid of 1/{cases}: {cases} cases. One case is {100 / cases:.3g} "
        f"points, and the validation set alone moves the metric by {100 * se / scale:.2g} points (one standard error "
        f"of a share of {cases} cases). {SHARED}",
    )


def _unknown(data: Data, *, n_eval: float | None) -> str:
    if n_eval is not None:
        why = (
            f"noise floor unknown: --n-eval tells that of a share of cases, and {data.metric} is none by its name or "
            "its values (an AUC needs --n-pos too)"
        )
    else:
        why = "noise floor unknown, so no ranking can be tested"
        if data.n > 1 and not data.repeated:
            why += ": each configuration ran once"
    return (
        f"{why}. Repeat the best configurations with other seeds ([study] replicates), or report n_eval (and n_pos for "
        "an AUC)"
    )


def contradictions(data: Data) -> Iterator[list[int]]:
    """Rows of each configuration and seed (equal or not recorded) that have more than one value."""
    for rows in data.repeated:
        by_seed: dict[object, list[int]] = {}
        for i in rows:
            by_seed.setdefault(data.seeds[i], []).append(i)
        yield from (same for same in by_seed.values() if len(set(data.y[same].tolist())) > 1)


def _alarms(data: Data) -> tuple[RepeatedConfiguration, ...]:
    return tuple(
        RepeatedConfiguration(
            params=data.configuration(same[0]),
            count=len(same),
            numbers=tuple(data.numbers[same].tolist()),
            values=tuple(data.y[same].tolist()),
        )
        for same in contradictions(data)
    )


def _typical(y: Floats) -> float | None:
    return float(np.median(y)) if len(y) else None


def _count(column: Floats | None, given: float | None) -> float | None:
    if given is not None:
        return given
    if column is None or np.isnan(column).all():
        return None
    count = float(np.nanmedian(column))
    return count if math.isfinite(count) and count > 0 else None


def _both(positive: float | None, negative: float | None) -> bool:
    return positive is not None and negative is not None and positive >= 1 and negative >= 1


def single_sd(noise: Noise) -> float | None:
    """Noise of one trial's value; None if unknown. Replicates that all agree exactly say nothing of it."""
    return noise.sd.value if noise.sd is not None and noise.sd.value > 0 else None
