"""A journal made again from the trial folders says what the first one said, and nothing that nobody knows."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from msgspec.structs import replace

from hpo_batch.errors import StorageError
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.trial import Trial, TrialContext
from hpo_batch.records import (
    Cause,
    Claim,
    Complete,
    Failed,
    GivenBack,
    Idle,
    IdleWhy,
    Outcome,
    Pruned,
    Reason,
    Stopping,
    TrialRecord,
    TrialState,
    Verdict,
)
from hpo_batch.store.attempt_folder import CHECKPOINT, write_result
from hpo_batch.store.home import StudyHome
from hpo_batch.study import rebuild as rebuild_module
from hpo_batch.study.claim import LostAttempt, give_back_lost
from hpo_batch.study.rebuild import Completed, Rebuilt, rebuild, unkept
from hpo_batch.study.study import Study
from hpo_batch.sweep.schema import Sweep
from tests.helpers import until
from tests.journal.helpers import assert_read_as_optuna_reads
from tests.processes import kill, start

from .helpers import checkpoints, claimed, complete, idle, keys, make, owner, plain, revise, state_of

MIXED = """
x = { low = 0.0, high = 1.0 }
lr = { low = 1e-5, high = 1e-1, log = true }
layers = { low = 2, high = 8, step = 2 }
kind = ["cnn", "mlp"]
wide = [true, false]
ratio = [1, 2.5]
heads = { low = 1, high = 4, when = "kind == 'cnn'" }
epochs = 5
data = "digits"
[space.derived]
d_ff = "layers * 4"
"""


class Engine:
    """Hands reports to the study, as the worker does."""

    def __init__(self, study: Study, claim: Claim) -> None:
        self._study, self._claim = study, claim

    def take_report(self, step: int, metrics: Mapping[str, float]) -> Verdict:
        return self._study.reports.add(self._claim, step, completed(self._study.sweep)(metrics))

    def stopping(self) -> Stopping | None:
        return None


def completed(sweep: Sweep) -> Completed:
    return Wanted.parse(sweep.study.metric, sweep.metrics).complete


def run_attempt(study: Study, claim: Claim, ended: Outcome | GivenBack, *, reports: int = 3) -> None:
    """One attempt as a worker runs it: folder, reports, its end."""
    folder = study.open_attempt(claim)
    context = TrialContext(
        number=claim.number, attempt=claim.attempt, params=claim.configuration.values, seed=claim.seeds[0],
        dir=folder, checkpoint=folder / CHECKPOINT,
    )  # fmt: skip
    trial = Trial(context, Engine(study, claim))
    for step in range(1, reports + 1):
        trial.report(step, loss=1.0 / step + claim.number, other=float(step))
    if isinstance(ended, GivenBack):
        study.give_back(claim, ended.cause)
    else:
        study.tell(claim, ended)


def run_all(home: StudyHome, judge: Callable[[Claim], Outcome | GivenBack] = complete, most: int = 1000) -> list[int]:
    """Work until there is nothing left: the numbers of the trials, one for each attempt."""
    done: list[int] = []
    with Study.open(home, owner()) as study:
        while len(done) < most:
            given = study.claim()
            if isinstance(given, Idle):
                break
            run_attempt(study, given[0], judge(given[0]))
            done.append(given[0].number)
    return done


def again(home: StudyHome) -> Rebuilt:
    """The journal deleted and made again."""
    home.journal.unlink()
    rebuilt = rebuild(home, completed=completed, now=time.time())
    assert_read_as_optuna_reads(home.journal)
    return rebuilt


def told(home: StudyHome) -> list[tuple[Any, ...]]:
    """What a journal says of its trials; moments are those of the folders, a little before those of the journal."""
    state = state_of(home)
    return [(_without_moments(t.record()), t.facts, t.system_attrs.get("hpo:failure")) for t in state.trials]


def _without_moments(record: TrialRecord) -> TrialRecord:
    attempts = tuple(replace(attempt, ended=None) for attempt in record.attempts)
    # one that was answered from another began when it was answered, which no folder tells
    return replace(record, attempts=attempts, ended=None, started=record.started if attempts else None)


def lost(study: Study, claim: Claim) -> None:
    """As when the lease of the claim's worker ran out."""
    study.journal.sync()
    with study.journal.file.transaction() as transaction:
        study.journal.state.apply(transaction.new)
        attempts = {claim.number: LostAttempt(token=claim.token)}
        study.journal.state.apply(
            transaction.append(give_back_lost(study.endings.records, study.journal.state, attempts), sync=True)
        )


