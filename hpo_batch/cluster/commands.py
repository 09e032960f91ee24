"""SLURM's commands, one function each and one call for all the jobs asked about.

The functions run a command and translate its failure; what it wrote is read by pure functions. A worker calls `requeue`
at its end, and `time_left` once before it gives a trial up for time: no process of ours polls SLURM.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hpo_batch.cluster import site, states
from hpo_batch.cluster.site import Limit, Partition
from hpo_batch.cluster.states import TaskState
from hpo_batch.errors import (
    CommandMissing,
    CommandTimeout,
    SlurmError,
    SlurmRefused,
    SlurmUnreachable,
    SubmissionUnknown,
    SubmitLimit,
)
from hpo_batch.processes import Completed, run

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
"""SLURM's own retries on a controller that is down end after 9 s; a busy one may take longer to answer."""

SBATCH_TIMEOUT_S = 180.0
"""sbatch itself tries for two minutes where the controller has no room for another job."""

_SQUEUE_FIELDS = "%F|%K|%T|%r|%M|%L|%N"
_SACCT_FIELDS = "JobID,State,ExitCode,Submit,Start,End,ElapsedRaw,TimelimitRaw,AllocTRES,NodeList"
# The user's defaults for these commands: filters (SQUEUE_STATES) and questions (SCANCEL_INTERACTIVE).
_USER_DEFAULTS = ("SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_")
_CONFIGURATIONS = (
    "/etc/slurm/slurm.conf",
    "/etc/slurm-llnl/slurm.conf",
    "/run/slurm/conf/slurm.conf",
    "/usr/local/etc/slurm.conf",
)
MOST_TASKS = 100_000
_CLOCKS_APART_S = 30.0
_ASIDE_S = 10.0
"""for what is good to know, and nothing waits for"""
_UNKNOWN_ID = "Invalid job id specified"
_NO_ROOM = re.compile(
    r"Submit\w{0,50}Limit|Invalid job array specification|Resource temporarily unavailable|MaxJobCount", re.IGNORECASE
)
"""Fewer tasks may be accepted. `Job violates accounting/QOS policy` alone may mean a limit of time or size as well."""
_POLICY = "Job violates accounting/QOS policy"
_POLICY_LIMIT = re.compile(r"^(?:QOS|Assoc)\w+$", re.MULTILINE)
_MAY_HAVE_BEEN_TAKEN = ("Socket timed out", "Zero Bytes were transmitted", "Unexpected message received")
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


@dataclass(frozen=True, order=True)
class ArrayTask:
    """An array task, in whichever way SLURM wrote it: a job that is no array is its own task 0."""

    job: int
    index: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`7_3`, `7` (the same as `7_0`), `7_3.batch`."""
        if (match := re.match(r"(\d{1,99})(?:_(\d{1,99}))?(?![\d_])", text)) is None:
            raise ValueError(f"not a SLURM job id: '{text}'")
        return cls(job=int(match[1]), index=int(match[2] or 0))

    def __str__(self) -> str:
        return f"{self.job}_{self.index}"


@dataclass(frozen=True, kw_only=True)
class QueueRow:
    """What squeue knows of a task."""

    task: ArrayTask
    state: TaskState
    word: str
    """SLURM's own word for the state."""
    reason: str
    """Why it is pending, as SLURM spells it; `None` where it has no reason."""
    elapsed_s: float
    """Since its present run began."""
    left_s: float | None
    """To its time limit; None without one, and beyond it."""
    node: str
    ends: float | None = None
    """When it ended or, as it stands, will, in seconds since 1970 by SLURM's clock."""
    is_unlimited: bool = False
    """Whether it has no time limit at all."""
    name: str = ""
    """The job's name."""
    script: str = ""
    """Path of the job's script where it was submitted; empty if squeue did not tell."""
    is_array: bool = True

    def comes_back(self, now: float) -> bool:
        """Whether a task whose processes are being ended is to run again: SLURM reckons with a whole run from then on
        (22.05: a task that was requeued ends in the future, one that was cancelled has ended)."""
        return self.state is TaskState.ENDING and self.ends is not None and self.ends > now + _CLOCKS_APART_S

    @property
    def id(self) -> str:
        """As scontrol takes it: it knows no `7_0` of a job that is no array."""
        return str(self.task) if self.is_array else str(self.task.job)


