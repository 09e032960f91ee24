"""The schema of sweep files: every table and key, with its type, default and description.

``load`` fills the tables. A ``Sweep`` is self-contained: templates are merged and budgets are separate sweeps. Its JSON
is the frozen revision that workers read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from hpo_batch.files import dump_json
from hpo_batch.records import Reason
from hpo_batch.scheduler.names import SchedulerName
from hpo_batch.space.build import RESERVED, build
from hpo_batch.space.space import Space
from hpo_batch.sweep.samplers import Capabilities, capabilities_of
from hpo_batch.sweep.tables import Limits, Table, Through, from_raw, to_raw
from hpo_batch.sweep.values import (
    ENTRY,
    Direction,
    ExpressionText,
    Flag,
    Number,
    Options,
    ParamValue,
    Policy,
    SbatchValue,
    Seconds,
    as_tuple,
    command_words,
    fused_trials,
    study_name,
    trial_name,
)

PrunerName: TypeAlias = Literal["none", "median", "percentile", "asha", "hyperband", "patient", "threshold", "wilcoxon"]
PRUNERS: Final[tuple[str, ...]] = get_args(PrunerName)


# trials of [job] fuse = "auto": where most of the gain is, and the memory of sixteen small models
AUTO_FUSE: Final = 16


@dataclass(frozen=True, kw_only=True)
class Study(Table):
    """``[study]``: the goal of the study, and how it is stored."""

    name: Annotated[str, Through(study_name, "after")]
    """name of the study and of its folder: a-z 0-9 . _ -, not only digits"""
    metric: Annotated[
        tuple[Annotated[str, Limits(min_length=1)], ...], Limits(min_length=1), Through(as_tuple, "before")
    ]
    """the metric to optimize, returned by the objective or computed in [metrics]; a list for several"""
    direction: Annotated[tuple[Direction, ...], Through(as_tuple, "before")]
    """"minimize" or "maximize"; for several metrics, a list as long as theirs"""
    trials: Annotated[int, Limits(ge=1, le=10_000_000, strict=True)] | None = None
    """target number of finished (complete or pruned) trials, over all workers and submissions; grid and list can do
    without"""
    replicates: Annotated[int, Limits(ge=1, le=100, strict=True)] = 1
    """number of seeds to train each trial with, one after the other; its value is their mean, and the first seed alone
    decides pruning"""
    seeds: tuple[Annotated[int, Limits(ge=0, le=2**32 - 1, strict=True)], ...] = ()
    """the seeds themselves, the same for every trial, which can then be compared in pairs; default: each trial has
    seeds of its own, as many as replicates"""
    import_: Annotated[tuple[Annotated[str, Limits(min_length=1)], ...], Through(as_tuple, "before")] = ()
    """names or directories of other studies; the sampler learns from their trials, which do not count in this study"""
    max_attempts: Annotated[int, Limits(ge=1, le=100, strict=True)] = 3
    """how many attempts of a trial may fail or be lost; an attempt that saved a newer checkpoint does not count"""
    max_failed: Annotated[int, Limits(ge=1, strict=True)] | None = None
    """number of failed trials that stops the sweep; default: as many as trials, and at least stop_after"""
    keep_checkpoints: Literal["unfinished", "all"] = "unfinished"
    """which checkpoints to keep: those of unfinished trials, or all"""
    lease_s: Annotated[Number, Limits(ge=1, le=3600)] = 60.0
    """seconds without a heartbeat after which a worker on another host is considered dead"""
    shared: Flag = False
    """let the directory's group run workers, submit and cancel, and so run code as you (files 0660, directories
    2770)"""

    @property
    def seeds_per_trial(self) -> int:
        """How often each trial is trained."""
        return len(self.seeds) or self.replicates


@dataclass(frozen=True, kw_only=True)
class Objective(Table):
    """``[objective]``: your code, a function or a command."""

    function: Annotated[str, Limits(pattern=ENTRY)] | None = None
    """"package.module:function": takes a Trial, returns a float or a dict of metrics"""
    command: Annotated[str | tuple[str, ...] | None, Through(command_words, "before")] = None
    """a command line, run without a shell; placeholders: {name} {args} {hyphen_args} {overrides} {params_json}
    {trial_dir}"""
    printed: dict[str, str] = field(default_factory=dict)
    """metrics that a command prints, each with the text around its number: { val_loss = "val loss: {}" }; step =
    "epoch {}" counts the steps"""
    n_params: Annotated[str, Limits(pattern=ENTRY)] | None = None
    """"package.module:function": takes a configuration, returns the number of parameters of the model; must work
    without torch"""
    cwd: str | None = None
    """working directory, relative to where submit is called; default: that directory"""
    env: dict[str, str] = field(default_factory=dict)
    """environment variables to set for the objective"""
    preload: Annotated[str, Limits(pattern=ENTRY)] | None = None
    """"package.module:function": called once in an array task with several workers, with the fixed parameters, before
    they start; they share the memory of what it loads"""
    snapshot: Flag = False
    """run a copy of the code, stored in the study, instead of the working directory"""


@dataclass(frozen=True, kw_only=True)
class Sampler(Table):
    """``[sampler]``: how configurations are chosen."""

    name: str = "tpe"
    """tpe, random, grid (every valid cell once), qmc (one Sobol' sequence), gp, cmaes, nsga2, list (the [[trial]]
    tables only), or "package.module:class" of an Optuna sampler"""
    seed: Annotated[int, Limits(ge=0, le=2**32 - 1, strict=True)] = 0
    """seed of the search, from which the seeds of the trials are derived"""
    startup_trials: Annotated[int, Limits(ge=1, strict=True)] = 5
    """finished trials, planned ones included, before tpe, gp or cmaes start to model; until then, draws are random"""
    extremes: tuple[str, ...] = ()
    """parameters to try first at their smallest and largest value, with the others at their middle"""
    coverage: tuple[str, ...] = ()
    """parameters that define the architecture; combinations of their values that are untried are preferred"""
    coverage_share: Annotated[Number, Limits(ge=0, le=1)] = 0.0
    """share of the trials reserved for untried combinations of the coverage parameters, 0 to 1"""
    duplicates: Literal["skip", "replicate"] = "skip"
    """"skip": never train a configuration twice; "replicate": train it again with another seed"""
    options: Options = field(default_factory=dict)
    """options of the sampler, such as n_ei_candidates; your own class gets them as keyword arguments"""

    @property
    def capabilities(self) -> Capabilities:
        return capabilities_of(self.name)


@dataclass(frozen=True, kw_only=True)
class Pruner(Table):
    """``[pruner]``: how unpromising trials are stopped early."""

    name: PrunerName = "none"
    """none, median, percentile, asha (successive halving), hyperband, patient, threshold or wilcoxon"""
    first_rung: Annotated[int, Limits(ge=1, strict=True)] = 3
    """number of steps before the first decision; for wilcoxon, the number of instances"""
    around: Literal["median", "percentile", "asha", "hyperband", "threshold"] | None = None
    """for patient: the pruner to ask once there is no progress; default: no progress is reason enough"""
    options: Options = field(default_factory=dict)
    """options of the pruner, such as reduction_factor; patient has its own (patience, min_delta) and takes those of
    around"""


@dataclass(frozen=True, kw_only=True)
class PlannedTrial(Table):
    """``[[trial]]``: a configuration of your own, run before the sampler proposes any."""

    name: Annotated[str, Through(trial_name, "after")]
    """name of the trial: an identifier, unique in the sweep"""
    set: str | None = None
    """name of a group of trials, for [expect] and --set-of"""
    from_: str | None = None
    """"baseline" or the name of another trial: where to take the values that params leave out"""
    params: dict[str, ParamValue] = field(default_factory=dict)
    """values of parameters; they may lie between or outside the values of [space], but must satisfy the constraints"""
    note: str | None = None
    """why you try it; stored with the trial"""


@dataclass(frozen=True, kw_only=True)
class Expectation(Table):
    """``[expect]``: what you expect to find, checked against the results."""

    if_: str
    """an expression over the names of trials and sets, best, baseline and elites"""
    then: str | None = None
    """what you will do if it is true"""


@dataclass(frozen=True, kw_only=True)
class Previous(Table):
    """``[previous]``: where this sweep comes from. The command that wrote it fills it in; nothing that runs depends on
    it."""

    study: Annotated[
        tuple[Annotated[str, Limits(min_length=1)], ...], Limits(min_length=1), Through(as_tuple, "before")
    ]
    """names of the studies that it continues, the last one first"""
    share: Annotated[Number, Limits(ge=0, le=1)] = 0.0
    """share of the trials that run in the earlier space, as [[trial]]s of the set old_space"""
    space: dict[str, Any] = field(default_factory=dict)
    """earlier declarations of the parameters that changed; put into [space], they undo the changes"""
    by: Literal["refine", "propose", "confirm", "transfer"] | None = None
    """the command that wrote this sweep"""
    trials: dict[str, Annotated[int, Limits(ge=0, strict=True)]] = field(default_factory=dict)
    """by name of a [[trial]]: the number of the trial of that study that it repeats"""
    values: dict[str, Number] = field(default_factory=dict)
    """by name of a [[trial]]: the metric by which that trial was chosen"""
    left_out: dict[str, str] = field(default_factory=dict)
    """by name of a [[trial]] of another budget: why it cannot run in this one"""
    decisions: Annotated[str, Limits(pattern=r"^[^/\\]+\.json$")] | None = None
    """name of the file beside this one with what was predicted of these trials; ``hpo-batch ledger`` scores it"""
    digest: Annotated[str, Limits(pattern="^[0-9a-f]{64}$")] | None = None
    """SHA-256 of that file: a prediction that is changed later is not scored"""


@dataclass(frozen=True, kw_only=True)
class Failures(Table):
    """``[failures]``: for each reason, whether the trial gets another attempt ("retry") or fails ("fail")."""

    exception: Policy = "fail"
    """the objective raised an exception"""
    exit_code: Policy = "fail"
    """the command ended with an exit code other than 0 and 75, or was killed"""
    nan: Policy = "fail"
    """the objective is NaN or infinite"""
    no_result: Policy = "fail"
    """the objective returned no metric"""
    oom_gpu: Policy = "fail"
    """out of GPU memory"""
    oom_host: Policy = "fail"
    """out of memory: MemoryError in Python, or the kernel killed the command"""
    time_limit: Policy = "fail"
    """the time limit ended two attempts that had the full walltime and saved nothing; "retry": max_attempts of them"""
    lost: Policy = "retry"
    """the worker died without reporting anything"""
    stalled: Policy = "fail"
    """no progress for the time set by stall"""
    invalid: Policy = "fail"
    """the result has the wrong type, or the objective cannot be loaded"""
    stop_after: Annotated[int, Limits(ge=1, strict=True)] = 5
    """number of failures in a row, for the same reason and over all workers, that stops the sweep; for mixed reasons,
    three times as many if nothing has finished; running trials that began before the newest failure raise the number"""
    stall: Seconds | None = None
    """end an attempt that reports nothing and changes no checkpoint for so long; default: never"""

    def policy(self, reason: Reason) -> Policy:
        # the keys of [failures] are the values of Reason
        policy: Policy = getattr(self, reason.value)
        return policy


@dataclass(frozen=True, kw_only=True)
class Job(Table):
    """``[job]``: resources to request from SLURM, or to use on this machine. Templates hold the same keys."""

    template: str | None = None
    """a file in ./job_templates, or one that comes with hpo-batch: a100, a100-shared, cpu, local; default: local, where
    there is no SLURM"""
    scheduler: SchedulerName = "slurm"
    """set by templates only"""
    workers: Annotated[int, Limits(ge=1, le=100_000, strict=True)] = 1
    """number of workers: processes that run trials until none is left; an array task runs one, unless workers_per_gpu
    says otherwise"""
    workers_per_gpu: Annotated[int, Limits(ge=1, le=64, strict=True)] | None = None
    """number of workers that share each GPU of an array task; default: one worker per array task, with all its GPUs"""
    fuse: Annotated[Literal["auto"] | int | None, Through(fused_trials, "before")] = None
    """number of trials of one shape that a worker trains together, by the objective's train_many; "auto": 16 if it has
    one; default: one at a time"""
    fork: Flag = True
    """workers of one array task are forked from a process that has imported the objective's function, where that is
    safe; false: each imports it"""
    mps: Flag = False
    """share GPUs through an MPS daemon, one for each array task"""
    nodes: Annotated[int, Limits(ge=1, le=4096, strict=True)] = 1
    """number of nodes for each worker; a trial runs on all of them at once"""
    tasks_per_node: Annotated[int, Limits(ge=1, le=256, strict=True)] = 1
    """number of processes (ranks of one trial) that srun starts on each node of a worker, usually one per GPU"""
    walltime: Seconds = 3600.0
    """time limit of each array task"""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """"auto": the allocated GPU, or else the CPU; "cuda": fail without a GPU"""
    cpus: Annotated[int, Limits(ge=1, le=1024, strict=True)] = 1
    """CPUs for each process (a worker, or a rank of one); also sets the number of torch's threads"""
    mem_gb: Annotated[Number, Limits(gt=0)] | None = None
    """memory for each process in GB, as with cpus; default: that of the partition"""
    gpu_mem_gb: Annotated[Number, Limits(gt=0)] | None = None
    """memory in GB that must be free on each GPU of a worker before it starts a trial; default: nothing is checked"""
    gres: str | None = None
    """generic resources on each node, such as "gpu:a100:1" or "gpu:a100_3g.20gb:1\""""
    gpus_per_node: str | None = None
    """such as "a100:1", for sites that do not take --gres"""
    partition: str | None = None
    """partition; default: that of the site"""
    account: str | None = None
    """account to charge"""
    qos: str | None = None
    """quality of service"""
    constraint: str | None = None
    """features that the nodes must have"""
    exclude: str | None = None
    """nodes not to use"""
    nodelist: str | None = None
    """nodes to use"""
    reservation: str | None = None
    """name of a reservation"""
    dependency: str | None = None
    """such as "afterok:1234" """
    max_running: Annotated[int, Limits(ge=1, strict=True)] | None = None
    """how many array tasks may run at once"""
    signal_lead_s: Annotated[int, Limits(ge=10, le=3600, strict=True)] = 180
    """seconds before the time limit at which SLURM signals the worker; SLURM may be up to 60 s early"""
    grace_s: Annotated[Number, Limits(ge=1, le=86400)] = 30.0
    """seconds that the site allows between SIGTERM (preemption, scancel) and SIGKILL: GraceTime, or else KillWait"""
    setup: tuple[str, ...] = ()
    """shell lines to run before the worker starts, such as module load or conda activate"""
    python: str | None = None
    """command that starts Python on the nodes; default: the Python that runs submit"""
    srun: Flag = True
    """start the worker with srun in the batch script"""
    srun_args: tuple[str, ...] = ()
    """more options for srun, such as those of a container"""
    sbatch: dict[str, SbatchValue] = field(default_factory=dict)
    """more options for sbatch, by their long names"""
    collect: Flag = False
    """submit a small job (template "collector") that runs after the workers and writes results/trials.csv"""
    auto_resume: Annotated[int, Limits(ge=0, le=1000, strict=True)] = 0
    """how often in a row that job may submit unfinished work again; never after a cancel, or when everything failed"""

    @property
    def is_local(self) -> bool:
        """Whether workers are processes of this machine, not jobs of a batch scheduler."""
        return self.scheduler == "local"

    @property
    def fused(self) -> int:
        """Trials that a worker trains together, if its objective can."""
        return AUTO_FUSE if self.fuse == "auto" else self.fuse or 1

    @property
    def ranks(self) -> int:
        """Number of processes that train one trial together."""
        return self.nodes * self.tasks_per_node


