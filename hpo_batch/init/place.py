"""Where a script should report: after which line, and what counts the steps there. Nothing of it runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hpo_batch.init.declared import called
from hpo_batch.text.metric_names import tokens, words

_COUNTERS: Final = frozenset({"range", "trange", "enumerate", "count"})
_STEPS: Final = words("epoch epochs ep step steps iter iters num iteration iterations round rounds")
_TOTALS: Final = words("num n max total nb")


@dataclass(frozen=True, kw_only=True)
class Place:
    """After the statement that holds an expression."""

    line: int
    """the last line of that statement"""
    step: str
    """the variable that counts epochs or steps there; empty if there is none"""


def place_of(tree: ast.Module, node: ast.expr) -> Place | None:
    """Where to report an expression of a module; None if it is not a part of it."""
    path = around(tree, node)
    statement = next((one for one in reversed(path) if isinstance(one, ast.stmt)), None)
    if statement is None:
        return None
    return Place(line=statement.end_lineno or statement.lineno, step=_step(of_function(path)))


def around(tree: ast.AST, node: ast.AST) -> list[ast.AST]:
    """The path to a node: what a node is inside of, from the module down to itself; empty if it is not there."""
    trail: list[tuple[ast.AST, Iterator[ast.AST]]] = [(tree, ast.iter_child_nodes(tree))]
    while trail:
        child = next(trail[-1][1], None)
        if child is None:
            trail.pop()
        elif child is node:
            return [*(one for one, _ in trail), child]
        else:
            trail.append((child, ast.iter_child_nodes(child)))
    return []


def of_function(path: Sequence[ast.AST]) -> Sequence[ast.AST]:
    """The part of a path from the innermost function on: a loop around its definition counts nothing in it."""
    for i in reversed(range(len(path))):
        if isinstance(path[i], ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return path[i:]
    return path


def _step(around: Sequence[ast.AST]) -> str:
    """The variable that counts epochs, else steps: of a loop, else an argument, else what the function counts up."""
    found = [
        *(name for one in around for name in counters(one)),
        *(one.arg for node in around[:1] for one in _arguments(node) if is_step(one.arg)),
        *(name for node in around[:1] for name in _counted_up(node) if is_step(name)),
    ]
    return next((name for name in found if "epoch" in tokens(name)), next(iter(found), ""))


def is_step(name: str) -> bool:
    """Whether it counts: ``global_step``, but not ``max_steps``."""
    parts = tokens(name)
    return bool(parts) and parts[-1] in _STEPS and parts[0] not in _TOTALS


def counters(node: ast.AST) -> Iterator[str]:
    """What a loop counts with: ``for epoch in range(9)``, ``for i, x in enumerate(y)``, ``while step < 9``."""
    match node:
        case ast.For(target=target, iter=over) if any(called(one) in _COUNTERS for one in ast.walk(over)):
            first = target.elts[0] if isinstance(target, ast.Tuple) and target.elts else target
            if isinstance(first, ast.Name) and first.id != "_":
                yield first.id
        case ast.While(test=ast.Compare(left=ast.Name(id=name))) if is_step(name):
            yield name


def _arguments(node: ast.AST) -> list[ast.arg]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return []


def _counted_up(scope: ast.AST) -> Iterator[str]:
    """Variables that a function, or a module outside its functions, counts up: ``step += 1``."""
    todo = list(ast.iter_child_nodes(scope))
    while todo:
        node = todo.pop(0)
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and isinstance(node.op, ast.Add):
            yield node.target.id
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            todo += ast.iter_child_nodes(node)
