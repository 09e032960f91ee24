"""Keys that are typed while a screen is drawn."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator


@contextlib.contextmanager
def q_interrupts() -> Iterator[None]:
    """Within the block, ``q`` does what Ctrl-C does, as in less and top. Without a terminal to read from, nothing."""
    try:
        keys = sys.stdin.fileno()
        before = termios.tcgetattr(keys)
        if os.tcgetpgrp(keys) != os.getpgrp():  # in the background: setting the terminal would stop this process
            raise OSError
        tty.setcbreak(keys, termios.TCSANOW)
    except (OSError, ValueError, AttributeError, termios.error):
        yield
        return
    over, told = os.pipe()
    thread = threading.Thread(target=_wait_for_q, args=(keys, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.close(told)
        thread.join()
        os.close(over)
        termios.tcsetattr(keys, termios.TCSANOW, before)


def _wait_for_q(keys: int, over: int) -> None:
    while True:
        ready, _, _ = select.select([keys, over], [], [])
        if over in ready:
            return
        typed = os.read(keys, 1024)
        if b"q" in typed.lower():
            os.kill(os.getpid(), signal.SIGINT)
        if not typed or b"q" in typed.lower():
            return
