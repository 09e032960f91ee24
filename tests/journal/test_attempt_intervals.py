"""Attempts as spans of time: the same that a trial's record tells, at a fraction of the cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.journal.attempt_intervals import spans
from hpo_batch.records import Cause
from hpo_batch.study.study import Study
from tests.study.helpers import checkpoints, claimed, complete, make, owner, state_of


@pytest.mark.parametrize(("held", "count"), [(None, 2), (8, 8), (0.5, 0.5)])
def test_they_tell_what_the_record_tells(root: Path, held: float | None, count: float) -> None:
    home = make(root)
    with Study.open(home, owner(gpus=("0", "1"), gpu_count=held, job="7_3", host="n1")) as study:
        first = claimed(study)
        (checkpoints(study, first) / "weights").write_text("1")
        study.give_back(first, Cause.PREEMPTED)
        claim = claimed(study)
        study.tell(claim, complete(claim))
        claimed(study)
    state = state_of(home)
    for before in (True, False):  # decoded and not
        for trial in state.trials:
            record = trial.record() if before else state_of(home).trials[trial.number].record()
            found = spans(trial)
            told = [(s.attempt, s.worker, s.job, s.host, s.gpus, s.started, s.ended, s.how) for s in found]
            assert told == [
                (a.number, a.worker, a.job, a.host, a.gpu_count, a.started, a.ended, a.ending) for a in record.attempts
            ]
    assert spans(state.trials[0])[0].gpus == count
    assert [span.moved for span in spans(state.trials[0])] == [True, False]
    assert spans(state.trials[1])[0].seconds is None