@dataclass(frozen=True, kw_only=True)
class Sweep(Table):
    """A complete sweep, for one ``[[budget]]`` or a file without budgets."""

    study: Study
    objective: Objective
    metrics: dict[str, ExpressionText] = field(default_factory=dict)
    """metrics to compute from others, each as name = "expression\""""
    space_table: dict[str, Any] = field(default_factory=dict)
    """parameters: a value (fixed), a list (choices) or a table; see docs/sweep-toml.md"""
    sampler: Sampler = Sampler()
    pruner: Pruner = Pruner()
    baseline: dict[str, ParamValue] | None = None
    """a configuration to compare with: it runs as a trial, and reports compare the best ones to it"""
    trial: tuple[PlannedTrial, ...] = ()
    expect: dict[str, str | Expectation] = field(default_factory=dict)
    previous: Previous | None = None
    failures: Failures = Failures()
    job: Job = Job()
    budget: str | None = None
    """label of the budget that this sweep comes from"""

    @cached_property
    def space(self) -> Space:
        """The search space, which ``load`` has validated."""
        space, problems = build(self.space_table, with_n_params=self.objective.n_params is not None)
        assert not problems, problems
        return space

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters in ``[space]``, including invalid ones."""
        return tuple(name for name in self.space_table if name not in RESERVED)

    @property
    def declared_names(self) -> tuple[str, ...]:
        """Names of parameters and derived values."""
        derived = self.space_table.get("derived", {})
        return (*self.parameter_names, *(derived if isinstance(derived, Mapping) else ()))

    @property
    def path(self) -> str:
        """Folder of the study in the logs directory; for a budget, a folder within that of the sweep."""
        return self.study.name if self.budget is None else f"{self.study.name}/{self.budget}"

    def to_json(self) -> str:
        """The frozen revision as JSON."""
        return dump_json(to_raw(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Sweep:
        """Read a frozen revision; raises ValueError with the unknown or invalid keys."""
        return from_raw(cls, json.loads(text))
