"""Whether what one parameter does depends on another, for the pairs that have enough trials to ask."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hpo_batch.findings.json_keys import json_keys
from hpo_batch.findings.model.arrays import Ints, recoded
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo, value_text
from hpo_batch.findings.model.surrogate import Surrogate, surrogate
from hpo_batch.records import Value
from hpo_batch.text.numbers import count

PER_CELL = 10
"""distinct trials wanted for each cell of a pair"""
MOST = 10
"""parameters of which all pairs are looked at; of more, those with the clearest effects"""


@dataclass(frozen=True, kw_only=True)
class Interaction:
    a: str
    b: str
    p: float | None
    p_holm: float | None
    n: int
    cells: tuple[tuple[str, str, int, float | None], ...] = field(
        metadata=json_keys("value_of_a", "value_of_b", "n", "mean")
    )
    """value of a, value of b, n, mean"""
    why: str = ""


def interactions(data: Data) -> tuple[Interaction, ...]:
    """A test for each pair of parameters, beside the effects of both and everything else that the trials show.

    By the products of the columns that they are tested with, in the model that tests them alone (``model.surrogate``).
    """
    rows = data.rows()
    model = surrogate(data, rows)
    params = [] if model is None else [encoder.param for encoder in model.encoders]
    if model is not None and len(params) > MOST:
        by_p = {param.name: test.p if (test := model.test(param)) is not None else 1.0 for param in params}
        largest = sorted(params, key=lambda param: by_p[param.name])[:MOST]
        params = [param for param in params if param in largest]
    return tuple(_interaction(data, model, a, b) for a, b in itertools.combinations(params, 2) if model is not None)


@dataclass(frozen=True, kw_only=True)
class _Groups:
    """What a parameter is divided into, as a group for each trial. The labels of 100,000 values are seldom wanted."""

    codes: Ints
    count: int
    label: Callable[[int], str]


def _interaction(data: Data, model: Surrogate, a: ParamInfo, b: ParamInfo) -> Interaction:
    rows = data.distinct[a.active[data.distinct] & b.active[data.distinct]]
    of_a, of_b = _groups(a, rows), _groups(b, rows)
    by_value = a.kind == b.kind == "levels" and len(rows) >= PER_CELL * of_a.count * of_b.count
    if not by_value and a.ordered and b.ordered:
        of_a, of_b = _halves(a, rows), _halves(b, rows)
    cells = of_a.count * of_b.count
    p, why = None, ""
    if of_a.count < 2 or of_b.count < 2:
        why = "one of them does not vary where both are active"
    elif len(rows) < PER_CELL * cells:
        trials = np.unique(_cell_of(of_a, of_b), return_counts=True)[1]
        fewest = int(trials.min()) if len(trials) == cells else 0
        seen = f"{count(len(rows), 'distinct trial')} in {count(cells, 'combination')}"
        why = f"{seen}, {fewest} in the rarest: {PER_CELL} each are wanted"
    elif np.ptp(data.y[rows]) == 0:
        why = "the metric is the same in all of these trials"
    else:
        test = model.test(a, b)
        p = None if test is None else test.p
        why = "their combinations cannot be told apart in these trials" if p is None else ""
    return Interaction(
        a=a.name,
        b=b.name,
        p=p,
        p_holm=None,
        n=len(rows),
        cells=_cells(data, rows, of_a, of_b) if not why else (),
        why=why,
    )


def _groups(param: ParamInfo, rows: Ints) -> _Groups:
    seen, codes = recoded(param.codes[rows])
    return _Groups(codes=codes, count=len(seen), label=lambda i: param.label(param.levels[seen[i]]))


def _halves(param: ParamInfo, rows: Ints) -> _Groups:
    """Low and high values, about as many trials each."""
    whole = _groups(param, rows)
    if whole.count <= 2:
        return whole
    before = np.cumsum(np.bincount(whole.codes))[:-1]
    cut = 1 + int(np.argmin(np.abs(before - len(rows) / 2)))
    codes = (whole.codes >= cut).astype(np.int64)
    seen = recoded(param.codes[rows])[0]
    ends = [_short(param.levels[seen[i]]) for i in (0, cut - 1, cut, -1)]
    labels = (f"{ends[0]} to {ends[1]}", f"{ends[2]} to {ends[3]}")
    return _Groups(codes=codes, count=2, label=labels.__getitem__)


def _cell_of(of_a: _Groups, of_b: _Groups) -> Ints:
    return of_a.codes * of_b.count + of_b.codes


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else value_text(value)


def _cells(data: Data, rows: Ints, of_a: _Groups, of_b: _Groups) -> tuple[tuple[str, str, int, float | None], ...]:
    cell_of = _cell_of(of_a, of_b)
    by_cell = np.argsort(cell_of, kind="stable")
    ends = np.cumsum(np.bincount(cell_of, minlength=of_a.count * of_b.count))[:-1]
    means = [(len(y), float(y.mean()) if len(y) else None) for y in np.split(data.y[rows[by_cell]], ends)]
    labels = itertools.product(map(of_a.label, range(of_a.count)), map(of_b.label, range(of_b.count)))
    return tuple((a, b, n, mean) for (a, b), (n, mean) in zip(labels, means, strict=True))
