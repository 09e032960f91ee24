"""``status -w`` in a terminal: what it shows, at which size, and how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path

import pyte
import pytest
from msgspec.structs import replace
from rich.console import Console
from rich.text import Text

from hpo_batch.cli.live_screen import bar, course, page
from hpo_batch.monitor.course import best_so_far, newest
from hpo_batch.monitor.status import StudyStatus, study_statuses
from hpo_batch.records import Counts, Failed, Outcome, Pruned, Reason
from hpo_batch.store.home import StudyHome
from hpo_batch.study.study import Study
from tests.helpers import REPOSITORY
from tests.study.helpers import claimed, complete, make, owner, state_of

EVERY = "reads the journal every 2 s"


def study(root: Path, *, direction: str = "minimize") -> StudyHome:
    """Five ended trials of eight: 0.5, 0.7, failed, 0.2, pruned; a sixth runs."""
    home = make(root, study="trials = 8", metric=f'metric = "loss"\ndirection = "{direction}"')
    with Study.open(home, owner(1)) as opened:
        for end in (0.5, 0.7, "failed", 0.2, "pruned"):
            claim = claimed(opened)
            outcome: Outcome = Failed(reason=Reason.EXCEPTION, message="no")
            if isinstance(end, float):
                outcome = complete(claim, end)
            elif end == "pruned":
                outcome = Pruned(step=2, metrics={"loss": 0.9})
            opened.tell(claim, outcome)
        claimed(opened)
    return home


def status_of(home: StudyHome) -> StudyStatus:
    (found,) = study_statuses([home])
    return found


def shown(status: StudyStatus, *, width: int = 80, height: int = 40, encoding: str = "utf-8") -> list[str]:
    """The lines of a page without its colours."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    console = Console(file=file, width=width, height=height, highlight=False)
    console.print(page([status], console, all_workers=False, every=EVERY))
    file.flush()
    assert isinstance(file.buffer, io.BytesIO)
    return file.buffer.getvalue().decode(encoding).splitlines()


@pytest.mark.parametrize(("direction", "best"), [("minimize", (0.5, 0.5, 0.2)), ("maximize", (0.5, 0.7, 0.7))])
def test_the_best_so_far_and_the_newest_trials(root: Path, direction: str, best: tuple[float, ...]) -> None:
    state = state_of(study(root, direction=direction))
    assert best_so_far(state) == best
    assert [(trial.number, trial.state) for trial in newest(state, most=3)] == [
        (4, "pruned"), (3, "complete"), (2, "fail"),
    ]  # fmt: skip
    assert best_so_far(state, most=2) == (best[0], best[-1])


def test_the_page_fits_the_window(root: Path, no_slurm: None) -> None:
    status = status_of(study(root))
    for width, height in ((80, 40), (60, 12), (40, 6), (200, 60)):
        lines = shown(status, width=width, height=height)
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        assert EVERY[:10] in lines[-1]
    lines = shown(status)
    assert lines[1].strip("█░ ") == ""
    assert lines[1].count("█") == pytest.approx(70 * 5 / 8, abs=1)
    assert any("0.5 █" in line and "▁ 0.2" in line for line in lines)
    assert any(line.split()[:3] == ["trial", "3", "complete"] for line in lines)


def test_in_a_narrow_window_a_long_path_is_cut(root: Path, no_slurm: None) -> None:
    status = status_of(study(root))
    for height in (40, 12):
        lines = shown(status, width=40, height=height)
        assert len(lines) <= height
        assert lines[0].endswith("...")
        assert "░" in lines[1]
        assert lines[2].startswith("trials")
    assert sum("more lines" in line for line in lines) == 1
    assert lines[-1].endswith("...")