def by_number(claim: Claim) -> Outcome | GivenBack:
    """Every way to end, several attempts included."""
    number, attempt = claim.number, claim.attempt
    if number == 1:
        return Pruned(step=2, metrics={"loss": 1.5, "other": 2.0})
    if number == 2:
        return Failed(reason=Reason.EXCEPTION, message="ValueError: no", metrics={"other": 3.0})
    if number == 3 and attempt == 1:
        return Failed(reason=Reason.NAN, message="'loss' is nan", metrics={"loss": float("nan"), "other": 1.0})
    if number == 4 and attempt < 3:
        return GivenBack(cause=(Cause.PREEMPTED, Cause.CHECKPOINTED)[attempt - 1])
    if number == 5:
        return Failed(reason=Reason.NAN, message=f"'loss' is nan in attempt {attempt}")
    if number == 6:
        return Pruned(step=9, metrics={})  # at a step that was never reported: no value
    return Complete(values=(number + 0.1,), metrics={"loss": number + 0.1, "other": 7.0, "inf": float("inf")})


def test_every_kind_of_trial_comes_back_as_it_was(root: Path) -> None:
    home = make(
        root, study="trials = 12\nmax_attempts = 3", space=MIXED, tables={"failures": 'nan = "retry"\nstop_after = 9'}
    )
    attempts = run_all(home, by_number)
    assert (attempts.count(3), attempts.count(4), attempts.count(5)) == (2, 3, 3)
    before, theirs, attrs = told(home), plain(home), state_of(home).attrs
    rebuilt = again(home)
    assert told(home) == before
    assert rebuilt.problems == ()
    assert rebuilt.kept_as is None
    assert rebuilt.counts == state_of(home).counts()
    assert rebuilt.counts.remaining == 0
    ours = plain(home)
    assert ours.best_params == theirs.best_params
    assert [t.user_attrs for t in ours.trials] == [t.user_attrs for t in theirs.trials]
    assert [t.distributions for t in ours.trials] == [t.distributions for t in theirs.trials]
    assert {**state_of(home).attrs, "hpo:armed": 0} == {**attrs, "hpo:armed": 0}
    assert run_all(home) == []
    for trial, first in zip(ours.trials, theirs.trials, strict=True):
        assert trial.datetime_start == first.datetime_start
        assert abs((trial.datetime_complete - first.datetime_complete).total_seconds()) < 5


def test_a_pruned_trial_is_worth_the_mean_of_its_instances_again(root: Path) -> None:
    home = make(root, study="trials = 1", tables={"pruner": 'name = "wilcoxon"'})
    run_all(home, lambda claim: Pruned(step=3, metrics={"loss": 1 / 3}))
    before = state_of(home).trials[0].values
    assert before == pytest.approx(((1 + 1 / 2 + 1 / 3) / 3,))
    again(home)
    assert state_of(home).trials[0].values == before


def test_rebuilding_twice_makes_the_same_and_keeps_both(root: Path) -> None:
    home = make(root, study="trials = 4")
    run_all(home, most=3)
    original = home.journal.read_bytes()
    before = told(home)
    first = rebuild(home, completed=completed, now=5.0)
    once = home.journal.read_bytes()
    second = rebuild(home, completed=completed, now=5.0)
    assert home.journal.read_bytes() == once
    assert (first.kept_as, second.kept_as) == tuple(home.path / f"journal.before-rebuild.{n}.jsonl" for n in (1, 2))
    assert (first.kept_as or Path()).read_bytes() == original
    assert told(home) == before


