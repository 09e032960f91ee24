"""From plain values, as TOML gives them, to a ``Space``: every mistake is collected, none stops at the first.

Used by the sweep loader and by whatever makes a space without a TOML file. Knows nothing of files and lines: a
``Problem`` carries the key, the loader finds its line.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hpo_batch.errors import ExpressionError
from hpo_batch.expressions import Expression, parse, why_constant, written
from hpo_batch.records import Problem, Value, is_finite, is_number
from hpo_batch.space.conditions import Cycle, decision_order
from hpo_batch.space.parameters import Choices, Fixed, Integer, Parameter, Real, steps_between
from hpo_batch.space.space import N_PARAMS, Space
from hpo_batch.text.names import MOST_LISTED, listed, nearest
from hpo_batch.text.values import shown

RESERVED = ("derived", "constraints")
MOST_EXPRESSIONS = {"derived": 10_000, "constraints": 500}
"""each constraint is tried alone and with all others, and each draw of a worker again"""
PLACEHOLDERS = ("args", "overrides", "params_json")
"""what a command may name in braces beside the parameters"""
LARGEST_INTEGER = 2**53
"""Optuna keeps parameters as doubles: larger integers would change"""
TOO_LARGE = "an integer of more than 53 bits does not survive Optuna"
KEYS = {
    "range": ("low", "high", "log", "step", "when", "limits", "before"),
    "choices": ("choices", "weights", "ordered", "when", "before"),
    "value": ("value", "when", "before"),
}
SYNONYMS = {
    **dict.fromkeys(("values", "options", "categories", "grid", "one_of", "enum"), "choices"),
    **dict.fromkeys(("min", "lower", "minimum", "start", "from", "lo"), "low"),
    **dict.fromkeys(("max", "upper", "maximum", "stop", "end", "to", "hi"), "high"),
    **dict.fromkeys(("q", "quantization", "increment"), "step"),
    **dict.fromkeys(("condition", "conditions", "if"), "when"),
    **dict.fromkeys(("constant", "const", "fixed"), "value"),
    "probabilities": "weights",
}
"""what other tools call the same (Weights & Biases, Ray Tune, Hydra's Optuna sweeper, skopt): nearer than what is spelt
alike"""


def build(raw: Mapping[str, Any], *, with_n_params: bool = False) -> tuple[Space, list[Problem]]:
    """The space that the table ``[space]`` describes, and what is wrong with it.

    Parameters with problems are left out of the space, so that it can be used to look for further ones.
    """
    problems: list[Problem] = []
    parameters: list[Parameter] = []
    for name, value in raw.items():
        if name in RESERVED:
            continue
        reason = why_bad_name(name)
        if reason:
            problems.append(Problem(key=("space", name), message=reason))
            continue
        parameter = _parameter(name, value, problems)
        if parameter is not None:
            parameters.append(parameter)
    declared = {name for name in raw if name not in RESERVED}
    derived = _expressions(raw.get("derived", {}), "derived", problems)
    constraints = _expressions(raw.get("constraints", {}), "constraints", problems)
    for name in list(derived):
        reason = why_bad_name(name) or (f"'{name}' is also a parameter" if name in declared else None)
        if reason:
            problems.append(Problem(key=("space", "derived", name), message=reason))
            del derived[name]
    declared_derived = raw.get("derived", {}) if isinstance(raw.get("derived"), Mapping) else {}
    known = declared | set(declared_derived)
    for parameter in parameters:
        if parameter.when is not None:
            _check_names(parameter.when, known, ("space", parameter.name, "when"), problems)
    for name, expression in derived.items():
        _check_names(expression, known, ("space", "derived", name), problems)
    for name, expression in constraints.items():
        extra = {N_PARAMS} if with_n_params else set()
        _check_names(expression, known | extra, ("space", "constraints", name), problems)
    circular = _circles(parameters, derived, problems)
    return (
        Space(
            parameters=tuple(p for p in parameters if p.name not in circular),
            derived={name: expression for name, expression in derived.items() if name not in circular},
            constraints=constraints,
        ),
        problems,
    )


def _circles(parameters: list[Parameter], derived: Mapping[str, Expression], problems: list[Problem]) -> set[str]:
    """Names that depend on each other, each circle told once."""
    parents = {p.name: p.when.names if p.when else frozenset() for p in parameters}
    parents |= {name: expression.names for name, expression in derived.items()}
    found: set[str] = set()
    while True:
        try:
            decision_order(parents)
        except Cycle as cycle:
            for circle in cycle.circles:
                first = circle[0]
                key = ("space", "derived", first) if first in derived else ("space", first, "when")
                chain = " -> ".join((*circle, first)) if len(circle) <= MOST_LISTED else f"{len(circle)} names"
                problems.append(Problem(key=key, message=f"these depend on each other in a circle: {chain}"))
                found.update(circle)
            parents = {name: its for name, its in parents.items() if name not in found}
        else:
            return found


def why_bad_name(name: str) -> str | None:
    """Why ``name`` cannot be a parameter. One that is no identifier stands in backticks in expressions."""
    if not name.strip() or name != name.strip():
        return "a parameter needs a name without blanks around it"
    if not name.isprintable() or len(name) > 100:
        return "a parameter's name is at most 100 printable characters"
    if name.startswith("trial_"):
        return "names that begin with 'trial_' are kept for {trial_dir}, {trial_seed}, {trial_number}"
    if name in PLACEHOLDERS:
        return f"'{name}' is kept for the placeholder {{{name}}} of commands"
    if name in ("True", "False", "None"):
        return f"'{name}' is a value, not a name"
    if name == N_PARAMS:
        return "'n_params' is the count that [objective] n_params gives"
    if name.startswith("-") or any(c in name for c in "{}`"):
        return "a parameter's name has no braces or backticks and does not begin with '-'"
    return None


def as_choice_or_value(value: object) -> str | None:
    """Why ``value`` cannot be a value of a parameter, or None."""
    if isinstance(value, bool | str):
        return None
    if isinstance(value, int):
        return None if abs(value) <= LARGEST_INTEGER else TOO_LARGE
    if isinstance(value, float):
        return None if math.isfinite(value) else "a value must be finite"
    if isinstance(value, list | tuple):
        return "a list cannot be a value; name each list with a string and look it up in your code"
    return f"a {type(value).__name__} cannot be a value: use a number, a string, true or false"


def _parameter(name: str, raw: Any, problems: list[Problem]) -> Parameter | None:
    before = len(problems)
    key = ("space", name)
    parameter: Parameter | None
    if isinstance(raw, Mapping):
        parameter = _from_table(name, raw, problems)
    elif isinstance(raw, list):
        parameter = _choices(name, {"choices": raw}, key, problems)
    else:
        reason = as_choice_or_value(raw)
        if reason:
            problems.append(Problem(key=key, message=reason))
        parameter = Fixed(name=name, value=raw)
    return parameter if len(problems) == before else None


def _from_table(name: str, raw: Mapping[str, Any], problems: list[Problem]) -> Parameter | None:
    key = ("space", name)
    kind = next((k for k, first in (("choices", "choices"), ("value", "value")) if first in raw), "range")
    allowed = KEYS[kind]
    if kind == "range" and not {"low", "high"} & raw.keys():
        problems.append(_no_parameter(name, raw))
        return None
    guesses = {k: _meant(k, allowed) for k in raw if k not in allowed}
    for k, guess in guesses.items():
        message = f"'{k}' is not a key of a parameter with {'low and high' if kind == 'range' else kind}"
        problems.append(Problem(key=(*key, k), message=message, allowed=", ".join(allowed), guess=guess))
    if kind == "choices":
        return _with_before(_choices(name, raw, (*key, "choices"), problems), raw, problems)
    when = _when(raw, key, problems)
    if kind == "value":
        reason = as_choice_or_value(raw["value"])
        if reason:
            problems.append(Problem(key=(*key, "value"), message=reason))
            return None
        return _with_before(Fixed(name=name, value=raw["value"], when=when), raw, problems)
    if set(guesses.values()) & {"low", "high"}:
        return None  # the other end is there under a misspelt name, which was told
    return _with_before(_range(name, raw, when, problems), raw, problems)


def _with_before(parameter: Parameter | None, raw: Mapping[str, Any], problems: list[Problem]) -> Parameter | None:
    """The parameter with what older trials count as having: any value of its kind, also one that is no longer tried."""
    if parameter is None or "before" not in raw:
        return parameter
    key = ("space", parameter.name, "before")
    value = raw["before"]
    reason = as_choice_or_value(value)
    if reason is None and isinstance(parameter, Integer | Real):
        if not is_finite(value):
            reason = "the parameter is a number"
        elif isinstance(parameter, Integer) and not isinstance(parameter.normalise(value), int):
            reason = "the parameter is an integer"
    if reason is not None:
        problems.append(Problem(key=key, message=f"before = {shown(value)}: {reason}"))
        return None
    return replace(parameter, before=parameter.normalise(value))


def _no_parameter(name: str, raw: Mapping[str, Any]) -> Problem:
    """What to say of a table that has neither low and high, nor choices, nor a value."""
    message = "a table describes a parameter by low and high, by choices, or by value"
    known = sorted({k for keys in KEYS.values() for k in keys})
    unknown = [k for k in raw if k not in known]
    meant = {k: close for k in unknown if (close := _meant(k, known))}
    guess = next(iter(meant.values()), "") if len(meant) == 1 else ""
    if len(meant) > 1:
        message += f": write {', '.join(f'{close} for {k}' for k, close in meant.items())}"
    elif unknown and not guess:
        message += f'; a parameter with a dot in its name is quoted: "{name}.{unknown[0]}" = ...'
    return Problem(key=("space", name), message=message, allowed=", ".join(known), guess=guess)


def _meant(key: str, allowed: Collection[str]) -> str:
    """The key that was meant by another word; empty if nobody can tell."""
    same = SYNONYMS.get(key.lower(), "")
    return same if same in allowed else nearest(key, allowed)


def _when(raw: Mapping[str, Any], key: tuple[str, ...], problems: list[Problem]) -> Expression | None:
    if "when" not in raw:
        return None
    if not isinstance(raw["when"], str):
        problems.append(Problem(key=(*key, "when"), message="a condition is an expression in quotes"))
        return None
    try:
        return parse(raw["when"])
    except ExpressionError as error:
        problems.append(Problem(key=(*key, "when"), message=str(error)))
        return None


def _choices(name: str, raw: Mapping[str, Any], key: tuple[str, ...], problems: list[Problem]) -> Choices | None:
    values = raw["choices"]
    if not isinstance(values, list | tuple) or not values:
        problems.append(Problem(key=key, message="choices are a list with at least one value"))
        return None
    for value in values:
        reason = as_choice_or_value(value)
        if reason:
            problems.append(Problem(key=key, message=f"choice {shown(value)}: {reason}"))
            return None
    first: dict[Value, Value] = {}
    for value in values:
        if value in first:
            if type(first[value]) is type(value):
                message = f"choice {shown(value)} is listed twice; to prefer a choice give it a larger one of 'weights'"
            else:
                both = f"{shown(first[value])} and {shown(value)}"
                message = f"choices {both} are equal as numbers and cannot be told apart; use strings"
            problems.append(Problem(key=key, message=message))
            return None
        first[value] = value
    count = len(problems)
    weights = _weights(raw, len(values), ("space", name, "weights"), problems)
    ordered = raw.get("ordered", all(is_number(v) for v in values))
    if not isinstance(ordered, bool):
        problems.append(Problem(key=("space", name, "ordered"), message="ordered is true or false"))
    when = _when(raw, ("space", name), problems)
    if len(problems) > count:
        return None
    return Choices(name=name, values=tuple(values), ordered=ordered, weights=weights, when=when)


def _weights(
    raw: Mapping[str, Any], count: int, key: tuple[str, ...], problems: list[Problem]
) -> tuple[float, ...] | None:
    weights = raw.get("weights")
    if weights is None:
        return None
    if not isinstance(weights, list | tuple) or len(weights) != count:
        problems.append(Problem(key=key, message=f"weights are a list of {count} numbers, one for each choice"))
        return None
    if not all(is_finite(w) and w >= 0 for w in weights) or not 0 < sum(weights) <= sys.float_info.max:
        problems.append(Problem(key=key, message="weights are numbers >= 0, at least one of them above 0"))
        return None
    return tuple(float(w) for w in weights)


def _range(name: str, raw: Mapping[str, Any], when: Expression | None, problems: list[Problem]) -> Parameter | None:
    key = ("space", name)
    low: Any = raw.get("low")
    high: Any = raw.get("high")
    step: Any = raw.get("step")
    log: Any = raw.get("log", False)

    def wrong(k: str, message: str) -> None:
        problems.append(Problem(key=(*key, k) if k in raw else key, message=message))

    count = len(problems)
    for k, value in (("low", low), ("high", high)):
        if value is None:
            wrong(k, f"'{k}' is missing: both ends of a range are needed")
        elif not is_finite(value):
            wrong(k, f"'{k}' must be a finite number, not {shown(value)}")
    if not isinstance(log, bool):
        wrong("log", "log is true or false")
    if step is not None and (not is_finite(step) or step <= 0):
        wrong("step", f"step must be a number above 0, not {shown(step)}")
        step = None
    if len(problems) > count:
        return None
    integers = isinstance(low, int) and isinstance(high, int)
    if isinstance(low, int) != isinstance(high, int):
        wrong("low" if isinstance(low, int) else "high", "one end is an integer and the other is not: write both alike")
    if low > high:
        wrong("low", f"low ({low!r}) is above high ({high!r})")
    if log and low <= 0:
        wrong("low", f"a range with log = true needs low above 0, not {low!r}")
    if integers and max(abs(low), abs(high)) > LARGEST_INTEGER:
        wrong("low" if abs(low) > LARGEST_INTEGER else "high", TOO_LARGE)
    elif step is not None:
        _check_step(low, high, step, log, integers, wrong)
    limits = _limits(raw, low, high, integers, wrong)
    if len(problems) > count:
        return None
    if integers:
        return Integer(name=name, low=low, high=high, step=step or 1, log=log, limits=limits, when=when)
    return Real(
        name=name, low=float(low), high=float(high), step=None if step is None else float(step),
        log=log, limits=limits, when=when,
    )  # fmt: skip


def _check_step(low: Any, high: Any, step: Any, log: bool, integers: bool, wrong: Callable[[str, str], None]) -> None:
    if integers and not isinstance(step, int):
        wrong("step", "the step of an integer range must be an integer")
    elif log:
        wrong("step", "step and log = true do not go together")
    elif low < high and (low + step == low or high - step == high):
        wrong("step", f"step {step!r} is too small beside {low!r} and {high!r} to make a difference")
    elif low <= high:
        steps = steps_between(low, high, step)
        if steps != steps.to_integral_value():
            last = float(Decimal(repr(low)) + int(steps) * Decimal(repr(step)))
            below = f"; the last value before it is {int(last) if integers else last!r}"
            wrong("step", f"step {step!r} from {low!r} misses high ({high!r}){below if low < last < high else ''}")


def _limits(raw: Mapping[str, Any], low: Any, high: Any, integers: bool, wrong: Callable[[str, str], None]) -> Any:
    limits = raw.get("limits")
    if limits is None:
        return None
    if not isinstance(limits, list | tuple) or len(limits) != 2 or not all(is_finite(v) for v in limits):
        wrong("limits", "limits are two numbers: [lowest, highest]")
    elif integers and not all(isinstance(v, int) and abs(v) <= LARGEST_INTEGER for v in limits):
        wrong("limits", "the limits of an integer range are integers")
    elif not limits[0] <= low <= high <= limits[1] and low <= high:
        wrong("limits", f"limits {shown(limits)} do not enclose the range {low!r} to {high!r}")
    else:
        return tuple(int(v) if integers else float(v) for v in limits)
    return None


def _expressions(raw: Any, table: str, problems: list[Problem]) -> dict[str, Expression]:
    if not isinstance(raw, Mapping):
        problems.append(Problem(key=("space", table), message=f"[space.{table}] is a table of expressions"))
        return {}
    found: dict[str, Expression] = {}
    if len(raw) > MOST_EXPRESSIONS[table]:
        message = f"{len(raw):,} expressions; at most {MOST_EXPRESSIONS[table]:,} are judged in good time"
        problems.append(Problem(key=("space", table), message=message))
        return {}
    for name, text in raw.items():
        if not isinstance(text, str):
            problems.append(Problem(key=("space", table, name), message="an expression stands in quotes"))
            continue
        try:
            found[name] = parse(text)
        except ExpressionError as error:
            problems.append(Problem(key=("space", table, name), message=str(error)))
    return found


def _check_names(expression: Expression, known: set[str], key: tuple[str, ...], problems: list[Problem]) -> None:
    if constant := why_constant(expression, known):
        problems.append(Problem(key=key, message=constant))
    for name in sorted(expression.names - known):
        if name == N_PARAMS:
            message = "'n_params' stands in constraints only, and needs [objective] n_params"
            problems.append(Problem(key=key, message=message))
            continue
        problems.append(
            Problem(
                key=key,
                message=f"'{name}' is not a parameter or a derived value",
                allowed=listed(sorted(known)),
                guess=written(close) if (close := nearest(name, known)) else "",
            )
        )


def check_values(
    values: Mapping[str, Value], names: Collection[str], key: tuple[str | int, ...], problems: list[Problem]
) -> None:
    """Names of values given by hand (``[[trial]] params``, ``[baseline]``); ``names`` are those of all parameters."""
    for name in values:
        if name not in names:
            problems.append(
                Problem(
                    key=(*key, name),
                    message=f"'{name}' is not a parameter of [space]",
                    allowed=listed(names),
                    guess=nearest(name, names),
                )
            )
