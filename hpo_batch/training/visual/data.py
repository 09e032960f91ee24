"""Tasks of coloured grids: from a folder of ARC's JSON files, or made by rule; neither is downloaded.

A task is a few pairs of grids, before and after, and belongs to a category. It is in one of training, validation and
test set, whatever the trial's seed. numpy and torch are imported where they are used.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hpo_batch.files.json_text import loads
from hpo_batch.text.numbers import count
from hpo_batch.training.parameters import flag, parameter, read_known, real, text, whole
from hpo_batch.training.tables import located, quoted
from hpo_batch.training.visual.simulate import RULES, simulate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Grid: TypeAlias = Sequence[Sequence[int]]
Pairs: TypeAlias = Sequence[tuple[Grid, Grid]]

log = logging.getLogger(__name__)
SIMULATED: Final = "simulated"
N_DEMOS: Final = 3
"""Pairs of a task that a model sees at once."""
EMPTY: Final = 10
"""The colour outside a grid; the others are 0 to 9."""
LARGEST: Final = 30
"""Lines and columns of ARC's largest grid."""


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """Tasks of one set. Grids are on the device; which of them are shown is decided on the CPU."""

    grids: Tensor  # (P, 2, S, S) uint8: all pairs, before and after, filled up with EMPTY
    first: Tensor  # (N,) int64: the task's first pair
    n_pairs: Tensor  # (N,) int64
    labels: Tensor  # (N,) int64: the number of its category


@dataclass(frozen=True, kw_only=True)
class Dataset:
    categories: tuple[str, ...]
    train: Tasks
    val: Tasks
    test: Tasks | None
    centroids: Tensor | None  # (categories, any width) float32


def _read_categories(value: object) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError("must be names of categories, as a list or separated by commas")
    stripped = tuple(name.strip() for name in names)
    if len(set(stripped)) < len(stripped):
        raise ValueError("must be names of categories, none twice")
    return stripped


def _read_path(value: object) -> str | None:
    if not isinstance(value, str) or not value:
        raise ValueError("must be the path of a file")
    return value


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Where tasks come from, and how they are divided. Names are those of the document."""

    data_dir: str = text(SIMULATED)
    """"simulated", or a folder of ARC's files, one task each: {"train": [{"input": grid, "output": grid}, ...]}."""
    labels: str | None = parameter(None, _read_path)
    """A JSON object: the category of each task, by the name of its file without .json. Needed for a folder."""
    categories: tuple[str, ...] = parameter((), _read_categories)
    """Those that are used, in the order of the centroids; empty: all, by name."""
    centroids: str | None = parameter(None, _read_path)
    """A .npy file with a vector for each category, projected to embeddings; without it they are learned."""
    val_ratio: float = real(0.2, above=0.0, below=1.0)
    """Share of the tasks in the validation set."""
    test_ratio: float = real(0.0, at_least=0.0, below=1.0)
    """Share of the tasks in the test set; 0: there is none."""
    stratify: bool = flag(True)
    """Divide each category by itself."""
    seed: int = whole(42, at_least=0)
    """Of the division of tasks, and of the simulator: the same for all trials. A trial's own seed is another."""
    n_tasks: int = whole(300, at_least=len(RULES))
    """Simulated ones."""
    n_classes: int = whole(0, at_least=0)
    """How many categories there must be; 0: not checked. Lets parameters be counted where the files are not."""


FILES_ONLY = ("labels", "categories", "centroids")


def count_classes(options: DataOptions) -> int:
    """Looks into the labels and the folder only if the options do not say."""
    if options.data_dir == SIMULATED:
        return len(RULES)
    return options.n_classes or len(options.categories) or len(set(_files(options).values()))


def count_centroid_dim(options: DataOptions) -> int:
    """Width of the centroids, 0 without any; reads the head of their file."""
    if options.centroids is None or options.data_dir == SIMULATED:
        return 0
    return int(_centroids(options, count_classes(options)).shape[1])


