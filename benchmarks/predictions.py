"""Do refine, propose and confirm predict as often right as they say? Searches of tables, whose next trials are known.

    python -m benchmarks.predictions ../shared/reference/benchmarks --tables blood naval --seeds 10 --drawn 100 140
    python -m benchmarks.predictions ../shared/reference/benchmarks --tables austral parkin --seeds 10 --drawn 0 40

After 50 trials of a search each of the three writes its sweep; that is played, and the ledger judges what was
predicted: Brier scores beside those of the base rates, how much came by the probability that was stated, and how many
of the 80 % intervals held, with 95 % intervals (Clopper and Pearson). Odd seeds search a space that leaves values out,
which its limits allow. Of the seeds of a table two are for the new trials of propose and confirm, the others for the
search. Constants were chosen with the second command; docs/benchmarks.md reports the first.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.boxes import (
    Box,
    Drawn,
    Problem,
    Rows,
    box_of,
    full,
    observed,
    problems,
    search,
    sweep_of,
    toml_of,
    weights_of,
)
from benchmarks.refine import FIRST, SECOND, half_box, share
from hpo_batch.errors import Declined, UserError
from hpo_batch.findings.ledger.numbers import Scored, score
from hpo_batch.findings.ledger.prediction import Prediction, predictions_in
from hpo_batch.next.confirm import confirm
from hpo_batch.next.parent import parent_of
from hpo_batch.next.propose import propose
from hpo_batch.next.refine import refine
from hpo_batch.results.table import TrialsTable
from hpo_batch.sweep.planned import planned_trials
from hpo_batch.sweep.schema import Sweep
from tests.next.drawn import as_table

NEW_SEEDS: Final = 2
BINS: Final = (0.0, 0.1, 0.25, 0.4, 0.6, 0.75, 0.9, 1.01)


class Study(NamedTuple):
    """The first trials of a problem, and the same problem with seeds that these have not seen."""

    seen: Problem
    unseen: Problem
    box: Box
    rows: Rows
    seed: int

    @property
    def table(self) -> TrialsTable:
        return as_table(self.rows, sweep_of(self.seen, self.box))


def study(table: Problem, *, seed: int) -> Study:
    order = np.random.default_rng([seed, 29]).permutation(table.values.shape[-1])
    seen, unseen = copy.copy(table), copy.copy(table)
    seen.values, unseen.values = table.values[..., order[:-NEW_SEEDS]], table.values[..., order[-NEW_SEEDS:]]
    box = half_box(table, seed=seed) if seed % 2 else full(table)
    return Study(seen, unseen, box, search(seen, box, FIRST, seed=seed), seed)


def refined(first: Study, folder: Path) -> list[Scored]:
    text = toml_of(first.seen, first.box, name="t", trials=SECOND)
    made = refine([first.table], root=folder, text=text, path=folder / "next.toml")
    random = np.random.default_rng([first.seed, 12])
    planned = [dict(trial.params) for trial in made.sweep.trial]
    rows = [(params, observed(first.seen, params, random)) for params in planned]
    space = made.sweep.space
    rows += search(
        first.seen,
        box_of(first.seen, space),
        SECOND - len(planned),
        seed=first.seed + 500,
        history=first.rows + rows,
        weights=weights_of(space),
    )
    played = as_table(rows, made.sweep)
    return [score(one, played) for one in made.predictions]


def proposed(first: Study, folder: Path) -> list[Scored]:
    made = propose(parent_of(first.table), seeds=NEW_SEEDS, root=folder, near=folder)
    return _played(first, made.sweep, predictions_in(made.decisions_json.encode()))


def confirmed(first: Study, folder: Path) -> list[Scored]:
    made = confirm(parent_of(first.table), seeds=NEW_SEEDS, root=folder, near=folder)
    return _played(first, made.sweep, predictions_in(made.decisions_json.encode()))


def _played(first: Study, sweep: Sweep, predictions: Sequence[Prediction]) -> list[Scored]:
    """What the trials of a list give with the seeds that the search has not seen."""
    planned = planned_trials(sweep)
    table, rows = first.unseen, []
    for one in planned:
        params: dict[str, Any] = dict(one.configuration.searched)
        rows.append(
            (params, float(table.values[table.place({**_fixed(first, one.configuration.fixed), **params})].mean()))
        )
    played = as_table(rows, sweep)
    frame = played.trials.assign(name=[one.name for one in planned], origin=[one.origin for one in planned])
    return [score(one, replace(played, trials=frame)) for one in predictions]


def _fixed(first: Study, values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in first.seen.params}


COMMANDS: Final[dict[str, Callable[[Study, Path], list[Scored]]]] = {
    "refine": refined,
    "propose": proposed,
    "confirm": confirmed,
}


def judged(table: Problem, *, seed: int, commands: Sequence[str]) -> Iterator[Scored]:
    first = study(table, seed=seed)
    for command in commands:
        with tempfile.TemporaryDirectory() as folder:
            try:
                yield from COMMANDS[command](first, Path(folder))
            except (Declined, UserError):
                continue


def kind(one: Scored) -> str:
    """``gain``, ``best``, ``expand``, ``effect``, ``finalists.mean`` or ``finalists.first``."""
    key = one.prediction.key
    return key if key.startswith("finalists") else key.split(".")[0]


def lines(found: Sequence[Scored]) -> Iterator[str]:
    for name, each in itertools.groupby(sorted(found, key=kind), key=kind):
        ones = list(each)
        told = [one for one in ones if one.came is not None]
        held = [bool(one.inside) for one in ones if one.inside is not None]
        if told:
            brier, base = (np.mean([getattr(one, key) for one in told]) for key in ("brier", "brier_base"))
            yield f"{name}: {said(told)}; Brier {brier:.3f}, of the base rates {base:.3f}"
            for low, high in itertools.pairwise(BINS):
                inside = [one for one in told if low <= (one.prediction.probability or 0.0) < high]
                if inside:
                    yield f"  {said(inside)}"
        if held:
            yield f"{name}: held {share(held)}"


def said(ones: Sequence[Scored]) -> str:
    mean = np.mean([one.prediction.probability for one in ones])
    return f"said {mean:.2f}, came {share([bool(one.came) for one in ones])}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the tables (.npz)")
    parser.add_argument("--tables", nargs="*", default=["blood", "naval"])
    parser.add_argument("--seeds", type=int, default=10, help="searches of each table")
    parser.add_argument(
        "--drawn", type=int, nargs=2, default=[100, 140], help="drawn problems, from and to; one search each"
    )
    parser.add_argument("--commands", nargs="*", default=list(COMMANDS), choices=list(COMMANDS))
    given = parser.parse_args()
    cases = [(table, seed) for table in problems(given.folder, given.tables) for seed in range(given.seeds)]
    cases += [(Drawn(number), number) for number in range(*given.drawn)]
    found = [one for table, seed in cases for one in judged(table, seed=seed, commands=given.commands)]
    print(f"{len(cases)} searches, {sum(bool(one.why) for one in found)} predictions could not be judged")
    for line in lines(found):
        print(line)


if __name__ == "__main__":
    main()
