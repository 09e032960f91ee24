"""Plan a submission without side effects: ``--dry-run`` prints the plan, ``carry_out`` carries it out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpo_batch.errors import UserError
from hpo_batch.launch.environment import Environment, option_of, sbatch_environment
from hpo_batch.launch.sbatch import asked_options
from hpo_batch.launch.task_layout import USUAL_ARRAY_LIMIT, gpus_of, no_machine_named, shape_of
from hpo_batch.scheduler.gpu_request import speaks_of_gpus
from hpo_batch.store.home import StudyHome
from hpo_batch.study.stopped import Stopped
from hpo_batch.sweep.difference import Change
from hpo_batch.sweep.schema import Job, Sweep
from hpo_batch.sweep.walltime import format_walltime
from hpo_batch.text.numbers import count


@dataclass(frozen=True, kw_only=True)
class Site:
    """What this machine offers."""

    has_slurm: bool
    """whether ``sbatch`` and ``srun`` are on PATH"""
    array_limit: int | None = None
    """maximum number of tasks in an array (``task_layout.array_limit``)"""
    gpus: tuple[str, ...] = ()
    """UUIDs of this machine's GPUs, for local workers"""
    environ: Mapping[str, str] = field(default_factory=dict)
    """the caller's environment, whose ``SBATCH_*`` set options that the sweep leaves open"""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A study's state before a submission."""

    remaining: int
    finished: int = 0
    live_workers: int = 0
    on_hold: tuple[str, ...] = ()
    """array tasks among them that somebody has to release before they can start"""
    not_counted: tuple[str, ...] = ()
    """workers that exist but will not work, with reasons, as sentences"""
    doubts: tuple[str, ...] = ()
    """facts that could not be checked, and the assumptions made, as sentences"""
    nothing_left: Stopped | None = None
    """why workers would find nothing to do although trials are missing"""


@dataclass(frozen=True, kw_only=True)
class Array:
    """Array tasks of one sbatch call."""

    tasks: int
    max_running: int | None
    """its share of ``[job] max_running``"""
    is_array: bool = True
    """False for a plain job of one task"""


