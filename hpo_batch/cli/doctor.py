"""``hpo-batch doctor``: whether a study on disk is healthy, and its journal made again from the trial folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import hint, logs_root, root_option, study_homes
from hpo_batch.errors import Exit, StorageError, UserError
from hpo_batch.store.home import StudyHome, find_remains
from hpo_batch.sweep.name import name_in_toml

if TYPE_CHECKING:
    from hpo_batch.store.finding import Finding
    from hpo_batch.store.liveness import Holder
    from hpo_batch.study.rebuild import Completed, Rebuilt
    from hpo_batch.sweep.schema import Sweep


@click.command(name="doctor")
@click.argument("study", required=False)
@click.option("--rebuild", is_flag=True, help="Make a lost or damaged journal again from the folders of the trials.")
@click.option("--force", is_flag=True, help="With --rebuild: also if the journal is healthy, or knows more results.")
@root_option
def command(study: str | None, rebuild: bool, force: bool, root: Path | None) -> int:
    """Say whether STUDY (left out: the newest) is healthy on disk, and what to do if it is not.

    Looks at journal, frozen sweep, second copies of results, locks, leases and free space, and changes nothing. Exit
    code 0: healthy; 4: not.

    --rebuild makes the journal again from what each trial's last claim left in its folder: finished trials come back,
    the others wait for their next attempt. The former journal is kept as journal.before-rebuild.1.jsonl. Nothing is
    done while a worker is at work, and nothing to a healthy journal.
    """
    if force and not rebuild:
        raise click.UsageError("--force goes with --rebuild")
    if rebuild and study is None:
        raise click.UsageError("name the STUDY to rebuild")
    homes = _homes(study, logs_root(root))
    if rebuild and len(homes) > 1:
        raise UserError(f"'{study}' is several studies: {', '.join(home.name for home in homes)}; name one")
    return max(_rebuild(home, force=force) if rebuild else _examine(home) for home in homes)


def _homes(study: str | None, root: Path) -> tuple[StudyHome, ...]:
    """The studies that STUDY means, also those without a journal."""
    if study is None:
        return study_homes(None, root)
    name = name_in_toml(study) if study.endswith(".toml") else study
    lost = find_remains(root, name)
    try:
        return tuple(sorted((*study_homes(name, root), *lost), key=lambda home: home.name))
    except UserError:
        if not lost:
            raise
        return lost


def _findings(home: StudyHome) -> list[Finding]:
    from hpo_batch.store.health import examine
    from hpo_batch.study.create import read_revision

    return list(examine(home, read_sweep=lambda state: read_revision(home, state)))


def _examine(home: StudyHome) -> Exit:
    from hpo_batch.store.finding import Level

    click.echo(f"study     {home.name}  ({home.path})")
    findings = _findings(home)
    for finding in findings:
        click.echo(f"{finding.about:<9} {finding.level.value:<5} {finding.what}")
        if finding.do:
            click.echo(f"{'':<15} {finding.do.replace('STUDY', home.name)}")
    return Exit.STORAGE if any(finding.level is Level.BAD for finding in findings) else Exit.OK


def _rebuild(home: StudyHome, *, force: bool) -> Exit:
    import time

    from hpo_batch.study.rebuild import rebuild

    findings = _findings(home)
    beyond = next((f for f in findings if f.about == "journal" and _is_beyond(f)), None)
    if beyond is not None:
        raise StorageError(f"{beyond.what}; {beyond.do}")
    missing = _only_in_journal(home)
    would_lose = f"the folders have no result of trials that are finished in the journal: {missing}" if missing else ""
    reasons = [finding.what for finding in findings if finding.mended_by_rebuild]
    if not reasons and not force:
        click.echo(f"the journal of '{home.name}' is healthy: nothing was done")
        if would_lose:
            click.echo(f"note: {would_lose}: a rebuild would run them again", err=True)
        return Exit.OK
    if would_lose and not force:
        raise StorageError(
            f"{would_lose}. A rebuild would run them again; if that is wanted, add --force: the former journal is kept"
        )
    for reason in reasons:
        click.echo(reason, err=True)
    rebuilt = rebuild(home, completed=_completed, now=time.time(), on_wait=_say_who_is_watched)
    click.echo("\n".join(_lines(home, rebuilt)))
    return Exit.OK


def _is_beyond(finding: Finding) -> bool:
    """Whether a rebuild does not help, or is not ours to do."""
    from hpo_batch.store.finding import Level

    return finding.level is Level.BAD and not finding.mended_by_rebuild


def _only_in_journal(home: StudyHome) -> str:
    """Numbers of the trials that a rebuild would lose, ready to print."""
    from hpo_batch.store.finding import listed
    from hpo_batch.store.health import read_journal
    from hpo_batch.study.rebuild import unkept

    try:
        return listed(unkept(home, read_journal(home).state))
    except FileNotFoundError:
        return ""


def _completed(sweep: Sweep) -> Completed:
    from hpo_batch.objective.metrics import Wanted

    wanted = Wanted.parse(sweep.study.metric, sweep.metrics)

    def completed(metrics: Mapping[str, float]) -> Mapping[str, float]:
        return wanted.complete(metrics)

    return completed


def _say_who_is_watched(doubtful: tuple[Holder, ...]) -> None:
    names = ", ".join(str(holder) for holder in doubtful)
    click.echo(
        f"watching the leases of {names}: whether they live takes up to [study] lease_s seconds to tell", err=True
    )


def _lines(home: StudyHome, rebuilt: Rebuilt) -> list[str]:
    counts = rebuilt.counts
    states = [
        f"{count} {name}"
        for name, count in (
            ("complete", counts.complete),
            ("pruned", counts.pruned),
            ("failed", counts.failed),
            ("waiting", counts.waiting),
        )
        if count
    ]
    told = [f"{problem}" for problem in rebuilt.problems]
    told.append(f"rebuilt   {home.journal} from the folders of the trials and {rebuilt.revision.name}")
    told.append(f"trials    {counts.finished} of {counts.target} finished: {', '.join(states) or 'none'}")
    told += [f"former    {rebuilt.kept_as}"] if rebuilt.kept_as is not None else []
    if counts.remaining:
        told.append("next      submit the sweep again: what remains is run")
    else:
        told.append(f"next      {hint('collect', home.name)}")
    return told
