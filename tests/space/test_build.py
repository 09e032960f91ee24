"""Every mistake that ``[space]`` can hold, each told with its key, and none that stops the others from being told."""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo_batch.errors import ExpressionError
from hpo_batch.space.build import build
from hpo_batch.space.declaration import SYNONYMS
from hpo_batch.space.parameters import Choices, Fixed, Integer, Real
from hpo_batch.space.space import Space
from tests.space.spaces import make

HUGE = 10**400


def told(raw: dict[str, Any], **options: bool) -> list[tuple[str, str]]:
    _, problems = build(raw, **options)
    return [(".".join(str(part) for part in problem.key), problem.message) for problem in problems]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, Fixed(name="x", value=5)),
        (True, Fixed(name="x", value=True)),
        ("a", Fixed(name="x", value="a")),
        ({"value": 0.5}, Fixed(name="x", value=0.5)),
        ([3, 1, 2], Choices(name="x", values=(3, 1, 2), ordered=True)),
        (["b", "a"], Choices(name="x", values=("b", "a"), ordered=False)),
        ([False, True], Choices(name="x", values=(False, True), ordered=False)),
        ({"choices": ["s", "l"], "ordered": True}, Choices(name="x", values=("s", "l"), ordered=True)),
        ({"choices": ["s", "l"], "weights": [3, 1]},
         Choices(name="x", values=("s", "l"), ordered=False, weights=(3.0, 1.0))),
        ({"choices": [16, 32], "limits": [64, 8, 16, 32]},
         Choices(name="x", values=(16, 32), ordered=True, limits=(8, 16, 32, 64))),
        ({"choices": ["s", "l"], "ordered": True, "limits": ["xs", "s", "l", "xl"]},
         Choices(name="x", values=("s", "l"), ordered=True, limits=("xs", "s", "l", "xl"))),
        ({"low": 2, "high": 6}, Integer(name="x", low=2, high=6)),
        ({"low": 2, "high": 6, "step": 2, "limits": [0, 8]}, Integer(name="x", low=2, high=6, step=2, limits=(0, 8))),
        ({"low": 1, "high": 64, "log": True}, Integer(name="x", low=1, high=64, log=True)),
        ({"low": 0.0, "high": 0.5, "step": 0.05, "limits": [0, 0.9]},
         Real(name="x", low=0.0, high=0.5, step=0.05, limits=(0.0, 0.9))),
        ({"low": 1e-5, "high": 5e-4, "log": True}, Real(name="x", low=1e-5, high=5e-4, log=True)),
        ({"low": 0.0, "high": 1.0, "step": 1}, Real(name="x", low=0.0, high=1.0, step=1.0)),
        ({"low": 3, "high": 3}, Integer(name="x", low=3, high=3)),
    ],
)  # fmt: skip
def test_kinds_of_parameter(value: Any, expected: object) -> None:
    assert make({"x": value}).parameters == (expected,)


