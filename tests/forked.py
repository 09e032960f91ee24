"""``python -m hpo_batch`` without its imports: processes forked from one that has imported the package.

Python needs a third of a second for what a command imports, and a second with pandas and Optuna; a fork needs
milliseconds. What is forked is a real process, with an id, exit code, signals, streams, directory, environment and user
of its own. Only what it would import is there already: tests of that start Python itself (``cli/test_light.py``,
``cli/test_without_torch.py``, ``worker/test_start.py``, ``worker/test_imports.py``), and so does everything that the
product starts, but for the local workers of ``workers``.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import inspect
import os
import pickle
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo_batch.processes import programs

if TYPE_CHECKING:
    import pytest

_REPOSITORY = Path(__file__).resolve().parents[1]
_MOST = 1 << 20
"""bytes of a request: arguments and environment"""
_READ_AT_START = ("LANG", "LC_", "PYTHON", "LD_", "MALLOC_", "OMP_", "OPENBLAS_", "MKL_")
"""how the names begin of variables that Python and its libraries read once"""
_GIVEN_LATER = frozenset({"PYTHONPATH", "PYTHONIOENCODING", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"})
"""those of them that a fork can follow, or that tests see nothing of"""
_STATISTICS = {"report": "hpo_batch.findings.report", "compare": "hpo_batch.findings.report"}
"""what is imported when the first process of these commands is asked for"""
_PR_SET_DUMPABLE = 4
_ROOM = {"ROOM": "-" * 50_000}
"""a variable whose memory the variables of forks take"""


class Forked(subprocess.Popen[Any]):
    """A ``Popen`` of ``hpo-batch ARGV`` whose process is forked by ``_serve`` instead of started.

    ``executable`` may be another Python of the same version, ``imports`` further modules that are there already.
    ``subprocess`` opens the pipes, reads them and knows the time-outs; the steps below it are replaced.
    """

    def __init__(self, *args: Any, imports: tuple[str, ...] = (), **options: Any) -> None:
        self._imports = imports
        super().__init__(*args, **options)

    def _execute_child(self, *args: Any) -> None:  # type: ignore[override]
        asked = inspect.signature(subprocess.Popen._execute_child).bind(self, *args).arguments  # type: ignore[attr-defined]
        streams = [asked["p2cread"], asked["c2pwrite"], asked["errwrite"]]
        told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._told = told
        names = ("args", "cwd", "env", "umask", "uid", "gid", "gids", "start_new_session")
        with theirs:
            fds = [number if fd == -1 else fd for number, fd in enumerate(streams)]
            request = pickle.dumps({name: asked[name] for name in names})
            server = _server(os.getpid(), asked["executable"] or sys.executable, self._imports)
            socket.send_fds(server, [request], [*fds, theirs.fileno()])
        self.pid = int(self._ask(None))
        self._child_created = True
        ours = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(asked[name] for name in ours))  # type: ignore[attr-defined]

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        answer = self._ask(0 if wait_flags & os.WNOHANG else None)
        if answer is None:
            return 0, 0
        self._told.close()
        return self.pid, int(answer)

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._wait(timeout=0)  # type: ignore[attr-defined]
        return self.returncode

    def _ask(self, timeout_s: float | None) -> bytes | None:
        if not select.select([self._told], [], [], timeout_s)[0]:
            return None
        answer = self._told.recv(64)
        assert answer, "the process that forks for the tests has ended"
        return answer


def workers(patch: pytest.MonkeyPatch, *imports: str) -> None:
    """Fork the local workers that ``submit`` starts in this process; hundreds of tests do, for a trial or two.

    Args:
        imports: modules that the user's code imports.
    """

    def popen(argv: list[str], **options: Any) -> subprocess.Popen[Any]:
        if argv[:4] == [sys.executable, "-m", "hpo_batch", "worker"] and can_start(options["env"]):
            return Forked(argv[3:], imports=imports, **options)
        return subprocess.Popen(argv, **options)

    patch.setattr(programs, "subprocess", types.SimpleNamespace(**{**vars(subprocess), "Popen": popen}))


def _show_environment(env: Mapping[str, str]) -> None:
    """Have /proc/PID/environ show these variables: by them a local worker is found before it has a card.

    That file shows the memory in which the kernel put the variables at the start, the 50th field of stat (man 5 proc).
    Nothing else may be in use there: ``os.environ`` must have been cleared.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])
    block = b"".join(os.fsencode(f"{name}={text}") + b"\0" for name, text in env.items())
    assert len(block) <= end - start, "an environment larger than _ROOM"
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, block, len(block))


def can_start(env: Mapping[str, str]) -> bool:
    """Whether Python would start with these variables as it does with those of the tests."""
    return _read_at_start(env) == AT_START


def _read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in env.items() if name.startswith(_READ_AT_START) and name not in _GIVEN_LATER}


