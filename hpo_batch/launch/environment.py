"""The environment of sbatch, which becomes the job's: without the variables of a job that submits from inside.

sbatch takes the command line first, then ``SBATCH_*``, then the script's lines
(https://slurm.schedmd.com/sbatch.html#SECTION_INPUT-ENVIRONMENT-VARIABLES). We write script lines, so a variable for an
option that the sweep sets is hidden; one for an option that the sweep does not set applies, and the plan shows it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hpo_batch.envvars import EnvVar
from hpo_batch.scheduler.slurm.options import PLANNED, REFUSED, replaced_by

KEPT_OF_SLURM = ("SLURM_CONF", "SLURM_CLUSTERS")
"""where SLURM is"""
OPTION_OF = {"ARRAY_INX": "array", "TIMELIMIT": "time", "MEM_PER_NODE": "mem"}
"""variables that are not called like their option"""
NEVER = frozenset({"SBATCH_DEBUG"})
"""beside those of options that cannot be given (``scheduler.slurm.options``)"""
OF_A_JOB = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL")
"""set by SLURM inside a job: another one's GPUs"""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """For one call of sbatch."""

    env: Mapping[str, str]
    filled: Mapping[str, str]
    """``SBATCH_*`` of the caller that fill what the sweep leaves open"""
    hidden: Mapping[str, str]
    """``SBATCH_*`` of the caller that do not count, since the sweep or hpo-batch says it"""

    def lines(self) -> list[str]:
        """For the plan."""
        lines = [f"{name}={value} of your environment is asked for too" for name, value in self.filled.items()]
        return lines + [f"{name}={value} of your environment does not count" for name, value in self.hidden.items()]


def sbatch_environment(environ: Mapping[str, str], *, asked: Mapping[str, object]) -> Environment:
    """The environment for sbatch out of the caller's.

    Args:
        asked: options in the script by long names, with their values.
    """
    taken = replaced_by(asked)
    sbatch = {name: value for name, value in environ.items() if name.startswith("SBATCH_")}
    filled = {name: value for name, value in sbatch.items() if _is_open(name, taken)}
    env = {name: value for name, value in environ.items() if not _belongs_to_a_job(name, environ)}
    return Environment(
        env={**env, **filled},
        filled=filled,
        hidden={name: value for name, value in sbatch.items() if name not in filled},
    )


def environment_for(script: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The same for any script: what its ``#SBATCH`` lines ask for."""
    asked = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?", script, flags=re.MULTILINE)
    return sbatch_environment(environ, asked=dict(asked)).env


def option_of(variable: str) -> str:
    """The long name of the option that ``SBATCH_*`` stands for."""
    name = variable.removeprefix("SBATCH_")
    return OPTION_OF.get(name, name.lower().replace("_", "-"))


def _is_open(variable: str, taken: Collection[str]) -> bool:
    option = option_of(variable)
    return variable not in NEVER and option not in taken and option not in REFUSED and option not in PLANNED


def _belongs_to_a_job(name: str, environ: Mapping[str, str]) -> bool:
    if name in KEPT_OF_SLURM:
        return False
    if name.startswith("HPO_BATCH_"):  # a worker's own: its submission, its deadline, its trial
        return name != EnvVar.ROOT
    in_job = "SLURM_JOB_ID" in environ or EnvVar.SUBMISSION in environ
    return name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_", "PMI_", "PMIX_")) or (
        in_job and name in OF_A_JOB
    )
