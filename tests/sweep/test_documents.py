"""The sweeps of the five documents say what the documents say: cells, ranges, trials."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.space.cells import projected_cells, size, valid_cells
from hpo_batch.space.parameters import Choices, Integer, Real
from hpo_batch.sweep.doubts import warnings
from hpo_batch.sweep.load import load
from hpo_batch.sweep.planned import planned_trials
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.size import architecture_size, target
from tests.helpers import REPOSITORY

CONFIGS, DATA = REPOSITORY / "configs", REPOSITORY / "tests" / "data"


def the(name: str) -> Sweep:
    (sweep,) = load(CONFIGS / f"{name}.toml")
    return sweep


def test_the_designs_here_are_those_of_the_documents(shared: Path) -> None:
    """An additional check, where the documents' own files lie beside the checkout."""
    ours = json.loads((DATA / "visual-classifier-v3.json").read_text())
    theirs = json.loads((shared / "reference" / "arc_search_spaces.json").read_text())["v3"]
    assert ours == {key: theirs[key] for key in ours}
    assert trials() == trials(shared / "reference" / "seed000_proposal_29.csv")


def trials(path: Path = DATA / "supplementary-trials.csv") -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_no_configuration_of_ours_is_suspicious(path: Path) -> None:
    for sweep in load(path):
        assert warnings(sweep) == []


def test_the_grid_has_72_cells() -> None:
    sweep = the("gainakt4-grid")
    cells = list(valid_cells(sweep.space))
    assert target(sweep) == len(cells) == size(sweep.space).valid == size(sweep.space).all == 72
    assert len({cell.key for cell in cells}) == 72
    assert architecture_size(sweep) == (("d_model", "d_ff", "dropout", "num_encoder_blocks"), 72)
    first, last = cells[0].searched, cells[-1].searched
    assert first == {"d_model": 256, "d_ff": 1024, "dropout": 0.1, "num_encoder_blocks": 4}
    assert last == {"d_model": 512, "d_ff": 1536, "dropout": 0.3, "num_encoder_blocks": 8}
    assert [cell.searched["num_encoder_blocks"] for cell in cells[:4]] == [4, 6, 8, 4]


def test_the_loss_sweep_has_120_cells() -> None:
    sweep = the("loss-sweep")
    assert target(sweep) == size(sweep.space).valid == 120
    shape = {p.name: len(p.cells or ()) for p in sweep.space.searched}
    assert shape == {"gamma": 4, "alpha": 10, "dropout": 3}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_sweep_runs_with_a_trainer_that_ships(path: Path) -> None:
    for sweep in load(path):
        assert (sweep.objective.function or "").startswith("hpo_batch.training.")


def test_the_budgets_have_75_50_and_40_architectures() -> None:
    sweeps = load(CONFIGS / "patchtst-budgets.toml")
    sizes = {sweep.path: architecture_size(sweep) for sweep in sweeps}
    names = ("d_model", "n_layers", "n_heads")
    assert sizes == {
        "patchtst-budgets/2M": (names, 75),
        "patchtst-budgets/20M": (names, 50),
        "patchtst-budgets/200M": (names, 40),
    }
    for sweep in sweeps:
        assert all(d_model % n_heads == 0 for d_model, _, n_heads in projected_cells(sweep.space, names))  # type: ignore[operator]
        origins = [planned.origin for planned in planned_trials(sweep)]
        assert origins == [f"extreme: {end} {name}" for name in names for end in ("min", "max")]
        assert target(sweep) == 50


def test_the_budgets_extremes_are_valid() -> None:
    large = load(CONFIGS / "patchtst-budgets.toml")[2]
    assert [
        tuple(planned.configuration.searched[name] for name in ("d_model", "n_layers", "n_heads"))
        for planned in planned_trials(large)
    ] == [(128, 8, 8), (384, 8, 8), (256, 6, 8), (256, 12, 8), (256, 8, 8), (256, 8, 16)]


def test_the_third_space_of_the_visual_classifier() -> None:
    """Every range, condition and fixed value of document 003, as its code has them."""
    v3 = json.loads((DATA / "visual-classifier-v3.json").read_text())
    sweep = the("visual-classifier-v3")
    space = sweep.space
    assert {p.name: p.value for p in space.fixed} == v3["fixed"]
    assert [repr(p.value) for p in space.fixed] == [repr(v3["fixed"][p.name]) for p in space.fixed]
    assert {p.name for p in space.searched} == v3["param_ranges"].keys()
    for name, expected in v3["param_ranges"].items():
        parameter = space.by_name[name]
        assert as_the_document_has_it(parameter) == {k: v for k, v in expected.items() if k != "condition"}, name
        condition = expected.get("condition")
        assert (parameter.when is None) == (condition is None), name
        if parameter.when is not None:
            ((parent, value),) = condition["equals"].items()
            for other in space.by_name[parent].cells or ():
                assert parameter.when.truth({parent: other}) == (other == value), name
    assert sweep.study.trials == v3["n_trials"]
    assert sweep.study.direction == (v3["direction"],)
    pruner = v3["pruner"]
    assert (sweep.pruner.name, sweep.pruner.first_rung) == (pruner["type"], pruner["min_resource"])
    assert sweep.pruner.options == {k: pruner[k] for k in ("max_resource", "reduction_factor")}


def as_the_document_has_it(parameter: object) -> dict[str, Any]:
    if isinstance(parameter, Choices):
        weights = [int(weight) for weight in parameter.weights or [1] * len(parameter.values)]
        repeated = [value for value, weight in zip(parameter.values, weights, strict=True) for _ in range(weight)]
        return {"type": "categorical", "choices": repeated}
    assert isinstance(parameter, Integer | Real)
    assert parameter.step in (None, 1)
    if isinstance(parameter, Integer):
        return {"type": "int", "low": parameter.low, "high": parameter.high}
    return {"type": "float", "low": parameter.low, "high": parameter.high, "log": parameter.log}


def test_the_supplementary_trials_are_those_of_the_document() -> None:
    sweep = the("supplementary-trials")
    rows = trials()
    planned = planned_trials(sweep)
    assert len(planned) == len(rows) == target(sweep) == 29
    for trial, row in zip(planned, rows, strict=True):
        assert trial.name == row.pop("config_name")
        assert trial.set == (trial.name or "")[0]
        assert trial.note
        # the CSV writes integers as 128.0: brought into the space's types, key and values are the same
        from_csv = sweep.space.resolve({name: float(value) for name, value in row.items()})
        assert from_csv == trial.configuration
        assert from_csv.key == trial.configuration.key
        assert all(math.isclose(float(trial.configuration.searched[name]), float(row[name])) for name in row)
        assert type(trial.configuration.searched["d_model"]) is int


def test_c2_and_f2_are_one_configuration_and_no_others_are() -> None:
    planned = {trial.name: trial.configuration.key for trial in planned_trials(the("supplementary-trials"))}
    assert planned["C2"] == planned["F2"]
    assert len(set(planned.values())) == 28
    assert [name for name in planned if name][:7] == ["A1", "A2", "A3", "A4", "A5", "A6", "B1"]


def test_the_quickstart_runs_here_and_on_a_cluster() -> None:
    sweep = the("quickstart")
    assert (sweep.study.trials, sweep.job.workers, sweep.job.scheduler) == (12, 2, "slurm")
    assert sweep.job.gres is not None
    (local,) = load(CONFIGS / "quickstart.toml", overrides=["job.template=local"])
    assert (local.job.workers, local.job.scheduler, local.job.gres) == (2, "local", None)
    assert local.space == sweep.space
