"""What a study has left to try: planned trials without a trial in the journal, and untried configurations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpo_batch.journal.state import JournalState
from hpo_batch.records import TrialState
from hpo_batch.space.cells import size, valid_cells
from hpo_batch.space.enumerate import TooManySteps
from hpo_batch.study.stop_rules import StopRules

if TYPE_CHECKING:
    from hpo_batch.sweep.planned import Planned


def unmade_plans(planned: Sequence[Planned], state: JournalState) -> list[Planned]:
    """The planned trials that are not in the journal yet."""
    return [p for p in planned if (p.origin, p.name, p.configuration.key) not in state.made]


def is_used_up(rules: StopRules, state: JournalState) -> bool:
    """Whether every configuration has been tried; False if finding out would take too long."""
    if state.by_state[TrialState.WAITING] or state.by_state[TrialState.RUNNING]:
        return False
    # the plan last: to know it, status loads the schema of sweeps
    return not _proposes_more(rules, state) and not unmade_plans(rules.planned(), state)


def _proposes_more(rules: StopRules, state: JournalState) -> bool:
    """Whether the sampler has another configuration to propose; True if finding out would take too long."""
    if rules.sampler.is_list:
        return False
    if rules.replicates_duplicates and state.by_state[TrialState.COMPLETE]:
        return True
    if size(rules.space).all is None:
        return True
    try:
        return any(configuration.key not in state.number_of_key for configuration in valid_cells(rules.space))
    except TooManySteps:
        return True
