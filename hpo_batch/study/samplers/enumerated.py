"""Sources whose configurations are known in advance: the planned trials of a list, and the cells of a grid."""

from __future__ import annotations

from hpo_batch.journal.state import JournalState
from hpo_batch.space.space import Space
from hpo_batch.study.quota import Arm
from hpo_batch.study.samplers.base import SPARES, Candidate, Draw, Source, Unseen
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.size import grid_cells


class PlannedOnly(Source):
    """Draws nothing: the next trial of a list is decided under the lock."""

    def __init__(self, sweep: Sweep, space: Space, arm: Arm) -> None:
        pass

    def draw(self, state: JournalState, *, seed: int, again: bool, count: int = 1) -> Draw:
        return Draw(candidates=[], used_up=True)


class Grid(Source):
    """Every valid cell once over all workers, which walk the cells in the same order."""

    def __init__(self, sweep: Sweep, space: Space, arm: Arm) -> None:
        self._unseen = Unseen(grid_cells(sweep, space))

    def draw(self, state: JournalState, *, seed: int, again: bool, count: int = 1) -> Draw:
        # more spares than for a model: all workers want the same next cell
        cells = self._unseen.first(max(count, SPARES * 4), tried=state.number_of_key)
        return Draw(candidates=[Candidate(configuration=c, origin="grid") for c in cells], used_up=not cells)
