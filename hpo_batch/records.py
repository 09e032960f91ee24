"""The types shared by all layers: configurations, claims, outcomes, trials and counts. Frozen values without I/O."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import cached_property
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import asdict

Value: TypeAlias = bool | int | float | str
"""Type of a parameter value. Lists and tables are not values."""


class TrialState(Enum):
    """Optuna's trial states, with the same numbers."""

    RUNNING = 0
    COMPLETE = 1
    PRUNED = 2
    FAIL = 3
    WAITING = 4

    ended: bool
    finished: bool
    """counts towards the target; a failed trial has ended, but is not finished"""

    def __init__(self, number: int) -> None:
        # attributes instead of properties, and object's hash instead of Enum's, for speed: a replay uses both several
        # times per trial
        self.ended = number in (1, 2, 3)
        self.finished = number in (1, 2)

    __hash__ = object.__hash__


class Configuration(Struct, frozen=True, kw_only=True, dict=True):
    """The active parameters of a trial: searched, fixed and derived. Trials with equal keys train the same model."""

    searched: Mapping[str, Value]
    fixed: Mapping[str, Value]
    derived: Mapping[str, Value] = {}

    @cached_property
    def values(self) -> dict[str, Value]:
        """All parameters by name, as passed to the user's code."""
        return {**self.fixed, **self.searched, **self.derived}

    @cached_property
    def key(self) -> str:
        """Identity of the configuration: a digest of its searched and fixed values, in any order."""
        import hashlib  # its OpenSSL takes as long to load as these types and the journal's together

        # floats are written exactly (repr), and 1, 1.0 and true differ in JSON, unlike with Python's ==
        text = json.dumps({**self.fixed, **self.searched}, sort_keys=True, ensure_ascii=False)
        # 80 bits: no collision to be expected below a billion configurations
        return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


class Reason(StrEnum):
    """Why an attempt failed. Each has a policy in ``[failures]``: retry or fail."""

    EXCEPTION = "exception"
    EXIT_CODE = "exit_code"
    NAN = "nan"
    NO_RESULT = "no_result"
    OOM_GPU = "oom_gpu"
    OOM_HOST = "oom_host"
    TIME_LIMIT = "time_limit"
    LOST = "lost"
    STALLED = "stalled"
    INVALID = "invalid"
    """the result has the wrong type, or the objective cannot be loaded"""


class Cause(StrEnum):
    """Why an attempt was given back without failing, to be continued later."""

    TIME_LIMIT = "time_limit"
    PREEMPTED = "preempted"
    DRAINED = "drained"
    CANCELLED = "cancelled"
    CHECKPOINTED = "checkpointed"
    """the command ended with exit code 75: "continue later\""""
    STORAGE = "storage"
    """the attempt's files could not be written, for example because the disk is full"""


class Stopping(StrEnum):
    """Why ``Trial.should_stop`` returns True."""

    PRUNED = "pruned"
    TIME_LIMIT = "time_limit"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    DRAINED = "drained"
    STALLED = "stalled"
    SUPERSEDED = "superseded"


class Verdict(Enum):
    """Result of ``Study.report``."""

    CONTINUE = "continue"
    PRUNE = "prune"
    SUPERSEDED = "superseded"


class IdleWhy(StrEnum):
    """Why a worker got no trial."""

    TARGET_MET = "target met"
    IN_FLIGHT = "the rest is running"
    SPACE_USED_UP = "every configuration of the space has been tried"
    NO_TIME = "no trial fits into the time that is left"
    CANCELLED = "cancelled"
    DRAINING = "draining"
    TRIPPED = "too many failures"
    BAD_NODE = "trials fail on this node and do well on others"
    GPU_MEMORY = "too little GPU memory is free"


class Idle(Struct, frozen=True, kw_only=True):
    why: IdleWhy
    detail: str = ""


class Owner(Struct, frozen=True, kw_only=True, dict=True):
    """The worker of a claim, with what its host needs to tell whether it is alive."""

    worker: str
    """unique name; also the name of its lease"""
    job: str
    """SLURM's ``A_i``, or ``local``"""
    host: str
    pid: int
    start: int
    """start time of the process in clock ticks since boot: distinguishes it from a later process with the same pid"""
    boot: str
    pid_ns: str = ""
    """PID namespace of ``pid``; empty in studies from before 0.2"""
    gpus: tuple[str, ...] = ()
    """visible to its process; with several ranks, to rank 0"""
    gpu_count: float | None = None
    """GPUs of all its ranks, on all nodes; 1/k for each of k workers sharing one; None: the number of ``gpus``"""
    submission: str = ""

    @cached_property
    def facts(self) -> dict[str, object]:
        """The fields by name, as stored in the journal."""
        return asdict(self)


class Claim(Struct, frozen=True, kw_only=True):
    """The right of one worker to run one attempt of one trial."""

    number: int
    attempt: int
    token: str
    configuration: Configuration
    seeds: tuple[int, ...]
    origin: str
    """source of the configuration: ``list``, ``baseline``, ``extreme: min d_model``, ``tpe`` ..."""
    name: str | None = None
    resumes: int | None = None
    """number of the attempt whose checkpoint it resumes from"""


class CommandEnd(Struct, frozen=True, kw_only=True):
    """How the process of a command ended."""

    argv: tuple[str, ...]
    exit_code: int | None
    """None if it was killed by a signal"""
    signal: int | None
    stopped: str | None
    """why it was asked to stop; None if it was not"""
    seconds: float


