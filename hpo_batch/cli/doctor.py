"""``hpo-batch doctor``: check a study, its file system and SLURM; rebuild a lost journal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hpo_batch.cli.options import Finite, check_trusted, hint, logs_root, root_option
from hpo_batch.doctor.finding import exit_code
from hpo_batch.errors import Exit, StudyNotFound, UserError
from hpo_batch.store.home import StudyHome, home_of

if TYPE_CHECKING:
    from hpo_batch.doctor.examine import Part, Subject
    from hpo_batch.doctor.finding import Finding
    from hpo_batch.doctor.rebuild import Outcome
    from hpo_batch.study.rebuild import Rebuilt

SCHEMA_VERSION: Final = 1
"""of the JSON; adding keys does not change it"""


@click.command(name="doctor")
@click.argument("study", required=False)
@click.option("--cluster", is_flag=True, help="Test two nodes too, with a small job of at most 5 minutes.")
@click.option("--gpu", is_flag=True, help="With --cluster: request the sweep's GPUs, and test them.")
@click.option(
    "--start-within", type=Finite(min=0), default=120.0, metavar="SECONDS", show_default=True,
    help="With --cluster: cancel the job if it has not started by then.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON (docs/site.md).")
@click.option("--rebuild", is_flag=True, help="Rebuild a lost or damaged journal from the folders of the trials.")
@click.option("--force", is_flag=True, help="With --rebuild: even if the journal is healthy, or has more results.")
@root_option
def command(
    study: str | None,
    cluster: bool,
    gpu: bool,
    start_within: float,
    as_json: bool,
    rebuild: bool,
    force: bool,
    root: Path | None,
) -> int:
    """Check STUDY (a name, a directory or a SWEEP.toml; default: the newest), its file system and SLURM.

    Checks the journal, the frozen sweep, the copies of results, locks and leases; tests the file system and its locks
    with two processes; compares SLURM's limits with what the sweep requests. Each finding says what to change. A
    SWEEP.toml that was never submitted works too. Changes nothing: tests run in a folder .doctor.* in the logs
    directory, which is removed afterwards.

    Exit code 0: healthy. 3: SLURM rejects the sweep or is down, or nodes lack something. 4: something is wrong with the
    storage, whatever SLURM says. 2: there is no such study, or the sweep has mistakes.

    --rebuild rebuilds the journal from the folders of the trials: finished trials come back, the others wait for their
    next attempt. The former journal is kept as journal.before-rebuild.1.jsonl. Refused while a worker is running; a
    healthy journal is left alone.
    """
    for is_wrong, message in (
        (force and not rebuild, "--force requires --rebuild"),
        (gpu and not cluster, "--gpu requires --cluster"),
        (rebuild and (cluster or as_json), "--rebuild cannot be combined with --cluster or --json"),
        (rebuild and study is None, "name the STUDY to rebuild"),
    ):
        if is_wrong:
            raise click.UsageError(message)
    from hpo_batch.doctor.examine import examine, find_subject
    from hpo_batch.doctor.rebuild import rebuild_study
    from hpo_batch.doctor.site import NodeTrial
    from hpo_batch.processes import ended_in_order

    subject = find_subject(study, root=logs_root(root), tell=_say)
    if rebuild:
        home = _only(subject, study)
        return _print_rebuilt(home, rebuild_study(home, force=force, tell=_say))
    if cluster:  # runs the setup lines and the Python of [job] as this user
        # a sweep that was never submitted has no study yet: any name in the logs directory will do
        check_trusted(subject.homes or [home_of(subject.root, "-")], root=root, study=study)
    nodes = NodeTrial(with_gpus=gpu, start_within_s=start_within) if cluster else None
    # Ctrl-C and SIGTERM unwind the stack, so that jobs are cancelled and test files removed
    with ended_in_order():
        parts = examine(subject, nodes=nodes, tell=_say)
        return _print_json(parts) if as_json else _print(parts)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _print(parts: Iterable[Part]) -> Exit:
    # each finding as it is made: a test with two processes or a job takes seconds to minutes
    def shown(part: Part) -> Iterator[Finding]:
        click.echo(f"study     {part.name}  ({part.path})" if part.kind == "study" else f"site      {part.path}")
        for finding in part.findings:
            click.echo(f"{finding.about:<9} {finding.level.value:<5} {finding.what}")
            if finding.do:
                click.echo(f"{'':<15} {finding.do.replace('STUDY', part.name)}")
            yield finding

    return exit_code([finding for part in parts for finding in shown(part)])


def _print_json(parts: Iterable[Part]) -> Exit:
    from hpo_batch.files import shown_json  # msgspec: not for `doctor --help`

    examined = [(part, list(part.findings)) for part in parts]
    code = exit_code(finding for _, findings in examined for finding in findings)
    shown = [
        {"kind": part.kind, "name": part.name, "path": str(part.path), "findings": [one.as_json() for one in findings]}
        for part, findings in examined
    ]
    click.echo(shown_json({"schema_version": SCHEMA_VERSION, "exit_code": int(code), "examined": shown}))
    return code


def _only(subject: Subject, study: str | None) -> StudyHome:
    if len(subject.homes) > 1:
        raise UserError(f"'{study}' is several studies: {', '.join(home.name for home in subject.homes)}; name one")
    if not subject.homes:
        raise StudyNotFound(f"no study '{study}' in {subject.root}")
    return subject.homes[0]


def _print_rebuilt(home: StudyHome, outcome: Outcome) -> Exit:
    if outcome.rebuilt is not None:
        click.echo("\n".join(_lines(home, outcome.rebuilt)))
        return Exit.OK
    click.echo(f"the journal of '{home.name}' is healthy: nothing was done")
    if outcome.would_lose:
        _say(f"note: {outcome.would_lose}: a rebuild would run them again")
    return Exit.OK


def _lines(home: StudyHome, rebuilt: Rebuilt) -> Iterator[str]:
    counts = rebuilt.counts
    states = {
        "complete": counts.complete,
        "pruned": counts.pruned,
        "failed": counts.failed,
        "waiting": counts.waiting,
    }
    yield from map(str, rebuilt.problems)
    yield f"rebuilt   {home.journal} from the folders of the trials and {rebuilt.revision.name}"
    shown = ", ".join(f"{count} {name}" for name, count in states.items() if count)
    yield f"trials    {counts.progress} finished: {shown or 'none'}"
    if rebuilt.kept_as is not None:
        yield f"former    {rebuilt.kept_as}"
    if counts.remaining:
        yield "next      submit the sweep again to run the remaining trials"
    else:
        yield f"next      {hint('collect', home.name)}"
