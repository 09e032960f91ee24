"""What counts the epochs or steps at a place in a script, so that a report can name it. Nothing of the script runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Final

from hpo_batch.init.declared import called
from hpo_batch.text.metric_names import tokens, words

_COUNTS: Final = frozenset({"range", "trange", "enumerate", "count"})
_STEPS: Final = words("epoch epochs ep step steps iter iters iteration iterations round rounds")


def step_at(tree: ast.Module, node: ast.AST) -> str:
    """The variable that counts epochs, else steps, where a node of a module stands; empty if there is none.

    It is that of a loop around it in its function, else an argument of that function, else a variable of it.
    """
    around = _of_function(_around(tree, node))
    found = [
        *(name for one in around for name in _counters(one)),
        *(one.arg for one in _arguments(around[0]) if _is_step(one.arg)),
        *(name for name in _assigned(around[0]) if _is_step(name)),
    ]
    return next((name for name in found if "epoch" in tokens(name)), next(iter(found), ""))


def _is_step(name: str) -> bool:
    return (
        tokens(name)[-1:] != [] and tokens(name)[-1] in _STEPS and tokens(name)[0] not in ("num", "n", "max", "total")
    )


def _around(tree: ast.AST, node: ast.AST) -> list[ast.AST]:
    """What a node is inside of, from the module down to itself."""
    trail: list[tuple[ast.AST, Iterator[ast.AST]]] = [(tree, ast.iter_child_nodes(tree))]
    while trail:
        child = next(trail[-1][1], None)
        if child is None:
            trail.pop()
        elif child is node:
            return [*(one for one, _ in trail), child]
        else:
            trail.append((child, ast.iter_child_nodes(child)))
    return [tree]


def _of_function(around: Sequence[ast.AST]) -> Sequence[ast.AST]:
    """From the innermost function on: a loop around its definition counts nothing in it."""
    for i in reversed(range(len(around))):
        if isinstance(around[i], ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return around[i:]
    return around


def _counters(node: ast.AST) -> Iterator[str]:
    """What a loop counts with: ``for epoch in range(9)``, ``for i, x in enumerate(y)``, ``while step < 9``."""
    match node:
        case ast.For(target=target, iter=over) if any(called(one) in _COUNTS for one in ast.walk(over)):
            first = target.elts[0] if isinstance(target, ast.Tuple) and target.elts else target
            if isinstance(first, ast.Name) and first.id != "_":
                yield first.id
        case ast.While(test=ast.Compare(left=ast.Name(id=name))) if _is_step(name):
            yield name


def _arguments(node: ast.AST) -> list[ast.arg]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return []


def _assigned(scope: ast.AST) -> Iterator[str]:
    """Variables that a function, or a module outside its functions, counts up: ``step += 1``."""
    todo = list(ast.iter_child_nodes(scope))
    while todo:
        node = todo.pop(0)
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and isinstance(node.op, ast.Add):
            yield node.target.id
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            todo += ast.iter_child_nodes(node)
