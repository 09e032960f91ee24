"""Trials claimed for one block: of one shape, and otherwise as the sweep says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from hpo_batch.records import Cause, Claim, Idle, IdleWhy
from hpo_batch.store.home import StudyHome
from hpo_batch.study.alike import Alike
from hpo_batch.study.study import Study
from tests.processes import in_processes

from .helpers import complete, keys, make, owner, state_of

SPACE = """
d_model = [16, 32, 64]
n_layers = [1, 2]
lr = { low = 1e-5, high = 1e-2, log = true }
dropout = [0.0, 0.1, 0.2, 0.3]
epochs = 5
"""
CELLS = """
d_model = [16, 32, 64]
n_layers = [1, 2]
lr = [1e-4, 1e-3, 1e-2]
dropout = [0.0, 0.1, 0.2]
"""  # 54, of 6 shapes
SHAPE = ("d_model", "n_layers", "batch_size")


def shape_of(claim: Claim) -> tuple[object, ...]:
    return tuple(claim.configuration.values.get(name) for name in SHAPE)


def block(study: Study, size: int = 6, names: tuple[str, ...] = SHAPE) -> tuple[Claim, ...]:
    claims = study.claim(size, alike=Alike(names=names, size=size))
    assert not isinstance(claims, Idle), claims
    assert len({shape_of(claim) for claim in claims}) == 1
    return claims


def tell(study: Study, claims: tuple[Claim, ...]) -> None:
    for claim in claims:
        study.tell(claim, complete(claim))


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "nsga2", "grid", "qmc"])
@pytest.mark.parametrize("space", [SPACE, CELLS])
def test_a_block_has_one_shape_and_different_settings(root: Path, sampler: str, space: str) -> None:
    if sampler == "grid" and space is SPACE:
        pytest.skip("a grid has no continuous parameter")
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    home = make(root, study="trials = 40", space=space, sampler=f'name = "{sampler}"')
    with Study.open(home, owner()) as study:
        shapes, sizes = set(), []
        for _ in range(4):
            claims = block(study)
            shapes.add(shape_of(claims[0]))
            sizes.append(len(claims))
            tell(study, claims)
    assert len(set(keys(state_of(home)))) == sum(sizes)
    if space is SPACE and sampler != "qmc":  # a sequence is not bent: what comes of one shape is taken together
        assert sizes == [6] * 4
    assert set(sizes) <= {6, 3} or sampler == "qmc"  # nine cells of a shape: six, and later the rest
    assert max(sizes) > 3
    assert len(shapes) > 1 or sampler in ("grid", "cmaes")  # this one searches around a mean


def blocks_of(home: StudyHome, index: int, size: int) -> list[list[int]]:
    done = []
    with Study.open(home, owner(index)) as study:
        while not isinstance(claims := study.claim(size, alike=Alike(names=SHAPE, size=size)), Idle):
            assert len({shape_of(claim) for claim in claims}) == 1
            tell(study, claims)
            done.append([claim.number for claim in claims])
    return done


@pytest.mark.parametrize("sampler", ["random", "grid", "tpe"])
def test_all_cells_once_over_several_workers(root: Path, sampler: str) -> None:
    home = make(root, study="trials = 54", space=CELLS, sampler=f'name = "{sampler}"')
    results = in_processes([(blocks_of, home, i, size) for i, size in enumerate((4, 16, 3))])
    assert sorted(number for blocks in results for one in blocks for number in one) == list(range(54))
    assert len(set(keys(state_of(home)))) == 54


def test_the_rules_of_the_sweep_hold_within_a_block(root: Path) -> None:
    """Quotas, constraints, conditions, and shapes that have not been tried first."""
    space = """
