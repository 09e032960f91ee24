"""What of a sweep decides whether it goes on: which failures stop it, and what it has left to try.

``status`` asks this of every study without workers. It reads it from the frozen tables: the schema of sweeps takes as
long to load as a journal of 1,000 trials to read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from hpo_batch.errors import StorageError
from hpo_batch.space.build import build
from hpo_batch.space.space import Space
from hpo_batch.sweep.samplers import Capabilities, capabilities_of

if TYPE_CHECKING:
    from hpo_batch.sweep.planned import Planned
    from hpo_batch.sweep.schema import Sweep


class StopRules(msgspec.Struct, frozen=True, kw_only=True):
    stop_after: int
    max_failed: int | None
    sampler: Capabilities
    replicates_duplicates: bool
    """whether the sampler trains a configuration again"""
    space: Space
    planned: Callable[[], Sequence[Planned]]


def of_sweep(sweep: Sweep) -> StopRules:
    from hpo_batch.sweep.planned import planned_trials

    return StopRules(
        stop_after=sweep.failures.stop_after,
        max_failed=sweep.study.max_failed,
        sampler=sweep.sampler.capabilities,
        replicates_duplicates=sweep.sampler.duplicates == "replicate",
        space=sweep.space,
        planned=lambda: planned_trials(sweep),
    )


class _Study(msgspec.Struct):
    max_failed: int | None = None


class _Failures(msgspec.Struct):
    stop_after: int


class _Sampler(msgspec.Struct):
    name: str
    duplicates: str
    extremes: list[str]


class _Objective(msgspec.Struct):
    n_params: str | None = None


class _Frozen(msgspec.Struct):
    study: _Study
    failures: _Failures
    sampler: _Sampler
    objective: _Objective
    space: dict[str, Any]
    trial: list[Any]
    baseline: dict[str, Any] | None = None


def of_frozen(tables: Mapping[str, Any]) -> StopRules:
    """The rules of a frozen sweep.

    Raises:
        StorageError: another version of hpo-batch has frozen it, or somebody has changed it.
    """
    try:
        frozen = msgspec.convert(tables, _Frozen)
    except msgspec.ValidationError as error:
        raise StorageError(f"the frozen sweep cannot be read: {error}") from error
    space, problems = build(frozen.space, with_n_params=frozen.objective.n_params is not None)
    if problems:
        raise StorageError(f"the frozen sweep cannot be read: space: {problems[0].message}")
    has_plan = frozen.trial or frozen.baseline is not None or frozen.sampler.extremes
    return StopRules(
        stop_after=frozen.failures.stop_after,
        max_failed=frozen.study.max_failed,
        sampler=capabilities_of(frozen.sampler.name),
        replicates_duplicates=frozen.sampler.duplicates == "replicate",
        space=space,
        planned=lambda: _planned(tables) if has_plan else (),
    )


def _planned(tables: Mapping[str, Any]) -> Sequence[Planned]:
    from hpo_batch.sweep.planned import planned_trials
    from hpo_batch.sweep.schema import Sweep
    from hpo_batch.sweep.tables import from_raw

    try:
        return planned_trials(from_raw(Sweep, tables))
    except ValueError as error:
        raise StorageError(f"the frozen sweep cannot be read: {error}") from error