class Usage(Struct, frozen=True, kw_only=True):
    """What an attempt used of its machine. None: unknown, which is not 0."""

    cpu_s: float | None = None
    """CPU seconds of all of its processes"""
    memory_mb: float | None = None
    """largest resident memory of its processes together, in sampled moments (1 MB = 1e6 bytes)"""
    gpu_util: float | None = None
    """percent of the time in which its GPUs were busy, on average"""
    gpu_memory_mb: float | None = None
    """largest memory in use on one of its GPUs, by all processes"""
    gpu_temp_c: float | None = None
    """highest temperature"""
    gpu_power_w: float | None = None
    """average power of one GPU"""
    gpu_throttled: float | None = None
    """share of the samples in which a GPU's clocks were reduced because of heat or power supply"""
    gpu_ecc_errors: float | None = None
    """uncorrected memory errors of its GPUs in this time"""
    first_report_s: float | None = None
    """seconds from its start to its first report: imports, data, model and the first epoch"""

    def known(self) -> dict[str, float]:
        """The fields that are known."""
        return {name: value for name, value in asdict(self).items() if value is not None}


USAGE = Usage.__struct_fields__
"""names of the fields of ``Usage``"""


# outcomes are dataclasses: a Struct cannot leave a field out of comparisons
@dataclass(frozen=True, kw_only=True)
class Complete:
    values: tuple[float, ...]
    metrics: Mapping[str, float]
    replicates: tuple[Mapping[str, float], ...] = ()
    """metrics per seed of a trial with several, in order; ``values`` and ``metrics`` are their means"""
    command: CommandEnd | None = field(default=None, compare=False, repr=False)
    usage: Usage | None = field(default=None, compare=False, repr=False)
    """for information only, as in the other outcomes"""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    step: int
    metrics: Mapping[str, float]
    command: CommandEnd | None = field(default=None, compare=False, repr=False)
    usage: Usage | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Failed:
    reason: Reason
    message: str
    traceback: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    command: CommandEnd | None = field(default=None, compare=False, repr=False)
    usage: Usage | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class GivenBack:
    """Not an outcome: the attempt ended normally, and the trial continues later."""

    cause: Cause
    command: CommandEnd | None = field(default=None, compare=False, repr=False)
    usage: Usage | None = field(default=None, compare=False, repr=False)


Outcome: TypeAlias = Complete | Pruned | Failed


class Attempt(Struct, frozen=True, kw_only=True):
    """One run of a trial by one worker, as recorded in the journal."""

    number: int
    worker: str
    job: str
    host: str
    gpus: tuple[str, ...]
    """visible to its worker; with several ranks, to rank 0"""
    submission: str
    started: float
    """seconds since the epoch"""
    ended: float | None = None
    ending: str = ""
    """``complete``, ``pruned``, a ``Reason`` or a ``Cause``; empty while it runs"""
    gpu_count: float = 0
    """GPUs of all ranks of its worker, on all nodes; 1/k for each of k workers or trials sharing one"""
    fused: int = 1
    """trials that its worker trained together: ``[job] fuse``"""


class TrialRecord(Struct, frozen=True, kw_only=True):
    """One trial, as recorded in the journal."""

    number: int
    state: TrialState
    values: tuple[float, ...] | None
    params: Mapping[str, Value]
    """all active parameters, including fixed and derived ones"""
    metrics: Mapping[str, float]
    steps: Mapping[int, float]
    """reported values of the study's metric, by step"""
    seeds: tuple[int, ...]
    origin: str
    name: str | None
    set: str | None
    note: str | None
    reason: str | None
    message: str | None
    attempts: tuple[Attempt, ...]
    revision: int
    started: float | None
    ended: float | None
    replicates: tuple[Mapping[str, float], ...] = ()
    """metrics per seed of a complete trial with several"""
    replicate_of: int | None = None
    """the trial whose configuration this one repeats with another seed"""


class ImportedTrial(Struct, frozen=True, kw_only=True):
    """A finished trial of another study, for samplers. It is not a trial of the importing study."""

    study: str
    number: int
    state: TrialState
    params: Mapping[str, Value]
    """searched and fixed values, as stored"""
    values: tuple[float, ...]
    """values of this study's metrics; for a pruned trial, the last reported value"""
    step: int | None = None
    """step of that report, for a pruned trial"""
    is_whole: bool = True
    """False for trials of plain Optuna, which have no fixed parameters"""


class Counts(Struct, frozen=True, kw_only=True):
    """Numbers of trials by state, and the target."""

    target: int
    waiting: int = 0
    running: int = 0
    complete: int = 0
    pruned: int = 0
    failed: int = 0

    @property
    def finished(self) -> int:
        return self.complete + self.pruned

    @property
    def remaining(self) -> int:
        """Trials still to finish, including running ones."""
        return max(0, self.target - self.finished)

    @property
    def progress(self) -> str:
        """``12 of 30``; only ``12`` without a target, as in a study created by plain Optuna."""
        return f"{self.finished} of {self.target}" if self.target else str(self.finished)


class Problem(Struct, frozen=True, kw_only=True):
    """A mistake in a user's sweep, before its file and line are determined."""

    key: tuple[str | int, ...]
    """path to the offending key, as in the TOML: ``("space", "lr", "low")``"""
    message: str
    allowed: str = ""
    guess: str = ""
    """similar valid name"""


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """Whether ``value`` is a number that fits into a finite float. TOML integers may be larger."""
    return isinstance(value, int | float) and is_number(value) and abs(value) <= sys.float_info.max


class Answer(StrEnum):
    YES = "yes"
    NO = "no"
    CANNOT_TELL = "cannot tell"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)  # as all that reports print: findings/report_json.py reads its fields
class Estimate:
    """A number with its uncertainty."""

    value: float
    low: float | None
    high: float | None
    method: str
    """how value and interval were computed, in words"""
    n: int
    """number of trials"""
    level: float = 0.95
