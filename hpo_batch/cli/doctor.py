"""``hpo-batch doctor``: whether a study on disk, its file system and SLURM are healthy; a journal made again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import Finite, check_trusted, hint, logs_root, name_in_toml, root_option, study_homes
from hpo_batch.errors import Exit, StorageError, StudyNotFound, UserError
from hpo_batch.store.home import StudyHome, all_homes, find_remains, home_of

if TYPE_CHECKING:
    from hpo_batch.doctor.finding import Finding
    from hpo_batch.store.liveness import Holder
    from hpo_batch.study.rebuild import Completed, Rebuilt
    from hpo_batch.sweep.schema import Job, Sweep


@click.command(name="doctor")
@click.argument("study", required=False)
@click.option("--cluster", is_flag=True, help="Try two nodes too, with a small job of at most 5 minutes.")
@click.option("--gpu", is_flag=True, help="With --cluster: the job asks for the GPUs of the sweep, and tries them.")
@click.option(
    "--start-within", type=Finite(min=0), default=120.0, metavar="SECONDS", show_default=True,
    help="With --cluster: cancel the job if it has not started by then.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON (docs/site.md).")
@click.option("--rebuild", is_flag=True, help="Make a lost or damaged journal again from the folders of the trials.")
@click.option("--force", is_flag=True, help="With --rebuild: also if the journal is healthy, or knows more results.")
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
    """Say whether STUDY (a name, a directory or a SWEEP.toml; left out: the newest) and what is around it are healthy.

    Looks at the study's journal, frozen sweep, second copies of results, locks and leases; tries the file system and
    its locks with two processes; holds SLURM's limits against what the sweep asks for. Each finding says what to
    change. A SWEEP.toml that was never submitted will do. Changes nothing; what it tries, it tries in a folder
    .doctor.* below the logs directory, and removes it.

    Exit code 0: healthy. 3: SLURM refuses, is down, or nodes lack something. 4: something is wrong with the storage
    (also if SLURM is not well either). 2: there is no such study, or the sweep has mistakes.

    --rebuild makes the journal again from what each trial's last claim left in its folder: finished trials come back,
    the others wait for their next attempt. The former journal is kept as journal.before-rebuild.1.jsonl. Nothing is
    done while a worker is at work, and nothing to a healthy journal.
    """
    if force and not rebuild:
        raise click.UsageError("--force goes with --rebuild")
    if gpu and not cluster:
        raise click.UsageError("--gpu goes with --cluster")
    if rebuild and (cluster or as_json):
        raise click.UsageError("--rebuild goes with neither --cluster nor --json")
    if rebuild and study is None:
        raise click.UsageError("name the STUDY to rebuild")
    where = logs_root(root)
    homes = _homes(study, where)
    if rebuild:
        if len(homes) > 1:
            raise UserError(f"'{study}' is several studies: {', '.join(home.name for home in homes)}; name one")
        if not homes:
            raise StudyNotFound(f"no study '{study}' in {where}")
        return _rebuild(homes[0], force=force)
    if cluster:  # the setup lines and the Python of its [job] run as this user
        check_trusted(homes or [home_of(where, "-")], root=root, study=study)
    job = _job(study, homes)
    if cluster and job is not None and job.scheduler == "local":
        raise UserError(f"template '{job.template}' runs on this machine: --cluster needs a sweep for SLURM")
    from hpo_batch.processes import ended_in_order

    show = _Shown(as_json=as_json)
    for home in homes:
        show.add("study", home.name, home.path, _findings(home))
    with ended_in_order():
        site = _site(job, where, homes, cluster=cluster, gpu=gpu, start_within_s=start_within)
        show.add("site", "", where, itertools.chain(_room(study, where, homes), site))
    return show.end()


class _Shown:
    """What has been found so far: printed at once, or as JSON at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._all: list[Finding] = []
        self._parts: list[dict[str, object]] = []

    def add(self, kind: str, name: str, path: Path, findings: Iterable[Finding]) -> None:
        if not self._as_json:
            click.echo(f"study     {name}  ({path})" if kind == "study" else f"site      {path}")
        found = []
        for finding in findings:
            found.append(finding)
            if not self._as_json:
                click.echo(f"{finding.about:<9} {finding.level.value:<5} {finding.what}")
                if finding.do:
                    click.echo(f"{'':<15} {finding.do.replace('STUDY', name)}")
        self._all += found
        self._parts.append(
            {"kind": kind, "name": name, "path": str(path), "findings": [finding.as_json() for finding in found]}
        )

    def end(self) -> Exit:
        from hpo_batch.doctor.finding import exit_code
        from hpo_batch.files import shown_json

        code = exit_code(self._all)
        if self._as_json:
            click.echo(shown_json({"exit_code": int(code), "examined": self._parts}))
        return code


def _homes(study: str | None, root: Path) -> tuple[StudyHome, ...]:
    """The studies that STUDY means, also those without a journal; none if it is a sweep that was never submitted."""
    if study is None:
        return study_homes(None, root) if any(all_homes(root)) else ()
    is_sweep = study.endswith(".toml")
    name = name_in_toml(study) if is_sweep else study
    lost = find_remains(root, name)
    try:
        return tuple(sorted((*study_homes(name, root), *lost), key=lambda home: home.name))
    except StudyNotFound:
        if not lost and not is_sweep:
            raise
        return lost


