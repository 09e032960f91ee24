"""``hpo-batch retry``: a new trial for the configuration of each failed one."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import hint, live_homes, logs_root, one_study, root_option
from hpo_batch.errors import StudyNotFound, UserError
from hpo_batch.records import Reason, TrialState

if TYPE_CHECKING:
    from hpo_batch.journal.state import JournalState
    from hpo_batch.store.home import StudyHome
    from hpo_batch.study.retry import Retried


@click.command(name="retry")
@click.argument("study_and_trials", nargs=-1, metavar="[STUDY] [TRIAL ...]")
@click.option("--reason", type=click.Choice([r.value for r in Reason]), help="Only trials that failed for this reason.")
@click.option("--filter", "where", metavar="EXPR", help='Only matching trials: "n_layers > 4", failed.')
@click.option("--resume", is_flag=True, help="Then start the missing workers, as hpo-batch resume does.")
@click.option("-n", "--dry-run", is_flag=True, help="Show which trials would be retried; write nothing.")
@root_option
def command(
    study_and_trials: tuple[str, ...],
    reason: str | None,
    where: str | None,
    resume: bool,
    dry_run: bool,
    root: Path | None,
) -> int | None:
    """Retry failed trials. TRIAL is a number, a name, or 1-3; default: all failed trials.

    A failed trial stays as it is, and a new one gets its configuration. Trials that were retried before are skipped.
    """
    from hpo_batch.monitor.reader import load_state, trial_numbers
    from hpo_batch.store.sharing import check_ours
    from hpo_batch.study.retry import retry, trials_to_retry

    home, trials = _parse(study_and_trials, logs_root(root))
    # before the study is read, since that takes seconds if it is large
    if not dry_run:
        check_ours(home)
    state = load_state(home)
    named = trial_numbers(state, *trials)
    matching = None if where is None else _matching(home, where)
    numbers = trials_to_retry(state, named, reason=reason, matching=matching)
    retried = retry(home, numbers, now=time.time(), dry_run=dry_run)
    _print(retried, home, state, dry_run=dry_run)
    if not retried.made:
        if named and not any(state.trials[number].state is TrialState.FAIL for number in named):
            raise UserError("none of these trials has failed; nothing to retry")
        click.echo(f"{home.name}: nothing to retry", err=True)
    if resume:
        from hpo_batch.cli.resume import resume_homes

        return resume_homes([home], [], wait=False, dry_run=dry_run)
    if retried.made and not dry_run:
        click.echo(f"run them: {hint('resume', home.name)}", err=True)
    return None


def _print(retried: Retried, home: StudyHome, state: JournalState, *, dry_run: bool) -> None:
    verb = "would be" if dry_run else "is"
    for failed, new in retried.made:
        click.echo(
            f"trial {new} {verb} the retry of trial {failed} ({state.trials[failed].reason or 'unknown'})", err=True
        )
    for number, why in retried.refused:
        click.echo(f"trial {number} is not retried: {why}", err=True)
    if retried.beyond_target:
        more = state.target + retried.beyond_target
        ask_for = hint("resume", home.name, "--set", f"study.trials={more}")
        click.echo(f"to retry those too, raise the target ({ask_for}), then retry", err=True)


def _parse(words: Sequence[str], root: Path) -> tuple[StudyHome, Sequence[str]]:
    """The study and the trials. Numbers and ranges are trials; a name may be a trial's or a study's."""
    # the first word alone may be a study: after it come trials
    if words and not re.fullmatch(r"[0-9-]+", words[0]):
        try:
            return one_study(words[0], root), words[1:]
        except StudyNotFound as not_found:
            # then it may be a trial of the only study with trials left; else the first error is the better one
            try:
                home = _only(root)
            except UserError:
                raise not_found from None
            from hpo_batch.monitor.reader import load_state, trial_names

            if words[0] not in trial_names(load_state(home)):
                raise not_found from None
            return home, words
    return _only(root), words


def _only(root: Path) -> StudyHome:
    homes = live_homes(None, root)
    if len(homes) > 1:
        raise UserError(f"several budgets have trials left: {', '.join(home.name for home in homes)}; name one")
    return homes[0]


def _matching(home: StudyHome, where: str) -> set[int]:
    """Numbers of the trials for which a filter holds."""
    from hpo_batch.results.select import filtered
    from hpo_batch.sources.study import read_study

    return {int(number) for number in filtered(read_study(home, attempts=False, frozen=False).trials, where)["number"]}
