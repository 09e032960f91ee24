"""Values around the best configuration: between those tried, and beyond them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from hpo_batch.findings.effects.edges import CLOSE
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.surrogate import Surrogate
from hpo_batch.records import Configuration, Value, is_number
from hpo_batch.space.parameters import Choices, Integer, Real
from hpo_batch.space.space import Space
from hpo_batch.text.numbers import label, number

# conventions: a step is half a quarter of the range, and a value has as many digits as people write
STEP: Final = 1 / 8
"""of a range with many values: how far a step leads"""
DIGITS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Move:
    """One parameter changed from the best configuration."""

    parameter: str
    value: Value
    where: str
    """``between`` tried values, ``beyond`` them, or ``tried`` with other settings"""
    gain: float | None
    """that the model expects, above 0 where it is better; None where it cannot tell"""
    error: float
    """standard error of that"""

    @property
    def text(self) -> str:
        return f"{self.parameter} = {short_text(self.value)}"

    @property
    def place(self) -> str:
        """Where it lies, in words."""
        return "a value that was tried" if self.where == "tried" else f"{self.where} the values that were tried"

    @property
    def chance(self) -> float:
        """That it is better, as the model sees it."""
        if self.gain is None:
            return 0.5
        if self.error <= 0:
            return 1.0 if self.gain > 0 else 0.0
        return 0.5 * (1 + math.erf(self.gain / self.error / math.sqrt(2)))


def short_text(value: Value) -> str:
    """A value as a sentence has it, with four digits: the file has all of them."""
    return number(value) if isinstance(value, float) else label(value)


def moves(data: Data, model: Surrogate, space: Space, best: Configuration, row: int) -> dict[str, list[Move]]:
    """For each searched parameter that is active in the best configuration, the moves that are valid: the most
    promising first. Moves that change which parameters are active are left out.

    Args:
        data: the trials.
        model: of them.
        space: of the sweep.
        best: the configuration to start from.
        row: of its trial in ``data``.
    """
    settings = np.flatnonzero(model.rows == row)
    if not len(settings):  # the first trial of the configuration stands for it in the model
        settings = np.flatnonzero(data.keys[model.rows] == data.keys[row])
    found = {}
    for parameter in space.searched:
        if parameter.name not in best.searched or parameter.name not in data.by_name:
            continue
        info = data.by_name[parameter.name]
        own: dict[tuple[type, Value], Move] = {}
        for value, where in _values(info, parameter, best.searched[parameter.name]):
            if _changed(space, best, {parameter.name: value}) is None or (type(value), value) in own:
                continue
            if info.numeric:
                where = _where(info, value)
            gain, error = _gain(data, model, info, best.searched[parameter.name], value, settings)
            own[type(value), value] = Move(parameter=parameter.name, value=value, where=where, gain=gain, error=error)
        if own:
            found[parameter.name] = sorted(own.values(), key=lambda move: -move.chance)
    return found


def changed(space: Space, best: Configuration, values: Mapping[str, Value]) -> Configuration | None:
    """The best configuration with some values changed; None if that is invalid, or changes what is active."""
    return _changed(space, best, values)


def _changed(space: Space, best: Configuration, values: Mapping[str, Value]) -> Configuration | None:
    configuration = (
        space.resolve({**best.searched, **best.fixed, **values}) if _is_complete(space, best, values) else None
    )
    if configuration is None or configuration.searched.keys() != best.searched.keys():
        return None
    return configuration if space.why_invalid(configuration, bounds=False) is None else None


def _is_complete(space: Space, best: Configuration, values: Mapping[str, Value]) -> bool:
    """Whether no parameter becomes active for which there is no value."""
    known = {**best.searched, **best.fixed, **values}
    active = space.decide(lambda parameter: known.get(parameter.name, parameter.middle))
    return active.searched.keys() == best.searched.keys()


def _values(info: ParamInfo, parameter: Choices | Integer | Real, now: Value) -> Iterator[tuple[Value, str]]:
    """Values to move to, with where they lie; may repeat."""
    if not info.numeric or not is_number(now):
        listed = parameter.values if isinstance(parameter, Choices) else info.levels
        yield from ((value, "tried") for value in listed if (type(value), value) != (type(now), now))
        return
    here, (low, high) = info.position(now), info.ends
    if high <= low:
        return
    dense = info.kind == "continuous"
    tried = sorted(set(info.level_positions.tolist()))
    for direction in (-1, 1):
        beside = [at for at in tried if direction * (at - here) > 1e-9 * (high - low)]
        nearest = min(beside, key=lambda at: abs(at - here)) if beside else None
        step = STEP * (high - low)
        at_end = direction * ((low if direction < 0 else high) - here) <= CLOSE * (high - low)
        if (at_end or nearest is None) and isinstance(parameter, Choices) and parameter.limits is not None:
            yield from ((value, "beyond") for value in _next_listed(parameter, now, direction))
        elif at_end or nearest is None:
            width = step
            if not dense and len(tried) > 1:
                width = min(abs(at - here) for at in tried if at != here) if nearest is None else step
            for value in _at(info, parameter, now, here + direction * width):
                yield value, "beyond"
        elif dense:
            for value in _at(info, parameter, now, here + direction * step):
                yield value, "between"
        else:
            for value in _at(info, parameter, now, (here + nearest) / 2):
                yield value, "between"
            for value in _at(info, parameter, now, nearest):
                yield value, "tried"


def _where(info: ParamInfo, value: Value) -> str:
    """Whether a number was tried, lies between those that were, or beyond them."""
    if value in info.levels:
        return "tried"
    low, high = float(info.level_positions.min()), float(info.level_positions.max())
    return "between" if low < info.position(value) < high else "beyond"


def _next_listed(parameter: Choices, now: Value, direction: int) -> Iterator[Value]:
    """The value beside one in the limits of choices, if there is one."""
    assert parameter.limits is not None
    listed = parameter.limits[::direction]
    if now in listed:
        yield from listed[listed.index(now) + 1 :][:1]


def _at(info: ParamInfo, parameter: Choices | Integer | Real, now: Value, position: float) -> Iterator[Value]:
    """The value at a place of the scale, as one would write it; none where it is not allowed."""
    number = 10**position if info.log else position
    whole = isinstance(parameter, Integer) or (
        isinstance(parameter, Choices) and all(isinstance(value, int) for value in parameter.values)
    )
    if whole:
        near: Value = round(number)
    elif any(math.isclose(number, float(level), rel_tol=1e-9) for level in info.levels):
        near = next(level for level in info.levels if math.isclose(number, float(level), rel_tol=1e-9))
    else:
        near = float(f"{number:.{DIGITS}g}")
    if not isinstance(parameter, Choices) and parameter.step is not None:
        step = parameter.step
        near = parameter.low + round((float(near) - parameter.low) / step) * step
        near = int(near) if isinstance(parameter, Integer) else float(f"{near:.12g}")
    near = parameter.normalise(near)
    levels = [float(level) for level in info.levels]
    if (type(near), near) == (type(now), now) or not is_number(near):
        return
    if min(levels) >= 0 and (float(near) < 0 or (info.log and float(near) <= 0) or (whole and float(near) < 1)):
        return
    if not whole and min(levels) >= 0 and max(levels) <= 1 and float(near) >= 1:
        return  # a share
    if not _is_within_limits(parameter, near):
        return
    yield near


def _is_within_limits(parameter: Choices | Integer | Real, value: Value) -> bool:
    if parameter.limits is None:
        return True
    if isinstance(parameter, Choices):
        return value in parameter.limits
    return parameter.limits[0] <= float(value) <= parameter.limits[1]


def _gain(
    data: Data,
    model: Surrogate,
    info: ParamInfo,
    now: Value,
    value: Value,
    settings: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> tuple[float | None, float]:
    known = {(type(level), level) for level in info.levels}
    if not len(settings) or ((type(value), value) not in known and not info.numeric):
        return None, 0.0
    means = model.means(info, [now, value], settings)
    if means is None:
        return None, 0.0
    size, error = means.difference(1, 0)
    return data.sign * size, error
