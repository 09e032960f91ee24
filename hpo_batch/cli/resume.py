"""``hpo-batch resume``: continue a study as it was last submitted, or with an edited sweep file."""

from __future__ import annotations

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
@click.option("--workers", type=int, help="Number of workers; same as --set job.workers=N.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the sweep.")
@click.option("--wait", is_flag=True, help="Wait until all workers have ended, then print the results.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the plan and the scripts; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was started as JSON, described in docs/json.md.")
@click.option("--auto", metavar="SUBMISSION", help="For the collector: resume only if job.auto_resume allows it.")
@root_option
def command(
    study: str | None,
    workers: int | None,
    overrides: tuple[str, ...],
    wait: bool,
    dry_run: bool,
    as_json: bool,
    auto: str | None,
    root: Path | None,
) -> int | None:
    """Add missing workers to STUDY: a name, its directory, or its (edited) TOML. Ends a cancel or drain.

    By name, the sweep is used as it was last submitted. Default: the only study with trials left.
    """
    folder = logs_root(root)
    chosen = [*overrides, *([f"job.workers={workers}"] if workers is not None else [])]
    if study is not None and study.endswith(".toml"):
        return _resume_file(Path(study), root, chosen, wait=wait, dry_run=dry_run, as_json=as_json)
    homes = live_homes(study, folder)
    check_trusted(homes, root=root, study=study)
    return resume_homes(homes, chosen, wait=wait, dry_run=dry_run, auto=auto, as_json=as_json)


def _resume_file(
    path: Path, option: Path | None, overrides: Sequence[str], *, wait: bool, dry_run: bool, as_json: bool
) -> int | None:
    from hpo_batch.cli.submit import run
    from hpo_batch.launch.resume import resume_file

    root = logs_root(option)
    requests = resume_file(path, root=root, overrides=overrides)
    if not any(one.home.exists for one in requests):
        raise UserError(
            f"the study '{name_in_toml(str(path))}' does not exist in {root}; to start it: 'hpo-batch submit {path}'"
        )
    check_trusted([one.home for one in requests], root=option, study=path.name)
    return run(requests, wait=wait, dry_run=dry_run, as_json=as_json)


def resume_homes(
    homes: Sequence[StudyHome],
    overrides: Sequence[str],
    *,
    wait: bool,
    dry_run: bool,
    auto: str | None = None,
    as_json: bool = False,
) -> int | None:
    """Continue studies as they were last submitted; returns the exit code."""
    from hpo_batch.cli.submit import run
    from hpo_batch.launch.resume import resume_request

    requests = [resume_request(home, overrides, tell=lambda fact: click.echo(str(fact), err=True)) for home in homes]
    return run(requests, wait=wait, dry_run=dry_run, after=auto, as_json=as_json)
