"""How much of the space was tried, beside what was attainable and what random trials would have found.

A share of all cells alone says little: 26 of 75 is half of what 50 trials could reach, and less than 50 random trials
would have found.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from hpo_batch.findings.json_keys import json_keys
from hpo_batch.findings.model.arrays import Floats, Ints, joint
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo, value_text
from hpo_batch.findings.model.stats import Z95
from hpo_batch.records import Answer, Estimate, Value, is_number
from hpo_batch.space.cells import MOST_WALKED, projected_cells, size
from hpo_batch.space.parameters import Fixed
from hpo_batch.space.space import Space
from hpo_batch.text.numbers import count

_ARCHITECTURE = """
    d_model hidden hidden_size hidden_dim hidden_units embed_dim embedding_dim dim width model_dim units
    channels n_layers n_layer layers num_layers num_encoder_blocks num_blocks n_blocks blocks depth
    num_hidden_layers n_heads n_head heads num_heads nhead num_attention_heads d_ff ff_dim ffn_dim kernel_size
    patch_len patch_size
"""
_TRAINING = """
    learning_rate lr dropout dropout_rate weight_decay wd batch_size momentum label_smoothing optimizer optim
    warmup warmup_steps warmup_ratio scheduler use_scheduler gradient_clip grad_clip epochs l2 beta1 beta2
"""
ARCHITECTURE: Final = frozenset(_ARCHITECTURE.split())
"""parameters that are architecture by their name; ratios are not"""
TRAINING: Final = frozenset(_TRAINING.split())
MOST_GAPS: Final = 20
MOST_MATRIX: Final = 400
"""cells of a pair's matrix"""
MOST_LEVELS: Final = 20
"""values of a parameter of a matrix"""
MOST_EXACT: Final = 20_000_000
"""steps of the exact distribution of distinct cells; above it, the normal one with the exact variance"""


Identity = tuple[tuple[type, Value], ...]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of a set of parameters was tried."""

    label: str
    """``architecture``, ``training`` or ``all``"""
    parameters: tuple[str, ...]
    found: int
    cells: int
    """valid ones"""
    attainable: int
    """min(n, cells)"""
    random: Estimate | None
    """what as many random trials would find"""
    gaps: tuple[Mapping[str, Value], ...]
    """cells nobody tried, at most 20"""
    counts: tuple[tuple[tuple[str, ...], int], ...] = field(default=(), metadata=json_keys("values", "n"))
    """labels of the values, trials: for the matrix"""
    answer: Answer = Answer.CANNOT_TELL
    """whether it reached what random trials would"""
    why: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tried:
    """The trials that could have tried something else, as codes: no configuration becomes an object of its own."""

    by_name: Mapping[str, ParamInfo]
    rows: Ints

    def counts(self, names: Sequence[str]) -> tuple[int, int]:
        """Distinct combinations, and trials in which all these parameters are active."""
        joint, rows = self._joint(names)
        return len(np.unique(joint)), len(rows)

    def hits(self, names: Sequence[str]) -> dict[Identity, int]:
        """Trials of each combination."""
        joint, rows = self._joint(names)
        _, first, count = np.unique(joint, return_index=True, return_counts=True)
        cells = [[self.by_name[name].levels[code] for code in self.by_name[name].codes[rows[first]]] for name in names]
        return {_identity(cell): n for cell, n in zip(zip(*cells, strict=True), count.tolist(), strict=True)}

    def seen(self, name: str) -> list[Value]:
        param = self.by_name[name]
        codes = np.unique(param.codes[self.rows])
        return sorted((param.levels[code] for code in codes[codes >= 0].tolist()), key=_order)

    def active(self, name: str) -> int:
        return int(np.count_nonzero(self.by_name[name].active[self.rows]))

    def _joint(self, names: Sequence[str]) -> tuple[Ints, Ints]:
        rows = self.rows
        for name in names:
            rows = rows[self.by_name[name].active[rows]]
        result = np.zeros(len(rows), dtype=np.int64)
        for name in names:
            result = joint(result, self.by_name[name].codes[rows])
        return result, rows


def coverage(data: Data) -> tuple[Coverage, ...]:
    """Coverage of the architecture, of the training parameters, of all together, and of the pairs inside these sets.

    The architecture is ``[sampler] coverage`` where the sweep says it, else what is called like one.
    """
    names = _searched(data)
    if not data.n or not names:
        return ()
    tried = _Tried(by_name=data.by_name, rows=_draws(data))
    space = None if data.table.space_is_inferred else data.space
    sweep = data.table.sweep
    sets = _sets(names, sweep.sampler.coverage if sweep is not None else ())
    results = [_coverage(label, chosen, tried, space) for label, chosen in sets]
    combined = [chosen for label, chosen in sets if label != "all"] or [names[:6]]
    pairs = dict.fromkeys(pair for chosen in combined for pair in itertools.combinations(chosen, 2))
    matrices = (_matrix(pair, tried, space) for pair in pairs)
    return (*results, *(matrix for matrix in matrices if matrix is not None))


def _draws(data: Data) -> Ints:
    """The trials that could have tried something else: of a configuration with several seeds those of one seed."""
    kept = np.ones(data.n, dtype=bool)
    for rows in data.repeated:
        most = Counter(data.seeds[i] for i in rows).most_common(1)[0][0]
        kept[rows] = [data.seeds[i] == most for i in rows]
    return np.flatnonzero(kept)


def _searched(data: Data) -> tuple[str, ...]:
    """What has cells: the space's searched parameters, or those that were seen to vary."""
    if data.space is not None and not data.table.space_is_inferred:
        return tuple(p.name for p in data.space.searched if p.name in data.by_name)
    return tuple(param.name for param in data.varied)