@pytest.mark.parametrize(
    ("value", "key", "message"),
    [
        (math.nan, "", "a value must be finite"),
        (math.inf, "", "a value must be finite"),
        (2**53 + 1, "", "an integer of more than 53 bits is not exact in Optuna"),
        (HUGE, "", "an integer of more than 53 bits is not exact in Optuna"),
        (datetime.date(2024, 1, 1), "", "a date cannot be a value: use a number, a string, true or false"),
        (datetime.datetime(2024, 1, 1), "", "a datetime cannot be a value: use a number, a string, true or false"),
        ([], "", "choices must be a list with at least one value"),
        ([[1, 2], [3]], "", "choice [1, 2]: a list cannot be a value; name each list with a string"),
        ([[[1]], 2], "", "choice a nested list: a list cannot be a value"),
        ([{"a": 1}], "", "choice a table: a dict cannot be a value"),
        ([1, math.inf], "", "choice inf: a value must be finite"),
        ([1, HUGE], "", "choice an integer of 1329 bits: an integer of more than 53 bits"),
        ([8, 16, 8], "", "choice 8 is listed twice; to draw a choice more often, use 'weights'"),
        (["a", "a"], "", "choice 'a' is listed twice"),
        ([1, True, 1.0], "", "choices 1 and true are equal as numbers and cannot be distinguished; use strings"),
        ([0.5, 1, 1.0], "", "choices 1 and 1.0 are equal as numbers"),
        ({"choices": "abc"}, ".choices", "choices must be a list"),
        ({"choices": [1, 2], "weights": [1]}, ".weights", "weights must be a list of 2 numbers, one for each choice"),
        ({"choices": [1, 2], "weights": 3}, ".weights", "weights must be a list of 2 numbers"),
        ({"choices": [1, 2], "weights": [0, 0]}, ".weights", "at least one of them above 0"),
        ({"choices": [1, 2], "weights": [-1, 2]}, ".weights", "weights must be numbers >= 0"),
        ({"choices": [1, 2], "weights": [math.nan, 2]}, ".weights", "weights must be numbers >= 0"),
        ({"choices": [1, 2], "weights": [HUGE, 2]}, ".weights", "weights must be numbers >= 0"),
        ({"choices": [1, 2], "weights": [1e308, 1e308]}, ".weights", "weights must be numbers >= 0"),
        ({"choices": [1, 2], "weights": [True, 2]}, ".weights", "weights must be numbers >= 0"),
        ({"choices": [1, 2], "ordered": 1}, ".ordered", "ordered must be true or false"),
        ({"choices": [1, 2], "low": 1}, ".low", "'low' is not a key of a parameter with choices"),
        ({"value": [1, 2]}, ".value", "a list cannot be a value"),
        ({"value": 1, "log": True}, ".log", "'log' is not a key of a parameter with value"),
        ({"low": 1}, "", "'high' is missing: a range needs both ends"),
        ({"low": 2, "high": 1}, ".low", "low (2) is above high (1)"),
        ({"low": "1", "high": 2}, ".low", "'low' must be a finite number, not '1'"),
        ({"low": True, "high": 2}, ".low", "'low' must be a finite number, not true"),
        ({"low": math.nan, "high": 2.0}, ".low", "'low' must be a finite number, not nan"),
        ({"low": 0.0, "high": math.inf}, ".high", "'high' must be a finite number, not inf"),
        ({"low": 0, "high": HUGE}, ".high", "'high' must be a finite number, not an integer of 1329 bits"),
        ({"low": -(2**60), "high": 0}, ".low", "an integer of more than 53 bits is not exact in Optuna"),
        ({"low": 0, "high": 2**60}, ".high", "an integer of more than 53 bits is not exact in Optuna"),
        ({"low": 0, "high": 1.0}, ".low", "one end is an integer and the other is not: write both the same way"),
        ({"low": 0.0, "high": 1}, ".high", "one end is an integer and the other is not: write both the same way"),
        ({"low": 0.0, "high": 1.0, "log": True}, ".low", "a range with log = true needs low above 0, not 0.0"),
        ({"low": -1, "high": 4, "log": True}, ".low", "a range with log = true needs low above 0, not -1"),
        ({"low": 0.1, "high": 1.0, "log": "yes"}, ".log", "log must be true or false"),
        ({"low": 0.0, "high": 0.5, "step": 0.2}, ".step",
         "step 0.2 from 0.0 misses high (0.5); the last value before it is 0.4"),
        ({"low": 1, "high": 8, "step": 2}, ".step", "step 2 from 1 misses high (8); the last value before it is 7"),
        ({"low": 0.0, "high": 1.0, "step": 0.3333333333333333}, ".step", "step 0.3333333333333333 from 0.0 misses"),
        ({"low": 1, "high": 8, "step": 9}, ".step", "step 9 from 1 misses high (8)"),
        ({"low": 1, "high": 5, "step": 0.5}, ".step", "the step of an integer range must be an integer"),
        ({"low": 0.0, "high": 1.0, "step": 0}, ".step", "step must be a number above 0, not 0"),
        ({"low": 0.0, "high": 1.0, "step": -0.5}, ".step", "step must be a number above 0, not -0.5"),
        ({"low": 0.0, "high": 1.0, "step": HUGE}, ".step", "step must be a number above 0"),
        ({"low": 0.0, "high": 1.0, "step": math.nan}, ".step", "step must be a number above 0, not nan"),
        ({"low": 0.1, "high": 1.0, "step": 0.1, "log": True}, ".step", "step and log = true exclude each other"),
        ({"low": 0.0, "high": 1.0, "step": 1e-300}, ".step", "is too small beside 0.0 and 1.0 to make a difference"),
        ({"low": -1e308, "high": 1e308, "step": 0.1}, ".step", "is too small beside"),
        ({"low": 1, "high": 5, "limits": [2, 9]}, ".limits", "limits [2, 9] do not contain the range 1 to 5"),
        ({"low": 1, "high": 5, "limits": [1, math.inf]}, ".limits", "limits must be two numbers: [lowest, highest]"),
        ({"low": 1, "high": 5, "limits": [0.5, 9]}, ".limits", "the limits of an integer range must be integers"),
        ({"low": 1, "high": 5, "limits": 9}, ".limits", "limits must be two numbers"),
        ({"low": 1, "high": 5, "limits": [1, 2, 3]}, ".limits", "limits must be two numbers"),
        ({"choices": [8, 16], "limits": [4, 32]}, ".limits",
         "limits [4, 32] do not contain the choice 8: they list all values that may be chosen from"),
        ({"choices": [8, 16], "limits": [8.0, 16.0]}, ".limits", "do not contain the choice 8"),
        ({"choices": [8, 16], "limits": 32}, ".limits", "limits: choices must be a list"),
        ({"choices": [8, 16], "limits": []}, ".limits", "limits: choices must be a list with at least one value"),
        ({"choices": [8, 16], "limits": [8, 8, 16]}, ".limits", "limits: choice 8 is listed twice"),
        ({"choices": ["a", "b"], "limits": ["a", "b", "c"]}, ".limits", "limits of choices without an order mean"),
        ({"choices": ["s", "l"], "ordered": True, "limits": ["l", "s"]}, ".limits",
         "limits and choices are not in the same order"),
        ({}, "", "a table must declare a parameter with low and high, with choices, or with value"),
        ({"log": True}, "", "a table must declare a parameter with low and high, with choices, or with value"),
        ({"lr": 0.1}, "", 'a parameter with a dot in its name needs quotes: "x.lr" = ...'),
        ({"when": datetime.date(2024, 1, 1)}, "", "a table must declare a parameter"),
        ({"choices": [1, 2], "when": True}, ".when", "a condition is an expression in quotes"),
        ({"choices": [1, 2], "when": "x >"}, ".when", "it cannot be read"),
        ({"choices": [1, 2], "when": "a.b > 1"}, ".when", "'a.b' is not a parameter"),
        ({"choices": [1, 2], "when": "x > 1"}, ".when", "these depend on each other: x -> x"),
    ],
)  # fmt: skip
def test_mistakes_of_a_parameter(value: Any, key: str, message: str) -> None:
    ((found, words),) = told({"x": value})
    assert found == f"space.x{key}"
    assert message in words