def split(tasks: int, *, limit: int, max_running: int | None) -> tuple[Array, ...]:
    """Split tasks into arrays, each with its share of ``max_running``.

    Args:
        limit: maximum number of tasks in an array; 0 or 1 if arrays are disabled.
    """
    # a last array of one task is an array too, so that all logs have names of the same form
    is_array = tasks > 1 and limit > 1
    arrays = []
    while tasks:
        size = min(tasks, max(1, limit))
        share = None if max_running is None else max(1, round(max_running * size / tasks))
        arrays.append(Array(tasks=size, max_running=share, is_array=is_array))
        tasks -= size
        max_running = None if max_running is None or share is None else max_running - share
    return tuple(arrays)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Workers to start for one study."""

    home: StudyHome
    sweep: Sweep
    change: Change
    standing: Standing
    workers: int
    """0 if nothing is left to do or to try, or enough workers are running"""
    workdir: Path
    warnings: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    """which of the caller's ``SBATCH_*`` variables apply, and which do not"""
    array_limit: int | None = None
    """maximum number of tasks in an array at this site; None if not asked"""

    @property
    def is_local(self) -> bool:
        return self.sweep.job.is_local

    @property
    def tasks(self) -> int:
        """Array tasks that hold the workers."""
        return shape_of(self.sweep.job).tasks_for(self.workers)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays to submit, if SLURM accepts all of them."""
        if self.is_local:
            return ()
        limit = USUAL_ARRAY_LIMIT if self.array_limit is None else self.array_limit
        return split(self.tasks, limit=limit, max_running=self.sweep.job.max_running)

    @property
    def collects(self) -> bool:
        """Whether a collector is submitted too."""
        return bool(self.workers and not self.is_local and (self.sweep.job.collect or self.sweep.job.auto_resume))

    @property
    def why_none(self) -> str:
        if self.standing.nothing_left is not None:
            return f"{self.standing.nothing_left.text}: no workers started"
        if self.standing.remaining == 0:
            n = self.standing.finished
            return f"{'the only trial is' if n == 1 else f'all {n} trials are'} finished: nothing to do"
        if self.standing.live_workers == 1:
            return "1 worker is already running; none added"
        return f"{self.standing.live_workers} workers are already running; none added"

    def lines(self) -> list[str]:
        """The plan in words."""
        job = self.sweep.job
        head = [f"study {self.home.name} in {self.home.path}"]
        head += [f"  changed: {line}" for line in self.change.lines]
        head += [f"  {self.change.stays}"] if self.change.stays else []
        trials = f"{count(self.standing.remaining, 'trial')} to finish"
        if self.standing.finished:
            trials += f", {self.standing.finished} finished before"
        if self.workers == 0:
            return [*head, f"  {trials}; {self.why_none}"]
        local = "local processes" if self.workers > 1 else "local process"
        where = local if self.is_local else "array tasks" if self.tasks > 1 else "batch job"
        asked = [f"walltime {format_walltime(job.walltime)}", f"{job.cpus} CPU{'' if job.cpus == 1 else 's'}"]
        gpus = gpus_of(job).text
        asked += [gpus] if gpus and not self.is_local else []
        shape = shape_of(job)
        if shape.workers > 1:
            where += f" of {shape.workers} workers each"
            asked[1] += " per worker"
        elif not self.is_local and job.ranks > 1:
            where += f", each of {job.ranks} processes on {job.nodes} node{'s' if job.nodes > 1 else ''}"
            asked[1] += " per process"
        return [
            *head,
            f"  {trials}; {self.tasks} {where} from template '{job.template or 'local'}': {', '.join(asked)}",
            *(f"  {line}" for line in self.environment),
            *self._job_lines(),
        ]

    def _job_lines(self) -> list[str]:
        """Why there are several arrays, and the job that runs after them."""
        lines = []
        if len(self.arrays) > 1:
            most = max(array.tasks for array in self.arrays)
            parts = ", ".join(_array_text(array, len(list(same))) for array, same in itertools.groupby(self.arrays))
            lines.append(f"  in {len(self.arrays)} arrays, since SLURM accepts at most {most} tasks in one: {parts}")
        if self.collects:
            most = self.sweep.job.auto_resume
            resumes = f"; resumes at most {most} time{'' if most == 1 else 's'} while trials remain" if most else ""
            lines.append(f"  then one job that collects the results{resumes}")
        return lines


def _array_text(array: Array, count: int) -> str:
    times = f"{count} x " if count > 1 else ""
    return f"{times}{array.tasks}{'' if array.max_running is None else f' ({array.max_running} at once)'}"


def plan(home: StudyHome, sweep: Sweep, *, change: Change, site: Site, standing: Standing, workdir: Path) -> Plan:
    """Plan the workers to start: ``[job] workers`` minus those that run, and at most one per remaining trial.

    Raises:
        UserError: the template is for SLURM but SLURM is missing, no template is named although SLURM is here, an
            sbatch option is not allowed, or a path contains what SLURM would expand.
    """
    job = sweep.job
    _check_site(home, job, site)
    missing = min(job.workers, standing.remaining)
    lines: list[str] = []
    if not job.is_local:
        environment = sbatch_environment(site.environ, asked=asked_options(job))
        _refuse_gpus_of_the_caller(job, environment)
        lines = environment.lines()
    return Plan(
        home=home,
        sweep=sweep,
        change=change,
        standing=standing,
        workers=0 if standing.nothing_left is not None else max(0, missing - standing.live_workers),
        workdir=workdir,
        warnings=tuple(_warnings(job, site, standing)),
        environment=tuple(lines),
        array_limit=site.array_limit,
    )


def _check_site(home: StudyHome, job: Job, site: Site) -> None:
    """Raise UserError if the job cannot be started from this machine."""
    if unnamed := no_machine_named(job, has_slurm=site.has_slurm):
        raise UserError(unnamed)
    if job.is_local:
        return
    if not site.has_slurm:
        raise UserError(
            f"template '{job.template}' is for SLURM, but sbatch is not on PATH: "
            f"load SLURM (often 'module load slurm'), or use --local to run on this machine"
        )
    if "%" in str(home.path.absolute()):
        # % starts a file name pattern: https://slurm.schedmd.com/sbatch.html#SECTION_FILENAME-PATTERN
        raise UserError(
            f"'{home.path.absolute()}': SLURM expands '%' in the names of log files, so jobs could not write them; "
            f"choose a logs directory without '%' (--root, or $HPO_BATCH_ROOT)"
        )


def _warnings(job: Job, site: Site, standing: Standing) -> Iterator[str]:
    """What users may not expect."""
    remaining = standing.remaining
    if job.workers > remaining > 0:
        few = count(remaining, "trial remains", "trials remain")
        yield f"{job.workers} workers requested, but only {few}: starting fewer"
    slots = len(site.gpus) * (job.workers_per_gpu or 1)
    if job.is_local and site.gpus and job.device != "cpu" and min(job.workers, remaining) > slots:
        yield f"{min(job.workers, remaining)} local workers share {len(site.gpus)} GPUs"
    if not remaining:
        return
    for line in standing.not_counted:
        yield f"not counted as workers: {line}"
    yield from standing.doubts
    if standing.on_hold:
        tasks = ",".join(standing.on_hold)
        yield f"held tasks count as workers but do not start: run 'scontrol release {tasks}', or cancel them"


def _refuse_gpus_of_the_caller(job: Job, environment: Environment) -> None:
    """Reject GPUs requested through ``SBATCH_*``: ``workers_per_gpu`` counts only those of the sweep."""
    named = [name for name, value in environment.filled.items() if speaks_of_gpus(option_of(name), value)]
    if job.workers_per_gpu is not None and named:
        raise UserError(
            f"{named[0]}={environment.filled[named[0]]} in your environment requests GPUs, but [job] workers_per_gpu "
            f"counts only those of the sweep: set [job] gres or gpus_per_node, or 'unset {named[0]}'"
        )
