"""Names and types of the ``hpo:*`` system attributes that hpo-batch writes to an Optuna journal.

This is the only module that spells the names. All readers (records, columns, intervals) decode into these types, so
they agree on which journals are valid.
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
"""written by each submission: the circuit breaker counts only later failures"""
IMPORTED: Final = "hpo:imported"
"""file with the trials imported from other studies (``[study] import``)"""
ADOPTED: Final = "hpo:adopted"
"""files that ``hpo-batch import`` built the study from"""

# Attributes of a trial.
FACTS: Final = "hpo:trial"
SAMPLER: Final = "hpo:sampler"
FAILURE: Final = "hpo:failure"
REPLICATES: Final = "hpo:replicates"
"""user attribute: metrics per seed of a complete trial with several seeds"""
ATTEMPT: Final = "hpo:attempt:"
ENDED: Final = "hpo:ended:"

# Attributes written by Optuna.
METRIC_NAMES: Final = "study:metric_names"
FAIL_REASON: Final = "fail_reason"
"""why a trial failed, as recorded by plain Optuna"""

MAX_INTEGER: Final = 2**1023
"""integers above this overflow a float"""
MAX_TIME_S: Final = 1e11
"""the year 5138, well before the end of ``datetime`` (9999)"""
MAX_ATTEMPTS: Final = 100_000
"""ten weeks of preemption every minute; readers loop over all attempt numbers"""

Moment: TypeAlias = Annotated[float, msgspec.Meta(gt=-MAX_TIME_S, lt=MAX_TIME_S)]
"""seconds since the epoch"""


def attempt_attr(attempt: int) -> str:
    """Attribute with the worker of an attempt (``AttemptFacts``)."""
    return f"{ATTEMPT}{attempt}"


def ended_attr(attempt: int) -> str:
    """Attribute with the outcome of an attempt (``AttemptEnd``)."""
    return f"{ENDED}{attempt}"


def attempt_number(name: str) -> int:
    """The number ``N`` in ``hpo:attempt:N``.

    Raises:
        ValueError: the suffix is not a number, or is above ``MAX_ATTEMPTS``.
    """
    number = int(name.removeprefix(ATTEMPT))
    if not 0 <= number <= MAX_ATTEMPTS:
        raise ValueError(f"attempt {number}")
    return number


def is_ours(name: str) -> bool:
    """Whether hpo-batch wrote the attribute, rather than Optuna or a sampler."""
    return name.startswith(PREFIX)


# Structs below are frozen and untracked by the garbage collector (gc=False): a study has 100,000 of them, none in a
# cycle. https://jcristharif.com/msgspec/perf-tips.html
class RevisionFacts(msgspec.Struct, frozen=True, gc=False):
    """``hpo:revision``: the current frozen sweep and its target number of trials."""

    number: Annotated[int, msgspec.Meta(ge=0, le=10**9)]
    target: Annotated[int, msgspec.Meta(ge=0, le=10**12)]
    digest: str
    """SHA-256 of the file ``sweep.N.json``"""


class TrialFacts(msgspec.Struct, frozen=True, gc=False):
    """``hpo:trial``, written when the trial is created."""

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
    """``hpo:attempt:N``: the worker of an attempt, limited to the fields that readers show."""

    worker: str
    job: str
    host: str
    started: Moment
    gpus: list[str] = []
    gpu_count: float | None = None
    submission: str = ""
    fused: int = 1
    """trials that share its worker, in one process"""

    @property
    def gpus_held(self) -> float:
        """GPUs of all ranks; 1/k for each of k workers sharing one."""
        return len(self.gpus) if self.gpu_count is None else self.gpu_count


class AttemptEnd(msgspec.Struct, frozen=True, gc=False):
    """``hpo:ended:N``."""

    how: str = ""
    time: Moment | None = None
    moved: bool = False
    usage: dict[str, float] = {}
    """fields of ``records.Usage`` that are known"""


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
"""study attributes that readers rely on; checked on replay"""

T = TypeVar("T")
EMPTY: Final = b"{}"


def decode_all(parts: list[bytes], kind: type[T]) -> list[T]:
    """Decode one attribute of many trials in one call, three times as fast as one call each.

    Raises:
        ValueError, TypeError: one of them does not match ``kind``.
    """
    try:
        return msgspec.json.decode(b"[" + b",".join(parts) + b"]", type=list[kind])  # type: ignore[valid-type]
    except (msgspec.DecodeError, RecursionError):
        # plain Optuna writes NaN and Infinity (json.dumps), which are not JSON (RFC 8259) and msgspec rejects
        return [msgspec.convert(loads(part), kind, strict=False) for part in parts]


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether ``value`` is a finite number that fits into a float."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and -MAX_INTEGER < value < MAX_INTEGER
