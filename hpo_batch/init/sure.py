"""Whether a number that a script prints is surely its result: not one of several, nor a batch's. Nothing of it runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Final

from hpo_batch.init.declared import called
from hpo_batch.init.place import around, counters, is_step, of_function
from hpo_batch.text.metric_names import tokens, words

_OTHERS: Final = words("fold folds cv run runs trial trials seed seeds rep repeat repeats split splits model models k")
"""what loops train several models over"""
_BATCHES: Final = words("batch batches minibatch loader dataloader iterator sample samples dataset data")
_TRAINS: Final = words("backward fit train")
_PARTS: Final = words("phase split mode stage subset part partition prefix header tag dataset set")
"""variables that say which data a number is of"""
_OPTIONS: Final = re.compile(r"(?:args|opts?|options|flags|FLAGS|cfg|conf|config|params|hparams)\b[\w.\[\]'\"]*\Z")

_Loop = ast.For | ast.AsyncFor | ast.While
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_MAPS: Final = frozenset({"map", "imap", "imap_unordered", "starmap", "delayed", "submit", "apply", "apply_async"})


def is_result(tree: ast.Module, call: ast.Call, value: ast.expr) -> bool:
    """Whether the last number that a call prints is that of a whole training.

    It is not if it is printed for batches, folds, models or parts of the data, before the training, or only with an
    option.

    Args:
        tree: of the module.
        call: that prints the number.
        value: the number.
    """
    path = around(tree, call)
    inside = of_function(path)
    loops = [node for node in inside if isinstance(node, _Loop)]
    function = inside[0] if isinstance(inside[0], ast.FunctionDef) else None
    callers = _callers(tree, function) if function is not None else []
    paths = [of_function(around(tree, one)) for one in callers]
    outer = [[node for node in one if isinstance(node, _Loop)] for one in paths]
    return (
        all(_counts_trainings_steps(one) for one in (*loops, *(loop for each in outer for loop in each)))
        and len(loops) + max(map(len, outer), default=0) <= 1
        and not any(_is_rare(node.test) for node in path if isinstance(node, ast.If))
        and not any(_says_which(one) for one in ast.walk(call) if one is not value)
        and not any(isinstance(node, _Comprehension) for one in paths for node in one)
        and not (function is not None and (_has_several_uses(function, callers) or _is_mapped(tree, function)))
        and (bool(loops) or not _is_before_training(inside, call))
    )


def is_used(tree: ast.Module, line: int) -> bool:
    """Whether the functions around a line are named anywhere in a script; libraries may call methods."""
    named = {one.id for one in ast.walk(tree) if isinstance(one, ast.Name)}
    methods = {id(one) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for one in node.body}
    return not any(
        isinstance(node, ast.FunctionDef)
        and node.lineno <= line <= (node.end_lineno or node.lineno)
        and not (node.decorator_list or id(node) in methods or node.name in named)
        for node in ast.walk(tree)
    )


def _counts_trainings_steps(loop: _Loop) -> bool:
    """Whether a loop goes through the epochs or steps of one training, not through batches, folds or models."""
    if isinstance(loop, ast.While):
        return True
    found = set(counters(loop))
    parts = {part for name in found for part in tokens(name)}
    over = {part for node in ast.walk(loop.iter) if isinstance(node, ast.Name) for part in tokens(node.id)}
    if (over | parts) & _BATCHES or parts & _OTHERS:
        return False
    is_range = any(called(node) in ("range", "trange") for node in ast.walk(loop.iter) if isinstance(node, ast.Call))
    return is_range or any(is_step(name) for name in found)


def _callers(tree: ast.Module, function: ast.FunctionDef) -> list[ast.Call]:
    """Where a function of the module is called, and not by itself; a method, by another one."""
    is_method = isinstance(around(tree, function)[-2], ast.ClassDef)
    own = set(ast.walk(function))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) == function.name and node not in own:
            of = node.func.value if isinstance(node.func, ast.Attribute) else None
            is_ours = isinstance(of, ast.Name) and of.id == "self" if is_method else of is None
            if is_ours:
                found.append(node)
    return found


def _has_several_uses(function: ast.FunctionDef, callers: Sequence[ast.Call]) -> bool:
    """Whether one function prints the numbers of several parts: ``test(train_loader)``, ``test(test_loader)``."""
    names = [one.arg for one in function.args.args]
    uses = set()
    for call in callers:
        given = [*zip(names, call.args, strict=False), *((one.arg, one.value) for one in call.keywords)]
        uses.add(tuple(ast.unparse(one) for name, one in given if not (name and is_step(name))))
    return len(uses) > 1


def _is_mapped(tree: ast.Module, function: ast.FunctionDef) -> bool:
    """``pool.map(fit_fold, folds)``."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node) in _MAPS)
    return any(isinstance(one, ast.Name) and one.id == function.name for call in calls for one in call.args)


def is_option(value: ast.expr) -> bool:
    """``args.show``: what the user sets, and no result."""
    return isinstance(value, ast.Attribute | ast.Subscript) and bool(_OPTIONS.match(ast.unparse(value)))


def _is_rare(test: ast.expr) -> bool:
    """Whether it holds only with a flag, or for one epoch: ``not args.fast``, ``args.show and x``, ``epoch == 0``."""
    match test:
        case ast.Compare(left=ast.Name(id=name), ops=[ast.Eq()], comparators=[ast.Constant()]):
            return is_step(name)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _is_rare(operand)
        case ast.BoolOp(values=values):
            return any(_is_rare(one) for one in values)
    return is_option(test)


def _says_which(value: ast.AST) -> bool:
    """``phase`` of ``print(f"{phase} loss {loss}")``."""
    return isinstance(value, ast.Name) and bool({*tokens(value.id)} & _PARTS)


def _is_before_training(inside: Sequence[ast.AST], call: ast.Call) -> bool:
    """Whether a loop that trains comes after a call, in the same function or outside of all."""
    line = call.lineno
    loops = (node for node in ast.walk(inside[0]) if isinstance(node, _Loop) and node.lineno > line)
    return any(
        any(is_step(name) for name in counters(loop))
        or any({*tokens(called(one))} & _TRAINS for one in ast.walk(loop) if isinstance(one, ast.Call))
        for loop in loops
    )
