"""Reads the declaration of one parameter: a value, a list of choices, or a table, and collects its mistakes."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from hpo_batch.errors import ExpressionError
from hpo_batch.expressions import Expression, parse
from hpo_batch.records import Problem, Value, is_finite, is_number
from hpo_batch.space.parameters import Choices, Fixed, Integer, Parameter, Real, same, steps_between
from hpo_batch.text.names import nearest
from hpo_batch.text.values import shown

LARGEST_INTEGER: Final = 2**53
"""Optuna stores parameters as doubles, which represent larger integers inexactly"""
TOO_LARGE: Final = "an integer of more than 53 bits is not exact in Optuna, which stores doubles"
KEYS: Final = {
    "range": ("low", "high", "log", "step", "when", "limits", "before"),
    "choices": ("choices", "weights", "ordered", "when", "limits", "before"),
    "value": ("value", "when", "before"),
}
SYNONYMS: Final = {
    **dict.fromkeys(("values", "options", "categories", "grid", "one_of", "enum"), "choices"),
    **dict.fromkeys(("min", "lower", "minimum", "start", "from", "lo"), "low"),
    **dict.fromkeys(("max", "upper", "maximum", "stop", "end", "to", "hi"), "high"),
    **dict.fromkeys(("q", "quantization", "increment"), "step"),
    **dict.fromkeys(("condition", "conditions", "if"), "when"),
    **dict.fromkeys(("constant", "const", "fixed"), "value"),
    "probabilities": "weights",
}
"""names of our keys in Weights & Biases, Ray Tune, Hydra's Optuna sweeper and skopt, to suggest the right one"""


def why_no_value(value: object) -> str | None:
    """Why ``value`` is not a valid parameter value; None if it is."""
    if isinstance(value, bool | str):
        return None
    if isinstance(value, int):
        return None if abs(value) <= LARGEST_INTEGER else TOO_LARGE
    if isinstance(value, float):
        return None if math.isfinite(value) else "a value must be finite"
    if isinstance(value, list | tuple):
        return "a list cannot be a value; name each list with a string and look it up in your code"
    return f"a {type(value).__name__} cannot be a value: use a number, a string, true or false"


def read_parameter(name: str, raw: Any, problems: list[Problem]) -> Parameter | None:
    """Read ``name = raw`` in ``[space]``; None if it is invalid. Mistakes are added to ``problems``."""
    declaration = _Declaration(name=name, raw=raw)
    if isinstance(raw, Mapping):
        parameter = declaration.from_table()
    elif isinstance(raw, list):
        declaration = _Declaration(name=name, raw={"choices": raw}, is_table=False)
        parameter = declaration.choices()
    else:
        if reason := why_no_value(raw):
            declaration.refuse(reason)
        parameter = Fixed(name=name, value=raw)
    problems += declaration.problems
    return None if declaration.problems else parameter