@dataclass(frozen=True, kw_only=True)
class AccountingRow:
    """What sacct knows of one run of a task: a requeue begins another."""

    task: ArrayTask
    state: TaskState
    word: str
    exit_code: int
    signal: int
    submitted: float | None
    """Seconds since 1970, as `started` and `ended`; a requeue counts as submission."""
    started: float | None
    ended: float | None
    elapsed_s: float
    """Without the time it was suspended."""
    limit_s: float | None
    gpus: int
    cpus: int
    node: str


@dataclass(frozen=True, kw_only=True)
class SlurmConfig:
    """What we need to know about a site."""

    version: str
    cluster: str
    max_array_size: int
    """The highest array index is one less."""
    max_array_tasks: int | None
    job_requeue: bool
    """Whether jobs may be requeued that did not ask for it."""
    accounting: bool
    enforced: tuple[str, ...] = ()
    """Of AccountingStorageEnforce, such as `limits` and `qos`."""
    kill_wait_s: float = 30.0
    """Between SIGTERM and SIGKILL of a job that is cancelled or at its limit."""
    preempts: bool = False
    """Whether jobs may be preempted at all; how is the partition's."""

    @property
    def array_limit(self) -> int:
        """How many tasks an array may have that counts from 0; 0 where arrays are switched off."""
        return min(self.max_array_size, self.max_array_tasks or self.max_array_size)


def sbatch(script: Path, *, env: Mapping[str, str], timeout_s: float = SBATCH_TIMEOUT_S) -> str:
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
    if any(sign in said for sign in _UNREACHABLE):
        raise SlurmUnreachable(f"sbatch could not reach SLURM: {words}; try again later")
    named = _POLICY_LIMIT.search(re.sub(r"^\w+: error: ", "", said, flags=re.MULTILINE))
    if _NO_ROOM.search(said) or (_POLICY in said and named is None):
        raise SubmitLimit(words)
    raise SlurmRefused(words)


def own_words(text: str) -> str:
    """What a command of SLURM said, on one line and without its own name."""
    own = r"^\s*(?:\w+: (?:(?:error|fatal): )?)?(?:Batch job submission failed: )?"
    lines = [re.sub(own, "", line).strip() for line in text.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line)) or "it gave no reason"


def squeue(
    job_ids: Iterable[str], *, names: Iterable[str] = (), ended: bool = False, timeout_s: float = TIMEOUT_S
) -> dict[ArrayTask, QueueRow]:
    """The tasks of these jobs that have not ended; a job that SLURM does not know (any more) has none.

    Args:
        names: jobs of these names instead, whatever their ids: SLURM would give only those of both.
        ended: those too that ended not long ago (MinJobAge, five minutes on most sites).

    Raises:
        CommandMissing: there is no squeue on this machine.
        SlurmUnreachable: no answer, or no controller.
    """
    ids, wanted = _joined(job_ids), _joined(names)
    if not ids and not wanted:
        return {}
    which = [*(["-t", "all"] if ended else []), *([f"--name={wanted}"] if wanted else ["-j", ids])]
    # -r: one line for each pending task too. The name tells a job of ours from a stranger's that has got its number.
    # The script proves that it is ours: any job can be given a name. A tab: a path may have a | of its own.
    done = _run(["squeue", "-h", "-r", *which, "-o", f"{_SQUEUE_FIELDS}|%e|%j\t%o"], timeout_s=timeout_s)
    if done.returncode != 0 and _UNKNOWN_ID not in done.stderr:
        raise _failure("squeue", done)
    return parse_squeue(done.stdout, whole=True)


