"""Every key that a sweep file may hold, as frozen tables: read this file as the reference of the TOML.

``load`` fills the tables and reports the mistakes. A ``Sweep`` is complete by itself: templates merged, budgets
unfolded, planned trials resolved. Its JSON is the frozen revision that workers read.
"""

from __future__ import annotations

import json
import keyword
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from hpo_batch.errors import ExpressionError, UserError
from hpo_batch.expressions import parse
from hpo_batch.files import dump_json
from hpo_batch.records import Reason, Value, is_finite
from hpo_batch.space.build import RESERVED, build
from hpo_batch.space.declaration import why_no_value
from hpo_batch.space.space import Space
from hpo_batch.sweep.samplers import Capabilities, capabilities_of
from hpo_batch.sweep.tables import Limits, Table, Through, from_raw, to_raw
from hpo_batch.sweep.walltime import format_walltime, parse_walltime
from hpo_batch.text.values import shown

PRUNERS = ("none", "median", "percentile", "asha", "hyperband", "patient", "threshold", "wilcoxon")
ENTRY = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"
KEPT_NAMES = ("baseline", "best", "elites")
"""what [expect] may name beside trials and sets"""
MOST_NESTED = 20


def study_name(name: str) -> str:
    """A study's name is a folder and an argument: digits only would be a trial, 1-3 trials, x.toml a sweep file.

    Raises:
        ValueError: it cannot be one.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", name) or re.fullmatch(r"[0-9-]+", name):
        rules = "use at most 100 of a-z 0-9 . _ -, begin with a letter or digit, not only digits"
        raise ValueError(f"{shown(name)} cannot be a study's name: {rules}")
    if name.endswith(".toml"):
        raise ValueError(f"'{name}' cannot be a study's name: it would be taken for a sweep file")
    return name


def _trial_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w{0,99}", name, flags=re.ASCII) or keyword.iskeyword(name):
        raise ValueError(f"{shown(name)} is not an identifier (letters, digits and _, no keyword of Python)")
    if name in KEPT_NAMES:
        raise ValueError(f"'{name}' has a meaning of its own in [expect] and cannot be a trial's name")
    return name


def _command(command: object) -> object:
    """A command can be split and is not empty; what is in its braces is judged by ``objective``."""
    if isinstance(command, list | tuple) and all(isinstance(word, str) for word in command):
        words = list(command)
    elif isinstance(command, str):
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ValueError(f"the command cannot be split: {error}; write it as a list of arguments") from error
    else:
        raise ValueError(f"a command is a text or a list of texts, not {shown(command)}")
    if not words or not words[0].strip():
        raise ValueError("the command is empty")
    return command


def _value(value: object) -> object:
    reason = why_no_value(value)
    if reason:
        raise ValueError(f"{shown(value)}: {reason}")
    return value


def _sbatch_value(value: object) -> object:
    if not isinstance(value, str | int):
        raise ValueError(f"an option of sbatch is a text, an integer, true or false, not {shown(value)}")
    return value


def _option(value: object, depth: int = 0) -> object:
    """What JSON can hold, so that the frozen sweep says the same as the file."""
    if isinstance(value, bool | str) or value is None or is_finite(value):
        return value
    if depth < MOST_NESTED and isinstance(value, Mapping):
        return {key: _option(inner, depth + 1) for key, inner in value.items()}
    if depth < MOST_NESTED and isinstance(value, list | tuple):
        return [_option(inner, depth + 1) for inner in value]
    raise ValueError(
        f"an option is a finite number, a text, true, false, a list or a table of these, not {shown(value)}"
    )


def _expression(text: str) -> str:
    try:
        parse(text)
    except ExpressionError as error:
        raise ValueError(str(error)) from error
    return text


def _seconds(value: object) -> float | None:
    try:
        return parse_walltime(value)
    except UserError as error:
        raise ValueError(str(error)) from error


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


ExpressionText = Annotated[str, Through(_expression, "after")]
Seconds = Annotated[float, Through(_seconds, "before", spelled=format_walltime)]
"""a duration in SLURM's spellings: "4:00:00", "1-12", "240" (minutes)"""
ParamValue = Annotated[Value, Through(_value, "instead")]
SbatchValue = Annotated[str | int | bool, Through(_sbatch_value, "instead")]
# a value of another type is a mistake, not something to convert: "no" would become false, true would become 1.0
Flag = Annotated[bool, Limits(strict=True)]
Number = Annotated[float, Limits(strict=True)]
Options = Annotated[dict[str, Any], Through(_option, "after")]
Policy = Literal["retry", "fail"]
Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True, kw_only=True)
class Study(Table):
    """``[study]``: what is wanted, and how the study is kept."""

    name: Annotated[str, Through(study_name, "after")]
    """name of the study and of its folder: a-z 0-9 . _ -, not only digits"""
    metric: Annotated[
        tuple[Annotated[str, Limits(min_length=1)], ...], Limits(min_length=1), Through(_as_tuple, "before")
    ]
    """the returned metric to optimise, or a name of [metrics]; a list for several"""
    direction: Annotated[tuple[Direction, ...], Through(_as_tuple, "before")]
    """"minimize" or "maximize"; as many as metrics"""
    trials: Annotated[int, Limits(ge=1, le=10_000_000, strict=True)] | None = None
    """finished (complete + pruned) trials wanted, over all workers and submissions; a grid or list may leave it out"""
    replicates: Annotated[int, Limits(ge=1, le=100, strict=True)] = 1
    """seeds each trial is trained with, one after the other; its value is their mean, the first one decides pruning"""
    import_: Annotated[tuple[Annotated[str, Limits(min_length=1)], ...], Through(_as_tuple, "before")] = ()
    """names or directories of other studies: history for the sampler, not trials of this study"""
    max_attempts: Annotated[int, Limits(ge=1, le=100, strict=True)] = 3
    """attempts of a trial that may fail or be lost; one that saved a newer checkpoint does not count"""
    max_failed: Annotated[int, Limits(ge=1, strict=True)] | None = None
    """failed trials after which the sweep stops; left out: as many as trials, and at least stop_after"""
    keep_checkpoints: Literal["unfinished", "all"] = "unfinished"
    """whether the checkpoints of trials that have ended are kept"""
    lease_s: Annotated[Number, Limits(ge=1, le=3600)] = 60.0
    """seconds without a sign of life after which other workers take a worker on another host for dead"""
    shared: Flag = False
    """files 0660, directories 2770: the directory's group may run workers, submit, cancel, and so run code as you"""


