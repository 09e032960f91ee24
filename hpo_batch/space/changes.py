"""What changed between two spaces, counted: parameters that are searched, and how large they are."""

from __future__ import annotations

import math
from dataclasses import replace

from msgspec import Struct

from hpo_batch.space.cells import size
from hpo_batch.space.draw import always_active
from hpo_batch.space.parameters import Choices, Fixed, Integer, Parameter, Real
from hpo_batch.space.space import Space
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count, label


class SpaceChange(Struct, frozen=True, kw_only=True):
    """From an old space to a new one."""

    searched: tuple[int, int]
    """number of searched parameters, before and after"""
    size_ratio: float | None
    """size of the new space over that of the old one: valid combinations of the parameters with a finite number of
    values, times the lengths (on their own scale) of the ranges that are always active in both. None if there are too
    many combinations to count"""
    not_counted: tuple[str, ...]
    """ranges that changed but are not in ``size_ratio``: under a condition, or in one of the spaces only"""
    lines: tuple[str, ...]
    """one for each parameter that changed"""

    @property
    def text(self) -> str:
        before, after = self.searched
        counts = count(before, "searched parameter") + (f" -> {after}" if after != before else "")
        if self.size_ratio is None:
            return counts
        if math.isclose(self.size_ratio, 1.0, rel_tol=1e-9):
            return f"{counts}; the space is as large as before"
        times = self.size_ratio if self.size_ratio > 1 else 1 / self.size_ratio
        how = f"{times:.2g} times {'larger' if self.size_ratio > 1 else 'smaller'}"
        without = f" (not counted: {listed(self.not_counted)})" if self.not_counted else ""
        return f"{counts}; the space is {how}{without}"


def compared(old: Space, new: Space) -> SpaceChange:
    """The change from one space to another."""
    names = list(dict.fromkeys([*old.by_name, *new.by_name]))
    pairs = [(name, old.by_name.get(name), new.by_name.get(name)) for name in names]
    counted = _always_in_both(old, new)
    return SpaceChange(
        searched=(len(old.searched), len(new.searched)),
        size_ratio=_ratio(old, new),
        not_counted=tuple(name for name, a, b in pairs if _differ(a, b) and _is_range(a, b) and name not in counted),
        lines=tuple(f"{name}: {described(a)} -> {described(b)}" for name, a, b in pairs if _differ(a, b)),
    )


def _differ(a: Parameter | None, b: Parameter | None) -> bool:
    if isinstance(a, Choices) and isinstance(b, Choices) and (a.weights, b.weights) == (None, None):
        # the order in which choices are listed changes nothing
        return {(type(v), v) for v in a.values} != {(type(v), v) for v in b.values}
    return described(a) != described(b)


def described(parameter: Parameter | None) -> str:
    """A parameter's values as a sentence has them."""
    if parameter is None:
        return "not there"
    if isinstance(parameter, Fixed):
        return label(parameter.value)
    if isinstance(parameter, Choices):
        shares = "" if parameter.weights is None else f" in shares {', '.join(f'{w:g}' for w in parameter.weights)}"
        return f"[{', '.join(label(value) for value in parameter.values)}]{shares}"
    log = ", log" if parameter.log else ""
    step = f", step {parameter.step:g}" if parameter.step is not None and parameter.step != 1 else ""
    return f"{label(parameter.low)} to {label(parameter.high)}{step}{log}"


def _ratio(old: Space, new: Space) -> float | None:
    cells = [_cells(space) for space in (old, new)]
    if cells[0] is None or cells[1] is None or not cells[0]:
        return None
    ratio = cells[1] / cells[0]
    for name in _always_in_both(old, new):
        before, after = old.by_name[name], new.by_name[name]
        if isinstance(before, Real) and isinstance(after, Real) and before.count is None:
            ratio *= share_kept(before, after)
    return ratio


def share_kept(old: Parameter, new: Parameter) -> float:
    """How much of a parameter's values, or of its range on its own scale, the new declaration keeps or adds."""
    if isinstance(old, Fixed) or old.count == 1:
        return 1.0
    if isinstance(old, Choices):
        return new.count / old.count if isinstance(new, Fixed | Choices) and new.count else 1.0
    if isinstance(new, Integer) and old.count is not None and new.count is not None:
        return new.count / old.count
    if isinstance(new, Integer | Real):
        scale = math.log if old.log else float
        return (scale(new.high) - scale(new.low)) / (scale(old.high) - scale(old.low))
    return 1.0


def _always_in_both(old: Space, new: Space) -> set[str]:
    return {p.name for p in always_active(old)} & {p.name for p in always_active(new)}


def _is_range(*parameters: Parameter | None) -> bool:
    return any(isinstance(p, Real | Integer) and p.count is None for p in parameters)


def _cells(space: Space) -> int | None:
    """Valid combinations of the parameters with a finite number of values."""
    endless = {p.name for p in space.searched if isinstance(p, Real | Integer) and p.count is None}
    while True:  # whatever depends on an endless one cannot be counted either
        more = {name for name, parents in space.parents.items() if endless & set(parents)} - endless
        if not more:
            break
        endless |= more
    finite = replace(
        space,
        parameters=tuple(p for p in space.parameters if p.name not in endless),
        derived={name: e for name, e in space.derived.items() if name not in endless},
        constraints={
            name: e for name, e in space.constraints.items() if not (e.names & endless) and "n_params" not in e.names
        },
        n_params=None,
    )
    found = size(finite)
    return found.valid if found.valid is not None else found.all