@dataclass(frozen=True, kw_only=True)
class FoundJob:
    """A job that squeue shows under a name that was asked for: anybody may have given it that."""

    name: str
    script: str
    """path of its script where it was submitted; empty if squeue did not tell"""


def find_jobs(names: Iterable[str], *, only_pending: bool = False, timeout_s: float = TIMEOUT_S) -> dict[str, FoundJob]:
    """The jobs of these names that have not ended, by id: also those whose id was never told us.

    An id may be another job's by now. So may a name: ``store.submissions.is_script_of`` says whose a job is.

    Args:
        only_pending: those of which some task waits.

    Raises:
        CommandMissing: there is no squeue on this machine.
        SlurmUnreachable: no answer, or no controller.
    """
    wanted = set(names)
    if not wanted:
        return {}
    waits = ["-t", "PENDING"] if only_pending else []
    done = _run(["squeue", "-h", *waits, "-n", _joined(sorted(wanted)), "-o", "%F|%j\t%o"], timeout_s=timeout_s)
    if done.returncode != 0:
        raise _failure("squeue", done)
    found = {}
    for line in done.stdout.splitlines():
        fields, _, script = line.partition("\t")
        id, _, name = fields.strip().partition("|")
        if name in wanted and id.isdecimal():
            found[id] = FoundJob(name=name, script=script.strip())
    return found


def sacct(job_ids: Iterable[str], *, timeout_s: float = TIMEOUT_S) -> dict[ArrayTask, tuple[AccountingRow, ...]] | None:
    """All runs of the tasks of these jobs, oldest first; None where the site keeps no accounts.

    The last run's state is the task's. Accounting lags some seconds behind squeue.

    Raises:
        CommandMissing: there is no sacct on this machine.
        SlurmUnreachable: no answer, or no database.
    """
    ids = _joined(job_ids)
    if not ids:
        return {}
    # -X: no steps. -D: the runs before a requeue too.
    done = _run(["sacct", "-X", "-D", "-P", "-n", "-j", ids, "-o", _SACCT_FIELDS], timeout_s=timeout_s)
    if "accounting storage is disabled" in done.stderr:
        return None
    if done.returncode != 0:
        raise _failure("sacct", done)
    return parse_sacct(done.stdout)


def scancel(job_ids: Iterable[str], *, only_pending: bool = False, timeout_s: float = TIMEOUT_S) -> None:
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
    done = _run(["scancel", *(["--state=PENDING"] if only_pending else []), *ids], timeout_s=timeout_s)
    said = done.stderr.splitlines()
    harmless = bool(said) and all(_is_harmless(line) for line in said)
    if done.returncode != 0 and not harmless:
        raise _failure("scancel", done)


def requeue(task_id: str, *, timeout_s: float = TIMEOUT_S) -> None:
    """Requeue a task (`A_i`) or a job that is no array (`A`): `Allocation.job` as it is.

    SLURM then ends the task's processes: this is a worker's last act. Never SLURM_JOB_ID in an array: for one of its
    tasks that is the array's own id, and would requeue them all.

    Raises:
        CommandMissing: there is no scontrol, as in some containers.
        SlurmUnreachable: no answer, or no controller.
        SlurmRefused: the job may not be requeued.
    """
    done = _run(["scontrol", "requeue", task_id], timeout_s=timeout_s)
    if done.returncode != 0:
        raise _failure("scontrol requeue", done)


def start_now(task_ids: Iterable[str], *, timeout_s: float = TIMEOUT_S) -> None:
    """Let tasks start that SLURM holds back after a requeue (reason BeginTime, two minutes on most sites).

    Args:
        task_ids: `QueueRow.id` of each.

    Raises:
        CommandMissing: there is no scontrol on this machine.
        SlurmUnreachable: no answer, or no controller.
        SlurmRefused: for example another user's job, or one that has started in the meantime.
    """
    ids = _joined(task_ids)
    if not ids:
        return
    done = _run(["scontrol", "update", f"JobId={ids}", "StartTime=now"], timeout_s=timeout_s)
    if done.returncode != 0:
        raise _failure("scontrol update", done)


