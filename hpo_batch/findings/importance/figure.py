"""Importances, drawn: shares of the main effects, and fANOVA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpo_batch.document.drawing import MOST_LEVELS, NARROW, Figure
from hpo_batch.document.svg import CHARACTER, Canvas, Panel, Scale
from hpo_batch.findings.effects.figure import joint_name
from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.importance.numbers import Importance
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.records import Answer, Estimate
from hpo_batch.text.lines import short
from hpo_batch.text.numbers import count, number


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One parameter's share of a variance."""

    parameter: str
    value: float
    low: float | None
    high: float | None
    coloured: bool
    remark: str = ""
    """behind the value, where one points at the bar"""


def shares_of(effects: Sequence[Effect]) -> list[tuple[Effect, Estimate]]:
    """Shares that add up to one: parameters that always changed together have one, which stands with the first."""
    known = {e.claim: (e, e.variance_share) for e in reversed(effects) if e.variance_share is not None}
    return list(reversed(known.values()))


def shares_figure(effects: Sequence[Effect], *, name: str, title: str) -> Figure | None:
    """Shares of the main effects; in colour what the test of effects confirms."""
    known = shares_of(effects)
    if not known:
        return None
    bars = [
        Bar(
            parameter=joint_name(e),
            value=share.value,
            low=share.low,
            high=share.high,
            coloured=e.p_holm is not None and e.p_holm < ALPHA,
            remark="" if e.p_holm is not None and e.p_holm < ALPHA else ", not confirmed",
        )
        for e, share in sorted(known, key=lambda pair: -pair[1].value)[:MOST_LEVELS]
    ]
    confirmed = [bar.parameter for bar in bars if bar.coloured]
    alt = (
        f"Shares of {count(len(bars), 'parameter')}: "
        + ", ".join(f"{bar.parameter} {number(bar.value, 0.05)}" for bar in bars)
        + f"; confirmed: {', '.join(confirmed) or 'none'}"
    )
    return Figure(
        name=name,
        title=title,
        caption=f"Share of the variance of all main effects, over the range that was tried, n = "
        f"{known[0][1].n}. Whiskers: 95 % interval. Grey: not confirmed.",
        panels=(_bars(bars, 680, alt),),
        narrow=(_bars(bars, NARROW, alt),),
    )


def importance_figure(importance: Importance, *, name: str, title: str) -> Figure | None:
    if not importance.rows:
        return None
    rows = sorted(importance.rows, key=lambda row: -row.value)[:MOST_LEVELS]
    above = [row.parameter for row in rows if row.above_null]
    alt = (
        f"Importance of {count(len(rows), 'parameter')}: "
        + ", ".join(f"{row.parameter} {number(row.value, 0.05)}" for row in rows)
        + f"; above the null line: {', '.join(above) or 'none'}"
    )
    readable = importance.interpretable is Answer.YES
    bars = [
        Bar(
            parameter=row.parameter,
            value=row.value,
            low=row.low,
            high=row.high,
            coloured=row.above_null and readable,
            remark="" if row.above_null else ", below the null line",
        )
        for row in rows
    ]
    fit = importance.surrogate_r2
    return Figure(
        name=name,
        title=title,
        caption=f"{importance.method or 'fANOVA'}, n = {importance.n}"
        + ("" if fit is None else f", cross-validated R squared {number(fit, 0.05)}")
        + ". Whiskers: range over resamples and forest seeds. Grey: below the dashed line, which parameters reach "
        "that do nothing.",
        panels=(_bars(bars, 680, alt, line=importance.null_line),),
        narrow=(_bars(bars, NARROW, alt, line=importance.null_line),),
    )


def _bars(rows: Sequence[Bar], width: int, alt: str, *, line: float | None = None) -> Panel:
    most = 26 if width > NARROW else 18
    named = min(most, max(len(short(row.parameter, most)) for row in rows))
    left, right, top = 14 + named * CHARACTER * 1.08, width - 24.0, 14
    canvas = Canvas(width=width, height=top + 26 * len(rows) + 44)
    bottom = top + 26 * len(rows)
    top_value = max([row.high or row.value for row in rows] + [line or 0.0, 1e-9])
    x = Scale(low=0.0, high=min(1.0, top_value * 1.12), start=left, end=right)
    canvas.x_axis(x, bottom=bottom, title="share of the variance", most=max(3, width // 110))
    for i, row in enumerate(rows):
        middle = top + 26 * i + 13
        canvas.text(left - 8, middle + 4, row.parameter, "t" if row.coloured else "t m", anchor="end", most=most)
        text = f"{row.parameter}: {number(row.value, 0.05)}{row.remark}"
        canvas.rect(left, middle - 8, x(row.value) - left, 16, "d1" if row.coloured else "dq", title=text)
        if row.low is not None and row.high is not None:
            canvas.line(x(row.low), middle, x(row.high), middle, "axis")
            for end in (row.low, row.high):
                canvas.line(x(end), middle - 4, x(end), middle + 4, "axis")
    if line is not None:
        at = x(line)
        canvas.line(at, top - 8, at, bottom, "l2 dash thin")
    return canvas.panel(alt)
