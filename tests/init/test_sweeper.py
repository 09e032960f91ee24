"""What the sweepers of Hydra's plugins say of a space."""

from __future__ import annotations

from typing import Any

import pytest

from hpo_batch.init.sweeper import direction, domains


@pytest.mark.parametrize(
    ("given", "domain"),
    [
        ("interval(-5.5, 5)", {"low": -5.5, "high": 5.0}),
        ("tag(log, interval(1e-5, 1e-1))", {"low": 1e-5, "high": 0.1, "log": True}),
        ("tag(log, int(interval(1, 100)))", {"low": 1, "high": 100, "log": True}),
        ("int(interval(1, 8))", {"low": 1, "high": 8}),
        ("range(1, 9)", {"low": 1, "high": 8}),
        ("range(-1, 1, step=0.5)", {"low": -1.0, "high": 0.5, "step": 0.5}),
        ("choice(-5 ,0 ,5)", [-5, 0, 5]),
        ("sgd, adam", ["sgd", "adam"]),
        ("choice([1, 2], [3])", None),
        ("glob(*)", None),
        ("3", None),
        (["mnist", "cifar"], ["mnist", "cifar"]),
        ({"type": "float", "low": 0.1, "high": 1, "log": True}, {"low": 0.1, "high": 1, "log": True}),
        ({"type": "int", "low": 2, "high": 8, "step": 2}, {"low": 2, "high": 8, "step": 2}),
        ({"type": "categorical", "choices": [32, 64]}, [32, 64]),
        ({"type": "range", "bounds": [-5, 10]}, {"low": -5.0, "high": 10.0}),
        ({"type": "choice", "values": ["a", "b"]}, ["a", "b"]),
        ({"lower": 4, "upper": 16, "integer": True}, {"low": 4, "high": 16}),
        ({"init": 0.02, "step": 2.0, "log": True}, None),
        ({"type": "uniform_int", "lower": 8, "upper": 1024, "log": True}, {"low": 8, "high": 1024, "log": True}),
        ({"lower": 3, "upper": 3}, None),
        ("tag(" * 99 + "x" + ")" * 99, None),
        (3.5, None),
    ],
)
def test_the_forms_of_a_domain(given: object, domain: Any) -> None:
    assert domains({"params": {"x": given}}) == {"x": domain}


def test_the_space_of_each_plugin() -> None:
    assert domains({"search_space": {"x": {"type": "float", "low": 0, "high": 1}}}) == {"x": {"low": 0.0, "high": 1.0}}
    assert domains({"parametrization": {"x": ["a", "b"]}}) == {"x": ["a", "b"]}
    space = {"hyperparameters": {"x": {"lower": 0, "upper": 2}}, "conditions": []}
    assert domains({"search_space": space}) == {"x": {"low": 0.0, "high": 2.0}}
    assert domains(None) == domains({"params": None}) == domains({"search_space": "${space}"}) == {}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"direction": "maximize"}, "maximize"),
        ({"direction": ["minimize", "maximize"]}, None),
        ({"optim": {"maximize": True}}, "maximize"),
        ({"ax_config": {"experiment": {"minimize": False}}}, "maximize"),
        ({}, None),
        (None, None),
    ],
)
def test_the_direction(given: object, wanted: str | None) -> None:
    assert direction(given) == wanted
