"""An append that a kill or a crash cut off at any byte costs what was not acknowledged yet, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from hpo_batch.journal.encode import Writer
from hpo_batch.journal.file import Journal
from hpo_batch.records import IdleWhy, TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.study.study import Study
from tests.journal.helpers import assert_read_as_optuna_reads
from tests.study.helpers import claimed, complete, make, owner, state_of, work

DEAD = {"start": 1}
"""as of a worker whose process number was given to another"""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A journal as it was before one call of a worker, and as it was after."""

    home: StudyHome
    before: bytes
    after: bytes

    def cut(self, length: int) -> None:
        """The worker was killed when so many bytes of the journal were written."""
        self.home.journal.write_bytes(self.after[:length])

    @property
    def lengths(self) -> range:
        return range(len(self.before) + 1, len(self.after) + 1)

    @property
    def ends(self) -> list[int]:
        """Where the records of the batch end."""
        return [n for n in self.lengths if self.after[n - 1 : n] == b"\n"]


def batch(root: Path, call: str) -> Batch:
    home = make(root, study="trials = 3")
    work(home, most=1)
    with Study.open(home, owner(7, **DEAD)) as study:
        before = home.journal.read_bytes()
        claim = claimed(study)
        if call == "tell":
            for step in range(3):
                study.reports.add(claim, step, {"loss": 1.0 - step / 10})
            before = home.journal.read_bytes()
            study.tell(claim, complete(claim, 0.25))
    (home.attempt(1, 1) / "result.json").unlink(missing_ok=True)  # the journal alone must do
    return Batch(home=home, before=before, after=home.journal.read_bytes())


@pytest.fixture(params=["claim", "tell"])
def cut_batch(root: Path, request: pytest.FixtureRequest) -> Batch:
    return batch(root, request.param)


def test_at_every_byte_the_next_transaction_heals_the_journal(cut_batch: Batch) -> None:
    path = cut_batch.home.journal
    armed = Writer("test").study_attr("hpo:armed", 1.0)
    for length in cut_batch.lengths:
        cut_batch.cut(length)
        whole = cut_batch.after[:length].rfind(b"\n") + 1
        with Journal(path).transaction() as transaction:
            assert transaction.new == cut_batch.after[:whole]
            transaction.append([armed], sync=False)
        healed = path.read_bytes()
        assert healed.startswith(cut_batch.after[:whole])
        assert healed.count(b"\n") == cut_batch.after[:whole].count(b"\n") + 1
        assert_read_as_optuna_reads(path)


def test_at_every_record_the_study_goes_on_to_exactly_the_trials_asked_for(cut_batch: Batch) -> None:
    told = state_of(cut_batch.home).trials[0].values
    # between two records, within the first bytes of one, and before its newline alone
    for length in sorted({n + more for n in [len(cut_batch.before), *cut_batch.ends] for more in (-1, 0, 1, 20)}):
        if not len(cut_batch.before) <= length <= len(cut_batch.after):
            continue
        cut_batch.cut(length)
        done, end = work(cut_batch.home)
        assert end is not None
        assert end.why is IdleWhy.TARGET_MET, length
        state = state_of(cut_batch.home)
        assert (state.counts().complete, len(state.trials)) == (3, 3)
        assert len({trial.key for trial in state.trials}) == 3
        assert state.trials[0].values == told
        if length == len(cut_batch.after) and state.trials[1].attempt == 1:
            assert state.trials[1].values == (0.25,)  # whole: told, and not trained again
            assert done == [2]
        assert_read_as_optuna_reads(cut_batch.home.journal)


def test_an_end_that_lacks_its_last_record_is_an_attempt_that_did_not_end(root: Path) -> None:
    """The state comes last: what came before it says nothing that a later attempt could not say otherwise."""
    told = batch(root, "tell")
    told.cut(told.ends[-2])
    trial = state_of(told.home).trials[1]
    assert (trial.state, trial.values) == (TrialState.RUNNING, None)
    assert work(told.home)[0] == [1, 2]
    record = state_of(told.home).trials[1].record()
    assert [attempt.ending for attempt in record.attempts] == ["lost", "complete"]