def test_several_metrics_and_computed_ones_come_back(root: Path) -> None:
    home = make(
        root,
        study="trials = 3",
        metric='metric = ["total", "loss"]\ndirection = ["maximize", "minimize"]',
        tables={"metrics": 'total = "loss + other"'},
    )

    def two_values(claim: Claim) -> Outcome:
        return Complete(values=(float(claim.number), 2.0), metrics={"total": float(claim.number), "loss": 2.0})

    run_all(home, two_values)
    before, front = told(home), [t.number for t in plain(home).best_trials]
    assert before[1][0].steps == {1: 3.0, 2: 3.5, 3: 1 / 3 + 1 + 3.0}
    again(home)
    assert told(home) == before
    assert plain(home).metric_names == ["total", "loss"]
    assert [t.number for t in plain(home).best_trials] == front


LISTED = """
[[trial]]
name = "A1"
set = "A"
note = "the first"
params = { x = 0.1, n = 1, epochs = 5 }
[[trial]]
name = "A2"
set = "A"
params = { x = 0.1, n = 1, epochs = 5 }
[[trial]]
name = "B1"
from = "A1"
params = { x = 7.0, epochs = 9 }
[[trial]]
name = "B2"
from = "A1"
"""


def test_listed_trials_come_back_with_names_and_those_that_repeat_one_too(root: Path) -> None:
    home = make(root, study="", sampler='name = "list"', rest=LISTED)
    assert run_all(home) == [0, 2]
    before = told(home)
    assert [facts.get("repeats") for _, facts, _ in before] == [None, 0, None, 1]
    assert [record.name for record, _, _ in before] == ["A1", "A2", "B1", "B2"]
    assert again(home).problems == ()
    assert told(home) == before
    assert plain(home).trials[2].params == {"x": 7.0, "n": 1, "epochs": 9}  # beyond the space
    with Study.open(home, owner()) as study:
        assert idle(study).why is IdleWhy.TARGET_MET


def test_a_repeat_whose_first_trial_is_not_finished_is_left_to_the_next_worker(root: Path) -> None:
    home = make(root, study="", sampler='name = "list"', rest=LISTED)
    with Study.open(home, owner()) as study:
        claims = [claimed(study), claimed(study)]  # A1 and B1: A2 waits for A1
        assert [claim.name for claim in claims] == ["A1", "B1"]
        for claim in claims:
            study.open_attempt(claim)
    rebuilt = again(home)
    assert (rebuilt.counts.waiting, rebuilt.problems) == (2, ())
    run_all(home)
    assert sorted(str(record.name) for record, _, _ in told(home)) == ["A1", "A2", "B1", "B2"]
    assert state_of(home).counts().complete == 4


def hold(home: StudyHome, ready: Path) -> None:
    """Claim a trial, leave a checkpoint, and never tell."""
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        (checkpoints(study, claim) / "epoch").write_text("3")
        ready.touch()
        time.sleep(60)


def test_a_trial_that_had_not_ended_waits_and_goes_on_from_its_checkpoint(root: Path, tmp_path: Path) -> None:
    home = make(root, study="trials = 4")
    run_all(home, most=2)
    process, _ = start(hold, home, tmp_path / "ready")
    until((tmp_path / "ready").exists)
    with pytest.raises(StorageError, match=rf"worker {process.pid}-0 on .* \(pid {process.pid}\) is working on 's'"):
        again(home)
    assert not home.journal.exists()
    kill(process)  # its card and its lease stay
    rebuilt = rebuild(home, completed=completed, now=time.time())
    assert (rebuilt.counts.complete, rebuilt.counts.waiting) == (2, 1)
    trial = state_of(home).trials[2]
    assert (trial.state, trial.ending(1)["how"]) == (TrialState.WAITING, "lost")
    facts = trial.facts
    with Study.open(home, owner(1)) as study:
        claim = claimed(study)
        assert (claim.number, claim.attempt, claim.resumes) == (2, 2, 1)
        assert (list(claim.seeds), claim.configuration.key) == (facts["seeds"], facts["key"])
        assert (study.open_attempt(claim) / "checkpoint" / "epoch").read_text() == "3"
        study.tell(claim, complete(claim))
    assert run_all(home) == [3]
    state = state_of(home)
    assert (state.counts().complete, len(state.trials), len(set(keys(state)))) == (4, 4, 4)