def update(task_ids: Iterable[str], changes: Mapping[str, str], *, timeout_s: float = TIMEOUT_S) -> None:
    """Change tasks that wait, such as ``{"TimeLimit": "60"}``.

    Args:
        task_ids: `QueueRow.id` of each.

    Raises:
        CommandMissing: there is no scontrol on this machine.
        SlurmUnreachable: no answer, or no controller.
        SlurmRefused: for example a longer limit, which many sites let none but administrators give.
    """
    ids = _joined(task_ids)
    if not ids or not changes:
        return
    words = [f"{key}={value}" for key, value in changes.items()]
    done = _run(["scontrol", "update", f"JobId={ids}", *words], timeout_s=timeout_s)
    if done.returncode != 0:
        raise _failure("scontrol update", done)


def time_left(job_id: str, *, timeout_s: float) -> float | None:
    """Seconds to the time limit of a job or array task (`A_i`) that runs; infinite without one, None if SLURM has none
    such that runs.

    Raises:
        CommandMissing, SlurmUnreachable, SlurmRefused: it cannot be asked, as in some containers.
    """
    row = squeue([job_id], timeout_s=timeout_s).get(ArrayTask.parse(job_id))
    if row is None or row.state not in (TaskState.RUNNING, TaskState.SUSPENDED):
        return None
    if row.left_s is None:
        return float("inf") if row.is_unlimited else 0.0
    return row.left_s


def cluster_name(environ: Mapping[str, str]) -> str:
    """The cluster that SLURM's commands reach from here; empty if nobody tells.

    From slurm.conf where it can be read: else the controller is asked.
    """
    chosen = environ.get("SLURM_CLUSTERS", "")
    if chosen and "," not in chosen and chosen != "all":
        return chosen
    given = environ.get("SLURM_CONF")
    for path in (given,) if given else _CONFIGURATIONS:
        try:
            match = re.search(
                r"^\s*ClusterName\s*=\s*(\S+)", Path(path).read_text(encoding="utf-8"), re.MULTILINE | re.IGNORECASE
            )
        except (OSError, ValueError):
            continue
        if match:
            return match[1]
    try:
        return show_config(timeout_s=_ASIDE_S).cluster
    except (SlurmError, CommandMissing):
        return ""


def show_config(*, timeout_s: float = TIMEOUT_S) -> SlurmConfig:
    """The site's limits.

    Raises:
        CommandMissing: there is no scontrol on this machine.
        SlurmUnreachable: no answer, or no controller.
    """
    done = _run(["scontrol", "show", "config"], timeout_s=timeout_s)
    if done.returncode != 0:
        raise _failure("scontrol show config", done)
    return parse_config(done.stdout)


def show_partitions(*, timeout_s: float = TIMEOUT_S) -> tuple[Partition, ...]:
    """The partitions that this user may see.

    Raises:
        CommandMissing: there is no scontrol on this machine.
        SlurmUnreachable: no answer, or no controller.
    """
    done = _run(["scontrol", "show", "partition", "-o"], timeout_s=timeout_s)
    if done.returncode != 0:
        raise _failure("scontrol show partition", done)
    return site.parse_partitions(done.stdout)


def show_limits(user: str, *, cluster: str, timeout_s: float = TIMEOUT_S) -> tuple[tuple[Limit, ...], dict[str, Limit]]:
    """Limits of the user's associations, and of every QOS by name: two calls, of the database.

    Raises:
        CommandMissing: there is no sacctmgr on this machine.
        SlurmUnreachable: no answer, or no database.
        SlurmRefused: the site does not show them.
    """
    shown = []
    for words in (
        ["assoc", "where", f"user={user}", f"cluster={cluster}", f"format={site.LIMIT_FIELDS}"],
        ["qos", f"format={site.QOS_FIELDS}"],
    ):
        done = _run(["sacctmgr", "-n", "-P", "show", *words], timeout_s=timeout_s)
        if done.returncode != 0:
            raise _failure(f"sacctmgr show {words[0]}", done)
        shown.append(done.stdout)
    return site.parse_associations(shown[0]), site.parse_qos(shown[1])


