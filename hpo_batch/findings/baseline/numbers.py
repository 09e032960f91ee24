"""What was gained over the baseline, and which changed parameter it can be put down to.

By matched pairs: two trials that differ in one parameter and in nothing else. A difference of group means mixes the
effects of all parameters that were drawn unevenly; a pair does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hpo_batch.errors import UserError
from hpo_batch.findings.model.arrays import Ints, joint
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo, value_text
from hpo_batch.findings.model.stats import Z95
from hpo_batch.records import Estimate, Value
from hpo_batch.sweep.planned import resolve_planned
from hpo_batch.text.numbers import number, signed

Row = Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    value: Estimate | None
    n_above: int
    n: int
    """trials compared"""
    pairs: tuple[BaselinePair, ...]
    """single parameters changed from the baseline, everything else equal"""
    unexplained: float | None
    """of the best trial's lead: what the pairs' sum does not explain"""
    text: str
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class BaselinePair:
    parameter: str
    value: Value
    difference: Estimate


def baseline(data: Data, *, noise_sd: float | None, value: float | None = None) -> Baseline | None:
    """The comparison; None if there is neither a baseline configuration nor a baseline value.

    Args:
        data: its table knows the baseline's configuration, if anybody does.
        noise_sd: of one trial's value; None if unknown.
        value: the metric of a baseline that is not among the trials.
    """
    params = baseline_configuration(data)
    if params is None and value is None:
        return None
    own_rows = baseline_rows(data)
    own = data.y[own_rows].tolist()
    estimate, why = _value(own, value, noise_sd)
    # the best of several trials of the baseline is above their mean: it is not compared with itself
    others = data.y if value is not None else np.delete(data.y, own_rows)
    compared = len(others)
    pairs = _pairs(data, params or {}, noise_sd)
    if estimate is None:
        return Baseline(value=None, n_above=0, n=compared, pairs=pairs, unexplained=None, text=why, why=why)
    above = int(np.count_nonzero(data.sign * others > data.sign * estimate.value))
    spread = float(np.std(data.y)) / 3 if data.n > 1 else None
    at = f"{number(estimate.value, spread)}, {estimate.method}"
    text = f"{above} of {compared} trials are better than the baseline ({at})"
    if not data.n:
        return Baseline(value=estimate, n_above=0, n=0, pairs=(), unexplained=None, text=text, why="no complete trial")
    lead = float(data.y[data.best_row]) - estimate.value
    own = params and {name: usual for name, usual in params.items() if not _is_derived(data, name)}
    unexplained, more, why = _unexplained(data.configuration(data.best_row), lead, own, pairs, spread=spread)
    text += f"; the best leads by {signed(lead, spread)}{_against(noise_sd)}{more}"
    return Baseline(value=estimate, n_above=above, n=compared, pairs=pairs, unexplained=unexplained, text=text, why=why)


def baseline_configuration(data: Data) -> Row | None:
    """The baseline's parameters; what the sweep leaves out of it is the middle of the space."""
    given, sweep = data.table.baseline, data.table.sweep
    if sweep is not None and sweep.baseline is not None:
        for key, planned in resolve_planned(sweep):
            if key == ("baseline",) and not isinstance(planned, UserError):
                values = planned.configuration.values
                return {name: values[name] for name in data.by_name if name in values} or values
    return given


def baseline_rows(data: Data) -> Ints:
    """Rows of the trials with the baseline's configuration."""
    return data.rows_with(baseline_configuration(data) or {}, same=_equal)


def _value(own: Sequence[float], value: float | None, noise_sd: float | None) -> tuple[Estimate | None, str]:
    if value is not None:
        half = None if noise_sd is None else Z95 * noise_sd
        low, high = (None, None) if half is None else (value - half, value + half)
        return Estimate(value=value, low=low, high=high, method="given", n=1), ""
    if not own:
        return None, "the baseline has not been run: nothing to compare with; add it as a trial"
    mean = float(np.mean(own))
    if noise_sd is None:
        return Estimate(value=mean, low=None, high=None, method="noise floor unknown", n=len(own)), ""
    half = Z95 * noise_sd / math.sqrt(len(own))
    n = len(own)
    method = f"mean of {n} run{'s' if n > 1 else ''}"
    return Estimate(value=mean, low=mean - half, high=mean + half, method=method, n=n), ""