@functools.lru_cache(maxsize=256)  # pairs of parameters with as many values each
def random_distinct(cells: int, n: int) -> Estimate:
    """Distinct cells that ``n`` uniform draws with replacement find: expectation and 95 % interval."""
    expected = cells * -math.expm1(n * math.log1p(-1 / cells)) if cells > 1 else 1.0
    if n * min(n, cells) <= MOST_EXACT:
        cumulated = np.cumsum(_occupancy(cells, n))
        low = int(np.searchsorted(cumulated, 0.025))
        high = int(np.searchsorted(cumulated, 0.975))
        method = "exact distribution"
    else:
        variance = _occupancy_variance(cells, n)
        half = Z95 * math.sqrt(max(0.0, variance))
        low, high = math.floor(expected - half), math.ceil(min(cells, expected + half))
        method = "exact expectation and variance, normal interval"
    return Estimate(
        value=expected,
        low=float(low),
        high=float(high),
        method=f"{count(n, 'uniform draw')} over {count(cells, 'cell')}, {method}",
        n=n,
    )


def _occupancy(cells: int, n: int) -> Floats:
    """Probability of 0, 1, 2, ... distinct cells after ``n`` draws."""
    most = min(n, cells)
    seen = np.arange(most + 1) / cells
    p = np.zeros(most + 1)
    p[0] = 1.0
    for i in range(n):
        p[1:] = p[1:] * seen[1:] + p[:-1] * (1 - seen[:-1])
        p[0] = 0.0
        if i % 256 == 0 and p[cells:].sum() > 1 - 1e-15:
            break  # all have been found, and stay so
    return p


def _occupancy_variance(cells: int, n: int) -> float:
    one = math.exp(n * math.log1p(-1 / cells)) if cells > 1 else 0.0
    two = math.exp(n * math.log1p(-2 / cells)) if cells > 2 else 0.0
    return cells * (cells - 1) * two + cells * one - cells**2 * one**2