ELSEWHERE = {"host": "elsewhere", "pid": 1, "start": 1}


def test_a_worker_of_another_host_is_watched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make(root, study="trials = 4\nlease_s = 1")
    watched: list[str] = []

    def watch() -> Rebuilt:
        return rebuild(
            home, completed=completed, now=0.0, on_wait=lambda doubtful: watched.extend(h.worker for h in doubtful)
        )

    monkeypatch.setattr("hpo_batch.store.liveness.LOOK_EVERY_S", 0.1)
    with Study.open(home, owner(7, **ELSEWHERE)) as far:
        run_attempt(far, claimed(far), Complete(values=(0.5,), metrics={}))
        with pytest.raises(StorageError, match=f"worker {far.owner.worker} on elsewhere .* is working on"):
            watch()
        shutil.copytree(home.workers, home.path / "left")
    shutil.rmtree(home.workers)
    (home.path / "left").rename(home.workers)  # as a machine that lost its power leaves them
    began = time.monotonic()
    assert watch().counts.complete == 1
    assert time.monotonic() - began > 1
    assert watched == [f"{os.getpid()}-7"] * 2


@pytest.mark.parametrize("then", ["waits", "complete", "pruned"])
def test_what_a_zombie_left_does_not_count(root: Path, then: str) -> None:
    home = make(root, study="trials = 1")
    with Study.open(home, owner()) as zombie, Study.open(home, owner(1)) as rightful:
        old = claimed(zombie)
        folder = zombie.open_attempt(old)
        lost(rightful, old)
        new = claimed(rightful)
        ends = {"complete": complete(new, 0.5), "pruned": Pruned(step=2, metrics={"loss": 0.5})}
        if then == "waits":
            rightful.open_attempt(new)
        else:
            run_attempt(rightful, new, ends[then])
        time.sleep(0.01)
        write_result(home, old, complete(old, 0.001), zombie.endings.facts(old), now=time.time())
        report = {"step": 9, "time": time.time() + 1, "metrics": {"loss": 0.001}}
        (folder / "metrics.jsonl").write_text(json.dumps(report) + "\n")
    before = told(home)
    again(home)
    record = state_of(home).trials[0].record()
    assert [attempt.ending for attempt in record.attempts] == ["lost", "lost" if then == "waits" else then]
    assert 9 not in record.steps
    if then == "waits":
        assert (record.state, record.values) == (TrialState.WAITING, None)
    else:
        assert told(home) == before


def test_a_result_of_another_claim_does_not_count_and_is_told(root: Path) -> None:
    home = make(root, study="trials = 1")
    run_all(home)
    path = home.attempt(0, 1) / "result.json"
    result = json.loads(path.read_text())
    (path.parent / "claim.json").write_text(json.dumps(result["claim"]))  # of a claim that has not ended yet
    result["claim"]["token"] = result["claim"]["owner"]["token"] = "other"
    path.write_text(json.dumps(result))
    (problem,) = again(home).problems
    assert problem == f"trial 0: '{path}' belongs to another claim and is ignored"
    assert state_of(home).trials[0].state is TrialState.WAITING


