"""Validates ``[job.sbatch]`` and ``[job] srun_args``, using the tables in ``scheduler.slurm.options``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from hpo_batch.records import Problem
from hpo_batch.scheduler.slurm.options import NUMBERS, PLANNED, SAME, why_not
from hpo_batch.sweep.schema import Job
from hpo_batch.text.values import shown

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def sbatch_problems(job: Job) -> Iterator[Problem]:
    """Problems in ``[job.sbatch]``."""
    named: dict[str, str] = {}
    for given, value in job.sbatch.items():
        option, key = given.replace("_", "-"), ("job", "sbatch", given)
        if not _NAME.fullmatch(given):  # a space in it would start another, unchecked option
            yield Problem(key=key, message=f"{shown(given)} is not the long name of an sbatch option")
            continue
        if option in named:
            yield Problem(key=key, message=f"'{named[option]}' and '{given}' are the same option")
        named[option] = given
        if why := why_not(option):
            yield Problem(key=key, message=f"the sbatch option --{option} is not allowed: {why}")
        elif option in PLANNED:
            literal = value if option in NUMBERS and str(value).isdecimal() else json.dumps(str(value))
            yield Problem(
                key=key, message="workers plan with it: it is a key of [job]", allowed=f"{PLANNED[option]} = {literal}"
            )
        elif option in SAME and (ours := getattr(job, SAME[option])) is not None and str(ours) != str(value):
            message = f"[job] {SAME[option]} is {shown(ours)}, but here it is {shown(value)}: set only one of them"
            yield Problem(key=key, message=message)
        # the number of processes follows from nodes and tasks_per_node; a consistent value is harmless
        elif option == "ntasks" and str(value) != str(job.ranks):
            message = (
                f"a worker has {job.ranks} process{'es' if job.ranks > 1 else ''}: use [job] nodes, tasks_per_node"
            )
            yield Problem(key=key, message=message, allowed=str(job.ranks))
        elif option == "gpus-per-socket" and job.workers_per_gpu is not None:
            message = "workers_per_gpu needs the number of GPUs, which would depend on the node: use [job] gres"
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
"""options of srun that would start other workers than planned, or hide their output"""
SRUN_SHORT: Final[Mapping[str, str]] = {"N": "nodes", "c": "cpus-per-task", "e": "error", "n": "ntasks", "o": "output"}


def srun_problems(job: Job) -> Iterator[Problem]:
    """Problems in ``[job] srun_args``."""
    for word in job.srun_args:
        option, _, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            option = SRUN_SHORT.get(word[1:2], "") if word.startswith("-") else ""
        if why := SRUN_REFUSED.get(option):
            yield Problem(key=("job", "srun_args"), message=f"'{word}' is not allowed: {why}")
        # the worker gets its submission through HPO_BATCH_* variables
        elif option == "export" and "ALL" not in value.split(","):
            message = f"'{word}': a worker cannot start without the variables that its script sets"
            yield Problem(key=("job", "srun_args"), message=message, allowed=_with_all(value))


def _with_all(value: str) -> str:
    return "--export=ALL" if value in ("NONE", "NIL", "") else f"--export=ALL,{value}"


def given_options(job: Job) -> dict[str, str | int | bool]:
    """``[job.sbatch]`` as passed to sbatch: by long name, without disabled options (``exclusive = false``)."""
    options = {option.replace("_", "-"): value for option, value in job.sbatch.items()}
    if options.get("requeue") is False:
        options["no-requeue"] = True
    return {option: value for option, value in options.items() if value is not False}
