"""Values of one parameter: bounds, cells, middle, and bringing a value given by hand into the parameter's own type."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo_batch.records import Value, is_finite
from hpo_batch.space import parameters
from hpo_batch.space.parameters import Choices, Fixed, Integer, Parameter, Real, same
from tests.space.spaces import make


def is_(a: Value | None, b: Value | None) -> bool:
    return type(a) is type(b) and a == b


@pytest.mark.parametrize(
    ("low", "step", "count", "expected"),
    [
        (0.1, 0.05, 3, [0.1, 0.15, 0.2]),
        (0.0, 0.1, 11, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        (-0.3, 0.1, 5, [-0.3, -0.2, -0.1, 0.0, 0.1]),
        (1e-5, 1e-5, 3, [1e-5, 2e-5, 3e-5]),
        (1000000.0, 0.0000001, 3, [1000000.0, 1000000.0000001, 1000000.0000002]),
    ],
)
def test_a_grid_has_the_values_that_one_would_write(low: float, step: float, count: int, expected: list[float]) -> None:
    parameter = Real(name="x", low=low, high=expected[-1], step=step)
    assert parameter.count == count
    assert [repr(value) for value in parameter.cells or ()] == [repr(value) for value in expected]


@given(
    st.decimals(min_value=-100, max_value=100, places=3),
    st.decimals(min_value="0.001", max_value=5, places=3),
    st.integers(1, 40),
)
def test_grids_are_exact_in_decimals(low: Decimal, step: Decimal, count: int) -> None:
    high = low + step * count
    parameter = make({"x": {"low": float(low), "high": float(high), "step": float(step)}}).by_name["x"]
    cells = parameter.cells or ()
    assert [repr(value) for value in cells] == [repr(float(low + step * i) + 0.0) for i in range(count + 1)]
    assert all(parameter.why_outside(value) is None and is_(parameter.normalise(value), value) for value in cells)
    # what floating-point arithmetic makes of the same value finds its way back
    noisy = [float(low) + i * float(step) for i in range(count + 1)]
    assert [parameter.normalise(value) for value in noisy] == list(cells)


def test_a_value_beside_the_grid_stays_what_it_is() -> None:
    parameter = Real(name="x", low=0.0, high=1.0, step=0.1)
    assert parameter.normalise(0.30000000000000004) == 0.3
    assert parameter.normalise(0.301) == 0.301
    assert parameter.why_outside(0.301) == "is not on the grid of step 0.1 from 0.0"
    assert parameter.normalise(1.05) == 1.05
    assert parameter.why_outside(1.05) == "is not between 0.0 and 1.0"


def test_a_fine_grid_does_not_swallow_other_values() -> None:
    parameter = Real(name="x", low=0.0, high=1e-12, step=1e-13)
    assert parameter.count == 11
    assert len(set(parameter.cells or ())) == 11
    assert parameter.normalise(1.5e-13) == 1.5e-13


@pytest.mark.parametrize(
    ("parameter", "given", "expected"),
    [
        (Integer(name="x", low=1, high=9), 3.0, 3),
        (Integer(name="x", low=1, high=9), 3.5, 3.5),
        (Integer(name="x", low=1, high=9), math.inf, math.inf),
        (Integer(name="x", low=1, high=9), True, True),
        (Real(name="x", low=0.0, high=9.0), 3, 3.0),
        (Real(name="x", low=-9.0, high=9.0), -0.0, 0.0),
        (Real(name="x", low=0.0, high=9.0), True, True),
        (Real(name="x", low=0.0, high=9.0), "3", "3"),
        (Choices(name="x", values=(32, 64), ordered=True), 64.0, 64),
        (Choices(name="x", values=(32, 64), ordered=True), 128.0, 128),
        (Choices(name="x", values=(32, 64), ordered=True), 48.5, 48.5),
        (Choices(name="x", values=(0.1, 0.3), ordered=True), 1, 1.0),
        (Choices(name="x", values=(1, 2.5), ordered=True), 2, 2),
        (Choices(name="x", values=(1, 2.5), ordered=True), 1.0, 1),
        (Choices(name="x", values=(True, False), ordered=False), 1, 1),
        (Choices(name="x", values=("a", "b"), ordered=False), 1, 1),
        (Fixed(name="x", value=8), 16.0, 16),
        (Fixed(name="x", value=8), 16.5, 16.5),
        (Fixed(name="x", value=0.5), 1, 1.0),
        (Fixed(name="x", value=True), 1, 1),
        (Fixed(name="x", value="a"), "b", "b"),
    ],
)
def test_values_given_by_hand_take_the_parameters_type(parameter: Parameter, given: Value, expected: Value) -> None:
    found = parameter.normalise(given)
    assert is_(found, expected)
    assert repr(found) == repr(expected)


def test_one_and_true_stay_apart_in_choices() -> None:
    parameter = Choices(name="x", values=(1, 1.0, True), ordered=False)
    assert [repr(parameter.normalise(value)) for value in (1, 1.0, True)] == ["1", "1.0", "True"]
    assert all(parameter.why_outside(value) is None for value in (1, 1.0, True))
    assert parameter.why_outside(False) == "is not one of 1, 1.0, True"
    assert not same(1, 1.0)
    assert not same(1, True)


@pytest.mark.parametrize(
    ("parameter", "value", "reason"),
    [
        (Integer(name="x", low=1, high=9, step=2), 4, "is not a multiple of 2 above 1"),
        (Integer(name="x", low=1, high=9, step=2), 5, None),
        (Integer(name="x", low=1, high=9), 0, "is not between 1 and 9"),
        (Integer(name="x", low=1, high=9), 1.5, "is not an integer"),
        (Integer(name="x", low=0, high=9), True, "is not an integer"),
        (Real(name="x", low=1.0, high=9.0), math.nan, "is not a finite number"),
        (Real(name="x", low=1.0, high=9.0), "2", "is not a finite number"),
        (Real(name="x", low=1.0, high=9.0), 9, None),
        (Choices(name="x", values=("a", "b"), ordered=False), "c", "is not one of 'a', 'b'"),
        (Fixed(name="x", value=5), 5.0, None),
        (Fixed(name="x", value=5), 6, "is fixed to 5"),
        (Fixed(name="x", value=1), True, "is fixed to 1"),
    ],
)
def test_why_a_value_is_outside(parameter: Parameter, value: Value, reason: str | None) -> None:
    assert parameter.why_outside(value) == reason


@pytest.mark.parametrize(
    ("parameter", "ends"),
    [
        (Choices(name="x", values=(96, 32, 64.5), ordered=True), (32, 64.5, 96)),
        (Choices(name="x", values=(32, 48, 64, 80), ordered=True), (32, 48, 80)),
        (Choices(name="x", values=("s", "m", "l"), ordered=True), ("s", "m", "l")),
        (Integer(name="x", low=2, high=6), (2, 4, 6)),
        (Integer(name="x", low=6, high=12, step=2), (6, 8, 12)),
        (Integer(name="x", low=1, high=1024, log=True), (1, 32, 1024)),
        (Real(name="x", low=0.0, high=0.5), (0.0, 0.25, 0.5)),
        (Real(name="x", low=0.0, high=0.5, step=0.1), (0.0, 0.2, 0.5)),
        (Real(name="x", low=1e-5, high=1e-3, log=True), (1e-5, 1e-4, 1e-3)),
    ],
)
def test_ends_and_middle(parameter: Choices | Integer | Real, ends: tuple[Value, Value, Value]) -> None:
    found = (parameter.low, parameter.middle, parameter.high)
    assert found == (ends[0], pytest.approx(ends[1]) if isinstance(ends[1], float) else ends[1], ends[2])
    assert parameter.why_outside(parameter.middle) is None


@pytest.mark.parametrize(
    "parameter",
    [
        Real(name="x", low=1e-300, high=1e-250, log=True),
        Real(name="x", low=1e200, high=1e300, log=True),
        Real(name="x", low=-1.7e308, high=1.7e308),
        Real(name="x", low=1.6e308, high=1.7e308),
        Integer(name="x", low=1, high=2**53, log=True),
    ],
)
def test_the_middle_lies_inside_even_of_extreme_ranges(parameter: Integer | Real) -> None:
    assert parameter.low < parameter.middle < parameter.high


def test_too_many_cells_are_none() -> None:
    assert Integer(name="x", low=0, high=parameters.MOST_CELLS - 1).count == parameters.MOST_CELLS
    assert Integer(name="x", low=0, high=parameters.MOST_CELLS).cells is None
    assert Real(name="x", low=0.0, high=1.0, step=1e-9).count is None
    assert Real(name="x", low=0.0, high=1.0).cells is None
    assert Real(name="x", low=0.5, high=0.5).cells == (0.5,)
    assert Integer(name="x", low=3, high=3).cells == (3,)
    assert Integer(name="x", low=1, high=8, step=3).cells == (1, 4, 7)
    assert Fixed(name="x", value="a").cells == ("a",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), (1.5, True), (10**400, False), (math.inf, False), (math.nan, False), (True, False), ("1", False)],
)
def test_what_counts_as_a_finite_number(value: object, expected: bool) -> None:
    assert is_finite(value) is expected
