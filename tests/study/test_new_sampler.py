"""A sampler from outside: a module of its own and one entry in the table. Rules and claims ask what it can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.errors import SweepInvalid
from hpo_batch.journal.state import JournalState
from hpo_batch.records import IdleWhy
from hpo_batch.space.cells import valid_cells
from hpo_batch.space.space import Space
from hpo_batch.study.quota import Arm
from hpo_batch.study.samplers import Candidate, Draw, Source
from hpo_batch.sweep import samplers
from hpo_batch.sweep.samplers import Capabilities
from hpo_batch.sweep.schema import Sweep

from .helpers import make, state_of, work

CELLS = "a = [1, 2, 3]"


class Backwards(Source):
    """All cells, the last first."""

    def __init__(self, sweep: Sweep, space: Space, arm: Arm) -> None:
        self._cells = list(valid_cells(space))[::-1]

    def draw(self, state: JournalState, *, seed: int, again: bool, count: int = 1) -> Draw:
        cells = [cell for cell in self._cells if cell.key not in state.number_of_key]
        return Draw(candidates=[Candidate(configuration=c, origin="backwards") for c in cells], used_up=not cells)


@pytest.fixture(autouse=True)
def _in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Capabilities(source=f"{__name__}:Backwards", is_sequence=True)
    monkeypatch.setitem(samplers.SAMPLERS, "backwards", entry)


def test_it_proposes_until_the_space_is_used_up(root: Path) -> None:
    home = make(root, study="trials = 9", space=CELLS, sampler='name = "backwards"')
    _, idle = work(home)
    trials = state_of(home).trials
    assert [trial.params["a"] for trial in trials] == [3, 2, 1]
    assert {trial.identity.origin for trial in trials} == {"backwards"}
    assert idle is not None
    assert idle.why is IdleWhy.SPACE_USED_UP


def test_the_rules_know_what_it_can_do(root: Path) -> None:
    with pytest.raises(SweepInvalid, match="has no option 'step'"):
        make(root, space=CELLS, sampler='name = "backwards"\noptions = { step = 1 }')
