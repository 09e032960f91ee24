"""A study copied while its workers run: every copy opens, is a state that the study was in, and goes on by itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

from hpo_batch.records import IdleWhy, TrialState
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study.study import Study
from tests.journal.helpers import assert_read_as_optuna_reads
from tests.processes import answer, start
from tests.study.helpers import complete, make, owner, plain, state_of, work

TRIALS = 60


def works(home: StudyHome, index: int) -> None:
    with Study.open(home, owner(index)) as study:
        while isinstance(given := study.claim(), tuple):
            study.open_attempt(given[0])
            for step in range(3):
                time.sleep(0.004)
                study.reports.add(given[0], step, {"loss": 1.0 - step / 10})
            study.tell(given[0], complete(given[0]))


def test_copies_taken_while_workers_run_are_studies_of_their_own(root: Path, tmp_path: Path) -> None:
    home = make(root, study=f"trials = {TRIALS}")
    workers = [start(works, home, i) for i in range(3)]
    copies: list[StudyHome] = []
    while any(process.is_alive() for process, _ in workers):
        copy = home_of(tmp_path / "copies" / str(len(copies)), "s")
        copy.path.parent.mkdir(parents=True)
        # files come and go while cp walks: that it says so is no concern of the journal's
        subprocess.run(["cp", "-r", str(home.path), str(copy.path)], capture_output=True, check=False)
        copies.append(copy)
    for process, pipe in workers:
        answer(process, pipe)
    final = home.journal.read_bytes()
    values = {trial.number: trial.values for trial in state_of(home).trials}
    assert len(copies) >= 3
    ended = []
    for copy in copies:
        journal = copy.journal.read_bytes()
        assert final.startswith(journal)  # appended only: a copy is the journal as it was at some time
        state = state_of(copy)
        for number in state.by_state[TrialState.COMPLETE]:
            assert state.trials[number].values == values[number]
        torn = journal[journal.rfind(b"\n") + 1 :]
        if not torn:
            assert_read_as_optuna_reads(copy.journal)
        else:
            assert len(plain(copy).get_trials()) == len(state.trials)
        ended.append(state.counts().complete)
    assert ended == sorted(ended)
    assert ended[0] < TRIALS, "the first copy was to be taken while workers run"

    half = copies[len(copies) // 2]
    known = {n: t.values for n, t in enumerate(state_of(half).trials) if t.state is TrialState.COMPLETE}
    shutil.rmtree(home.path)  # nothing of the copy lies there
    _, end = work(half, 9)
    assert end is not None
    assert end.why is IdleWhy.TARGET_MET
    resumed = state_of(half)
    assert (resumed.counts().complete, len(resumed.trials)) == (TRIALS, TRIALS)
    assert {n: resumed.trials[n].values for n in known} == known
    assert len({trial.key for trial in resumed.trials}) == TRIALS
    assert_read_as_optuna_reads(half.journal)
    for line in half.journal.read_bytes().splitlines():
        json.loads(line)
