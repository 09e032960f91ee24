"""Check whether a site has what a sweep needs: room, working locks, a scheduler that accepts the job, and nodes.

Each check is one function in ``CHECKS``; it may look at what the checks before it have found.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from hpo_batch.doctor.file_system import nearest_folder, self_test, trial_folder
from hpo_batch.doctor.finding import Finding, Level, bad_site, fine, note
from hpo_batch.doctor.locks_and_disk import disk_findings
from hpo_batch.doctor.node_job import Order
from hpo_batch.doctor.nodes import node_test
from hpo_batch.doctor.site_limits import choose, site_findings
from hpo_batch.errors import Exit, HpoBatchError, SlurmRefused
from hpo_batch.launch.describe import footprint_of
from hpo_batch.launch.environment import environment_for
from hpo_batch.launch.resume import last_workdir
from hpo_batch.launch.sbatch import sbatch_text
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.scheduler import JobCommand
from hpo_batch.scheduler.site import SiteFacts
from hpo_batch.store.home import StudyHome, user_name
from hpo_batch.sweep.schema import Job, Sweep

Tell = Callable[[str], None]
"""called with what is being waited for or assumed"""


@dataclass(frozen=True, kw_only=True)
class NodeTrial:
    """A request to test two nodes too, with a small job."""

    with_gpus: bool = False
    start_within_s: float = 120.0
    """the job is cancelled if it has not started by then"""


@dataclass(frozen=True, kw_only=True)
class SiteSubject:
    """A site to examine, from this host and for one sweep."""

    root: Path
    """the logs directory, which may not exist yet"""
    job: Job | None
    """the sweep's job; None if no sweep is known"""
    homes: tuple[StudyHome, ...]
    new_sweeps: tuple[Sweep, ...]
    """sweeps that were never submitted"""
    nodes: NodeTrial | None
    tell: Tell
    findings: list[Finding] = field(default_factory=list)
    """findings of earlier checks"""

    @property
    def wants_scheduler(self) -> bool:
        """Whether the scheduler matters: not for local workers, and not if the study has no sweep."""
        is_unknown = self.job is None and bool(self.homes)
        return not (self.job is not None and self.job.is_local) and (self.nodes is not None or not is_unknown)

    @property
    def is_ready(self) -> bool:
        """Whether a job can be submitted, according to the findings so far."""
        is_refused = any(one.level is Level.BAD and one.about == "slurm" for one in self.findings)
        return self.wants_scheduler and BATCH.is_here() and not is_refused

    @property
    def workdir(self) -> Path:
        return last_workdir(self.homes[0]) if self.homes else Path.cwd()

    @property
    def request(self) -> Job:
        """The job to check; without a sweep, one that requests nothing."""
        return self.job or Job(template="")

    @cached_property
    def facts(self) -> SiteFacts | None:
        """What the scheduler says about the site, asked once.

        Raises:
            HpoBatchError: it does not answer.
        """
        return BATCH.site(user_name(os.geteuid()))


def examine_site(subject: SiteSubject) -> Iterator[Finding]:
    """All findings about a site, check by check."""
    for check in CHECKS:
        for finding in check(subject):
            subject.findings.append(finding)
            yield finding


def check_room(subject: SiteSubject) -> Iterator[Finding]:
    """Whether unsubmitted sweeps fit on the disk; studies check that themselves."""
    if subject.new_sweeps:
        files = sum(footprint_of(sweep).files for sweep in subject.new_sweeps)
        yield from disk_findings(nearest_folder(subject.root), to_come=files)


def check_file_system(subject: SiteSubject) -> Iterator[Finding]:
    """Whether the file system of the logs directory does what a study relies on, tested from this host."""
    yield from self_test(subject.root)


def check_settings(subject: SiteSubject) -> Iterator[Finding]:
    """Whether the scheduler answers, and what its settings mean for the sweep."""
    if not subject.wants_scheduler:
        return
    if not BATCH.is_here():
        what = "there is no SLURM on this machine (sbatch and scontrol are not on PATH): nothing of it was tried"
        do = "load SLURM (often 'module load slurm'); --local runs sweeps on this machine"
        level = Level.NOTE if subject.nodes is None else Level.BAD  # bad only if --cluster needs it
        yield Finding(level=level, about="slurm", what=what, do=do, code=Exit.SLURM)
        return
    try:
        facts = subject.facts
    except HpoBatchError as error:
        yield bad_site("slurm", str(error), "if SLURM is down, try again later; running jobs continue")
        return
    if facts is not None:
        yield from site_findings(subject.request, facts.config, facts.partitions, facts.limits)
        if facts.limits_error:
            yield note("limits", f"your limits are unknown: {facts.limits_error}")


def check_job(subject: SiteSubject) -> Iterator[Finding]:
    """Whether the scheduler would accept the sweep's job."""
    if subject.job is None or not subject.is_ready:
        return
    try:
        with trial_folder(subject.root) as folder:
            script = folder / "worker.sh"
            text = sbatch_text(
                subject.job,
                folder=folder,
                name="hpo-batch-doctor",
                workdir=subject.workdir,
                tasks=None,
                pickle="worker.pkl",
            )
            script.write_text(text, encoding="utf-8")
            answer = BATCH.check(JobCommand(argv=(str(script),), env=environment_for(text, os.environ)))
    except SlurmRefused as error:
        do = "change the key of [job] that SLURM names; 'hpo-batch submit SWEEP --dry-run' shows the script"
        yield bad_site("slurm", str(error), do)
    except HpoBatchError as error:
        yield note("slurm", str(error))
    else:
        yield fine("slurm", f"sbatch would take the sweep's job: {answer}")


def check_nodes(subject: SiteSubject) -> Iterator[Finding]:
    """Whether two nodes have what a worker needs, and whether their locks exclude."""
    if subject.nodes is None or not subject.wants_scheduler or not BATCH.is_here():
        return
    if not subject.is_ready:
        yield note("nodes", "no job was submitted", "first fix what is bad above")
        return
    job, facts = subject.request, subject.facts
    paths = [nearest_folder(subject.root), *(home.path for home in subject.homes)]
    # nodes do not see a virtual environment on a disk of this machine
    paths += [Path(sys.prefix)] if job.python is None else []
    order = Order(
        job=job,
        root=subject.root,
        workdir=subject.workdir,
        paths=tuple(paths),
        partitions=choose(job, facts.partitions) if facts is not None else (),
        with_gpus=subject.nodes.with_gpus,
        start_within_s=subject.nodes.start_within_s,
    )
    yield from node_test(order, tell=subject.tell)
    if not subject.nodes.with_gpus and (job.gres or job.gpus_per_node):
        yield note("gpus", "not tried", "add --gpu: the job then asks for them too")


CHECKS: Final[tuple[Callable[[SiteSubject], Iterator[Finding]], ...]] = (
    check_room,
    check_file_system,
    check_settings,
    check_job,
    check_nodes,
)
"""In this order: cheap checks first, and those that others depend on."""
