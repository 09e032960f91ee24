"""``hpo-batch logs``: what a trial wrote, attempt by attempt; or its worker, where an attempt left nothing."""

from __future__ import annotations

from pathlib import Path

import click

from hpo_batch.cli.options import logs_root, one_study, root_option, trial_numbers
from hpo_batch.errors import StorageError


@click.command(name="logs")
@click.argument("study_and_trial", nargs=-1, required=True, metavar="[STUDY] TRIAL")
@click.option("--attempt", type=int, help="Which attempt [default: the last].")
@click.option("-f", "--follow", is_flag=True, help="Go on printing while the trial runs, also in its next attempt.")
@click.option("--worker", is_flag=True, help="The log of the worker (array task) that ran it, instead.")
@click.option("--raw", is_flag=True, help="As it was written, also what steers the terminal: only of code you trust.")
@root_option
def command(
    study_and_trial: tuple[str, ...], attempt: int | None, follow: bool, worker: bool, raw: bool, root: Path | None
) -> None:
    """Print what TRIAL (a number, a name, or 1-3) wrote, or why it failed. STUDY left out: the newest."""
    from hpo_batch.cli.trial_output import follow_trial, print_trial, print_worker
    from hpo_batch.monitor.reader import StudyReader

    if len(study_and_trial) > 2:
        raise click.UsageError("give a study and a trial: hpo-batch logs STUDY TRIAL")
    if worker and follow:
        raise click.UsageError("--follow prints what a trial writes: leave --worker out")
    if follow and attempt is not None:
        raise click.UsageError("--follow goes on to the newest attempt: leave --attempt out")
    study = study_and_trial[0] if len(study_and_trial) == 2 else None
    home = one_study(study, logs_root(root))
    reader = StudyReader(home)
    state = reader.read()
    names = {t.facts["name"]: t.number for t in state.trials if t.facts.get("name")}
    for number in trial_numbers(study_and_trial[-1], names, len(state.trials)):
        try:
            if worker:
                print_worker(home, reader.read().trials[number], attempt, raw=raw)
                continue
            printed = print_trial(home, reader.read().trials[number], attempt, follow=follow, raw=raw)
            if follow:
                follow_trial(home, reader, number, printed)
        except PermissionError as error:
            raise StorageError(f"no permission to read '{error.filename}'; its owner can give it") from error
