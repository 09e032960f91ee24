"""``hpo-batch submit``: start a sweep or go on with it. The same command resumes."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import check_ours, check_trusted, hint, logs_root, root_option
from hpo_batch.errors import Exit, UserError

if TYPE_CHECKING:
    from hpo_batch.errors import HpoBatchError
    from hpo_batch.launch.plan import Plan
    from hpo_batch.monitor.live import Live
    from hpo_batch.store.home import StudyHome
    from hpo_batch.store.submissions import Submission
    from hpo_batch.sweep.schema import Sweep


@click.command(name="submit", context_settings={"ignore_unknown_options": False})
@click.argument("sweep", type=click.Path(path_type=Path))
@click.argument("sbatch_options", nargs=-1, type=click.UNPROCESSED)
@click.option("--local", is_flag=True, help="Run on this machine; what SWEEP asks of SLURM is left aside.")
@click.option("--workers", type=int, help="Workers to have at it: the same as --set job.workers=N.")
@click.option("--trials", type=int, help="New total of finished trials: the same as --set study.trials=N.")
@click.option("--partition", help="The same as --set job.partition=NAME.")
@click.option("--account", help="The same as --set job.account=NAME.")
@click.option("--qos", help="The same as --set job.qos=NAME.")
@click.option("--constraint", help="The same as --set job.constraint=FEATURES.")
@click.option("--exclude", help="The same as --set job.exclude=NODES.")
@click.option("--dependency", help="The same as --set job.dependency=WHAT, such as afterok:1234.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the sweep.")
@click.option("--start-from", metavar="BUDGET", help="Only this [[budget]] and those behind it.")
@click.option("--only", metavar="NAMES", help="Of a list, only the [[trial]]s with these names: A1,A2.")
@click.option("--set-of", metavar="SET", help="Of a list, only the [[trial]]s of this set.")
@click.option("--fresh", is_flag=True, help="Put a study of this name aside (see rm), and begin anew.")
@click.option("--wait", is_flag=True, help="Follow until the workers have ended, then print the table.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the plan and the sbatch text; write nothing.")
@root_option
def command(
    sweep: Path,
    sbatch_options: tuple[str, ...],
    local: bool,
    workers: int | None,
    trials: int | None,
    overrides: tuple[str, ...],
    start_from: str | None,
    only: str | None,
    set_of: str | None,
    fresh: bool,
    wait: bool,
    dry_run: bool,
    root: Path | None,
    **of_job: str | None,
) -> int | None:
    """Start SWEEP, or go on with it. What follows -- goes to sbatch: hpo-batch submit sweep.toml -- --exclusive

    SBATCH_* variables fill what the sweep leaves open; the plan shows which.
    """
    from hpo_batch.scheduler.slurm.options import key_of_job, parse_options
    from hpo_batch.store.home import home_of
    from hpo_batch.sweep.load import load
    from hpo_batch.sweep.part import part_of

    chosen = list(overrides)
    chosen += ["job.template=local"] if local else []
    chosen += [f"job.workers={workers}"] if workers is not None else []
    chosen += [f"study.trials={trials}"] if trials is not None else []
    chosen += [f"job.{key}={json.dumps(value)}" for key, value in of_job.items() if value is not None]
    for option, value in parse_options(sbatch_options):
        key, literal = key_of_job(option, value)
        chosen.append(f"job.{key}={literal}")
    sweeps = part_of(load(sweep, overrides=chosen), start_from=start_from, only=only, set_of=set_of)
    homes = [home_of(logs_root(root), one.path) for one in sweeps]
    check_trusted(homes, root=root, study=sweep.name)  # named in it: as by hand
    tomls = [sweep.read_text(encoding="utf-8")] * len(sweeps)
    return start(sweeps, tomls, homes=homes, wait=wait, dry_run=dry_run, fresh=fresh)


def start(
    sweeps: Sequence[Sweep],
    tomls: Sequence[str],
    *,
    homes: Sequence[StudyHome],
    wait: bool,
    dry_run: bool,
    workdirs: Sequence[Path] = (),
    after: str | None = None,
    fresh: bool = False,
) -> int | None:
    """What submit and resume have in common: what is missing is counted and submitted by one process at a time.

    Args:
        workdirs: where each sweep's workers run; left out: here.
        after: the submission whose collector asks; it may be told that it must not.
        fresh: put the studies that are there aside, and begin anew.
    """
    from hpo_batch.cli.describe import describe_sharing
    from hpo_batch.launch.submit import note_found
    from hpo_batch.launch.submit_lock import turn
    from hpo_batch.launch.trash import put_aside
    from hpo_batch.monitor.live import live
    from hpo_batch.study.read import read_state

    folders = list(workdirs) or [Path.cwd()] * len(sweeps)
    _check(sweeps, homes, folders, dry_run=dry_run, fresh=fresh)
    with contextlib.ExitStack() as stack:
        for home, one in sorted(zip(homes, sweeps, strict=True), key=lambda pair: pair[0].name) if not dry_run else ():
            stack.enter_context(turn(home, shared=one.study.shared))
        known = [home for home in homes if home.exists]
        over = () if after is None else (after,)
        there = live(known, over=over, say=lambda text: click.echo(text, err=True))
        for home, one in zip(homes, sweeps, strict=True):
            why = _begins_anew(home, one, fresh=fresh) if home.name in there else ""
            if why:
                at_work = there.pop(home.name)
                aside = None if dry_run else put_aside(home, read_state(home), at_work, now=time.time())
                click.echo(f"{home.name}: {why}, and begins anew", err=True)
                if aside is not None:
                    click.echo(f"  it lies in {aside}", err=True)
                    stack.enter_context(turn(home, shared=one.study.shared))
        plans = [
            _plan(one, home, there.get(home.name), workdir)
            for one, home, workdir in zip(sweeps, homes, folders, strict=True)
        ]
        for plan in plans:
            with_whom, doubts = describe_sharing(plan.sweep, plan.home)
            for line in with_whom:
                click.echo(line, err=True)
            for warning in (*plan.warnings, *_code_warnings(plan), *doubts):
                click.echo(f"warning: {warning}", err=True)
        if dry_run:
            for plan in plans:
                click.echo("\n".join(_dry_run(plan)))
            # what submit would refuse is refused here too, or `submit -n && submit` says yes and then no
            return Exit.BAD_INPUT if any(plan.change.against for plan in plans) else None
        for home in homes:
            if home.name in there:
                note_found(home, there[home.name].queue)
        resumes = 0
        if after is not None:
            (plan,) = plans
            number = _next_resume(plan, after, there[plan.home.name])
            if number is None:
                return None
            resumes = number
        started, failed = _submit(plans, tomls, there, resumes=resumes)
    code: int | None = None
    if wait and started:
        from hpo_batch.cli.follow import follow

        code = follow([plan.home for plan in started])
    elif started:
        first = started[0].home.name
        name = first.partition("/")[0]  # of all budgets; the sweep's own name is another one if the folder was renamed
        click.echo(f"next: {hint('status', name)}   {hint('logs', first, '0')}   {hint('collect', name)}", err=True)
    if failed is not None:
        return failed.exit_code
    if code is None:
        return Exit.TRIALS_FAILED if any(plan.standing.nothing_left for plan in plans) else Exit.OK
    return code


def _begins_anew(home: StudyHome, sweep: Sweep, *, fresh: bool) -> str:
    """Why the study that is there is put aside; empty if it goes on.

    Where no trial has come to an end, an edit that would change what they mean is the usual way to a first one.
    """
    from hpo_batch.study.create import what_changes
    from hpo_batch.study.read import read_state

    if fresh:
        return "the study that was there is put aside"
    state = read_state(home)
    counts = state.counts()
    if counts.finished or counts.running or counts.waiting or not what_changes(home, sweep, state).against:
        return ""
    return "no trial of the study that was there has finished: it is put aside"


def _check(
    sweeps: Sequence[Sweep], homes: Sequence[StudyHome], workdirs: Sequence[Path], *, dry_run: bool, fresh: bool
) -> None:
    """What can be told before anything is locked or asked of SLURM; doubts go to stderr.

    Args:
        workdirs: where the workers will run, and so where code is looked for: not where the command was typed.

    Raises:
        UserError: the objective cannot be found where the workers will look, or an import does not fit.
        StorageError: a study is somebody else's, or cannot be read.
    """
    from hpo_batch.cli.describe import describe_imports, refusals
    from hpo_batch.objective.mistakes import doubts as objective_doubts
    from hpo_batch.store.home import check_enterable
    from hpo_batch.study.create import what_changes
    from hpo_batch.study.read import read_state
    from hpo_batch.sweep.rules import warnings

    for one, workdir in zip(sweeps, workdirs, strict=True):
        for warning in warnings(one):
            click.echo(f"warning: {warning}", err=True)
        with contextlib.chdir(workdir):
            refused, missing = refusals(one)
            told = objective_doubts(one)
        if refused:
            raise UserError("\n".join(refused))
        for warning in (*told, *missing):
            click.echo(f"warning: {warning}", err=True)
    for home in homes:
        check_enterable(home.path) if dry_run else check_ours(home)
    for home, one in zip(homes, sweeps, strict=True) if not fresh else ():
        if home.exists:
            what_changes(home, one, read_state(home))  # a study that cannot be read is not even locked
    for home, one in zip(homes, sweeps, strict=True):
        lines, doubts = describe_imports(one, home)
        for line in (*lines, *(f"warning: {doubt}" for doubt in doubts)):
            click.echo(line, err=True)


def _plan(sweep: Sweep, home: StudyHome, live: Live | None, workdir: Path) -> Plan:
    """Of a study that is there, or (``live`` is None) of one that is to be made."""
    import os

    from hpo_batch.launch.machine import has_slurm
    from hpo_batch.launch.plan import Site, Standing, plan
    from hpo_batch.scheduler.gpus import local_gpus
    from hpo_batch.study.create import what_changes
    from hpo_batch.study.read import read_state
    from hpo_batch.study.stopped import nothing_left
    from hpo_batch.study.translate import wanted
    from hpo_batch.sweep.difference import Change
    from hpo_batch.sweep.rules import target

    is_local = sweep.job.scheduler == "local"
    gpus = tuple(gpu.uuid for gpu in local_gpus(os.environ)) if is_local else ()
    site = Site(has_slurm=has_slurm(), gpus=gpus, environ=os.environ)
    change = Change(created=True)
    standing = Standing(remaining=target(sweep))
    if live is not None:
        state = read_state(home)
        change = what_changes(home, sweep, state)
        finished = state.counts().finished
        remaining = max(0, wanted(sweep, state) - finished)
        standing = Standing(
            remaining=remaining,
            finished=finished,
            live_workers=live.workers,
            on_hold=live.on_hold,
            nothing_left=nothing_left(home, state, sweep) if remaining and not change.against else None,
            not_counted=live.not_counted,
            doubts=live.doubts,
        )
    return plan(home, sweep, change=change, site=site, standing=standing, workdir=workdir)


def _code_warnings(plan: Plan) -> list[str]:
    from hpo_batch.launch.provenance import code_changes
    from hpo_batch.store.submissions import read_submissions

    earlier = [s for s in read_submissions(plan.home) if s.code] if plan.workers else []
    changes = code_changes(plan.home, earlier[-1].code, workdir=plan.workdir) if earlier else []
    if not changes:
        return []
    what = "; ".join(changes)
    return [f"the code in {plan.workdir} is not what the last submission of {plan.home.name} ran: {what}"]


def _next_resume(plan: Plan, after: str, live: Live) -> int | None:
    """Which of the resumes in a row this one is; None, and why, if the collector may not."""
    from hpo_batch.launch.collector import why_not
    from hpo_batch.launch.task_exits import how_they_ended
    from hpo_batch.store.submissions import read_submissions
    from hpo_batch.study.read import read_state

    submissions = read_submissions(plan.home)
    mine = next((s for s in submissions if s.id == after), None)
    markers = plan.home.markers()
    state = read_state(plan.home)
    ended = how_they_ended(plan.home, mine, live.queue, state=state) if mine is not None and not markers else ()
    reason = why_not(submissions, after, sweep=plan.sweep, state=state, markers=markers, ended=ended)
    if reason is not None or mine is None:
        click.echo(f"{plan.home.name} is not resumed: {reason}", err=True)
        return None
    return mine.resumes + 1


def _dry_run(plan: Plan) -> list[str]:
    from hpo_batch.launch.sbatch import sbatch_text
    from hpo_batch.store.submissions import job_name

    lines = [*plan.lines(), *_nothing_left(plan)]
    if plan.change.against:
        lines += [f"  refused: {reason}" for reason in plan.change.against]
    if plan.workers and not plan.is_local:
        text = sbatch_text(
            plan.sweep.job,
            folder=plan.home.slurm,
            name=job_name(plan.home, "<id>"),
            workdir=plan.workdir,
            tasks=plan.tasks if plan.tasks > 1 else None,
            pickle="<id>.pkl",
        )
        lines += ["", text]
    return lines


def _nothing_left(plan: Plan) -> list[str]:
    from hpo_batch.cli.screen import stopped_lines

    stopped = plan.standing.nothing_left
    told = stopped_lines(stopped, plan.home.name)[1:] if stopped is not None else []  # its text is the plan's
    return [f"  {label:<8}{text}" for label, text in told]


def _submit(
    plans: list[Plan], tomls: Sequence[str], there: Mapping[str, Live], *, resumes: int
) -> tuple[list[Plan], HpoBatchError | None]:
    """Every budget's study; one that cannot be submitted does not stop the others. Those that were, and an error."""
    import os

    from hpo_batch.errors import HpoBatchError
    from hpo_batch.launch.submit import submit
    from hpo_batch.launch.updates import bring_up_to_date

    failed: HpoBatchError | None = None
    started: list[Plan] = []
    for plan, toml in zip(plans, tomls, strict=True):
        for line in (*plan.lines(), *_nothing_left(plan)):
            click.echo(line, err=True)
        try:
            with contextlib.chdir(plan.workdir):  # a sampler of the user's, ./job_templates/collector.toml
                submission = submit(plan, toml=toml, environ=os.environ, resumes=resumes)
        except HpoBatchError as error:
            if len(plans) == 1:
                raise
            click.echo(f"error: {plan.home.name}: {error}", err=True)
            failed = error
            continue
        started.append(plan)
        if submission is not None:
            what = "process" if plan.is_local else "job"
            plural = "es" if plan.is_local and plan.workers > 1 else ""
            click.echo(f"  started {what}{plural} {', '.join(submission.job_ids)}", err=True)
            if submission.limit:
                click.echo(
                    f"warning: {submission.workers} of {submission.asked} workers were submitted, SLURM took no more: "
                    f"{submission.limit}. The same command adds the others when there is room",
                    err=True,
                )
            _tell_of_collector(plan, submission)
        if plan.home.name in there:
            for line in bring_up_to_date(plan, there[plan.home.name]):
                click.echo(line if line.startswith("warning:") else f"  {line}", err=True)
        if plan.standing.remaining and plan.home.name in there:
            _start_held_back(plan, there[plan.home.name])
    return started, failed