def test_hints_are_given_only_where_they_help() -> None:
    assert "quoted" not in told({"x": {}})[0][1]
    assert "quoted" not in told({"x": {"log": True}})[0][1]
    assert "quoted" not in told({"x": {"lo": 1, "hi": 2}})[0][1]
    _, (problem,) = build({"x": {"hihg": 2.0, "low": 1.0}})
    assert (problem.guess, problem.allowed) == ("high", "low, high, log, step, when, limits, before")
    _, (problem,) = build({"x": {"chioces": [1]}})
    assert problem.guess == "choices"


def test_several_mistakes_of_one_parameter() -> None:
    assert [key for key, _ in told({"x": {"low": 3.0, "high": 1, "step": "a", "log": 1, "when": 3}})] == [
        "space.x.when", "space.x.log", "space.x.step",
    ]  # fmt: skip
    assert [key for key, _ in told({"x": {"low": 3.0, "high": 1, "logg": True}})] == [
        "space.x.logg", "space.x.high", "space.x.low",
    ]  # fmt: skip
    assert [key for key, _ in told({"x": {"choices": [1, 2], "weights": [1], "ordered": 1, "when": ")"}})] == [
        "space.x.weights", "space.x.ordered", "space.x.when",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "a parameter's name cannot be empty or have spaces around it"),
        (" x", "a parameter's name cannot be empty or have spaces around it"),
        ("\t", "a parameter's name cannot be empty or have spaces around it"),
        ("x" * 200, "at most 100 characters, all printable"),
        ("a\x00b", "at most 100 characters, all printable"),
        ("a\nb", "at most 100 characters, all printable"),
        ("a\u202eb", "at most 100 characters, all printable"),
        ("True", "'True' is a value, not a name"),
        ("trial_dir", "names that begin with 'trial_' are reserved"),
        ("trial_", "names that begin with 'trial_' are reserved"),
        ("args", "'args' is reserved for the placeholder {args} of commands"),
        ("n_params", "'n_params' is the count that [objective] n_params returns"),
        ("-x", "no braces or backticks and does not begin with '-'"),
        ("{x}", "no braces"),
    ],
)
def test_names_that_are_refused(name: str, message: str) -> None:
    ((key, words),) = told({name: [1, 2]})
    assert key == f"space.{name}"
    assert message in words
    (((key, words)),) = told({"a": 1, "derived": {name: "a"}})
    assert key == f"space.derived.{name}"
    assert message in words


