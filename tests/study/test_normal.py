"""TPE computes with SciPy's normal distribution, and proposes what it proposes with Optuna's."""

from __future__ import annotations

import importlib
import math
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import optuna
import pytest

from hpo_batch.journal.encode import Writer
from hpo_batch.journal.file import Journal
from hpo_batch.records import TrialState, Value
from hpo_batch.space.draw import at_random
from hpo_batch.study.distributions import JournalParams
from hpo_batch.study.samplers import make_source, normal
from hpo_batch.study.samplers.normal import log_ndtr, scipys_normal
from hpo_batch.study.samplers.tpe import AnyTpe

from .helpers import Text, make, state_of, sweep_of

truncnorm: Any = importlib.import_module("optuna.samplers._tpe._truncnorm")
mixture: Any = importlib.import_module("optuna.samplers._tpe.probability_distributions")

EVERY_KIND = """
a = { low = 0.0, high = 1.0 }
b = { low = 1e-5, high = 1e-1, log = true }
c = { low = 1, high = 100000 }
d = [1, 2, 3, 4]
e = { low = 1, high = 512, log = true }
f = { low = 0.0, high = 1.0, step = 0.01 }
g = { low = 3, high = 9, step = 2 }
"""
CONDITIONAL = (
    f"{EVERY_KIND}h = {{ low = 0.0, high = 1.0, when = 'd > 2' }}\ni = {{ low = 1, high = 9, when = 'd == 1' }}"
)
TWO = 'metric = ["loss", "size"]\ndirection = ["minimize", "maximize"]'
SWEEPS = {
    "every kind of parameter": Text(space=EVERY_KIND, sampler='name = "tpe"'),
    "conditions": Text(space=CONDITIONAL, sampler='name = "tpe"'),
    "two metrics": Text(space=EVERY_KIND, sampler='name = "tpe"', metric=TWO),
    "each parameter by itself": Text(space=EVERY_KIND, sampler='name = "tpe"\noptions = { multivariate = false }'),
}


@pytest.fixture(params=SWEEPS)
def drawn(request: pytest.FixtureRequest, root: Path) -> Callable[[int], dict[str, Value]]:
    """Draws from a study of 200 trials, some of them running, by seed."""
    text = SWEEPS[request.param]
    home = make(root, **{name: getattr(text, name) for name in ("space", "sampler", "metric")}, study="trials = 999")
    sweep = sweep_of(root, text)
    rng, write, stored = random.Random(0), Writer("w-0"), JournalParams(sweep.space)
    records = []
    for number in range(200):
        configuration = at_random(sweep.space, rng)
        params, distributions = stored(configuration)
        facts = {"key": configuration.key, "origin": "tpe"}
        records.append(
            write.create_trial(
                now=1.0, state=TrialState.RUNNING, params=params, distributions=distributions,
                system_attrs={"hpo:trial": facts},
            )
        )  # fmt: skip
        if number < 190:
            values = [rng.random() for _ in sweep.study.metric]
            records.append(write.trial_state(number, TrialState.COMPLETE, now=2.0, values=values))
    with Journal(home.journal).transaction() as transaction:
        transaction.append(records, sync=False)
    source, state = make_source(sweep, sweep.space, ()), state_of(home)
    return lambda seed: source.draw(state, seed=seed, again=False).candidates[0].configuration.values


def as_optuna_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normal, "_replaced", lambda: ())
    monkeypatch.delattr(AnyTpe, "_get_internal_repr")