@dataclass(frozen=True, kw_only=True)
class Objective(Table):
    """``[objective]``: the user's code, a function or a command."""

    function: Annotated[str, Limits(pattern=ENTRY)] | None = None
    """"package.module:function", called with one Trial; returns a float or a dict of metrics"""
    command: Annotated[str | tuple[str, ...] | None, Through(_command, "before")] = None
    """a command line with placeholders {name} {args} {hyphen_args} {overrides} {params_json} {trial_dir}; no shell"""
    n_params: Annotated[str, Limits(pattern=ENTRY)] | None = None
    """"package.module:function" that counts a model's parameters from a configuration, without torch"""
    cwd: str | None = None
    """working directory; a relative one, and none, start where submit was called"""
    env: dict[str, str] = field(default_factory=dict)
    """environment variables of the objective"""
    snapshot: Flag = False
    """run from a copy of the code kept in the study"""


@dataclass(frozen=True, kw_only=True)
class Sampler(Table):
    """``[sampler]``: who proposes configurations."""

    name: str = "tpe"
    """tpe, random, grid (every valid cell once), qmc (one Sobol' sequence), gp, cmaes, nsga2, list (the [[trial]]s
    only), or "package.module:class" of a sampler of Optuna's kind"""
    seed: Annotated[int, Limits(ge=0, le=2**32 - 1, strict=True)] = 0
    """all randomness of the search and of the trials' seeds comes from it"""
    startup_trials: Annotated[int, Limits(ge=1, strict=True)] = 5
    """finished trials (extremes and planned ones count) before tpe, gp or cmaes model anything; random until then"""
    extremes: tuple[str, ...] = ()
    """parameters whose smallest and largest value are tried first, the others at the middle"""
    coverage: tuple[str, ...] = ()
    """parameters whose cells are counted as architecture, and preferred while untried"""
    coverage_share: Annotated[Number, Limits(ge=0, le=1)] = 0.0
    """share of the trials that go to cells of the coverage parameters not tried yet"""
    duplicates: Literal["skip", "replicate"] = "skip"
    """"skip": a configuration is never trained twice; "replicate": a repeat becomes a trial with another seed"""
    options: Options = field(default_factory=dict)
    """of the sampler, such as n_ei_candidates; a class of your own is called with them"""

    @property
    def capabilities(self) -> Capabilities:
        return capabilities_of(self.name)