def _findings(home: StudyHome) -> Iterable[Finding]:
    from hpo_batch.doctor.study import examine
    from hpo_batch.journal.decode import isolated
    from hpo_batch.study.read import read_revision

    def read_table() -> object:
        from hpo_batch.sources.read import read_study

        with isolated(home.name):
            return read_study(home, reports=True)

    return examine(home, read_sweep=lambda state: read_revision(home, state), read_table=read_table)


def _job(study: str | None, homes: tuple[StudyHome, ...]) -> Job | None:
    """What the sweep asks of SLURM; None if no sweep is known. Of several budgets it is the first one's."""
    from hpo_batch.study.read import read_revision, read_state
    from hpo_batch.sweep.load import load

    if study is not None and study.endswith(".toml"):
        jobs = [sweep.job for sweep in load(Path(study))]
    else:
        jobs = []
        for home in homes:
            try:
                jobs.append(read_revision(home, read_state(home)).job)
            except (StorageError, OSError):
                continue  # what is wrong with it is among the study's findings
    if any(job != jobs[0] for job in jobs):
        click.echo("note: budgets differ in [job]; SLURM is asked about the first one's", err=True)
    return jobs[0] if jobs else None


def _room(study: str | None, root: Path, homes: tuple[StudyHome, ...]) -> Iterable[Finding]:
    """Whether a sweep that was never submitted fits on the disk; a study says so itself."""
    from hpo_batch.doctor.file_system import nearest_folder
    from hpo_batch.doctor.locks_and_disk import disk_findings
    from hpo_batch.launch.describe import footprint_of
    from hpo_batch.sweep.load import load

    if study is None or not study.endswith(".toml"):
        return
    known = {home.name for home in homes}
    new = [sweep for sweep in load(Path(study)) if sweep.path not in known]
    if new:
        yield from disk_findings(nearest_folder(root), to_come=sum(footprint_of(sweep).files for sweep in new))


def _site(
    job: Job | None, root: Path, homes: tuple[StudyHome, ...], *, cluster: bool, gpu: bool, start_within_s: float
) -> Iterable[Finding]:
    """The file system from here, SLURM's limits, two nodes."""
    import sys

    from hpo_batch.doctor.file_system import nearest_folder, self_test
    from hpo_batch.doctor.finding import Level
    from hpo_batch.doctor.site import ask_site, no_slurm, try_sbatch
    from hpo_batch.launch.machine import has_slurm
    from hpo_batch.launch.resume import last_workdir
    from hpo_batch.sweep.schema import Job

    folder = last_workdir(homes[0]) if homes else Path.cwd()
    yield from self_test(root)
    is_unknown = job is None and bool(
        homes
    )  # plain Optuna made it, or its sweep is lost: nothing to hold against SLURM
    if (job is not None and job.scheduler == "local") or (is_unknown and not cluster):
        return
    if not has_slurm():
        yield no_slurm(is_wanted=cluster)
        return
    is_known, job = job is not None, job or Job(template="", scheduler="slurm")
    findings, partitions = ask_site(job)
    yield from findings
    is_ready = not any(finding.level is Level.BAD and finding.about == "slurm" for finding in findings)
    if is_ready and is_known:
        for finding in try_sbatch(job, root, workdir=folder):
            is_ready = is_ready and finding.level is not Level.BAD
            yield finding
    if cluster and is_ready:
        from hpo_batch.doctor.nodes import Order, node_test

        paths = [nearest_folder(root), *(home.path for home in homes)]
        paths += [Path(sys.prefix)] if job.python is None else []
        order = Order(
            job=job, root=root, workdir=folder, paths=tuple(paths), partitions=partitions, with_gpus=gpu,
            start_within_s=start_within_s,
        )  # fmt: skip
        yield from node_test(order, tell=lambda line: click.echo(line, err=True))
        if not gpu and (job.gres or job.gpus_per_node):
            yield _gpus_untried()
    elif cluster:
        yield _nodes_untried()


def _gpus_untried() -> Finding:
    from hpo_batch.doctor.finding import Finding, Level

    return Finding(level=Level.NOTE, about="gpus", what="not tried", do="add --gpu: the job then asks for them too")


def _nodes_untried() -> Finding:
    from hpo_batch.doctor.finding import Finding, Level

    return Finding(level=Level.NOTE, about="nodes", what="no job was submitted", do="first mend what is said above")


def _rebuild(home: StudyHome, *, force: bool) -> Exit:
    import time

    from hpo_batch.study.rebuild import rebuild

    findings = list(_findings(home))
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
    from hpo_batch.doctor.finding import Level

    return finding.level is Level.BAD and not finding.mended_by_rebuild


def _only_in_journal(home: StudyHome) -> str:
    """Numbers of the trials that a rebuild would lose, ready to print."""
    from hpo_batch.doctor.study import read_journal
    from hpo_batch.study.rebuild import unkept
    from hpo_batch.text.names import listed

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
    told.append(f"trials    {counts.progress} finished: {', '.join(states) or 'none'}")
    told += [f"former    {rebuilt.kept_as}"] if rebuilt.kept_as is not None else []
    if counts.remaining:
        told.append("next      submit the sweep again: what remains is run")
    else:
        told.append(f"next      {hint('collect', home.name)}")
    return told
