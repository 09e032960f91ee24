"""Several studies pooled: who fills the top, and means by value over all of them.

A share among the top means nothing without the share among all trials, and nothing at all where one study fills the
top: it is that study's share then. So nothing here is tested; what a parameter does is asked within each study.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy import stats

from hpo_batch.findings.effects.means import ValueRow, naive_trend
from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.json_keys import json_keys
from hpo_batch.findings.model.arrays import Bools, Floats, Ints
from hpo_batch.findings.model.frame import Data, merged
from hpo_batch.findings.model.parameter import value_text
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.relations.correlations import Correlation
from hpo_batch.records import Answer, Value, is_number

FILLS: Final = 0.9
"""share of the top that one group holds when it fills it"""
MOST_LEVELS: Final = 50
FEW: Final = 5
Column = tuple[list[Value], Ints]
"""the different values of a parameter, and which of them each trial has; -1: none"""

NOT_TESTED: Final = "pooled over studies: differences between studies and effects are mixed, so nothing is tested"


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Trials of several studies together."""

    n: int
    effects: tuple[Effect, ...]
    correlations: tuple[Correlation, ...]
    top: TopShares


@dataclass(frozen=True, kw_only=True)
class TopShares:
    """Who fills the top k."""

    k: int
    studies: tuple[tuple[str, int, float], ...] = field(metadata=json_keys("study", "n", "base_rate"))
    """study (or budget, tier), trials among the top k, base rate"""
    confounded: Answer
    """whether one study fills the top: then shares of parameters are that study's shares"""
    unique: int
    """distinct configurations among the top k"""
    text: str = ""
    groups: tuple[tuple[str, str, int, float], ...] = field(
        default=(), metadata=json_keys("by", "group", "n", "base_rate")
    )
    """studies that share a word of their labels or a budget: ``a50 / a100``, ``a50``, trials of the top, base rate"""
    p: float | None = None
    """that chance gives the fullest study or group as many of the top k, for all of them together"""


def pooled(studies: Sequence[Data], labels: Sequence[str], *, k: int) -> Pooled | None:
    """None for fewer than two studies with trials, and where their metrics or directions differ."""
    some = [(data, label) for data, label in zip(studies, labels, strict=True) if data.n]
    if len(some) < 2 or len({(data.metric, data.direction) for data, _ in some}) > 1:
        return None
    sign = some[0][0].sign
    y = np.concatenate([data.y for data, _ in some])
    best_first = np.argsort(-sign * y, kind="stable")
    in_top = np.zeros(len(y), dtype=bool)
    in_top[best_first[:k]] = True
    common = [name for name in some[0][0].by_name if all(name in data.by_name for data, _ in some)]
    columns = {name: merged([data for data, _ in some], name) for name in common}
    varied = {name: column for name, column in columns.items() if len(column[0]) + bool((column[1] < 0).any()) > 1}
    owners = [label for data, label in some for _ in range(data.n)]
    budgets = [data.table.budget for data, _ in some for _ in range(data.n)]
    top_rows = {tuple(int(codes[i]) for _, codes in columns.values()) for i in best_first[:k].tolist()}
    return Pooled(
        n=len(y),
        effects=tuple(_effect(name, column, y, in_top) for name, column in varied.items()),
        correlations=tuple(
            c for name, column in varied.items() if (c := _correlation(name, some[0][0].metric, column, y)) is not None
        ),
        top=_top(
            owners,
            budgets,
            in_top,
            tied=_tied(y, best_first, k),
            unique=len(top_rows),
            kept=np.concatenate([_one_of_each(data) for data, _ in some]),
        ),
    )


def _top(
    owners: Sequence[str],
    budgets: Sequence[str | None],
    in_top: Bools,
    *,
    tied: int,
    unique: int,
    kept: Bools,
) -> TopShares:
    """Who fills the top: the study, or the group of studies, that has most of it, beside its share of all trials.

    Args:
        owners: the study of each trial, length n.
        budgets: the budget of each trial's study, length n.
        in_top: whether it is among the top, shape (n,).
        kept: the best trial of each configuration, shape (n,): replicates are no trials of their own in a test.
    """
    k = int(in_top.sum())
    studies = _shares(owners, in_top)
    groups = tuple(
        (" / ".join(dict.fromkeys(factor.values())), *share)
        for factor in _factors_of(owners, budgets)
        for share in _shares([factor[owner] for owner in owners], in_top)
    )
    candidates = [*studies, *(group[1:] for group in groups)]
    name, count, base = max(candidates, key=lambda share: (share[1], -share[2]))
    p = _chance_of_fullest(owners, budgets, in_top, kept, among=len(candidates))
    parts = ", ".join(f"{label} {n} ({b:.0%} of all trials)" for label, n, b in sorted(studies, key=lambda s: -s[1]))
    share = f"{count} of the top {k} with {base:.0%} of all trials: shares of parameters among the top are"
    if p >= ALPHA:
        answer, text = Answer.NO, f"no study stands out among the top {k}: {parts}"
    elif count >= FILLS * k and base < FILLS:
        answer, text = Answer.YES, f"'{name}' fills {share} those of '{name}', not effects. By study: {parts}"
    else:
        answer, text = Answer.CANNOT_TELL, f"'{name}' has {share} partly those of '{name}'. By study: {parts}"
    text += f". {unique} of the {k} are distinct configurations"
    if tied:
        text += f"; {tied} more have the value of the last one and are left out"
    return TopShares(k=k, studies=studies, confounded=answer, unique=unique, text=text, groups=groups, p=p)


