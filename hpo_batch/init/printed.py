"""What a script prints, in any of Python's ways: each value with the text before it. Nothing of the script runs."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from hpo_batch.init.declared import called

_PRINTS: Final = frozenset(
    {"print", "info", "write", "echo", "debug", "log", "secho", "set_description", "set_postfix"}
)
_QUIET = re.compile(r"(?i)verbose|verbosity|debug|quiet|silent")
_INFO = re.compile(r"\b(?:INFO|DEBUG|NOTSET|10|20)\b")
_PERCENT = re.compile(r"%[-+ #0]*\d{0,3}(?:\.\d{1,3})?[diouxXeEfFgGs]")


class Shown(NamedTuple):
    """A value that is printed."""

    before: str
    """the text before it, from the value before that on"""
    value: ast.expr
    after: str = ""
    """the text after it, up to the next value"""
    spec: str = ""
    """how it is written: ``.4f``"""


def shown(tree: ast.AST) -> Iterator[tuple[ast.Call, Sequence[Shown]]]:
    """Every call that prints or logs, with its values: f-strings, ``format``, ``%``, and arguments of print.

    Without what a script prints before it ends with an error.
    """
    last_words = set(_last_words(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in _PRINTS and node not in last_words:
            found = [one for argument in node.args for part in ast.walk(argument) for one in _formatted(part)]
            found += _arguments(node.args)
            found += [Shown(f"{k.arg}=", k.value) for k in node.keywords if called(node) == "set_postfix" and k.arg]
            yield node, found


def is_seen(tree: ast.AST, call: ast.Call) -> bool:
    """Whether what a call prints surely comes out of the script, whatever its options are."""
    options = {k.arg: ast.unparse(k.value) for k in call.keywords}
    if called(call) in ("print", "echo", "secho"):
        is_seen = options.get("file", "sys.stdout") in ("sys.stdout", "sys.stderr") and "sep" not in options
        is_seen = is_seen and not _is_of_rich(tree, call)
    else:
        is_seen = called(call) == "info" and _shows_info(tree)
    asked = (node.test for node in ast.walk(tree) if isinstance(node, ast.If) and _is_in(call, node))
    return is_seen and not any(_QUIET.search(ast.unparse(test)) for test in asked)


def _is_of_rich(tree: ast.AST, call: ast.Call) -> bool:
    """Whether rich prints it: without the markup that the source has, and in lines of 80 characters."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "rich":
            names = {alias.asname or alias.name for alias in node.names}
            if "print" in names or isinstance(call.func, ast.Attribute):
                return True
        if isinstance(node, ast.Import) and any(alias.name.partition(".")[0] == "rich" for alias in node.names):
            return isinstance(call.func, ast.Attribute)
    return False


def _shows_info(tree: ast.AST) -> bool:
    """Whether a script configures logging, which shows no ``info`` otherwise; Hydra does."""
    if any(isinstance(node, ast.Attribute) and ast.unparse(node) == "hydra.main" for node in ast.walk(tree)):
        return True
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    levels = [one for call in calls if called(call) == "setLevel" for one in call.args]
    is_streamed = any(called(call) == "StreamHandler" for call in calls)
    for call in calls:
        if called(call) == "basicConfig":
            options = {k.arg: k.value for k in call.keywords}
            levels += [options["level"]] if "level" in options else []
            is_streamed = is_streamed or not options.keys() & {"filename", "handlers"}
    return is_streamed and any(_INFO.search(ast.unparse(level)) for level in levels)


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
            yield from _filled(list(_fields(values)))
        case ast.Call(
            func=ast.Attribute(attr="format", value=ast.Constant(value=str(text))), args=args, keywords=named
        ):
            yield from _filled(_format(text, args, {k.arg: k.value for k in named if k.arg}))
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod(), right=right):
            yield from _percent(text, right.elts if isinstance(right, ast.Tuple) else [right])


_Field = tuple[str, ast.expr | None, str]
"""a text, the value after it if that is known, and how it is written"""


def _filled(fields: Sequence[_Field]) -> Iterator[Shown]:
    for (before, value, spec), (after, _, _) in pairwise([*fields, ("", None, "")]):
        if value is not None:
            yield Shown(before, value, after, spec)


def _fields(values: Sequence[ast.expr]) -> Iterator[_Field]:
    text = ""
    for one in values:
        if isinstance(one, ast.FormattedValue):
            yield text, one.value, ast.unparse(one.format_spec) if one.format_spec is not None else ""
            text = ""
        elif isinstance(one, ast.Constant):
            text += str(one.value)
    yield text, None, ""


def _format(text: str, args: Sequence[ast.expr], named: Mapping[str, ast.expr]) -> list[_Field]:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        return []
    fields: list[_Field] = []
    for i, (before, field, spec, _) in enumerate(parts):
        index = int(field) if field and field.isdecimal() else i if field == "" else len(args)
        value = args[index] if index < len(args) else named.get(field or "")
        fields.append((before, None if isinstance(value, ast.Starred) else value, spec or ""))
    return fields


def _percent(text: str, args: Sequence[ast.expr]) -> Iterator[Shown]:
    texts = _PERCENT.split(text)
    for before, value, after in zip(texts, args, texts[1:], strict=False):
        yield Shown(before, value, after)


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
            yield Shown(text, one)
            text = ""
