"""Whether what was expected before the sweep came out: holds, fails, or cannot be told from noise.

Each statement is evaluated again and again with every value moved by the noise floor, and with shares as uncertain as
so few trials leave them. It holds (fails) if it does so in 97.5 % of the draws; without a noise floor, what is seen is
told and nothing is concluded from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hpo_batch.errors import ExpressionError
from hpo_batch.findings.baseline.numbers import baseline_rows
from hpo_batch.findings.elites.numbers import Elites
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.records import Answer, Value
from hpo_batch.sweep.expect import Statement, Statistic, read_statement, why_unknown

DRAWS = 2000
SURE = 0.975

Groups = Mapping[str, pd.DataFrame]
"""complete trials by the names that a statement may use: ``value`` and the parameters"""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """An entry of ``[expect]``, judged."""

    statement: str
    expression: str
    answer: Answer
    text: str
    then: str = ""


def judge(
    expectations: Mapping[str, Any], groups: Groups, *, noise_sd: float | None, known: Sequence[str] = (), seed: int = 0
) -> tuple[Expected, ...]:
    """Each entry of ``[expect]``.

    Args:
        expectations: statement to expression, or to a mapping (or model) with ``if`` and ``then``.
        groups: trials and sets by name, and ``best``, ``baseline``, ``elites``; empty frames have not finished.
        noise_sd: of a single trial's value; None if nobody knows it.
        known: names of trials and sets of the sweep that are not in ``groups``: they have not finished.
    """
    results = []
    for text, entry in expectations.items():
        expression, then = _parts(entry)
        answer, why = _judge(expression, groups, noise_sd=noise_sd, known=known, seed=seed)
        results.append(Expected(statement=text, expression=expression, answer=answer, text=why, then=then))
    return tuple(results)


def _parts(entry: Any) -> tuple[str, str]:
    if isinstance(entry, str):
        return entry, ""
    if isinstance(entry, Mapping):
        return str(entry.get("if", "")), str(entry.get("then") or "")
    return str(entry.if_), str(entry.then or "")


def _judge(
    expression: str, groups: Groups, *, noise_sd: float | None, known: Sequence[str], seed: int
) -> tuple[Answer, str]:
    try:
        statement = read_statement(expression)
    except ExpressionError as error:
        return Answer.CANNOT_TELL, f"it cannot be parsed: {error}"
    unknown = why_unknown(statement, trials=[*groups, *known], sets=())
    if unknown:
        return Answer.CANNOT_TELL, unknown
    missing = sorted(name for name in statement.names if name not in groups or groups[name].empty)
    if missing:
        return Answer.CANNOT_TELL, f"no finished trial of {', '.join(missing)} to judge it by"
    several = [n for n in sorted(statement.expression.names & groups.keys()) if len(groups[n]) > 1 and n != "baseline"]
    if several:
        return Answer.CANNOT_TELL, f"'{several[0]}' is several trials: write mean({several[0]}), max({several[0]}) ..."
    try:
        seen = statement.expression.truth(_observed(statement, groups))
        held = _share_of_draws(statement, groups, noise_sd=noise_sd or 0.0, seed=seed)
    except ExpressionError as error:
        return Answer.CANNOT_TELL, f"it has no result: {error}"
    numbers = ", ".join(f"{name} = {value:.4g}" for name, value in _told(statement, groups).items())
    observed = f"observed: {'true' if seen else 'false'}{f' ({numbers})' if numbers else ''}"
    if noise_sd is None and _needs_noise(statement):
        return Answer.CANNOT_TELL, f"{observed}; the noise floor is unknown, so this may be chance"
    if SURE > held > 1 - SURE:
        return Answer.CANNOT_TELL, f"{observed}; within the uncertainty: true in {held:.0%} of draws"
    answer = Answer.YES if held >= SURE else Answer.NO
    return answer, f"{'holds' if held >= SURE else 'fails'}; {observed}; true in {held:.0%} of draws"


def _needs_noise(statement: Statement) -> bool:
    alone = statement.expression.names - statement.statistics.keys()
    return bool(alone) or any(s.name not in ("share", "count") for s in statement.statistics.values())


def _observed(statement: Statement, groups: Groups) -> dict[str, Value]:
    """What each name of the expression comes to; a baseline that ran several times stands for its mean."""
    values: dict[str, Value] = {}
    for name in statement.expression.names:
        if name in statement.statistics:
            statistic = statement.statistics[name]
            values[name] = _statistic(statistic, _values(statistic, groups), groups)
        else:
            values[name] = float(groups[name]["value"].mean())
    return values


def _told(statement: Statement, groups: Groups) -> dict[str, float]:
    """What the statement's parts came to, under the names that it gives them."""
    observed = _observed(statement, groups)
    return {
        (_written(statement.statistics[name]) if name in statement.statistics else name): float(value)
        for name, value in sorted(observed.items())
    }


