"""Check a sweep file and describe what it means, without starting or writing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo_batch.launch.checks import predictions_beside, refusals
from hpo_batch.launch.describe import describe_sweep
from hpo_batch.store.home import home_of
from hpo_batch.sweep.load import load


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One study of a sweep file."""

    lines: tuple[str, ...]
    """description"""
    warnings: tuple[str, ...]
    errors: tuple[str, ...]
    """why ``submit`` would reject it"""


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
        yield Checked(lines=tuple(lines), warnings=tuple(dict.fromkeys(warnings)), errors=tuple(errors))
