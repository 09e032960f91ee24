"""SLURM's spellings of a duration, to seconds and back. Seconds inside, ``4:00:00`` at the edges."""

from __future__ import annotations

import datetime
import re

from hpo_batch.errors import UserError
from hpo_batch.text.values import shown

SPELLINGS = '"minutes", "minutes:seconds", "hours:minutes:seconds", "days-hours[:minutes[:seconds]]"'

WARNED_EARLY_S = 60.0
"""SLURM may send the warning of the time limit so much too early"""


def parse_walltime(value: object) -> float:
    """Seconds of a duration as ``sbatch --time`` reads it; a bare TOML time (04:00:00) is hours, minutes, seconds.

    Raises:
        UserError: not one of SLURM's spellings, or zero.
    """
    if isinstance(value, datetime.time):
        value = value.strftime("%H:%M:%S")
    if not isinstance(value, str):
        raise UserError(
            f'a duration is written in quotes, for example "4:00:00", not {shown(value)}; allowed: {SPELLINGS}'
        )
    days_match = re.fullmatch(r"(\d{1,9})-(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?", value.strip())
    if days_match:
        days, hours, minutes, seconds = (int(part or 0) for part in days_match.groups())
        return _positive(((days * 24 + hours) * 60 + minutes) * 60 + seconds, value)
    if not re.fullmatch(r"\d{1,9}(:\d{1,9}){0,2}", value.strip()):
        raise UserError(f"{shown(value)} is not a duration; allowed: {SPELLINGS}")
    parts = [int(part) for part in value.strip().split(":")]
    if len(parts) == 3:
        return _positive((parts[0] * 60 + parts[1]) * 60 + parts[2], value)
    return _positive(parts[0] * 60 + (parts[1] if len(parts) == 2 else 0), value)


def format_walltime(seconds: float) -> str:
    """``[days-]hours:minutes:seconds``, as SLURM prints it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours}:{minutes:02}:{rest:02}"
    return f"{days}-{clock}" if days else clock


def lead_s(walltime_s: float, signal_lead_s: float) -> float:
    """How long before the limit a trial is asked to stop: ``[job] signal_lead_s``, at most a quarter of the time."""
    return min(float(signal_lead_s), walltime_s / 4)


def _positive(seconds: float, value: object) -> float:
    if not 0 < seconds < 10 * 365 * 86400:
        raise UserError(f"the duration {shown(value)} must be above zero and below ten years")
    return float(seconds)
