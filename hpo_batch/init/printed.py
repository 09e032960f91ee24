"""What a script prints, in any of Python's ways: each value with the text before it. Nothing of the script runs."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator, Sequence
from typing import Final

from hpo_batch.init.declared import called

_PRINTS: Final = frozenset(
    {"print", "info", "write", "echo", "debug", "log", "secho", "set_description", "set_postfix"}
)
_QUIET = re.compile(r"(?i)verbose|verbosity|debug|quiet|silent")
_INFO = re.compile(r"\b(?:INFO|DEBUG|NOTSET|10|20)\b")
_PERCENT = re.compile(r"%[-+ #0]*\d{0,3}(?:\.\d{1,3})?[diouxXeEfFgGs]")

Shown = tuple[str, ast.expr]
"""the text before a value, and the value"""


def shown(tree: ast.AST) -> Iterator[tuple[ast.Call, Sequence[Shown]]]:
    """Every call that prints or logs, with its values: f-strings, ``format``, ``%``, and arguments of print.

    Without what a script prints before it ends with an error.
    """
    last_words = set(_last_words(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in _PRINTS and node not in last_words:
            found = [one for argument in node.args for part in ast.walk(argument) for one in _formatted(part)]
            found += _arguments(node.args)
            found += [(f"{k.arg}=", k.value) for k in node.keywords if called(node) == "set_postfix" and k.arg]
            yield node, found


def is_seen(tree: ast.AST, call: ast.Call) -> bool:
    """Whether what a call prints surely comes out of the script, whatever its options are."""
    options = {k.arg: ast.unparse(k.value) for k in call.keywords}
    if called(call) in ("print", "echo", "secho"):
        is_seen = options.get("file", "sys.stdout") in ("sys.stdout", "sys.stderr") and "sep" not in options
    else:
        is_seen = called(call) == "info" and _shows_info(tree)
    asked = (node.test for node in ast.walk(tree) if isinstance(node, ast.If) and _is_in(call, node))
    return is_seen and not any(_QUIET.search(ast.unparse(test)) for test in asked)


def _shows_info(tree: ast.AST) -> bool:
    """Whether a script configures logging, which shows no ``info`` otherwise; Hydra does."""
    for node in ast.walk(tree):
        if called(node) == "StreamHandler" or ast.unparse(node) == "hydra.main":
            return True
        if isinstance(node, ast.Call) and called(node) == "basicConfig":
            return any(k.arg == "level" and _INFO.search(ast.unparse(k.value)) for k in node.keywords)
    return False


def _is_in(call: ast.Call, node: ast.AST) -> bool:
    return any(one is call for one in ast.walk(node))


def _last_words(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls in a block that ends the script: ``print("Loss is nan"); sys.exit(1)``."""
    for node in ast.walk(tree):
        body = node.body if isinstance(node, ast.If | ast.ExceptHandler) else []
        if any(isinstance(one, ast.Raise) or called(getattr(one, "value", one)) in ("exit", "_exit") for one in body):
            for one in body:
                yield from (inner for inner in ast.walk(one) if isinstance(inner, ast.Call))


def _formatted(node: ast.AST) -> Iterator[Shown]:
    match node:
        case ast.JoinedStr(values=values):
            text = ""
            for one in values:
                if isinstance(one, ast.FormattedValue):
                    yield text, one.value
                    text = ""
                elif isinstance(one, ast.Constant):
                    text += str(one.value)
        case ast.Call(func=ast.Attribute(attr="format", value=ast.Constant(value=str(text))), args=args):
            yield from _format(text, args)
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod(), right=right):
            yield from _percent(text, right.elts if isinstance(right, ast.Tuple) else [right])


def _format(text: str, args: Sequence[ast.expr]) -> Iterator[Shown]:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        return
    for i, (before, field, _, _) in enumerate(parts):
        if field is None:
            continue
        index = int(field) if field.isdecimal() else i if field == "" else len(args)
        if index < len(args) and not isinstance(args[index], ast.Starred):
            yield before, args[index]


def _percent(text: str, args: Sequence[ast.expr]) -> Iterator[Shown]:
    yield from zip(_PERCENT.split(text), args, strict=False)


def _arguments(args: Sequence[ast.expr]) -> Iterator[Shown]:
    """``print("val_loss:", loss)`` and ``logging.info("val_loss: %.3f", loss)``."""
    if len(args) > 1 and isinstance(args[0], ast.Constant) and _PERCENT.search(str(args[0].value)):
        yield from _percent(str(args[0].value), args[1:])
        return
    text = ""
    for one in args:
        if isinstance(one, ast.Constant):
            text = str(one.value)
        else:
            yield text, one
            text = ""
