"""``hpo-batch submit``: start a sweep or continue it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import check_trusted, hint, logs_root, root_option
from hpo_batch.errors import Exit

if TYPE_CHECKING:
    from hpo_batch.launch.facts import Fact
    from hpo_batch.launch.plan import Plan
    from hpo_batch.launch.submit import Request, Result
    from hpo_batch.store.submissions import Submission


@click.command(name="submit", context_settings={"ignore_unknown_options": False})
@click.argument("sweep", type=click.Path(path_type=Path))
@click.argument("sbatch_options", nargs=-1, type=click.UNPROCESSED)
@click.option("--local", is_flag=True, help="Run on this machine; SLURM settings of SWEEP are ignored.")
@click.option("--workers", type=int, help="Number of workers; same as --set job.workers=N.")
@click.option("--trials", type=int, help="Total number of finished trials; same as --set study.trials=N.")
@click.option("--partition", help="Same as --set job.partition=NAME.")
@click.option("--account", help="Same as --set job.account=NAME.")
@click.option("--qos", help="Same as --set job.qos=NAME.")
@click.option("--constraint", help="Same as --set job.constraint=FEATURES.")
@click.option("--exclude", help="Same as --set job.exclude=NODES.")
@click.option("--dependency", help="Same as --set job.dependency=WHAT, such as afterok:1234.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the sweep.")
@click.option("--start-from", metavar="BUDGET", help="Only this [[budget]] and the following ones.")
@click.option("--only", metavar="NAMES", help="Of a list, only the [[trial]]s with these names: A1,A2.")
@click.option("--set-of", metavar="SET", help="Of a list, only the [[trial]]s of this set.")
@click.option("--fresh", is_flag=True, help="Start over; moves the existing study to the trash, as rm does.")
@click.option("--wait", is_flag=True, help="Wait until all workers have ended, then print the results.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the plan and the scripts; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was started as JSON, described in docs/json.md.")
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
    as_json: bool,
    root: Path | None,
    **of_job: str | None,
) -> int | None:
    """Start SWEEP, or continue it. Options after -- are passed to sbatch: hpo-batch submit sweep.toml -- --exclusive

    SBATCH_* variables apply to options that the sweep does not set; the plan shows them.
    """
    from hpo_batch.launch.submit import requests_of_file
    from hpo_batch.scheduler.slurm.options import key_of_job, parse_options

    # later overrides win: an option of its own is more specific than --set, and sbatch's own options are the last word
    chosen = list(overrides)
    chosen += ["job.template=local"] if local else []
    chosen += [f"job.workers={workers}"] if workers is not None else []
    chosen += [f"study.trials={trials}"] if trials is not None else []
    chosen += [f"job.{key}={json.dumps(value)}" for key, value in of_job.items() if value is not None]
    for option, value in parse_options(sbatch_options):
        key, literal = key_of_job(option, value)
        chosen.append(f"job.{key}={literal}")
    requests = requests_of_file(
        sweep, root=logs_root(root), overrides=chosen, start_from=start_from, only=only, set_of=set_of
    )
    check_trusted([one.home for one in requests], root=root, study=sweep.name)  # naming its TOML counts as naming it
    return run(requests, wait=wait, dry_run=dry_run, fresh=fresh, as_json=as_json)


def run(
    requests: Sequence[Request],
    *,
    wait: bool,
    dry_run: bool,
    fresh: bool = False,
    after: str | None = None,
    as_json: bool = False,
) -> int | None:
    """Submit, print events and return the exit code; also for ``resume`` and ``retry``."""
    from hpo_batch.launch.submit import submit_sweeps

    facts: list[Fact] = []

    def tell(fact: Fact) -> None:
        facts.append(fact)
        if dry_run and not as_json:
            _print_planned(fact)
        else:
            _print(fact)

    result = submit_sweeps(requests, tell=tell, dry_run=dry_run, fresh=fresh, after=after)
    if as_json:
        _print_json(result, facts, dry_run=dry_run)
    if dry_run:
        # fail where submit would, so that `submit -n && submit` does not fail at the second step
        return Exit.BAD_INPUT if any(plan.change.against for plan in result.plans) else None
    # a collector that has nothing to resume has done its work
    if after is not None and not result.started:
        return None
    # the other budgets run although one failed: follow them, then report the failure
    code = _go_on(result, wait=wait, tables=not as_json)
    if result.error is not None:
        return result.error.exit_code
    if code is None:
        return Exit.TRIALS_FAILED if any(plan.standing.nothing_left for plan in result.plans) else Exit.OK
    return code


def _print_json(result: Result, facts: Sequence[Fact], *, dry_run: bool) -> None:
    from hpo_batch.files import shown_json
    from hpo_batch.launch.as_json import as_json

    click.echo(shown_json(as_json(result.plans, facts, dry_run=dry_run), indent=2))


def _go_on(result: Result, *, wait: bool, tables: bool) -> int | None:
    """Follow the workers, or print the next commands; returns the exit code of ``--wait``."""
    if wait and result.started:
        from hpo_batch.cli.follow import follow

        return follow([plan.home for plan in result.started], tables=tables)
    if result.started:
        first = result.started[0].home.name
        name = first.partition("/")[0]  # of all budgets; the sweep's own name is another one if the folder was renamed
        click.echo(f"next: {hint('status', name)}   {hint('logs', first, '0')}   {hint('collect', name)}", err=True)
    return None


def _print(fact: Fact) -> None:
    for line in _lines(fact):
        click.echo(line, err=True)


def _print_planned(fact: Fact) -> None:
    """Print an event of a dry run; the plan goes to stdout, because it is the result."""
    from hpo_batch.launch.facts import Planned
    from hpo_batch.launch.preview import preview

    if isinstance(fact, Planned):
        click.echo("\n".join((*_lines(fact), *preview(fact.plan))))
    else:
        _print(fact)


def _lines(fact: Fact) -> list[str]:
    """A fact as lines of text."""
    from hpo_batch.launch import facts

    match fact:
        case facts.Note() | facts.Warned():
            return [str(fact)]
        case facts.PutAside():
            return [f"{fact.home.name}: {fact.why}; starting over", *([f"  moved to {fact.path}"] if fact.path else [])]
        case facts.Planned():
            return [*fact.plan.lines(), *_nothing_left(fact.plan)]
        case facts.Submitted():
            return _submitted_lines(fact.plan, fact.submission)
        case facts.Refused():
            return [f"error: {fact.home.name}: {fact.error}"]
        case facts.NotResumed():
            return [f"{fact.home.name} is not resumed: {fact.reason}"]


def _nothing_left(plan: Plan) -> list[str]:
    from hpo_batch.cli.screen import stopped_lines

    stopped = plan.standing.nothing_left
    lines = stopped_lines(stopped, plan.home.name)[1:] if stopped is not None else []  # its text is the plan's
    return [f"  {label:<8}{text}" for label, text in lines]


def _submitted_lines(plan: Plan, submission: Submission) -> list[str]:
    what = "process" if plan.is_local else "job"
    plural = "es" if plan.is_local and plan.workers > 1 else ""
    lines = [f"  started {what}{plural} {', '.join(submission.job_ids)}"]
    if submission.limit:
        lines.append(
            f"warning: only {submission.workers} of {submission.asked} workers were submitted: {submission.limit}. "
            f"Run the same command again later to add the rest"
        )
    if submission.collector:
        lines.append(f"  job {submission.collector} collects the results after them")
    elif submission.collector_refused:
        lines.append(
            f"warning: the workers were submitted, but SLURM refused the collector: {submission.collector_refused}. "
            f"Add what it needs (often partition) to ./job_templates/collector.toml for the next time; after this run: "
            f"{hint('collect', plan.home.name)}, {hint('resume', plan.home.name)}"
        )
    return lines
