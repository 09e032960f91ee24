"""The types that cross the borders between layers: configurations, claims, outcomes, trials as read, counts.

Plain frozen values without behaviour beyond what follows from their fields. Nothing here reads or writes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum, StrEnum
from functools import cached_property
from typing import TypeAlias

Value: TypeAlias = bool | int | float | str
"""What a parameter may be. Lists and tables are not values."""


class TrialState(Enum):
    """Optuna's five states, with Optuna's numbers."""

    RUNNING = 0
    COMPLETE = 1
    PRUNED = 2
    FAIL = 3
    WAITING = 4

    ended: bool
    finished: bool
    """Counts towards the target. A failed trial has ended, but is not finished."""

    def __init__(self, number: int) -> None:
        # plain attributes, and below the hash of any object: a replay asks for them several times per trial
        self.ended = number in (1, 2, 3)
        self.finished = number in (1, 2)

    __hash__ = object.__hash__


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The active parameters of a trial: searched, fixed and derived. Equal keys mean equal training runs."""

    searched: Mapping[str, Value]
    fixed: Mapping[str, Value]
    derived: Mapping[str, Value] = field(default_factory=dict)

    @cached_property
    def values(self) -> dict[str, Value]:
        """All of them by name: what user code is given."""
        return {**self.fixed, **self.searched, **self.derived}

    @cached_property
    def key(self) -> str:
        """Identity of the configuration everywhere: a digest of the active values, whatever their order.

        ``repr`` of a float is exact, and JSON keeps ``1``, ``1.0`` and ``true`` apart, which Python's ``==`` does not.
        """
        text = json.dumps({**self.fixed, **self.searched}, sort_keys=True, ensure_ascii=False)
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
    """the result has the wrong type, or the objective could not be loaded"""


class Cause(StrEnum):
    """Why an attempt was given back, in order and without failing."""

    TIME_LIMIT = "time_limit"
    PREEMPTED = "preempted"
    DRAINED = "drained"
    CANCELLED = "cancelled"
    CHECKPOINTED = "checkpointed"
    """the command ended with exit code 75: continue me later"""
    STORAGE = "storage"
    """the files of the attempt could not be written, such as on a full disk"""


class Stopping(StrEnum):
    """Why ``Trial.should_stop`` says yes."""

    PRUNED = "pruned"
    TIME_LIMIT = "time_limit"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    DRAINED = "drained"
    STALLED = "stalled"
    SUPERSEDED = "superseded"


class Verdict(Enum):
    """What ``Study.report`` answers."""

    CONTINUE = "continue"
    PRUNE = "prune"
    SUPERSEDED = "superseded"


class IdleWhy(StrEnum):
    """Why a claim was not granted."""

    TARGET_MET = "target met"
    IN_FLIGHT = "the rest is running"
    SPACE_USED_UP = "every configuration of the space has been tried"
    NO_TIME = "no trial fits into the time that is left"
    CANCELLED = "cancelled"
    DRAINING = "draining"
    TRIPPED = "too many failures"
    BAD_NODE = "trials fail on this node and do well on others"


@dataclass(frozen=True, kw_only=True)
class Idle:
    why: IdleWhy
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The worker behind a claim: enough to tell, on its own host, whether it is still there."""

    worker: str
    """unique name; also the name of its lease"""
    job: str
    """SLURM's ``A_i``, or ``local``"""
    host: str
    pid: int
    start: int
    """clock ticks after boot at which the process started: a recycled pid has another"""
    boot: str
    pid_ns: str = ""
    """PID namespace in which ``pid`` is its number; empty in studies of before 0.2"""
    gpus: tuple[str, ...] = ()
    """that its process sees; of several ranks the first one's"""
    gpu_count: float | None = None
    """that it holds: of all its ranks, on all nodes; 1/k of one that k workers share. None: as many as it sees"""
    submission: str = ""

    @cached_property
    def facts(self) -> dict[str, object]:
        """The fields by name, as they are stored."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right of one worker to run one attempt of one trial."""

    number: int
    attempt: int
    token: str
    configuration: Configuration
    seeds: tuple[int, ...]
    origin: str
    """where the configuration came from: ``list``, ``baseline``, ``extreme: min d_model``, ``tpe`` ..."""
    name: str | None = None
    resumes: int | None = None
    """the attempt whose checkpoint this one continues from"""


