"""Create a new trial for the configuration of a failed one. The failed trial stays: nothing that ended is reopened.

The new trial waits in the journal with the old one's parameters and seeds, and its number in ``retry_of``; the next
claim takes it. It is created here and not in ``claim``, which would skip a configuration that was tried before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from hpo_batch.journal.attributes import FACTS
from hpo_batch.journal.encode import Record, Writer
from hpo_batch.journal.reader import summary_reader
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Configuration, TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.study.journal_params import JournalParams
from hpo_batch.study.read import read_revision


class Retried(Struct, frozen=True, kw_only=True):
    """The result of a retry."""

    made: tuple[tuple[int, int], ...]
    """(failed trial, its new trial), by number"""
    refused: tuple[tuple[int, str], ...]
    """(trial, why it is not retried)"""
    beyond_target: int
    """trials that are not retried because the target is met without them"""


def trials_to_retry(
    state: JournalState,
    named: Sequence[int],
    *,
    reason: str | None = None,
    matching: Collection[int] | None = None,
) -> list[int]:
    """Numbers of the trials to retry.

    Args:
        named: numbers of trials; empty: all failed trials.
        reason: only trials that failed for this reason.
        matching: only these numbers; None: all.
    """
    numbers = list(named) or sorted(state.by_state[TrialState.FAIL])
    return [
        number
        for number in numbers
        if (reason is None or state.trials[number].reason == reason) and (matching is None or number in matching)
    ]


def retry(home: StudyHome, numbers: Sequence[int], *, now: float, dry_run: bool = False) -> Retried:
    """Create a waiting trial for each of these failed trials that has none yet. Idempotent, also when run concurrently.

    Args:
        dry_run: only return what would be created, without the lock.

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
    refused: dict[int, str] = {}
    chosen: dict[str, int] = {}
    for number in sorted(set(numbers), reverse=True):  # of several with one configuration the newest is retried
        trial = state.trials[number]
        why = _why_not(trial, alike, chosen)
        if why is not None or trial.key is None:
            refused[number] = why or ""
        else:
            chosen[trial.key] = number
    counts = state.counts()
    room = max(0, counts.target - counts.finished - counts.running - counts.waiting)
    again = sorted(chosen.values())
    for number in again[room:]:
        refused[number] = f"all {counts.target} trials of the target are finished or under way"
    made = [(number, len(state.trials) + i) for i, number in enumerate(again[:room])]
    records = [_waiting(home, state, state.trials[number], now=now) for number, _ in made]
    return Retried(made=tuple(made), refused=tuple(sorted(refused.items())), beyond_target=len(again[room:])), records


def _why_not(trial: ScannedTrial, alike: dict[str, list[ScannedTrial]], chosen: dict[str, int]) -> str | None:
    if trial.state is not TrialState.FAIL:
        return f"it is {trial.state.name}: only failed trials are retried"
    if trial.key is None:
        return "hpo-batch did not create it, or its configuration is lost"
    if trial.key in chosen:
        return f"trial {chosen[trial.key]} has the same configuration and failed later"
    other = next((one for one in reversed(alike[trial.key]) if one.state is not TrialState.FAIL), None)
    return None if other is None else f"trial {other.number} has the same configuration and is {other.state.name}"


def _waiting(home: StudyHome, state: JournalState, trial: ScannedTrial, *, now: float) -> Record:
    params, distributions = trial.stored_params
    if params.keys() != trial.params.keys():
        # enqueued with plain Optuna, which writes each parameter as a record of its own
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
