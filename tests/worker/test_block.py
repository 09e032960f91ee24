"""Blocks around real studies: toy functions that train several trials, in this process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.monitor.explain import explain
from hpo_batch.objective.function import FunctionObjective
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.trial import Trial
from hpo_batch.objective.trials import ManyFunction, Trials
from hpo_batch.records import Cause, Idle, IdleWhy, Stopping, TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.study.study import Study
from hpo_batch.worker.context import WorkerContext
from hpo_batch.worker.loop import work
from hpo_batch.worker.resources import Place
from hpo_batch.worker.signals import Signals
from hpo_batch.worker.tally import Tally
from tests.study.helpers import make, owner, state_of

HERE = Place(device="cpu", cpus=1, deadline=None, lead_s=0.0)
SPACE = "d = [1, 2, 3]\nlr = [1, 2, 3, 4, 5, 6, 7, 8]\n"
WANTED = Wanted.parse(("loss",), {})


def not_alone(trial: Trial) -> float:
    raise AssertionError("this was to be trained together")


def alone(trial: Trial) -> float:
    print("alone", trial.number)
    if trial.params["lr"] == 8:
        raise ValueError("no such luck")
    return float(trial.params["lr"])


def score(trial: Trial) -> float:
    return trial.params["d"] + trial.params["lr"] / 10


def epochs(trials: Trials) -> None:
    """As in the documentation: trial N takes 1 + N % 3 epochs."""
    done: Counter[int] = Counter()
    running: list[Trial] = []
    while running := running + trials.take():
        for trial in list(running):
            done[trial.number] += 1
            trial.report(done[trial.number], loss=score(trial))
            if done[trial.number] > trial.number % 3:
                trials.end(trial, score(trial))
            elif trial.should_stop():
                (trial.checkpoint / "epoch").write_text(str(done[trial.number]))
                trials.end(trial, None)
            else:
                continue
            running.remove(trial)


@pytest.fixture
def home(root: Path) -> StudyHome:
    return make(root, study="trials = 20", space=SPACE, tables={"job": "fuse = 4"})


@pytest.fixture
def study(home: StudyHome) -> Iterator[Study]:
    with Study.open(home, owner()) as study:
        yield study


def loop(
    study: Study,
    many: Callable[[Trials], Any],
    function: Callable[[Trial], Any] = not_alone,
    shape: tuple[str, ...] = ("d",),
    **changes: Any,
) -> Tally:
    objective = FunctionObjective(function=function, wanted=WANTED, many=ManyFunction(function=many, shape=shape))
    facts: dict[str, Any] = {"place": HERE, "signals": Signals(), "sleep": lambda _: None, **changes}
    return work(WorkerContext(study=study, objective=objective, **facts))


def test_blocks_of_one_shape_run_until_the_target_is_met(study: Study) -> None:
    blocks: list[list[Trial]] = []

    def spy(trials: Trials) -> None:
        blocks.append([])
        real = trials.take

        def take(at_most: int | None = None) -> list[Trial]:
            taken = real(at_most)
            blocks[-1] += taken
            return taken

        trials.take = take  # type: ignore[method-assign]
        assert (trials.size, trials.cpus, trials.device) == (4, 1, "cpu")
        epochs(trials)

    tally = loop(study, spy)
    assert tally == Tally(complete=20, idle=Idle(why=IdleWhy.TARGET_MET))
    assert all(len({trial.params["d"] for trial in block}) == 1 for block in blocks)
    assert all(len(block) <= 8 for block in blocks)  # twice the size: then another shape has its turn
    assert sum(map(len, blocks)) == 20
    assert len({trial.params["d"] for block in blocks for trial in block}) == 3
    state = state_of(study.home)
    assert len({trial.key for trial in state.trials}) == 20
    for trial in state.trials:
        assert trial.values == (pytest.approx(trial.params["d"] + trial.params["lr"] / 10),)
        assert list(trial.steps) == list(range(1, 2 + trial.number % 3))


def test_what_a_block_uses_is_divided_among_its_trials(study: Study) -> None:
    """CPU time counts once; memory and GPUs are those of the process, which they share."""

    def burning(trials: Trials) -> None:
        running = trials.take()
        for half in (running[:2], running[2:]):  # two end, and two go on: each of these has a half of the rest
            end = time.process_time() + 0.1 * (running[0].number == 0)
            while time.process_time() < end:
                pass
            for trial in half:
                trials.end(trial, 1.0)

    before = time.process_time()
    loop(study, burning)
    whole = time.process_time() - before
    used = [trial.ending(1)["usage"] for trial in state_of(study.home).trials[:4]]
    shares = [one["cpu_s"] for one in used]
    assert shares[:2] == [pytest.approx(0.025, abs=0.015)] * 2
    assert shares[2:] == [pytest.approx(0.075, abs=0.015)] * 2
    assert 0.2 <= sum(shares) <= whole
    assert all(one["memory_mb"] > 20 for one in used)


def test_results_are_told_in_blocks(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = []
    real = study.endings.tell_all
    monkeypatch.setattr(study.endings, "tell_all", lambda ends: at_once.append(len(ends)) or real(ends))

    def one_epoch(trials: Trials) -> None:
        while taken := trials.take():
            for trial in taken:
                trials.end(trial, score(trial))

    loop(study, one_epoch)
    assert at_once[0] == 4
    assert len(at_once) < 10


def test_each_trial_ends_in_its_own_way(study: Study) -> None:
    def many(trials: Trials) -> None:
        for trial in trials.take():
            trial.report(1, loss=0.5)
            kind = trial.number % 4
            trials.end(trial, {0: {"loss": 0.25, "extra": 1.0}, 1: ValueError("no such luck"), 2: "text"}.get(kind))

    tally = loop(study, many)
    state = state_of(study.home)
    assert state.trials[0].record().metrics == {"loss": 0.25, "extra": 1.0}
    reasons = {trial.number: trial.record().reason for trial in state.trials[:4]}
    assert reasons == {0: None, 1: "exception", 2: "invalid", 3: "no_result"}
    assert state.trials[1].record().message == "ValueError: no such luck"
    assert tally.failed >= 3


def test_a_function_that_fails_leaves_its_trials_to_be_trained_alone(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def many(trials: Trials) -> None:
        taken = trials.take()
        calls.append(len(taken))
        trials.end(taken[0], score(taken[0]))
        for trial in taken[1:]:
            (trial.checkpoint / "epoch").write_text("1")
        raise RuntimeError("a mistake in train_many")

    resumed = []

    def function(trial: Trial) -> float:
        resumed.append(trial.resumes)
        return alone(trial)

    tally = loop(study, many, function)
    assert calls == [4]  # and no more
    assert "train_many failed with 3 trials" in caplog.text
    assert "this worker trains one trial at a time" in caplog.text
    state = state_of(study.home)
    assert resumed[:3] == [True] * 3
    failed = [trial for trial in state.trials if trial.state is TrialState.FAIL]
    assert {trial.params["lr"] for trial in failed} <= {8}
    assert state.counts().complete == 20
    assert tally.complete == 20
    assert all(trial.attempt == 1 for trial in state.trials)
    assert "a mistake in train_many" in (study.home.attempt(0, 1) / "stderr").read_text()


def test_blocks_shrink_until_they_fit_into_the_memory(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    sizes = []

    def many(trials: Trials) -> None:
        taken = trials.take()
        sizes.append(len(taken))
        if len(taken) > 2:
            raise MemoryError
        for trial in taken:
            trials.end(trial, score(trial))

    tally = loop(study, many, alone)
    assert sizes[:2] == [4, 2]
    assert set(sizes[1:]) <= {1, 2}
    assert "out of memory with 4 trials" in caplog.text
    assert "blocks have at most 2 trials" in caplog.text
    assert tally.complete == 20


def test_a_function_that_fails_with_one_trial_has_failed_it(study: Study) -> None:
    def many(trials: Trials) -> None:
        *others, last = trials.take()
        for trial in others:
            trials.end(trial, score(trial))
        trials.take(0)
        if last.number == 3:
            raise ValueError("the last one")
        trials.end(last, score(last))

    loop(study, many)
    state = state_of(study.home)
    assert [trial.number for trial in state.trials if trial.state is TrialState.FAIL] == [3]
    assert state.trials[3].record().message == "ValueError: the last one"


def test_trials_that_are_forgotten_fail_and_those_not_taken_run_alone(study: Study) -> None:
    def many(trials: Trials) -> None:
        first, second = trials.take(2)
        trials.end(second, score(second))
        first.report(1, loss=0.5)

    def fine(trial: Trial) -> float:
        return 1.0

    loop(study, many, fine)
    state = state_of(study.home)
    failed = [trial for trial in state.trials if trial.state is TrialState.FAIL]
    assert {trial.record().reason for trial in failed} == {"no_result"}
    assert (
        failed[0].record().message
        == "train_many returned without an end of this trial; call trials.end(trial, result) for each"
    )
    assert {trial.number for trial in failed} >= {0}
    assert state.trials[2].values == state.trials[3].values == (1.0,)


def test_a_warning_gives_all_of_them_back(study: Study) -> None:
    signals = Signals()

    def many(trials: Trials) -> None:
        signals.received, signals.warned = Stopping.TIME_LIMIT, time.time()
        epochs(trials)

    tally = loop(study, many, signals=signals)
    state = state_of(study.home)
    assert tally.stopped is Stopping.TIME_LIMIT
    waiting = [trial for trial in state.trials if trial.state is TrialState.WAITING]
    assert [trial.ending(1)["how"] for trial in waiting] == ["time_limit"] * len(waiting)
    assert [trial.number for trial in waiting] == [1, 2]  # the others were done in their first epoch
    assert [trial.number for trial in state.trials if trial.state is TrialState.COMPLETE] == [0, 3]

    def resumes(trials: Trials) -> None:
        taken = trials.take()
        seen.update({trial.number: (trial.attempt, trial.resumes) for trial in taken})
        for trial in taken:
            trials.end(trial, 1.0)

    seen: dict[int, tuple[int, bool]] = {}
    loop(study, resumes)
    assert seen[1] == seen[2] == (2, True)


def test_a_trial_that_went_on_elsewhere_is_dropped_from_its_block(study: Study) -> None:
    def many(trials: Trials) -> None:
        taken = trials.take()
        if taken[0].number == 0:
            facts = study.journal.state.trials[1].attempt_facts(1)
            with Study.open(study.home, owner(1)) as other:
                claim = next(c for c in [_claim_of(study, 1)] if c.token == facts["token"])
                other.journal.sync()
                other.give_back(claim, Cause.PREEMPTED)
        for trial in taken:
            trials.end(trial, 0.5)

    tally = loop(study, many)
    state = state_of(study.home)
    assert state.trials[1].attempt == 2
    assert state.counts().complete == tally.complete == 20


def _claim_of(study: Study, number: int) -> Any:
    from hpo_batch.records import Claim, Configuration

    trial = study.journal.state.trials[number]
    return Claim(
        number=number,
        attempt=1,
        token=str(trial.attempt_facts(1)["token"]),
        configuration=Configuration(searched=trial.params, fixed={}),
        seeds=(0,),
        origin="random",
    )


def test_pruned_trials_make_room_for_others(root: Path) -> None:
    home = make(
        root, study="trials = 20", space=SPACE, tables={"job": "fuse = 4", "pruner": 'name = "median"\nfirst_rung = 1'}
    )

    def many(trials: Trials) -> None:
        running: list[Trial] = []
        step = 0
        while running := running + trials.take():
            step += 1
            for trial in list(running):
                trial.report(step, loss=score(trial))
                if trial.should_stop() or step % 6 == 0:
                    trials.end(trial, None if trial.stopping else score(trial))
                    running.remove(trial)

    with Study.open(home, owner()) as study:
        tally = loop(study, many)
    assert tally.complete + tally.pruned == 20
    assert tally.failed == 0


def test_the_output_of_a_block_is_in_every_folder(study: Study) -> None:
    def many(trials: Trials) -> None:
        taken = trials.take()
        print("trained", *(trial.number for trial in taken), flush=True)
        for trial in taken:
            trials.end(trial, 0.5)

    loop(study, many)
    for number in range(4):
        assert (study.home.attempt(number, 1) / "stdout").read_text() == "trained 0 1 2 3\n"
        assert not (study.home.attempt(number, 1) / "stderr").exists()


def test_explain_says_that_a_trial_shared_its_process(study: Study) -> None:
    loop(study, epochs)
    (story,) = explain(study.home, "0")
    assert story.attempts[0].fused == 4
    assert story.happened[0] == "attempt 1 was one of up to 4 in its process ([job] fuse); they share its output"


def test_what_a_user_may_do_wrong_is_said(study: Study) -> None:
    said = []

    def many(trials: Trials) -> None:
        taken = trials.take()
        for trial in taken:
            trials.end(trial, 0.5)
        try:
            trials.end(taken[0], 0.5)
        except ValueError as error:
            said.append(str(error))

    loop(study, many)
    assert said[0].startswith("Trial(number=0, ")
    assert said[0].endswith("has ended already, or is not one of these trials")


def test_ctrl_c_twice_gives_all_back(study: Study) -> None:
    def many(trials: Trials) -> None:
        trials.take()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop(study, many)
    state = state_of(study.home)
    assert [trial.state for trial in state.trials] == [TrialState.WAITING] * 4
    assert state.trials[0].ending(1)["how"] == "cancelled"


def test_without_fuse_or_train_many_nothing_is_fused(root: Path) -> None:
    home = make(root, study="trials = 3", space=SPACE)

    def many(trials: Trials) -> None:
        raise AssertionError

    with Study.open(home, owner()) as study:
        assert loop(study, many, score).complete == 3
