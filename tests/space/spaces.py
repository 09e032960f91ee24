"""Spaces to test with: from plain tables, and drawn by hypothesis together with a slow, obvious reading of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from hpo_batch.records import Configuration, Value
from hpo_batch.space.build import build
from hpo_batch.space.space import Space

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")

Rule = tuple[str, tuple[str, ...], Callable[[Mapping[str, Any]], Any]]
"""an expression: its text, the names in it, and what Python computes for it"""


def make(raw: Mapping[str, Any], *, with_n_params: bool = False) -> Space:
    space, problems = build(raw, with_n_params=with_n_params)
    assert problems == []
    return space


def typed(values: Mapping[str, Value]) -> frozenset[tuple[str, str, Value]]:
    """Values by name, 1 and 1.0 and true kept apart."""
    return frozenset((name, type(value).__name__, value) for name, value in values.items())


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A finite space as a TOML table, and what hypothesis knows of it."""

    cells: dict[str, list[Value]]
    """of searched parameters"""
    fixed: dict[str, Value]
    whens: dict[str, Rule] = field(default_factory=dict)
    derived: dict[str, Rule] = field(default_factory=dict)
    constraints: dict[str, Rule] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    """in which the names stand in the file"""
    as_range: frozenset[str] = frozenset()

    @property
    def raw(self) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for name in self.order:
            if name in self.fixed:
                entry: dict[str, Any] = {"value": self.fixed[name]}
            elif name in self.as_range:
                entry = {"low": self.cells[name][0], "high": self.cells[name][-1]}
            else:
                entry = {"choices": self.cells[name]}
            if name in self.whens:
                entry["when"] = self.whens[name][0]
            table[name] = entry
        table["derived"] = {name: rule[0] for name, rule in self.derived.items()}
        table["constraints"] = {name: rule[0] for name, rule in self.constraints.items()}
        return table

    @property
    def space(self) -> Space:
        return make(self.raw)

    def active(self, chosen: Mapping[str, Value]) -> dict[str, Any]:
        """The names that have a value, by their meaning: a child of an inactive parent is inactive."""
        known: dict[str, Any] = {}

        def decide(name: str) -> bool:
            if name in known:
                return True
            rule = self.derived.get(name) or self.whens.get(name)
            if rule is not None and not all(decide(parent) for parent in rule[1]):
                return False
            if name in self.derived:
                known[name] = self.derived[name][2](known)
            elif rule is None or rule[2](known):
                known[name] = self.fixed[name] if name in self.fixed else chosen[name]
            return name in known

        for name in (*self.order, *self.derived):
            decide(name)
        return known

    def is_valid(self, values: Mapping[str, Any]) -> bool:
        return all(rule[2](values) for rule in self.constraints.values() if all(name in values for name in rule[1]))

    def combinations(self) -> list[dict[str, Value]]:
        return [dict(zip(self.cells, values, strict=True)) for values in itertools.product(*self.cells.values())]

    def valid(self) -> list[dict[str, Any]]:
        """Distinct valid configurations, found by trying everything."""
        found: dict[frozenset[tuple[str, str, Value]], dict[str, Any]] = {}
        for chosen in self.combinations():
            values = self.active(chosen)
            if self.is_valid(values):
                found[typed({name: value for name, value in values.items() if name in self.cells})] = values
        return list(found.values())


def flat(configuration: Configuration) -> frozenset[tuple[str, str, Value]]:
    return typed(configuration.values)


@st.composite
def drawn_spaces(draw: st.DrawFn, *, most: int = 5) -> Drawn:
    names = list(NAMES[: draw(st.integers(1, most))])
    cells: dict[str, list[Value]] = {}
    fixed: dict[str, Value] = {}
    as_range: set[str] = set()
    for name in names:
        kind = draw(st.sampled_from(["choices", "range", "flag", "fixed"]))
        if kind == "fixed":
            fixed[name] = draw(st.integers(-3, 3))
        elif kind == "flag":
            cells[name] = [False, True]
        elif kind == "range":
            low = draw(st.integers(-2, 2))
            cells[name] = list(range(low, low + draw(st.integers(1, 4))))
            as_range.add(name)
        else:
            cells[name] = list(draw(st.lists(st.integers(-3, 3), min_size=1, max_size=4, unique=True)))
    rank = draw(st.permutations(names))
    whens: dict[str, Rule] = {}
    for i, name in enumerate(rank):
        if i and draw(st.booleans()):
            whens[name] = draw(conditions(rank[:i]))
    derived: dict[str, Rule] = {}
    for i in range(draw(st.integers(0, 2))):
        derived[f"sum{i}"] = draw(sums([*names, *derived]))
    # a condition may hang on a derived value, if that hangs on nothing later
    if derived and draw(st.booleans()):
        child = rank[-1]
        if child not in derived["sum0"][1] and child in cells:
            whens[child] = ("sum0 > 0", ("sum0",), lambda values: values["sum0"] > 0)
    constraints: dict[str, Rule] = {}
    for i in range(draw(st.integers(0, 3))):
        constraints[f"rule{i}"] = draw(conditions([*names, *derived]))
    if _is_circular(whens, derived):
        whens = {name: rule for name, rule in whens.items() if not set(rule[1]) & derived.keys()}
    order = tuple(draw(st.permutations(names)))
    cells = {name: cells[name] for name in order if name in cells}
    return Drawn(
        cells=cells, fixed=fixed, whens=whens, derived=derived, constraints=constraints, order=order,
        as_range=frozenset(as_range),
    )  # fmt: skip


def _is_circular(whens: Mapping[str, Rule], derived: Mapping[str, Rule]) -> bool:
    parents = {**{n: r[1] for n, r in whens.items()}, **{n: r[1] for n, r in derived.items()}}

    def reaches(name: str, goal: str, depth: int) -> bool:
        if depth > 12:
            return True
        return any(parent == goal or reaches(parent, goal, depth + 1) for parent in parents.get(name, ()))

    return any(reaches(name, name, 0) for name in parents)


@st.composite
def conditions(draw: st.DrawFn, names: list[str]) -> Rule:
    """A comparison that some values satisfy and some do not."""
    a, b = draw(st.sampled_from(names)), draw(st.sampled_from(names))
    k = draw(st.integers(-3, 3))
    return draw(
        st.sampled_from(
            [
                (f"{a} > {k}", (a,), lambda values: values[a] > k),
                (f"{a} == {k} or {a} == {k + 1}", (a,), lambda values: values[a] in (k, k + 1)),
                (f"{a} + {b} <= {k}", (a, b), lambda values: values[a] + values[b] <= k),
                (f"{a} not in ({k}, {k - 1})", (a,), lambda values: values[a] not in (k, k - 1)),
                (f"{a} != {b} or {a} > 0", (a, b), lambda values: values[a] != values[b] or values[a] > 0),
            ]
        )
    )


@st.composite
def sums(draw: st.DrawFn, names: list[str]) -> Rule:
    a, b = draw(st.sampled_from(names)), draw(st.sampled_from(names))
    return (f"{a} * 2 + {b}", (a, b), lambda values: values[a] * 2 + values[b])
