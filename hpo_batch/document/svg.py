"""Small SVG drawings by hand: scales, axes, marks. Colours and letters come from ``templates/figure.css``.

Hand-made because the same drawing must follow the reader's light or dark scheme, inside the HTML and in a file of its
own, keep its text as text, and be the same to the byte for the same numbers.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from hpo_batch.text.lines import printable, short

CHARACTER: Final = 6.3
"""width of a letter, about, at the size of tick labels"""
FAR: Final = (1e-4, 1e6)
"""an axis with ticks beyond these has powers of ten"""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One drawing."""

    width: int
    height: int
    body: str
    """SVG, safe"""
    alt: str
    """what it shows, in words, with the telling numbers"""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Numbers to positions along one axis."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.log:
            low, high, at = math.log(self.low), math.log(self.high), math.log(max(value, self.low * 1e-9))
        else:
            low, high, at = self.low, self.high, value
        share = 0.5 if high == low else (at - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 5) -> tuple[float, ...]:
        if self.log:
            return _log_ticks(self.low, self.high, most)
        return _ticks(self.low, self.high, most)


def scale(values: Sequence[float], *, start: float, end: float, log: bool = False, pad: float = 0.05) -> Scale:
    """A scale over finite ``values`` with some room at both ends."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if log:
        room = (high / low) ** pad if high > low else 2.0
        return Scale(low=low / room, high=high * room, start=start, end=end, log=True)
    room = (high - low) * pad if high > low else abs(high) * pad or 1.0
    return Scale(low=low - room, high=high + room, start=start, end=end)


def _ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    if not high > low:
        return (low,)
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10, 20) if power * m >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(i * step for i in range(first, last + 1))


def _log_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = [10.0**power for power in range(first, last + 1)]
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [d * f for d in decades for f in factors if low <= d * f <= high]
        if len(ticks) <= most:
            return tuple(ticks) or (low, high)
    every = math.ceil(len(ticks) / most)
    return tuple(ticks[::every])


def tick_labels(ticks: Sequence[float]) -> tuple[str, ...]:
    """Labels with as many digits as tell the ticks apart, and no more: 20 and 40; powers of ten for far numbers."""
    far = any(tick != 0 and not FAR[0] <= abs(tick) < FAR[1] for tick in ticks)
    for digits in range(1, 13):
        texts = [f"{0.0 if abs(tick) < 1e-300 else tick:.{digits}g}" for tick in ticks]
        exact = all(
            math.isclose(float(t), tick, rel_tol=1e-6, abs_tol=1e-12 * max(map(abs, ticks)))
            for t, tick in zip(texts, ticks, strict=True)
        )
        if exact:
            break
    plain = [_power(float(text), digits) if far else _decimal(text) for text in texts]
    return tuple(text.replace("-", "\N{MINUS SIGN}", 1) if text[:1] == "-" else text for text in plain)


def _decimal(text: str) -> str:
    """``2e+01`` as ``20``."""
    return f"{float(text):.12f}".rstrip("0").rstrip(".") if "e" in text else text


def _power(tick: float, digits: int) -> str:
    """``0.0001`` as ``1e-4``, beside ``1e-5``; numbers that need no power stay."""
    if 0.1 <= abs(tick) < 1000 or tick == 0:
        return f"{tick:g}"
    mantissa, _, exponent = f"{tick:.{digits - 1}e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"


def escaped(text: object) -> str:
    return html.escape(printable(text), quote=True)


@dataclass
class Canvas:
    """Collects the marks of one panel. ``classes`` are those of ``figure.css``."""

    width: int
    height: int
    marks: list[str] = field(default_factory=list)

    def panel(self, alt: str) -> Panel:
        return Panel(width=self.width, height=self.height, body="".join(self.marks), alt=printable(alt))

    def line(self, x1: float, y1: float, x2: float, y2: float, classes: str) -> None:
        self.marks.append(f'<line class="{classes}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def path(self, points: Sequence[tuple[float, float]], classes: str, *, title: str = "", trial: str = "") -> None:
        """``trial``: the key of the trial that a mark stands for (``trial_key``), here and below."""
        if not points:
            return
        way = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self._mark(f'path class="{classes}" d="{way}"', title, trial)

    def area(self, upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]], classes: str) -> None:
        self.path([*upper, *reversed(lower)], classes)

    def rect(self, x: float, y: float, width: float, height: float, classes: str, *, title: str = "") -> None:
        self._mark(
            f'rect class="{classes}" x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" '
            f'height="{max(0.0, height):.1f}"',
            title,
        )

    def dot(self, x: float, y: float, radius: float, classes: str, *, title: str = "", trial: str = "") -> None:
        self._mark(f'circle class="{classes}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"', title, trial)

    def cross(self, x: float, y: float, classes: str, *, title: str = "", trial: str = "") -> None:
        self._mark(f'path class="{classes}" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"', title, trial)

    def triangle(self, x: float, y: float, classes: str, *, up: bool, title: str = "", trial: str = "") -> None:
        tip = -6 if up else 6
        self._mark(f'path class="{classes}" d="M{x - 4:.1f} {y:.1f}h8l-4 {tip}z"', title, trial)

    def text(
        self,
        x: float,
        y: float,
        text: object,
        classes: str = "t",
        *,
        anchor: str = "start",
        most: int = 60,
        turned: bool = False,
    ) -> None:
        """``most``: letters; a longer text is shortened and told in full by its tooltip."""
        shown = short(text, most)
        whole = printable(text)
        title = f"<title>{escaped(whole)}</title>" if shown != whole else ""
        turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
        self.marks.append(
            f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}>'
            f"{escaped(shown)}{title}</text>"
        )

    def _mark(self, inside: str, title: str, trial: str = "") -> None:
        inside += f' data-trial="{escaped(trial)}"' if trial else ""
        if title:
            name = inside.split(" ", 1)[0]
            self.marks.append(f"<{inside}><title>{escaped(title)}</title></{name}>")
        else:
            self.marks.append(f"<{inside}/>")

    def y_axis(self, y: Scale, *, left: float, right: float, title: str = "") -> None:
        """Grid lines with their labels at the left, the axis' name above them."""
        ticks = y.ticks(5)
        for tick, text in zip(ticks, tick_labels(ticks), strict=True):
            self.line(left, y(tick), right, y(tick), "grid")
            self.text(left - 6, y(tick) + 4, text, "t m", anchor="end")
        if title:
            self.text(4, min(y.start, y.end) - 12, title, "t m", most=int((right - 4) / CHARACTER))

    def x_axis(self, x: Scale, *, bottom: float, title: str = "", most: int = 6) -> None:
        self.line(x.start, bottom, x.end, bottom, "axis")
        ticks = x.ticks(most)
        for tick, text in zip(ticks, tick_labels(ticks), strict=True):
            self.line(x(tick), bottom, x(tick), bottom + 4, "axis")
            self.text(x(tick), bottom + 17, text, "t m", anchor="middle")
        if title:
            self.text(x.end, bottom + 33, title, "t m", anchor="end", most=int((x.end - 4) / CHARACTER))

    def named_axis(self, names: Sequence[str], *, left: float, right: float, bottom: float) -> tuple[float, ...]:
        """A band per name; returns the middles. Labels that do not fit beside each other are turned."""
        self.line(left, bottom, right, bottom, "axis")
        band = (right - left) / max(1, len(names))
        middles = tuple(left + band * (i + 0.5) for i in range(len(names)))
        turned = any(len(short(name, 12)) * CHARACTER > band for name in names)
        for x, name in zip(middles, names, strict=True):
            if turned:
                self.text(x + 4, bottom + 6, name, "t m", anchor="end", most=7, turned=True)
            else:
                self.text(x, bottom + 16, name, "t m", anchor="middle", most=max(3, int(band / CHARACTER)))
        return middles


