"""The screen of ``status -w``: a bar of the trials, the course of the best value, the newest trials, and the lines of
``status``, redrawn in place (https://rich.readthedocs.io/en/stable/live.html)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from hpo_batch.cli.keys import q_interrupts
from hpo_batch.cli.screen import INDENT, screen
from hpo_batch.cli.terminal import steering
from hpo_batch.text.lines import harmless

if TYPE_CHECKING:
    from hpo_batch.monitor.status import StudyStatus

MOST_WIDE: Final = 100
"""columns of bar and course; on a wider screen they would be far from their numbers"""
STEPS: Final = "▁▂▃▄▅▆▇█"
PLAIN_STEPS: Final = "_.-=+*%#"
"""where the terminal's encoding has no blocks"""
STYLES: Final = {"complete": "green", "pruned": "yellow", "failed": "red", "fail": "red", "running": "cyan"}
TROUBLE: Final = ("failures", "node", "GPU", "stopped", "ended", "left", "unseen")
"""labels of lines that somebody should read"""


def redraw(looks: Iterable[list[StudyStatus]], *, all_workers: bool, every: str) -> None:
    """Draw each look over the one before, until the caller is interrupted; the last one stays on the terminal.

    Args:
        looks: statuses of the studies, one list for each look.
        all_workers: list every worker.
        every: how often things are looked at, in words.
    """
    console = Console(file=steering(sys.stdout), highlight=False)
    with q_interrupts(), Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        for statuses in looks:
            live.update(page(statuses, console, all_workers=all_workers, every=every), refresh=True)


def page(statuses: Sequence[StudyStatus], console: Console, *, all_workers: bool, every: str) -> Group:
    """All studies below each other, and a line with the time."""
    lines: list[Text] = []
    for status in statuses:
        lines += [*_study(status, console, all_workers=all_workers), Text()]
    now = time.strftime("%H:%M:%S", time.localtime(statuses[0].time))
    foot = _cut(Text(f"{now}; q to stop; {every}", style="dim"), console.width)
    # rich would cut off the end, which has the time
    room = max(1, console.height - 2)
    if len(lines) > room:
        more = len(lines) - room + 1
        lines = [
            *lines[: room - 1],
            _cut(Text(f"... {more} more lines; a larger window shows them", style="dim"), console.width),
        ]
    return Group(*lines, foot)


def _cut(text: Text, width: int) -> Text:
    """One line. rich's sign for what was cut is not in every encoding."""
    if text.cell_len > width:
        text.truncate(max(1, width - 3))
        text.append("...")
    text.no_wrap = True
    return text


def _study(status: StudyStatus, console: Console, *, all_workers: bool) -> Iterator[Text]:
    width = console.width
    is_plain = not _can_show(STEPS, console)
    lines = screen(status, width=width, all_workers=all_workers)
    # a path that does not fit is cut: the bar is the second line
    first = next((i for i, line in enumerate(lines[1:], 1) if line[:INDENT].strip()), len(lines))
    title = _styled("  ".join([lines[0], *(line.strip() for line in lines[1:first])]))
    yield _cut(title, width)
    yield bar(status, min(width, MOST_WIDE), is_plain=is_plain)
    is_best = False
    for line in lines[first:]:
        if is_best and line[:INDENT].strip() and len(status.course) > 1:  # below all lines of the best trial
            yield course(status.course, min(width, MOST_WIDE), is_plain=is_plain)
        is_best = line.startswith("best") or (is_best and not line[:INDENT].strip())
        yield _styled(line)
    yield from (_cut(line, width) for line in _newest(status))


def bar(status: StudyStatus, width: int, *, is_plain: bool) -> Text:
    """Complete, pruned, running and open trials as parts of one line. Failed ones do not count, and have no part."""
    counts = status.counts
    total = max(counts.target, counts.finished + counts.running, 1)
    room = max(10, width - INDENT)
    text, used, trials = Text(" " * INDENT), 0, 0
    for name, count in (("complete", counts.complete), ("pruned", counts.pruned), ("running", counts.running)):
        trials += count
        end = round(room * trials / total)
        sign = "#" if is_plain and name == "complete" else "~" if is_plain and name == "pruned" else ">"
        text.append((sign if is_plain else "█") * (end - used), style=STYLES[name])
        used = end
    text.append(("." if is_plain else "░") * (room - used), style="dim")
    return text


def course(values: Sequence[float], width: int, *, is_plain: bool) -> Text:
    """The best value after each trial as a sparkline, between the first and the last of them."""
    steps = PLAIN_STEPS if is_plain else STEPS
    first, last = f"{values[0]:.4g} ", f" {values[-1]:.4g}"
    room = max(4, width - INDENT - len(first) - len(last))
    shown = [values[round(i * (len(values) - 1) / (room - 1))] for i in range(room)] if len(values) > room else values
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    line = "".join(steps[round((value - low) / span * (len(steps) - 1))] for value in shown)
    return Text.assemble(" " * INDENT, (first, "dim"), (line, "green"), last)


def _newest(status: StudyStatus) -> Iterator[Text]:
    for i, trial in enumerate(status.newest):
        value = "" if trial.value is None else f"{trial.value:.6g}"
        seconds = "" if trial.seconds is None else f"{trial.seconds:.1f} s"
        state = "failed" if trial.state == "fail" else trial.state
        yield Text.assemble(
            (("newest" if i == 0 else "").ljust(INDENT), "bold"),
            f"trial {trial.number}".ljust(12),
            (state.ljust(10), STYLES.get(trial.state, "")),
            f"{value:>12}  {seconds:>10}",
        )


def _styled(line: str) -> Text:
    label = line[:INDENT]
    text = Text(harmless(line))
    if label[:1].strip():  # lines of workers are indented, and have a name there
        text.stylize("bold red" if label.strip() in TROUBLE else "bold", 0, len(label.rstrip()))
    return text


def _can_show(signs: str, console: Console) -> bool:
    try:
        signs.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
