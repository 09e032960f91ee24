"""Filling a command line: nothing a parameter holds can become anything but an argument."""

from __future__ import annotations

import argparse
import json

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from hpo_batch.errors import UserError
from hpo_batch.objective.placeholders import (
    Template,
    as_args,
    as_overrides,
    check_placeholders,
    placeholders,
)
from hpo_batch.records import Value

_hydra = OverridesParser.create()
FACTS = {"trial_dir": "/logs/17 a", "trial_seed": "7", "trial_number": "17"}
PARAMS: dict[str, Value] = {"lr": 1e-05, "d_model": 64, "use": True, "skip": False, "text": "a b"}
HOSTILE = "'; touch /tmp/x; $(id) `id` \\ \" {lr} ${HOME} \n *"


def fill(command: str | list[str], params: dict[str, Value] = PARAMS) -> list[str]:
    return Template.parse(command).fill(params, FACTS)


def test_fills_after_splitting() -> None:
    argv = fill(
        "python 'my train.py' --lr={lr} --t {text} -o {trial_dir}/x --s {trial_seed}{trial_number} {use}/{skip}"
    )
    assert argv == [
        *("python", "my train.py", "--lr=1e-05", "--t", "a b", "-o", "/logs/17 a/x", "--s", "717", "true/false"),
    ]


def test_args_are_several_arguments() -> None:
    assert fill("x {args} y") == ["x", "--lr", "1e-05", "--d_model", "64", "--use", "--text", "a b", "y"]


def test_args_have_a_form_with_hyphens() -> None:
    params = {"batch_size": 3, "use_amp": True, "use_ema": False, "model.d_model": -1, "plain": "a_b"}
    assert fill("x {hyphen_args}", params) == [
        *("x", "--batch-size", "3", "--use-amp", "--model.d-model=-1", "--plain", "a_b"),
    ]
    told = check_placeholders("x {hyphen_args}", ["batch_size", "batch-size"], ())
    assert told == ["command: with {hyphen_args} several parameters become --batch-size"]


@given(st.text(st.sampled_from("ab/._-=,:()[]{}'\"\\ é~$"), min_size=1, max_size=20))
def test_hydra_reads_a_folder_of_any_name(folder: str) -> None:
    if "${" in folder:  # an interpolation, which Hydra has for this key, too
        return
    (word,) = Template.parse(["hydra.run.dir={trial_dir}"]).fill({}, {"trial_dir": f"/logs/{folder}"})
    assert _hydra.parse_override(word).value() == f"/logs/{folder}"


def test_overrides_are_several_arguments() -> None:
    assert fill("x {overrides}") == ["x", "lr=1e-05", "d_model=64", "use=true", "skip=false", "text='a b'"]


def test_params_json_is_one_argument() -> None:
    assert json.loads(fill(["x", "--config={params_json}"])[1].removeprefix("--config=")) == PARAMS


def test_doubled_braces_are_braces() -> None:
    assert fill(["{{lr}}", "{{{lr}}}", '{{"a": 1}}', "}}{{", ""]) == ["{lr}", "{1e-05}", '{"a": 1}', "}{", ""]


def test_a_value_is_never_read_again() -> None:
    assert fill(["x", "{text}", "{args}"], {"text": HOSTILE}) == ["x", HOSTILE, "--text", HOSTILE]


def test_a_dotted_name_is_looked_up_as_it_stands() -> None:
    assert fill("x {model.lr} {args}", {"model.lr": 1}) == ["x", "1", "--model.lr", "1"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("x {", "'{' without '}' in '{'"),
        ("x }", "'}' without '{' in '}'"),
        ("x {lr", "'{' without '}' in '{lr'"),
        ("x {lr{d_model}}", "'{' without '}'"),
        ("x {lr}}", "'}' without '{'"),
        ("x 'unbalanced", "cannot be split"),
        ("", "empty"),
        (
            "x --a={args}",
            "'{args}' expands to several arguments and must be a separate argument, but is part of '--a={args}'",
        ),
        (["x {overrides}"], "'{overrides}' expands to several arguments"),
    ],
)
def test_malformed_commands_are_refused(command: str | list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        placeholders(command)
    assert message in str(caught.value)
    assert check_placeholders(command, PARAMS, ()) == [str(caught.value)]


@pytest.mark.parametrize(
    "name",
    [
        "x.__class__",
        "lr.__class__",
        "0",
        "",
        "lr!r",
        "lr:>99999999999",
        "lr[0]",
        "__import__('os')",
        "LR",
        " lr ",
        "self",
    ],
)
def test_a_name_is_a_parameter_or_a_mistake(name: str) -> None:
    with pytest.raises(UserError, match="is not a parameter"):
        fill(["x", f"{{{name}}}"])
    assert len(check_placeholders(["x", f"{{{name}}}"], PARAMS, ())) == 1


def test_the_check_tells_all_mistakes() -> None:
    mistakes = check_placeholders(
        "x {lrr} {temperature} {args} {trial_dirr} {lr}", [*PARAMS, "temperature"], ["temperature"]
    )
    assert len(mistakes) == 3
    assert "did you mean '{lr}'?" in mistakes[0]
    assert "inactive in some trials" in mistakes[1]
    assert "did you mean '{trial_dir}'?" in mistakes[2]


def test_placeholders_are_all_names_in_braces() -> None:
    assert placeholders("x {lr} {args} {{no}} --a={trial_dir}") == {"lr", "args", "trial_dir"}


_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


@given(st.dictionaries(st.sampled_from(["a", "b_c", "d-e"]), st.one_of(_texts, st.floats(), st.integers())))
def test_argparse_reads_back_what_args_wrote(params: dict[str, Value]) -> None:
    parser = argparse.ArgumentParser()
    for name in ("a", "b_c", "d-e"):
        parser.add_argument(f"--{name}", dest=name, default=None)
    read = vars(parser.parse_args(as_args(params)))
    expected = {name: value if isinstance(value, str) else repr(value) for name, value in params.items()}
    assert {name: value for name, value in read.items() if value is not None} == expected


_nasty = st.text(st.sampled_from("\\'\"${}[](),:= \tabc.é~@|true"), max_size=12)


@given(st.one_of(_nasty, _texts, st.integers(), st.floats(allow_nan=False), st.booleans()))
def test_hydra_reads_back_what_overrides_wrote(value: Value) -> None:
    [override] = as_overrides({"x": value})
    parsed = _hydra.parse_override(override)
    assert not parsed.is_sweep_override()
    config = OmegaConf.create({"x": parsed.value()})
    assert config.x == value
    assert type(config.x) is type(value)
