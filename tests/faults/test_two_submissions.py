"""Two submissions that make one study at the same moment make one study; so do many, and with workers in between."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from hpo_batch.errors import Irreconcilable
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study.create import create
from hpo_batch.study.read import read_revision
from hpo_batch.sweep.schema import Sweep
from tests.journal.helpers import assert_read_as_optuna_reads
from tests.processes import in_processes
from tests.study.helpers import Text, make, state_of, sweep_of, work

ROUNDS = 25


def submits(home: StudyHome, sweep: Sweep, toml: str, begin: float) -> str:
    while time.monotonic() < begin:
        time.sleep(0.0001)
    try:
        change = create(home, sweep, toml=toml, now=time.time())
    except Irreconcilable as error:
        return str(error)
    return "created" if change.created else "; ".join(change.lines)


def at_once(home: StudyHome, sweeps: list[Sweep]) -> list[str]:
    begin = time.monotonic() + 0.03
    calls: list[tuple[Any, ...]] = [(submits, home, sweep, f"# {i}", begin) for i, sweep in enumerate(sweeps)]
    return [str(said) for said in in_processes(calls)]


def test_the_same_sweep_submitted_twice_at_once_is_one_study(root: Path) -> None:
    sweep = sweep_of(root, Text(study="trials = 2"))
    for number in range(ROUNDS):
        home = home_of(root / str(number), "s")
        said = at_once(home, [sweep] * 3)
        assert sorted(said) == ["", "", "created"]
        state = state_of(home)
        assert (state.study_name, state.revision, state.target) == ("s", 1, 2)
        assert read_revision(home, state) == sweep
        assert home.journal.read_text().count('"study_name"') == 1
    assert work(home)[0] == [0, 1]
    assert_read_as_optuna_reads(home.journal)


def test_two_editions_submitted_at_once_are_two_revisions_in_some_order(root: Path) -> None:
    small, large = (sweep_of(root, Text(study=f"trials = {n}")) for n in (2, 5))
    targets = set()
    for number in range(ROUNDS):
        home = home_of(root / str(number), "s")
        said = at_once(home, [small, large])
        assert said.count("created") == 1
        state = state_of(home)
        assert state.revision == 2
        assert read_revision(home, state) in (small, large)  # the file is the one whose digest the journal has
        targets.add(state.target)
        work(home)
        assert state_of(home).counts().finished == state.target
    assert targets <= {2, 5}


def test_of_two_sweeps_that_do_not_belong_together_one_is_refused(root: Path) -> None:
    one = sweep_of(root, Text(metric='metric = "loss"\ndirection = "minimize"'))
    other = sweep_of(root, Text(metric='metric = "loss"\ndirection = "maximize"'))
    for number in range(8):
        home = home_of(root / str(number), "s")
        said = sorted(at_once(home, [one, other]), key=len)
        assert said[0] == "created"
        assert "its trials do not fit this sweep" in said[1]
        assert state_of(home).revision == 1
        work(home)


def works(home: StudyHome, index: int) -> list[int]:
    return work(home, index)[0]


def submits_again(home: StudyHome, sweeps: list[Sweep]) -> list[int]:
    for i, sweep in enumerate(sweeps):
        create(home, sweep, toml=f"# {i}", now=time.time())
        time.sleep(0.01)
    return []


def test_workers_go_on_while_a_sweep_is_submitted_again_and_again(root: Path) -> None:
    home = make(root, study="trials = 30")
    editions = [sweep_of(root / f"{n}", Text(study=f"trials = {n}")) for n in range(31, 51)]
    calls: list[tuple[Any, ...]] = [(submits_again, home, editions), *((works, home, i) for i in range(3))]
    in_processes(calls)
    work(home)
    state = state_of(home)
    assert (state.counts().complete, len(state.trials), state.revision) == (50, 50, 21)
    assert len({trial.key for trial in state.trials}) == 50
    assert_read_as_optuna_reads(home.journal)