@dataclass(frozen=True, kw_only=True)
class CommandEnd:
    """How the process of a command ended."""

    argv: tuple[str, ...]
    exit_code: int | None
    """None if a signal ended it"""
    signal: int | None
    stopped: str | None
    """why it was told to stop; None if it was not"""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Complete:
    values: tuple[float, ...]
    metrics: Mapping[str, float]
    replicates: tuple[Mapping[str, float], ...] = ()
    """of a trial with several seeds: the metrics of each, in their order; values and metrics above are the means"""
    command: CommandEnd | None = field(default=None, compare=False, repr=False)
    """for the record, as in all of these: what follows from it is decided already"""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    step: int
    metrics: Mapping[str, float]
    command: CommandEnd | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Failed:
    reason: Reason
    message: str
    traceback: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    command: CommandEnd | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class GivenBack:
    """Not an outcome: the attempt ended in order, the trial goes on later."""

    cause: Cause
    command: CommandEnd | None = field(default=None, compare=False, repr=False)


Outcome: TypeAlias = Complete | Pruned | Failed


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One run of a trial by one worker, as the journal tells it."""

    number: int
    worker: str
    job: str
    host: str
    gpus: tuple[str, ...]
    """that its worker saw; of several ranks the first one's"""
    submission: str
    started: float
    """seconds since the epoch"""
    ended: float | None = None
    ending: str = ""
    """``complete``, ``pruned``, a ``Reason`` or a ``Cause``; empty while it runs"""
    gpu_count: float = 0
    """that its worker held: of all its ranks, on all nodes; 1/k of one that k workers shared"""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial as the journal tells it."""

    number: int
    state: TrialState
    values: tuple[float, ...] | None
    params: Mapping[str, Value]
    """all active parameters, fixed and derived ones included"""
    metrics: Mapping[str, float]
    steps: Mapping[int, float]
    """the objective's metric by step, as reported"""
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
    """of a complete trial with several seeds: the metrics of each"""
    replicate_of: int | None = None
    """the trial whose configuration this one repeats with another seed"""

    @property
    def seconds_total(self) -> float | None:
        """Time of all ended attempts together; None before the first has ended."""
        spans = [a.ended - a.started for a in self.attempts if a.ended is not None]
        return sum(spans) if spans else None


@dataclass(frozen=True, kw_only=True)
class ImportedTrial:
    """A finished trial of another study, as samplers are shown it. It is no trial of the study that imports it."""

    study: str
    number: int
    state: TrialState
    params: Mapping[str, Value]
    """searched and fixed values, as they were stored"""
    values: tuple[float, ...]
    """of this study's metrics; of a pruned trial what it reported last"""
    step: int | None = None
    """of a pruned trial: when that was"""
    is_whole: bool = True
    """False if plain Optuna made it, which knows nothing of fixed parameters"""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Trials of a study by state, beside the number wanted."""

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
        """Trials still to be finished, those now running included."""
        return max(0, self.target - self.finished)

    @property
    def progress(self) -> str:
        """``12 of 30``; ``12`` where no number is wanted, as in a study that plain Optuna began."""
        return f"{self.finished} of {self.target}" if self.target else str(self.finished)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something wrong in a description that a person wrote, before it is known in which file and line it stands."""

    key: tuple[str | int, ...]
    """path to the offending key, as in the TOML: ``("space", "lr", "low")``"""
    message: str
    allowed: str = ""
    guess: str = ""
    """nearest known name"""


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """A number that a float can hold. Integers of a TOML file may be larger than any float."""
    return isinstance(value, int | float) and is_number(value) and abs(value) <= sys.float_info.max


class Answer(StrEnum):
    YES = "yes"
    NO = "no"
    CANNOT_TELL = "cannot tell"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its uncertainty."""

    value: float
    low: float | None
    high: float | None
    method: str
    """how value and interval came about, in words for a reader"""
    n: int
    """trials that it rests on"""
    level: float = 0.95
