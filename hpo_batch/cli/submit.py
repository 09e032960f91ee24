"""``hpo-batch submit``: start a sweep or go on with it. The same command resumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import hint, logs_root, root_option
from hpo_batch.errors import Exit, UserError

if TYPE_CHECKING:
    from hpo_batch.launch.plan import Plan
    from hpo_batch.monitor.queue import Queue
    from hpo_batch.sweep.schema import Sweep


@click.command(name="submit", context_settings={"ignore_unknown_options": False})
@click.argument("sweep", type=click.Path(path_type=Path))
@click.argument("sbatch_options", nargs=-1, type=click.UNPROCESSED)
@click.option("--local", is_flag=True, help="Run on this machine: the same as --set job.template=local.")
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
    wait: bool,
    dry_run: bool,
    root: Path | None,
    **of_job: str | None,
) -> int | None:
    """Start SWEEP, or go on with it. What follows -- goes to sbatch: hpo-batch submit sweep.toml -- --exclusive

    SBATCH_* variables fill what the sweep leaves open; the plan shows which.
    """
    from hpo_batch.cli.describe import describe_imports, describe_sharing, objective_warnings
    from hpo_batch.launch.submit import note_found
    from hpo_batch.store.home import home_of
    from hpo_batch.sweep.load import load
    from hpo_batch.sweep.part import part_of
    from hpo_batch.sweep.rules import warnings

    chosen = list(overrides)
    chosen += ["job.template=local"] if local else []
    chosen += [f"job.workers={workers}"] if workers is not None else []
    chosen += [f"study.trials={trials}"] if trials is not None else []
    chosen += [f"job.{key}={json.dumps(value)}" for key, value in of_job.items() if value is not None]
    chosen += [f"job.{key_of_job(key)}={value}" for key, value in parse_sbatch_options(sbatch_options)]
    sweeps = part_of(load(sweep, overrides=chosen), start_from=start_from, only=only, set_of=set_of)
    for one in sweeps:
        for warning in warnings(one):
            click.echo(f"warning: {warning}", err=True)
        missing = objective_warnings(one)
        if missing and one.job.python is None and not one.job.setup:
            raise UserError("\n".join(missing))
        for warning in missing:
            click.echo(f"warning: {warning}", err=True)
    queue = _queue(sweeps, logs_root(root), dry_run=dry_run)
    for one in sweeps:
        lines, doubts = describe_imports(one, home_of(logs_root(root), one.path))
        for line in (*lines, *(f"warning: {doubt}" for doubt in doubts)):
            click.echo(line, err=True)
    plans = [_plan(one, logs_root(root), queue) for one in sweeps]
    for plan in plans:
        for warning in (*plan.warnings, *describe_sharing(plan.sweep, plan.home)[1]):
            click.echo(f"warning: {warning}", err=True)
    if dry_run:
        for plan in plans:
            click.echo("\n".join(_dry_run(plan)))
        return None
    for plan in plans:
        if plan.home.exists:
            note_found(plan.home, queue)
    return _submit(plans, sweep.read_text(encoding="utf-8"), wait=wait)


def parse_sbatch_options(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """``--qos=high``, ``--qos high`` and ``--exclusive`` as key and TOML value.

    Raises:
        UserError: a word that is not a long option.
    """
    options: list[tuple[str, str]] = []
    for word in words:
        if word.startswith("--") and len(word) > 2:
            key, equals, value = word[2:].partition("=")
            options.append((key, json.dumps(value) if equals else "true"))
        elif options and options[-1][1] == "true" and not word.startswith("-"):
            options[-1] = (options[-1][0], json.dumps(word))
        else:
            raise UserError(f"'{word}' after -- is not an option of sbatch in its long form, such as --qos=high")
    return options


def key_of_job(option: str) -> str:
    """The key of ``[job]`` that says the same as an option of sbatch, if there is one: a plan must know of it."""
    same = ("account", "constraint", "dependency", "exclude", "gpus-per-node", "gres", "nodelist", "partition", "qos")
    if option in (*same, "reservation"):
        return option.replace("-", "_")
    return "walltime" if option == "time" else f"sbatch.{option}"


def _queue(sweeps: tuple[Sweep, ...], root: Path, *, dry_run: bool) -> Queue:
    """What SLURM has of the studies of all budgets: one question."""
    from hpo_batch.monitor.queue import ask
    from hpo_batch.store.home import check_enterable, check_writable, home_of
    from hpo_batch.store.submissions import read_submissions

    homes = [home_of(root, sweep.path) for sweep in sweeps]
    for home in homes:
        (check_enterable if dry_run else check_writable)(home.path)
    return ask(submission for home in homes if home.exists for submission in read_submissions(home))


def _plan(sweep: Sweep, root: Path, queue: Queue) -> Plan:
    import os

    from hpo_batch.cluster.gpus import local_gpus
    from hpo_batch.launch.plan import Site, Standing, plan
    from hpo_batch.monitor.status import live_workers
    from hpo_batch.processes import exists
    from hpo_batch.store.home import home_of
    from hpo_batch.study.comparable import wanted
    from hpo_batch.study.create import read_state, what_changes
    from hpo_batch.sweep.difference import Change
    from hpo_batch.sweep.rules import target

    home = home_of(root, sweep.path)
    is_local = sweep.job.scheduler == "local"
    gpus = tuple(gpu.uuid for gpu in local_gpus(os.environ)) if is_local else ()
    site = Site(has_slurm=exists("sbatch") and exists("srun"), gpus=gpus, environ=os.environ)
    change = Change(created=True)
    standing = Standing(remaining=target(sweep))
    if home.exists:
        state = read_state(home)
        change = what_changes(home, sweep, state)
        finished = state.counts().finished
        remaining = max(0, wanted(sweep, state) - finished)
        standing = Standing(remaining=remaining, finished=finished, live_workers=live_workers(home, queue))
    return plan(home, sweep, change=change, site=site, standing=standing, workdir=Path.cwd())


def _dry_run(plan: Plan) -> list[str]:
    from hpo_batch.launch.sbatch import sbatch_text
    from hpo_batch.store.submissions import job_name

    lines = plan.lines()
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


def _submit(plans: list[Plan], toml: str, *, wait: bool) -> int | None:
    """Every budget's study; one that cannot be submitted does not stop the others."""
    import os

    from hpo_batch.errors import HpoBatchError
    from hpo_batch.launch.submit import submit

    failed: HpoBatchError | None = None
    started: list[Plan] = []
    for plan in plans:
        for line in plan.lines():
            click.echo(line, err=True)
        try:
            submission = submit(plan, toml=toml, environ=os.environ)
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
    code: int | None = None
    if wait and started:
        from hpo_batch.cli.follow import follow

        code = follow([plan.home for plan in started])
    elif started:
        name = started[0].sweep.study.name
        first = started[0].home.name
        click.echo(f"next: {hint('status', name)}   {hint('logs', first, '0')}   {hint('collect', name)}", err=True)
    return failed.exit_code if failed is not None else code if code is not None else Exit.OK
