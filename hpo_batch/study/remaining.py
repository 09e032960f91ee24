"""What a study has left to try: planned trials without a trial in the journal, and untried configurations."""

from __future__ import annotations

from collections.abc import Sequence

from hpo_batch.journal.state import JournalState
from hpo_batch.records import TrialState
from hpo_batch.space.cells import size, valid_cells
from hpo_batch.space.enumerate import TooManySteps
from hpo_batch.sweep.planned import Planned, planned_trials
from hpo_batch.sweep.schema import Sweep


def unmade_plans(planned: Sequence[Planned], state: JournalState) -> list[Planned]:
    """The planned trials that are not in the journal yet."""
    return [p for p in planned if (p.origin, p.name, p.configuration.key) not in state.made]


def is_used_up(sweep: Sweep, state: JournalState) -> bool:
    """Whether every configuration has been tried; False if finding out would take too long."""
    if state.by_state[TrialState.WAITING] or state.by_state[TrialState.RUNNING]:
        return False
    if unmade_plans(planned_trials(sweep), state):
        return False
    if sweep.sampler.capabilities.is_list:
        return True
    if sweep.sampler.duplicates == "replicate" and state.by_state[TrialState.COMPLETE]:
        return False
    if size(sweep.space).all is None:
        return False
    try:
        return all(configuration.key in state.number_of_key for configuration in valid_cells(sweep.space))
    except TooManySteps:
        return False
