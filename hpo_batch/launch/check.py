"""Check a sweep file and describe what it means, without starting or writing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hpo_batch.launch.checks import predictions_beside, refusals
from hpo_batch.launch.describe import describe_sweep
from hpo_batch.launch.task_layout import gpus_of
from hpo_batch.store.home import home_of
from hpo_batch.sweep.load import load
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.size import target

SCHEMA_VERSION: Final = 1
"""of the JSON of ``check``; adding keys does not change it"""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One study of a sweep file."""

    study: str
    """the name of the study that the sweep would make"""
    budget: str | None
    metric: tuple[str, ...]
    direction: tuple[str, ...]
    """of each metric"""
    trials: int
    """the target"""
    sampler: str
    searched: tuple[str, ...]
    fixed: tuple[str, ...]
    workers: int
    walltime_s: float
    """of each array task"""
    gpus: int | None
    """of each array task, on all its nodes; None if the options do not tell"""
    lines: tuple[str, ...]
    """description"""
    warnings: tuple[str, ...]
    errors: tuple[str, ...]
    """why ``submit`` would reject it"""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "lines": [line.strip() for line in self.lines]}


def check(path: Path, *, root: Path, overrides: Sequence[str] = (), import_code: bool = False) -> Iterator[Checked]:
    """Each study of a sweep file: one, or one for each budget.

    Args:
        root: the logs directory, which holds the studies that it imports.
        overrides: ``KEY=VALUE``, in place of the file's values.
        import_code: also import the objective, which runs its module.

    Raises:
        SweepInvalid: the file has mistakes; the error lists all of them.
        HpoBatchError: a study that it imports does not exist, or does not fit.
    """
    for sweep in load(path, overrides=overrides):
        lines, warnings = describe_sweep(sweep, home=home_of(root, sweep.path), import_code=import_code)
        errors, missing = refusals(sweep)
        doubt = predictions_beside(sweep, home_of(root, sweep.path), path.parent)[1]
        warnings = [*warnings, *missing, *([doubt] if doubt else [])]
        warned = tuple(dict.fromkeys(warnings))
        yield _checked(sweep, lines=tuple(lines), warnings=warned, errors=tuple(errors))


def _checked(sweep: Sweep, *, lines: tuple[str, ...], warnings: tuple[str, ...], errors: tuple[str, ...]) -> Checked:
    return Checked(
        study=sweep.path if sweep.budget else sweep.study.name,
        budget=sweep.budget,
        metric=sweep.study.metric,
        direction=sweep.study.direction,
        trials=target(sweep),
        sampler=sweep.sampler.name,
        searched=tuple(parameter.name for parameter in sweep.space.searched),
        fixed=tuple(parameter.name for parameter in sweep.space.fixed),
        workers=sweep.job.workers,
        walltime_s=float(sweep.job.walltime),
        gpus=gpus_of(sweep.job).count,
        lines=lines,
        warnings=warnings,
        errors=errors,
    )