def inline(panel: Panel) -> str:
    """For the HTML, which has the style already."""
    return (
        f'<svg viewBox="0 0 {panel.width} {panel.height}" role="img" aria-label="{escaped(panel.alt)}" '
        f'style="max-width:{panel.width}px">{panel.body}</svg>'
    )


def standalone(panels: Sequence[Panel], *, title: str, style: str, across: int = 1040) -> str:
    """All panels in one file: in rows of at most ``across`` pixels."""
    placed: list[str] = []
    x = width = 0
    y, row = 34, 0
    for panel in panels:
        if x and x + panel.width > across:
            x, y, row = 0, y + row + 12, 0
        placed.append(
            f'<svg x="{x}" y="{y}" width="{panel.width}" height="{panel.height}" role="img" '
            f'aria-label="{escaped(panel.alt)}">{panel.body}</svg>'
        )
        x += panel.width + 12
        row = max(row, panel.height)
        width = max(width, x - 12)
    height = y + row
    width = max(width, 320)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" class="figure" width="{width + 24}" height="{height + 16}" '
        f'viewBox="-12 0 {width + 24} {height + 16}">\n<title>{escaped(title)}</title>\n<style>{style}</style>\n'
        f'<rect class="paper" x="-12" y="0" width="{width + 24}" height="{height + 16}"/>\n'
        f'<text class="t h" x="0" y="22">{escaped(short(title, int(width / 7.5)))}</text>\n'
        + "\n".join(placed)
        + "\n</svg>\n"
    )
