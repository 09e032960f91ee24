"""A small, safe expression language: conditions, derived values, constraints, computed metrics, filters, expectations.

The text comes from files of strangers, so it never reaches ``eval``: ``parse`` reads it with Python's ``ast``, refuses
all that is not listed here, and compiles the rest once into closures. Evaluation takes bounded time and memory: at most
500 characters, integers of 64 bits, text that can be compared but not built, sequences only to the right of ``in``.

Names may have dots, as Hydra's have: ``model.encoder.kind == 'cnn'``. A name that is no Python identifier otherwise
stands in backticks, as in pandas' ``query``: ```batch-size` > 32``.
"""

from __future__ import annotations

import ast
import keyword
import math
import operator
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeAlias

from hpo_batch.errors import ExpressionError
from hpo_batch.records import Value
from hpo_batch.text.names import did_you_mean, listed

MAX_LENGTH: Final = 500
MAX_DEPTH: Final = 50
_INT_LIMIT: Final = 2**63
_MAX_DIGITS: Final = 20

_Run: TypeAlias = Callable[[Mapping[str, Value]], Any]


def _least(*numbers: float) -> float:
    """``min``, but NaN if any argument is: Python's own depends on their order."""
    return math.nan if any(n != n for n in numbers) else min(numbers)


def _greatest(*numbers: float) -> float:
    return math.nan if any(n != n for n in numbers) else max(numbers)


_BINARY: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_ORDER: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
# name -> (function, fewest arguments, most arguments)
_FUNCTIONS: Final[dict[str, tuple[Callable[..., Any], int, int]]] = {
    "abs": (abs, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "exp": (math.exp, 1, 1),
    "float": (float, 1, 1),
    "floor": (math.floor, 1, 1),
    "int": (int, 1, 1),
    "len": (len, 1, 1),
    "log": (math.log, 1, 2),
    "log10": (math.log10, 1, 1),
    "log2": (math.log2, 1, 1),
    "max": (_greatest, 2, MAX_LENGTH),
    "min": (_least, 2, MAX_LENGTH),
    "round": (round, 1, 2),
    "sqrt": (math.sqrt, 1, 1),
}
_COUNTS: Final = {(1, 1): "1 argument", (1, 2): "1 or 2 arguments", (2, MAX_LENGTH): "2 or more arguments"}
_ALLOWED: Final = (
    "allowed are names (in backticks if they are no identifiers: `batch-size`), numbers, text, True, False, "
    "+ - * / // % **, == != < <= > >=, and, or, not, 'in (...)', "
    f"'a if b else c' and the functions {', '.join(_FUNCTIONS)}"
)
_WHY_NOT: Final[dict[type[ast.AST], str]] = {
    ast.Attribute: "a dot joins the parts of a name, as in model.encoder.kind",
    ast.Subscript: "there is nothing to index",
    ast.NamedExpr: "use '==' to compare",
    ast.Tuple: "a list of values stands only to the right of 'in'",
    ast.List: "a list of values stands only to the right of 'in'",
    ast.Is: "use '=='",
    ast.IsNot: "use '!='",
    ast.BitAnd: "use 'and'",
    ast.BitOr: "use 'or'",
    ast.BitXor: "a power is written '**'",
    ast.Invert: "use 'not'",
}


@dataclass(frozen=True, kw_only=True)
class Expression:
    """An expression that has passed all checks. Made by ``parse``; equal texts are equal expressions."""

    text: str
    names: frozenset[str] = field(compare=False)
    """every name it mentions, functions left out"""
    constants: tuple[str, ...] = field(compare=False, default=())
    """its conditions that name nothing, and so are always true or always false"""
    texts: frozenset[str] = field(compare=False, default=frozenset())
    """every text in quotes in it"""
    _run: _Run = field(compare=False, repr=False)

    def evaluate(self, values: Mapping[str, Value]) -> Value:
        """The expression's value.

        Raises:
            ExpressionError: a name has no value, or an operation has no result (division by zero, overflow, mixed
                types).
        """
        result: Value = self._run(values)
        return result

    def truth(self, values: Mapping[str, Value]) -> bool:
        """The value of a condition: true, false, or a number that is nonzero; text is neither."""
        result = self.evaluate(values)
        if isinstance(result, str):
            raise _error(self.text, f"it gives the text {_quoted(result)}, neither true nor false")
        return bool(result)

    def __reduce__(self) -> tuple[Callable[[str], Expression], tuple[str]]:
        # Closures cannot be pickled; the text can, and it is all there is to an expression.
        return parse, (self.text,)


def why_constant(expression: Expression, known: Collection[str]) -> str:
    """Why an expression, or a condition in it, says the same whatever the values are; empty if it does not.

    Nobody means that: a name in quotes is a text (``"'kind' == 'cnn'"``).

    Args:
        known: what can be named.
    """
    if expression.names and not expression.constants:
        return ""
    piece = _quoted(expression.constants[0]) if expression.names else "it"
    quoted = sorted(expression.texts.intersection(known))
    if quoted:
        meant = f"; '{quoted[0]}' in quotes is a text, without them ({written(quoted[0])}) it is the parameter"
    else:
        meant = f"; there are {', '.join(map(written, sorted(known)[:12]))}" if known else ""
    why = f"{piece} names nothing that has a value, so it is always the same{meant}"
    return f"expression {_quoted(expression.text)}: {why}"


def written(name: str) -> str:
    """A name as it is written in an expression."""
    plain = all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split("."))
    return name if plain else f"`{name}`"


