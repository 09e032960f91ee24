"""The operators, functions and limits of the expression language."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

MAX_LENGTH: Final = 500
MAX_DEPTH: Final = 50
"""levels of nesting; each is a Python call during evaluation, and a bracket for Python's parser"""
INT_LIMIT: Final = 2**63
MAX_DIGITS: Final = 20
"""for ``round``: round(5, -10**9) would compute 10**10**9"""


class Function(Struct, frozen=True, kw_only=True):
    """A function that an expression may call."""

    call: Callable[..., Any]
    fewest: int = 1
    most: int = 1

    @property
    def arguments(self) -> str:
        """As in "'log' takes 1 or 2 arguments"."""
        if self.most == MAX_LENGTH:
            return f"{self.fewest} or more arguments"
        return "1 argument" if self.most == 1 else f"{self.fewest} or {self.most} arguments"


def _least(*numbers: float) -> float:
    """``min`` that returns NaN if any argument is NaN; with Python's own, the result depends on their order."""
    # n != n only for NaN
    return math.nan if any(n != n for n in numbers) else min(numbers)


def _greatest(*numbers: float) -> float:
    return math.nan if any(n != n for n in numbers) else max(numbers)


ARITHMETIC: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
ORDER: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
FUNCTIONS: Final[dict[str, Function]] = {
    "abs": Function(call=abs),
    "ceil": Function(call=math.ceil),
    "exp": Function(call=math.exp),
    "float": Function(call=float),
    "floor": Function(call=math.floor),
    "int": Function(call=int),
    "len": Function(call=len),
    "log": Function(call=math.log, most=2),
    "log10": Function(call=math.log10),
    "log2": Function(call=math.log2),
    "max": Function(call=_greatest, fewest=2, most=MAX_LENGTH),
    "min": Function(call=_least, fewest=2, most=MAX_LENGTH),
    "round": Function(call=round, most=2),
    "sqrt": Function(call=math.sqrt),
}
ALLOWED: Final = (
    "allowed are names (in backticks if they are not identifiers: `batch-size`), numbers, text, True, False, "
    "+ - * / // % **, == != < <= > >=, and, or, not, 'in (...)', "
    f"'a if b else c' and the functions {', '.join(FUNCTIONS)}"
)
INSTEAD: Final[dict[type[ast.AST], str]] = {
    ast.Attribute: "a dot joins the parts of a name, as in model.encoder.kind",
    ast.Subscript: "there is nothing to index",
    ast.NamedExpr: "use '==' to compare",
    ast.Tuple: "a list of values is allowed only to the right of 'in'",
    ast.List: "a list of values is allowed only to the right of 'in'",
    ast.Is: "use '=='",
    ast.IsNot: "use '!='",
    ast.BitAnd: "use 'and'",
    ast.BitOr: "use 'or'",
    ast.BitXor: "a power is written '**'",
    ast.Invert: "use 'not'",
}
"""what to write instead of refused nodes"""