def _written(statistic: Statistic) -> str:
    inside = ", ".join(statistic.groups) + (f", {statistic.where.text}" if statistic.where else "")
    return f"{statistic.name}({inside})"


def _share_of_draws(statement: Statement, groups: Groups, *, noise_sd: float, seed: int) -> float:
    """In how many of the draws the statement is true. A trial in two groups has one value in each draw."""
    rng, moves = np.random.default_rng(seed), np.random.default_rng(seed)
    numbers = np.array(sorted({int(n) for name in statement.names for n in groups[name]["number"]}), dtype=np.int64)
    if noise_sd and any(statistic.name == "share" for statistic in statement.statistics.values()):
        for _ in range(DRAWS):  # shares are drawn behind all of the moves, of which only one row is held at a time
            rng.normal(0.0, noise_sd, size=len(numbers))
    shares = {
        name: _drawn_shares(statistic, groups, rng)
        for name, statistic in statement.statistics.items()
        if statistic.name == "share"
    }
    where = {
        name: np.searchsorted(numbers, groups[name]["number"].to_numpy(dtype=np.int64)) for name in statement.names
    }
    values_of = {name: _values(statistic, groups) for name, statistic in statement.statistics.items()}
    true = 0
    for i in range(DRAWS):
        moved = moves.normal(0.0, noise_sd, size=len(numbers)) if noise_sd else np.zeros(len(numbers))
        values: dict[str, Value] = {}
        for name in statement.expression.names:
            if name in shares:
                values[name] = float(shares[name][i])
            elif name in statement.statistics:
                statistic = statement.statistics[name]
                drawn = values_of[name] + moved[np.concatenate([where[group] for group in statistic.groups])]
                values[name] = _statistic(statistic, drawn, groups)
            else:
                values[name] = float(groups[name]["value"].mean() + moved[where[name]].mean())
        true += statement.expression.truth(values)
    return true / DRAWS


def _values(statistic: Statistic, groups: Groups) -> np.ndarray[Any, Any]:
    return np.concatenate([groups[name]["value"].to_numpy(dtype=float) for name in statistic.groups])


def _statistic(statistic: Statistic, values: np.ndarray[Any, Any], groups: Groups) -> float:
    match statistic.name:
        case "share":
            hits, n = _hits(statistic, groups)
            return hits / n
        case "count":
            return float(len(values))
        case "std":
            if len(values) < 2:
                raise ExpressionError(f"{_written(statistic)} needs two trials or more")
            return float(np.std(values, ddof=1))
        case _:
            return float(getattr(np, statistic.name)(values))


def _drawn_shares(statistic: Statistic, groups: Groups, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    hits, n = _hits(statistic, groups)
    # Jeffreys' prior, which covers well for few trials: Brown, Cai and DasGupta 2001, "Interval estimation for a
    # binomial proportion", Statistical Science 16(2), pages 101-133
    return rng.beta(hits + 0.5, n - hits + 0.5, size=DRAWS)


def _hits(statistic: Statistic, groups: Groups) -> tuple[int, int]:
    """Trials that satisfy the condition; those in which a parameter of it is inactive do not."""
    assert statistic.where is not None
    frame = groups[statistic.groups[0]]
    for name in statistic.where.names:
        if name not in frame:
            raise ExpressionError(f"'{name}' is not a parameter of these trials")
    hits = 0
    for row in frame[sorted(statistic.where.names)].to_dict("records"):
        values = {str(k): v.item() if hasattr(v, "item") else v for k, v in row.items()}
        if not any(v is None or v is pd.NA or v != v for v in values.values()):
            hits += statistic.where.truth(values)
    return hits, len(frame)


def expected(data: Data, best: Elites | None, *, noise_sd: float | None, seed: int) -> tuple[Expected, ...]:
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
    results: dict[str, list[int]] = {}
    place = {int(number): i for i, number in enumerate(data.numbers)}
    for column in ("set", "name"):  # a trial's name wins over a set's
        if column in trials:
            groups: dict[str, list[int]] = {}
            for number, name in zip(trials["number"].tolist(), trials[column].tolist(), strict=True):
                if isinstance(name, str) and int(number) in place:
                    groups.setdefault(name, []).append(place[int(number)])
            results.update(groups)
    return {name: frame.iloc[rows] for name, rows in results.items()}