@dataclass(frozen=True, kw_only=True)
class Pruner(Table):
    """``[pruner]``: who ends bad trials early."""

    name: Literal["none", "median", "percentile", "asha", "hyperband", "patient", "threshold", "wilcoxon"] = "none"
    """none, median, percentile, asha (successive halving), hyperband, patient, threshold or wilcoxon"""
    first_rung: Annotated[int, Limits(ge=1, strict=True)] = 3
    """steps before the first decision; to wilcoxon, whose steps are names of instances, so many of them"""
    around: Literal["median", "percentile", "asha", "hyperband", "threshold"] | None = None
    """of patient: the pruner that decides once there was no progress; left out: no progress is enough"""
    options: Options = field(default_factory=dict)
    """of the pruner, such as reduction_factor; patient's own (patience, min_delta) beside those of the one around"""


@dataclass(frozen=True, kw_only=True)
class PlannedTrial(Table):
    """``[[trial]]``: a configuration given by hand, run before anything is drawn."""

    name: Annotated[str, Through(_trial_name, "after")]
    """an identifier, unique in the sweep"""
    set: str | None = None
    """name of the group it belongs to"""
    from_: str | None = None
    """"baseline" or another trial's name: supplies what params leave out"""
    params: dict[str, ParamValue] = field(default_factory=dict)
    """may lie between or beyond the values of [space]; constraints hold"""
    note: str | None = None
    """why it is tried; kept with the trial"""


@dataclass(frozen=True, kw_only=True)
class Expectation(Table):
    if_: str
    """an expression over trials, sets, best, baseline, elites"""
    then: str | None = None
    """what to do if it holds"""


@dataclass(frozen=True, kw_only=True)
class Failures(Table):
    """``[failures]``: per reason, whether a trial gets another attempt or fails."""

    exception: Policy = "fail"
    """the objective raised"""
    exit_code: Policy = "fail"
    """the command ended with another exit code than 0 and 75, or was killed"""
    nan: Policy = "fail"
    """the objective is NaN or infinite"""
    no_result: Policy = "fail"
    """the metric did not come"""
    oom_gpu: Policy = "fail"
    """out of GPU memory"""
    oom_host: Policy = "fail"
    """out of memory: Python's MemoryError, or the command was killed by the kernel for it"""
    time_limit: Policy = "fail"
    """the limit has ended two attempts that had the whole walltime and saved nothing; "retry": max_attempts of them"""
    lost: Policy = "retry"
    """the worker died without a word"""
    stalled: Policy = "fail"
    """no sign of progress for as long as stall says"""
    invalid: Policy = "fail"
    """the result has the wrong type, or the objective cannot be loaded"""
    stop_after: Annotated[int, Limits(ge=1, strict=True)] = 5
    """failures in a row for the same reason, over all workers, after which the sweep stops; three times as many for any
    reasons if nothing has finished; one more for each running trial that was begun before the newest of them"""
    stall: Seconds | None = None
    """an attempt is ended after so long without a report and without a change of its checkpoint; left out: never"""

    def policy(self, reason: Reason) -> Policy:
        policy: Policy = getattr(self, reason.value)
        return policy


