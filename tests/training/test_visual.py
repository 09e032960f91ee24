"""Tasks from ARC's files and by rule; what augmentation leaves alone; parameters."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo_batch.training.visual.data import EMPTY, DataOptions, load
from hpo_batch.training.visual.model import Classifier
from hpo_batch.training.visual.settings import Settings
from hpo_batch.training.visual.simulate import RULES, simulate
from hpo_batch.training.visual.size import n_params
from hpo_batch.training.visual.train import colour_tables, first_pairs, random_pairs, recolour, train

from .conftest import RecordingTrial


def pair(side: int, colour: int = 1) -> dict[str, list[list[int]]]:
    return {"input": [[colour] * side] * side, "output": [[0] * side] * (side + 1)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 tasks of two categories, with 1 to 5 pairs, and one without a category."""
    files = tmp_path / "tasks"
    files.mkdir()
    for number in range(20):
        task = {"train": [pair(1 + number % 4)] * (1 + number % 5), "test": []}
        (files / f"t{number:02}.json").write_text(json.dumps(task))
    (files / "unknown.json").write_text(json.dumps({"train": [pair(2)]}))
    labels = {f"t{number:02}": "SC"[number % 2] + "1" for number in range(20)} | {"elsewhere": "K1"}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    np.save(tmp_path / "centroids.npy", np.random.default_rng(0).normal(size=(2, 7)))
    return tmp_path


def options(folder: Path, **values: Any) -> dict[str, Any]:
    return {"data_dir": str(folder / "tasks"), "labels": str(folder / "labels.json"), **values}