def _sets(names: Sequence[str], architecture: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    given = tuple(name for name in architecture if name in names)
    shape = given or tuple(name for name in names if _plain(name) in ARCHITECTURE)
    training = tuple(name for name in names if _plain(name) in TRAINING and name not in shape)
    sets = [("architecture", shape), ("training", training), ("all", tuple(names))]
    texts = [(label, chosen) for label, chosen in sets if chosen]
    # one parameter is no combination; and a set that is everything is called that
    return [(label, chosen) for label, chosen in texts if label == "all" or 1 < len(chosen) < len(names)]


def _plain(name: str) -> str:
    """``model.d_model`` and ``--d-model`` are ``d_model``."""
    return re.sub(r"\W+", "_", name.rsplit(".", 1)[-1]).strip("_").lower()


def _coverage(label: str, names: tuple[str, ...], tried: _Tried, space: Space | None) -> Coverage:
    return _covered(label, names, tried, space, _cells(names, tried, space))


def _covered(
    label: str,
    names: tuple[str, ...],
    tried: _Tried,
    space: Space | None,
    listed: tuple[list[tuple[Value, ...]], str] | None,
) -> Coverage:
    if listed is None:
        return _uncounted(label, names, tried, space)
    cells, why = listed
    known = {_identity(cell) for cell in cells}
    hits = tried.hits(names)
    inside = {identity for identity in hits if identity in known}
    outside = len(hits) - len(inside)
    if outside:
        why = (why + "; " if why else "") + f"{outside} tried lie outside the space and are not counted"
    n = sum(hits[identity] for identity in inside)
    expected = random_distinct(len(cells), n) if n and cells else None
    gaps = itertools.islice((cell for cell in cells if _identity(cell) not in hits), MOST_GAPS)
    return Coverage(
        label=label,
        parameters=names,
        found=len(inside),
        cells=len(cells),
        attainable=min(n, len(cells)),
        random=expected,
        gaps=tuple(dict(zip(names, cell, strict=True)) for cell in gaps),
        answer=_answer(len(inside), expected),
        why=why,
    )


def _uncounted(label: str, names: tuple[str, ...], tried: _Tried, space: Space | None) -> Coverage:
    """Of a set whose cells cannot be listed: that of its parameters with few values, if it has several."""
    if label != "all":
        finite = tuple(n for n in names if not _continuous(n, tried, space))
        if 1 < len(finite) < len(names):
            return _coverage(label, finite, tried, space)
    distinct, active = tried.counts(names)
    return Coverage(
        label=label,
        parameters=names,
        found=distinct,
        cells=0,
        attainable=active,
        random=None,
        gaps=(),
        answer=Answer.CANNOT_TELL,
        why="a continuous parameter has no cells to count, or there are too many",
    )


def _answer(found: int, expected: Estimate | None) -> Answer:
    """NO: fewer than 97.5 % of random searches; YES: not fewer than they find on average."""
    if expected is None or expected.low is None:
        return Answer.CANNOT_TELL
    if found < expected.low:
        return Answer.NO
    return Answer.YES if found >= expected.value - 0.5 else Answer.CANNOT_TELL


def _matrix(names: tuple[str, str], tried: _Tried, space: Space | None) -> Coverage | None:
    """Trials of every combination of two parameters; combinations that cannot be are left out."""
    # one more than is shown will do: a parameter of 100,000 values has a pair with every other one
    listed = _cells(names, tried, space, most=MOST_MATRIX + 1)
    if listed is None or len(listed[0]) > MOST_MATRIX:
        return None
    cells, _ = listed
    if any(len({_identity((cell[i],)) for cell in cells}) > MOST_LEVELS for i in (0, 1)):
        return None
    whole = _covered(" x ".join(names), names, tried, space, listed)
    hits = tried.hits(names)
    ordered = sorted(cells, key=lambda cell: tuple(_order(value) for value in cell))
    counts = tuple((tuple(value_text(v) for v in cell), hits.get(_identity(cell), 0)) for cell in ordered)
    return Coverage(
        label=whole.label,
        parameters=names,
        found=whole.found,
        cells=whole.cells,
        attainable=whole.attainable,
        random=whole.random,
        gaps=whole.gaps,
        counts=counts,
        answer=whole.answer,
        why=whole.why,
    )


def _cells(
    names: Sequence[str], tried: _Tried, space: Space | None, *, most: int | None = None
) -> tuple[list[tuple[Value, ...]], str] | None:
    """The cells over ``names``, or the first ``most``, and what is to be said; None if they cannot be listed."""
    if space is not None and all(name in space.by_name for name in names):
        searched = [name for name in names if not isinstance(space.by_name[name], Fixed)]
        total = size(space, searched).all
        if total is None or total > MOST_WALKED:
            return None
        return list(itertools.islice(projected_cells(space, names), most)), ""
    seen = [tried.seen(name) for name in names]
    if any(_continuous(name, tried, None) for name in names) or math.prod(len(s) for s in seen) > MOST_WALKED:
        return None
    return list(
        itertools.islice(itertools.product(*seen), most)
    ), "cells are the products of the values seen: the space is not known"


def _continuous(name: str, tried: _Tried, space: Space | None) -> bool:
    if space is not None and name in space.by_name:
        return space.by_name[name].count is None
    values = tried.seen(name)
    reals = all(isinstance(value, float) for value in values)
    return bool(values) and reals and len(values) > max(10, tried.active(name) // 2)


def _identity(cell: tuple[Value, ...]) -> Identity:
    # 1, 1.0 and true are equal to Python, not to a sweep
    return tuple((type(value), value) for value in cell)


def _order(value: Value) -> tuple[int, float, str]:
    return (0, float(value), "") if is_number(value) else (1, 0.0, str(value))
