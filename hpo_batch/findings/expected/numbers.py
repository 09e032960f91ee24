"""Whether what was expected before the sweep came out: holds, fails, or cannot be told from noise.

Each statement is evaluated again and again with every value moved by the noise floor, and with shares as uncertain as
so few trials leave them. It holds (fails) if it does so in 97.5 % of the draws; without a noise floor, what is seen is
told and nothing is concluded from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hpo_batch.errors import ExpressionError
from hpo_batch.findings.records import Expected
from hpo_batch.records import Answer, Value
from hpo_batch.results.cells import plain
from hpo_batch.sweep.expect import Statement, Statistic, read_statement, why_unknown

DRAWS = 2000
SURE = 0.975

Groups = Mapping[str, pd.DataFrame]
"""complete trials by the names that a statement may use: ``value`` and the parameters"""


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
    found = []
    for text, entry in expectations.items():
        expression, then = _parts(entry)
        answer, why = _judge(expression, groups, noise_sd=noise_sd, known=known, seed=seed)
        found.append(Expected(statement=text, expression=expression, answer=answer, text=why, then=then))
    return tuple(found)


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
        return Answer.CANNOT_TELL, f"it cannot be read: {error}"
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
    return rng.beta(hits + 0.5, n - hits + 0.5, size=DRAWS)  # Jeffreys


def _hits(statistic: Statistic, groups: Groups) -> tuple[int, int]:
    """Trials that satisfy the condition; those in which a parameter of it is inactive do not."""
    assert statistic.where is not None
    frame = groups[statistic.groups[0]]
    for name in statistic.where.names:
        if name not in frame:
            raise ExpressionError(f"'{name}' is not a parameter of these trials")
    hits = 0
    for row in frame[sorted(statistic.where.names)].to_dict("records"):
        values = {str(name): value for name, cell in row.items() if (value := plain(cell)) is not None}
        if len(values) == len(row):
            hits += statistic.where.truth(values)
    return hits, len(frame)
