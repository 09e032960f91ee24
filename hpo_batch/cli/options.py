"""Options and arguments that several commands share, and what they mean."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from hpo_batch.envvars import EnvVar
from hpo_batch.errors import UserError
from hpo_batch.store.home import StudyHome, find_homes, find_root, newest_home, why_not_trusted
from hpo_batch.store.sharing import check_ours as check_ours
from hpo_batch.sweep.name import name_in_toml as name_in_toml

F = TypeVar("F", bound=Callable[..., Any])


def hint(*words: str) -> str:
    """A command to type next that works here: with our path if we are not on PATH, with --root if it was given."""
    called = Path(sys.argv[0])
    found = shutil.which("hpo-batch")
    # `python -m hpo_batch` and tests have another argv[0]; the installed command is the better hint
    if called.name != "hpo-batch" or (found is not None and Path(found).samefile(called)):
        program = "hpo-batch"
    else:
        called = called.absolute()
        program = str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called)
    context = click.get_current_context(silent=True)
    root = context.params.get("root") if context is not None else None
    return shlex.join([program, *words, *(["--root", str(root)] if root is not None else [])])


class _Finite(click.ParamType):  # type: ignore[type-arg]  # newer clicks only have one
    """A finite number: ``float``, which click calls, also accepts 'nan' and 'inf'."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"'{value}' is not a finite number", param, ctx)
        return number


class Finite(_Finite, click.FloatRange):
    """A finite number in a range."""


class AnyFinite(_Finite, click.types.FloatParamType):
    """A finite number: help shows no range of it."""


FINITE = AnyFinite()


def root_option(command: F) -> F:
    return click.option(
        "--root",
        type=click.Path(path_type=Path, file_okay=False),
        help="The logs directory [default: $HPO_BATCH_ROOT, else the nearest 'logs' upwards].",
    )(command)


def json_format_option(made: Callable[..., int]) -> Callable[..., int]:
    """Add ``--json``, short for ``--format json``, to a command with ``format_``."""

    @functools.wraps(made)
    def with_format(*, as_json: bool, format_: str | None, **arguments: Any) -> int:
        if as_json and format_ not in (None, "json"):
            raise click.UsageError(f"--json is --format json, not {format_}: leave one out")
        return made(format_="json" if as_json else format_, **arguments)

    return click.option("--json", "as_json", is_flag=True, help="The same as --format json.")(with_format)


def logs_root(option: Path | None) -> Path:
    return find_root(option, environ=os.environ, cwd=Path.cwd())


def check_trusted(homes: Sequence[StudyHome], *, root: Path | None, study: str | None) -> None:
    """Before code of studies runs as this user: make sure that they are this user's, or were named explicitly.

    Args:
        root: ``--root`` as given.
        study: STUDY as given; None if it was left out, or is a sweep's file.

    Raises:
        UserError: a study, or the logs directory that was found, is somebody else's.
    """
    # a path is as explicit as can be
    if study is not None and study.startswith(("/", "./", "../")):
        return
    logs = logs_root(root)
    is_named = root is not None or bool(os.environ.get(EnvVar.ROOT))
    for home in homes:
        in_logs = home.path.is_relative_to(logs)
        if is_named and in_logs and study is not None:
            continue
        folders = [*([logs] if in_logs and not is_named else []), home.path]
        for why in filter(None, map(why_not_trusted, folders)):
            do = f"name the study's directory: '{home.path}'" if is_named else f"pass --root {shlex.quote(str(logs))}"
            raise UserError(f"{why}, and was not named explicitly: its code would run as you. If you trust it, {do}")


def study_homes(study: str | None, root: Path) -> tuple[StudyHome, ...]:
    """The studies named by STUDY: a name, a directory or a sweep's TOML; if None, the newest, which is printed."""
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


@contextlib.contextmanager
def naming_a_trial(words: Sequence[str], root: Path) -> Iterator[None]:
    """Say so where ``[STUDY] TRIAL`` names no trial, because it is a study alone."""
    from hpo_batch.store.home import all_homes

    try:
        yield
    except UserError:
        if len(words) == 1 and any(home.name == words[0] for home in all_homes(root)):
            raise UserError(f"'{words[0]}' is a study; name one of its trials, too: {words[0]} 0") from None
        raise


def live_homes(study: str | None, root: Path) -> tuple[StudyHome, ...]:
    """As ``study_homes``, for commands that change something: the default is the only study with trials left.

    Raises:
        UserError: STUDY is None, and several studies have trials left, or none.
    """
    if study is not None:
        return study_homes(study, root)
    from hpo_batch.monitor.reader import unfinished_studies

    homes = unfinished_studies(root)
    names = sorted({home.name.partition("/")[0] for home in homes})
    if len(names) > 1:
        raise UserError(f"several studies have trials left: {', '.join(names)}; name the one you mean")
    if not homes:
        raise UserError(f"no study in {root} has trials left; name the one you mean ('hpo-batch list')")
    click.echo(f"study {names[0]} (the only one in {root} with trials left)", err=True)
    return homes