def test_only_labels_are_bold(root: Path, no_slurm: None) -> None:
    home = study(root)
    with Study.open(home, owner(7)) as running:
        claimed(running)
        lines = page([status_of(home)], Console(width=80), all_workers=True, every=EVERY).renderables
    texts = [line for line in lines if isinstance(line, Text)]
    bold = [line.plain[span.start : span.end] for line in texts for span in line.spans if "bold" in str(span.style)]
    assert {"study", "trials", "best", "workers"} <= set(bold)
    assert [
        label for label in bold if label.strip() and label.startswith(" ")
    ] == []  # an indented line: the name of a worker
    assert any(line.plain.startswith("  ") and "running" in line.plain for line in texts)


def test_a_terminal_without_blocks_gets_plain_signs(root: Path, no_slurm: None) -> None:
    lines = shown(status_of(study(root)), encoding="ascii")
    assert lines[1].strip("#~>. ") == ""
    assert "\\u" not in "".join(lines)


@pytest.mark.parametrize(
    ("counts", "full"),
    [
        (Counts(target=10), 0), (Counts(target=10, complete=10), 70), (Counts(target=10, complete=15), 70),
        (Counts(target=0, complete=3), 70), (Counts(target=0), 0), (Counts(target=10, failed=30, complete=5), 35),
    ],
)  # fmt: skip
def test_the_bar_is_as_long_as_the_share(root: Path, no_slurm: None, counts: Counts, full: int) -> None:
    status = replace(status_of(study(root)), counts=counts)
    assert bar(status, 80, is_plain=False).plain.count("█") == full
    assert len(bar(status, 80, is_plain=False)) == 80


@pytest.mark.parametrize("values", [[1.0, 1.0], [1e-9, -1e9], [0.1] * 500, [float(i) for i in range(500)]])
def test_the_course_is_one_line(values: list[float]) -> None:
    for width in (20, 80):
        assert len(course(values, width, is_plain=False)) <= max(width, 40)


def test_names_of_others_do_not_steer_the_terminal(root: Path, no_slurm: None) -> None:
    status = replace(status_of(study(root)), name="a\x1b]52;c;eHg=\x07b", metric="[red]m[/red]")
    text = "\n".join(shown(status))
    assert "\x1b" not in text
    assert "[red]m[/red]" in text


@dataclass
class Seen:
    """A terminal with a command in it."""

    screen: pyte.Screen
    code: int | None = None


def in_a_terminal(*argv: object, env: dict[str, str], until: str, key: bytes = b"\x03") -> Seen:
    """Run ``hpo-batch ARGV`` in a terminal of 80 columns until it shows a text, then type a key, by default Ctrl-C."""
    columns, rows = 80, 30
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(env)
        os.execv(sys.executable, [sys.executable, "-m", "hpo_batch", *map(str, argv)])
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    seen = Seen(screen=pyte.Screen(columns, rows))
    stream, end, has_typed = pyte.ByteStream(seen.screen), time.monotonic() + 60, False
    with contextlib.suppress(OSError):  # EIO: the command has ended
        while time.monotonic() < end:
            if select.select([fd], [], [], 0.1)[0]:
                stream.feed(os.read(fd, 1 << 16))
            if not has_typed and any(until in line for line in seen.screen.display):
                os.write(fd, key)
                has_typed = True
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0 if has_typed else signal.SIGKILL)
    seen.code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(fd)
    return seen


@pytest.mark.parametrize(("term", "key"), [("xterm-256color", b"\x03"), ("xterm-256color", b"q"), ("dumb", b"\x03")])
def test_watching_in_a_terminal_ends_with_ctrl_c_and_with_q(root: Path, no_slurm: None, term: str, key: bytes) -> None:
    home = study(root)
    env = {"TERM": term, "PYTHONPATH": str(REPOSITORY), "LC_ALL": "C.UTF-8"}
    seen = in_a_terminal(
        "status", "-w", home.name, "--root", root, env=env, until="trial 4" if term != "dumb" else "workers", key=key
    )
    text = "\n".join(seen.screen.display)
    assert seen.code == 0
    assert "4 of 8 finished" in text
    assert "Traceback" not in text
    assert ("█" in text) == (term != "dumb")
    assert not seen.screen.cursor.hidden
    if term != "dumb":  # drawn over, not below each other
        assert sum(line.startswith("study ") for line in seen.screen.display) == 1
