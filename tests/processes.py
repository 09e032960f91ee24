"""Functions in forked processes: called at the same time, killed, or long gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

FORK = multiprocessing.get_context("fork")
PATIENCE_S = 60.0


def _call(pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        pipe.send((True, function(*arguments)))
    except BaseException:
        pipe.send((False, traceback.format_exc()))


def start(function: Callable[..., Any], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """Call a function in a forked process."""
    ours, theirs = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_call, args=(theirs, function, arguments), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: the child starts none of ours
        process.start()
    theirs.close()
    return process, ours


def answer(process: BaseProcess, pipe: Connection) -> Any:
    """What the function returned."""
    assert pipe.poll(PATIENCE_S), "the process did not answer in time"
    fine, result = pipe.recv()
    process.join()
    assert fine, result
    return result


def in_processes(calls: list[tuple[Any, ...]]) -> list[Any]:
    """Results of ``(function, argument, ...)`` calls, each in a process of its own, all at the same time."""
    started = [start(*call) for call in calls]
    try:
        return [answer(process, pipe) for process, pipe in started]
    finally:
        for process, _ in started:  # those that wait for one that failed
            process.kill()


def kill(process: BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def free_port() -> int:
    """Where processes of one test may meet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def dead_process() -> Iterator[int]:
    """The number of a process that has ended."""
    process, pipe = start(os.getpid)
    yield answer(process, pipe)