def load(options: DataOptions, device: str = "cpu") -> Dataset:
    """Training, validation and test set; a ValueError says what is wrong with the data and what to do."""
    import torch

    tasks, labels = _tasks(options)
    categories = _categories(options, labels)
    kept = [(pairs, categories.index(label)) for pairs, label in zip(tasks, labels, strict=True) if label in categories]
    if len(kept) < len(tasks):
        log.info("%d of %d tasks are of no category that is used, and left out", len(tasks) - len(kept), len(tasks))
    rows = _divide(options, [label for _, label in kept])
    train, val, test = ([kept[i] for i in chosen] for chosen in rows)
    centroids = None
    if options.centroids is not None and options.data_dir != SIMULATED:
        centroids = torch.tensor(_centroids(options, len(categories)), dtype=torch.float32, device=device)
    return Dataset(
        categories=categories,
        train=_as_tensors(train, device),
        val=_as_tensors(val, device),
        test=_as_tensors(test, device) if test else None,
        centroids=centroids,
    )


def preload(fixed: Mapping[str, object]) -> None:
    """Read what `load` keeps in memory, for `[objective] preload`; from a sweep's fixed parameters."""
    _tasks(read_known(DataOptions, fixed))


def _tasks(options: DataOptions) -> tuple[Sequence[Pairs], Sequence[str]]:
    """Every task that has a category, and its category."""
    if options.data_dir == SIMULATED:
        return simulate(seed=options.seed, n_tasks=options.n_tasks)
    found = _files(options)
    version = tuple((path, path.stat().st_mtime_ns) for path in found)
    return _read_tasks(version), list(found.values())


def _files(options: DataOptions) -> Mapping[Path, str]:
    """The files of tasks that have a category, and their categories."""
    folder = located(options.data_dir)
    if not folder.is_dir():
        raise ValueError(f"no folder '{folder}': 'data_dir' is \"{SIMULATED}\" or a folder with a .json file per task")
    of_task = _labels(options)
    paths = sorted(folder.glob("*.json"))
    found = {path: of_task[path.stem] for path in paths if path.stem in of_task}
    if not found:
        raise ValueError(
            f"none of the {count(len(paths), '.json file')} in '{folder}' has a category in '{options.labels}'; a task "
            f"has the name of its file there, without .json"
        )
    return found


@lru_cache(maxsize=2)
def _read_tasks(files: tuple[tuple[Path, int], ...]) -> Sequence[Pairs]:
    return [_read_task(path) for path, _ in files]


def _read_task(path: Path) -> Pairs:
    content = _json(path)
    pairs = content.get("train") if isinstance(content, dict) else None
    if not isinstance(pairs, list) or not pairs:
        raise ValueError(
            f'\'{path}\' has no pairs of grids: a task is {{"train": [{{"input": grid, "output": grid}}]}}'
        )
    read: list[tuple[Grid, Grid]] = []
    for number, pair in enumerate(pairs):
        if not isinstance(pair, dict) or not {"input", "output"} <= set(pair):
            raise ValueError(f'pair {number} of \'{path}\' has no "input" or no "output"')
        for name in ("input", "output"):
            if why := _why_no_grid(pair[name]):
                raise ValueError(f"the {name} of pair {number} of '{path}' is no grid: {why}")
        read.append((pair["input"], pair["output"]))
    return read


def _why_no_grid(grid: Any) -> str:
    if not isinstance(grid, list) or not grid or not all(isinstance(line, list) and line for line in grid):
        return "it must be a list of lines, each a list of colours"
    if len({len(line) for line in grid}) > 1:
        return "its lines have different lengths"
    if len(grid) > LARGEST or len(grid[0]) > LARGEST:
        return f"it has {len(grid)} lines of {len(grid[0])}, and {LARGEST} of {LARGEST} is the largest"
    if other := [c for line in grid for c in line if type(c) is not int or not 0 <= c < EMPTY]:
        return f"colours are whole numbers from 0 to 9, and one is {other[0]!r}"
    return ""


