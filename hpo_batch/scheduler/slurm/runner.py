"""Runs SLURM's commands and converts their failures into our errors."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

from hpo_batch.errors import CommandTimeout, SlurmError, SlurmRefused, SlurmUnreachable
from hpo_batch.processes import Completed, run

UNKNOWN_ID = "Invalid job id specified"
# variables with the user's defaults, which would filter output (SQUEUE_STATES) or ask questions (SCANCEL_INTERACTIVE)
_USER_DEFAULTS = ("SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_")
_UNREACHABLE = (
    "Unable to contact",
    "Unexpected message received",  # what `scontrol requeue` of 22.05 says when there is no controller
    "Socket timed out",
    "Connection refused",
    "Connection timed out",
    "Communication connection failure",
    "Transport endpoint is not connected",
    "Zero Bytes were transmitted",
    "Problem talking to the database",
)


def number(text: str) -> float | None:
    """Parse a number; None for Unknown, None, UNLIMITED and Partition_Limit."""
    return float(text) if text.strip().isdecimal() and len(text) < 20 else None


def seconds(text: str) -> float | None:
    """Parse `1-02:03:04` or `03:04`; None for UNLIMITED, INVALID and the like."""
    match = re.fullmatch(r"(?:(\d{1,9})-)?(?:(\d{1,9}):)?(\d{1,9}):(\d{1,9})", text.strip())
    if match is None:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)


def run_command(argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Completed:
    if env is None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(_USER_DEFAULTS)}
        # times in seconds since 1970, whatever the time zone and the user's format
        # documented in sacct(1) and squeue(1)
        env["SLURM_TIME_FORMAT"] = "%s"
    try:
        return run(argv, timeout_s=timeout_s, env=env)
    except CommandTimeout as error:
        raise SlurmUnreachable(f"{error}; SLURM is down or busy: try again later") from error


def is_unreachable(text: str) -> bool:
    """Whether a command's output says that SLURM's controller or database did not answer."""
    return any(sign in text for sign in _UNREACHABLE)


def failure(command: str, done: Completed) -> SlurmError:
    output = (done.stderr.strip() or done.stdout.strip() or "it gave no reason").replace("\n", "; ")
    if is_unreachable(output):
        return SlurmUnreachable(f"'{command}' could not reach SLURM: {output}; try again later")
    return SlurmRefused(f"'{command}' failed with exit code {done.returncode}: {output}")


def own_words(text: str) -> str:
    """The message of a SLURM command, on one line and without the command's name."""
    # such as "sbatch: error: Batch job submission failed: ..."
    own = r"^\s*(?:\w+: (?:(?:error|fatal): )?)?(?:Batch job submission failed: )?"
    lines = [re.sub(own, "", line).strip() for line in text.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line)) or "it gave no reason"


def joined(job_ids: Iterable[str]) -> str:
    return ",".join(dict.fromkeys(job_ids))
