"""Ask SLURM what it allows, for `doctor`: three or four calls, each bounded; what does not answer is a finding."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hpo_batch.doctor.file_system import trial_folder
from hpo_batch.doctor.finding import Finding, Level
from hpo_batch.doctor.site_limits import Limits, choose, site_findings
from hpo_batch.errors import Exit, HpoBatchError, SlurmRefused
from hpo_batch.launch.environment import environment_for
from hpo_batch.launch.sbatch import sbatch_text
from hpo_batch.scheduler.slurm import accounts, control, jobs
from hpo_batch.scheduler.slurm.control import SlurmConfig
from hpo_batch.scheduler.slurm.site import Partition
from hpo_batch.store.home import user_name
from hpo_batch.sweep.schema import Job

MISSING = "load SLURM (often 'module load slurm'); --local runs sweeps on this machine"


def no_slurm(*, is_wanted: bool) -> Finding:
    """That this machine has no SLURM: bad only for who needs it."""
    level = Level.BAD if is_wanted else Level.NOTE
    what = "there is no SLURM on this machine (sbatch and scontrol are not on PATH): nothing of it was tried"
    return Finding(level=level, about="slurm", what=what, do=MISSING, code=Exit.SLURM)


def ask_site(job: Job) -> tuple[list[Finding], tuple[Partition, ...]]:
    """Findings about SLURM's settings, and the partitions that the sweep's workers would go to."""
    try:
        config, partitions = control.show_config(), control.show_partitions()
    except HpoBatchError as error:
        do = "if SLURM is down, try again later; jobs that run go on"
        return [Finding(level=Level.BAD, about="slurm", what=str(error), do=do, code=Exit.SLURM)], ()
    limits, findings = None, []
    if config.accounting and config.enforced:
        try:
            limits = _limits(config)
        except HpoBatchError as error:
            findings.append(Finding(level=Level.NOTE, about="limits", what=f"your limits are unknown: {error}"))
    return [*site_findings(job, config, partitions, limits), *findings], choose(job, partitions)


def _limits(config: SlurmConfig) -> Limits:
    associations, qos = accounts.show_limits(user_name(os.geteuid()), cluster=config.cluster)
    return Limits(associations=associations, qos=qos)


def try_sbatch(job: Job, root: Path, *, workdir: Path) -> Iterator[Finding]:
    """Whether sbatch would take the sweep's own job."""
    try:
        with trial_folder(root) as folder:
            script = folder / "worker.sh"
            text = sbatch_text(
                job, folder=folder, name="hpo-batch-doctor", workdir=workdir, tasks=None, pickle="worker.pkl"
            )
            script.write_text(text, encoding="utf-8")
            said = jobs.check_script(script, env=environment_for(text, os.environ))
    except HpoBatchError as error:
        refused = isinstance(error, SlurmRefused)
        do = "change the key of [job] that SLURM names; 'hpo-batch submit SWEEP --dry-run' shows the script"
        level = Level.BAD if refused else Level.NOTE
        yield Finding(level=level, about="slurm", what=str(error), do=do if refused else "", code=Exit.SLURM)
        return
    yield Finding(level=Level.FINE, about="slurm", what=f"sbatch would take the sweep's job: {said}")
