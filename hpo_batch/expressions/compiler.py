"""Compiles a syntax tree into nested closures, refusing every node that is not listed."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from hpo_batch.expressions.language import ARITHMETIC, FUNCTIONS, INSTEAD, INT_LIMIT, MAX_DEPTH, MAX_DIGITS, ORDER
from hpo_batch.expressions.names import dotted_name
from hpo_batch.expressions.source import Source, suggestion
from hpo_batch.records import Value

Run: TypeAlias = Callable[[Mapping[str, Value]], Any]
"""evaluates a node, given values by name"""


class Compiler:
    """Compiles one expression."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.names: set[str] = set()
        self.constants: list[str] = []
        """text of conditions without any name"""

    def compile(self, node: ast.expr, depth: int = 1) -> Run:
        # every level is a Python call at run time
        if depth > MAX_DEPTH:
            raise self.source.error(f"it is nested or chained deeper than {MAX_DEPTH} levels")
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.UnaryOp():
                return self._unary(node, depth)
            case ast.BinOp():
                return self._binary(node, depth)
            case ast.BoolOp():
                return self._logic(node, depth)
            case ast.Compare():
                return self._compare(node, depth)
            case ast.IfExp():
                return self._conditional(node, depth)
            case ast.Call():
                return self._call(node, depth)
        raise self.source.refused(node)

    def _constant(self, node: ast.Constant) -> Run:
        value = node.value
        if not isinstance(value, bool | int | float | str):
            raise self.source.refused(node, "every active parameter has a value" if value is None else "")
        _checked(self.source, node, value)
        return lambda values: value

    def _name(self, node: ast.Name | ast.Attribute) -> Run:
        name = dotted_name(node)
        if name is None:
            raise self.source.refused(node)
        self.names.add(name)

        def run(values: Mapping[str, object]) -> Value:
            try:
                value = values[name]
            except KeyError:
                raise self.source.error(f"'{name}' has no value here{suggestion(name, values)}") from None
            if isinstance(value, float):
                return float(value)  # numpy.float64 is a float subclass that returns inf for a division by zero
            if isinstance(value, str):
                return value
            if not isinstance(value, int):
                kind = type(value).__name__
                raise self.source.error(f"'{name}' is a {kind}; values are numbers, text, true or false")
            _checked(self.source, node, value)
            return value

        return run

    def _unary(self, node: ast.UnaryOp, depth: int) -> Run:
        operand = self.compile(node.operand, depth + 1)
        if isinstance(node.op, ast.Not):
            test = self._condition(node.operand, operand)
            return lambda values: not test(values)
        if not isinstance(node.op, ast.USub | ast.UAdd):
            raise self.source.refused(node, INSTEAD.get(type(node.op), ""))
        operate: Callable[[Any], Any] = operator.neg if isinstance(node.op, ast.USub) else operator.pos

        def run(values: Mapping[str, Value]) -> Value:
            value = operand(values)
            if isinstance(value, str):
                raise self.source.failed(node, "a text is not a number")
            result: Value = operate(value)
            return result

        return run

    def _binary(self, node: ast.BinOp, depth: int) -> Run:
        left, right = self.compile(node.left, depth + 1), self.compile(node.right, depth + 1)
        operate = ARITHMETIC.get(type(node.op))
        if operate is None:
            raise self.source.refused(node, INSTEAD.get(type(node.op), ""))
        is_power = isinstance(node.op, ast.Pow)

        def run(values: Mapping[str, Value]) -> Value:
            a, b = left(values), right(values)
            if isinstance(a, str) or isinstance(b, str):
                raise self.source.failed(node, "a text can be compared, nothing else")
            # checked before: Python would compute all digits of 2**2**40
            if is_power and isinstance(a, int) and isinstance(b, int) and b >= 64 and abs(a) > 1:
                raise self.source.too_large(node)
            try:
                result: Value = operate(a, b)
            except ArithmeticError as error:
                raise self.source.failed(node, _arithmetic(error)) from None
            return _checked(self.source, node, result, (a, b))

        return run

    def _logic(self, node: ast.BoolOp, depth: int) -> Run:
        runs = [self.compile(operand, depth + 1) for operand in node.values]
        tests = [self._condition(operand, run) for operand, run in zip(node.values, runs, strict=True)]
        stop_at = isinstance(node.op, ast.Or)
        last = tests[-1]

        def run(values: Mapping[str, Value]) -> Value:
            for test in tests[:-1]:
                value: Value = test(values)
                if bool(value) is stop_at:
                    return value
            result: Value = last(values)
            return result

        return run

    def _condition(self, node: ast.expr, run: Run) -> Run:
        """``run``, but refusing text: ``kind == 'a' or 'b'`` is always true, which is not meant."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            raise self.source.refused(
                node, "a text is neither true nor false; to compare with several values use 'name in (...)'"
            )
        self._note_constant(node)

        def test(values: Mapping[str, Value]) -> Value:
            value: Value = run(values)
            if isinstance(value, str):
                raise self.source.failed(node, "a text is neither true nor false")
            return value

        return test

    def _note_constant(self, node: ast.expr) -> None:
        """Record a condition that contains no names."""
        # the name of a called function is an ast.Name too
        functions = {id(inner.func) for inner in ast.walk(node) if isinstance(inner, ast.Call)}
        if not any(isinstance(inner, ast.Name) and id(inner) not in functions for inner in ast.walk(node)):
            self.constants.append(self.source.segment(node))

    def _compare(self, node: ast.Compare, depth: int) -> Run:
        self._note_constant(node)
        first = self.compile(node.left, depth + 1)
        comparisons = [self._comparison(node, i, depth) for i in range(len(node.ops))]

        def run(values: Mapping[str, Value]) -> bool:
            left = first(values)
            for test, right in comparisons:
                other = right(values)
                if not test(left, other):
                    return False
                left = other
            return True

        return run

    def _comparison(self, node: ast.Compare, i: int, depth: int) -> tuple[Callable[[Any, Any], bool], Run]:
        op, right = node.ops[i], node.comparators[i]
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.Tuple | ast.List) or i + 1 < len(node.ops):
                raise self.source.refused(
                    node, "'in' is followed by a list of values, such as (1, 2, 4), and nothing after it"
                )
            items = [self.compile(item, depth + 1) for item in right.elts]
            is_in = isinstance(op, ast.In)
            # a loop instead of `in`: Python's `in` also compares by identity, so NaN would be found
            return lambda a, b: any(a == item for item in b) is is_in, lambda values: [item(values) for item in items]
        if isinstance(op, ast.Eq):
            return operator.eq, self.compile(right, depth + 1)
        if isinstance(op, ast.NotEq):
            return operator.ne, self.compile(right, depth + 1)
        order = ORDER.get(type(op))
        if order is None:
            raise self.source.refused(node, INSTEAD.get(type(op), ""))

        def test(a: Value, b: Value) -> bool:
            # Python would raise TypeError; == between them is allowed and false
            if isinstance(a, str) is not isinstance(b, str):
                raise self.source.failed(node, "a number and a text have no order")
            return order(a, b)

        return test, self.compile(right, depth + 1)

    def _conditional(self, node: ast.IfExp, depth: int) -> Run:
        test = self._condition(node.test, self.compile(node.test, depth + 1))
        then, otherwise = self.compile(node.body, depth + 1), self.compile(node.orelse, depth + 1)
        return lambda values: then(values) if test(values) else otherwise(values)

    def _call(self, node: ast.Call, depth: int) -> Run:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            guess = suggestion(name, FUNCTIONS) if name else ""
            raise self.source.refused(node.func, f"not a function that can be called{guess}")
        function = FUNCTIONS[name]
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self.source.refused(node, f"'{name}' takes its arguments by position")
        if not function.fewest <= len(node.args) <= function.most:
            raise self.source.refused(node, f"'{name}' takes {function.arguments}")
        return _calling(self.source, node, name, [self.compile(argument, depth + 1) for argument in node.args])


def _calling(source: Source, node: ast.Call, name: str, arguments: Sequence[Run]) -> Run:
    """A call of the function ``name`` that checks its arguments at run time."""
    function = FUNCTIONS[name].call
    takes_text, is_round = name == "len", name == "round"

    def run(values: Mapping[str, Value]) -> Value:
        inputs = [argument(values) for argument in arguments]
        if any(isinstance(value, str) is not takes_text for value in inputs):
            raise source.failed(node, f"'{name}' takes {'a text' if takes_text else 'numbers'}")
        # see MAX_DIGITS
        if is_round and len(inputs) == 2 and not _is_digits(inputs[1]):
            digits = f"-{MAX_DIGITS} to {MAX_DIGITS}"
            raise source.failed(node, f"the digits of 'round' are an integer from {digits}")
        try:
            result: Value = function(*inputs)
        except ArithmeticError as error:
            raise source.failed(node, _arithmetic(error)) from None
        except ValueError:
            raise source.failed(node, f"'{name}' has no value at {', '.join(map(repr, inputs))}") from None
        return _checked(source, node, result, inputs)

    return run


def _checked(source: Source, node: ast.expr, result: Value, inputs: Iterable[Value] = ()) -> Value:
    """Return ``result`` if it is allowed. NaN and infinity are allowed only if an input is NaN or infinite."""
    if isinstance(result, float):
        if math.isfinite(result):
            return result
        # a metric of a trial may be NaN, and filters must handle it
        floats = [value for value in inputs if isinstance(value, float)]
        if any(map(math.isnan, floats)) or (math.isinf(result) and any(map(math.isinf, floats))):
            return result
        raise source.failed(node, "the result is not a number" if math.isnan(result) else "the result is too large")
    if isinstance(result, int) and not -INT_LIMIT < result < INT_LIMIT:
        raise source.too_large(node)
    if isinstance(result, complex):
        raise source.failed(node, "the result is not a real number")
    return result


def _is_digits(value: Value) -> bool:
    return isinstance(value, int) and abs(value) <= MAX_DIGITS


def _arithmetic(error: ArithmeticError) -> str:
    return "division by zero" if isinstance(error, ZeroDivisionError) else "the result is too large"