@pytest.mark.parametrize(
    "name", ["lr", "model.lr", "größe", "学习率", "<script>", "my rate", "x" * 100, "match", "min"]
)
def test_names_that_are_allowed(name: str) -> None:
    space = make({name: [1, 2]})
    assert space.resolve({name: 2}).searched == {name: 2}


def test_names_of_functions_may_be_parameters_in_expressions() -> None:
    space = make({"min": [1, 2], "len": [3, 4], "derived": {"both": "min(min, len) + len"}})
    assert space.resolve({"min": 2, "len": 3}).derived == {"both": 5}


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('x')", "2**2**40 > 1", "'a'*10**9 == a", "a" * 501, "(" * 60 + "1" + ")" * 60,
     "a.__class__", "[i for i in (1, 2)]", "a[0]", "lambda: 1", "f'{a}'", "99999999999999999999 > a", ""],
)  # fmt: skip
@pytest.mark.parametrize("place", ["derived", "constraints", "when"])
def test_hostile_expressions_are_refused(text: str, place: str) -> None:
    raw: dict[str, Any] = {"a": [1, 2]}
    if place == "when":
        raw["b"] = {"choices": [1, 2], "when": text}
        key = "space.b.when"
    else:
        raw[place] = {"c": text}
        key = f"space.{place}.c"
    space, problems = build(raw)
    if not problems:  # well-formed, and refused when it is computed
        assert re.search(r"64 bits|a text", why_not(space, {"a": 1, "b": 1}))
        return
    assert [".".join(map(str, problem.key)) for problem in problems] == [key]


def why_not(space: Space, values: dict[str, Any]) -> str:
    try:
        return str(space.why_invalid(space.resolve(values)))
    except ExpressionError as error:
        return str(error)


def test_tables_of_expressions() -> None:
    assert told({"derived": [1, 2], "constraints": 3}) == [
        ("space.derived", "[space.derived] must be a table of expressions"),
        ("space.constraints", "[space.constraints] must be a table of expressions"),
    ]
    assert told({"a": 1, "derived": {"d": 3}, "constraints": {"c": True}}) == [
        ("space.derived.d", "an expression must be in quotes"),
        ("space.constraints.c", "an expression must be in quotes"),
    ]
    assert told({"a": 1, "derived": {"a": "2"}}) == [("space.derived.a", "'a' is also a parameter")]


def test_unknown_names_are_told_with_the_nearest() -> None:
    _, problems = build(
        {
            "d_model": [32, 64],
            "broken": {"low": 5, "high": 1, "when": "d_mode > 1"},
            "child": {"choices": [1, 2], "when": "d_mdel > broken"},
            "derived": {"d_ff": "d_modl * 4", "bad": "1 +"},
            "constraints": {"c": "d_fff > bad + nothing_like_it"},
        }
    )
    assert [(problem.key[-1], problem.message.split(" is ")[0], problem.guess) for problem in problems] == [
        ("low", "low (5)", ""),
        ("bad", "expression '1 +': it cannot be read; allowed are names (in backticks if they are not identifiers: "
         "`batch-size`), numbers, text, True, False, + - * / // % **, == != < <= > >=, and, or, not, 'in (...)', "
         "'a if b else c' and the functions abs, ceil, exp, float, floor, int, len, log, log10, log2, max, min, round, "
         "sqrt", ""),
        ("when", "'d_mdel'", "d_model"),
        ("d_ff", "'d_modl'", "d_model"),
        ("c", "'d_fff'", "d_ff"),
        ("c", "'nothing_like_it'", ""),
    ]  # fmt: skip
    assert problems[2].allowed == "bad, broken, child, d_ff, d_model"