@dataclass(frozen=True, kw_only=True)
class Job(Table):
    """``[job]``: what is asked of SLURM, or of this machine. A template holds the same keys and no others."""

    template: str | None = None
    """a file of ./job_templates or of ours: a100, a100-shared, cpu, local; left out: local, if there is no SLURM"""
    scheduler: Literal["slurm", "local"] = "slurm"
    """set by templates"""
    workers: Annotated[int, Limits(ge=1, le=100_000, strict=True)] = 1
    """processes that pull trials until none is left; an array task holds one, or as many as workers_per_gpu says"""
    workers_per_gpu: Annotated[int, Limits(ge=1, le=64, strict=True)] | None = None
    """so many workers on each GPU of an array task, each with that GPU alone; left out: one worker per array task, with
    all its GPUs"""
    mps: Flag = False
    """workers that share GPUs do so under an MPS daemon of their array task's own"""
    nodes: Annotated[int, Limits(ge=1, le=4096, strict=True)] = 1
    """nodes of each worker: a trial runs on all of them at once"""
    tasks_per_node: Annotated[int, Limits(ge=1, le=256, strict=True)] = 1
    """processes of each worker on each of its nodes, started by srun: ranks of one trial, as a rule one for each GPU"""
    walltime: Seconds = 3600.0
    """limit of each array task"""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """"auto": the GPU that was allocated, else the CPU; "cuda": no GPU is an error"""
    cpus: Annotated[int, Limits(ge=1, le=1024, strict=True)] = 1
    """CPUs of each process: of each worker, or of each of its ranks; torch's threads follow it"""
    mem_gb: Annotated[Number, Limits(gt=0)] | None = None
    """memory of each process, as with cpus; left out: the partition's default"""
    gres: str | None = None
    """of each node of an array task: "gpu:a100:1", "gpu:a100_3g.20gb:1" ..."""
    gpus_per_node: str | None = None
    """"a100:1", for sites without --gres"""
    partition: str | None = None
    """left out: the site's default"""
    account: str | None = None
    """whom the time is charged to"""
    qos: str | None = None
    """quality of service"""
    constraint: str | None = None
    """features that nodes must have"""
    exclude: str | None = None
    """nodes not to use"""
    nodelist: str | None = None
    """nodes to use"""
    reservation: str | None = None
    """name of a reservation"""
    dependency: str | None = None
    """such as "afterok:1234" """
    max_running: Annotated[int, Limits(ge=1, strict=True)] | None = None
    """array throttle: tasks that run at once"""
    signal_lead_s: Annotated[int, Limits(ge=10, le=3600, strict=True)] = 180
    """seconds before the limit at which SLURM warns the worker; it may come up to 60 s early"""
    grace_s: Annotated[Number, Limits(ge=1, le=86400)] = 30.0
    """seconds that the site leaves between SIGTERM (preemption, scancel) and SIGKILL: GraceTime, or else KillWait"""
    setup: tuple[str, ...] = ()
    """shell lines before the worker starts: module load, conda activate"""
    python: str | None = None
    """the command that starts Python on the nodes; left out: the Python that submits"""
    srun: Flag = True
    """start the worker by srun inside the batch script"""
    srun_args: tuple[str, ...] = ()
    """further options of srun, such as those of a container"""
    sbatch: dict[str, SbatchValue] = field(default_factory=dict)
    """further sbatch options by their long names"""
    collect: Flag = False
    """a small job after the workers, from template "collector", writes results/trials.csv into the study"""
    auto_resume: Annotated[int, Limits(ge=0, le=1000, strict=True)] = 0
    """how often in a row that job may submit what is left; never after a cancel or a failure of everything"""

    @property
    def ranks(self) -> int:
        """Processes that train one trial together."""
        return self.nodes * self.tasks_per_node


@dataclass(frozen=True, kw_only=True)
class Sweep(Table):
    """A sweep, whole: one for each ``[[budget]]``, or the one of a file without budgets."""

    study: Study
    objective: Objective
    metrics: dict[str, ExpressionText] = field(default_factory=dict)
    """metrics computed from the others"""
    space_table: dict[str, Any] = field(default_factory=dict)
    """parameters: a value (fixed), a list (choices), or a table; see docs/sweep-toml.md"""
    sampler: Sampler = Sampler()
    pruner: Pruner = Pruner()
    baseline: dict[str, ParamValue] | None = None
    """runs with the study, in every comparison"""
    trial: tuple[PlannedTrial, ...] = ()
    expect: dict[str, str | Expectation] = field(default_factory=dict)
    failures: Failures = Failures()
    job: Job = Job()
    budget: str | None = None
    """label of the budget this sweep was unfolded from"""

    @cached_property
    def space(self) -> Space:
        """The search space; ``load`` has made sure that it can be built."""
        space, problems = build(self.space_table, with_n_params=self.objective.n_params is not None)
        assert not problems, problems
        return space

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Parameters by their names in ``[space]``, also those that could not be built."""
        return tuple(name for name in self.space_table if name not in RESERVED)

    @property
    def declared_names(self) -> tuple[str, ...]:
        """Parameters and derived values."""
        derived = self.space_table.get("derived", {})
        return (*self.parameter_names, *(derived if isinstance(derived, Mapping) else ()))

    @property
    def path(self) -> str:
        """Folder of the study below the logs directory: a budget's study is a folder in it."""
        return self.study.name if self.budget is None else f"{self.study.name}/{self.budget}"

    def to_json(self) -> str:
        """The frozen revision."""
        return dump_json(to_raw(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Sweep:
        """Raises ValueError, which names the keys that are unknown or wrong."""
        return from_raw(cls, json.loads(text))
