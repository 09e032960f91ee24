"""Guesses the metric of a script from what it reports or prints. Nothing of the script runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hpo_batch.init.source import called
from hpo_batch.text.metric_names import MEASURES, direction_of, tokens

_RESULT = re.compile(r"RESULT:\s*([A-Za-z_][\w./-]*)\s*=")
_BARE = re.compile(r"RESULT:\s*\{([A-Za-z_][\w.]*)")
_NAMED = re.compile(r"([A-Za-z_][\w/.-]{0,60}(?: [A-Za-z_]\w{0,60})?)\s{0,4}[:=]\s{0,4}\{")
_LAST = re.compile(r"([A-Za-z_][\w/]{0,60}(?: [A-Za-z_]\w{0,60})?)\s{0,4}[:=]?\s{0,4}$")
_PRINTS: Final = frozenset({"print", "info", "write", "echo", "debug", "log", "secho"})
_FROM_VALIDATION: Final = frozenset({"val", "valid", "validation", "eval", "dev", "holdout"})
_OURS: Final = frozenset({"LightningCallback", "HuggingFaceCallback", "KerasCallback"})


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What the trials are to be judged by."""

    name: str
    direction: str | None
    """None if the name does not tell"""
    is_reported: bool
    """whether the script reports it already, and does not only print it"""


def guess(tree: ast.AST, text: str) -> Metric | None:
    """The metric that a script reports; else one that it prints; None if it names none."""
    reported = list(_reported(tree, text))
    if reported:
        name = max(reported, key=_preference)
        return Metric(name=name, direction=direction_of(name), is_reported=True)
    printed = [name for name in _printed(tree) if set(tokens(name)) & MEASURES]
    if not printed:
        return None
    name = max(printed, key=_preference)
    return Metric(name=name, direction=direction_of(name), is_reported=False)


def _preference(name: str) -> tuple[bool, bool, bool]:
    """Validation before test before training; a name that tells its direction before others."""
    parts = set(tokens(name))
    return bool(parts & _FROM_VALIDATION), "train" not in parts and "training" not in parts, bool(direction_of(name))


def _reported(tree: ast.AST, text: str) -> Iterator[str]:
    names = {called(node) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    if "hpo_batch" in text:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) == "report":
                yield from (str(k.arg) for k in node.keywords if k.arg not in (None, "step", "metrics"))
                yield from _keys(node)
    if "HuggingFaceCallback" in names:
        yield from (name if name.startswith("eval_") else f"eval_{name}" for name in _computed(tree))
        yield "eval_loss"
    if names & (_OURS - {"HuggingFaceCallback"}):
        yield from _logged(tree)
    for line in _texts(tree):
        found = _RESULT.search(line)
        if found:
            yield found[1]
        elif bare := _BARE.search(line):
            yield bare[1].rpartition(".")[2]


def _keys(call: ast.Call) -> Iterator[str]:
    """The keys of ``report(3, {"val/auc": 0.7})``."""
    for argument in call.args:
        if isinstance(argument, ast.Dict):
            yield from (
                key.value for key in argument.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
            )


def _logged(tree: ast.AST) -> Iterator[str]:
    """Names of ``self.log("val_loss", ...)`` and ``self.log_dict({...})`` of Lightning."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in ("log", "log_dict"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value
            yield from _keys(node)


def _computed(tree: ast.AST) -> Iterator[str]:
    """Keys that ``compute_metrics`` returns to the Trainer."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and "metric" in node.name:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Dict):
                    keys = inner.value.keys
                    yield from (k.value for k in keys if isinstance(k, ast.Constant) and isinstance(k.value, str))


def _printed(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in _PRINTS:
            for line in _texts(node):
                for found in _NAMED.finditer(line):
                    yield re.sub(r"[\s-]+", "_", found[1].strip())
            for argument in node.args:  # print("val_loss:", loss) and print("val loss", loss)
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    last = _LAST.search(argument.value)
                    if last and len(node.args) > 1:
                        yield re.sub(r"\s+", "_", last[1])


def _texts(tree: ast.AST) -> Iterator[str]:
    """Texts and f-strings, whose values stand as ``{name}``."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{" + ast.unparse(_value_of(part)) + "}"
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def _value_of(part: ast.expr) -> ast.expr:
    return part.value if isinstance(part, ast.FormattedValue) else part
