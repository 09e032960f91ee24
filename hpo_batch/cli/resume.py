"""``hpo-batch resume``: go on with a study as it was last submitted, or with an edited sweep file."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import check_trusted, live_homes, logs_root, name_in_toml, root_option
from hpo_batch.errors import UserError

if TYPE_CHECKING:
    from hpo_batch.store.home import StudyHome


@click.command(name="resume")
@click.argument("study", required=False)
@click.option("--workers", type=int, help="Workers to have at it: the same as --set job.workers=N.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the sweep.")
@click.option("--wait", is_flag=True, help="Follow until the workers have ended, then print the table.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the plan and the sbatch text; write nothing.")
@click.option("--auto", metavar="SUBMISSION", help="For the job that collects: only if job.auto_resume allows it.")
@root_option
def command(
    study: str | None,
    workers: int | None,
    overrides: tuple[str, ...],
    wait: bool,
    dry_run: bool,
    auto: str | None,
    root: Path | None,
) -> int | None:
    """Add the workers that STUDY lacks: a name, its directory, or its (edited) TOML. Lifts cancel and drain.

    A name takes the sweep as it was last submitted. Left out: the only study with trials left.
    """
    folder = logs_root(root)
    chosen = [*overrides, *([f"job.workers={workers}"] if workers is not None else [])]
    if study is not None and study.endswith(".toml"):
        return _resume_file(Path(study), root, chosen, wait=wait, dry_run=dry_run)
    homes = live_homes(study, folder)
    check_trusted(homes, root=root, study=study)
    return resume_homes(homes, chosen, wait=wait, dry_run=dry_run, auto=auto)


def _resume_file(path: Path, option: Path | None, overrides: Sequence[str], *, wait: bool, dry_run: bool) -> int | None:
    from hpo_batch.cli.submit import start
    from hpo_batch.store.home import home_of
    from hpo_batch.sweep.load import load

    root = logs_root(option)
    sweeps = load(path, overrides=overrides)
    homes = [home_of(root, one.path) for one in sweeps]
    if not any(home.exists for home in homes):
        raise UserError(
            f"there is no study '{name_in_toml(str(path))}' in {root} yet: 'hpo-batch submit {path}' starts it"
        )
    check_trusted(homes, root=option, study=path.name)
    text = path.read_text(encoding="utf-8")
    return start(sweeps, [text] * len(sweeps), homes=homes, wait=wait, dry_run=dry_run)


def resume_homes(
    homes: Sequence[StudyHome], overrides: Sequence[str], *, wait: bool, dry_run: bool, auto: str | None = None
) -> int | None:
    """Go on with studies as they were last submitted."""
    from hpo_batch.cli.submit import start
    from hpo_batch.errors import StorageError
    from hpo_batch.files import read_regular
    from hpo_batch.study.read import read_revision, read_state
    from hpo_batch.sweep.load import override

    sweeps, tomls = [], []
    for home in homes:
        state = read_state(home)
        if not state.revision:
            raise StorageError(f"no sweep in '{home.path}': submit its TOML")
        sweeps.append(override(read_revision(home, state), overrides))
        try:
            tomls.append(read_regular(home.sweep_toml).decode())
        except (OSError, ValueError):
            tomls.append("")  # it is for people; what counts is the revision
    workdirs = [workdir(home) for home in homes]
    return start(sweeps, tomls, homes=homes, wait=wait, dry_run=dry_run, workdirs=workdirs, after=auto)


def workdir(home: StudyHome) -> Path:
    """Where the workers of the last submission ran: the user's code is found from there."""
    from hpo_batch.store.submissions import read_submissions, workdir_of

    told = [folder for s in read_submissions(home) if (folder := workdir_of(home, s)) is not None]
    if not told:
        return Path.cwd()
    why = _why_not_there(told[-1])
    if why is not None:
        click.echo(f"warning: {told[-1]}, where the workers of {home.name} ran, {why}; they run here now", err=True)
        return Path.cwd()
    return told[-1]


def _why_not_there(folder: Path) -> str | None:
    """Why a working directory that was noted cannot be this user's: it may be in a colleague's home."""
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            return "is no directory now"
    except PermissionError:
        return "is behind a directory that you may not enter"
    except (OSError, ValueError):
        return "is not here"
    return None if os.access(folder, os.X_OK, effective_ids=True) else "may not be entered by you"
