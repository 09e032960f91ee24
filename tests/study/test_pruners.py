"""Bad trials end early, judged by what all workers reported; what they reached is kept."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from hpo_batch.records import Cause, Claim, IdleWhy, Pruned, TrialState, Verdict
from hpo_batch.store.home import StudyHome
from hpo_batch.study.pruners import make_pruner
from hpo_batch.study.study import Study
from hpo_batch.sweep.schema import PRUNERS, Pruner
from tests.processes import in_processes

from .helpers import claimed, complete, idle, make, owner, plain, revise, state_of

STEPS = 27


def report_until_pruned(study: Study, claim: Claim, loss: float, steps: int = STEPS) -> int:
    """Report the same loss at each step; the step at which the trial was pruned, or ``steps``."""
    for step in range(1, steps + 1):
        verdict = study.reports.add(claim, step, {"loss": loss, "auc": 1 - loss})
        if verdict is Verdict.PRUNE:
            study.tell(claim, Pruned(step=step, metrics={"loss": loss, "auc": 1 - loss}))
            return step
        assert verdict is Verdict.CONTINUE
    study.tell(claim, complete(claim, loss))
    return steps


def train(home: StudyHome, index: int, losses: list[float]) -> list[int]:
    with Study.open(home, owner(index)) as study:
        return [report_until_pruned(study, claimed(study), loss) for loss in losses]


def with_pruner(root: Path, pruner: str, study: str = "trials = 200") -> StudyHome:
    return make(root, study=study, space="x = { low = 0.0, high = 1.0 }", tables={"pruner": pruner})


@pytest.mark.parametrize("name", ["median", "percentile"])
def test_a_bad_trial_is_pruned_after_the_first_rung_and_keeps_its_metrics(root: Path, name: str) -> None:
    home = with_pruner(root, f'name = "{name}"\nfirst_rung = 4')
    in_processes([(train, home, i, [0.5, 0.6, 0.7]) for i in range(2)])
    assert train(home, 2, [0.9, 0.1]) == [4, STEPS]  # judged by what other processes reported
    pruned, good = (trial.record() for trial in state_of(home).trials[-2:])
    assert (pruned.state, pruned.values, good.state) == (TrialState.PRUNED, (0.9,), TrialState.COMPLETE)
    assert dict(pruned.metrics) == pytest.approx({"loss": 0.9, "auc": 0.1})
    assert dict(pruned.steps) == dict.fromkeys(range(1, 5), 0.9)
    assert plain(home).trials[-2].intermediate_values == dict(pruned.steps)


@pytest.mark.parametrize("name", ["hyperband", "asha"])
def test_successive_halving_prunes_most_of_the_bad_and_none_of_the_best(root: Path, name: str) -> None:
    home = with_pruner(root, f'name = "{name}"\nfirst_rung = 3')
    losses = [0.5, *(0.5 + 0.01 * i for i in range(1, 16)), 0.1]
    results = in_processes([(train, home, i, losses) for i in range(2)])
    assert all(ends[-1] == STEPS for ends in results)  # the best ever seen is never pruned
    pruned = [end for ends in results for end in ends if end < STEPS]
    assert len(pruned) > 10
    # at the rungs of a reduction factor of 3, and of 4; two processes that come to a rung at once do not see each other
    assert {"hyperband": {3, 9}, "asha": {3, 12}}[name] >= set(pruned)
    # what the rungs were passed with is kept where plain Optuna keeps it: its pruners go on from there
    assert sum("completed_rung_0" in trial.system_attrs for trial in plain(home).trials) > 10


def test_our_pruning_is_that_of_plain_optuna(root: Path) -> None:
    losses = [0.5, 0.3, 0.8, 0.4, 0.9, 0.2, 0.7, 0.1, 0.6, 0.35]
    for name, pruner in (
        ("asha", optuna.pruners.SuccessiveHalvingPruner(min_resource=3)),
        ("median", optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3)),
        ("threshold", optuna.pruners.ThresholdPruner(upper=0.75, n_warmup_steps=3)),
        ("percentile", optuna.pruners.PercentilePruner(25.0, n_startup_trials=5, n_warmup_steps=3)),
    ):
        options = "\noptions = { upper = 0.75 }" if name == "threshold" else ""
        home = with_pruner(root / name, f'name = "{name}"\nfirst_rung = 3{options}')
        ours = train(home, 0, losses)
        study = optuna.create_study(study_name="s", pruner=pruner)
        theirs = []
        for loss in losses:
            trial = study.ask()
            for step in range(1, STEPS + 1):
                trial.report(loss, step)
                if trial.should_prune():
                    break
            theirs.append(step)
            if step == STEPS:
                study.tell(trial, loss)
            else:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        assert ours == theirs
        assert min(ours) < STEPS


def test_an_attempt_that_resumes_is_judged_by_what_it_has_reached(root: Path) -> None:
    home = with_pruner(
        root, 'name = "percentile"\nfirst_rung = 1\noptions = { n_startup_trials = 1, percentile = 50.0 }'
    )
    with Study.open(home, owner()) as study:
        for _ in range(2):  # bad at step 3, good later
            claim = claimed(study)
            study.reports.add(claim, 3, {"loss": 0.5})
            study.reports.add(claim, 9, {"loss": 0.1})
            study.tell(claim, complete(claim, 0.1))
        claim = claimed(study)
        assert study.reports.add(claim, 9, {"loss": 0.7}) is Verdict.PRUNE
        study.give_back(claim, Cause.PREEMPTED)  # it ends before it hears of that
        again = claimed(study)
        assert (again.number, again.attempt) == (claim.number, 2)
        assert study.reports.add(again, 3, {"loss": 0.4}) is Verdict.CONTINUE  # not judged by step 9 of the first


def test_nothing_is_pruned_without_a_pruner_or_before_the_first_rung_or_for_another_metric(root: Path) -> None:
    home = with_pruner(root, 'name = "median"\nfirst_rung = 50\noptions = { n_startup_trials = 1 }')
    assert train(home, 0, [0.5, 0.6, 0.9]) == [STEPS] * 3
    home = with_pruner(root / "none", 'name = "none"')
    assert train(home, 0, [0.5, 0.6, 0.9]) == [STEPS] * 3
    home = with_pruner(root / "other", 'name = "median"\nfirst_rung = 1\noptions = { n_startup_trials = 1 }')
    train(home, 0, [0.5])
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        assert study.reports.add(claim, 5, {"auc": 0.0}) is Verdict.CONTINUE
        assert study.reports.add(claim, 6, {"loss": float("nan")}) is Verdict.CONTINUE
        assert study.reports.add(claim, 7, {"loss": 0.9}) is Verdict.PRUNE


def test_pruned_trials_count_towards_the_target(root: Path) -> None:
    home = with_pruner(root, 'name = "median"\nfirst_rung = 2', study="trials = 8")
    train(home, 0, [0.5] * 5 + [0.9] * 3)
    counts = state_of(home).counts()
    assert (counts.complete, counts.pruned, counts.remaining) == (5, 3, 0)
    with Study.open(home, owner()) as study:
        assert idle(study).why is IdleWhy.TARGET_MET


def test_reports_wait_for_a_rung_or_for_some_seconds(root: Path) -> None:
    home = make(root)
    now = 1000.0
    with Study.open(home, owner(), clock=lambda: now) as study:
        claim = claimed(study)
        size = home.journal.stat().st_size
        for step in range(5):
            study.reports.add(claim, step, {"loss": 0.5})
        assert home.journal.stat().st_size == size
        now += 11
        study.reports.add(claim, 5, {"loss": 0.5})
        assert dict(state_of(home).trials[0].steps) == dict.fromkeys(range(6), 0.5)
        study.reports.add(claim, 6, {"loss": 0.25})
        study.tell(claim, complete(claim))
    assert state_of(home).trials[0].steps[6] == 0.25  # what waited is written with the result


def test_a_pruner_may_be_changed_for_a_study_that_runs(root: Path) -> None:
    home = with_pruner(root, 'name = "none"')
    with Study.open(home, owner()) as study:
        for loss in (0.4, 0.5, 0.5):
            report_until_pruned(study, claimed(study), loss)
        pruner = 'name = "median"\nfirst_rung = 2\noptions = { n_startup_trials = 2 }'
        revise(home, study="trials = 200", space="x = { low = 0.0, high = 1.0 }", tables={"pruner": pruner})
        assert report_until_pruned(study, claimed(study), 0.9) == 2


def test_brackets_keep_their_shares_in_every_block_and_are_stored_when_a_trial_is_made(root: Path) -> None:
    pruner = 'name = "hyperband"\nfirst_rung = 3\noptions = { max_resource = 27 }'
    home = with_pruner(root, pruner)
    in_processes([(train, home, i, [0.5 + 0.01 * n for n in range(12)]) for i in range(3)])
    trials = state_of(home).trials
    brackets = [t.facts["bracket"] for t in trials]
    # 3 brackets with first rungs 3, 9 and 27: 9, 5 and 3 of 17
    for start in range(0, 34, 17):
        block = brackets[start : start + 17]
        assert [block.count(b) for b in range(3)] == pytest.approx([9, 5, 3], abs=1)
    for trial in trials:
        ended = max(trial.steps)
        assert ended in {0: (3, 9, 27), 1: (9, 27), 2: (27,)}[trial.facts["bracket"]]
    assert sum(t.state is TrialState.PRUNED for t in trials) > 8


def test_hyperband_finds_out_by_itself_how_long_a_training_is(root: Path) -> None:
    home = with_pruner(root, 'name = "hyperband"\nfirst_rung = 3')
    train(home, 0, [0.9 - 0.01 * n for n in range(10)])  # each better than all before it: all are complete
    assert {t.facts["bracket"] for t in state_of(home).trials} == {0, 1, 2}


def test_patient_waits_for_progress_to_end_and_may_ask_another_pruner(root: Path) -> None:
    home = with_pruner(root, 'name = "patient"\noptions = { patience = 4 }')
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        losses = [0.9, 0.8, 0.7, *[0.75] * 20]
        ends = [s for s, x in enumerate(losses, 1) if study.reports.add(claim, s, {"loss": x}) is Verdict.PRUNE]
    assert ends[0] == 8  # the best was step 3, and none of the 5 steps after it was as good
    around = 'name = "patient"\naround = "median"\noptions = { patience = 4, n_startup_trials = 2 }'
    home = with_pruner(root / "around", around)
    with Study.open(home, owner()) as study:
        for loss in (0.5, 0.6):
            report_until_pruned(study, claimed(study), loss)
        for level, is_pruned in ((0.1, False), (0.9, True)):  # neither makes progress, one is good
            claim = claimed(study)
            verdicts = {study.reports.add(claim, step, {"loss": level + 0.001 * step}) for step in range(1, 10)}
            assert (Verdict.PRUNE in verdicts) == is_pruned


def test_wilcoxon_compares_the_same_instances_in_any_order(root: Path) -> None:
    """Steps are names of instances; a pruned trial is worth the mean of those it has seen."""
    home = with_pruner(root, 'name = "wilcoxon"\nfirst_rung = 5\noptions = { p_threshold = 0.05 }')
    hard = {instance: float(instance % 7) for instance in range(30)}
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        for instance in range(30):
            assert study.reports.add(claim, instance, {"loss": hard[instance]}) is Verdict.CONTINUE
        study.tell(claim, complete(claim, 3.0))
        claim = claimed(study)
        seen = []
        for instance in reversed(range(30)):
            seen.append(hard[instance] + 0.5 + 0.01 * instance)
            if study.reports.add(claim, instance, {"loss": seen[-1]}) is Verdict.PRUNE:
                break
        study.tell(claim, Pruned(step=instance, metrics={"loss": seen[-1]}))
    trial = state_of(home).trials[1]
    assert 5 <= len(seen) < 12
    assert trial.values == pytest.approx((sum(seen) / len(seen),))


def test_every_pruner_of_the_schema_can_be_made() -> None:
    options = {"threshold": {"upper": 1.0}}
    made = {name: make_pruner(Pruner(name=name, options=options.get(name, {}))) for name in PRUNERS}  # type: ignore[arg-type]
    assert [name for name, pruner in made.items() if pruner is None] == ["none"]


def test_a_trial_that_was_made_under_another_pruner_gets_a_bracket_with_its_next_attempt(root: Path) -> None:
    home = with_pruner(root, 'name = "none"')
    with Study.open(home, owner()) as study:
        study.give_back(claimed(study), Cause.PREEMPTED)
        pruner = 'name = "hyperband"\nfirst_rung = 3\noptions = { max_resource = 27 }'
        revise(home, study="trials = 200", space="x = { low = 0.0, high = 1.0 }", tables={"pruner": pruner})
        assert claimed(study).attempt == 2
    (trial,) = state_of(home).trials
    assert trial.facts["bracket"] == 0
    assert trial.facts["origin"] == "random"