class _Declaration(Struct, frozen=True, kw_only=True):
    """The declaration of one parameter, and its mistakes."""

    name: str
    raw: Any
    is_table: bool = True
    """False for a list instead of ``{ choices = [...] }``, whose keys have no lines of their own"""
    problems: list[Problem] = []

    def refuse(self, message: str, key: str = "", **more: str) -> None:
        """Add a problem for a key, or for the parameter if the key is missing."""
        has_key = key and self.is_table and isinstance(self.raw, Mapping) and key in self.raw
        place = ("space", self.name, key) if has_key else ("space", self.name)
        self.problems.append(Problem(key=place, message=message, **more))

    def from_table(self) -> Parameter | None:
        kind = next((key for key in ("choices", "value") if key in self.raw), "range")
        if kind == "range" and not {"low", "high"} & self.raw.keys():
            self._refuse_table()
            return None
        guesses = {key: _meant(key, KEYS[kind]) for key in self.raw if key not in KEYS[kind]}
        for key, guess in guesses.items():
            message = f"'{key}' is not a key of a parameter with {'low and high' if kind == 'range' else kind}"
            self.refuse(message, key, allowed=", ".join(KEYS[kind]), guess=guess)
        if kind == "choices":
            return self._with_before(self.choices())
        when = self._when()
        if kind == "value":
            if reason := why_no_value(self.raw["value"]):
                self.refuse(reason, "value")
                return None
            return self._with_before(Fixed(name=self.name, value=self.raw["value"], when=when))
        if set(guesses.values()) & {"low", "high"}:
            return None  # low or high is misspelt, which was reported above
        return self._with_before(self._range(when))

    def _refuse_table(self) -> None:
        """Report a table without ``low`` and ``high``, ``choices`` or ``value``."""
        message = "a table must declare a parameter with low and high, with choices, or with value"
        known = sorted({key for keys in KEYS.values() for key in keys})
        unknown = [key for key in self.raw if key not in known]
        meant = {key: close for key in unknown if (close := _meant(key, known))}
        guess = next(iter(meant.values()), "") if len(meant) == 1 else ""
        if len(meant) > 1:
            message += f": write {', '.join(f'{close} for {key}' for key, close in meant.items())}"
        elif unknown and not guess:
            message += f'; a parameter with a dot in its name needs quotes: "{self.name}.{unknown[0]}" = ...'
        self.refuse(message, allowed=", ".join(known), guess=guess)

    def _with_before(self, parameter: Parameter | None) -> Parameter | None:
        """Add the value that older trials count as having, which may be outside the range or choices."""
        if parameter is None or "before" not in self.raw:
            return parameter
        value = self.raw["before"]
        reason = why_no_value(value)
        if reason is None and isinstance(parameter, Integer | Real):
            if not is_finite(value):
                reason = "the parameter is a number"
            elif isinstance(parameter, Integer) and not isinstance(parameter.normalise(value), int):
                reason = "the parameter is an integer"
        if reason is not None:
            self.refuse(f"before = {shown(value)}: {reason}", "before")
            return None
        return replace(parameter, before=parameter.normalise(value))

    def _when(self) -> Expression | None:
        if "when" not in self.raw:
            return None
        if not isinstance(self.raw["when"], str):
            self.refuse("a condition is an expression in quotes", "when")
            return None
        try:
            return parse(self.raw["when"])
        except ExpressionError as error:
            self.refuse(str(error), "when")
            return None

    def choices(self) -> Choices | None:
        values = self.raw["choices"]
        if reason := _why_no_choices(values):
            self.refuse(reason, "choices")
            return None
        weights = self._weights(len(values))
        # numbers have an order by default
        ordered = self.raw.get("ordered", all(is_number(value) for value in values))
        if not isinstance(ordered, bool):
            self.refuse("ordered must be true or false", "ordered")
        limits = self._listed_limits(values, ordered=bool(ordered))
        when = self._when()
        return Choices(
            name=self.name, values=tuple(values), ordered=bool(ordered), weights=weights, limits=limits, when=when
        )

    def _listed_limits(self, values: Sequence[Value], *, ordered: bool) -> tuple[Value, ...] | None:
        """All values that ``refine`` may list, in their order."""
        limits = self.raw.get("limits")
        if limits is None:
            return None
        if not ordered:
            self.refuse("limits of choices without an order mean nothing: ordered = true declares one", "limits")
        elif reason := _why_no_choices(limits):
            self.refuse(f"limits: {reason}", "limits")
        elif missing := [value for value in values if not any(same(value, other) for other in limits)]:
            self.refuse(
                f"limits {shown(limits)} do not contain the choice {shown(missing[0])}: they list all values that may "
                "be chosen from",
                "limits",
            )
        else:
            numbers = all(is_number(value) for value in limits)
            found = tuple(sorted(limits, key=float)) if numbers else tuple(limits)
            if numbers or [value for value in found if value in values] == list(values):
                return found
            self.refuse("limits and choices are not in the same order", "limits")
        return None

    def _weights(self, count: int) -> tuple[float, ...] | None:
        weights = self.raw.get("weights")
        if weights is None:
            return None
        if not isinstance(weights, list | tuple) or len(weights) != count:
            self.refuse(f"weights must be a list of {count} numbers, one for each choice", "weights")
        elif not all(is_finite(w) and w >= 0 for w in weights) or not 0 < sum(weights) <= sys.float_info.max:
            self.refuse("weights must be numbers >= 0, at least one of them above 0", "weights")
        else:
            return tuple(float(weight) for weight in weights)
        return None

    def _range(self, when: Expression | None) -> Parameter | None:
        low, high, step, log = (self.raw.get(key) for key in ("low", "high", "step", "log"))
        log = False if log is None else log
        count = len(self.problems)
        for key, end in (("low", low), ("high", high)):
            if end is None:
                self.refuse(f"'{key}' is missing: a range needs both ends", key)
            elif not is_finite(end):
                self.refuse(f"'{key}' must be a finite number, not {shown(end)}", key)
        if not isinstance(log, bool):
            self.refuse("log must be true or false", "log")
        if step is not None and (not is_finite(step) or step <= 0):
            self.refuse(f"step must be a number above 0, not {shown(step)}", "step")
            step = None
        if len(self.problems) > count:
            return None
        integers = isinstance(low, int) and isinstance(high, int)
        self._check_ends(low, high, log=log, integers=integers)
        # no check of the step for integers that are too large, which is reported already
        is_exact = not integers or max(abs(low), abs(high)) <= LARGEST_INTEGER
        if step is not None and is_exact and (reason := _why_no_step(low, high, step, log=log, integers=integers)):
            self.refuse(reason, "step")
        limits = self._limits(low, high, integers=integers)
        if len(self.problems) > count:
            return None
        if integers:
            return Integer(name=self.name, low=low, high=high, step=step or 1, log=log, limits=limits, when=when)
        return Real(
            name=self.name, low=float(low), high=float(high), step=None if step is None else float(step),
            log=log, limits=limits, when=when,
        )  # fmt: skip

    def _check_ends(self, low: Any, high: Any, *, log: bool, integers: bool) -> None:
        if isinstance(low, int) != isinstance(high, int):
            message = "one end is an integer and the other is not: write both the same way"
            self.refuse(message, "low" if isinstance(low, int) else "high")
        if low > high:
            self.refuse(f"low ({low!r}) is above high ({high!r})", "low")
        if log and low <= 0:
            self.refuse(f"a range with log = true needs low above 0, not {low!r}", "low")
        if integers and max(abs(low), abs(high)) > LARGEST_INTEGER:
            self.refuse(TOO_LARGE, "low" if abs(low) > LARGEST_INTEGER else "high")

    def _limits(self, low: Any, high: Any, *, integers: bool) -> Any:
        limits = self.raw.get("limits")
        if limits is None:
            return None
        if not isinstance(limits, list | tuple) or len(limits) != 2 or not all(is_finite(end) for end in limits):
            self.refuse("limits must be two numbers: [lowest, highest]", "limits")
        elif integers and not all(isinstance(end, int) and abs(end) <= LARGEST_INTEGER for end in limits):
            self.refuse("the limits of an integer range must be integers", "limits")
        elif not limits[0] <= low <= high <= limits[1] and low <= high:
            self.refuse(f"limits {shown(limits)} do not contain the range {low!r} to {high!r}", "limits")
        else:
            return tuple(int(end) if integers else float(end) for end in limits)
        return None


