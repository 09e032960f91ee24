"""The environment for sbatch, which becomes the job's: without the variables of a surrounding job.

Options on sbatch's command line take precedence over ``SBATCH_*`` variables, and those over lines in the script
(https://slurm.schedmd.com/sbatch.html#SECTION_INPUT-ENVIRONMENT-VARIABLES). We write script lines, so a variable for an
option that the sweep sets is hidden; one for an option that the sweep does not set applies, and the plan shows it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hpo_batch.envvars import EnvVar
from hpo_batch.scheduler.slurm.options import PLANNED, REFUSED, replaced_by

# variables that say where SLURM is
KEPT_OF_SLURM = ("SLURM_CONF", "SLURM_CLUSTERS")
# variables whose names differ from their options
OPTION_OF = {"ARRAY_INX": "array", "TIMELIMIT": "time", "MEM_PER_NODE": "mem"}
# never passed on, like variables of options that users cannot set (``scheduler.slurm.options``)
NEVER = frozenset({"SBATCH_DEBUG"})
# set by SLURM inside a job; in another job they would name the wrong GPUs
OF_A_JOB = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The environment for one call of sbatch."""

    env: Mapping[str, str]
    filled: Mapping[str, str]
    """``SBATCH_*`` of the caller that apply, since the sweep leaves the option open"""
    hidden: Mapping[str, str]
    """``SBATCH_*`` of the caller without effect, since the sweep or hpo-batch sets the option"""

    def lines(self) -> list[str]:
        """Lines for the plan."""
        lines = [f"{name}={value} from your environment applies too" for name, value in self.filled.items()]
        return lines + [f"{name}={value} from your environment is ignored" for name, value in self.hidden.items()]


def sbatch_environment(environ: Mapping[str, str], *, asked: Mapping[str, object]) -> Environment:
    """The environment for sbatch, from the caller's.

    Args:
        asked: options in the script by long name, with their values.
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
    """The same for any script with ``#SBATCH`` lines."""
    asked = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?", script, flags=re.MULTILINE)
    return sbatch_environment(environ, asked=dict(asked)).env


def option_of(variable: str) -> str:
    """The long option name of an ``SBATCH_*`` variable."""
    name = variable.removeprefix("SBATCH_")
    return OPTION_OF.get(name, name.lower().replace("_", "-"))


def _is_open(variable: str, taken: Collection[str]) -> bool:
    option = option_of(variable)
    return variable not in NEVER and option not in taken and option not in REFUSED and option not in PLANNED


def _belongs_to_a_job(name: str, environ: Mapping[str, str]) -> bool:
    if name in KEPT_OF_SLURM:
        return False
    if name.startswith("HPO_BATCH_"):  # of a worker: its submission, deadline and trial
        return name != EnvVar.ROOT
    in_job = "SLURM_JOB_ID" in environ or EnvVar.SUBMISSION in environ
    return name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_", "PMI_", "PMIX_")) or (
        in_job and name in OF_A_JOB
    )
