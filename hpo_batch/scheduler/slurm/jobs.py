"""Submits and cancels jobs with sbatch and scancel. https://slurm.schedmd.com/sbatch.html"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hpo_batch.errors import CommandTimeout, SlurmRefused, SlurmUnreachable, SubmissionUnknown, SubmitLimit
from hpo_batch.processes import run
from hpo_batch.scheduler.scheduler import ANSWER_S, SUBMIT_S
from hpo_batch.scheduler.slurm.runner import UNKNOWN_ID, failure, is_unreachable, own_words, run_command

# Messages after which fewer tasks may be accepted. (`Job violates accounting/QOS policy` may also be about time.)
_NO_ROOM = re.compile(
    r"Submit\w{0,50}Limit|Invalid job array specification|Resource temporarily unavailable|MaxJobCount", re.IGNORECASE
)
_POLICY = "Job violates accounting/QOS policy"
_POLICY_LIMIT = re.compile(r"^(?:QOS|Assoc)\w+$", re.MULTILINE)
_MAY_HAVE_BEEN_ACCEPTED = ("Socket timed out", "Zero Bytes were transmitted", "Unexpected message received")


def sbatch(script: Path, *, env: Mapping[str, str], timeout_s: float = SUBMIT_S) -> str:
    """Submit a script and return the job's id.

    Args:
        script: path of the script.
        env: environment of sbatch, which becomes the job's.
        timeout_s: in seconds.

    Raises:
        CommandMissing: there is no sbatch on this machine.
        SubmitLimit: too many tasks, or no more jobs at the moment.
        SlurmRefused: the job was refused, with SLURM's message.
        SubmissionUnknown: it may have been accepted; look for its name.
        SlurmUnreachable: no controller; it was not accepted.
    """
    try:
        done = run(["sbatch", "--parsable", str(script)], timeout_s=timeout_s, env=env)
    except CommandTimeout as error:
        # a timeout of ours: the controller may still have created the job
        raise SubmissionUnknown(str(error)) from error
    if done.returncode == 0:
        # `id;cluster` with several clusters; a site's wrapper may print more lines
        if (match := re.search(r"^(\d+)(?:;\S*)?$", done.stdout.strip(), re.MULTILINE)) is None:
            raise SubmissionUnknown(f"sbatch printed '{done.stdout.strip()}', which is not a job id")
        return match[1]
    output = f"{done.stderr}\n{done.stdout}".strip()
    words = own_words(output)
    if any(sign in output for sign in _MAY_HAVE_BEEN_ACCEPTED):
        raise SubmissionUnknown(f"sbatch got no answer: {words}")
    if is_unreachable(output):
        raise SlurmUnreachable(f"sbatch could not reach SLURM: {words}; try again later")
    # newer versions print the name of the limit on a line of its own
    limit = _POLICY_LIMIT.search(re.sub(r"^\w+: error: ", "", output, flags=re.MULTILINE))
    if _NO_ROOM.search(output) or (_POLICY in output and limit is None):
        raise SubmitLimit(words)
    raise SlurmRefused(words)


def check_script(script: Path, *, env: Mapping[str, str], timeout_s: float = ANSWER_S) -> str:
    """sbatch's estimate of when and where a script would start, without submitting it.

    Args:
        env: environment of sbatch, as it would be to submit it.

    Raises:
        CommandMissing: there is no sbatch on this machine.
        SlurmUnreachable: no answer, or no controller.
        SlurmRefused: it would be refused.
    """
    done = run_command(["sbatch", "--test-only", str(script)], timeout_s=timeout_s, env=env)
    if done.returncode != 0:
        raise failure("sbatch --test-only", done)
    return (done.stderr.strip() or done.stdout.strip()).removeprefix("sbatch: ")


def scancel(job_ids: Iterable[str], *, only_pending: bool = False, timeout_s: float = ANSWER_S) -> None:
    """Cancel jobs and array tasks (`A_i`). Ended and unknown ones are ignored.

    Args:
        only_pending: do not cancel running tasks.

    Raises:
        CommandMissing: there is no scancel on this machine.
        SlurmUnreachable: no answer, or no controller; some may have been cancelled.
        SlurmRefused: such as another user's job.
    """
    ids = list(dict.fromkeys(job_ids))
    if not ids:
        return
    done = run_command(["scancel", *(["--state=PENDING"] if only_pending else []), *ids], timeout_s=timeout_s)
    lines = done.stderr.splitlines()
    # scancel may fail only because one of the jobs has ended already
    harmless = bool(lines) and all(_is_harmless(line) for line in lines)
    if done.returncode != 0 and not harmless:
        raise failure("scancel", done)


def _is_harmless(line: str) -> bool:
    return UNKNOWN_ID in line or "already completing or completed" in line or not line.strip()