def _why_no_choices(values: Any) -> str:
    if not isinstance(values, list | tuple) or not values:
        return "choices must be a list with at least one value"
    for value in values:
        if reason := why_no_value(value):
            return f"choice {shown(value)}: {reason}"
    first: dict[Value, Value] = {}
    for value in values:
        # 1, 1.0 and true are equal keys of a dict
        if value in first and type(first[value]) is type(value):
            return f"choice {shown(value)} is listed twice; to draw a choice more often, use 'weights'"
        if value in first:
            both = f"{shown(first[value])} and {shown(value)}"
            return f"choices {both} are equal as numbers and cannot be distinguished; use strings"
        first[value] = value
    return ""


def _why_no_step(low: Any, high: Any, step: Any, *, log: bool, integers: bool) -> str:
    if integers and not isinstance(step, int):
        return "the step of an integer range must be an integer"
    if log:
        return "step and log = true exclude each other"
    if low < high and (low + step == low or high - step == high):
        return f"step {step!r} is too small beside {low!r} and {high!r} to make a difference"
    steps = steps_between(low, high, step) if low <= high else Decimal(0)
    if steps == steps.to_integral_value():
        return ""
    last = float(Decimal(repr(low)) + int(steps) * Decimal(repr(step)))
    below = f"; the last value before it is {int(last) if integers else last!r}" if low < last < high else ""
    return f"step {step!r} from {low!r} misses high ({high!r}){below}"


def _meant(key: str, allowed: Collection[str]) -> str:
    """The key probably meant by an unknown one; empty if there is no good guess."""
    synonym = SYNONYMS.get(key.lower(), "")
    return synonym if synonym in allowed else nearest(key, allowed)
