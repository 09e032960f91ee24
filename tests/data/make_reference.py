"""Make the reference trials in ``reference/``: ``python tests/data/make_reference.py [FOLDER]``, standard library only.

A simulator, not measurements: its files have the columns, sizes and faults of the files that people bring (README.md),
and a truth that is stated here. The same lines come out on every machine; tests/findings/test_reference.py holds that.
"""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

REFERENCE = Path(__file__).with_name("reference")
CELLS = {
    "learning_rate": (1e-05, 5e-05, 0.0001, 0.0005),
    "dropout": (0.1, 0.3, 0.5, 0.7),
    "weight_decay": (0.0, 1e-05, 0.0001, 0.001),
}
SPACES = {
    "2m": {"d_model": (32, 48, 64, 80, 96), "n_layers": (2, 3, 4, 5, 6), "n_heads": (2, 4, 8), "d_ff_ratio": (2, 4)},
    "20m": {"d_model": (64, 96, 128, 160, 192), "n_layers": (4, 5, 6, 7, 8), "n_heads": (4, 8), "d_ff_ratio": (2, 4)},
    "200m": {"d_model": (128, 192, 256, 320), "n_layers": (6, 8, 10, 12), "n_heads": (8, 16), "d_ff_ratio": (2, 4)},
}
LEVEL = {("a100", "2m"): 0.705, ("a100", "20m"): 0.704, ("a100", "200m"): 0.703}
"""AUC of a usual trial; a50 is better by ``A50``, so that it fills the top of a heap of both"""
A50 = 0.03
SLOPE = {"learning_rate": -0.012, "dropout": 0.0, "d_model": -0.004}
"""what a step to the next value of a parameter adds to the AUC; parameters that are not named do nothing"""
NOISE = 0.006
PARAMS = ("d_model", "n_layers", "n_heads", "d_ff_ratio", "learning_rate", "dropout", "weight_decay")
HEAD = (
    "trial",
    "state",
    "value",
    *PARAMS,
    "param_source",
    "forced_extreme",
    "extreme_type",
    "epochs_run",
    "duration_sec",
)
GRID = {"d_ff": (1024, 1536), "dropout": (0.1, 0.15, 0.2, 0.3), "num_encoder_blocks": (4, 6, 8)}
SMOKE, TWIN = 631733, 145993
RAN_BEFORE = {
    "D3": (96, 3, 8, 2, 0.0005, 0.5, 1e-05),
    "F6": (96, 2, 8, 2, 0.0001, 0.5, 0.001),
}
"""of the 29 trials of document 000, those that had run before: values of ``PARAMS``"""

Config = dict[str, float]


def space_of(budget: str) -> dict[str, tuple[float, ...]]:
    return {name: {**SPACES[budget], **CELLS}[name] for name in PARAMS}


def auc(config: Config, tier: str, budget: str) -> float:
    """The same value whenever a configuration is trained again, as with a fixed seed."""
    space = space_of(budget)
    rng = random.Random(f"{tier} {budget} {sorted(config.items())}")
    value = LEVEL["a100", budget] + (A50 if tier == "a50" else 0.0) + rng.gauss(0.0, NOISE)
    return value + sum(slope * space[name].index(config[name]) for name, slope in SLOPE.items())


def search(tier: str, budget: str, kind: str) -> Iterator[tuple[Config, float]]:
    """50 trials that narrow down on what was good, and so train some configurations again and again."""
    rng, space = random.Random(f"{kind} {tier} {budget}"), space_of(budget)
    seen: list[tuple[float, Config]] = []
    for number in range(50):
        config = {name: rng.choice(values) for name, values in space.items()}
        if number >= 10:
            good = rng.choice(sorted(seen, key=lambda one: -one[0])[:5])[1]
            near = 1.0 if rng.random() < 0.3 else 0.4  # again the same, or something like it
            config = {name: good[name] if rng.random() < near else value for name, value in config.items()}
        value = auc(config, tier, budget)
        seen.append((value, config))
        yield config, value


