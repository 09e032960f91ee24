"""Decides for every option of sbatch whether it becomes a key of ``[job]``, is passed on, or is refused.

Workers plan with the time, CPUs, GPUs and tasks of a job, so these options must not bypass the plan. Unlisted options
belong to a site's plugin or a newer SLURM, and are passed on. Options: https://slurm.schedmd.com/sbatch.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from hpo_batch.errors import UserError
from hpo_batch.scheduler import gpu_request
from hpo_batch.scheduler.gpu_request import about_gpus
from hpo_batch.text.values import shown

SAME: Final[Mapping[str, str]] = {
    option: option.replace("-", "_")
    for option in (
        *("account", "constraint", "dependency", "exclude", "gpus-per-node", "gres", "nodelist", "partition", "qos"),
        "reservation",
    )
}
"""options with an equivalent key of ``[job]`` and the same values; passed on in ``[job.sbatch]``"""
PLANNED: Final[Mapping[str, str]] = {
    "cpus-per-task": "cpus",
    "nodes": "nodes",
    "ntasks-per-node": "tasks_per_node",
    "time": "walltime",
}
"""options with an equivalent key of ``[job]`` but other values: converted after ``--``, an error in ``[job.sbatch]``"""
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
"""options that are refused, and what to use instead"""
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
"""options of SLURM 22.05 to 25.11 that workers do not plan with; ``gpu_request`` handles those about GPUs"""
_MEMORY: Final = frozenset({"mem", "mem-per-cpu", "mem-per-gpu"})
_REQUEUE: Final = frozenset({"requeue", "no-requeue"})
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


def replaced_by(options: Mapping[str, object]) -> frozenset[str]:
    """All options that are replaced by these, by long name, including themselves.

    sbatch accepts memory per node, per CPU or per GPU, but not two of them, and adds up or refuses GPUs requested in
    two ways.
    """
    names = set(options)
    if about_gpus(options):
        names |= gpu_request.OPTIONS
    for alternatives in (_MEMORY, _REQUEUE):
        if names & alternatives:
            names |= alternatives
    return frozenset(names)


def parse_options(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Parse the arguments after ``--`` into options and TOML values: ``--qos=high``, ``--qos high``, ``--exclusive``.

    Raises:
        UserError: an argument is not a long option.
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
            raise UserError(f"'{word}' after -- is not a long option of sbatch, such as {such}")
    return options


def key_of_job(option: str, value: str) -> tuple[str, str]:
    """The key of ``[job]`` and the TOML value for an option after ``--``.

    Raises:
        UserError: the option is refused.
    """
    option = option.replace("_", "-")
    if why := why_not(option):
        raise UserError(f"the sbatch option --{option} is not allowed: {why}")
    if option in SAME:
        return SAME[option], value
    if option not in PLANNED:
        return f"sbatch.{option}", value
    plain = json.loads(value)
    if option in NUMBERS:
        if not str(plain).isdecimal():
            raise UserError(
                f"--{option} after --: {shown(plain)} is not a whole number, as [job] {PLANNED[option]} requires"
            )
        value = str(plain)
    return PLANNED[option], value


def why_not(option: str) -> str:
    """Why an option is refused; empty if it is allowed."""
    if option in REFUSED or option in KNOWN:
        return REFUSED.get(option, "")
    # sbatch accepts abbreviations (`--part=gpu` for --partition, getopt_long(3)), which would bypass the plan
    full_names = sorted(name for name in KNOWN if name.startswith(option))
    return f"write it in full: {' or '.join(f'--{name}' for name in full_names)}" if full_names else ""
