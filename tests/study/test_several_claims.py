"""Several trials claimed in one transaction, by processes of which some are killed: none twice, none lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from benchmarks.fault_points import install
from hpo_batch.records import Claim, Idle, IdleWhy, TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.study.alike import Alike
from hpo_batch.study.study import Study
from tests.faults.helpers import AtCall, die_halfway
from tests.helpers import until
from tests.journal.helpers import assert_read_as_optuna_reads
from tests.processes import answer, in_processes, kill, start

from .helpers import complete, keys, make, owner, state_of

CELLS = "a = [1, 2, 3, 4]\nb = [1, 2, 3, 4]\nc = ['x', 'y', 'z']"  # 48
SIZES = (1, 2, 3, 5, 8, 13)
Batches = list[list[tuple[int, int, str]]]


def claim_in_batches(home: StudyHome, index: int, at_most: int) -> tuple[Batches, IdleWhy]:
    """Claim up to ``at_most`` and tell all of them, until there is nothing left: number, attempt and token of each."""
    batches: Batches = []
    with Study.open(home, owner(index)) as study:
        while not isinstance(claims := study.claim(at_most), Idle):
            assert 1 <= len(claims) <= at_most
            batches.append([(claim.number, claim.attempt, claim.token) for claim in claims])
            for claim in claims:
                study.tell(claim, complete(claim))
        return batches, claims.why


def hold(home: StudyHome, index: int, at_most: int, told: int, ready: Path) -> None:
    """Claim several, tell some of them, and hold the others until this process is killed."""
    with Study.open(home, owner(index)) as study:
        claims = study.claim(at_most)
        assert not isinstance(claims, Idle)
        for claim in claims[:told]:
            study.tell(claim, complete(claim))
        ready.with_suffix(".part").write_text(" ".join(str(claim.number) for claim in claims[told:]))
        ready.with_suffix(".part").rename(ready)
        time.sleep(60)


def claim_until_killed(home: StudyHome, index: int, at_most: int) -> None:
    """Go on as ``claim_in_batches`` does, and die by SIGKILL right after a tell, with claims in hand."""
    with Study.open(home, owner(index)) as study:
        while not isinstance(claims := study.claim(at_most), Idle):
            for claim in claims:
                if claim.number % 7 == index:
                    os.kill(os.getpid(), signal.SIGKILL)
                study.tell(claim, complete(claim))


def check_complete(home: StudyHome, trials: int) -> None:
    """Exactly so many trials, all complete, none with the configuration or a seed of another."""
    state = state_of(home)
    assert state.counts().complete == len(state.trials) == trials
    assert len(set(keys(state))) == trials
    assert len({trial.facts["seeds"][0] for trial in state.trials}) == trials
    assert_read_as_optuna_reads(home.journal)


@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
def test_processes_that_claim_several_at_once_repeat_none(root: Path, sampler: str) -> None:
    options = "\nstartup_trials = 5" if sampler == "tpe" else ""
    home = make(root, study="trials = 40", space=CELLS, sampler=f'name = "{sampler}"{options}')
    results = in_processes([(claim_in_batches, home, i, size) for i, size in enumerate(SIZES)])
    claims = [claim for batches, _ in results for batch in batches for claim in batch]
    assert sorted((number, attempt) for number, attempt, _ in claims) == [(number, 1) for number in range(40)]
    assert len({token for _, _, token in claims}) == 40
    assert {why for _, why in results} <= {IdleWhy.TARGET_MET, IdleWhy.IN_FLIGHT}
    assert any(len(batch) > 1 for batches, _ in results for batch in batches)
    check_complete(home, 40)


def test_a_claim_takes_what_is_left_and_no_more(root: Path) -> None:
    home = make(root, study="trials = 5", space=CELLS)
    with Study.open(home, owner()) as study, Study.open(home, owner(1)) as other:
        first, rest = study.claim(3), other.claim(8)
        assert not isinstance(first, Idle)
        assert not isinstance(rest, Idle)
        assert [claim.number for claim in (*first, *rest)] == [0, 1, 2, 3, 4]
        assert study.claim(4) == Idle(why=IdleWhy.IN_FLIGHT)
        for claim in first:
            study.tell(claim, complete(claim))
        for claim in rest:
            other.tell(claim, complete(claim))
        assert study.claim(4) == Idle(why=IdleWhy.TARGET_MET)
    check_complete(home, 5)


def test_what_killed_workers_held_is_served_again_while_others_claim(root: Path) -> None:
    home = make(root, study="trials = 40\nmax_attempts = 9", space=CELLS)
    holders = [start(hold, home, i, 4, i, root / f"ready-{i}") for i in range(4)]  # of 4 claims, 0 to 3 are told
    readies = [root / f"ready-{i}" for i in range(4)]
    until(lambda: all(ready.exists() for ready in readies))
    held = {int(number) for ready in readies for number in ready.read_text().split()}
    assert len(held) == 10
    workers = [start(claim_in_batches, home, 10 + i, size) for i, size in enumerate((2, 5, 3))]
    for process, _ in holders:
        kill(process)
    results = [answer(process, pipe) for process, pipe in workers]
    while {why for _, why in results} == {IdleWhy.IN_FLIGHT}:  # all had left before the last holder was dead
        results.append(claim_in_batches(home, 20, 4))
    served = [(number, attempt) for batches, _ in results for batch in batches for number, attempt, _ in batch]
    assert len(served) == len(set(served)) == 34
    assert {number for number, attempt in served if attempt == 2} == held
    for number in held:
        assert state_of(home).trials[number].ending(1)["how"] == "lost"
    check_complete(home, 40)


def test_workers_killed_at_any_time_lose_and_double_nothing(root: Path) -> None:
    home = make(root, study="trials = 40\nmax_attempts = 99", space=CELLS)
    for round in range(3):
        processes = [start(claim_until_killed, home, i, size) for i, size in enumerate((4, 2, 6))]
        for process, _ in processes:
            process.join()
        if round == 0:
            assert any(process.exitcode == -signal.SIGKILL for process, _ in processes)
    batches, why = claim_in_batches(home, 30, 5)
    assert why is IdleWhy.TARGET_MET
    assert any(attempt > 1 for batch in batches for _, attempt, _ in batch)
    check_complete(home, 40)


def claim_and_die(home: StudyHome, k: int) -> tuple[Claim, ...] | Idle:
    with Study.open(home, owner(7)) as study:
        install(AtCall(k=k, fault=die_halfway))
        return study.claim(3)


def test_a_claim_of_three_killed_at_every_call(root: Path) -> None:
    """Whatever part of the three is in the journal, the next worker finishes the study with exactly 4 trials."""
    kept = []
    for k in range(100):
        home = make(root / str(k), study="trials = 4", space=CELLS)
        process, pipe = start(claim_and_die, home, k)
        process.join()
        if process.exitcode == 0:
            claims = answer(process, pipe)
            assert [claim.number for claim in claims] == [0, 1, 2]
            break
        assert process.exitcode == -signal.SIGKILL
        state = state_of(home)
        assert all(trial.state is TrialState.RUNNING for trial in state.trials)
        kept.append(len(state.trials))
        _, why = claim_in_batches(home, 0, 3)
        assert why is IdleWhy.TARGET_MET
        check_complete(home, 4)
    else:
        pytest.fail("it made more calls than that")
    assert kept == sorted(kept)
    assert {0, 3} <= set(kept)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_where_repeats_are_wanted_a_claim_of_several_is_still_no_single_configuration(root: Path, sampler: str) -> None:
    """Each in it once: a repeat is one that the sampler proposes again, when it knows what came of the first."""
    repeats = f'name = "{sampler}"\nduplicates = "replicate"'
    home = make(root, study="trials = 24", space="a = [1, 2, 3]\nb = [1, 2]", sampler=repeats)
    batches = []
    with Study.open(home, owner()) as study:
        shape = Alike(names=("a",), size=4)
        while not isinstance(claims := study.claim(4, alike=shape), Idle):
            batches.append([claim.configuration.key for claim in claims])
            assert len({claim.configuration.values["a"] for claim in claims}) == 1
            for claim in claims:
                study.tell(claim, complete(claim))
    assert all(len(set(batch)) == len(batch) for batch in batches)
    assert max(map(len, batches)) == 2
    assert sum(map(len, batches)) == 24