def write(path: Path, head: tuple[str, ...], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


def searches(folder: Path) -> None:
    spaces = {}
    studies = [("a100", b, "tpe") for b in SPACES] + [("a100", b, "twophase") for b in ("2m", "20m")]
    for tier, budget, kind in studies + [("a50", b, "twophase") for b in SPACES]:
        trials = list(search(tier, budget, kind))
        rows: list[list[object]] = []
        for n, (config, value) in enumerate(trials):
            forced = kind == "twophase" and n < 6
            rows.append(
                [n, "COMPLETE", value, *config.values(), "forced_attrs" if forced else "params", int(forced), ""]
            )
            rows[-1] += [50, 20.0 + n] if kind == "twophase" else ["", ""]
        name = f"fints_hpo_{tier}_{budget}_{kind}.csv"
        write(folder / name, HEAD, rows)
        best = max(value for _, value in trials)
        spaces[name] = {"budget": budget.upper(), "search_space": space_of(budget), "best_value": best}
    (folder / "fints_studies.json").write_text(json.dumps(spaces, indent=1) + "\n")


def grid(folder: Path) -> None:
    """26 of 72 cells; the first is a run of 2 epochs with the configuration of the second."""
    rng = random.Random("grid")
    cells = [(f, d, n) for f in GRID["d_ff"] for d in GRID["dropout"] for n in GRID["num_encoder_blocks"]]
    rows = [[SMOKE, 0.0001, 256, 4, *cells[0], 0.7021, 2.0], [TWIN, 0.0001, 256, 4, *cells[0], 0.7171, 8.0]]
    for d_ff, dropout, blocks in cells[1:]:
        value = 0.7175 + (0.0008 if d_ff == 1536 else 0.0) + 0.0001 * blocks + rng.gauss(0.0, 0.0002)
        rows.append([rng.randrange(100_000, 999_999), 0.0001, 256, 4, d_ff, dropout, blocks, value, 7.0])
    rows.append([rng.randrange(100_000, 999_999), 0.0001, 384, 6, 1536, 0.2, 4, 0.718, 7.0])
    head = ("exp_id", "learning_rate", "d_model", "n_heads", *GRID, "test_auc", "valid_auc", "checkpoint_epoch")
    for row in rows:  # another metric beside it: which one is meant has to be said
        row.insert(-1, row[-2] + 0.006)
    write(folder / "gainakt4_phase1_26_experiments.csv", head, rows)


def top_models(folder: Path) -> None:
    rows: list[list[object]] = []
    for budget in SPACES:
        best = sorted(search("a50", budget, "twophase"), key=lambda one: -one[1])[:3]
        rows += [
            [budget.upper(), rank, value, *config.values(), 0.01, 0.75]
            for rank, (config, value) in enumerate(best, start=1)
        ]
    write(
        folder / "fints_topmodels_a50.csv", ("budget", "rank", "val_auc", *PARAMS, "val_pred_min", "val_pred_max"), rows
    )


def ran_before(folder: Path) -> None:
    """The trials of a search, two of which were later proposed again."""
    space = {name: (*SPACES["2m"].get(name, CELLS.get(name, ())),) for name in PARAMS}
    rng = random.Random("ran before")
    rows: list[list[object]] = []
    configs = [{name: rng.choice(values) for name, values in space.items()} for _ in range(10)]
    for at, own in zip((3, 7), RAN_BEFORE.values(), strict=True):
        configs[at] = dict(zip(PARAMS, own, strict=True))
    for n, config in enumerate(configs):
        rows.append([n, "COMPLETE", auc(config, "a100", "2m"), *config.values(), "params", 0, "", 50, 20.0 + n])
    write(folder / "fints_ran_before.csv", HEAD, rows)


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    searches(folder)
    grid(folder)
    top_models(folder)
    ran_before(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if sys.argv[1:] else REFERENCE)