def test_a_result_with_the_wrong_number_of_values_does_not_count(root: Path) -> None:
    home = make(root, study="trials = 1")
    run_all(home, lambda claim: Complete(values=(1.0, 2.0), metrics={}))
    assert again(home).problems == ("trial 0: its result has 2 values; ignored",)
    assert run_all(home) == [0]


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def test_a_torn_claim_leaves_a_failed_trial_in_its_place(root: Path) -> None:
    home = make(root, study="trials = 4")
    with Study.open(home, owner()) as study:
        for number in range(4):
            claim = claimed(study)
            run_attempt(study, claim, complete(claim)) if number != 1 else study.open_attempt(claim)
    tear(home.attempt(1, 1) / "claim.json")
    before = told(home)
    (problem,) = again(home).problems
    assert problem.startswith(f"trial 1 is lost and now FAIL: '{home.attempt(1, 1) / 'claim.json'}' is incomplete")
    after = told(home)
    assert [after[n] for n in (0, 2, 3)] == [before[n] for n in (0, 2, 3)]
    hole = state_of(home).trials[1].record()
    assert (hole.state, hole.reason, dict(hole.params)) == (TrialState.FAIL, "lost", {})
    assert str(hole.message).startswith("added by 'doctor --rebuild' to keep the numbers of the other trials: ")
    assert [t.number for t in plain(home).trials] == [0, 1, 2, 3]
    assert run_all(home) == [4]  # another one takes its place
    assert state_of(home).counts().complete == 4


def test_a_number_without_a_folder_is_a_failed_trial_too(root: Path) -> None:
    home = make(root, study="trials = 3")
    run_all(home)
    shutil.rmtree(home.trial(1))
    assert again(home).problems == ("trial 1 is lost and now FAIL: none of its attempts left a folder",)
    assert run_all(home) == [3]


def test_a_torn_claim_of_a_later_attempt_is_not_guessed(root: Path) -> None:
    home = make(root, study="trials = 1", tables={"failures": 'nan = "retry"'})
    with Study.open(home, owner()) as study:
        run_attempt(study, claimed(study), Failed(reason=Reason.NAN, message="m", metrics={"loss": 0.1}))
        study.open_attempt(claimed(study))
    tear(home.attempt(0, 2) / "claim.json")
    configuration = state_of(home).trials[0].record().params
    (problem,) = again(home).problems
    assert "attempts/2/claim.json' is incomplete" in problem
    trial = state_of(home).trials[0]
    assert (trial.state, trial.attempt, trial.record().params) == (TrialState.WAITING, 2, configuration)
    assert [a.ending for a in trial.record().attempts] == ["nan"]
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        assert (claim.number, claim.attempt) == (0, 3)  # its folder is nobody's yet
        study.tell(claim, complete(claim))


def test_a_claim_torn_by_a_crash_is_not_missed_where_there_is_a_result(root: Path) -> None:
    home = make(root, study="trials = 2")
    run_all(home)
    before = told(home)
    for number in (0, 1):
        (home.attempt(number, 1) / "claim.json").write_bytes(b"")
    assert again(home).problems == ()
    assert told(home) == before


def test_the_newest_revision_counts_and_trials_keep_the_distributions_of_theirs(root: Path) -> None:
    space = "x = { low = 0.0, high = 1.0 }\nn = [1, 2, 3, 4]\nepochs = 5"
    home = make(root, study="trials = 2", space=space)
    run_all(home)
    revise(home, study="trials = 4", space=space.replace("1.0", "0.5").replace(", 4]", "]"))
    run_all(home)
    before, theirs = told(home), [t.distributions for t in plain(home).trials]
    assert again(home).revision == home.revision(2)
    assert told(home) == before
    assert [t.distributions for t in plain(home).trials] == theirs
    assert state_of(home).target == 4
    assert not revise(home, study="trials = 4", space=space.replace("1.0", "0.5").replace(", 4]", "]")).lines
    home.revision(2).write_bytes(home.revision(2).read_bytes()[:100])
    assert again(home).revision == home.revision(1)
    assert state_of(home).target == 2


