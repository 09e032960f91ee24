"""Does refine do good, and what does it lose? Searches of complete tables, whose truth is known.

    python -m benchmarks.refine ../shared/reference/benchmarks --seeds 15

``edges``: a parameter may take some neighbouring values of its table's only. Where the best value beyond an end beats
the best inside by a share of the noise SD or more, refine should widen it there (recall); where it is worse by as much,
it should not (false alarms). ``rounds``: 50 trials, refine, 50 more, against 50 more of the same study and against a
box around the best 5 trials; figures are the truth of the best trial as the share of the table that is better.
``survival``: after 120 trials, whether something of the true best thousandth is still in the space.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import optuna

from benchmarks.studies import STARTUP, Table
from hpo_batch.next.decide import decide
from hpo_batch.next.decision import LEAVES_OUT, Decision
from hpo_batch.next.evidence import gather
from hpo_batch.space.parameters import Choices, Fixed
from hpo_batch.sweep.load import loads
from hpo_batch.sweep.schema import Sweep
from hpo_batch.text.values import toml_line
from tests.next.drawn import as_table

MARGIN = 0.5
FIRST, SECOND, LONG = 50, 50, 120
ESCAPE = 0.1
Space: TypeAlias = Mapping[str, Sequence[Any]]
Rows: TypeAlias = list[tuple[dict[str, Any], float]]


def sweep_of(table: Table, space: Space) -> Sweep:
    lines = [toml_line(name, list(values)) for name, values in space.items()]
    text = f"""
