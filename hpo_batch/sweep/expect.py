"""Parses ``[expect]``: expressions over trials, sets, ``best``, ``baseline`` and ``elites``.

Calls of statistics, as in ``mean(A3, A4) > mean(A1, A2)`` and ``share(elites, encoder == 'cnn') > 0.8``, are replaced
by names, which leaves an ordinary expression. ``findings`` evaluates it.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Collection, Mapping
from typing import Final

from msgspec import Struct

from hpo_batch.errors import ExpressionError
from hpo_batch.expressions import MAX_LENGTH, Expression, dotted_name, masked, parse, unmasked, why_constant
from hpo_batch.sweep.values import GROUPS
from hpo_batch.text.names import did_you_mean, listed

STATISTICS: Final = ("mean", "median", "max", "min", "std", "count")
"""statistics of the metric over the trials of all arguments"""


class Statistic(Struct, frozen=True, kw_only=True):
    """``mean(A1, A2)``: a statistic of the metric; ``share(elites, encoder == 'cnn')``: a share of trials."""

    name: str
    groups: tuple[str, ...]
    where: Expression | None = None
    """the condition of a share, over the trials' parameters"""


class Statement(Struct, frozen=True, kw_only=True):
    """A parsed expectation."""

    text: str
    expression: Expression
    """over the names in ``statistics``, and trials or groups of one trial"""
    statistics: Mapping[str, Statistic]

    @property
    def names(self) -> frozenset[str]:
        """All trials, sets and groups in it."""
        alone = self.expression.names - self.statistics.keys()
        return alone.union(*(statistic.groups for statistic in self.statistics.values()))


def read_statement(text: str) -> Statement:
    """Parse an expectation.

    Raises:
        ExpressionError: says which part is not allowed.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expectation has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    try:
        with warnings.catch_warnings():
            # Python's parser warns about invalid escapes in strings
            warnings.simplefilter("ignore")
            tree = ast.parse(masked(text.strip()), mode="eval")
        calls = _StatisticCalls()
        rest = ast.unparse(ast.fix_missing_locations(calls.visit(tree)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        parse(text)  # raises a better message
        raise ExpressionError(f"'{text}' cannot be read") from None
    expression = parse(rest)
    used = {name: statistic for name, statistic in calls.statistics.items() if name in expression.names}
    return Statement(text=text.strip(), expression=expression, statistics=used)


def why_unknown(statement: Statement, *, trials: Collection[str], sets: Collection[str]) -> str:
    """Why a statement is invalid because of its names; empty if it is valid."""
    known = {*GROUPS, *trials, *sets}
    if constant := why_constant(statement.expression, known):
        return constant
    for name in sorted(statement.names):
        if name not in known:
            return f"'{name}' is neither a trial nor a set{did_you_mean(name, known)} (known: {listed(sorted(known))})"
    return ""


class _StatisticCalls(ast.NodeTransformer):
    """Replaces calls of statistics by names. ``expressions`` validates everything else."""

    def __init__(self) -> None:
        self.statistics: dict[str, Statistic] = {}

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        plain = all(dotted_name(argument) is not None for argument in node.args) and not node.keywords
        if name == "share":
            return self._share(node)
        # max and min of names are statistics, of anything else arithmetic
        if name in STATISTICS and (plain or name not in ("max", "min")):
            if not plain or not node.args:
                raise ExpressionError(f"'{unmasked(ast.unparse(node))}': {name}() takes names of trials and sets")
            groups = tuple(group for argument in node.args if (group := dotted_name(argument)) is not None)
            return self._named(Statistic(name=name, groups=groups))
        return self.generic_visit(node)

    def _share(self, node: ast.Call) -> ast.AST:
        group = dotted_name(node.args[0]) if len(node.args) == 2 and not node.keywords else None
        if group is None:
            call = unmasked(ast.unparse(node))
            raise ExpressionError(
                f"'{call}': share() takes a set (or elites) and a condition: share(elites, dropout > 0.3)"
            )
        where = parse(ast.unparse(node.args[1]))
        return self._named(Statistic(name="share", groups=(group,), where=where))

    def _named(self, statistic: Statistic) -> ast.AST:
        name = f"_statistic_{len(self.statistics)}"
        self.statistics[name] = statistic
        return ast.Name(id=name, ctx=ast.Load())