def test_n_params_needs_the_objectives_count_and_stands_in_constraints_only() -> None:
    raw = {"a": {"choices": [1, 2], "when": "n_params > 1"}, "constraints": {"c": "n_params < 5"}}
    message = "'n_params' works in constraints only, and needs [objective] n_params"
    assert told(raw) == [("space.a.when", message), ("space.constraints.c", message)]
    assert told(raw, with_n_params=True) == [("space.a.when", message)]


def test_every_circle_is_told_once() -> None:
    assert told(
        {
            "a": {"choices": [1, 2], "when": "b > 1"},
            "b": {"choices": [1, 2], "when": "a > 1"},
            "c": {"choices": [1, 2], "when": "d > 1"},
            "behind": {"choices": [1, 2], "when": "a > 1"},
            "derived": {"d": "c + 1", "e": "e"},
        }
    ) == [
        ("space.a.when", "these depend on each other: a -> b -> a"),
        ("space.c.when", "these depend on each other: c -> d -> c"),
        ("space.derived.e", "these depend on each other: e -> e"),
    ]


def test_what_is_sound_is_there_to_look_for_more() -> None:
    space, problems = build({"a": {"low": 2, "high": 1}, "b": {"choices": [1, 2], "when": "a > 1"}, "c": [1, 2]})
    assert len(problems) == 1
    assert [p.name for p in space.parameters] == ["b", "c"]
    assert space.order == ("b", "c")


def test_thousands_of_parameters_with_as_many_mistakes() -> None:
    """Guessing is bounded: it would take minutes to compare every unknown name with every known one."""
    raw = {f"parameter_{i}": {"choices": [1, 2], "when": f"parametr_{i + 1} > 1"} for i in range(1000)}
    _, problems = build(raw)
    assert len(problems) == 1000
    assert all(problem.allowed.endswith("... (970 more)") for problem in problems)
    assert problems[0].guess.startswith("parameter_")


KEYS = ["low", "high", "step", "log", "limits", "choices", "weights", "ordered", "value", "when", "lo"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=6,
)


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c d", "derived", "constraints"]) | st.text(max_size=3), values, max_size=4
    )
)
def test_nothing_crashes(raw: dict[str, Any]) -> None:
    space, problems = build(raw)
    assert isinstance(space, Space)
    assert space.order is not None
    assert all(problem.key[0] == "space" and problem.message for problem in problems)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"values": [1, 2]}, "; did you mean 'choices'?"),
        ({"min": 1, "max": 2}, ": write low for min, high for max"),
        ({"min": 1, "max": 2, "q": 1}, ": write low for min, high for max, step for q"),
        ({"low": 1, "max": 2}, "; did you mean 'high'?"),
        ({"low": 1, "high": 2, "if": "b > 1"}, "; did you mean 'when'?"),
        ({"choices": [1, 2], "probabilities": [1, 2]}, "; did you mean 'weights'?"),
        ({"lower": 1, "upper": 2}, ": write low for lower, high for upper"),
        ({"Values": [1, 2]}, "; did you mean 'choices'?"),
    ],
)
def test_words_of_other_tools_are_told_as_ours(raw: dict[str, object], words: str) -> None:
    (problem, *_) = build({"a": raw, "b": [1, 2]})[1]
    hint = f"; did you mean '{problem.guess}'?" if problem.guess else ""
    assert words in f"{problem.message}{hint}"
    meant = {SYNONYMS.get(key.lower(), key): value for key, value in raw.items()}  # as it says
    assert build({"a": meant, "b": [1, 2]})[1] == []
