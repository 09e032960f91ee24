"""Another trial for a configuration whose trial has failed. The failed one stays as it is: nothing ended is reopened.

The new trial waits in the journal, with the parameters and seeds of the old one and its number in ``retry_of``; the
next claim takes it. It is made past the rule that a configuration is tried once: here, and not in ``claim``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpo_batch.journal.attributes import FACTS
from hpo_batch.journal.encode import Record, Writer
from hpo_batch.journal.reader import summary_reader
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Configuration, TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.study.journal_params import JournalParams
from hpo_batch.study.read import read_revision


@dataclass(frozen=True, kw_only=True)
class Retried:
    """What came of the trials that were named."""

    made: tuple[tuple[int, int], ...]
    """numbers of failed trials, each with that of the trial that was made for it"""
    left: tuple[tuple[int, str], ...]
    """numbers of those that got none, and why"""
    beyond: int
    """how many got none because as many trials are finished or under way as were asked for"""


def retry(home: StudyHome, numbers: Sequence[int], *, now: float, dry_run: bool = False) -> Retried:
    """Make a waiting trial for each of these failed trials that has none yet. Done twice, also at once, it makes one.

    Args:
        dry_run: say what would be made, without lock and without writing.

    Raises:
        StorageError: the journal cannot be read or written.
    """
    reader = summary_reader(home.journal)
    state = reader.state
    if dry_run:
        return _decide(home, reader.read(), numbers, now=now)[0]
    with reader.journal.transaction() as transaction:
        state.apply(transaction.new)
        retried, records = _decide(home, state, numbers, now=now)
        if records:
            transaction.append(records, sync=True)
    return retried


def _decide(
    home: StudyHome, state: JournalState, numbers: Sequence[int], *, now: float
) -> tuple[Retried, list[Record]]:
    alike: dict[str, list[ScannedTrial]] = {}
    for trial in state.trials:
        if trial.key is not None:
            alike.setdefault(trial.key, []).append(trial)
    left: dict[int, str] = {}
    chosen: dict[str, int] = {}
    for number in sorted(set(numbers), reverse=True):  # of several that have failed alike the newest is tried again
        trial = state.trials[number]
        why = _why_not(trial, alike, chosen)
        if why is not None or trial.key is None:
            left[number] = why or ""
        else:
            chosen[trial.key] = number
    counts = state.counts()
    room = max(0, counts.target - counts.finished - counts.running - counts.waiting)
    again = sorted(chosen.values())
    for number in again[room:]:
        left[number] = f"all {counts.target} trials that were asked for are finished or under way"
    made = [(number, len(state.trials) + i) for i, number in enumerate(again[:room])]
    records = [_waiting(home, state, state.trials[number], now=now) for number, _ in made]
    return Retried(made=tuple(made), left=tuple(sorted(left.items())), beyond=len(again[room:])), records


def _why_not(trial: ScannedTrial, alike: dict[str, list[ScannedTrial]], chosen: dict[str, int]) -> str | None:
    if trial.state is not TrialState.FAIL:
        return f"it is {trial.state.name}: only failed trials are tried again"
    if trial.key is None:
        return "hpo-batch did not make it, or has lost it: it cannot be repeated"
    if trial.key in chosen:
        return f"trial {chosen[trial.key]} has its configuration and failed later"
    other = next((one for one in reversed(alike[trial.key]) if one.state is not TrialState.FAIL), None)
    return None if other is None else f"trial {other.number} has its configuration and is {other.state.name}"


def _waiting(home: StudyHome, state: JournalState, trial: ScannedTrial, *, now: float) -> Record:
    params, distributions = trial.stored_params
    if params.keys() != trial.params.keys():
        # it was put into the queue with plain Optuna: its parameters are records of their own
        space = read_revision(home, state).space
        fixed = {p.name for p in space.fixed}
        params, distributions = JournalParams(space)(
            Configuration(
                searched={name: value for name, value in trial.params.items() if name not in fixed},
                fixed={name: value for name, value in trial.params.items() if name in fixed},
            )
        )
    facts = {key: value for key, value in trial.facts.items() if key != "repeats"}
    return Writer("retry").create_trial(
        now=now,
        state=TrialState.WAITING,
        params=params,
        distributions=distributions,
        system_attrs={FACTS: {**facts, "revision": state.revision, "retry_of": trial.number}},
    )
