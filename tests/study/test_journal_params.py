"""Distributions are written without Optuna, and are what Optuna would have written."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import distribution_to_json, json_to_distribution

from hpo_batch.records import Configuration, Value
from hpo_batch.space.parameters import Choices, Fixed, Integer, Real
from hpo_batch.space.space import Space
from hpo_batch.study.distributions import distribution_of
from hpo_batch.study.journal_params import JournalParams, stored, stored_around
from tests.space.spaces import Drawn, drawn_spaces, make

PARAMETERS: dict[str, dict[str, Any]] = {
    "choices": {"c": {"choices": [7, 2.0, True, "1", 'a "ü" \\']}},
    "floats": {"c": [0.1, 1e-7, 5e-324, 1.7976931348623157e308]},
    "integers": {"c": {"low": -3, "high": 2**52}},
    "steps": {"c": {"low": 1, "high": 9, "step": 4}},
    "log integers": {"c": {"low": 1, "high": 4096, "log": True}},
    "reals": {"c": {"low": -0.5, "high": 1.5}},
    "log reals": {"c": {"low": 1e-6, "high": 1e-1, "log": True}},
    "steps of reals": {"c": {"low": 0.1, "high": 0.7, "step": 0.1}},
    "one value": {"c": {"low": 2.5, "high": 2.5}},
}


def assert_optunas(text: str) -> None:
    """Optuna reads the text, and would write the same."""
    assert distribution_to_json(json_to_distribution(text)) == text


@pytest.mark.parametrize("raw", PARAMETERS.values(), ids=PARAMETERS)
def test_each_kind_of_parameter(raw: dict[str, Any]) -> None:
    (parameter,) = make(raw).searched
    assert_optunas(stored(parameter).text)
    assert distribution_to_json(distribution_of(parameter)) == stored(parameter).text


@settings(deadline=None, max_examples=200)
@given(drawn_spaces(), st.data())
def test_configurations_of_any_space_are_read_back_by_optuna(drawn: Drawn, data: st.DataObject) -> None:
    space = make(drawn.raw)
    assert_read_back(space, space.resolve(data.draw(st.sampled_from(drawn.combinations()))))


def assert_read_back(space: Space, configuration: Configuration) -> None:
    numbers, texts = JournalParams(space)(configuration)
    assert numbers.keys() == texts.keys() == {*configuration.searched, *configuration.fixed}
    for name, value in {**configuration.searched, **configuration.fixed}.items():
        assert_optunas(texts[name])
        distribution = json_to_distribution(texts[name])
        assert type(numbers[name]) in (float, int)
        assert distribution._contains(numbers[name])
        found = distribution.to_external_repr(numbers[name])
        assert (type(found), found) == (type(value), value)


BESIDE = [True, 7, -7, 2.5, 1e9, "x", ""]


@pytest.mark.parametrize("value", BESIDE, ids=repr)
@pytest.mark.parametrize("raw", PARAMETERS.values(), ids=PARAMETERS)
def test_a_value_beside_those_of_its_parameter_is_kept_too(raw: dict[str, Any], value: Value) -> None:
    (parameter,) = make(raw).searched
    found = stored_around(parameter, value)
    assert_optunas(found.text)
    distribution = json_to_distribution(found.text)
    assert distribution._contains(found.internal(value))
    back = distribution.to_external_repr(found.internal(value))
    assert back == value
    if not isinstance(parameter, Real | Integer):
        assert type(back) is type(value)


def test_a_fixed_value_is_the_only_choice() -> None:
    space = make({"c": {"value": 3}, "x": [1, 2]})
    (fixed,) = space.fixed
    assert isinstance(fixed, Fixed)
    assert stored_around(fixed, 3).choices == (3,)
    assert_read_back(space, space.resolve({"x": 1}))
    assert isinstance(space.by_name["x"], Choices)
    assert isinstance(
        json_to_distribution(stored(space.by_name["x"]).text), optuna.distributions.CategoricalDistribution
    )


def test_none_of_it_loads_optuna() -> None:
    code = (
        "import sys, hpo_batch.study.journal_params, hpo_batch.study.samplers, hpo_batch.study.pruners\n"
        "print([m for m in ('optuna', 'numpy', 'scipy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
