"""The expression language: what it computes, what it refuses, and that nothing hostile gets further than an error."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Mapping

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpo_batch.errors import ExpressionError
from hpo_batch.expressions import MAX_DEPTH, MAX_LENGTH, parse, why_constant, written
from hpo_batch.records import Value
from tests.fuzzers.targets import check_computes_as_python, computable

VALUES: dict[str, Value] = {
    "d_model": 64,
    "n_heads": 4,
    "lr": 3e-4,
    "use_cosine": True,
    "encoder": "cnn",
    "nan": math.nan,
    "inf": math.inf,
}


def evaluate(text: str, values: Mapping[str, Value] = VALUES) -> Value:
    return parse(text).evaluate(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("d_model * 4", 256),
        ("d_model % n_heads == 0", True),
        ("d_model // 5 + -n_heads", 8),
        ("d_model / n_heads", 16.0),
        ("2 ** 10", 1024),
        ("2 ** -1", 0.5),
        ("1 < n_heads <= 4 != 5", True),
        ("1 < n_heads < 4", False),
        ("encoder == 'cnn' and not lr > 1", True),
        ("encoder == 3", False),
        ("encoder != 3", True),
        ("encoder in ('cnn', 'context')", True),
        ("encoder not in ['context', d_model]", True),
        ("d_model in (32, n_heads * 16)", True),
        ("d_model in ()", False),
        ("'a' < 'b'", True),
        ("len(encoder)", 3),
        ("True + 1", 2),
        ("'big' if d_model > 100 else 'small'", "small"),
        ("use_cosine", True),
        ("0 or 5", 5),
        ("0 and 5", 0),
        ("min(d_model, 3, 7.5)", 3),
        ("max(d_model, 3)", 64),
        ("round(2.567, 1)", 2.6),
        ("round(2.5)", 2),
        ("abs(-3) + ceil(1.2) + floor(1.8) + int(2.9)", 8),
        ("sqrt(16) + log(1) + log2(8) + log10(100) + exp(0) + float(1)", 11.0),
        ("log(8, 2)", 3.0),
        ("(d_model\n  + 1)", 65),
        ("  d_model  ", 64),
    ],
)
def test_computes_as_python_does(text: str, expected: Value) -> None:
    result = evaluate(text)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize("text", ["n_heads == 4 or 1 / 0 > 0", "n_heads > 4 and 1 / 0 > 0", "1 if True else 1 / 0"])
def test_what_is_not_needed_is_not_evaluated(text: str) -> None:
    evaluate(text)


def test_names_are_all_that_is_mentioned_without_functions() -> None:
    assert parse("max(a, b) > 2 or c in (d, 1)").names == {"a", "b", "c", "d"}


def test_a_name_may_be_that_of_a_function() -> None:
    assert evaluate("max + max(max, 2)", {"max": 1}) == 3


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('x')",
        "().__class__.__bases__[0].__subclasses__()",
        "(1).encoder",
        "encoder.class",
        "`",
        "``",
        "`a",
        "a`b`",
        "encoder.upper()",
        "encoder[0]",
        "(lambda: 1)()",
        "lambda: 1",
        "[x for x in (1, 2)]",
        "(x for x in (1, 2))",
        "{1: 2}",
        "{1, 2}",
        "(1, 2)",
        "[1, 2] == [1, 2]",
        "f'{encoder}'",
        "b'a' == b'a'",
        "1j",
        "None",
        "...",
        "(y := 3)",
        "lr is 1",
        "lr is not 1",
        "n_heads & 1",
        "n_heads | 1",
        "1 << 70",
        "~n_heads",
        "lr @ lr",
        "await lr",
        "yield lr",
        "max(*n_heads, 2)",
        "max(1, **lr)",
        "max(1, 2, key=abs)",
        "max(1)",
        "max()",
        "sqrt(1, 2)",
        "sum(1, 2)",
        "eval('1')",
        "open('/etc/passwd')",
        "encoder in 'cnn context'",
        "1 in (1, 2) in (True, 3)",
        "1 < (1, 2)",
        "encoder == 'cnn' or 'context'",
        "not 'cnn'",
        "import os",
        "lr = 3",
        "lr; lr",
        "lr\nlr",
        "(lr",
        "lr)",
        "",
        "   ",
        "\x00",
        "lr\x00",
        "\ud800",
        "'" + "a" * 10,
        "1e999",
        "99999999999999999999",
        "1" * 400,
        "0x" + "f" * 400,
        "1" * (MAX_LENGTH + 1),
        "x" * 10_000,
        "(" * 300 + ")" * 300,
        "(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1),
        "-" * 499 + "1",
        "not " * 120 + "True",
        "+".join("1" * 200),
        "abs(" * 51 + "1" + ")" * 51,
        "[" * 499,
        "{" * 499,
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1 / 0", "division by zero"),
        ("d_model % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("2 ** 2 ** 40", "64 bits"),
        ("10 ** 19", "64 bits"),
        ("9 ** 63", "64 bits"),
        ("(-2) ** 64", "64 bits"),
        ("9000000000000000000 + 9000000000000000000", "64 bits"),
        ("int(1e300)", "64 bits"),
        ("round(5, -1000000000)", "digits"),
        ("round(5, 1.0)", "digits"),
        ("'a' * 1000000000", "text"),
        ("1000000000 * 'a'", "text"),
        ("'a' + 'b'", "text"),
        ("'%s' % 3", "text"),
        ("-'a'", "text"),
        ("encoder < 3", "order"),
        ("encoder and True", "neither true nor false"),
        ("1 if encoder else 2", "neither true nor false"),
        ("len(3)", "takes a text"),
        ("int('3')", "takes numbers"),
        ("min('a', 'b')", "takes numbers"),
        ("sqrt(-1)", "no value"),
        ("log(0)", "no value"),
        ("exp(1000)", "too large"),
        ("1e308 * 10", "too large"),
        ("10.0 ** 400", "too large"),
        ("(-1) ** 0.5", "real"),
        ("inf - inf", "not a number"),
        ("int(nan)", "no value"),
        ("d_modle", "did you mean 'd_model'"),
        ("__import__", "has no value"),
        ("__builtins__", "has no value"),
    ],
)
def test_evaluation_that_has_no_result_is_an_error_that_says_why(text: str, why: str) -> None:
    with pytest.raises(ExpressionError, match=why) as caught:
        evaluate(text)
    assert repr(text) in str(caught.value)


def test_an_error_names_the_piece() -> None:
    with pytest.raises(ExpressionError, match=r"at 'd_model / \(n_heads - 4\)': division by zero"):
        evaluate("1 + d_model / (n_heads - 4) > 3")
    with pytest.raises(ExpressionError, match=r"'encoder\.name\[0\]' is not allowed"):
        parse("1 + encoder.name[0] > 3")
    with pytest.raises(ExpressionError, match=r"at '`d-model` / \(n_heads - 4\)': division by zero"):
        parse("1 + `d-model` / (n_heads - 4) > 3").evaluate({"d-model": 2, "n_heads": 4})


@pytest.mark.parametrize(
    ("text", "values", "result"),
    [
        ("model.encoder.kind == 'cnn'", {"model.encoder.kind": "cnn"}, True),
        ("`batch-size` > 32 and lr < 1", {"batch-size": 64, "lr": 0.5}, True),
        ("model.`class` * 2", {"model.class": 3}, 6),
        ("`model.class` - `a b`", {"model.class": 3, "a b": 1}, 2),
        ("`größe` - `größe-2`", {"größe": 3, "größe-2": 1}, 2),
        ("kind == '`kind`'", {"kind": "`kind`"}, True),
        ('kind == "it\'s `kind`"', {"kind": "it's `kind`"}, True),
        ("`lambda` + max", {"lambda": 1, "max": 2}, 3),
        ("`+trainer.lr` in (0.1, 0.2)", {"+trainer.lr": 0.2}, True),
    ],
)
def test_names_with_dots_and_names_in_backticks(text: str, values: dict[str, Value], result: Value) -> None:
    expression = parse(text)
    assert expression.names == set(values)
    assert expression.evaluate(values) == result
    assert pickle.loads(pickle.dumps(expression)).evaluate(values) == result
    assert [parse(written(name)).evaluate(values) for name in values] == list(values.values())


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("1 == 2", "it"),
        ("False", "it"),
        ("max(1, 2) > 1", "it"),
        ("\"model.kind\" == 'tx'", "it"),
        ("x > 1 and 1 == 2", "'1 == 2'"),
        ("x > 1 or not True", "'True'"),
        ("x if 2 > 1 else 3", "'2 > 1'"),
        ("x > 1 and 'kind' in ('a', 'b')", "\"'kind' in ('a', 'b')\""),
    ],
)
def test_what_is_always_the_same_is_told(text: str, piece: str) -> None:
    why = why_constant(parse(text), ["x", "kind", "model.kind"])
    assert f": {piece} contains no names" in why
    quoted = {"kind", "model.kind"} & {name for name in ("kind", "model.kind") if f"'{name}'" in text.replace('"', "'")}
    assert all(f"write {name} without quotes for the parameter" in why for name in quoted)


@pytest.mark.parametrize("text", ["x > 1", "x == 'kind'", "x", "1 < x < 2", "max(x, 1) > 2", "not x", "x in (1, 2)"])
def test_what_depends_on_a_value_is_not(text: str) -> None:
    assert why_constant(parse(text), ["x", "kind"]) == ""


@pytest.mark.parametrize("text", ["nan + 1", "min(1, nan)", "max(nan, 1)", "max(1, nan)", "sqrt(nan)"])
def test_nan_comes_out_only_where_it_went_in(text: str) -> None:
    result = evaluate(text)
    assert isinstance(result, float)
    assert math.isnan(result)


def test_infinity_from_outside_may_pass() -> None:
    assert evaluate("inf + 1") == math.inf


def test_values_of_other_types_are_refused() -> None:
    with pytest.raises(ExpressionError, match="'x' is a list"):
        evaluate("x", {"x": [1]})  # type: ignore[dict-item]
    with pytest.raises(ExpressionError, match="64 bits"):
        evaluate("x == 1", {"x": 10**10_000})


def test_numpy_numbers_divide_like_pythons() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(ExpressionError, match="division by zero"):
        evaluate("1 / x", {"x": numpy.float64(0)})


def test_truth_is_of_conditions_and_numbers_only() -> None:
    assert parse("n_heads == 4").truth(VALUES) is True
    assert parse("n_heads - 4").truth(VALUES) is False
    with pytest.raises(ExpressionError, match="neither true nor false"):
        parse("encoder").truth(VALUES)


def test_is_a_value() -> None:
    expression = parse("a + 1")
    assert parse("a + 1") is expression
    assert expression == parse(" a + 1 ")
    copy = pickle.loads(pickle.dumps(expression))
    assert copy == expression
    assert copy.evaluate({"a": 1}) == 2


def test_names_are_normalized_as_python_normalizes_them() -> None:
    assert evaluate("größe + ﬁ", {"größe": 1, "fi": 2}) == 3


def test_a_hundred_thousand_evaluations_take_about_a_second() -> None:
    constraint = parse("d_model % n_heads == 0 and lr < 0.1")
    started = time.process_time()
    for _ in range(100_000):
        constraint.truth(VALUES)
    assert time.process_time() - started < 3


@given(computable)
@settings(max_examples=500, deadline=None)
def test_gives_what_python_gives_or_an_error(text: str) -> None:
    check_computes_as_python(text)


_FRAGMENTS = [
    *("(", ")", "[", "]", "{", "}", "lambda x:", " if ", " else ", " for ", " in ", "not ", "and", "or", "**", "10"),
    *("9" * 30, "'a'", '"', "'", ".", "__class__", ":=", ":", ",", "*", "=", "is", "max(", "round(", "d_model", "lr"),
    *(
        "1e308",
        "\\",
        "\n",
        "\t",
        "\x00",
        "f'{",
        "b'",
        "#",
        "...",
        "yield",
        "await",
        "-",
        "~",
        "@",
        "é",
        "\u202e",
        "\ud800",
    ),
]


@given(st.one_of(st.text(max_size=600), st.lists(st.sampled_from(_FRAGMENTS), max_size=200).map("".join)))
@example("𠂀")
@example("(" * 200)
@example("-" * 500)
@example("{" * 500)
@example("lambda:" * 70)
@example("10**" * 100 + "10")
@settings(max_examples=1500, deadline=500)
def test_arbitrary_text_gives_a_value_or_an_expression_error(text: str) -> None:
    try:
        result = evaluate(text)
    except ExpressionError:
        return
    assert isinstance(result, bool | int | float | str)
