"""What a command that failed says of it: the line that tells why, the last traceback, the signal. Pure functions."""

from __future__ import annotations

import re
import signal
from typing import Final

_TRACEBACK: Final = "Traceback (most recent call last)"
_EXCEPTION = re.compile(r"(?:\w{1,80}\.){0,20}\w{0,80}(?:Error|Exception|Exit|Interrupt)(?::|$)")
_ERROR = re.compile(r"(?i)error|killed|fault|abort|out of memory")
_HYDRAS_HINT: Final = "Set the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace."


def last_words(stderr: str) -> str:
    """The line that says why a command failed: the last one, as a rule.

    An exception may have a text of many lines, of which the first says most. Hydra tells its own mistakes in one
    paragraph without a traceback; both end with its hint.
    """
    shown = stderr.rstrip()
    is_hydra = shown.endswith(_HYDRAS_HINT)
    lines = shown.removesuffix(_HYDRAS_HINT).rstrip().splitlines()
    last = lines[-1].strip() if lines else ""
    start = max((i for i, line in enumerate(lines) if line.startswith(_TRACEBACK)), default=None)
    if start is not None:
        first = next((line for line in lines[start + 1 :] if _EXCEPTION.match(line)), "")
        return last if not first or (_ERROR.search(last) and not is_hydra) else first
    if is_hydra:
        paragraphs = re.split(r"\n\s*\n", "\n".join(lines))
        # what there is instead of what it could not find
        told = [one for one in paragraphs if not one.lstrip().startswith("Available options in")]
        return " ".join(line.strip() for line in (told or paragraphs)[-1].splitlines())
    return last


def last_traceback(stderr: str) -> str:
    """From the last traceback to the end, since earlier ones may have been handled; empty if there is none."""
    start = stderr.rfind(_TRACEBACK)
    return stderr[start:] if start >= 0 else ""


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
