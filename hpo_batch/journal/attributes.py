"""The system attributes ``hpo:*`` of hpo-batch in an Optuna journal: their names, and the typed facts they hold.

The only module that spells the names. Every reader (records, columns, intervals) decodes them into the types below, so
that all of them call the same journal sound.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, TypeAlias, TypeGuard, TypeVar

import msgspec

from hpo_batch.files import loads

PREFIX: Final = "hpo:"

# Attributes of the study.
FORMAT_MARK: Final = "hpo:format"
REVISION: Final = "hpo:revision"
METRICS: Final = "hpo:metrics"
ARMED: Final = "hpo:armed"
"""written by each submission: the breaker counts the failures after it"""
IMPORTED: Final = "hpo:imported"
"""the file with the trials of other studies that ``[study] import`` names"""
ADOPTED: Final = "hpo:adopted"
"""the files that ``hpo-batch import`` made the study from"""

# Attributes of a trial.
FACTS: Final = "hpo:trial"
SAMPLER: Final = "hpo:sampler"
FAILURE: Final = "hpo:failure"
REPLICATES: Final = "hpo:replicates"
"""a user attribute: the metrics of each seed of a complete trial that has several"""
ATTEMPT: Final = "hpo:attempt:"
ENDED: Final = "hpo:ended:"

# Attributes of Optuna's that we read.
METRIC_NAMES: Final = "study:metric_names"
FAIL_REASON: Final = "fail_reason"
"""why plain Optuna let a trial fail"""

MAX_INTEGER: Final = 2**1023
"""a larger integer is no float"""
MAX_TIME_S: Final = 1e11
"""the year 5138: ``datetime`` ends with the year 9999"""
MAX_ATTEMPTS: Final = 100_000
"""a trial that is preempted every minute has as many in ten weeks; readers ask for each number"""

Moment: TypeAlias = Annotated[float, msgspec.Meta(gt=-MAX_TIME_S, lt=MAX_TIME_S)]
"""seconds since the epoch"""


def attempt_attr(attempt: int) -> str:
    """Name of the attribute that says who runs an attempt (``AttemptFacts``)."""
    return f"{ATTEMPT}{attempt}"


def ended_attr(attempt: int) -> str:
    """Name of the attribute that says how an attempt ended (``AttemptEnd``)."""
    return f"{ENDED}{attempt}"


def attempt_number(name: str) -> int:
    """The number in ``hpo:attempt:N``.

    Raises:
        ValueError: there is none, or it is too large to be one.
    """
    number = int(name.removeprefix(ATTEMPT))
    if not 0 <= number <= MAX_ATTEMPTS:
        raise ValueError(f"attempt {number}")
    return number


def is_ours(name: str) -> bool:
    """Whether hpo-batch, and not Optuna or a sampler, wrote the attribute of this name."""
    return name.startswith(PREFIX)


class RevisionFacts(msgspec.Struct, frozen=True, gc=False):
    """``hpo:revision``: which frozen sweep counts, and how many trials it asks for."""

    number: Annotated[int, msgspec.Meta(ge=0, le=10**9)]
    target: Annotated[int, msgspec.Meta(ge=0, le=10**12)]
    digest: str
    """SHA-256 of the file ``sweep.N.json``"""


class TrialFacts(msgspec.Struct, frozen=True, gc=False):
    """``hpo:trial``, written when the trial was made."""

    key: str | None = None
    seeds: list[int] = []
    origin: str = "optuna"
    name: str | None = None
    set: str | None = None
    note: str | None = None
    revision: int = 0
    derived: dict[str, Any] = {}
    replicate_of: int | None = None


class AttemptFacts(msgspec.Struct, frozen=True, gc=False):
    """``hpo:attempt:N``: the worker of an attempt, as far as readers show it."""

    worker: str
    job: str
    host: str
    started: Moment
    gpus: list[str] = []
    gpu_count: float | None = None
    submission: str = ""

    @property
    def gpus_held(self) -> float:
        """GPUs of all its ranks; 1/k of one that k workers share."""
        return len(self.gpus) if self.gpu_count is None else self.gpu_count


class AttemptEnd(msgspec.Struct, frozen=True, gc=False):
    """``hpo:ended:N``."""

    how: str = ""
    time: Moment | None = None
    moved: bool = False


class Failure(msgspec.Struct, frozen=True, gc=False):
    """``hpo:failure``: why the trial failed for good."""

    reason: str = "unknown"
    message: str | None = None


STUDY_TYPES: Final[dict[str, Any]] = {
    FORMAT_MARK: int,
    METRICS: list[str],
    REVISION: RevisionFacts,
    IMPORTED: dict[str, Any],
    METRIC_NAMES: list[str],
}
"""attributes of a study that readers rely on"""

T = TypeVar("T")
EMPTY: Final = b"{}"


def decode_all(parts: list[bytes], kind: type[T]) -> list[T]:
    """Decode one attribute of many trials in one call, which takes a third of the time of single calls.

    Raises:
        ValueError, TypeError: one of them does not have this type.
    """
    try:
        return msgspec.json.decode(b"[" + b",".join(parts) + b"]", type=list[kind])  # type: ignore[valid-type]
    except (msgspec.DecodeError, RecursionError):
        # plain Optuna writes NaN and Infinity, which are not JSON
        return [msgspec.convert(loads(part), kind, strict=False) for part in parts]


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is finite, and no integer that no float holds."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and -MAX_INTEGER < value < MAX_INTEGER
