"""Converts durations between seconds and SLURM's formats (https://slurm.schedmd.com/sbatch.html, --time)."""

from __future__ import annotations

import datetime
import re

from hpo_batch.errors import UserError
from hpo_batch.text.values import shown

SPELLINGS = '"minutes", "minutes:seconds", "hours:minutes:seconds", "days-hours[:minutes[:seconds]]"'

WARNED_EARLY_S = 60.0
"""SLURM may send the signal of sbatch --signal up to this much too early"""


def parse_walltime(value: object) -> float:
    """Parse a duration like ``sbatch --time``, into seconds. A TOML time (04:00:00) is accepted too.

    Raises:
        UserError: not one of SLURM's formats, zero, or ten years or more.
    """
    if isinstance(value, datetime.time):
        value = value.strftime("%H:%M:%S")
    if not isinstance(value, str):
        raise UserError(
            f'a duration is written in quotes, for example "4:00:00", not {shown(value)}; allowed: {SPELLINGS}'
        )
    # at most nine digits, so that absurd numbers fail here and not in later arithmetic
    days_match = re.fullmatch(r"(\d{1,9})-(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?", value.strip())
    if days_match:
        days, hours, minutes, seconds = (int(part or 0) for part in days_match.groups())
        return _positive(((days * 24 + hours) * 60 + minutes) * 60 + seconds, value)
    if not re.fullmatch(r"\d{1,9}(:\d{1,9}){0,2}", value.strip()):
        raise UserError(f"{shown(value)} is not a duration; allowed: {SPELLINGS}")
    parts = [int(part) for part in value.strip().split(":")]
    # one number means minutes, as in sbatch
    if len(parts) == 3:
        return _positive((parts[0] * 60 + parts[1]) * 60 + parts[2], value)
    return _positive(parts[0] * 60 + (parts[1] if len(parts) == 2 else 0), value)


def format_walltime(seconds: float) -> str:
    """Format seconds as ``[days-]hours:minutes:seconds``, like SLURM."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours}:{minutes:02}:{rest:02}"
    return f"{days}-{clock}" if days else clock


def lead_s(walltime_s: float, signal_lead_s: float) -> float:
    """Seconds before the time limit at which a trial is asked to stop: ``signal_lead_s``, at most a quarter of the
    limit."""
    # a quarter: with a short walltime (tests), a trial must still have time to train
    return min(float(signal_lead_s), walltime_s / 4)


def _positive(seconds: float, value: object) -> float:
    if not 0 < seconds < 10 * 365 * 86400:
        raise UserError(f"the duration {shown(value)} must be above zero and below ten years")
    return float(seconds)