def _one_of_each(data: Data) -> Bools:
    """The best trial of each configuration."""
    kept = np.zeros(data.n, dtype=bool)
    kept[data.best_of_each] = True
    return kept


def _chance_of_fullest(
    owners: Sequence[str], budgets: Sequence[str | None], in_top: Bools, kept: Bools, *, among: int
) -> float:
    """That chance gives a study or a group as much of the top, each configuration counted once.

    Bonferroni over all studies and groups of which the fullest was taken.
    """
    own = [owner for owner, keep in zip(owners, kept.tolist(), strict=True) if keep]
    top = in_top[kept]
    groups = [own, *([factor[owner] for owner in own] for factor in _factors_of(owners, budgets))]
    shares = [share for group in groups for share in _shares(group, top)]
    _, count, base = max(shares, key=lambda share: (share[1], -share[2]))
    chance = stats.hypergeom.sf(count - 1, len(top), round(base * len(top)), int(top.sum()))
    return min(1.0, among * float(chance))


def _factors_of(owners: Sequence[str], budgets: Sequence[str | None]) -> list[dict[str, str]]:
    """Ways to group the studies: by their budgets, if some share one, and by words of their labels."""
    factors = _factors(list(dict.fromkeys(owners)))
    if all(budgets) and 1 < len(set(budgets)) < len(set(owners)):
        by_budget = {owner: str(budget) for owner, budget in zip(owners, budgets, strict=True)}
        lower = {owner: budget.lower() for owner, budget in by_budget.items()}
        factors = [by_budget, *(f for f in factors if {o: word.lower() for o, word in f.items()} != lower)]
    return factors


def _shares(owners: Sequence[str], in_top: Bools) -> tuple[tuple[str, int, float], ...]:
    of_top = Counter(owner for owner, top in zip(owners, in_top, strict=True) if top)
    return tuple((owner, of_top[owner], n / len(owners)) for owner, n in Counter(owners).items())


def _factors(labels: Sequence[str]) -> list[dict[str, str]]:
    """Words that some labels share and others do not: ``a50-2m, a50-20m, a100-2m`` are two tiers and two budgets."""
    words = [re.split(r"[^A-Za-z0-9.]+", label.removesuffix(".csv")) for label in labels]
    if len({len(w) for w in words}) != 1:
        return []
    results = []
    for column in zip(*words, strict=True):
        if 1 < len(set(column)) < len(labels):
            results.append(dict(zip(labels, column, strict=True)))
    return results


def _tied(y: Floats, best_first: Ints, k: int) -> int:
    """Trials outside the top with the value of the last one inside."""
    return 0 if k >= len(y) else int((y[best_first[k:]] == y[best_first[k - 1]]).sum())


def _effect(name: str, column: Column, y: Floats, in_top: Bools) -> Effect:
    levels, codes = column
    shown = _in_order(levels)
    rows: tuple[ValueRow, ...] = ()
    if len(levels) <= MOST_LEVELS:
        rows = tuple(_row(levels[code], codes == code, y, in_top) for code in shown)
    means = [row.mean for row in rows if row.mean is not None]
    ordered = all(is_number(value) for value in levels)
    return Effect(
        parameter=name,
        kind="levels" if rows else "continuous",
        varied=True,
        rows=rows,
        naive_trend=naive_trend(means) if ordered and rows else "",
        trend="no clear trend",
        p=None,
        p_holm=None,
        effect_size=None,
        detectable=None,
        without_outliers=None,
        method="means over the trials of all studies",
        why=NOT_TESTED,
    )


def _row(
    value: Value,
    here: Bools,
    y: Floats,
    in_top: Bools,
) -> ValueRow:
    values = y[here]
    return ValueRow(
        label=value_text(value),
        value=value,
        n=len(values),
        mean=float(values.mean()),
        std=float(values.std(ddof=1)) if len(values) > 1 else None,
        min=float(values.min()),
        max=float(values.max()),
        adjusted=None,
        share=len(values) / len(y),
        top_share=float(here[in_top].sum() / in_top.sum()),
        underpowered=len(values) < FEW,
    )


def _in_order(levels: Sequence[Value]) -> list[int]:
    """Places of the values: numbers by size, others by their text."""
    if all(is_number(value) for value in levels):
        return sorted(range(len(levels)), key=lambda i: float(levels[i]))
    return sorted(range(len(levels)), key=lambda i: str(levels[i]))


def _correlation(name: str, metric: str, column: Column, y: Floats) -> Correlation | None:
    levels, codes = column
    if not all(is_number(value) for value in levels):
        return None
    there = codes >= 0
    x = np.array([float(value) for value in levels])[codes[there]] if levels else np.zeros(0)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y[there]) == 0:
        return None
    pearson, spearman = stats.pearsonr(x, y[there]), stats.spearmanr(x, y[there])
    return Correlation(
        a=name,
        b=metric,
        pearson=float(pearson.statistic),
        pearson_p=float(pearson.pvalue),
        spearman=float(spearman.statistic),
        spearman_p=float(spearman.pvalue),
        n=len(x),
    )
