"""Whether what was expected before the sweep came out: holds, fails, or cannot be told from noise.

Each statement is evaluated again and again with every value moved by the noise floor, and with shares as uncertain as
so few trials leave them. It holds (fails) if it does so in 97.5 % of the draws; without a noise floor, what is seen is
told and nothing is concluded from it.

``best`` and ``elites`` were chosen by their values, which flatters them: theirs are drawn in towards the mean of all
trials by the share of the variance that is noise. And a share among them holds for nothing where as many of all trials
have it: chance alone would make such a statement true.
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
from hpo_batch.findings.model.arrays import Floats, Ints
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.records import Answer, Value
from hpo_batch.results.cells import plain
from hpo_batch.sweep.expect import Statement, Statistic, read_statement, why_unknown
from hpo_batch.text.numbers import told_apart

DRAWS = 2000
SURE = 0.975
CONFIGURATION = "the configuration"
"""a column of frames; no parameter of a condition can be called so"""
CHOSEN = frozenset({"best", "elites"})
"""groups that were chosen by their values"""
FEWEST_FOR_MEAN = 5
"""trials without whose spread nothing is drawn in"""

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


@dataclass(frozen=True, kw_only=True)
class Everyone:
    """All trials that could have been among the best."""

    tried: pd.DataFrame
    """parameters of the complete and pruned ones"""
    values: Floats
    """of the complete ones, shape (n,)"""


def judge(
    expectations: Mapping[str, Any],
    groups: Groups,
    *,
    noise_sd: float | None,
    known: Sequence[str] = (),
    seed: int = 0,
    everyone: Everyone | None = None,
) -> tuple[Expected, ...]:
    """Each entry of ``[expect]``.

    Args:
        expectations: statement to expression, or to a mapping (or model) with ``if`` and ``then``.
        groups: trials and sets by name, and ``best``, ``baseline``, ``elites``; empty frames have not finished.
        noise_sd: of a single trial's value; None if nobody knows it.
        known: names of trials and sets of the sweep that are not in ``groups``: they have not finished.
        everyone: what ``best`` and ``elites`` were chosen from; without it their luck is not accounted for.
    """
    results = []
    for text, entry in expectations.items():
        expression, then = _parts(entry)
        answer, why = _judge(expression, groups, noise_sd=noise_sd, known=known, seed=seed, everyone=everyone)
        results.append(Expected(statement=text, expression=expression, answer=answer, text=why, then=then))
    return tuple(results)


def _parts(entry: Any) -> tuple[str, str]:
    if isinstance(entry, str):
        return entry, ""
    if isinstance(entry, Mapping):
        return str(entry.get("if", "")), str(entry.get("then") or "")
    return str(entry.if_), str(entry.then or "")


def _judge(
    expression: str,
    groups: Groups,
    *,
    noise_sd: float | None,
    known: Sequence[str],
    seed: int,
    everyone: Everyone | None,
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
        held = _share_of_draws(statement, groups, noise_sd=noise_sd or 0.0, seed=seed, everyone=everyone)
        by_chance = _by_chance(statement, groups, everyone, seed=seed)
    except ExpressionError as error:
        return Answer.CANNOT_TELL, f"it has no result: {error}"
    told = _told(statement, groups)
    numbers = ", ".join(f"{name} = {text}" for name, text in zip(told, told_apart([*told.values()]), strict=True))
    observed = f"observed: {'true' if seen else 'false'}{f' ({numbers})' if numbers else ''}"
    if noise_sd is None and _needs_noise(statement):
        return Answer.CANNOT_TELL, f"{observed}; the noise floor is unknown, so this may be chance"
    if SURE > held > 1 - SURE:
        return Answer.CANNOT_TELL, f"{observed}; within the uncertainty: true in {held:.0%} of draws"
    if held >= SURE and by_chance is not None and by_chance[0] >= ALPHA:
        share, base = by_chance
        return Answer.CANNOT_TELL, (
            f"{observed}; no evidence: {base}, so a choice by chance would make it true in {share:.0%} of draws"
        )
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


def _by_chance(
    statement: Statement, groups: Groups, everyone: Everyone | None, *, seed: int
) -> tuple[float, str] | None:
    """In how many of the draws the statement would be true if its chosen trials had been chosen at
    random among all that were tried, and how many of these satisfy its condition; None without such a share."""
    chosen = {
        name: statistic
        for name, statistic in statement.statistics.items()
        if statistic.name == "share" and statistic.groups[0] in CHOSEN
    }
    if not chosen or everyone is None or everyone.tried.empty:
        return None
    rng = np.random.default_rng(seed)
    observed = _observed(statement, groups)
    n_tried = len(everyone.tried)
    drawn: dict[str, Floats] = {}
    bases = []
    for name, statistic in chosen.items():
        _, n = _hits(statistic, groups)
        hits, _ = _hits(statistic, {statistic.groups[0]: everyone.tried})
        drawn[name] = rng.hypergeometric(hits, n_tried - hits, min(n, n_tried), size=DRAWS) / n
        assert statistic.where is not None
        bases.append(f"{statistic.where.text} in {hits} of {n_tried} tried")
    true = 0
    for i in range(DRAWS):
        true += statement.expression.truth({**observed, **{name: float(draws[i]) for name, draws in drawn.items()}})
    return true / DRAWS, ", ".join(bases)


def _towards_mean(
    statement: Statement, groups: Groups, numbers: Ints, *, noise_sd: float, everyone: Everyone | None
) -> tuple[Floats, Floats]:
    """For each trial: how far its value is drawn in, and what share of the noise is left of its uncertainty.

    Trials that were chosen by their values are drawn in as far as an empirical Bayes estimate draws them; all others
    stay where they are.
    """
    moves, left = np.zeros(len(numbers)), np.ones(len(numbers))
    if everyone is None or not noise_sd or len(everyone.values) < FEWEST_FOR_MEAN:
        return moves, left
    kept = max(0.0, 1.0 - noise_sd**2 / float(np.var(everyone.values, ddof=1)))
    mean = float(everyone.values.mean())
    for name in statement.names & CHOSEN:
        at = np.searchsorted(numbers, groups[name]["number"].to_numpy(dtype=np.int64))
        moves[at] = (kept - 1.0) * (groups[name]["value"].to_numpy(dtype=np.float64) - mean)
        left[at] = math.sqrt(kept)
    return moves, left


def _share_of_draws(
    statement: Statement, groups: Groups, *, noise_sd: float, seed: int, everyone: Everyone | None
) -> float:
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
    inwards, left = _towards_mean(statement, groups, numbers, noise_sd=noise_sd, everyone=everyone)
    true = 0
    for i in range(DRAWS):
        moved = moves.normal(0.0, noise_sd, size=len(numbers)) if noise_sd else np.zeros(len(numbers))
        moved = inwards + left * moved
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
    """Trials that satisfy the condition, and all of them; those in which a parameter of it is inactive do not."""
    assert statistic.where is not None
    frame = groups[statistic.groups[0]]
    for name in statistic.where.names:
        if name not in frame:
            raise ExpressionError(f"'{name}' is not a parameter of these trials")
    if CONFIGURATION in frame:
        # its replicates are no trials of their own
        frame = frame.drop_duplicates(CONFIGURATION)
    hits = 0
    for row in frame[sorted(statistic.where.names)].to_dict("records"):
        values = {str(name): value for name, cell in row.items() if (value := plain(cell)) is not None}
        if len(values) == len(row):
            hits += statistic.where.truth(values)
    return hits, len(frame)


def expected(
    data: Data, best: Elites | None, *, noise_sd: float | None, seed: int, tried: Data | None = None
) -> tuple[Expected, ...]:
    """The sweep's ``[expect]``, judged.

    Args:
        data: the complete trials.
        best: their best quarter.
        noise_sd: of a single trial's value; None if nobody knows it.
        seed: of the draws.
        tried: the trials that could have been among the best, pruned ones too; without them the complete ones.
    """
    sweep = data.table.sweep
    if sweep is None or not sweep.expect:
        return ()
    frame = _frame(data)
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
    everyone = Everyone(tried=_frame(tried if tried is not None else data), values=data.y)
    return judge(sweep.expect, groups, noise_sd=noise_sd, known=names, seed=seed, everyone=everyone)


def _frame(data: Data) -> pd.DataFrame:
    """The parameters of the trials, and which configuration each one is."""
    columns: dict[str, Any] = {param.name: _cells(param) for param in data.params if param.levels}
    return pd.DataFrame({**columns, CONFIGURATION: data.keys})


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
