"""The values to search for an option, from its name, type and default. Pure.

Learning rates and other small numbers on a logarithmic scale around the default, powers of two as choices, booleans and
choices as they are. A default of a script is the best guess of its author: ranges have it in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final

from hpo_batch.init.option import Kind, Option
from hpo_batch.records import is_number
from hpo_batch.text.metric_names import words

_NOT_RATES: Final = words(
    "scheduler schedule step steps decay gamma warmup cooldown factor power policy mult mul patience noise cycle pct "
    "percent k drop min end final"
)
_DECAYS: Final = words("weight_decay wd l1 l2 reg l2_reg lambda reg_lambda reg_alpha weight_decay_rate")
_WIDTHS: Final = words(
    "batch dim dims hidden width units channels filters embed embedding features heads head size d n bs neurons leaves"
)
_SCHEDULES: Final = ("linear", "cosine", "constant_with_warmup")
"""of the schedules of Transformers and Diffusers those that need no further option, such as a number of cycles"""
_SMALL: Final = 0.01
"""up to here a positive number is searched on a logarithmic scale"""
_NEAR_ONE: Final = 0.9
_UNSPECIFIC: Final = 9


@dataclass(frozen=True, kw_only=True)
class Searched:
    """A parameter of ``[space]``."""

    value: Any
    """a list of choices, or a table with low and high"""
    comment: str = ""
    rank: int = _UNSPECIFIC
    """the lower, the more it matters as a rule"""
    is_off: bool = False
    """whether it is the flag that switches the option off"""


def is_log_rate(option: Option) -> bool:
    """Whether an option is a learning rate."""
    parts = option.words.split("_")
    is_rate = "lr" in parts or "learning_rate" in option.words or option.words in ("learningrate", "eta")
    takes_number = option.kind in (Kind.REAL, Kind.UNKNOWN) and not option.choices
    return is_rate and takes_number and not set(parts) & _NOT_RATES


def searched(option: Option) -> Searched | None:
    """How to search an option, within what it takes; None if nothing says between which values."""
    found = _searched(option)
    return found if found is None or option.low is option.high is None else _within(found, option)


def _within(found: Searched, option: Option) -> Searched | None:
    """A proposal without what the option refuses."""
    low = -inf if option.low is None else option.low
    high = inf if option.high is None else option.high
    if isinstance(found.value, list):
        kept = [one for one in found.value if isinstance(one, bool | str) or low <= one <= high]
        return replace(found, value=kept) if len(kept) > 1 else None
    kind = int if isinstance(found.value["low"], int) else float
    value = found.value | {"low": kind(max(low, found.value["low"])), "high": kind(min(high, found.value["high"]))}
    return replace(found, value=value) if value["low"] < value["high"] else None


def said_default(option: Option) -> str:
    """The comment on a range that comes from a default, or from what the user types in its place."""
    shown = f"{option.default:g}" if isinstance(option.default, float) else option.default
    return f"yours is {shown}" if option.is_typed else f"the script's default is {shown}"


def _searched(option: Option) -> Searched | None:
    if option.choices and not all(isinstance(choice, bool) for choice in option.choices):
        return _choices(option)
    if option.kind is Kind.BOOLEAN:
        return _boolean(option)
    if is_log_rate(option):
        return _rate(option)
    if option.kind is Kind.INTEGER:
        return _integer(option)
    if option.kind is Kind.REAL:
        return _real(option)
    return None


def _choices(option: Option) -> Searched | None:
    values: list[Any] = list(dict.fromkeys(option.choices))
    if set(values) >= set(_SCHEDULES):
        default = "" if option.default is None else f"{said_default(option)}, "
        return Searched(value=list(_SCHEDULES), comment=f"{default}of {len(values)} choices", rank=5)
    default = "" if option.default is None else f"the script's default is {option.default}"
    is_boolean = {str(value).lower() for value in values} == {"true", "false"}
    return Searched(value=values, comment=default, rank=7 if is_boolean else 5) if len(values) > 1 else None


def _boolean(option: Option) -> Searched:
    if not option.is_flag:  # takes a value: true and false as texts
        return Searched(value=["true", "false"], rank=7)
    if option.off and option.default is True:
        return Searched(value=[True, False], comment=f"true passes {option.off}", rank=7, is_off=True)
    return Searched(value=[True, False], comment=f"true passes {option.flag}", rank=7)


def _rate(option: Option) -> Searched:
    default = option.default
    if is_number(default) and isinstance(default, int | float) and default > 0:
        comment = (
            f"log, around your {default:g}" if option.is_typed else f"log, around the script's default {default:g}"
        )
        return Searched(value=_log(float(default)), comment=comment, rank=0)
    return Searched(value={"low": 1e-5, "high": 1e-1, "log": True}, comment="the script names no default", rank=0)


def _integer(option: Option) -> Searched | None:
    default = option.default
    if not isinstance(default, int) or isinstance(default, bool) or not 1 <= default < 10**9:
        return None
    parts = set(option.words.split("_"))
    is_width = bool(parts & _WIDTHS)
    rank = 1 if {"batch", "bs"} & parts else 3 if is_width else 4 if parts & words("layers layer depth blocks") else 8
    comment = said_default(option)
    is_power = default & (default - 1) == 0
    if (is_power and default >= 8) or (is_width and default >= 2):
        values = sorted({max(1, default // 2), default, default * 2})
        return Searched(value=values, comment=comment, rank=rank)
    return Searched(value={"low": max(1, default // 2), "high": max(2, default * 2)}, comment=comment, rank=rank)


def _real(option: Option) -> Searched | None:
    default, name = option.default, option.words
    if not isinstance(default, int | float) or isinstance(default, bool):
        # off by default: a decay has a usual range, and dropout an obvious one
        if any(part.startswith("drop") for part in name.split("_")):
            return Searched(value={"low": 0.0, "high": 0.5}, rank=2)
        return Searched(value={"low": 1e-6, "high": 1e-2, "log": True}, rank=2) if name in _DECAYS else None
    default = float(default)
    if default.is_integer() and set(name.split("_")) & words("batch bs"):
        return _integer(replace(option, default=int(default)))  # --batch-size with type=float, and half a row is none
    comment = said_default(option)
    if any(part.startswith("drop") for part in name.split("_")) and 0 <= default < 1:
        return Searched(value={"low": 0.0, "high": 0.5 if default <= 0.5 else 0.9}, comment=comment, rank=2)
    if name in _DECAYS:
        value = _log(default) if default > 0 else {"low": 1e-6, "high": 1e-2, "log": True}
        return Searched(value=value, comment=f"log; {comment}", rank=2)
    if name == "momentum" and 0 < default < 1:
        return Searched(value={"low": 0.8 if default >= 0.8 else 0.0, "high": 0.99}, comment=comment, rank=3)
    if default <= 0 or default > 1e12 or set(name.split("_")) & words("eps epsilon beta beta1 beta2 betas"):
        return None
    if default <= _SMALL:
        return Searched(value=_log(default), comment=f"log; {comment}", rank=6)
    if _NEAR_ONE <= default < 1:
        # discounts and averages: how far from 1 is what matters
        low, high = max(0.5, 1 - 10 * (1 - default)), 1 - (1 - default) / 10
        return Searched(value={"low": _short(low, 6), "high": _short(high, 6)}, comment=comment, rank=6)
    high = min(1.0, 2 * default) if default < 1 else 2 * default
    return Searched(value={"low": _short(default / 2), "high": _short(high)}, comment=comment, rank=6)


def _log(default: float) -> dict[str, Any]:
    return {"low": _short(default / 10), "high": _short(default * 10), "log": True}


def _short(value: float, digits: int = 3) -> float:
    """Few digits: 0.00030000000000000003 is nobody's number."""
    return float(f"{value:.{digits}g}")