def _labels(options: DataOptions) -> Mapping[str, str]:
    if options.labels is None:
        raise ValueError("'labels' is needed: a JSON file with the category of each task in 'data_dir'")
    path = located(options.labels)
    content = _json(path)
    if not isinstance(content, dict) or not all(isinstance(name, str) and name.strip() for name in content.values()):
        raise ValueError(f"'{path}' must be an object of names of tasks and of their categories, all texts, none empty")
    return content


def _json(path: Path) -> Any:
    try:
        return loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read '{path}': {error}") from error


def _categories(options: DataOptions, labels: Sequence[str]) -> tuple[str, ...]:
    there = sorted(set(labels))
    is_simulated = options.data_dir == SIMULATED
    categories = tuple(RULES) if is_simulated else options.categories or tuple(there)
    if missing := [name for name in categories if name not in there]:
        raise ValueError(f"no task in '{options.data_dir}' is of category {quoted(missing)}; there are {quoted(there)}")
    if len(categories) < 2 < 1 + len(there):
        raise ValueError(f"'categories' has only {quoted(categories)}; there are {quoted(there)}")
    if len(categories) < 2:
        raise ValueError(f"all tasks in '{options.data_dir}' are of one category, {quoted(categories)}")
    if not is_simulated and options.n_classes not in (0, len(categories)):
        raise ValueError(f"there are {len(categories)} categories, but n_classes = {options.n_classes}")
    return categories


def _centroids(options: DataOptions, n_classes: int) -> NDArray[np.float64]:
    import numpy as np

    path = located(options.centroids or "")
    try:
        centroids: NDArray[np.float64] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"cannot read the centroids in '{path}': {error}") from error
    if not isinstance(centroids, np.ndarray) or centroids.dtype.kind not in "fiu":
        raise ValueError(f"'{path}' must be one array of numbers, as numpy.save writes it")
    if centroids.ndim != 2 or len(centroids) != n_classes or not centroids.shape[1]:
        raise ValueError(f"the centroids in '{path}' are {centroids.shape}, and must be a line for each of {n_classes}")
    if not np.isfinite(centroids).all():
        raise ValueError(f"the centroids in '{path}' are not all finite")
    return centroids


def _divide(options: DataOptions, labels: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Rows of the training, validation and test set."""
    import numpy as np

    random = np.random.default_rng(options.seed)
    groups = [np.flatnonzero(np.array(labels) == label) for label in sorted(set(labels))]
    train: list[int] = []
    val: list[int] = []
    test: list[int] = []
    for group in groups if options.stratify else [np.arange(len(labels))]:
        rows = random.permutation(group).tolist()
        n_val, n_test = (round(ratio * len(rows)) for ratio in (options.val_ratio, options.test_ratio))
        val += rows[:n_val]
        test += rows[n_val : n_val + n_test]
        train += rows[n_val + n_test :]
    if not train or not val or (options.test_ratio and not test) or len({labels[row] for row in val}) < 2:
        raise ValueError(
            f"{len(labels)} tasks give {len(train)} for training, {len(val)} for validation and {len(test)} for the "
            f"test, with val_ratio = {options.val_ratio:g} and test_ratio = {options.test_ratio:g}: too few, or of one "
            "category"
        )
    return sorted(train), sorted(val), sorted(test)


def _as_tensors(tasks: Sequence[tuple[Pairs, int]], device: str) -> Tasks:
    import numpy as np
    import torch

    flat = [pair for pairs, _ in tasks for pair in pairs]
    size = max(max(len(grid), len(grid[0])) for pair in flat for grid in pair)
    grids = np.full((len(flat), 2, size, size), EMPTY, dtype=np.uint8)
    for row, pair in enumerate(flat):
        for side, grid in enumerate(pair):
            grids[row, side, : len(grid), : len(grid[0])] = grid
    n_pairs = torch.tensor([len(pairs) for pairs, _ in tasks])
    return Tasks(
        grids=torch.tensor(grids, device=device),
        first=n_pairs.cumsum(0) - n_pairs,
        n_pairs=n_pairs,
        labels=torch.tensor([label for _, label in tasks], device=device),
    )
