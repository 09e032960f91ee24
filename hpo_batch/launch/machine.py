"""On which machine a sweep runs that does not say so. Light: ``check`` asks too."""

from __future__ import annotations

from hpo_batch import processes
from hpo_batch.sweep.schema import Job


def has_slurm() -> bool:
    """Whether jobs can be submitted from this machine."""
    return processes.exists("sbatch") and processes.exists("srun")


def no_machine_named(job: Job, *, has_slurm: bool) -> str:
    """That nobody has said where to run, if that matters here; else empty: a login node must not train unasked."""
    if job.template is not None or not has_slurm:
        return ""
    return (
        "SLURM is here, and the sweep names no [job] template: is this a login node? To run on this machine: "
        "'hpo-batch submit SWEEP --local'; in jobs of SLURM: 'hpo-batch submit SWEEP --set job.template=NAME', "
        "where NAME is cpu, a100 or a file of ./job_templates"
    )
