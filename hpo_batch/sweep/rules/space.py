"""Rules for ``[space]``, and for parameter names in other tables."""

from __future__ import annotations

import math
from collections.abc import Iterator

from hpo_batch.errors import ExpressionError
from hpo_batch.expressions import Expression
from hpo_batch.records import Problem
from hpo_batch.space.build import value_names_problems
from hpo_batch.space.cells import MOST_WALKED, is_empty, never_satisfied, size, some_values
from hpo_batch.space.draw import rarely_valid
from hpo_batch.space.parameters import Choices, Real
from hpo_batch.space.space import Space
from hpo_batch.sweep.rules.draft import Draft
from hpo_batch.text.names import listed, nearest
from hpo_batch.text.values import shown

WIDEST = 8.0
"""this multiple of a range's width must be finite, because model-based samplers compute with several widths"""
MOST_ARMS = 1_000
"""limit on combinations of weighted choices: each has a quota, and every claim checks all of them"""


def searches_something(draft: Draft) -> Iterator[Problem]:
    if not draft.sweep.sampler.capabilities.is_list and not draft.space.searched and draft.is_sound("space"):
        message = "nothing to search: [space] needs at least one parameter with choices or a range"
        yield Problem(key=("space",), message=message)


def parameters_of_sampler(draft: Draft) -> Iterator[Problem]:
    """Extremes need an order, coverage parameters need cells."""
    sampler, by_name = draft.sweep.sampler, draft.space.by_name
    if _is_unusable(draft):
        return
    for name in sampler.extremes:
        parameter = by_name.get(name)
        if isinstance(parameter, Choices) and not parameter.ordered:
            message = f"'{name}' has no order, and so no smallest and largest value; if it has one, set ordered = true"
            yield Problem(key=("sampler", "extremes"), message=message)
    for name in sampler.coverage:
        parameter = by_name.get(name)
        if parameter is not None and parameter.count is None:
            yield Problem(key=("sampler", "coverage"), message=f"'{name}' is continuous and has no cells")


def ranges_of_sampler(draft: Draft) -> Iterator[Problem]:
    name = draft.sweep.sampler.name
    if _is_unusable(draft) or not draft.sweep.sampler.capabilities.computes_with_ranges:
        return
    for parameter in draft.space.searched:
        if not isinstance(parameter, Real) or parameter.log:
            continue
        # -1e308 to 1e308 is a valid range, but its width is infinite
        if not math.isfinite(WIDEST * (parameter.high - parameter.low)):
            ends = f"{parameter.low!r} to {parameter.high!r}"
            message = f"the range {ends} is too wide for sampler '{name}', whose sums would overflow; use 'random'"
            yield Problem(key=("space", parameter.name, "high"), message=message)


def grid_cells(draft: Draft) -> Iterator[Problem]:
    if _is_unusable(draft) or not draft.sweep.sampler.capabilities.is_grid:
        return
    for parameter in draft.space.searched:
        if parameter.count is None:
            yield Problem(key=("space", parameter.name), message="a grid needs choices, or a range with a step")
    cells = size(draft.space).all
    if cells is not None and cells > MOST_WALKED:
        message = f"a grid of {cells:,} cells is too large (at most {MOST_WALKED:,}); use sampler 'random'"
        yield Problem(key=("sampler", "name"), message=message)


def weights(draft: Draft) -> Iterator[Problem]:
    if _is_unusable(draft):
        return
    name = draft.sweep.sampler.name
    weighted = [p for p in draft.space.searched if isinstance(p, Choices) and p.weights is not None]
    for parameter in weighted:
        key = ("space", parameter.name, "weights")
        if parameter.when is not None:
            yield Problem(key=key, message="weights of a conditional parameter are not supported")
        if draft.sweep.sampler.capabilities.is_finite:
            yield Problem(key=key, message=f"weights have no effect with sampler '{name}'")
    # each combination of weighted choices gets its own quota of trials
    arms = math.prod(p.count for p in weighted)
    if arms > MOST_ARMS:
        message = f"the weighted choices have {arms:,} combinations, each with a quota; at most {MOST_ARMS:,}"
        yield Problem(key=("space", weighted[-1].name, "weights"), message=message)


def names_elsewhere(draft: Draft) -> Iterator[Problem]:
    """Parameter names in other tables are declared in ``[space]``, even if their declaration is invalid."""
    if _is_unusable(draft):
        return
    sweep = draft.sweep
    for option, names in (("extremes", sweep.sampler.extremes), ("coverage", sweep.sampler.coverage)):
        for name in names:
            if name not in sweep.parameter_names:
                yield Problem(
                    key=("sampler", option),
                    message=f"'{name}' is not a parameter of [space]",
                    allowed=listed(sweep.parameter_names),
                    guess=nearest(name, sweep.parameter_names),
                )
        if len(set(names)) < len(names):
            yield Problem(key=("sampler", option), message="a parameter is listed twice")
    for i, trial in enumerate(sweep.trial):
        yield from value_names_problems(trial.params, sweep.parameter_names, ("trial", i, "params"))
    yield from value_names_problems(sweep.baseline or {}, sweep.parameter_names, ("baseline",))


def expressions(draft: Draft) -> Iterator[Problem]:
    """Conditions and derived values can be evaluated for all values; a sample is tried."""
    space = draft.space
    if not draft.is_sound("space"):
        return
    failed: set[str] = set()
    for name in space.order:
        expression = space.derived[name] if name in space.derived else space.by_name[name].when
        if expression is None:
            continue
        if not failed.isdisjoint(expression.names):
            failed.add(name)  # the problem of its parent is reported already
        elif message := _why_not_computed(space, expression, is_condition=name not in space.derived):
            failed.add(name)
            key = ("space", "derived", name) if name in space.derived else ("space", name, "when")
            yield Problem(key=key, message=message)


def _why_not_computed(space: Space, expression: Expression, *, is_condition: bool) -> str:
    for values in some_values(space, expression.names):
        try:
            expression.truth(values) if is_condition else expression.evaluate(values)
        except ExpressionError as error:
            example = ", ".join(f"{n} = {shown(values[n])}" for n in sorted(expression.names))
            return f"cannot be computed for {example}: {error}"
    return ""


def satisfiable(draft: Draft) -> Iterator[Problem]:
    """Each constraint, and all of them together, can be satisfied, and random draws find valid configurations."""
    space = draft.space
    never = set(never_satisfied(space))
    problems: list[Problem] = []
    for name, constraint in space.constraints.items():
        error = _error_everywhere(space, constraint)
        if error or name in never:
            message = f"nothing in [space] satisfies it{': ' if error else ''}{error}"
            problems.append(Problem(key=("space", "constraints", name), message=message))
    if not problems and is_empty(space):
        message = "nothing in [space] satisfies all of them together"
        problems.append(Problem(key=("space", "constraints"), message=message))
    rarity = None if problems else rarely_valid(space)
    if rarity is not None and rarity.valid == 0:
        key = ("space", "constraints") if rarity.worst is None else ("space", "constraints", rarity.worst)
        problems.append(Problem(key=key, message=f"almost nothing in [space] satisfies it: {rarity}"))
    yield from problems


def _error_everywhere(space: Space, expression: Expression) -> str:
    """The first error of an expression that fails for all tried values; empty if it works for some."""
    first = ""
    for values in some_values(space, expression.names):
        try:
            expression.truth(values)
        except ExpressionError as error:
            first = first or str(error)
        else:
            return ""
    return first


def _is_unusable(draft: Draft) -> bool:
    """Whether ``[space]`` is not a table, so that no parameters are declared."""
    return any(problem.key == ("space",) for problem in draft.problems)