def _tell_of_collector(plan: Plan, submission: Submission) -> None:
    if submission.collector:
        more = f", then resumes at most {plan.sweep.job.auto_resume} times" if plan.sweep.job.auto_resume else ""
        click.echo(f"  job {submission.collector} collects after them{more}", err=True)
    elif submission.collector_refused:
        click.echo(
            f"warning: the workers run, but the job that collects after them was not taken: "
            f"{submission.collector_refused}. Put what it needs (often partition) into ./job_templates/collector.toml "
            f"for the next time; after this one: {hint('collect', plan.home.name)}, {hint('resume', plan.home.name)}",
            err=True,
        )


def _start_held_back(plan: Plan, live: Live) -> None:
    """Requeued tasks wait two minutes on most sites; one whose user asked it to begin later waits as he said."""
    from hpo_batch.errors import CommandMissing, SlurmError
    from hpo_batch.scheduler.slurm.control import start_now

    if not live.held_back or "begin" in plan.sweep.job.sbatch:
        return
    tasks = ", ".join(live.held_back)
    try:
        start_now(live.held_back)
        click.echo(f"  requeued tasks start now instead of waiting: {tasks}", err=True)
    except (SlurmError, CommandMissing) as error:
        click.echo(f"warning: requeued tasks start later, when SLURM lets them ({tasks}): {error}", err=True)
