"""The command line in this process, as a fuzzer calls it: what it printed is looked at, whatever it printed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from hpo_batch.cli.main import run
from hpo_batch.cli.terminal import print_anything
from tests.helpers import write_program

BUG = 70
STEERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]|\r(?!\n)")
"""what a terminal would obey, or a reader be misled by"""
SLURM = {"squeue": "squeue.txt", "sacct": "sacct.txt", "scontrol": "scontrol.txt", "sacctmgr": "sacctmgr.txt"}
"""programs of SLURM, and the file in ``slurm`` that each prints"""


class Hang(BaseException):
    """It took too long. No ``Exception``: what catches those must not go on."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def refused(self) -> bool:
        return self.code >= 2


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """An ``AssertionError`` if the block takes longer; the wall's time, so the bound is to be a wide one."""

    def late(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except Hang as hang:
        raise AssertionError(f"it takes longer than {seconds:g} s") from hang
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def surroundings() -> Iterator[Path]:
    """An empty working directory, no settings of the user's, and a SLURM that prints what a case says."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        folder = Path(name)
        programs = folder / "bin"
        programs.mkdir()
        for program, file in SLURM.items():
            write_program(programs / program, f'#!/bin/sh\nexec cat "{folder}/slurm/{file}"\n')
        (folder / "slurm").mkdir()
        (folder / "slurm" / "scontrol.txt").write_text("ClusterName = c\n")
        before, cwd = dict(os.environ), Path.cwd()
        for variable in [v for v in os.environ if v.startswith(("HPO_BATCH_", "SLURM", "SBATCH_", "SUBMITIT_"))]:
            del os.environ[variable]
        os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
        (folder / "cwd").mkdir()
        os.chdir(folder / "cwd")
        try:
            yield folder
        finally:
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(before)


def cli(*argv: object) -> Ended:
    """Run a command; what must hold of every one is asserted: no bug, no escapes, JSON that is JSON."""
    words = [str(word) for word in argv]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        print_anything()
        code = run(words)
    ended = Ended(code=code, out=_written(out), err=_written(err))
    assert code < BUG, f"{words[0]} ended with {code}:\n{_trace(ended.err)}"
    assert code < 2 or ended.err.strip(), f"{words} ended with {code} and said nothing"
    assert "Traceback" not in ended.err
    for text in (ended.out, ended.err):
        assert not STEERS.search(text), f"{words} printed {STEERS.findall(text)}"
    if ("--json" in words or "json" in words) and ended.out:
        strict(ended.out)
    return ended


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode("utf-8")


def _trace(told: str) -> str:
    """The traceback of a bug, from the file that the user is asked to send."""
    found = re.search(r"please report it with (\S+)", told)
    if found is None:
        return told
    text = Path(found[1]).read_text()
    Path(found[1]).unlink()
    return text


def strict(text: str) -> object:
    """JSON as other programs read it: without NaN and infinity."""

    def refuse(word: str) -> object:
        raise AssertionError(f"{word} is no JSON")

    def number(word: str) -> float:
        value = float(word)
        assert abs(value) != float("inf"), f"{word} is read as infinity"
        return value

    return json.loads(text, parse_constant=refuse, parse_float=number)