[study]
name = "t"
metric = "score"
direction = "{table.direction}"
trials = {FIRST}
[objective]
function = "tests.cli.toys:quadratic"
[space]
{chr(10).join(lines)}
"""
    (sweep,) = loads(text, path=Path("t.toml"))
    return sweep


def study_of(table: Table, space: Space, history: Rows, *, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(multivariate=True, seed=seed, n_startup_trials=STARTUP)
    study = optuna.create_study(direction=table.direction, sampler=sampler)
    for params, value in history:
        if all(params[name] in values for name, values in space.items()):
            found = {name: space[name].index(params[name]) for name in space}
            distributions = {name: optuna.distributions.IntDistribution(0, len(v) - 1) for name, v in space.items()}
            study.add_trial(optuna.trial.create_trial(params=found, distributions=distributions, value=value))
    return study


def search(table: Table, space: Space, n: int, *, seed: int, history: Rows = []) -> Rows:  # noqa: B006
    """TPE over the places of values; one seed of the table is seen."""
    study = study_of(table, space, history, seed=seed)
    random = np.random.default_rng([seed, 11, len(history)])
    rows: Rows = []
    for _ in range(n):
        trial = study.ask()
        params = {name: values[trial.suggest_int(name, 0, len(values) - 1)] for name, values in space.items()}
        seeds = table.values[table.place(params)]
        rows.append((params, float(seeds[random.integers(len(seeds))])))
        study.tell(trial, rows[-1][1])
    return rows


def decisions_of(table: Table, space: Space, rows: Rows) -> tuple[Decision, ...]:
    sweep = sweep_of(table, space)
    return decide(gather(as_table(rows, sweep), sweep))


def full(table: Table) -> dict[str, list[Any]]:
    return {name: list(table.space[name]) for name in table.params}


class Edge(NamedTuple):
    widened: bool
    should: bool


def edges(table: Table, *, seeds: int) -> Iterator[Edge]:
    noise = float(np.sqrt(table.values.var(axis=-1, ddof=1).mean()))
    for name in table.params:
        values, profile = table.space[name], table.profile[name]
        if isinstance(values[0], str) or len(values) < 4:
            continue
        width = max(3, round(0.6 * len(values)))
        for start in range(len(values) - width + 1):
            inside = max(profile[start : start + width])
            beyond = {"low": profile[:start], "high": profile[start + width :]}
            labels = {
                side: max(others) > inside
                for side, others in beyond.items()
                if others and abs(max(others) - inside) > MARGIN * noise
            }
            for seed in range(seeds) if labels else ():
                space = {**full(table), name: values[start : start + width]}
                made = decisions_of(table, space, search(table, space, FIRST, seed=seed))
                (own,) = [d for d in made if d.parameter == name]
                for side, should in labels.items():
                    yield Edge(f"the {side} end" in own.reason and "expand" in own.comment, should)


def after(space: Space, decisions: Sequence[Decision]) -> dict[str, list[Any]]:
    result = {name: list(values) for name, values in space.items()}
    for decision in decisions:
        if decision.action in (*LEAVES_OUT, "repair") and isinstance(decision.new, Choices | Fixed):
            result[decision.parameter] = list(decision.new.cells)
    return result


def naive(table: Table, space: Space, rows: Rows) -> dict[str, list[Any]]:
    best = sorted(rows, key=lambda row: row[1], reverse=table.direction == "maximize")[:5]
    box = {}
    for name, values in space.items():
        places = [values.index(params[name]) for params, _ in best]
        kept = sorted(set(places)) if isinstance(values[0], str) else range(min(places), max(places) + 1)
        box[name] = [values[i] for i in kept]
    return box


def share_better(table: Table, rows: Rows) -> float:
    """Of the table, that is truly better than the best trial."""
    good = table.means if table.direction == "maximize" else -table.means
    best = (max if table.direction == "maximize" else min)(rows, key=lambda row: row[1])[0]
    return float((good > good[table.place(best)]).mean())


def rounds(table: Table, *, seed: int) -> tuple[float, float, float, bool]:
    """Continue, refine, naive; and whether refine left anything out."""
    space = full(table)
    rows = search(table, space, FIRST, seed=seed)
    going_on = rows + search(table, space, SECOND, seed=seed + 500, history=rows)
    box = after(space, decisions_of(table, space, rows))
    if box == space:
        refined = going_on
    else:
        escapes = search(table, space, round(ESCAPE * SECOND), seed=seed + 900)
        refined = rows + escapes + search(table, box, SECOND - len(escapes), seed=seed + 500, history=rows + escapes)
    boxed = rows + search(table, naive(table, space, rows), SECOND, seed=seed + 500, history=rows)
    return share_better(table, going_on), share_better(table, refined), share_better(table, boxed), box != space


def survival(table: Table, *, seed: int) -> tuple[float, float] | None:
    """Shares of the table and of its best thousandth that stay; None if all stays."""
    space = full(table)
    box = after(space, decisions_of(table, space, search(table, space, LONG, seed=seed)))
    if box == space:
        return None
    good = table.means if table.direction == "maximize" else -table.means
    best = good >= np.quantile(good, 0.999)
    inside = np.ones(good.shape, dtype=bool)
    for axis, name in enumerate(table.params):
        kept = np.array([value in box[name] for value in space[name]])
        inside &= kept.reshape([-1 if i == axis else 1 for i in range(good.ndim)])
    return float(inside.mean()), float((best & inside).sum() / best.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--edge-seeds", type=int, default=4)
    parser.add_argument("--parts", nargs="*", default=["edges", "rounds", "survival"])
    given = parser.parse_args()
    tables = [Table(path) for path in sorted(given.folder.glob("*.npz"))]
    if "edges" in given.parts:
        every = []
        for table in tables:
            found = list(edges(table, seeds=given.edge_seeds))
            every += found
            print(table.name, told(found), flush=True)
        print("all tables", told(every), flush=True)
    for part, table in itertools.product(("rounds", "survival"), tables):
        if part not in given.parts:
            continue
        if part == "rounds":
            runs = np.array([rounds(table, seed=seed) for seed in range(given.seeds)])
            gains = runs[:, 1] - runs[:, 0]
            error = gains.std(ddof=1) / np.sqrt(len(gains))
            print(
                f"{table.name}: better share after continue {runs[:, 0].mean():.5f}, refine {runs[:, 1].mean():.5f}, "
                f"naive {runs[:, 2].mean():.5f}; refine - continue {gains.mean():+.5f} +- {1.96 * error:.5f}; "
                f"changed {runs[:, 3].mean():.0%}",
                flush=True,
            )
        else:
            kept = [survival(table, seed=seed) for seed in range(given.seeds)]
            narrowed = [one for one in kept if one is not None]
            print(
                f"{table.name}: left something out in {len(narrowed)} of {len(kept)}; something of the best thousandth "
                f"stays in {sum(one[1] > 0 for one in narrowed)}; stays of it "
                f"{np.mean([o[1] for o in narrowed] or [1]):.0%}, of the table "
                f"{np.mean([o[0] for o in narrowed] or [1]):.0%}",
                flush=True,
            )


def told(found: Sequence[Edge]) -> str:
    should = [edge.widened for edge in found if edge.should]
    should_not = [edge.widened for edge in found if not edge.should]
    return (
        f"recall {np.mean(should or [0]):.2f} of {len(should)}, false alarms {np.mean(should_not or [0]):.2f} "
        f"of {len(should_not)}"
    )


if __name__ == "__main__":
    main()
