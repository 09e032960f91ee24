"""Values that stand in a script's source: literals, simple arithmetic, and constants of a module. Nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Final

from hpo_batch.records import Value

Constants = Mapping[str, object]
"""values by name, such as 0.001 of ``LR = 1e-3``"""
NONE: Final[Constants] = {}
_LARGEST: Final = 1e15
_LARGEST_POWER: Final = 64


def literal(node: ast.expr, constants: Constants = NONE) -> object:
    """The value of a literal, a constant, ``range(3)``, and of simple arithmetic such as ``2**10``; None if neither."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        pass
    match node:
        case ast.Name(id=name):
            return constants.get(name)
        case ast.Call(func=ast.Name(id="range"), args=[*arguments]) if 0 < len(arguments) < 4:
            ends = [literal(one, constants) for one in arguments]
            if all(isinstance(end, int) and abs(end) < 1000 for end in ends):
                return range(*ends)  # type: ignore[call-overload]
        case ast.Call(func=ast.Name(id="list" | "tuple" | "sorted"), args=[one], keywords=[]):
            return literal(one, constants)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = literal(operand, constants)
            return -value if isinstance(value, int | float) else None
        case ast.BinOp(left=left, op=op, right=right):
            return _computed(literal(left, constants), op, literal(right, constants))
    return None


def plain(node: ast.expr | None, constants: Constants = NONE) -> Value | None:
    """The value of a node that is one number, text or boolean; None for all else."""
    value = literal(node, constants) if node is not None else None
    return value if isinstance(value, bool | int | float | str) else None


def constants_of(tree: ast.AST) -> Constants:
    """The constants of a module: names that are given a value once, at its top."""
    found: dict[str, object] = {}
    again: set[str] = set()
    for node in getattr(tree, "body", ()):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                again |= {name} & set(found)
                found[name] = literal(value, found)
    return {name: value for name, value in found.items() if name not in again and value is not None}


def _computed(a: object, op: ast.operator, b: object) -> object:
    if not isinstance(a, int | float) or not isinstance(b, int | float) or abs(a) > _LARGEST or abs(b) > _LARGEST:
        return None
    try:
        value: Any = None
        match op:
            case ast.Add():
                value = a + b
            case ast.Sub():
                value = a - b
            case ast.Mult():
                value = a * b
            case ast.Div():
                value = a / b
            case ast.FloorDiv():
                value = a // b
            case ast.Pow() if abs(b) < _LARGEST_POWER and abs(a) < 1e6:
                value = a**b
            case ast.LShift() if isinstance(a, int) and isinstance(b, int) and 0 <= b < _LARGEST_POWER:
                value = a << b
    except (ArithmeticError, ValueError):
        return None
    return value if isinstance(value, int | float) else None