def _pairs(data: Data, params: Row, noise_sd: float | None) -> tuple[BaselinePair, ...]:
    """Every other value of a parameter against the baseline's, over all pairs of trials that are equal in the rest.

    Derived values follow their parameters: they are neither compared nor part of the rest.
    """
    own = [param for param in data.params if not _is_derived(data, param.name)]
    before, after = _joint_before(own, data.n), _joint_before(own[::-1], data.n)[::-1]
    results = []
    for i, param in enumerate(own):
        if param.name not in params:
            continue
        usual = {code for code, level in enumerate(param.levels) if _equal(level, params[param.name])}
        rest = joint(before[i], after[i])
        # of many trials few are equal to one with the baseline's value in all the rest
        near = np.isin(rest, rest[np.isin(param.codes, list(usual))]) & param.active
        cells: dict[int, dict[int, list[float]]] = {}
        for cell, code, value in zip(
            rest[near].tolist(), param.codes[near].tolist(), data.y[near].tolist(), strict=True
        ):
            cells.setdefault(cell, {}).setdefault(code, []).append(value)
        differences: dict[int, list[float]] = {}
        for by_code in cells.values():
            at_usual = next(vs for code, vs in by_code.items() if code in usual)
            for changed, vs in by_code.items():
                if changed not in usual:
                    differences.setdefault(changed, []).append(float(np.mean(vs) - np.mean(at_usual)))
        results += [
            BaselinePair(parameter=param.name, value=param.levels[code], difference=_difference(diffs, noise_sd))
            for code, diffs in sorted(differences.items(), key=lambda item: str(param.levels[item[0]]))
        ]
    order = list(params)
    return tuple(sorted(results, key=lambda pair: order.index(pair.parameter)))


def _joint_before(params: Sequence[ParamInfo], n: int) -> list[Ints]:
    """For each parameter a number of what each trial has in all of those before it."""
    results = [np.zeros(n, dtype=np.int64)]
    for param in params[:-1]:
        results.append(joint(results[-1], param.codes + 1))
    return results


def _difference(differences: Sequence[float], noise_sd: float | None) -> Estimate:
    mean, n = float(np.mean(differences)), len(differences)
    if n > 1:
        half = float(stats.t.ppf(0.975, n - 1) * np.std(differences, ddof=1) / math.sqrt(n))
        method = f"mean of {n} matched pairs, t interval"
    elif noise_sd is not None:
        half, method = Z95 * noise_sd * math.sqrt(2), "one matched pair, interval from the noise floor"
    else:
        return Estimate(value=mean, low=None, high=None, method="one matched pair, noise floor unknown", n=1)
    return Estimate(value=mean, low=mean - half, high=mean + half, method=method, n=n)


def _unexplained(
    best: Row, lead: float, params: Row | None, pairs: Sequence[BaselinePair], *, spread: float | None
) -> tuple[float | None, str, str]:
    """What is left of the lead after the pairs, in words too, and why there is no such number."""
    if not params:
        why = "the baseline's configuration is not known: the best trial's lead cannot be explained"
        return None, "", why
    changed = [name for name, usual in params.items() if name in best and not _equal(best[name], usual)]
    known: dict[str, float] = {}
    for pair in pairs:
        if pair.parameter in changed and _equal(best[pair.parameter], pair.value):
            known[pair.parameter] = pair.difference.value
    missing = [name for name in changed if name not in known]
    if not changed:
        return lead, "", ""
    parts = [
        f"{name} = {value_text(best[name])} explains {signed(difference, spread)}" for name, difference in known.items()
    ]
    rest = lead - sum(known.values())
    more = "; ".join(["", *parts, f"unexplained: {signed(rest, spread)}"])
    if missing:
        more += f" (no two trials differ in nothing but {' or '.join(missing)})"
    return rest, more, f"no matched pair for {', '.join(missing)}" if missing else ""


def _against(noise_sd: float | None) -> str:
    return (
        " (noise floor unknown)"
        if noise_sd is None
        else f" (noise of a difference: {number(noise_sd * math.sqrt(2), noise_sd / 3)})"
    )


def _is_derived(data: Data, name: str) -> bool:
    return data.space is not None and name in data.space.derived


def _equal(a: Value, b: Value) -> bool:
    # a baseline given as 1 in a TOML is the 1.0 of a CSV; true is not 1
    return isinstance(a, bool) is isinstance(b, bool) and a == b