d_model = { choices = [16, 32], weights = [1, 3] }
n_layers = [1, 2, 3]
kind = ["a", "b"]
gamma = { choices = [0.0, 1.0, 2.0], when = "kind == 'b'" }
lr = { low = 1e-5, high = 1e-2, log = true }
[space.constraints]
small = "d_model * n_layers <= 64"
"""
    sampler = 'name = "random"\ncoverage = ["d_model", "n_layers"]\ncoverage_share = 1.0'
    home = make(root, study="trials = 80", space=space, sampler=sampler)
    with Study.open(home, owner()) as study:
        firsts = []
        for _ in range(20):
            claims = block(study, 4)
            firsts.append(shape_of(claims[0])[:2])
            tell(study, claims)
    state = state_of(home)
    assert all(trial.params["d_model"] * trial.params["n_layers"] <= 64 for trial in state.trials)
    assert all(("gamma" in trial.params) == (trial.params["kind"] == "b") for trial in state.trials)
    assert {trial.params["kind"] for trial in state.trials} == {"a", "b"}
    assert {shape for shape in firsts if shape[0] == 32} == {(32, 1), (32, 2)}
    assert len({shape for shape in firsts if shape[0] == 16}) == 3
    assert len({shape for shape in firsts if shape[0] == 16}.union(firsts[:4])) == 5  # an untried one each time
    counts = Counter(trial.params["d_model"] for trial in state.trials)
    assert counts == {16: 20, 32: 60}


def test_quotas_of_what_is_no_shape_are_kept_within_each_block(root: Path) -> None:
    space = (
        CELLS.replace("[0.0, 0.1, 0.2]", "{ choices = [0.0, 0.1], weights = [1, 3] }") + "x = { low = 0.0, high = 1.0 }"
    )
    home = make(root, study="trials = 40", space=space)
    with Study.open(home, owner()) as study:
        for _ in range(3):
            claims = block(study, 8)
            counts = Counter(claim.configuration.values["dropout"] for claim in claims)
            assert counts == {0.0: 2, 0.1: 6}
            tell(study, claims)


def test_planned_and_waiting_trials_come_first_and_only_those_of_one_shape_together(root: Path) -> None:
    trials = "".join(
        f'[[trial]]\nname = "t{i}"\nparams = {{ d_model = {d}, n_layers = 1, lr = 1e-{i + 2}, dropout = 0.0 }}\n'
        for i, d in enumerate([16, 32, 16, 32])
    )
    home = make(root, study="trials = 12", space=SPACE, rest=trials)
    with Study.open(home, owner()) as study:
        first = block(study)
        assert [claim.name for claim in first] == ["t0", "t2"]
        second = block(study)
        assert [claim.name for claim in second] == ["t1", "t3"]
        drawn = block(study, 4)
        for claim in (*first, drawn[0]):
            study.give_back(claim, Cause.TIME_LIMIT)
        again = block(study)
        assert [claim.number for claim in again] == [claim.number for claim in first]
        assert [claim.attempt for claim in again] == [2, 2]
        assert block(study)[0].number == drawn[0].number


def test_a_free_slot_gets_what_fits_into_the_block(root: Path) -> None:
    home = make(root, study="trials = 40", space=CELLS)
    with Study.open(home, owner()) as study:
        claims = block(study, 5)
        alike = Alike(names=SHAPE, size=5).of(claims[0].configuration)
        tell(study, claims[:2])
        more = study.claim(2, alike=alike)
        assert not isinstance(more, Idle)
        assert {shape_of(claim) for claim in (*claims, *more)} == {shape_of(claims[0])}
        assert len({claim.configuration.key for claim in (*claims, *more)}) == 7
        rest = study.claim(5, alike=alike)
        assert not isinstance(rest, Idle)
        assert len(rest) == 2  # of nine settings
        over = study.claim(1, alike=alike)
        assert isinstance(over, Idle)
        assert over.why is IdleWhy.IN_FLIGHT
        assert len({shape_of(claim) for claim in (*claims, *block(study))}) == 2


def test_a_block_stays_within_the_target(root: Path) -> None:
    home = make(root, study="trials = 7", space=CELLS)
    with Study.open(home, owner()) as study:
        claims = block(study, 5)
        assert len(claims) == 5
        assert len(block(study, 5)) == 2
        assert isinstance(study.claim(5, alike=Alike(names=SHAPE, size=5)), Idle)


def test_values_are_told_apart_by_their_type(root: Path) -> None:
    alike = Alike(names=("x",), size=2, values={"x": 1})
    home = make(root, space="x = [1.0, 2.0]\ny = [1, 2, 3]")
    with Study.open(home, owner()) as study:
        claims = study.claim(1)
        assert not isinstance(claims, Idle)
        assert not alike.fits(claims[0].configuration)


def test_a_trial_of_a_block_holds_its_share_of_the_gpu(root: Path) -> None:
    home = make(root, study="trials = 8", space=CELLS)
    with Study.open(home, owner(gpus=("0", "1"))) as study:
        tell(study, block(study, 4))
        tell(study, block(study, 1))
    state = state_of(home)
    assert [trial.record().attempts[0].gpu_count for trial in state.trials] == [0.5] * 4 + [2.0]
