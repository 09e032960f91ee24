"""Wider and narrower declarations of a parameter, in the spelling of ``[space]``. Arithmetic only: nothing decides."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from msgspec import structs

from hpo_batch.records import Value, is_number
from hpo_batch.space.declaration import LARGEST_INTEGER
from hpo_batch.space.parameters import Choices, Fixed, Integer, Parameter, Real, Searched, same

HALF: Final = 0.5
"""of the old range, on its own scale: how far an end moves; a convention"""
Raw = Mapping[str, Any]
_ABOVE, _NOT_BELOW = "it stays above 0", "it does not go below 0"
_BELOW, _NOT_ABOVE = "it stays below 0", "it does not go above 0"


@dataclass(frozen=True, kw_only=True)
class Widened:
    """A parameter with one end moved outwards."""

    parameter: Searched
    end: Value
    """the new end"""
    capped: str = ""
    """what kept it from moving by half of the range"""


def declared(parameter: Parameter, raw: Any) -> Any:
    """How ``[space]`` spells a parameter, with everything that ``raw``, its old declaration, says beside its values."""
    kept = {key: raw[key] for key in ("when", "before", "limits", "ordered") if isinstance(raw, Mapping) and key in raw}
    if isinstance(parameter, Fixed):
        beside = {key: kept[key] for key in ("when", "before") if key in kept}
        return {"value": parameter.value, **beside} if isinstance(raw, Mapping) else parameter.value
    if isinstance(parameter, Choices):
        values = list(parameter.values)
        weights = {} if parameter.weights is None else {"weights": [_short(weight) for weight in parameter.weights]}
        if isinstance(raw, Mapping) or weights:
            return {"choices": values, **weights, **kept}
        return values
    own: dict[str, Any] = {"low": parameter.low, "high": parameter.high}
    # in the order of the old declaration, whose other keys stay as they are
    return {key: own.get(key, value) for key, value in raw.items()}


def _short(weight: float) -> float | int:
    return int(weight) if float(weight).is_integer() else weight


def widened(parameter: Searched, side: str) -> Widened | str:
    """The parameter with its ``low`` or ``high`` end moved outwards by half of its range, or why it cannot be.

    Signs stay and a number between 0 and 1 stays there, unless ``limits`` say otherwise; they hold.
    """
    if isinstance(parameter, Choices):
        return _more_choices(parameter, side)
    low, high = float(parameter.low), float(parameter.high)
    if low == high:
        return "the range holds a single value"
    end, outward = (low, -1) if side == "low" else (high, 1)
    if parameter.log:
        wanted = end * math.exp(outward * HALF * math.log(high / low))
    else:
        wanted = end + outward * HALF * (high - low)
    wanted, capped = _within(parameter, wanted, side)
    new: Value
    if isinstance(parameter, Integer):
        steps = math.floor(abs(wanted - end) / parameter.step + 1e-9)
        if not capped or steps == 0:
            steps = max(1, steps)
        new = int(end) + outward * steps * parameter.step
        other_sign = parameter.limits is None and (_sign(end) or -outward) != _sign(new)
        if _beyond(parameter, new) or other_sign or abs(new) > LARGEST_INTEGER:
            return f"{side} = {int(end)} cannot move by a step{f': {capped}' if capped else ''}"
    elif parameter.step is not None:
        steps = math.floor(abs(wanted - end) / parameter.step + 1e-9)
        new = float(Decimal(repr(end)) + outward * steps * Decimal(repr(parameter.step)))
        if steps == 0 or _beyond(parameter, new):
            return f"{side} = {end!r} cannot move by a step{f': {capped}' if capped else ''}"
    else:
        new = _rounded(wanted, away_from=end)
        if _beyond(parameter, new):
            new = wanted
        if not math.isfinite(new) or (new <= end if side == "high" else new >= end):
            return f"{side} = {end!r} cannot move{f': {capped}' if capped else ''}"
    ends = {"low": parameter.low, "high": parameter.high, side: new}
    return Widened(parameter=_with(parameter, ends["low"], ends["high"]), end=new, capped=capped)


def _within(parameter: Integer | Real, wanted: float, side: str) -> tuple[float, str]:
    """Where an end may move to, and what kept it from ``wanted``."""
    low, high = float(parameter.low), float(parameter.high)
    if parameter.limits is not None:  # somebody has said what makes sense
        bound = float(parameter.limits[0] if side == "low" else parameter.limits[1])
        if (wanted < bound) if side == "low" else (wanted > bound):
            return bound, f"its limits are [{parameter.limits[0]!r}, {parameter.limits[1]!r}]"
        return wanted, ""
    if side == "low" and low >= 0 and wanted <= 0:
        return (low / 2 if isinstance(parameter, Real) else min(low, 1.0)), _NOT_BELOW if low == 0 else _ABOVE
    if side == "high" and high <= 0 and wanted >= 0:
        return (high / 2 if isinstance(parameter, Real) else max(high, -1.0)), _NOT_ABOVE if high == 0 else _BELOW
    if isinstance(parameter, Real) and not parameter.log and 0 <= low <= high <= 1 and wanted > 1:
        # shares and coefficients (dropout, momentum) mean nothing at 1 or beyond; nobody can tell from the range alone
        return (high + 1) / 2, "it stays below 1, as its range does"
    return wanted, ""


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _beyond(parameter: Integer | Real, value: float) -> bool:
    return parameter.limits is not None and not parameter.limits[0] <= value <= parameter.limits[1]


def _rounded(value: float, *, away_from: float) -> float:
    """With two digits if that is still another number than the old end, else as it is."""
    short = float(f"{value:.2g}")
    return short if (short - away_from) * (value - away_from) > 0 else value


def _with(parameter: Integer | Real, low: Value, high: Value) -> Searched:
    if isinstance(parameter, Integer):
        return Integer(
            name=parameter.name, low=int(low), high=int(high), step=parameter.step, log=parameter.log,
            limits=parameter.limits, when=parameter.when, before=parameter.before,
        )  # fmt: skip
    return Real(
        name=parameter.name, low=float(low), high=float(high), step=parameter.step, log=parameter.log,
        limits=parameter.limits, when=parameter.when, before=parameter.before,
    )  # fmt: skip


def _more_choices(parameter: Choices, side: str) -> Widened | str:
    """Further values beyond an end: of ``limits`` half as many as there are now, else the next one of the pattern."""
    capped = ""
    if parameter.limits is not None:
        listed = parameter.limits if side == "high" else parameter.limits[::-1]
        end = parameter.high if side == "high" else parameter.low
        beyond = listed[[same(value, end) for value in listed].index(True) + 1 :]
        more = list(beyond[: max(1, int(HALF * parameter.count))])
        if not more:
            return f"there is no value {'below' if side == 'low' else 'above'} {end!r} in its limits"
    else:
        found = _next_of_pattern(parameter, side)
        if isinstance(found, str):
            return found
        value, capped = found
        more = [value]
    descending = parameter.count > 1 and parameter.values[0] == parameter.high
    at_front = (side == "low") != descending
    weights = None
    if parameter.weights is not None:
        own = parameter.weights[parameter.values.index(parameter.low if side == "low" else parameter.high)]
        rest = (own,) * len(more)
        weights = (*rest, *parameter.weights) if at_front else (*parameter.weights, *rest)
    values = (*reversed(more), *parameter.values) if at_front else (*parameter.values, *more)
    return Widened(parameter=structs.replace(parameter, values=values, weights=weights), end=more[-1], capped=capped)


def _next_of_pattern(parameter: Choices, side: str) -> tuple[Value, str] | str:
    """The number after the last two: by the same factor where all have one, else by the same step; and what capped
    it."""
    if not all(is_number(value) for value in parameter.values):
        return "its values are no numbers: limits can list further ones"
    if parameter.count < 2:
        return "it has one choice: limits can list further ones"
    values = [float(value) for value in parameter.in_order]
    end, inner = (values[0], values[1]) if side == "low" else (values[-1], values[-2])
    steps = [b - a for a, b in itertools.pairwise(values)]
    even = max(steps) - min(steps) <= 1e-6 * max(steps)
    if min(values) > 0 and not (even and len(values) > 2):
        wanted, capped = end * (end / inner), ""
    else:
        wanted, capped = end + (end - inner), ""
    whole = all(isinstance(value, int) for value in parameter.values)
    if (end > 0 >= wanted) or (end == 0 and min(values) >= 0 and wanted < 0):
        why = _NOT_BELOW if end == 0 else _ABOVE
        return f"{side} = {parameter.low if side == 'low' else parameter.high!r} cannot move: {why}"
    if not whole and min(values) >= 0 and max(values) < 1 <= wanted:
        wanted, capped = (end + 1) / 2, "it stays below 1, as its values do"
    new: Value = round(wanted) if whole else float(f"{wanted:.4g}")
    if new in parameter.values or abs(wanted) > LARGEST_INTEGER:
        return f"there is no next value {'below' if side == 'low' else 'above'} {end:g}"
    return new, capped


def only(parameter: Choices, kept: Sequence[Value]) -> Parameter:
    """The parameter with some of its choices; fixed if that is one."""
    if len(kept) == 1:
        return Fixed(name=parameter.name, value=kept[0], when=parameter.when, before=parameter.before)
    places = [i for i, value in enumerate(parameter.values) if value in kept]
    weights = None if parameter.weights is None else tuple(parameter.weights[i] for i in places)
    return structs.replace(
        parameter,
        values=tuple(parameter.values[i] for i in places),
        weights=weights if weights is None or sum(weights) > 0 else None,
    )


def between(parameter: Integer | Real, low: float, high: float) -> Searched | None:
    """The parameter between two values, rounded outwards to its grid; None if that is the old range."""
    if isinstance(parameter, Integer):
        down = math.floor((low - parameter.low) / parameter.step + 1e-9) * parameter.step + parameter.low
        up = math.ceil((high - parameter.low) / parameter.step - 1e-9) * parameter.step + parameter.low
        ends: tuple[float, float] = (max(parameter.low, down), min(parameter.high, up))
    elif parameter.step is not None:
        down = math.floor((low - parameter.low) / parameter.step + 1e-9)
        up = math.ceil((high - parameter.low) / parameter.step - 1e-9)
        first, step = Decimal(repr(parameter.low)), Decimal(repr(parameter.step))
        ends = (max(parameter.low, float(first + down * step)), min(parameter.high, float(first + up * step)))
    else:
        ends = (max(parameter.low, _outwards(low, down=True)), min(parameter.high, _outwards(high, down=False)))
    if ends == (parameter.low, parameter.high) or not ends[0] < ends[1]:
        return None
    return _with(parameter, *ends)


def _outwards(value: float, *, down: bool) -> float:
    short = float(f"{value:.2g}")
    if short == value or (short < value) == down:
        return short
    digit = 10.0 ** (math.floor(math.log10(abs(value))) - 1) if value else 0.0
    moved = float(f"{short - digit if down else short + digit:.2g}")
    return moved if (moved <= value) == down or moved == value else value