def dotted_name(node: ast.expr) -> str | None:
    """The name that a node of ``masked`` text stands for; None if it is something else."""
    match node:
        case ast.Name():
            return _part(node.id)
        case ast.Attribute():
            before, last = dotted_name(node.value), _part(node.attr)
            return None if before is None or last is None else f"{before}.{last}"
    return None


def _part(identifier: str) -> str | None:
    """A part of a name; None if it is neither all in backticks nor without them."""
    text = unmasked(identifier)
    part = text[1:-1] if text.startswith("`") else text
    return None if "`" in part or text == "`" else part


_TOKENS: Final = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`([^`\n]+)`""")
_MASK: Final = 0x20000
"""first of the CJK ideographs of extension B, which may stand in identifiers and are nobody's names"""


def masked(text: str) -> str:
    """The text with each name in backticks as an identifier, byte by byte, so that Python's parser can read it.

    ``unmasked`` undoes it, also in a piece of the text: nothing has to be remembered, and places stay what they are.
    """

    def mask(token: re.Match[str]) -> str:
        return token[0] if token[1] is None else "".join(chr(_MASK + byte) for byte in token[0].encode())

    return _TOKENS.sub(mask, text)


def unmasked(text: str) -> str:
    """What ``masked`` made of a text, or of a piece of one, as it was."""

    def unmask(run: re.Match[str]) -> str:
        return bytes(ord(character) - _MASK for character in run[0]).decode()

    return re.sub(f"[{chr(_MASK)}-{chr(_MASK + 255)}]+", unmask, text)


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """Check and compile an expression.

    Raises:
        ExpressionError: names the piece that is not allowed, and what is.
    """
    text = unmasked(text).strip()
    if not text:
        raise ExpressionError(f"an expression is empty; {_ALLOWED}")
    if len(text) > MAX_LENGTH:
        raise _error(text, f"it has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    if _bracket_depth(text) > MAX_DEPTH:
        raise _error(text, f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in a text makes Python's parser warn
            tree = ast.parse(masked(text), mode="eval").body
        compiler = _Compiler(text)
        run = compiler.compile(tree)
    except SyntaxError as error:
        raise _error(text, f"{_syntax(masked(text), error)}; {_ALLOWED}") from None
    except (ValueError, OverflowError) as error:
        raise _error(text, f"it cannot be read: {error}") from None
    except (RecursionError, MemoryError):
        raise _error(text, "it is nested too deeply") from None
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return Expression(
        text=text,
        names=frozenset(compiler.names),
        constants=tuple(dict.fromkeys(compiler.constants)),
        texts=frozenset(texts),
        _run=run,
    )


class _Compiler:
    """Turns a checked tree into nested closures; refuses every node it does not know."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.masked = masked(text)
        self.names: set[str] = set()
        self.constants: list[str] = []

    def compile(self, node: ast.expr, depth: int = 1) -> _Run:
        if depth > MAX_DEPTH:
            raise _error(self.text, f"it is nested or chained deeper than {MAX_DEPTH} levels")
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
                return self._choice(node, depth)
            case ast.Call():
                return self._call(node, depth)
        raise self._refused(node)

    def _constant(self, node: ast.Constant) -> _Run:
        value = node.value
        if not isinstance(value, bool | int | float | str):
            raise self._refused(node, "every active parameter has a value" if value is None else "")
        self._check(node, value)
        return lambda values: value

    def _name(self, node: ast.Name | ast.Attribute) -> _Run:
        name = dotted_name(node)
        if name is None:
            raise self._refused(node)
        self.names.add(name)

        def run(values: Mapping[str, object]) -> Value:
            try:
                value = values[name]
            except KeyError:
                raise _error(self.text, f"'{name}' has no value here{_nearest(name, values)}") from None
            if isinstance(value, float):
                return float(value)  # numpy's float64 is a float that divides by zero without an error
            if isinstance(value, str):
                return value
            if not isinstance(value, int):
                kind = type(value).__name__
                raise _error(self.text, f"'{name}' is a {kind}; values are numbers, text, true or false")
            self._check(node, value)
            return value

        return run

    def _unary(self, node: ast.UnaryOp, depth: int) -> _Run:
        operand = self.compile(node.operand, depth + 1)
        if isinstance(node.op, ast.Not):
            test = self._condition(node.operand, operand)
            return lambda values: not test(values)
        if not isinstance(node.op, ast.USub | ast.UAdd):
            raise self._refused(node, _WHY_NOT.get(type(node.op), ""))
        operate: Callable[[Any], Any] = operator.neg if isinstance(node.op, ast.USub) else operator.pos

        def run(values: Mapping[str, Value]) -> Value:
            value = operand(values)
            if isinstance(value, str):
                raise self._failed(node, "a text is not a number")
            result: Value = operate(value)
            return result

        return run

    def _binary(self, node: ast.BinOp, depth: int) -> _Run:
        left, right = self.compile(node.left, depth + 1), self.compile(node.right, depth + 1)
        operate = _BINARY.get(type(node.op))
        if operate is None:
            raise self._refused(node, _WHY_NOT.get(type(node.op), ""))
        is_power = isinstance(node.op, ast.Pow)

        def run(values: Mapping[str, Value]) -> Value:
            a, b = left(values), right(values)
            if isinstance(a, str) or isinstance(b, str):
                raise self._failed(node, "a text can be compared, nothing else")
            # Python would compute 2**2**40 to its last digit before anybody could look at its size.
            if is_power and isinstance(a, int) and isinstance(b, int) and b >= 64 and abs(a) > 1:
                raise self._too_large(node)
            try:
                result: Value = operate(a, b)
            except ArithmeticError as error:
                raise self._failed(node, _arithmetic(error)) from None
            return self._check(node, result, (a, b))

        return run

    def _logic(self, node: ast.BoolOp, depth: int) -> _Run:
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

    def _condition(self, node: ast.expr, run: _Run) -> _Run:
        """``run``, refusing text: ``kind == 'a' or 'b'`` is true for every kind, which nobody means."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            raise self._refused(node, "a text is neither true nor false; to compare with several use 'name in (...)'")
        self._note_constant(node)

        def test(values: Mapping[str, Value]) -> Value:
            value: Value = run(values)
            if isinstance(value, str):
                raise self._failed(node, "a text is neither true nor false")
            return value

        return test

    def _note_constant(self, node: ast.expr) -> None:
        """Note a condition that names nothing."""
        functions = {id(inner.func) for inner in ast.walk(node) if isinstance(inner, ast.Call)}
        if not any(isinstance(inner, ast.Name) and id(inner) not in functions for inner in ast.walk(node)):
            self.constants.append(self._segment(node))

    def _compare(self, node: ast.Compare, depth: int) -> _Run:
        self._note_constant(node)
        first = self.compile(node.left, depth + 1)
        links = [self._link(node, i, depth) for i in range(len(node.ops))]

        def run(values: Mapping[str, Value]) -> bool:
            left = first(values)
            for test, right in links:
                other = right(values)
                if not test(left, other):
                    return False
                left = other
            return True

        return run

    def _link(self, node: ast.Compare, i: int, depth: int) -> tuple[Callable[[Any, Any], bool], _Run]:
        op, right = node.ops[i], node.comparators[i]
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.Tuple | ast.List) or i + 1 < len(node.ops):
                raise self._refused(
                    node, "right of 'in' stands a list of values, such as (1, 2, 4), and nothing after it"
                )
            items = [self.compile(item, depth + 1) for item in right.elts]
            wanted = isinstance(op, ast.In)
            return lambda a, b: any(a == item for item in b) is wanted, lambda values: [item(values) for item in items]
        if isinstance(op, ast.Eq):
            return operator.eq, self.compile(right, depth + 1)
        if isinstance(op, ast.NotEq):
            return operator.ne, self.compile(right, depth + 1)
        order = _ORDER.get(type(op))
        if order is None:
            raise self._refused(node, _WHY_NOT.get(type(op), ""))

        def test(a: Value, b: Value) -> bool:
            if isinstance(a, str) is not isinstance(b, str):
                raise self._failed(node, "a number and a text have no order")
            return order(a, b)

        return test, self.compile(right, depth + 1)

    def _choice(self, node: ast.IfExp, depth: int) -> _Run:
        test = self._condition(node.test, self.compile(node.test, depth + 1))
        then, otherwise = self.compile(node.body, depth + 1), self.compile(node.orelse, depth + 1)
        return lambda values: then(values) if test(values) else otherwise(values)

    def _call(self, node: ast.Call, depth: int) -> _Run:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _FUNCTIONS:
            guess = _nearest(name, _FUNCTIONS) if name else ""
            raise self._refused(node.func, f"not a function that can be called{guess}")
        function, fewest, most = _FUNCTIONS[name]
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self._refused(node, f"'{name}' takes its arguments by position")
        if not fewest <= len(node.args) <= most:
            raise self._refused(node, f"'{name}' takes {_COUNTS[fewest, most]}")
        arguments = [self.compile(argument, depth + 1) for argument in node.args]

        def run(values: Mapping[str, Value]) -> Value:
            given = [argument(values) for argument in arguments]
            if any(isinstance(value, str) is not (function is len) for value in given):
                raise self._failed(node, f"'{name}' takes {'a text' if function is len else 'numbers'}")
            if function is round and len(given) == 2 and not _is_digits(given[1]):
                raise self._failed(node, f"the digits of 'round' are an integer from -{_MAX_DIGITS} to {_MAX_DIGITS}")
            try:
                result: Value = function(*given)
            except ArithmeticError as error:
                raise self._failed(node, _arithmetic(error)) from None
            except ValueError:
                raise self._failed(node, f"'{name}' has no value at {', '.join(map(repr, given))}") from None
            return self._check(node, result, given)

        return run

    def _check(self, node: ast.expr, result: Value, inputs: Iterable[Value] = ()) -> Value:
        """``result``, if it is one we can go on with. NaN and infinity pass only where they came in from outside."""
        if isinstance(result, float):
            if math.isfinite(result):
                return result
            floats = [value for value in inputs if isinstance(value, float)]
            if any(map(math.isnan, floats)) or (math.isinf(result) and any(map(math.isinf, floats))):
                return result
            raise self._failed(node, "the result is not a number" if math.isnan(result) else "the result is too large")
        if isinstance(result, int) and not -_INT_LIMIT < result < _INT_LIMIT:
            raise self._too_large(node)
        if isinstance(result, complex):
            raise self._failed(node, "the result is not a real number")
        return result

    def _too_large(self, node: ast.expr) -> ExpressionError:
        return self._failed(node, "an integer does not fit into 64 bits")

    def _failed(self, node: ast.expr, why: str) -> ExpressionError:
        piece = self._piece(node)
        return _error(self.text, f"at {piece}: {why}" if piece else why)

    def _refused(self, node: ast.expr, why: str = "") -> ExpressionError:
        why = why or _WHY_NOT.get(type(node), "")
        return _error(self.text, f"{self._piece(node) or 'this'} is not allowed{': ' if why else ''}{why}; {_ALLOWED}")

    def _piece(self, node: ast.expr) -> str:
        """The node's own text, quoted; empty if that is all of the expression."""
        piece = self._segment(node)
        return _quoted(piece) if piece and piece != self.text else ""

    def _segment(self, node: ast.expr) -> str:
        return unmasked(ast.get_source_segment(self.masked, node) or "")


def _error(text: str, why: str) -> ExpressionError:
    return ExpressionError(f"expression {_quoted(text)}: {why}")


def _is_digits(value: Value) -> bool:
    # round(5, -10**9) would compute 10**10**9
    return isinstance(value, int) and abs(value) <= _MAX_DIGITS


def _bracket_depth(text: str) -> int:
    """Deepest nesting of brackets, those inside texts counted too."""
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _syntax(text: str, error: SyntaxError) -> str:
    lines = text.splitlines()
    line, column = error.lineno or 1, error.offset or 1
    rest = lines[line - 1][column - 1 :].strip() if 0 < line <= len(lines) else ""
    where = f" at {_quoted(rest)}" if rest and rest != text else ""
    is_assignment = rest.startswith("=") or "'=='" in error.msg
    return f"it cannot be read{where}{': to compare, write ==' if is_assignment else ''}"


def _arithmetic(error: ArithmeticError) -> str:
    return "division by zero" if isinstance(error, ZeroDivisionError) else "the result is too large"


def _nearest(name: str, known: Iterable[str]) -> str:
    names = [str(k) for k in known]
    return did_you_mean(name, names, otherwise=f"; known are {listed(sorted(names), most=12)}" if names else "")


def _quoted(text: str) -> str:
    """The text on one line, in quotes, shortened."""
    text = unmasked(text)
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
