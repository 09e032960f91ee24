"""What the machine where a command is typed has: SLURM, and how large its arrays may be. Light: ``check`` asks too."""

from __future__ import annotations

from hpo_batch.errors import HpoBatchError
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.sweep.schema import Job

USUAL_ARRAY_LIMIT = 1001
"""SLURM's default of MaxArraySize (https://slurm.schedmd.com/slurm.conf.html#OPT_MaxArraySize). A site is asked for its
own only if it could matter."""


def has_slurm() -> bool:
    """Whether jobs can be submitted from this machine."""
    return BATCH.is_here()


def array_limit() -> int:
    """Most tasks of one array; 0 where arrays are switched off, SLURM's default where it does not answer."""
    try:
        return BATCH.array_limit()
    except HpoBatchError:
        return USUAL_ARRAY_LIMIT


def no_machine_named(job: Job, *, has_slurm: bool) -> str:
    """That nobody has said where to run, if that matters here; else empty: a login node must not train unasked."""
    if job.template is not None or not has_slurm:
        return ""
    return (
        "SLURM is here, and the sweep names no [job] template: is this a login node? To run on this machine: "
        "'hpo-batch submit SWEEP --local'; in jobs of SLURM: 'hpo-batch submit SWEEP --set job.template=NAME', "
        "where NAME is cpu, a100 or a file of ./job_templates"
    )
