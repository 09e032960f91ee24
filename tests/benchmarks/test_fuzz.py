"""The fuzzer finds what is there to be found: an error, a hang, a death; and keeps the smallest input of each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

from benchmarks import fuzz
from tests.conftest import REPOSITORY
from tests.fuzzers import running
from tests.fuzzers.cases import Case, cases
from tests.fuzzers.targets import TARGETS, Target


def _errs(case: Case, folder: Path) -> None:
    assert b"\x07" not in case.content, "a bell"


def _hangs(case: Case, folder: Path) -> None:
    while b"\x07" in case.content:
        time.sleep(0.01)


def _dies(case: Case, folder: Path) -> None:
    if b"\x07" in case.content:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("check", "mark"), [(_errs, "AssertionError a bell"), (_hangs, "it takes longer than"), (_dies, "ended with -9")]
)
def test_it_finds_what_breaks_a_reader(
    check: object, mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = st.lists(st.sampled_from([bytes([n]) for n in range(16)]), max_size=8).map(b"".join)
    planted = Target(about="", inputs=lambda: cases(inputs), check=check, bound_s=0.2)  # type: ignore[arg-type]
    monkeypatch.setitem(TARGETS, "planted", planted)
    monkeypatch.setattr(fuzz, "SMALLER_S", 3.0)
    told = fuzz.fuzz("planted", seconds=1.5, seed=1, out=tmp_path)
    assert told.inputs, told
    found = next((key for key in told.crashes if mark in key), "")
    assert found, told
    case = Case.of(told.crashes[found])
    assert b"\x07" in case.content
    if check is _errs:
        assert case.content == b"\x07"  # as small as can be
    assert f"planted --replay {told.crashes[found]}" in capsys.readouterr().err


def test_it_finds_nothing_where_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Target(about="", inputs=lambda: cases(st.binary()), check=lambda case, folder: None)
    monkeypatch.setitem(TARGETS, "planted", whole)
    told = fuzz.fuzz("planted", seconds=0.5, seed=1, out=tmp_path)
    assert told.inputs > 1
    assert not told.crashes
    assert not list(tmp_path.iterdir())


def test_a_fuzzer_that_cannot_run_is_no_fuzzer_that_finds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inputs() -> st.SearchStrategy[Case]:
        raise OSError("no such file")

    monkeypatch.setitem(TARGETS, "planted", Target(about="", inputs=inputs, check=_errs))
    with pytest.raises(SystemExit, match="cannot run"):
        fuzz.fuzz("planted", seconds=0.5, seed=1, out=tmp_path)


def _prints(text: str, code: int = 0, to: str = "stdout") -> Callable[[list[str]], int]:
    def run(argv: list[str]) -> int:
        print(text, end="", file=getattr(sys, to))
        return code

    return run


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (_prints("error: a bug", 70, "stderr"), "ended with 70"),
        (_prints("", 2), "said nothing"),
        (_prints("\x1b[2J"), "printed"),
        (_prints("\u202egpj", to="stderr"), "printed"),
        (_prints('{"a": NaN}'), "NaN is no JSON"),
        (_prints('{"a": 1e999}'), "is read as infinity"),
    ],
)
def test_what_every_command_is_held_to(
    run: Callable[[list[str]], int], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "run", run)
    with pytest.raises(AssertionError, match=why):
        running.cli("status", "--json")


def test_the_command(tmp_path: Path) -> None:
    script = [sys.executable, str(REPOSITORY / "benchmarks" / "fuzz.py")]
    done = subprocess.run(
        [*script, "printed", "site", "--seconds", "1", "--out", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=100, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split(" | ")[0] for line in done.stdout.splitlines()[2:]] == ["| printed", "| site"]
    case = tmp_path / "x.case"
    Case(what="", content=b"RESULT: 1").save(case)
    done = subprocess.run(
        [*script, "printed", "--replay", str(case)], capture_output=True, text=True, check=False, timeout=100
    )
    assert (done.returncode, done.stdout) == (0, "holds\n"), done.stderr
