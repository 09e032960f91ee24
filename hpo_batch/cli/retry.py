"""``hpo-batch retry``: another trial for configurations whose trials have failed."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import hint, live_homes, logs_root, one_study, root_option, trial_numbers
from hpo_batch.errors import StudyNotFound, UserError
from hpo_batch.records import Reason, TrialState

if TYPE_CHECKING:
    from hpo_batch.journal.state import JournalState
    from hpo_batch.store.home import StudyHome


@click.command(name="retry")
@click.argument("study_and_trials", nargs=-1, metavar="[STUDY] [TRIAL ...]")
@click.option("--reason", type=click.Choice([r.value for r in Reason]), help="Only trials that failed for it.")
@click.option("--filter", "where", metavar="EXPR", help='Only trials for which it holds: "n_layers > 4", failed.')
@click.option("--resume", is_flag=True, help="Add the workers that the study lacks, as hpo-batch resume does.")
@click.option("-n", "--dry-run", is_flag=True, help="Say which trials would be tried again; write nothing.")
@root_option
def command(
    study_and_trials: tuple[str, ...],
    reason: str | None,
    where: str | None,
    resume: bool,
    dry_run: bool,
    root: Path | None,
) -> int | None:
    """Try failed trials again: TRIAL is a number, a name, or 1-3; left out, all that have failed.

    A failed trial stays as it is; a new one gets its configuration. One that was tried again already is left alone.
    """
    from hpo_batch.launch.ownership import check_ours
    from hpo_batch.monitor.reader import load_state
    from hpo_batch.study.retry import retry

    home, trials = _parse(study_and_trials, logs_root(root))
    if not dry_run:
        check_ours(home)
    state = load_state(home)
    named = _named(state, trials)
    numbers = _chosen(home, state, named, reason=reason, where=where)
    retried = retry(home, numbers, now=time.time(), dry_run=dry_run)
    verb = "would be" if dry_run else "is"
    for failed, new in retried.made:
        click.echo(
            f"trial {new} {verb} the retry of trial {failed} ({state.trials[failed].reason or 'unknown'})", err=True
        )
    for number, why in retried.left:
        click.echo(f"trial {number} is not tried again: {why}", err=True)
    if retried.beyond:
        more = state.target + retried.beyond
        ask_for = hint("resume", home.name, "--set", f"study.trials={more}")
        click.echo(f"for those too, ask for more trials ({ask_for}), then retry", err=True)
    if not retried.made:
        if named and not any(state.trials[number].state is TrialState.FAIL for number in named):
            raise UserError("none of these trials has failed: there is nothing to try again")
        click.echo(f"{home.name}: nothing to try again", err=True)
    if resume:
        from hpo_batch.cli.resume import resume_homes

        return resume_homes([home], [], wait=False, dry_run=dry_run)
    if retried.made and not dry_run:
        click.echo(f"they run with: {hint('resume', home.name)}", err=True)
    return None


def _parse(words: Sequence[str], root: Path) -> tuple[StudyHome, Sequence[str]]:
    """The study and the trials. No study is called like a number or a range; a name may be a trial's or a study's."""
    if words and not re.fullmatch(r"[0-9-]+", words[0]):
        try:
            return one_study(words[0], root), words[1:]
        except StudyNotFound as not_found:
            try:
                home = _only(root)
            except UserError:
                raise not_found from None
            from hpo_batch.monitor.reader import load_state

            if words[0] not in _names(load_state(home)):
                raise not_found from None
            return home, words
    return _only(root), words


def _only(root: Path) -> StudyHome:
    homes = live_homes(None, root)
    if len(homes) > 1:
        raise UserError(f"several budgets have trials left: {', '.join(home.name for home in homes)}; name one")
    return homes[0]


def _names(state: JournalState) -> dict[str, int]:
    return {t.facts["name"]: t.number for t in state.trials if t.facts.get("name")}


def _named(state: JournalState, texts: Sequence[str]) -> list[int]:
    names = _names(state)
    return [number for text in texts for number in trial_numbers(text, names, len(state.trials))]


def _chosen(
    home: StudyHome, state: JournalState, named: Sequence[int], *, reason: str | None, where: str | None
) -> list[int]:
    numbers = list(named) or sorted(state.by_state[TrialState.FAIL])
    if reason is not None:
        numbers = [number for number in numbers if state.trials[number].reason == reason]
    if where is not None:
        from hpo_batch.cli.collect import read_table
        from hpo_batch.results.select import filtered

        frame = read_table(home).trials
        kept = {int(number) for number in filtered(frame, where)["number"]}
        numbers = [number for number in numbers if number in kept]
    return numbers
