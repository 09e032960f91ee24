"""Shared between folders: the command line and shell lines in processes of their own, programs, waiting."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests import forked

REPOSITORY = Path(__file__).resolve().parents[1]
PATIENCE_S = 100.0
"""within the limit of a test (120 s), and long enough for a machine that does much else"""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def start(
    *argv: object,
    before: Sequence[str] = (),
    cwd: Path = REPOSITORY,
    env: Mapping[str, str] | None = None,
    stdout: Any = subprocess.PIPE,
    stderr: Any = subprocess.PIPE,
    **options: Any,
) -> subprocess.Popen[str]:
    """Start ``hpo-batch ARGV`` in a process of its own, forked where that makes no difference (``forked.py``).

    Args:
        before: words before the command, such as ``unshare --pid --fork``.
        cwd: where it starts; it finds hpo_batch and tests.* from anywhere.
        env: variables beside those of this process.
        options: further options of ``subprocess.Popen``.
    """
    words = [str(word) for word in argv]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), **(env or {})}
    options = {"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": stderr, "text": True, **options}
    if not before and forked.can_start(env):
        return forked.Forked(words, cwd=cwd, env=env, **options)
    return subprocess.Popen([*before, sys.executable, "-m", "hpo_batch", *words], cwd=cwd, env=env, **options)


def run(*argv: object, cwd: Path = REPOSITORY, env: Mapping[str, str] | None = None, **options: Any) -> Ended:
    """Run ``hpo-batch ARGV`` in a process of its own until it ends; a bug in it fails the test."""
    with start(*argv, cwd=cwd, env=env, **options) as process:
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert "Traceback" not in (err or ""), err
    return Ended(code=process.returncode, out=out or "", err=err or "")


def needs(*libraries: str) -> None:
    """Skip a test where a library is missing that its processes load; this one need not, which may take 5 seconds."""
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"needs {library}, of the extra 'frameworks'")


def until(condition: Callable[[], T], timeout_s: float = PATIENCE_S) -> T:
    """Wait until another process has done something; what ``condition`` says then."""
    end = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return answer


def run_bytes(
    *argv: object, root: Path, cwd: Path = REPOSITORY, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run ``hpo-batch ARGV`` and return its output byte by byte.

    Args:
        root: the logs directory.
        env: the variables for languages and encodings (``LC_*``, ``LANG``, ``PYTHON*``), in place of the user's.
    """
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    env = {**plain, "HPO_BATCH_ROOT": str(root), "PYTHONPATH": str(REPOSITORY), **(env or {})}
    words = [sys.executable, "-m", "hpo_batch", *(str(word) for word in argv)]
    return subprocess.run(words, env=env, cwd=cwd, capture_output=True, check=False, timeout=PATIENCE_S)


def run_shell(lines: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run lines in bash, as if pasted."""
    env = {**os.environ, **environ}
    return subprocess.run(
        ["bash", "-c", lines], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


def write_program(path: Path, text: str) -> Path:
    """An executable file."""
    path.write_text(text)
    path.chmod(0o755)
    return path
