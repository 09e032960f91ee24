"""Forks this process, where that is safe: the child has at once, and shares, what its parent has loaded.

After a fork only the thread that forked goes on, and a lock that another one held stays locked; files that are open are
read by both from one position; and a GPU cannot be used if it was used before. So what was imported in between must
have left neither threads nor open files (https://docs.python.org/3/library/os.html#os.fork).
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NoReturn

# sleeps, and jemalloc starts it anew in the child (background_thread_postfork_child in its background_thread.c);
# pandas loads it with pyarrow
_HARMLESS_THREADS: Final = frozenset({"jemalloc_bg_thd"})
_HARMLESS_FILES: Final = frozenset({"/dev/null", "/dev/urandom", "/dev/random"})
_LOOK_EVERY_S: Final = 0.02


class Fork:
    """A forked child of this process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, negative for a signal, as that of ``subprocess``.

        Raises:
            TimeoutError: it is still running after ``timeout`` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            elif end is not None and time.monotonic() >= end:
                raise TimeoutError
            else:
                time.sleep(_LOOK_EVERY_S)
        return self._code


class Footing:
    """What this process holds at one moment, to see later whether a fork is still as safe as it was then."""

    def __init__(self) -> None:
        self._threads, self._files = _threads(), _files()

    def why_unsafe(self) -> str:
        """What has been started or opened since; empty if a fork is safe.

        Forks once: OpenBLAS ends its threads before a fork, and starts them when they are needed.
        """
        if threads := sorted((_threads() - self._threads).elements()):
            return f"{'a thread' if len(threads) == 1 else f'{len(threads)} threads'} ({', '.join(threads[:3])})"
        opened = [name for fd, name in _files().items() if self._files.get(fd) != name]
        return f"open files ({', '.join(opened[:3])})" if opened else ""


def _threads() -> Counter[str]:
    """Names of this process's threads that a fork does not end."""
    _fork_to_end()
    pythons = {str(thread.native_id): thread.name for thread in threading.enumerate()}
    names: Counter[str] = Counter()
    for folder in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            name = (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()
            names[pythons.get(folder.name, name)] += 1
    for name in _HARMLESS_THREADS:
        del names[name]
    return names


def _fork_to_end() -> None:
    pid = _fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _files() -> dict[str, str]:
    """Open files, sockets and devices by descriptor."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of this loop may be closed by then
            found[link.name] = os.readlink(link)  # noqa: PTH115  # sockets are no paths
    own = f"/proc/{os.getpid()}/fd"
    return {fd: name for fd, name in found.items() if name not in _HARMLESS_FILES and name != own}


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns if there is any other thread: ours wait for signals, and hold no lock meanwhile
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def fork(run: Callable[[], int], *, env: Mapping[str, str]) -> Fork:
    """Run a function in a child of this process, in a session of its own and with a given environment.

    Args:
        run: returns the exit status; its output goes where ours does.
        env: the child's environment. In /proc it has ours.
    """
    gc.collect()
    gc.freeze()  # or else each child would copy what it shares as soon as it looks for garbage
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    pid = _fork()
    return Fork(pid) if pid else _be_child(run, env)


def _be_child(run: Callable[[], int], env: Mapping[str, str]) -> NoReturn:
    code = 1
    try:
        atexit._clear()  # those of the parent, which would remove what it needs
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.environ.clear()
        os.environ.update(env)
        code = run()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        # as Python does at its end, and multiprocessing in its forks; os._exit skips both, and to unwind the stack
        # instead would run the rest of the parent's functions
        with contextlib.suppress(Exception):
            threading._shutdown()  # type: ignore[attr-defined]
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)


def ask_fork(question: Callable[[], str], *, timeout_s: float) -> str:
    """The answer of a child of this process to a question that would change this process; empty if it has none.

    Args:
        question: asked in the child, which ends without running anything else.
        timeout_s: seconds after which the child is killed.
    """
    read, write = os.pipe()
    pid = _fork()
    if pid == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # warnings of libraries
            os.write(write, question().encode()[:4096])
        finally:
            os._exit(0)
    os.close(write)
    child = Fork(pid)
    try:
        child.wait(timeout_s)
        return os.read(read, 4096).decode(errors="replace")
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        child.wait()
        return ""
    finally:
        os.close(read)