def test_proposals_are_those_of_optuna(
    drawn: Callable[[int], dict[str, Value]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = [drawn(seed) for seed in range(15)]
    as_optuna_does(monkeypatch)
    theirs = [drawn(seed) for seed in range(15)]
    assert len({repr(values) for values in ours}) == 15
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if isinstance(value, float):
                assert value == pytest.approx(other[name], rel=1e-9, abs=0), name
            else:
                assert value == other[name], name


def test_no_proposal_calls_python_for_each_number(
    drawn: Callable[[int], dict[str, Value]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also says when another Optuna has these functions under other names."""
    single = truncnorm._log_ndtr_single.__wrapped__.__code__
    with calls() as counted:
        drawn(0)
    assert counted.get(log_ndtr.__code__, 0) > 0
    assert single not in counted
    as_optuna_does(monkeypatch)
    with calls() as counted:
        drawn(0)
    assert counted[single] > 100


@contextmanager
def calls() -> Iterator[dict[CodeType, int]]:
    """How often each Python function is called in the block."""
    counted: dict[CodeType, int] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            counted[frame.f_code] = counted.get(frame.f_code, 0) + 1

    sys.setprofile(note)
    try:
        yield counted
    finally:
        sys.setprofile(None)


def test_optuna_is_left_as_it_was() -> None:
    before = truncnorm._log_ndtr, mixture._log_gauss_mass_unique
    with scipys_normal():
        assert truncnorm._log_ndtr is log_ndtr
        with scipys_normal():
            pass
    assert (truncnorm._log_ndtr, mixture._log_gauss_mass_unique) == before
    with pytest.raises(ZeroDivisionError), scipys_normal():
        _ = 1 / 0
    assert (truncnorm._log_ndtr, mixture._log_gauss_mass_unique) == before


def test_an_optuna_without_these_names_keeps_its_own(
    drawn: Callable[[int], dict[str, Value]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normal, "TPE", "optuna.samplers._tpe_of_tomorrow")
    normal._replaced.cache_clear()
    try:
        assert normal._replaced() == ()
        with scipys_normal():
            assert truncnorm._log_ndtr is not log_ndtr
        drawn(0)
    finally:
        normal._replaced.cache_clear()


def exact(a: float) -> float:
    """From the C library's complementary error function, or, where that is next to 0, by the asymptotic series."""
    if a > 0:
        return math.log1p(-math.erfc(a / math.sqrt(2)) / 2)
    if a > -20:
        return math.log(math.erfc(-a / math.sqrt(2)) / 2)
    series, term = 1.0, 1.0
    for k in range(1, 10):
        term *= -(2 * k - 1) / a**2
        series += term
    return -(a**2) / 2 - math.log(-a) - math.log(2 * math.pi) / 2 + math.log(series)


def test_the_logarithm_of_the_normal_distribution() -> None:
    a = np.concatenate([np.linspace(-60, 37, 9701), -np.logspace(0, 7, 500)])
    assert log_ndtr(a) == pytest.approx(np.array([exact(x) for x in a.tolist()]), rel=1e-12, abs=0)
    theirs = truncnorm._log_ndtr(a)
    low = a < 0
    assert log_ndtr(a)[low] == pytest.approx(theirs[low], rel=1e-14, abs=0)
    assert log_ndtr(a)[~low] == pytest.approx(theirs[~low], rel=1e-7, abs=3e-16)


def test_the_logarithm_at_its_ends() -> None:
    assert log_ndtr([-math.inf, math.inf]).tolist() == [-math.inf, 0.0]
    assert math.isnan(log_ndtr([math.nan])[0])
    assert log_ndtr([40.0])[0] == pytest.approx(0.0, abs=1e-300)
    assert log_ndtr([-1e3])[0] == pytest.approx(-500007.826694811, rel=1e-12)
    assert log_ndtr(np.zeros((2, 3), dtype=int)).shape == (2, 3)
    assert log_ndtr(np.array([], dtype=object)).size == 0


def test_the_users_own_optuna_is_not_touched_by_a_draw(drawn: Callable[[int], dict[str, Value]]) -> None:
    before = truncnorm._log_ndtr
    drawn(0)
    assert truncnorm._log_ndtr is before
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=2))
    with calls() as counted:
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=4)
    assert log_ndtr.__code__ not in counted