def test_without_a_frozen_sweep_nothing_is_guessed(root: Path) -> None:
    home = make(root, study="trials = 1")
    run_all(home)
    home.revision(1).unlink()
    original = home.journal.read_bytes()
    with pytest.raises(
        StorageError, match=r"cannot read any frozen sweep \(sweep.1.json ...\).*restore it from a backup"
    ):
        rebuild(home, completed=completed, now=0.0)
    assert home.journal.read_bytes() == original


def test_a_lost_journal_is_not_written_over_by_a_new_study(root: Path) -> None:
    home = make(root, study="trials = 2")
    run_all(home, most=1)
    result = (home.attempt(0, 1) / "result.json").read_bytes()
    for content in (None, b""):
        home.journal.unlink()
        if content is not None:
            home.journal.write_bytes(content)
        with pytest.raises(StorageError, match="'hpo-batch doctor s --rebuild' rebuilds it"):
            revise(home, study="trials = 2")
        home.journal.touch()
    assert (home.attempt(0, 1) / "result.json").read_bytes() == result
    rebuild(home, completed=completed, now=0.0)
    assert not revise(home, study="trials = 2").lines
    assert run_all(home) == [1]


def test_an_enqueued_trial_comes_back_and_one_of_plain_optunas_does_not(root: Path) -> None:
    home = make(root, study="trials = 3")
    theirs = plain(home)
    theirs.enqueue_trial({"x": 0.25, "n": 2, "epochs": 5})
    run_all(home, most=1)
    trial = optuna.trial.create_trial(
        params={"x": 0.5}, distributions={"x": optuna.distributions.FloatDistribution(0, 1)}, value=0.1
    )
    theirs.add_trial(trial)
    run_all(home)
    before = told(home)
    assert unkept(home, state_of(home)) == (1,)
    rebuilt = again(home)
    assert rebuilt.problems == ("trial 1 is lost and now FAIL: none of its attempts left a folder",)
    assert [told(home)[n] for n in (0, 2)] == [before[n] for n in (0, 2)]


def die(home: StudyHome, where: str) -> None:
    """Rebuild, killed where the named call begins."""

    def killed(*arguments: Any, **named: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(os if hasattr(os, where) else rebuild_module, where, killed)
    rebuild(home, completed=completed, now=5.0)


@pytest.mark.parametrize("where", ["fsync", "_keep", "replace", "sync_directory"])
@pytest.mark.parametrize("journal", ["damaged", "deleted"])
def test_killed_at_any_moment_it_is_done_again(root: Path, where: str, journal: str) -> None:
    home = make(root, study="trials = 3")
    run_all(home)
    before = told(home)
    damaged = home.journal.read_bytes()[:-400] + b"\0" * 50 + b"\n"
    home.journal.write_bytes(damaged)
    if journal == "deleted":
        home.journal.unlink()
    process, _ = start(die, home, where)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    if where != "sync_directory":  # the former journal, or none, is still in place
        assert (home.journal.read_bytes() if home.journal.exists() else None) == (
            damaged if journal == "damaged" else None
        )
    rebuild(home, completed=completed, now=5.0)
    assert told(home) == before
    kept = sorted(path.name for path in home.path.glob("journal.before-rebuild.*"))
    if journal == "damaged":
        assert (home.path / kept[0]).read_bytes() == damaged
    assert len(kept) == (journal == "damaged") + (where == "sync_directory")
    assert not list(home.path.glob(".*rebuild*"))


def test_a_file_system_without_hard_links_keeps_the_former_journal_too(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make(root, study="trials = 1")
    run_all(home)
    original = home.journal.read_bytes()

    def refused(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert (rebuild(home, completed=completed, now=5.0).kept_as or Path()).read_bytes() == original
    assert state_of(home).counts().complete == 1


def test_checkpoints_of_the_unfinished_stay(root: Path) -> None:
    home = make(root, study="trials = 2")
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        (checkpoints(study, claim) / "model").touch()
        study.give_back(claim, Cause.TIME_LIMIT)
    again(home)
    with Study.open(home, owner()) as study:
        assert claimed(study).resumes == 1
