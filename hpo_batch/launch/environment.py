"""The environment of sbatch, which becomes the job's: what leads to SLURM stays, what is a surrounding job's does not.

SLURM's precedence is command line, ``SBATCH_*``, then the script's lines. Ours are the script's lines, so a variable of
an option that the sweep gives is hidden; one that the sweep leaves open fills it, and the plan shows it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hpo_batch.envvars import EnvVar
from hpo_batch.sweep.sbatch_options import KINDS, PLANNED, REFUSED

KEPT_OF_SLURM = ("SLURM_CONF", "SLURM_CLUSTERS")
"""where SLURM is"""
OPTION_OF = {"ARRAY_INX": "array", "TIMELIMIT": "time", "MEM_PER_NODE": "mem"}
"""variables that are not called like their option"""
NEVER = frozenset({"DEBUG"})
"""beside those of options that cannot be given (``sweep.sbatch_options``)"""
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
        told = [f"{name}={value} of your environment is asked for too" for name, value in self.filled.items()]
        return told + [f"{name}={value} of your environment does not count" for name, value in self.hidden.items()]


def sbatch_environment(environ: Mapping[str, str], *, asked: Collection[str]) -> Environment:
    """The environment for sbatch out of the caller's.

    Args:
        asked: long names of the options in the script.
    """
    taken = set(asked)
    for kind in KINDS:  # one of them in the sweep hides them all
        if taken & kind:
            taken |= kind
    sbatch = {name: value for name, value in environ.items() if name.startswith("SBATCH_")}
    filled = {name: value for name, value in sbatch.items() if _is_open(name.removeprefix("SBATCH_"), taken)}
    env = {name: value for name, value in environ.items() if not _belongs_to_a_job(name, environ)}
    return Environment(
        env={**env, **filled},
        filled=filled,
        hidden={name: value for name, value in sbatch.items() if name not in filled},
    )


def environment_for(script: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The same for any script: what its ``#SBATCH`` lines ask for."""
    asked = re.findall(r"^#SBATCH --([\w-]+)", script, flags=re.MULTILINE)
    return sbatch_environment(environ, asked=asked).env


def _is_open(variable: str, taken: Collection[str]) -> bool:
    option = OPTION_OF.get(variable, variable.lower().replace("_", "-"))
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
