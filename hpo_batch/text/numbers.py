"""Formats numbers for people, with units, and with as many digits as their uncertainty justifies."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from hpo_batch.records import Estimate, Value
from hpo_batch.text.lines import printable

MOST_OF_POWER: Final = 6
"""digits of a number that is written with a power of ten; one that needs more is written in full"""
LARGE: Final = 1e7
"""a value, or an uncertainty, from which numbers are written with a power of ten"""
MOST_PLAIN: Final = 1e15
NONE: Final = "\N{EN DASH}"
"""shown instead of a missing number"""

_BEFORE_UNIT: Final = re.compile(r"(?<=\d) (?=(?:%|°C|[kMG]?B|[kMG]|ms|s|min|h|hours?|CPUs?|GPUs?)(?!\w))")


def unparted(text: str) -> str:
    """Text in which no line break can part a number and its unit: ``0.4 s`` with a no-break space."""
    return _BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", text)


def folded(text: str, width: int, *, indent: str = "", long_words: bool = True) -> list[str]:
    """Lines of at most ``width`` characters; none if there is no text.

    Not broken at hyphens, since names, paths and options are copied from there, nor between a number and its unit.

    Args:
        indent: of the lines after the first.
        long_words: break words that are longer than a line.
    """
    import textwrap

    lines = textwrap.wrap(
        unparted(text), width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=long_words
    )
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def label(value: Value | None) -> str:
    """A parameter value as written in a sweep: ``1e-05``, ``64``, ``true``."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    return printable(value)


def decimals(spread: float | None, *, digits: int = 2) -> int | None:
    """Decimals needed to show ``spread`` with ``digits`` significant digits; None if it is not positive and finite."""
    if spread is None or not math.isfinite(spread) or spread <= 0:
        return None
    return max(0, min(12, digits - 1 - math.floor(math.log10(spread))))


def number(value: float | None, spread: float | None = None) -> str:
    """A number rounded to its uncertainty ``spread``, or to four significant digits without one."""
    if value is None or not math.isfinite(value):
        return NONE
    places = decimals(spread)
    if places is None:
        return _minus(_plain(f"{value:.4g}"))
    assert spread is not None
    if (value and max(abs(value), spread) >= LARGE) or (value != 0 and places > 6 and abs(value) < 1e-4):
        # two digits of the spread
        digits = max(1, 2 + math.floor(math.log10(abs(value))) - math.floor(math.log10(spread)))
        if digits > MOST_OF_POWER and abs(value) < MOST_PLAIN:
            return _minus(f"{value:,.{places}f}")
        return _minus(_plain(f"{value:.{min(12, digits) - 1}e}"))
    return _minus(f"{value:.{places}f}")


def told_apart(values: Sequence[float]) -> list[str]:
    """Numbers with four significant digits, or as many as it takes for different ones to look different."""
    for digits in range(4, 17):
        texts = [_minus(_plain(f"{value:.{digits}g}")) for value in values]
        if len(set(texts)) >= len(set(values)):
            return texts
    return [repr(value) for value in values]


def signed(value: float, spread: float | None = None) -> str:
    """A difference, always with its sign."""
    text = number(value, spread)
    return text if value < 0 or text == NONE else f"+{text}"


def _plain(text: str) -> str:
    """``7.97e8`` for Python's ``7.97e+08``."""
    mantissa, e, power = text.partition("e")
    return f"{mantissa}e{int(power)}" if e else text


def _minus(text: str) -> str:
    # no sign for a number that rounds to zero
    if text.startswith("-") and not text.strip("-0."):
        return text[1:]
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def interval(estimate: Estimate | None, spread: float | None = None) -> str:
    """``0.712 [0.703, 0.721]``; without an interval the value alone."""
    if estimate is None:
        return NONE
    low, high = estimate.low, estimate.high
    if low is None or high is None:
        return number(estimate.value, spread)
    half = (high - low) / 2
    # one significant digit of the half-width, two if the first is 1 or 2: 0.7175 [0.7169, 0.7180], 0.712 [0.699, 0.725]
    width = half * (10 if half > 0 and half / 10 ** math.floor(math.log10(half)) >= 3 else 1) if half > 0 else spread
    # the value is rounded as finely as values it is compared with
    fine = width if spread is None or width is None else min(width, spread)
    return f"{number(estimate.value, fine)} [{number(low, width)}, {number(high, width)}]"


def p_value(p: float | None) -> str:
    if p is None or not math.isfinite(p):
        return NONE
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def percent(share: float | None) -> str:
    """A share of 1 in percent: ``34.7 %``."""
    return NONE if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def hours(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    if 0 < value < 1:
        seconds = 3600 * value
        return f"{seconds / 60:.2g} min" if seconds >= 60 else f"{seconds:.2g} s" if seconds >= 0.5 else "< 1 s"
    return f"{value:,.1f} h" if value < 100 else f"{value:,.0f} h"


def duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if 0 < seconds < 0.5:
        return "< 1 s"
    return f"{seconds:.0f} s" if seconds < 120 else hours(seconds / 3600)


def count(n: int, word: str, plural: str = "") -> str:
    """``1 trial``, ``2 trials``."""
    return f"{n:,} {word if n == 1 else plural or word + 's'}"


def size_range(n_params: tuple[int, int]) -> str:
    """Smallest and largest number of model parameters: ``1.2 M to 3.4 M``."""
    low, high = (_large(n) for n in n_params)
    return low if low == high else f"{low} to {high}"


def _large(n: int) -> str:
    for size, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if n >= size:
            return f"{n / size:.3g} {letter}"
    return str(n)
