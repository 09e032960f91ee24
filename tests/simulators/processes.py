"""Functions of a test in processes where the simulators are loaded.

A library is loaded when a program starts, so the processes of a test cannot be forked from pytest. They are forked from
one that was started with the libraries and has imported what they need: a start takes milliseconds instead of the
second that the imports take.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from tests.simulators.preload import with_environ

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
MOST = 1 << 20
"""bytes of a pickled call"""


@dataclass(kw_only=True)
class Process:
    """A running function."""

    pid: int
    pipe: Connection

    def answer(self, timeout_s: float = PATIENCE_S) -> Any:
        """What the function returned.

        Raises:
            ProcessDied: the process was killed before it returned.
            AssertionError: the function failed, or took too long.
        """
        assert self.pipe.poll(timeout_s), "the process did not answer in time"
        try:
            fine, result = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            raise ProcessDied(f"process {self.pid} was killed") from None
        finally:
            self.pipe.close()
        assert fine, result
        return result

    @property
    def has_ended(self) -> bool:
        """Whether it has answered or died; its answer can still be asked for."""
        return self.pipe.closed or self.pipe.poll(0)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if not self.has_ended:
                os.kill(self.pid, number)


class ProcessDied(Exception):
    pass


class Preloaded:
    """Starts processes with the given variables: those of ``preload.together``."""

    def __init__(self, environ: Mapping[str, str], *, imports: Sequence[str] = ()) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(PATIENCE_S)
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MOST)
        with theirs:
            whole = with_environ(environ)
            path = [str(REPOSITORY), *filter(None, [whole.get("PYTHONPATH")])]
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), *imports],
                env={**whole, "PYTHONPATH": os.pathsep.join(path)},
                pass_fds=[theirs.fileno()],
                cwd=REPOSITORY,
            )

    def start(self, function: Callable[..., Any], *arguments: Any) -> Process:
        """Call a function of a module in a process of its own."""
        ours, theirs = Pipe(duplex=False)
        with theirs:
            socket.send_fds(self._socket, [pickle.dumps((function, arguments))], [theirs.fileno()])
        return Process(pid=int(self._socket.recv(64)), pipe=ours)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.start(function, *arguments).answer()

    def close(self) -> None:
        self._socket.close()
        self._process.wait(PATIENCE_S)

    def __enter__(self) -> Preloaded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(fd: int) -> None:
    """Fork for each call that comes, until nobody is there to ask."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(fileno=fd) as asked:
        while True:
            call, fds, *_ = socket.recv_fds(asked, MOST, 1)
            if not call:
                return
            pid = os.fork()
            if pid == 0:
                asked.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(call, Connection(fds[0], readable=False))
            os.close(fds[0])
            asked.send(str(pid).encode())


def _answer(call: bytes, pipe: Connection) -> None:
    try:
        function, arguments = pickle.loads(call)
        result = True, function(*arguments)
    except BaseException:
        result = False, traceback.format_exc()
    with contextlib.suppress(BrokenPipeError):
        pipe.send(result)
    pipe.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        __import__(name)
    serve(int(sys.argv[1]))
