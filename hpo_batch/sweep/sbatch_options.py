"""Every option of sbatch, and what becomes of it here: a key of ``[job]``, passed on as it is, or refused.

Workers plan with some of what SLURM is asked for (time, CPUs, GPUs, tasks): such an option must not reach SLURM past
the plan. An option that is not in the table is a plugin's of the site, or of a newer SLURM, and is passed on. Read by
``check`` (``rules``), by ``submit`` for what follows ``--``, and by ``launch`` for the script and for ``SBATCH_*``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from hpo_batch.errors import UserError
from hpo_batch.records import Problem
from hpo_batch.sweep.schema import Job
from hpo_batch.text.values import shown

SAME: Final[Mapping[str, str]] = {
    option: option.replace("-", "_")
    for option in (
        *("account", "constraint", "dependency", "exclude", "gpus-per-node", "gres", "nodelist", "partition", "qos"),
        "reservation",
    )
}
"""options that a key of ``[job]`` says too, in the same words; in ``[job.sbatch]`` they are passed on"""
PLANNED: Final[Mapping[str, str]] = {
    "cpus-per-task": "cpus",
    "nodes": "nodes",
    "ntasks-per-node": "tasks_per_node",
    "time": "walltime",
}
"""options that a key of ``[job]`` says in its own way: behind ``--`` they are the key, in ``[job.sbatch]`` a mistake"""
NUMBERS: Final = ("cpus-per-task", "nodes", "ntasks-per-node")
REFUSED: Final[Mapping[str, str]] = {
    "array": "the workers are its tasks: say [job] workers and max_running",
    "chdir": "workers start where submit is called: say [objective] cwd",
    "clusters": "squeue would look elsewhere: set SLURM_CLUSTERS",
    "cpus-per-gpu": "workers plan with their CPUs: say [job] cpus",
    "error": "logs lie in the study's directory: see 'hpo-batch logs'",
    "help": "call sbatch itself",
    "ignore-pbs": "the script is made here",
    "job-name": "workers are found by it",
    "ntasks-per-gpu": "say [job] workers_per_gpu, or tasks_per_node for several processes of one trial",
    "open-mode": "the log of a requeued worker goes on in the same file",
    "output": "logs lie in the study's directory: see 'hpo-batch logs'",
    "parsable": "sbatch is called so already",
    "signal": "workers plan with it: say [job] signal_lead_s",
    "test-only": "say --dry-run, or ask 'hpo-batch doctor'",
    "time-min": "workers plan with the time they have: say [job] walltime",
    "usage": "call sbatch itself",
    "version": "call sbatch itself",
    "wait": "say --wait before --",
    "wrap": "the script is made here: say [job] setup or python",
}
"""options that cannot be given, and what to say instead"""
PASSED: Final = frozenset(
    (
        *("acctg-freq", "batch", "bb", "bbf", "begin", "cluster-constraint", "comment", "consolidate-segments"),
        *("container", "container-id", "contiguous", "core-spec", "cores-per-socket", "cpu-freq", "deadline"),
        *("delay-boot", "distribution", "exclusive", "export", "export-file", "external", "extra"),
        *("extra-node-info", "get-user-env", "gid", "gpu-bind", "gpu-freq", "gpus", "gpus-per-socket"),
        *("gpus-per-task", "gres-flags", "hint", "hold", "input", "kill-on-invalid-dep", "licenses", "mail-type"),
        *("mail-user", "mcs-label", "mem", "mem-bind", "mem-per-cpu", "mem-per-gpu", "mincpus", "network", "nice"),
        *("no-kill", "no-requeue", "nodefile", "ntasks", "ntasks-per-core", "ntasks-per-socket", "oom-kill-step"),
        *("overcommit", "oversubscribe", "power", "prefer", "priority", "profile", "propagate", "quiet", "reboot"),
        *("requeue", "resv-ports", "segment", "sockets-per-node", "spread-job", "spread-segments", "stepmgr"),
        *("switches", "thread-spec", "threads-per-core", "tmp", "tres-bind", "tres-per-task", "uid"),
        *("use-min-nodes", "verbose", "wait-all-nodes", "wckey"),
    )
)
"""options of SLURM 22.05 to 25.11 that say nothing that a worker plans with, but for ``GPUS``, which ``scheduler.gpus``
counts"""
GPUS: Final = frozenset({"gres", "gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket", "tres-per-task"})
MEMORY: Final = frozenset({"mem", "mem-per-cpu", "mem-per-gpu"})
KINDS: Final = (GPUS, MEMORY, frozenset({"requeue", "no-requeue"}))
"""options that ask for the same in several ways: one of them in ``[job.sbatch]`` stands in the place of the keys"""
KNOWN: Final = frozenset((*SAME, *PLANNED, *REFUSED, *PASSED))
SHORT: Final[Mapping[str, str]] = {
    "A": "account",
    "B": "extra-node-info",
    "C": "constraint",
    "D": "chdir",
    "F": "nodefile",
    "G": "gpus",
    "H": "hold",
    "J": "job-name",
    "L": "licenses",
    "M": "clusters",
    "N": "nodes",
    "O": "overcommit",
    "Q": "quiet",
    "S": "core-spec",
    "V": "version",
    "W": "wait",
    "a": "array",
    "b": "begin",
    "c": "cpus-per-task",
    "d": "dependency",
    "e": "error",
    "h": "help",
    "i": "input",
    "k": "no-kill",
    "m": "distribution",
    "n": "ntasks",
    "o": "output",
    "p": "partition",
    "q": "qos",
    "s": "oversubscribe",
    "t": "time",
    "v": "verbose",
    "w": "nodelist",
    "x": "exclude",
}

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def parse_options(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """What follows ``--`` as options and TOML values: ``--qos=high``, ``--qos high``, ``--exclusive``.

    Raises:
        UserError: a word that is not a long option.
    """
    options: list[tuple[str, str]] = []
    for word in words:
        if word.startswith("--") and len(word) > 2:
            option, equals, value = word[2:].partition("=")
            options.append((option, json.dumps(value) if equals else "true"))
        elif options and options[-1][1] == "true" and not word.startswith("-"):
            options[-1] = (options[-1][0], json.dumps(word))
        else:
            long = SHORT.get(word[1:2]) if word.startswith("-") else None
            such = f"--{long}" if long else "--qos=high"
            raise UserError(f"'{word}' after -- is not an option of sbatch in its long form, such as {such}")
    return options


def key_of_job(option: str, value: str) -> tuple[str, str]:
    """The key below ``[job]`` and the TOML value that say the same as an option behind ``--``.

    Raises:
        UserError: the option cannot be given.
    """
    option = option.replace("_", "-")
    if why := why_not(option):
        raise UserError(f"the sbatch option --{option} cannot be given: {why}")
    if option in SAME:
        return SAME[option], value
    if option not in PLANNED:
        return f"sbatch.{option}", value
    plain = json.loads(value)
    if option in NUMBERS:
        if not str(plain).isdecimal():
            raise UserError(
                f"--{option} after --: {shown(plain)} is no whole number, as [job] {PLANNED[option]} has it"
            )
        value = str(plain)
    return PLANNED[option], value


def why_not(option: str) -> str:
    """Why an option cannot be given at all; empty if it can."""
    if option in REFUSED or option in KNOWN:
        return REFUSED.get(option, "")
    # sbatch takes `--part=gpu` for --partition: past the plan
    meant = sorted(known for known in KNOWN if known.startswith(option))
    return f"write it whole: {' or '.join(f'--{one}' for one in meant)}" if meant else ""


def sbatch_problems(job: Job) -> Iterator[Problem]:
    """What is wrong with ``[job.sbatch]``."""
    named: dict[str, str] = {}
    for given, value in job.sbatch.items():
        option, key = given.replace("_", "-"), ("job", "sbatch", given)
        if not _NAME.fullmatch(given):  # a blank in it would begin another option, past all that is asked here
            yield Problem(key=key, message=f"{shown(given)} is not the long name of an option of sbatch")
            continue
        if option in named:
            yield Problem(key=key, message=f"'{named[option]}' and '{given}' are the same option")
        named[option] = given
        if why := why_not(option):
            yield Problem(key=key, message=f"the sbatch option --{option} cannot be given: {why}")
        elif option in PLANNED:
            literal = value if option in NUMBERS and str(value).isdecimal() else json.dumps(str(value))
            yield Problem(
                key=key, message="workers plan with it: it is a key of [job]", allowed=f"{PLANNED[option]} = {literal}"
            )
        elif option in SAME and (ours := getattr(job, SAME[option])) is not None and str(ours) != str(value):
            message = f"[job] {SAME[option]} is {shown(ours)}, and here it is {shown(value)}: say it once"
            yield Problem(key=key, message=message)
        elif option == "ntasks" and str(value) != str(job.ranks):
            message = (
                f"a worker has {job.ranks} process{'es' if job.ranks > 1 else ''}: say [job] nodes, tasks_per_node"
            )
            yield Problem(key=key, message=message, allowed=str(job.ranks))
        elif option == "gpus-per-socket" and job.workers_per_gpu is not None:
            message = "how many GPUs a task then has cannot be told, and workers_per_gpu counts with it: say [job] gres"
            yield Problem(key=key, message=message)


SRUN_REFUSED: Final[Mapping[str, str]] = {
    "cpus-per-task": "say [job] cpus",
    "error": "logs lie in the study's directory: see 'hpo-batch logs'",
    "multi-prog": "the worker is the one program",
    "nodes": "say [job] nodes",
    "ntasks": "say [job] nodes and tasks_per_node",
    "ntasks-per-node": "say [job] tasks_per_node",
    "output": "logs lie in the study's directory: see 'hpo-batch logs'",
}
"""options of srun that would start other workers than are planned, or hide them"""
SRUN_SHORT: Final[Mapping[str, str]] = {"N": "nodes", "c": "cpus-per-task", "e": "error", "n": "ntasks", "o": "output"}


def srun_problems(job: Job) -> Iterator[Problem]:
    """What is wrong with ``[job] srun_args``."""
    for word in job.srun_args:
        option, _, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            option = SRUN_SHORT.get(word[1:2], "") if word.startswith("-") else ""
        if why := SRUN_REFUSED.get(option):
            yield Problem(key=("job", "srun_args"), message=f"'{word}' cannot be given: {why}")
        elif option == "export" and "ALL" not in value.split(","):
            message = f"'{word}': a worker cannot start without the variables that its script sets"
            yield Problem(key=("job", "srun_args"), message=message, allowed=_with_all(value))


def _with_all(value: str) -> str:
    return "--export=ALL" if value in ("NONE", "NIL", "") else f"--export=ALL,{value}"


def given_options(job: Job) -> dict[str, str | int | bool]:
    """``[job.sbatch]`` as it goes to SLURM: by long names, without what is switched off (``exclusive = false``)."""
    options = {option.replace("_", "-"): value for option, value in job.sbatch.items()}
    if options.get("requeue") is False:
        options["no-requeue"] = True
    return {option: value for option, value in options.items() if value is not False}
