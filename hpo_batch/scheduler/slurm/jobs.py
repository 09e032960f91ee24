"""sbatch and scancel: bring jobs to SLURM, and end them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hpo_batch.errors import CommandTimeout, SlurmRefused, SlurmUnreachable, SubmissionUnknown, SubmitLimit
from hpo_batch.processes import run
from hpo_batch.scheduler.scheduler import ANSWER_S, SUBMIT_S
from hpo_batch.scheduler.slurm.runner import UNKNOWN_ID, failure, is_unreachable, own_words, run_command

_NO_ROOM = re.compile(
    r"Submit\w{0,50}Limit|Invalid job array specification|Resource temporarily unavailable|MaxJobCount", re.IGNORECASE
)
"""Fewer tasks may be accepted. `Job violates accounting/QOS policy` alone may mean a limit of time or size as well."""
_POLICY = "Job violates accounting/QOS policy"
_POLICY_LIMIT = re.compile(r"^(?:QOS|Assoc)\w+$", re.MULTILINE)
_MAY_HAVE_BEEN_TAKEN = ("Socket timed out", "Zero Bytes were transmitted", "Unexpected message received")


def sbatch(script: Path, *, env: Mapping[str, str], timeout_s: float = SUBMIT_S) -> str:
    """Submit a script; the job's id.

    Args:
        env: environment of sbatch, which becomes the job's.

    Raises:
        CommandMissing: there is no sbatch on this machine.
        SubmitLimit: not so many tasks, or none now.
        SlurmRefused: the job was not taken, in SLURM's words.
        SubmissionUnknown: it may have been taken: look for its name.
        SlurmUnreachable: no controller: it was not taken.
    """
    try:
        done = run(["sbatch", "--parsable", str(script)], timeout_s=timeout_s, env=env)
    except CommandTimeout as error:
        raise SubmissionUnknown(str(error)) from error
    if done.returncode == 0:
        # with several clusters: `id;cluster`; a site's wrapper may write lines of its own
        if (match := re.search(r"^(\d+)(?:;\S*)?$", done.stdout.strip(), re.MULTILINE)) is None:
            raise SubmissionUnknown(f"sbatch wrote '{done.stdout.strip()}', which is no job id")
        return match[1]
    said = f"{done.stderr}\n{done.stdout}".strip()
    words = own_words(said)
    if any(sign in said for sign in _MAY_HAVE_BEEN_TAKEN):
        raise SubmissionUnknown(f"sbatch got no answer: {words}")
    if is_unreachable(said):
        raise SlurmUnreachable(f"sbatch could not reach SLURM: {words}; try again later")
    named = _POLICY_LIMIT.search(re.sub(r"^\w+: error: ", "", said, flags=re.MULTILINE))
    if _NO_ROOM.search(said) or (_POLICY in said and named is None):
        raise SubmitLimit(words)
    raise SlurmRefused(words)


def check_script(script: Path, *, env: Mapping[str, str], timeout_s: float = ANSWER_S) -> str:
    """What sbatch says of a script without submitting it: when and where it would start.

    Args:
        env: environment of sbatch, as it would be to submit it.

    Raises:
        CommandMissing: there is no sbatch on this machine.
        SlurmUnreachable: no answer, or no controller.
        SlurmRefused: it would not be taken.
    """
    done = run_command(["sbatch", "--test-only", str(script)], timeout_s=timeout_s, env=env)
    if done.returncode != 0:
        raise failure("sbatch --test-only", done)
    return (done.stderr.strip() or done.stdout.strip()).removeprefix("sbatch: ")


def scancel(job_ids: Iterable[str], *, only_pending: bool = False, timeout_s: float = ANSWER_S) -> None:
    """Cancel jobs and array tasks (`A_i`); one that has ended or is unknown is no mistake.

    Args:
        only_pending: leave alone what runs.

    Raises:
        CommandMissing: there is no scancel on this machine.
        SlurmUnreachable: no answer, or no controller; some may have been cancelled.
        SlurmRefused: for example another user's job.
    """
    ids = list(dict.fromkeys(job_ids))
    if not ids:
        return
    done = run_command(["scancel", *(["--state=PENDING"] if only_pending else []), *ids], timeout_s=timeout_s)
    said = done.stderr.splitlines()
    harmless = bool(said) and all(_is_harmless(line) for line in said)
    if done.returncode != 0 and not harmless:
        raise failure("scancel", done)


def _is_harmless(line: str) -> bool:
    return UNKNOWN_ID in line or "already completing or completed" in line or not line.strip()
