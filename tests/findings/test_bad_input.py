"""Whatever the trials are like, each part of analysis answers or says why it cannot: no traceback, warning or NaN."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from hpo_batch.expressions import parse
from hpo_batch.findings.best.numbers import summarise
from hpo_batch.findings.best.optimism import optimism
from hpo_batch.findings.effects.numbers import effects
from hpo_batch.findings.elites.numbers import elites
from hpo_batch.findings.importance.numbers import importance
from hpo_batch.findings.model.frame import Data, prepare
from hpo_batch.findings.noise.numbers import noise_floor
from hpo_batch.findings.relations.correlations import correlations
from hpo_batch.findings.relations.interactions import interactions
from hpo_batch.space.parameters import Choices, Integer, Real
from hpo_batch.space.space import Space
from tests.findings.simulate import table

pytestmark = pytest.mark.usefixtures("small_forests")

Rows = Sequence[tuple[Mapping[str, Any], float | None]]

PARTS: dict[str, Callable[[Data], Any]] = {
    "summarise": summarise,
    "noise": noise_floor,
    "effects": lambda data: effects(data, without=data.numbers[:1].tolist()),
    "importance": importance,
    "correlations": correlations,
    "interactions": interactions,
    "elites": elites,
    "curse": lambda data: optimism(data, noise_floor(data)),
}


def drawn(n: int, seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed + n)


def rows(n: int, **columns: Callable[[np.random.Generator], Any]) -> list[tuple[dict[str, Any], float]]:
    random = drawn(n)
    return [({name: make(random) for name, make in columns.items()}, float(random.normal())) for _ in range(n)]


def real(random: np.random.Generator) -> float:
    return float(random.random())


def few(random: np.random.Generator) -> int:
    return int(random.integers(3))


def mixed(random: np.random.Generator) -> Any:
    return [1, True, "1", 1.0, "true"][int(random.integers(5))]


def _twins(n: int) -> Rows:
    return [({"a": i % 3, "b": (i % 3) * 10, "c": i % 3 - 1.0}, float(i % 7)) for i in range(n)]


CASES: dict[str, Rows] = {
    "no trial": [],
    "one trial": rows(1, a=real, b=few),
    "two trials": rows(2, a=real, b=few),
    "five trials": rows(5, a=real, b=few),
    "no parameter": rows(10),
    "only failures": [({"a": i / 3}, None) for i in range(5)],
    "one parameter": rows(30, a=real),
    "one choice of two": rows(30, a=lambda r: bool(r.integers(2))),
    "constant metric": [(params, 0.5) for params, _ in rows(30, a=real, b=few)],
    "nearly constant metric": [(params, 0.5 + (i == 3)) for i, (params, _) in enumerate(rows(30, a=real, b=few))],
    "two values of the metric": [(params, float(y > 0)) for params, y in rows(40, a=real, b=few)],
    "never varied": rows(30, a=lambda r: 1e-4, b=few),
    "nan and infinity": [
        (params, [math.nan, math.inf, -math.inf, y][i % 4]) for i, (params, y) in enumerate(rows(60, a=real, b=few))
    ],
    "nan in a parameter": [({"a": math.nan if i % 5 else 1.0, "b": i % 3}, float(i % 4)) for i in range(30)],
    "huge metric": [(params, 10.0 ** (i * 9 - 140)) for i, (params, _) in enumerate(rows(32, a=real, b=few))],
    "tiny metric": [(params, y * 1e-200) for params, y in rows(32, a=real, b=few)],
    "diverged": [(params, 1e30 if i % 9 == 0 else y) for i, (params, y) in enumerate(rows(45, a=real, b=few))],
    "a name for each trial": rows(200, a=lambda r: f"m{int(r.integers(10**6))}", b=few),
    "mixed types": rows(60, a=mixed, b=few),
    "twins": _twins(40),
    "more parameters than trials": rows(12, **{f"p{i}": real for i in range(20)}),
    "as many parameters as half the trials": rows(30, **{f"p{i}": few for i in range(14)}),
    "hostile names": rows(30, **{"<script>alert(1)</script>": few, "x" * 500: real, "é|,\n": few}),
    "numbers at the ends of floats": rows(30, a=lambda r: 10.0 ** int(r.integers(-300, 300)), b=few),
    "zeros among powers": rows(40, a=lambda r: [0.0, 1e-5, 1e-4, 1e-3][int(r.integers(4))], b=real),
    "negative numbers": rows(40, a=lambda r: float(r.integers(-5, 5)), b=lambda r: -(10.0 ** int(r.integers(5)))),
    "all repeats": [({"a": 1, "b": i % 2}, float(i % 2)) for i in range(20)],
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("case", CASES)
def test_every_part_answers(case: str, part: str) -> None:
    for direction in ("minimize",) if part == "importance" else ("maximize", "minimize"):
        assert_finite(PARTS[part](prepare(table(CASES[case], direction=direction))))


def assert_finite(found: object) -> None:
    """No number of a record is NaN or infinite: what cannot be given is None."""
    if isinstance(found, float):
        assert math.isfinite(found)
    elif dataclasses.is_dataclass(found):
        for each in dataclasses.fields(found):
            assert_finite(getattr(found, each.name))
    elif isinstance(found, Mapping):
        for value in found.values():
            assert_finite(value)
    elif isinstance(found, tuple | list):
        for value in found:
            assert_finite(value)


def test_ten_thousand_choices_are_quick_and_said_to_be_too_many() -> None:
    many = [({"a": f"v{i}", "b": i % 3}, float(i % 11)) for i in range(10_000)]
    data = prepare(table(many))
    found = {effect.parameter: effect for effect in effects(data)}
    assert found["a"].p is None
    assert "too few of each" in found["a"].why
    assert len(found["a"].rows) == 50
    assert found["b"].p is not None
    for part in PARTS.values():
        assert_finite(part(data))


def test_a_real_parameter_with_ten_thousand_values_is_shown_in_intervals() -> None:
    random = drawn(10_000)
    data = prepare(table([({"a": float(x)}, float(x + random.normal())) for x in random.random(10_000)]))
    (found,) = effects(data)
    assert [row.value for row in found.rows] == [None] * 4
    assert [row.n for row in found.rows] == [2500] * 4
    assert found.p is not None
    assert found.p < 1e-3  # of 300 trials


def test_parameters_that_always_changed_together_are_tested_jointly_and_named() -> None:
    found = {effect.parameter: effect for effect in effects(prepare(table(_twins(40))))}
    assert found["a"].together == found["b"].together == found["c"].together == ("a", "b", "c")
    assert found["a"].p == found["b"].p == found["c"].p is not None
    assert "of a and b and c jointly, which always changed together" in found["a"].method


def test_an_empty_space_and_a_space_wider_than_the_trials_do_no_harm() -> None:
    space = Space(
        parameters=(
            Choices(name="b", values=(0, 1, 2, 3), ordered=True),
            Real(name="a", low=0.0, high=100.0),
            Integer(name="unseen", low=1, high=4),
            Choices(name="size", values=("s", "m", "l"), ordered=True),
        )
    )
    some = rows(40, a=real, b=few, size=lambda r: ["m", "l"][int(r.integers(2))])
    for one in (space, Space()):
        data = prepare(table(some, space=one))
        for name, part in PARTS.items():
            if name != "importance" or one is space:
                assert_finite(part(data))


def test_a_conditional_parameter_with_few_active_trials_is_not_tested() -> None:
    space = Space(
        parameters=(
            Choices(name="kind", values=("cnn", "context"), ordered=False),
            Real(name="heads", low=0.0, high=1.0, when=parse("kind == 'context'")),
        )
    )
    random = drawn(60)
    some = [
        ({"kind": "context", "heads": real(random)} if i % 15 == 0 else {"kind": "cnn"}, float(random.normal()))
        for i in range(60)
    ]
    data = prepare(table(some, space=space))
    found = {effect.parameter: effect for effect in effects(data)}
    assert found["heads"].p is None
    assert found["heads"].why == "only 4 configurations with it: no test"
    assert [row.label for row in found["kind"].rows if row.underpowered] == ["context"]
    for part in PARTS.values():
        assert_finite(part(data))
