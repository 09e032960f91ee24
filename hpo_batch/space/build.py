"""Builds a ``Space`` from the table ``[space]`` and collects all mistakes in it.

A ``Problem`` has the key of a mistake; the sweep loader finds its line. ``declaration`` reads single parameters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from hpo_batch.errors import ExpressionError
from hpo_batch.expressions import Expression, parse, why_constant, written
from hpo_batch.records import Problem, Value
from hpo_batch.space.conditions import Cycle, decision_order
from hpo_batch.space.declaration import read_parameter
from hpo_batch.space.parameters import Parameter
from hpo_batch.space.space import N_PARAMS, Space
from hpo_batch.text.names import MOST_LISTED, listed, nearest

RESERVED: Final = ("derived", "constraints")
"""tables in ``[space]`` that are not parameters"""
MOST_EXPRESSIONS: Final = {"derived": 10_000, "constraints": 500}
"""limits; lower for constraints, which are all evaluated for each configuration a worker draws"""
PLACEHOLDERS: Final = ("args", "overrides", "params_json")
"""placeholders of commands besides parameters"""


def build(raw: Mapping[str, Any], *, with_n_params: bool = False) -> tuple[Space, list[Problem]]:
    """Build the space described by ``[space]``.

    Args:
        raw: the table.
        with_n_params: whether constraints may use ``n_params``.

    Returns:
        The space without invalid parameters, so that other checks can run on it, and the problems.
    """
    problems: list[Problem] = []
    names = {name for name in raw if name not in RESERVED}
    parameters = _parameters(raw, problems)
    derived = _expressions(raw.get("derived", {}), "derived", problems)
    constraints = _expressions(raw.get("constraints", {}), "constraints", problems)
    # a list: invalid names are deleted while iterating
    for name in list(derived):
        reason = why_bad_name(name) or (f"'{name}' is also a parameter" if name in names else None)
        if reason:
            problems.append(Problem(key=("space", "derived", name), message=reason))
            del derived[name]
    known = names | set(raw.get("derived", {}) if isinstance(raw.get("derived"), Mapping) else {})
    for parameter in parameters:
        if parameter.when is not None:
            problems += _name_problems(parameter.when, known, ("space", parameter.name, "when"))
    for name, expression in derived.items():
        problems += _name_problems(expression, known, ("space", "derived", name))
    for name, expression in constraints.items():
        # n_params depends on all parameters, so conditions and derived values cannot use it
        in_constraints = known | ({N_PARAMS} if with_n_params else set())
        problems += _name_problems(expression, in_constraints, ("space", "constraints", name))
    # without cyclic names, so that the other rules can run on the rest
    cyclic = _cycles(parameters, derived, problems)
    space = Space(
        parameters=tuple(p for p in parameters if p.name not in cyclic),
        derived={name: expression for name, expression in derived.items() if name not in cyclic},
        constraints=constraints,
    )
    return space, problems


def _parameters(raw: Mapping[str, Any], problems: list[Problem]) -> list[Parameter]:
    parameters = []
    for name, value in raw.items():
        if name in RESERVED:
            continue
        if reason := why_bad_name(name):
            problems.append(Problem(key=("space", name), message=reason))
        elif (parameter := read_parameter(name, value, problems)) is not None:
            parameters.append(parameter)
    return parameters


def _cycles(parameters: list[Parameter], derived: Mapping[str, Expression], problems: list[Problem]) -> set[str]:
    """Names in dependency cycles. Adds one problem per cycle."""
    parents = {p.name: p.when.names if p.when else frozenset() for p in parameters}
    parents |= {name: expression.names for name, expression in derived.items()}
    cyclic: set[str] = set()
    while True:
        try:
            decision_order(parents)
        except Cycle as error:
            for cycle in error.cycles:
                first = cycle[0]
                key = ("space", "derived", first) if first in derived else ("space", first, "when")
                chain = " -> ".join((*cycle, first)) if len(cycle) <= MOST_LISTED else f"{len(cycle)} names"
                problems.append(Problem(key=key, message=f"these depend on each other: {chain}"))
                cyclic.update(cycle)
            parents = {name: its for name, its in parents.items() if name not in cyclic}
        else:
            return cyclic


def why_bad_name(name: str) -> str | None:
    """Why ``name`` is not a valid parameter name; None if it is. Expressions quote non-identifiers in backticks."""
    if not name.strip() or name != name.strip():
        return "a parameter's name cannot be empty or have spaces around it"
    if not name.isprintable() or len(name) > 100:
        return "a parameter's name can have at most 100 characters, all printable"
    if name.startswith("trial_"):
        return "names that begin with 'trial_' are reserved for {trial_dir}, {trial_seed}, {trial_number}"
    if name in PLACEHOLDERS:
        return f"'{name}' is reserved for the placeholder {{{name}}} of commands"
    if name in ("True", "False", "None"):
        return f"'{name}' is a value, not a name"
    if name == N_PARAMS:
        return "'n_params' is the count that [objective] n_params returns"
    if name.startswith("-") or any(c in name for c in "{}`"):
        return "a parameter's name has no braces or backticks and does not begin with '-'"
    return None


def _expressions(raw: Any, table: str, problems: list[Problem]) -> dict[str, Expression]:
    if not isinstance(raw, Mapping):
        problems.append(Problem(key=("space", table), message=f"[space.{table}] must be a table of expressions"))
        return {}
    if len(raw) > MOST_EXPRESSIONS[table]:
        message = f"{len(raw):,} expressions are too many to check (at most {MOST_EXPRESSIONS[table]:,})"
        problems.append(Problem(key=("space", table), message=message))
        return {}
    expressions: dict[str, Expression] = {}
    for name, text in raw.items():
        if not isinstance(text, str):
            problems.append(Problem(key=("space", table, name), message="an expression must be in quotes"))
            continue
        try:
            expressions[name] = parse(text)
        except ExpressionError as error:
            problems.append(Problem(key=("space", table, name), message=str(error)))
    return expressions


def _name_problems(expression: Expression, known: set[str], key: tuple[str, ...]) -> Iterator[Problem]:
    if constant := why_constant(expression, known):
        yield Problem(key=key, message=constant)
    for name in sorted(expression.names - known):
        if name == N_PARAMS:
            yield Problem(key=key, message="'n_params' works in constraints only, and needs [objective] n_params")
            continue
        yield Problem(
            key=key,
            message=f"'{name}' is not a parameter or a derived value",
            allowed=listed(sorted(known)),
            guess=written(close) if (close := nearest(name, known)) else "",
        )


def value_names_problems(
    values: Mapping[str, Value], names: Collection[str], key: tuple[str | int, ...]
) -> Iterator[Problem]:
    """Problems for names in ``[[trial]] params`` or ``[baseline]`` that are not parameters.

    Args:
        values: values by name.
        names: of all parameters.
        key: of the table.
    """
    for name in values:
        if name not in names:
            yield Problem(
                key=(*key, name),
                message=f"'{name}' is not a parameter of [space]",
                allowed=listed(names),
                guess=nearest(name, names),
            )
