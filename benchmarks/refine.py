"""Does refine do good, and what does it lose? Searches of complete tables, whose truth is known.

    python -m benchmarks.refine ../shared/reference/benchmarks --parts edges --seeds 3
    python -m benchmarks.refine ../shared/reference/benchmarks --parts survival --tables --drawn 100 300

``edges``: a parameter may take some neighbouring values of its table only. Where what can be reached beyond an end
beats what can be reached inside by a share of the noise SD, refine should widen it there (recall); where it is worse by
as much, it should not (false alarms).

``rounds``: 50 trials, refine, 50 more, against 50 more of the same study and against a box around the five best trials;
of the whole table (``whole``), and of one half of the values of two parameters, which leaves out their best (``boxed``;
``limits`` have the others). Figures are regrets, 0 for the best configuration of the table and 1 for the median one: of
the best that was tried, and of the one whose trial looks best.

``survival``: after 120 trials, whether something of the true best thousandth is still in the space.

Shares have 95 % intervals (Clopper and Pearson), as if searches of one problem were independent. Constants were chosen
on hpobench_australian, hpolib_parkinsons and drawn problems below 100; docs/benchmarks.md reports the others.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.boxes import (
    Box,
    Drawn,
    Problem,
    Rows,
    box_of,
    full,
    is_inside,
    observed,
    problems,
    search,
    sweep_of,
    toml_of,
    weights_of,
)
from benchmarks.search import interval
from hpo_batch.errors import Declined
from hpo_batch.findings.ledger.summary import coverage
from hpo_batch.next.decide import decide
from hpo_batch.next.evidence import Evidence, gather
from hpo_batch.next.refine import NextSweep, refine
from hpo_batch.next.rules.expand import SUREST
from hpo_batch.records import Value
from hpo_batch.space.parameters import Choices, Fixed, Parameter
from tests.next.drawn import as_table

FIRST, SECOND, LONG = 50, 50, 120
MARGINS: Final = (0.25, 0.5, 1.0)
"""noise SD by which an end is better or worse than the inside, to be counted"""
STATED: Final = (0.0, 0.25, 0.5, 0.65, 0.8, 1.01)
TOP: Final = 0.001
PARTS: Final = ("edges", "whole", "boxed", "survival")
Case: TypeAlias = tuple[Problem, int]
"""a problem, and the seed of its search"""


def evidence_of(table: Problem, box: Box, rows: Rows) -> Evidence:
    sweep = sweep_of(table, box)
    return gather(as_table(rows, sweep), sweep)


def refined(table: Problem, box: Box, rows: Rows, *, trials: int) -> NextSweep | None:
    """What refine writes; None if it declines."""
    name = "t"
    sweep = sweep_of(table, box, name=name, trials=trials)
    text = toml_of(table, box, name=name, trials=trials)
    with tempfile.TemporaryDirectory() as folder:
        try:
            return refine([as_table(rows, sweep)], root=Path(folder), text=text, path=Path(folder) / "next.toml")
        except Declined:
            return None


# edges


class Edge(NamedTuple):
    widened: bool
    beyond: float
    """noise SD by which the values beyond it reach more"""
    chance: float | None
    """stated: that it is better beyond; of what was widened"""
    at_end: float | None
    """chance that the optimum of the range is there"""


def edges(table: Problem, *, seed: int) -> Iterator[Edge]:
    for name in table.ordered:
        values = table.space[name]
        width = max(2, round(0.5 * len(values)))
        for start in range(len(values) - width + 1):
            beyond = {side: by for side, by in table.beyond(name, start, width).items() if abs(by) > min(MARGINS)}
            if not beyond:
                continue
            box = {**full(table), name: values[start : start + width]}
            evidence = evidence_of(table, box, search(table, box, FIRST, seed=seed))
            (own,) = [decision for decision in decide(evidence) if decision.parameter == name]
            chances = evidence.edge_chances(evidence.data.by_name[name])
            for side, by in beyond.items():
                is_there = f"the {side} end" in own.reason and "expand" in own.comment
                at_end = None if chances is None else chances[side == "high"]
                yield Edge(is_there, by, own.probability if is_there else None, at_end)


def edge_lines(found: Sequence[Edge]) -> Iterator[str]:
    for margin in MARGINS:
        should = [edge.widened for edge in found if edge.beyond > margin]
        should_not = [edge.widened for edge in found if edge.beyond < -margin]
        yield (f"  {margin} noise SD: recall {share(should)}, false alarms {share(should_not)}")
    stated = [(edge.chance, edge.beyond > 0) for edge in found if edge.chance is not None]
    if len({edge.beyond > 0 for edge in found}) > 1:
        at_even, slope = fitted(found)
        yield f"  log odds of better beyond: {at_even:.2f} + {slope:.2f} x log odds of the optimum at the end"
    if stated:
        error = np.mean([(chance - is_right) ** 2 for chance, is_right in stated])
        right = np.mean([is_right for _, is_right in stated])
        yield f"  P(better beyond): Brier {error:.3f}, of the share that was right {right * (1 - right):.3f}"
    for low, high in itertools.pairwise(STATED):
        inside = [(chance, is_right) for chance, is_right in stated if low <= chance < high]
        if inside:
            said = np.mean([chance for chance, _ in inside])
            yield f"  P(better beyond) stated {said:.2f}, right {share([is_right for _, is_right in inside])}"


def fitted(found: Sequence[Edge]) -> tuple[float, float]:
    """Log odds that it is better beyond where the optimum is at the end with even odds, and by the log odds of that."""
    known = [edge for edge in found if edge.at_end is not None]
    at_end = np.clip([edge.at_end for edge in known], 1 - SUREST, SUREST)
    is_better = [edge.beyond > 0 for edge in known]
    model = LogisticRegression(C=1e3).fit(np.log(at_end / (1 - at_end))[:, None], is_better)
    return float(model.intercept_[0]), float(model.coef_[0, 0])


def share(found: Sequence[bool]) -> str:
    """Of what is true, with its interval."""
    told = coverage(sum(found), len(found))
    return "none" if told is None else f"{told.value:.2f} [{told.low:.2f}, {told.high:.2f}] of {told.n}"


# rounds


class Round(NamedTuple):
    """Regrets after the second part."""

    going_on: tuple[float, float]
    """of the best that was tried, and of the one that looks best"""
    refined: tuple[float, float]
    naive: tuple[float, float]
    changed: bool
    kept_best: bool
    """whether something of the best thousandth of the box is in the refined one"""
    left_out: bool


def half_box(table: Problem, *, seed: int) -> dict[str, list[object]]:
    """The table without the better half of the values of two parameters."""
    random = np.random.default_rng([seed, 23])
    box = full(table)
    for name in random.choice(table.ordered, size=2, replace=False).tolist():
        values, best = table.space[name], int(np.argmax(table.reached[name]))
        width = -(-len(values) // 2)
        starts = [start for start in range(len(values) - width + 1) if not start <= best < start + width]
        if starts:
            start = int(random.choice(starts))
            box[name] = values[start : start + width]
    return box


def played(table: Problem, box: Box, *, seed: int) -> Round:
    rows = search(table, box, FIRST, seed=seed)
    going_on = rows + search(table, box, SECOND, seed=seed + 500, history=rows)
    made = refined(table, box, rows, trials=SECOND)
    after = going_on
    new: Box = box
    if made is not None:
        random = np.random.default_rng([seed, 12])
        planned = [dict(trial.params) for trial in made.sweep.trial]
        escapes = [(params, observed(table, params, random)) for params in planned]
        new = box_of(table, made.sweep.space)
        known = rows + escapes
        weights = weights_of(made.sweep.space)
        after = known + search(table, new, SECOND - len(escapes), seed=seed + 500, history=known, weights=weights)
    boxed = rows + search(table, naive(table, box, rows), SECOND, seed=seed + 500, history=rows)
    shares = kept_shares(table, box, new)
    return Round(
        ends(table, going_on), ends(table, after), ends(table, boxed), made is not None, shares[1] > 0, shares[0] < 1
    )


def naive(table: Problem, box: Box, rows: Rows) -> dict[str, list[object]]:
    best = sorted(rows, key=lambda row: row[1], reverse=table.direction == "maximize")[:5]
    result = {}
    for name, values in box.items():
        places = [list(values).index(params[name]) for params, _ in best]
        kept = sorted(set(places)) if isinstance(values[0], str) else range(min(places), max(places) + 1)
        result[name] = [values[i] for i in kept]
    return result


def ends(table: Problem, rows: Rows) -> tuple[float, float]:
    best = (max if table.direction == "maximize" else min)(rows, key=lambda row: row[1])[0]
    return min(table.regret(params) for params, _ in rows), table.regret(best)


def round_lines(played_: Sequence[Round]) -> Iterator[str]:
    for i, what in enumerate(("best tried", "looks best")):
        of = {name: np.array([getattr(one, name)[i] for one in played_]) for name in ("going_on", "refined", "naive")}
        yield (
            f"  regret, {what}: going on {of['going_on'].mean():.4f}, refined {of['refined'].mean():.4f}, naive box "
            f"{of['naive'].mean():.4f}; refined less going on {difference(of['refined'] - of['going_on'])}, less naive "
            f"{difference(of['refined'] - of['naive'])}"
        )
    narrowed = [one for one in played_ if one.left_out]
    yield (
        f"  changed in {sum(one.changed for one in played_)} of {len(played_)}, something left out in {len(narrowed)}, "
        f"of the best thousandth something stayed in {sum(one.kept_best for one in narrowed)} of these"
    )


def difference(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    low, high = interval(values.tolist())
    return f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


# survival


def kept_shares(table: Problem, before: Box, after: Box) -> tuple[float, float]:
    """Shares of a box, and of its best thousandth, that stay."""
    inside, kept = _mask(table, before), _mask(table, after)
    best = inside & (table.good >= np.quantile(table.good[inside], 1 - TOP))
    return float((inside & kept).sum() / inside.sum()), float((best & kept).sum() / best.sum())


def _mask(table: Problem, box: Box) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    mask = np.ones(table.good.shape, dtype=bool)
    for axis, name in enumerate(table.params):
        kept = np.array([is_inside({name: box[name]}, {name: value}) for value in table.space[name]])
        mask &= kept.reshape([-1 if i == axis else 1 for i in range(mask.ndim)])
    return mask


def survival(table: Problem, *, seed: int) -> tuple[float, float] | None:
    """Shares of the table and of its best thousandth that stay; None if all stays."""
    box = full(table)
    made = decide(evidence_of(table, box, search(table, box, LONG, seed=seed)))
    after = {**box, **{decision.parameter: _values(decision.new) for decision in made}}
    shares = kept_shares(table, box, after)
    return None if shares[0] == 1 else shares


def _values(parameter: Parameter) -> Sequence[Value]:
    assert isinstance(parameter, Choices | Fixed)
    return parameter.cells


def survival_lines(kept: Sequence[tuple[float, float] | None]) -> Iterator[str]:
    narrowed = [one for one in kept if one is not None]
    yield (
        f"  left something out in {len(narrowed)} of {len(kept)}; something of the best thousandth stays in "
        f"{share([one[1] > 0 for one in narrowed])}; stays of it {np.mean([o[1] for o in narrowed] or [1]):.0%}, "
        f"of the table {np.mean([o[0] for o in narrowed] or [1]):.0%}"
    )


def part_lines(part: str, cases: Sequence[Case]) -> Iterator[str]:
    if part == "edges":
        yield from edge_lines([edge for table, seed in cases for edge in edges(table, seed=seed)])
    elif part == "survival":
        yield from survival_lines([survival(table, seed=seed) for table, seed in cases])
    else:
        rounds = []
        for table, seed in cases:
            box = half_box(table, seed=seed) if part == "boxed" else full(table)
            rounds.append(played(table, box, seed=seed))
        yield from round_lines(rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the tables (.npz)")
    parser.add_argument("--tables", nargs="*", default=["blood", "naval", "additive", "interacting"])
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seeds", type=int, default=15, help="searches of each table")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--drawn", type=int, nargs=2, help="drawn problems, from and to, with one search each")
    parser.add_argument("--together", action="store_true", help="one figure for all tables")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    groups = {table.name: [(table, seed) for seed in seeds] for table in problems(given.folder, given.tables)}
    if given.together:
        groups = {", ".join(groups): [case for cases in groups.values() for case in cases]}
    if given.drawn:
        groups["drawn"] = [(Drawn(number), number) for number in range(*given.drawn)]
    for name, cases in groups.items():
        for part in given.parts:
            print(f"{name}, {part}:", flush=True)
            for line in part_lines(part, cases):
                print(line, flush=True)


if __name__ == "__main__":
    main()
