"""Whether the numbers of a report keep their word, on studies whose truth is known.

    python -m benchmarks.analysis --tables FOLDER --studies 40

Draws searches of complete tables (benchmarks/studies.py) and of made-up problems, analyses each after 50 and after 100
trials, and prints how often idle parameters are called significant, intervals hold the truth, probabilities are right,
effects of a given size are found, and the most important parameter is named, each with its 95 % interval (Wilson).

The constants of the method were chosen on hpobench_australian and hpolib_parkinsons_telemonitoring (``--tune``). What
docs/benchmarks.md reports is of all other tables and of the made-up problems.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from benchmarks.studies import Problem, Study, Table, made_up, searched
from hpo_batch.findings.effects.numbers import Effect, effects, most_important
from hpo_batch.findings.model.stats import holm
from hpo_batch.findings.relations.interactions import interactions

TUNED_ON: Final = ("hpobench_australian", "hpolib_parkinsons_telemonitoring")
SIZES: Final = (50, 100)


@dataclass
class Tally:
    """What was said, beside what is true; a row for each statement."""

    claims: list[dict[str, Any]] = field(default_factory=list)
    intervals: list[dict[str, Any]] = field(default_factory=list)
    studies: list[dict[str, Any]] = field(default_factory=list)
    edges: list[dict[str, Any]] = field(default_factory=list)


def judge(tally: Tally, study: Study, group: dict[str, Any], *, with_interactions: bool) -> None:
    problem = study.problem
    data = study.data
    sign = 1.0 if problem.direction == "maximize" else -1.0
    found = effects(data)
    p_holm = holm([effect.p for effect in found])
    idle_survives = False
    for effect, adjusted in zip(found, p_holm, strict=True):
        name = effect.parameter
        is_idle = name in problem.idle
        idle_survives |= is_idle and adjusted is not None and adjusted < 0.05
        row = {
            **group,
            "parameter": name,
            "idle": is_idle,
            "share": 0.0 if is_idle else study.shares.get(name, np.nan),
            "p": effect.p,
            "p_holm": adjusted,
            "probability": np.nan,
            "right": np.nan,
            "found": np.nan,
        }
        direction = effect.direction
        if direction is not None and not is_idle and name not in problem.derived:
            real = sign * (study.mean(name, direction.better) - study.mean(name, direction.worse))
            row |= {"probability": direction.probability, "right": real > 0}
            low, high = direction.difference.low, direction.difference.high
            tally.intervals.append({**group, "kind": "difference", "holds": low <= real <= high})
            if effect.detectable is not None and 0.8 <= real / effect.detectable <= 1.25:
                row["found"] = adjusted is not None and adjusted < 0.05
        tally.claims.append(row)
        if effect.edge is not None and name in problem.profile:
            heights = problem.profile[name]
            end = 0 if effect.edge.side == "low" else len(heights) - 1
            tally.edges.append({**group, "right": int(np.argmax(heights)) == end})
        if not is_idle and name not in problem.derived:
            tally.intervals += [{**group, **kept} for kept in _held(effect, study)]
    shares = {e.parameter: e.variance_share.value for e in found if e.variance_share is not None}
    top = max(study.shares, key=lambda name: study.shares[name])
    named = max(shares, key=lambda name: shares[name]) if shares else ""
    false_pairs = 0
    if with_interactions:
        pairs = interactions(data)
        for pair, adjusted in zip(pairs, holm([pair.p for pair in pairs]), strict=True):
            is_false = pair.a in problem.idle or pair.b in problem.idle
            false_pairs += bool(is_false and adjusted is not None and adjusted < 0.05)
    likely = [effect.parameter for effect in most_important(found)]
    tally.studies.append(
        {
            **group,
            "idle_survives": idle_survives,
            "top": named == top,
            "among": top in likely,
            "alone": named == top if len(likely) == 1 else np.nan,
            "largest": max((e.top_probability for e in found if e.top_probability is not None), default=np.nan),
            "likeliest": bool(likely) and likely[0] == top,
            "false_pair": false_pairs > 0,
            "pruned": study.pruned,
            "step": study.compared.step,
        }
    )


def _held(effect: Effect, study: Study) -> Iterator[dict[str, Any]]:
    for row in effect.rows:
        if row.adjusted is not None and row.value is not None and effect.kind == "levels":
            real = study.mean(effect.parameter, row.value)
            yield {"kind": "value", "holds": row.adjusted.low <= real <= row.adjusted.high}
    if effect.curve:
        for at, band in effect.curve:
            value = study.problem.known(effect.parameter, at)
            if value is not None:
                yield {"kind": "band", "holds": band.low <= study.mean(effect.parameter, value) <= band.high}


def share(values: Sequence[Any]) -> str:
    n, hits = len(values), int(np.sum(np.asarray(values, dtype=float)))
    if not n:
        return "-"
    low, high = proportion_confint(hits, n, method="wilson")
    return f"{hits / n:.3f} [{low:.3f}, {high:.3f}] of {n}"


def report(tally: Tally, by: list[str]) -> None:
    claims, intervals, studies = (pd.DataFrame(rows) for rows in (tally.claims, tally.intervals, tally.studies))
    significant = claims.p.astype(float) < 0.05
    survives = claims.p_holm.astype(float) < 0.05
    table: dict[str, dict[str, str]] = {}

    def add(label: str, frame: pd.DataFrame, values: pd.Series[Any]) -> None:
        for key, places in frame.groupby(by).groups.items():
            name = " ".join(map(str, key)) if isinstance(key, tuple) else str(key)
            table.setdefault(label, {})[name] = share(values.loc[places].dropna().tolist())

    for parameter in ("idle_few", "idle_real"):
        chosen = claims[claims.parameter == parameter]
        add(f"{parameter} p < .05", chosen, significant[chosen.index])
    add("studies with an idle survivor", studies, studies.idle_survives)
    add("studies with a false interaction", studies, studies.false_pair)
    real = claims[~claims.idle & claims.right.notna()]
    add("wrong sign of survivors", real[survives[real.index]], 1 - real.right.astype(float))
    for low, high in ((0.01, 0.05), (0.05, 0.15), (0.15, 0.4), (0.4, 1.01)):
        chosen = claims[(claims.share >= low) & (claims.share < high)]
        add(f"power, {low:.0%} to {min(high, 1):.0%} of the variance", chosen, significant[chosen.index])
    add("differences at the detectable one found", claims[claims.found.notna()], claims.found.astype(float))
    for kind in ("value", "difference", "band"):
        chosen = intervals[intervals.kind == kind]
        add(f"95 % interval of a {kind} holds", chosen, chosen.holds.astype(float))
    add("most important parameter named", studies, studies.top)
    if studies.pruned.any():
        for key, part in studies.groupby(by):
            steps = sorted({int(step) for step in part.step.dropna()})
            told = f"{part.pruned.mean():.2f}" + (f", compared at step {', '.join(map(str, steps))}" if steps else "")
            table.setdefault("pruned trials", {})[" ".join(map(str, key))] = told
    add("it is among those named at 80 %", studies, studies.among)
    add("where one alone is named, it is that", studies, studies.alone.astype(float))
    for low, high in ((0.0, 0.6), (0.6, 0.8), (0.8, 0.95), (0.95, 1.01)):
        chosen = studies[(studies.largest >= low) & (studies.largest < high)]
        add(f"likeliest right, at {low:.0%} to {min(high, 1):.0%}", chosen, chosen.likeliest)
    if tally.edges:
        named = pd.DataFrame(tally.edges)
        add("end that is named has the true optimum", named, named.right.astype(float))
    edges = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0001]
    for low, high in itertools.pairwise(edges):
        chosen = real[(real.probability >= low) & (real.probability < high)]
        add(f"right of those at {low:.0%} to {min(high, 1):.0%}", chosen, chosen.right.astype(float))
        for key, part in chosen.groupby(by):
            name = " ".join(map(str, key))
            label = f"right of those at {low:.0%} to {min(high, 1):.0%}"
            table[label][name] += f" (said {part.probability.mean():.2f})"
    print(pd.DataFrame(table).T.fillna("-").to_markdown())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, default=None, help="folder of .npz tables [default: made-up problems]")
    parser.add_argument("--studies", type=int, default=20, help="searches of each problem and sampler")
    parser.add_argument("--first", type=int, default=0, help="seed of the first one")
    parser.add_argument("--samplers", nargs="*", default=["tpe", "random"])
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--tune", action="store_true", help="only the tables that constants are chosen on")
    parser.add_argument("--only", nargs="*", default=None, help="problems by the beginning of their names")
    parser.add_argument("--by-problem", action="store_true")
    parser.add_argument("--no-interactions", action="store_true")
    parser.add_argument("--save", type=Path, default=None, help="write the statements as pickled tables")
    args = parser.parse_args()
    tables = [] if args.tables is None else [Table(file) for file in sorted(args.tables.glob("*.npz"))]
    tables = [table for table in tables if (table.name in TUNED_ON) == args.tune]
    tally, started, n_studies = Tally(), time.perf_counter(), 0
    makers: list[Callable[[int], Problem]] = [
        lambda seed, table=table: table.problem(as_categories=seed % 2 == 1) for table in tables
    ]
    if not args.tune and args.tables is None:
        makers = [lambda seed, problem=problem: problem for problem in made_up()]
    for make in makers:
        for sampler in args.samplers:
            for seed in range(args.first, args.first + args.studies):
                problem = make(seed)
                if args.only is not None and not problem.name.startswith(tuple(args.only)):
                    continue
                whole = searched(problem, sampler=sampler, seed=seed, n=max(args.sizes))
                for n in args.sizes:
                    group = {"problem": problem.name, "sampler": sampler, "n": n}
                    judge(tally, whole.first(n), group, with_interactions=not args.no_interactions)
                    n_studies += 1
    if args.save is not None:
        pd.to_pickle(tally, args.save)
    report(tally, ["problem", "sampler", "n"] if args.by_problem else ["sampler", "n"])
    print(f"\n{n_studies} analyses in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