def test_tasks_of_a_folder(folder: Path) -> None:
    data = load(DataOptions(**options(folder, centroids=str(folder / "centroids.npy"), test_ratio=0.2)))
    assert data.categories == ("C1", "S1")
    assert data.test is not None
    parts = (data.train, data.val, data.test)
    assert [len(part.labels) for part in parts] == [12, 4, 4]
    assert all(torch.bincount(part.labels).tolist() == [len(part.labels) // 2] * 2 for part in parts)  # stratified
    assert data.centroids is not None
    assert data.centroids.shape == (2, 7)
    grids = data.train.grids
    assert grids.dtype == torch.uint8
    assert set(grids.unique().tolist()) == {0, 1, EMPTY}
    assert int(data.train.n_pairs.sum()) == len(grids)


def test_a_folder_trains_with_centroids(folder: Path, tmp_path: Path) -> None:
    params = options(folder, centroids=str(folder / "centroids.npy"), depth=1, width_mult=0.2, embed_dim=4, epochs=1)
    params |= {"use_cosine": True, "batch_size": 4, "mlp_hidden": 4, "num_workers": 2, "label_smoothing": 0.1}
    result = train(RecordingTrial(params=params, dir=tmp_path / "trial"))
    assert result is not None
    assert result["n_params"] == n_params(params)
    assert {"recall_C1", "recall_S1"} <= set(result)


def test_the_division_is_that_of_its_seed_and_not_of_the_trial(folder: Path) -> None:
    a, b, other = (load(DataOptions(**options(folder, seed=seed))) for seed in (1, 1, 2))
    assert torch.equal(a.val.grids, b.val.grids)
    assert not torch.equal(a.val.n_pairs, other.val.n_pairs)


def broken(content: Any) -> Callable[[Path], dict[str, Any]]:
    def change(folder: Path) -> dict[str, Any]:
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / "tasks" / "t03.json").write_text(text)
        return {}

    return change


def labels(content: Any) -> Callable[[Path], dict[str, Any]]:
    def change(folder: Path) -> dict[str, Any]:
        (folder / "labels.json").write_text(json.dumps(content))
        return {}

    return change


def centroids(values: Any) -> Callable[[Path], dict[str, Any]]:
    def change(folder: Path) -> dict[str, Any]:
        np.save(folder / "centroids.npy", values)
        return {"centroids": str(folder / "centroids.npy")}

    return change


def several_arrays(folder: Path) -> dict[str, Any]:
    np.savez(folder / "centroids.npz", a=np.ones((2, 4)))
    return {"centroids": str(folder / "centroids.npz")}


def no_array(folder: Path) -> dict[str, Any]:
    (folder / "empty.npy").write_bytes(b"")
    return {"centroids": str(folder / "empty.npy")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (broken("{"), r"cannot read '.*t03.json'"),
        (broken([1]), "'.*t03.json' has no pairs of grids: a task is"),
        (broken({"train": [{"input": [[1]]}]}), 'pair 0 of .* has no "input" or no "output"'),
        (broken({"train": [pair(2), {"input": [[1], [1, 2]], "output": [[1]]}]}), "the input of pair 1 .* lengths"),
        (broken({"train": [{"input": [[1]], "output": [[11]]}]}), "the output .* from 0 to 9, and one is 11"),
        (broken({"train": [{"input": [[1]], "output": [[None]]}]}), "from 0 to 9, and one is None"),
        (broken({"train": [{"input": [[1]] * 31, "output": [[1]]}]}), "it has 31 lines of 1, and 30 of 30 is the"),
        (broken({"train": [{"input": [], "output": [[1]]}]}), "it must be a list of lines"),
        (labels({}), "none of the 21 .json files in .* has a category in"),
        (labels(["S1"]), "must be an object of names of tasks and of their categories"),
        (labels({f"t{n:02}": "S1" for n in range(20)}), "are of one category, 'S1'"),
        (labels({"t00": "S1", "t01": "C1"}), "2 tasks give .* too few, or of one category"),
        (lambda _: {"labels": None}, "'labels' is needed"),
        (lambda _: {"data_dir": "/nowhere"}, "no folder '/nowhere': 'data_dir' is \"simulated\" or a folder"),
        (lambda _: {"categories": ("S1", "Z9")}, "no task in .* is of category 'Z9'; there are 'C1', 'S1'"),
        (lambda _: {"n_classes": 9}, "there are 2 categories, but n_classes = 9"),
        (lambda folder: {"centroids": str(folder / "gone.npy")}, "cannot read the centroids in .*gone.npy"),
        (centroids(np.zeros((9, 4))), r"are \(9, 4\), and must be a line for each of 2"),
        (centroids(np.full((2, 4), np.nan)), "are not all finite"),
        (centroids(np.array(["a", None], dtype=object)), "cannot read the centroids"),
        (centroids(np.array([["a"], ["b"]])), "must be one array of numbers"),
        (centroids(np.ones((2, 4), dtype=complex)), "must be one array of numbers"),
        (centroids(np.ones((2, 0))), r"are \(2, 0\), and must be a line for each of 2"),
        (several_arrays, "must be one array of numbers"),
        (no_array, "cannot read the centroids in .*: No data left in file"),
        (broken("[" * 100_000), "cannot read '.*t03.json': nested too deeply"),
        (labels({"t00": " ", "t01": "C1"}), "of their categories, all texts, none empty"),
        (lambda _: {"categories": ("S1",)}, "'categories' has only 'S1'; there are 'C1', 'S1'"),
    ],
)
def test_bad_data_is_told(folder: Path, change: Any, message: str) -> None:
    wanted = {**options(folder), **change(folder)}
    with pytest.raises(ValueError, match=message):
        load(DataOptions(**wanted))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"encoder_type": "rnn"}, "must be one of cnn, context"),
        ({"use_cosine": "yes"}, "must be true or false"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"data_dir": "x", "n_tasks": 30}, "n_tasks: of the simulator"),
        ({"val_ratio": 0.5, "test_ratio": 0.5}, "leave no task to train on"),
        ({"categories": "a,,b"}, "must be names of categories"),
    ],
)
def test_bad_parameters_are_told(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings.from_params(params)


def test_heads_must_divide_the_width() -> None:
    params = {"encoder_type": "context", "ctx_d_model": 10, "ctx_n_head": 4}
    with pytest.raises(ValueError, match="ctx_d_model = 10 cannot be divided among ctx_n_head = 4"):
        Classifier(Settings.from_params(params), n_classes=2)


def test_pairs_are_drawn_without_repeats_and_colours_keep_background_and_outside() -> None:
    data = load(DataOptions(n_tasks=50)).train
    order = torch.Generator().manual_seed(0)
    tasks = torch.arange(len(data.labels))
    ends = data.first + data.n_pairs
    for _ in range(10):
        shown = random_pairs(data, tasks, order)
        assert shown.shape == (len(tasks), 3)
        assert ((shown >= data.first[:, None]) & (shown < ends[:, None])).all()
        assert all(len(set(row)) == 3 for row in shown.tolist())
        grids = data.grids[shown]
        other = recolour(grids, colour_tables(len(grids), order))
        for colour in (0, EMPTY):
            assert torch.equal(other == colour, grids == colour)
        for before, after in zip(grids, other, strict=True):
            mapped = set(zip(before.flatten().tolist(), after.flatten().tolist(), strict=True))
            assert len({a for a, _ in mapped}) == len({b for _, b in mapped}) == len(mapped)  # one to one
        assert not torch.equal(other, grids.long())


def test_a_task_with_one_pair_shows_it_again() -> None:
    data = load(DataOptions(n_tasks=50)).train
    alone = type(data)(grids=data.grids, first=data.first, n_pairs=torch.ones_like(data.n_pairs), labels=data.labels)
    tasks = torch.tensor([3, 7])
    expected = data.first[tasks, None].expand(2, 3)
    assert torch.equal(first_pairs(alone, tasks), expected)
    assert torch.equal(random_pairs(alone, tasks, torch.Generator()), expected)


def test_the_simulator_makes_all_categories_equally_often_and_by_their_rule() -> None:
    tasks, names = simulate(seed=1, n_tasks=100)
    assert Counter(names) == dict.fromkeys(RULES, 20)
    for pairs, name in zip(tasks, names, strict=True):
        variants = []
        for before, after in pairs:
            grid, result = np.array(before), np.array(after)
            found = set()
            for variant in (0, 1):
                for colour in range(1, 10):
                    expected = RULES[name](grid, variant, colour)
                    if expected.shape == result.shape and (expected == result).all():
                        found.add((variant, colour))
            variants.append(found)
        assert set.intersection(*variants)  # one variant and colour for the whole task