AT_START = _read_at_start(os.environ)
"""the variables that a fork has from the start, before any test changes them"""


@functools.cache
def _server(pid: int, python: str, imports: tuple[str, ...]) -> socket.socket:
    """Where the requests of this process go."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * _MOST)
    with theirs:
        argv = [python, "-m", __name__, str(theirs.fileno()), *imports]
        env = {name: text for name, text in os.environ.items() if not name.startswith(_READ_AT_START)}
        env |= AT_START | _ROOM
        if python != sys.executable:
            env["PYTHONPATH"] = sysconfig.get_path("purelib")
        process = subprocess.Popen(argv, env=env, pass_fds=[theirs.fileno()], cwd=_REPOSITORY, stdin=subprocess.DEVNULL)

    def end() -> None:
        ours.shutdown(socket.SHUT_RDWR)  # a forked test may hold it, too
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _import_the_package() -> None:
    """What commands and workers import, but for ``_STATISTICS``, which take as long as all of this."""
    import hpo_batch

    left_out = ("hpo_batch.training", "hpo_batch.integrations", "hpo_batch.findings", "hpo_batch.document")
    for module in pkgutil.walk_packages(hpo_batch.__path__, "hpo_batch.", onerror=lambda name: None):
        if not module.name.startswith(left_out) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _serve(asked: socket.socket) -> dict[str, Any]:
    """Fork for each request until nobody is there to ask, and tell how each process ended; returns in a fork."""
    running: dict[int, tuple[int, socket.socket]] = {}
    while True:
        ready, _, _ = select.select([asked, *running], [], [])
        for fd in set(ready) - {asked}:
            pid, told = running.pop(fd)
            os.close(fd)
            _, status = os.waitpid(pid, 0)
            with contextlib.suppress(OSError), told:  # it may be that nobody wants to know
                told.send(str(status).encode())
        if asked not in ready:
            continue
        request, fds, *_ = socket.recv_fds(asked, _MOST, 4)
        if not request:
            os._exit(0)
        wanted: dict[str, Any] = pickle.loads(request)
        for word in _STATISTICS.keys() & wanted["args"]:
            importlib.import_module(_STATISTICS[word])
        pid = os.fork()
        told = socket.socket(fileno=fds.pop())
        if pid == 0:
            for number, fd in enumerate(fds):
                os.dup2(fd, number)
            told.detach(), asked.detach()
            os.closerange(3, 1 << 20)
            return wanted
        with contextlib.suppress(OSError):
            told.send(str(pid).encode())
        running[os.pidfd_open(pid)] = pid, told
        for fd in fds:
            os.close(fd)


def _become(asked: Mapping[str, Any]) -> None:
    """The process that was asked for; in the order of CPython's ``child_exec``."""
    env, started_with = asked["env"], dict(os.environ)
    os.environ.clear()
    _show_environment(env)
    os.environ.update(env)
    time.tzset()
    tempfile.tempdir = None  # TMPDIR may be another
    os.chdir(asked["cwd"])
    if asked["umask"] >= 0:
        os.umask(asked["umask"])
    if asked["start_new_session"]:
        os.setsid()
    if asked["gids"] is not None:
        os.setgroups(asked["gids"])
    if asked["gid"] is not None:
        os.setregid(asked["gid"], asked["gid"])
    if asked["uid"] is not None:
        os.setreuid(asked["uid"], asked["uid"])
        # others of this user may look at it in /proc, as after an exec: man 2 PR_SET_DUMPABLE
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    coding, _, errors = env.get("PYTHONIOENCODING", "").partition(":")
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # those of the start reckon with other files
        old = getattr(sys, name)
        # as create_stdio() of CPython's pylifecycle.c
        how = "backslashreplace" if name == "stderr" else errors or ("strict" if coding else old.errors)
        buffering = 1 if name == "stderr" else -1
        stream = open(old.fileno(), mode, buffering, encoding=coding or old.encoding, errors=how, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv[:] = [str(_REPOSITORY / "hpo_batch" / "__main__.py"), *asked["args"]]
    sys.dont_write_bytecode = bool(env.get("PYTHONDONTWRITEBYTECODE"))
    here, wanted = (one.get("PYTHONPATH", "").split(os.pathsep) for one in (started_with, env))
    sys.path[:] = [str(asked["cwd"]), *filter(None, wanted), *(path for path in sys.path[1:] if path not in here)]
    sys.modules["__main__"] = importlib.import_module("hpo_batch.__main__")  # what multiprocessing imports anew


def _run() -> int:
    """The command, and what Python does at its end, but for taking apart what is loaded."""
    from hpo_batch.cli.main import main

    try:
        main()
        code = 0
    except SystemExit as exit:
        code = int(exit.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, OSError):
            stream.flush()
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    _import_the_package()
    for module in sys.argv[2:]:
        importlib.import_module(module)
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()  # so that no fork copies it by looking at it
    _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
    os._exit(_run())
