"""``[study] replicates``: each trial is trained with several seeds under one claim."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from hpo_batch.objective.command import CommandObjective
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.placeholders import Template
from hpo_batch.objective.trial import Trial
from hpo_batch.records import Cause, Complete, Failed, GivenBack, Outcome, Pruned, Reason, Stopping, TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.study.history import SamplerHistory
from hpo_batch.study.rebuild import rebuild
from hpo_batch.study.study import Study
from hpo_batch.worker.context import WorkerContext
from hpo_batch.worker.loop import work
from hpo_batch.worker.signals import Signals
from hpo_batch.worker.tally import Tally
from tests.study.helpers import claimed, make, owner, plain, revise, state_of
from tests.study.test_editing import RANDOM
from tests.worker.conftest import Project
from tests.worker.test_loop import HERE, Toy

TWO = "trials = 2\nreplicates = 3"


def complete(value: float, **metrics: float) -> Complete:
    return Complete(values=(value,), metrics={"loss": value, **metrics})


def loop(home: StudyHome, objective: Callable[[Trial], Outcome | GivenBack], *, index: int = 0) -> Tally:
    with Study.open(home, owner(index)) as study:
        return work(WorkerContext(study=study, objective=Toy(objective), place=HERE, signals=Signals()))


def test_a_trial_is_the_mean_of_its_seeds_and_keeps_each_of_them(root: Path) -> None:
    home = make(root, study=TWO)
    seen: list[tuple[int, int, str, str]] = []

    def objective(trial: Trial) -> Outcome:
        seen.append((trial.number, trial.seed, trial.dir.name, trial.checkpoint.name))
        assert trial.dir.is_dir()
        assert not trial.resumes
        return complete(float(len(seen)), auc=len(seen) / 10)

    assert loop(home, objective).complete == 2
    assert len({seed for _, seed, _, _ in seen}) == 6
    assert [(number, folder, checkpoint) for number, _, folder, checkpoint in seen[:3]] == [
        (0, "1", "seed-1"),
        (0, "seed-2", "seed-2"),
        (0, "seed-3", "seed-3"),
    ]
    first = state_of(home).trials[0].record()
    assert first.values == (2.0,)
    assert first.metrics == {"loss": 2.0, "auc": 0.2}
    assert first.seeds == tuple(seed for number, seed, _, _ in seen if number == 0)
    assert [seed["loss"] for seed in first.replicates] == [1.0, 2.0, 3.0]
    trial = plain(home).trials[0]
    assert trial.value == 2.0
    assert trial.user_attrs["hpo:replicates"][1] == {"loss": 2.0, "auc": 0.2}
    assert plain(home).trials_dataframe()["value"].tolist() == [2.0, 5.0]


def test_the_first_seed_is_that_of_a_study_without_replicates(root: Path) -> None:
    with Study.open(make(root / "a", study=TWO), owner()) as study:
        many = claimed(study).seeds
    with Study.open(make(root / "b"), owner()) as study:
        assert claimed(study).seeds == many[:1]
    assert len(set(many)) == 3


def test_seeds_that_are_done_survive_the_attempt(root: Path) -> None:
    home = make(root, study="trials = 1\nreplicates = 3")
    seen: list[tuple[int, int, bool]] = []

    def objective(trial: Trial) -> Outcome | GivenBack:
        seen.append((trial.attempt, trial.seed, trial.resumes))
        if trial.attempt == 1 and len(seen) == 2:
            (trial.checkpoint / "model").write_text("half")
            return GivenBack(cause=Cause.PREEMPTED)
        if trial.attempt == 2 and trial.resumes:
            assert (trial.checkpoint / "model").read_text() == "half"
        return complete(float(len(seen)))

    assert loop(home, objective).given_back == 1
    trial = state_of(home).trials[0]
    assert trial.ending(1)["moved"]
    assert loop(home, objective, index=1).complete == 1
    seeds = state_of(home).trials[0].facts["seeds"]
    assert seen == [(1, seeds[0], False), (1, seeds[1], False), (2, seeds[1], True), (2, seeds[2], False)]
    assert [seed["loss"] for seed in state_of(home).trials[0].record().replicates] == [1.0, 3.0, 4.0]
    assert state_of(home).trials[0].values == (statistics.mean([1.0, 3.0, 4.0]),)


def test_no_further_seed_is_begun_when_it_is_time_to_go(root: Path) -> None:
    home = make(root, study="trials = 1\nreplicates = 2")
    signals = Signals()

    def objective(trial: Trial) -> Outcome:
        signals.received = Stopping.TIME_LIMIT
        return complete(1.0)

    with Study.open(home, owner()) as study:
        assert work(WorkerContext(study=study, objective=Toy(objective), place=HERE, signals=signals)).given_back == 1
    assert state_of(home).trials[0].ending(1) | {"time": 0, "seconds": 0, "usage": {}} == {
        "how": "time_limit", "time": 0, "moved": True, "whole": False, "seconds": 0, "usage": {},
    }  # fmt: skip
    seeds: list[int] = []
    loop(home, lambda trial: (seeds.append(trial.seed), complete(3.0))[1])
    assert seeds == [state_of(home).trials[0].facts["seeds"][1]]
    assert state_of(home).trials[0].values == (2.0,)


def test_the_first_seed_decides_pruning_and_the_steps_are_its(root: Path) -> None:
    tables = {"pruner": 'name = "median"\noptions = { n_startup_trials = 1 }'}
    home = make(root, study="trials = 3\nreplicates = 2", tables=tables)
    calls: dict[int, int] = {}

    def objective(trial: Trial) -> Outcome:
        calls[trial.number] = calls.get(trial.number, 0) + 1
        bad = trial.number + 100.0 * (calls[trial.number] == 2)  # the second seed is far worse: nobody asks
        for step in range(1, 7):
            trial.report(step, loss=bad + step / 100)
            if trial.should_stop():
                assert calls[trial.number] == 1
                return Pruned(step=step, metrics={"loss": bad})
        return complete(bad)

    loop(home, objective)
    states = [trial.state for trial in state_of(home).trials]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED]
    assert calls == {0: 2, 1: 1, 2: 1}
    assert max(state_of(home).trials[0].steps.values()) < 1
    assert len(state_of(home).trials[0].steps) == 6


def test_a_seed_that_fails_fails_the_trial_by_the_same_policy(root: Path) -> None:
    home = make(root, study="trials = 1\nreplicates = 2", tables={"failures": 'oom_gpu = "retry"'})
    seen: list[int] = []

    def objective(trial: Trial) -> Outcome:
        seen.append(trial.attempt)
        return Failed(reason=Reason.OOM_GPU, message="out of memory") if len(seen) == 2 else complete(1.0)

    loop(home, objective)
    assert seen == [1, 1, 2]
    home = make(root / "other", study="trials = 1\nmax_failed = 1\nreplicates = 2")
    seen.clear()
    loop(home, objective)
    record = state_of(home).trials[0].record()
    assert record.reason == "oom_gpu"
    assert record.message == f"seed 2 of 2 ({record.seeds[1]}): out of memory"


def test_trials_keep_the_seeds_that_they_were_made_with(root: Path) -> None:
    home = make(root, study="trials = 1\nreplicates = 2")
    loop(home, lambda trial: complete(1.0))
    with Study.open(home, owner()) as study:
        revise(home, study="trials = 2\nreplicates = 2")
        study.give_back(claimed(study), Cause.PREEMPTED)
    revise(home, study="trials = 3\nreplicates = 1")
    loop(home, lambda trial: complete(2.0))
    assert [len(trial.facts["seeds"]) for trial in state_of(home).trials] == [2, 2, 1]


def test_a_rebuilt_journal_has_the_seeds_too(root: Path) -> None:
    home = make(root, study="trials = 1\nreplicates = 2")

    def objective(trial: Trial) -> Outcome:
        trial.report(1, loss=float(trial.seed == state_of(home).trials[0].facts["seeds"][0]))
        return complete(float(trial.seed % 7), nan=float("nan"))

    loop(home, objective)
    before = state_of(home).trials[0].record()
    home.journal.unlink()
    rebuild(home, completed=lambda sweep: dict, now=1.0)
    after = state_of(home).trials[0].record()
    assert (after.values, after.metrics, after.replicates, after.seeds, after.steps) == (
        before.values, before.metrics, before.replicates, before.seeds, before.steps,
    )  # fmt: skip
    assert after.steps == {1: 1.0}
    assert len(after.replicates) == 2


def test_commands_get_a_seed_and_folders_of_their_own(root: Path) -> None:
    home = make(root, study="trials = 1\nreplicates = 2", objective='command = "sh"')
    script = (
        'echo "{\\"step\\": 1, \\"loss\\": 5}" >> "$HPO_BATCH_METRICS_FILE"; touch "$HPO_BATCH_CHECKPOINT_DIR/c"; '
        'echo "$HPO_BATCH_SEED" > "$HPO_BATCH_TRIAL_DIR/seed"; echo "RESULT: $(wc -l < $HPO_BATCH_METRICS_FILE)"'
    )
    template = Template.parse(["sh", "-c", script.replace("{", "{{").replace("}", "}}")])
    objective = CommandObjective(template=template, wanted=Wanted.parse(("loss",), {}), env={}, poll_s=0.01)
    with Study.open(home, owner()) as study:
        assert work(WorkerContext(study=study, objective=objective, place=HERE, signals=Signals())).complete == 1
    trial = state_of(home).trials[0]
    folders = [home.attempt(0, 1), home.attempt(0, 1) / "seed-2"]
    assert [int((folder / "seed").read_text()) for folder in folders] == trial.facts["seeds"]
    assert trial.values == (1.0,)
    assert trial.steps == {1: 5.0}


def test_repeats_as_trials_with_another_seed(root: Path) -> None:
    sampler = 'name = "random"\nduplicates = "replicate"'
    home = make(root, study="trials = 9\nmax_failed = 9", space="n = [1, 2, 3]", sampler=sampler)

    def objective(trial: Trial) -> Outcome:
        if trial.params["n"] == 3:
            return Failed(reason=Reason.NAN, message="nan")
        return complete(float(trial.number))

    loop(home, objective)
    state = state_of(home)
    assert state.counts().finished == 9
    assert len({trial.facts["seeds"][0] for trial in state.trials}) == len(state.trials)
    first: dict[object, int] = {}
    for trial in state.trials:
        assert trial.record().replicate_of == first.get(trial.params["n"])
        first.setdefault(trial.params["n"], trial.number)
    assert [t.params["n"] for t in state.trials].count(3) <= 1  # what failed is not repeated
    with Study.open(home, owner()) as study:
        shown = SamplerHistory(study.journal.revision.space).study(state, RANDOM()).get_trials(deepcopy=False)
    means = {n: statistics.mean(t.values[0] for t in state.trials if t.values and t.params["n"] == n) for n in (1, 2)}
    assert {trial.params["n"]: trial.value for trial in shown} == means
    assert len(shown) == 2


def test_a_killed_worker_loses_no_seed_that_was_done(project: Callable[..., Project]) -> None:
    here = project("second_seed_hangs", study="trials = 1\nreplicates = 3\nmax_attempts = 1")
    worker = here.start()
    checkpoint = here.home.attempt(0, 1) / "checkpoint"
    here.until(lambda: (checkpoint / "seed-2" / "model").exists())
    worker.process.kill()
    worker.wait()
    assert here.run().process.returncode == 0
    trial = here.state.trials[0]
    seeds = trial.facts["seeds"]
    assert trial.ending(1)["how"] == "lost"
    assert trial.ending(1)["moved"]  # a seed that is done is progress: the attempt does not count
    assert trial.values == (statistics.mean(float(seed % 100) for seed in seeds),)
    assert here.file("stdout") == f"seed {seeds[0]}\n"
    assert here.file("seed-2/stdout", attempt=2) == f"seed {seeds[1]}\n"
    assert here.file("seed-3/stdout", attempt=2) == f"seed {seeds[2]}\n"
    assert not (here.home.attempt(0, 2) / "stdout").exists()  # the first seed was not run again
    assert trial.steps == {1: float(seeds[0] % 100)}
