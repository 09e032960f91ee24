"""Options and arguments that several commands share, and what they mean."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hpo_batch.errors import UserError
from hpo_batch.store.home import StudyHome, find_homes, find_root, newest_home
from hpo_batch.sweep.name import name_in_toml

F = TypeVar("F", bound=Callable[..., Any])


def hint(*words: str) -> str:
    """A command to type next, as it works here: with our path if we are not on PATH, with --root if it was given."""
    called = Path(sys.argv[0])
    found = shutil.which("hpo-batch")
    if called.name != "hpo-batch" or (found is not None and Path(found).samefile(called)):
        program = "hpo-batch"
    else:
        called = called.absolute()
        program = str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called)
    context = click.get_current_context(silent=True)
    root = context.params.get("root") if context is not None else None
    return shlex.join([program, *words, *(["--root", str(root)] if root is not None else [])])


def root_option(command: F) -> F:
    return click.option(
        "--root",
        type=click.Path(path_type=Path, file_okay=False),
        help="The logs directory [default: $HPO_BATCH_ROOT, else the nearest 'logs' upwards].",
    )(command)


def logs_root(option: Path | None) -> Path:
    return find_root(option, environ=os.environ, cwd=Path.cwd())


def study_homes(study: str | None, root: Path) -> tuple[StudyHome, ...]:
    """The studies that STUDY means: a name, a directory or a sweep's TOML; left out, the newest, which is told."""
    if study is None:
        home = newest_home(root)
        click.echo(f"study {home.name} (the newest in {root})", err=True)
        return (home,)
    return find_homes(root, name_in_toml(study) if study.endswith(".toml") else study)


def one_study(study: str | None, root: Path) -> StudyHome:
    homes = study_homes(study, root)
    if len(homes) > 1:
        raise UserError(f"'{study}' is several studies: {', '.join(home.name for home in homes)}; name one")
    return homes[0]


def trial_numbers(text: str, names: dict[str, int], count: int) -> list[int]:
    """The trials that TRIAL means: a number, a name, or a range ``1-3``."""
    if text in names:
        return [names[text]]
    first, dash, last = text.partition("-")
    if first.isdigit() and (not dash or last.isdigit()):
        numbers = list(range(int(first), int(last or first) + 1))
        if numbers and numbers[-1] < count:
            return numbers
    there = f"there are trials 0 to {count - 1}" if count else "there are no trials yet"
    named = f", and {', '.join(sorted(names)[:10])}" if names else ""
    raise UserError(f"no trial '{text}': {there}{named}")