def check_script(script: Path, *, env: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> str:
    """What sbatch says of a script without submitting it: when and where it would start.

    Args:
        env: environment of sbatch, as it would be to submit it.

    Raises:
        CommandMissing: there is no sbatch on this machine.
        SlurmUnreachable: no answer, or no controller.
        SlurmRefused: it would not be taken.
    """
    done = _run(["sbatch", "--test-only", str(script)], timeout_s=timeout_s, env=env)
    if done.returncode != 0:
        raise _failure("sbatch --test-only", done)
    return (done.stderr.strip() or done.stdout.strip()).removeprefix("sbatch: ")


def parse_squeue(text: str, *, whole: bool = False) -> dict[ArrayTask, QueueRow]:
    """Lines of `squeue -h -r -o '%F|%K|%T|%r|%M|%L|%N'`, with `|%e|%j<tab>%o` behind them if ``whole``."""
    rows: dict[ArrayTask, QueueRow] = {}
    for written in text.splitlines():
        fields, _, script = written.partition("\t")
        line, end, name = _split(fields, 3, from_end=True) if whole else (fields, "", "")
        # The reason may be an administrator's text, with a `|` of its own.
        job, index, word, rest = _split(line, 4)
        reason, elapsed, left, node = _split(rest, 4, from_end=True)
        if not job.isdecimal() or len(job) > 18 or len(index) > 18:
            log.warning("squeue wrote a line that is not understood: %r", line)
            continue
        task = ArrayTask(job=int(job), index=int(index) if index.isdecimal() else 0)
        rows[task] = QueueRow(
            task=task,
            state=states.parse(word),
            word=word,
            reason=reason,
            elapsed_s=_seconds(elapsed) or 0.0,
            left_s=_seconds(left),
            is_unlimited=left.strip() == "UNLIMITED",
            node=node,
            ends=_number(end),
            name=name,
            script=script.strip(),
            is_array=index.isdecimal(),
        )
    return rows


def parse_sacct(text: str) -> dict[ArrayTask, tuple[AccountingRow, ...]]:
    """Lines of `sacct -X -D -P -n` with our fields and times in seconds since 1970."""
    rows: dict[ArrayTask, tuple[AccountingRow, ...]] = {}
    for line in text.splitlines():
        fields = line.split("|")
        try:
            tasks = tuple(_tasks(fields[0]))
        except ValueError:
            tasks = ()
        if len(fields) != _SACCT_FIELDS.count(",") + 1 or not tasks or re.search(r"\d{19}", line):
            log.warning("sacct wrote a line that is not understood: %r", line)
            continue
        _, word, exit_code, submitted, started, ended, elapsed, limit_min, tres, node = fields
        code, _, signal = exit_code.partition(":")
        limit = _number(limit_min)
        for task in tasks:
            row = AccountingRow(
                task=task,
                state=states.parse(word),
                word=word,
                exit_code=int(_number(code) or 0),
                signal=int(_number(signal) or 0),
                submitted=_number(submitted),
                started=_number(started),
                ended=_number(ended),
                elapsed_s=_number(elapsed) or 0.0,
                limit_s=None if limit is None else limit * 60,
                gpus=_resource(tres, "gres/gpu"),
                cpus=_resource(tres, "cpu"),
                node="" if node == "None assigned" else node,
            )
            rows[task] = (*rows.get(task, ()), row)
    return rows


def parse_config(text: str) -> SlurmConfig:
    """Lines of `scontrol show config`."""
    pairs = (line.partition("=") for line in text.splitlines())
    settings = {key.strip(): value.strip() for key, equals, value in pairs if equals}
    tasks = re.search(r"\bmax_array_tasks=(\d{1,18})(?!\d)", settings.get("SchedulerParameters", ""))
    # The defaults are SLURM's own.
    return SlurmConfig(
        version=settings.get("SLURM_VERSION", ""),
        cluster=settings.get("ClusterName", ""),
        max_array_size=int(1001 if (size := _number(settings.get("MaxArraySize", ""))) is None else size),
        max_array_tasks=int(tasks[1]) if tasks else None,
        job_requeue=settings.get("JobRequeue", "1") != "0",
        accounting=settings.get("AccountingStorageType", "").endswith("/slurmdbd"),
        enforced=_words(settings.get("AccountingStorageEnforce", "none")),
        kill_wait_s=_number(settings.get("KillWait", "30").partition(" ")[0]) or 0.0,
        preempts=settings.get("PreemptType", "preempt/none") not in ("preempt/none", "(null)"),
    )


def _run(argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Completed:
    if env is None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(_USER_DEFAULTS)}
        # sacct's times in seconds since 1970, whatever the time zone and the user's format.
        env["SLURM_TIME_FORMAT"] = "%s"
    try:
        return run(argv, timeout_s=timeout_s, env=env)
    except CommandTimeout as error:
        raise SlurmUnreachable(f"{error}; SLURM is down or busy: try again later") from error


def _failure(command: str, done: Completed) -> SlurmError:
    said = (done.stderr.strip() or done.stdout.strip() or "it gave no reason").replace("\n", "; ")
    if any(sign in said for sign in _UNREACHABLE):
        return SlurmUnreachable(f"'{command}' could not reach SLURM: {said}; try again later")
    return SlurmRefused(f"'{command}' failed with exit code {done.returncode}: {said}")


def _is_harmless(line: str) -> bool:
    return _UNKNOWN_ID in line or "already completing or completed" in line or not line.strip()


def _joined(job_ids: Iterable[str]) -> str:
    return ",".join(dict.fromkeys(job_ids))


def _split(line: str, count: int, *, from_end: bool = False) -> list[str]:
    parts = line.rsplit("|", count - 1) if from_end else line.split("|", count - 1)
    return parts + [""] * (count - len(parts))


def _tasks(job_id: str) -> Iterator[ArrayTask]:
    """sacct folds pending tasks into one line: `7_[3,5-9:2%4]`."""
    folded = re.match(r"(\d{1,18})_\[([^\]%]*)", job_id)
    if folded is None:
        yield ArrayTask.parse(job_id)
        return
    # A long list ends in `...`: its other tasks are left to squeue.
    ranges = re.findall(r"(?<!\d)(\d{1,9})(?:-(\d{1,9}))?(?::(\d{1,9}))?(?!\d)", folded[2])
    indices = (range(int(first), int(last or first) + 1, int(step or 1) or 1) for first, last, step in ranges)
    for some in indices:
        for index in some[:MOST_TASKS]:  # SLURM has no larger arrays
            yield ArrayTask(job=int(folded[1]), index=index)


def _seconds(text: str) -> float | None:
    """`1-02:03:04`, `03:04`; None for UNLIMITED, INVALID and the like."""
    match = re.fullmatch(r"(?:(\d{1,9})-)?(?:(\d{1,9}):)?(\d{1,9}):(\d{1,9})", text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _number(text: str) -> float | None:
    """None for Unknown, None, UNLIMITED and Partition_Limit."""
    return float(text) if text.strip().isdecimal() and len(text) < 20 else None


def _words(text: str) -> tuple[str, ...]:
    return () if text in ("none", "(null)") else tuple(text.split(","))


def _resource(tres: str, name: str) -> int:
    """`gres/gpu` of `billing=1,cpu=1,gres/gpu:a100=2,gres/gpu=2`."""
    match = re.search(rf"(?:^|,){re.escape(name)}(?::[^=,]*)?=(\d{{1,18}})(?!\d)", tres)
    return int(match[1]) if match else 0
