"""What this machine offers: whether it has SLURM, and how large an array may be."""

from __future__ import annotations

from hpo_batch.errors import HpoBatchError
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.sweep.schema import Job

# SLURM's default of MaxArraySize (https://slurm.schedmd.com/slurm.conf.html). A site is asked for its own only if it
# could matter.
USUAL_ARRAY_LIMIT = 1001


def has_slurm() -> bool:
    """Whether jobs can be submitted from this machine."""
    return BATCH.is_here()


def array_limit() -> int:
    """Maximum number of tasks in an array; 0 if arrays are disabled, SLURM's default if it does not answer."""
    try:
        return BATCH.array_limit()
    except HpoBatchError:
        return USUAL_ARRAY_LIMIT


def no_machine_named(job: Job, *, has_slurm: bool) -> str:
    """A message if the sweep does not say where to run although SLURM is here: a login node must not train unasked."""
    if job.template is not None or not has_slurm:
        return ""
    return (
        "SLURM is available, but the sweep names no [job] template. To run in SLURM jobs: "
        "'hpo-batch submit SWEEP --set job.template=NAME', where NAME is cpu, a100 or a file of ./job_templates; "
        "to run on this machine: 'hpo-batch submit SWEEP --local'"
    )
