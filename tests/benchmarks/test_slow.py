"""``benchmarks/slow.c``: what it counts and delays, by what Python does, in a process that runs under it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.slow import build, environment
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")

CALLS: list[tuple[str, dict[str, int]]] = [
    ("fd = os.open(here / 'a', os.O_RDWR | os.O_CREAT)", {"open": 1}),
    ("os.write(fd, b'x' * 10); os.pwrite(fd, b'y', 3)", {}),
    ("os.pread(fd, 10, 0)", {}),  # it wrote that itself
    ("os.fsync(fd)", {"sync": 1}),
    ("os.close(fd)", {}),
    ("(here / 'a').write_text('more')", {"open": 1, "close": 1}),
    ("(here / 'a').read_text()", {"open": 1}),
    ("by_another('echo changed >> a')", {}),
    ("(here / 'a').read_text()", {"open": 1, "read": 1}),
    ("(here / 'a').read_text()", {"open": 1}),
    ("os.link(here / 'a', here / 'b')", {"link": 1}),
    ("os.symlink('a', here / 'c')", {"link": 1}),
    ("os.replace(here / 'b', here / 'd')", {"rename": 1}),
    ("os.unlink(here / 'c')", {"unlink": 1}),
    ("os.mkdir(here / 'folder')", {"mkdir": 1}),
    ("os.utime(here / 'd'); os.chmod(here / 'd', 0o600); os.truncate(here / 'd', 1)", {"attributes": 3}),
    ("os.listdir(here); list(os.scandir(here))", {"list": 2}),
    ("os.stat(here / 'd'); (here / 'd').exists(); os.access(here / 'd', os.R_OK)", {"stat": 3}),
    ("os.chdir(here); os.rename('d', 'e'); open('e').close()", {"rename": 1, "open": 1}),
    ("folder = os.open(here, os.O_RDONLY); os.unlink('e', dir_fd=folder)", {"open": 1, "unlink": 1}),
    ("os.rmdir(here / 'folder')", {"unlink": 1}),
    ("os.chdir(outside); os.mkdir('x'); open('y', 'w').close(); os.listdir('.'); os.unlink('y')", {}),
    ("os.mkdir(str(here) + '-beside')", {}),
    ("os.mkdir(here / 'failed'); failing(os.mkdir, here / 'failed')", {"mkdir": 2}),
]
PROGRAM = """
import contextlib, fcntl, json, os, subprocess, sys, time
from pathlib import Path
from benchmarks.slow import Control, without

control, here, outside = Control(), Path(os.environ["SLOW_ROOT"]), Path(sys.argv[1])

def by_another(command):
    subprocess.run(["sh", "-c", command], cwd=here, env=without(os.environ), check=True)

def failing(call, *arguments):
    with contextlib.suppress(OSError):
        call(*arguments)

def looked(program):
    before = control.look()
    exec(program, globals())
    return control.look().since(before)

"""


def run_under(tmp_path: Path, program: str) -> Any:
    """What a program prints that runs with a slow folder ``here`` and a common one ``outside``."""
    root, outside = tmp_path / "slow", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    slow = environment(build(tmp_path), tmp_path / "control", root, lock="/the.lock")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program, str(outside)], capture_output=True, text=True,
        env={**os.environ, **slow, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_call_is_counted_as_what_it_asks_of_a_server(tmp_path: Path) -> None:
    programs = json.dumps([program for program, _ in CALLS])
    counted = run_under(tmp_path, f"print(json.dumps([dict(looked(p).calls) for p in json.loads({programs!r})]))")
    assert [
        (program, {kind: count for kind, count in calls.items() if count})
        for (program, _), calls in zip(CALLS, counted, strict=True)
    ] == CALLS


def test_a_call_waits_for_the_server_and_a_cached_one_does_not(tmp_path: Path) -> None:
    program = """
control.delay_s = 0.2
slow = looked("os.mkdir(here / 'x'); os.rmdir(here / 'x')").at
cached = looked("[os.stat(here) for _ in range(1000)]").at
print(json.dumps([slow, cached]))
"""
    slow, cached = run_under(tmp_path, program)
    assert 0.4 <= slow < 100
    assert cached < 100  # and not 200


def test_the_time_under_the_lock_is_that_of_one_file(tmp_path: Path) -> None:
    program = """
def hold(name, seconds, *, close):
    fd = os.open(here / name, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    second = os.open(here / name, os.O_RDWR)
    failing(fcntl.flock, second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(second)
    time.sleep(seconds)
    if not close:
        fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)

looks = [looked(f"hold('{name}', 0.3, close={close})") for name in ("the.lock", "other") for close in (False, True)]
fd = os.open(here / "the.lock", os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
looks.append(looked("time.sleep(0.1)"))  # it is held still
print(json.dumps([(look.locks, look.held_s, look.at) for look in looks]))
"""
    released, closed, *others, held = run_under(tmp_path, program)
    for locks, held_s, took_s in (released, closed):
        assert locks == 1
        assert 0.3 <= held_s <= took_s
    assert [other[:2] for other in others] == [[0, 0.0], [0, 0.0]]
    assert held[0] == 0
    assert 0.1 <= held[1] <= held[2] + 0.01
