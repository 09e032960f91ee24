"""Where failures concentrate: found where they do, and silent on noise."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from hpo_batch.journal.attempt_intervals import spans
from hpo_batch.journal.encode import Writer
from hpo_batch.journal.state import JournalState
from hpo_batch.monitor.failures import LEVEL, FailureGroup, group
from hpo_batch.records import TrialState, Value
from hpo_batch.store.nodes import chance_of_share

CHOICES = '{"name": "CategoricalDistribution", "attributes": {"choices": %s}}'
REAL = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}'
WIDTHS = (128, 256, 512, 1024)
KINDS = ("plain", "warm", "deep")
NODES = ("n1", "n2", "n3", "n4")
Trial = dict[str, Value]


def study(count: int, reason: Callable[[Trial], str], *, seed: int = 0) -> JournalState:
    """Random trials, those failed for which there is a reason."""
    rng, write = random.Random(seed), Writer("w")
    records = [write.create_study("s", ["minimize"])]
    distributions = {
        "d_model": CHOICES % list(WIDTHS),
        "kind": CHOICES % msgspec.json.encode(KINDS).decode(),
        "lr": REAL,
        "x": REAL,
    }
    for number in range(count):
        indices = {"d_model": rng.randrange(4), "kind": rng.randrange(3)}
        reals = {"lr": rng.random(), "x": rng.random()}
        node = rng.choice(NODES)
        why = reason({"d_model": WIDTHS[indices["d_model"]], "kind": KINDS[indices["kind"]], **reals, "node": node})
        owner = {"worker": "w", "job": "local", "host": node, "started": 0.0}
        attrs: dict[str, object] = {
            "hpo:trial": {"key": str(number), "origin": "random"},
            "hpo:attempt:1": owner,
            "hpo:ended:1": {"how": why or "complete", "time": 1.0},
        }
        if why:
            attrs["hpo:failure"] = {"reason": why, "message": "no"}
        records.append(
            write.create_trial(
                now=1.0,
                state=TrialState.FAIL if why else TrialState.COMPLETE,
                params={**indices, **reals},
                distributions=distributions,
                system_attrs=attrs,
                values=None if why else [0.0],
            )
        )
    state = JournalState()
    state.apply(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    return state


def groups(state: JournalState) -> tuple[FailureGroup, ...]:
    return group(state, [span for trial in state.trials for span in spans(trial)])


@pytest.mark.parametrize(
    ("fails", "parameter", "relation", "value"),
    [
        (lambda t: t["d_model"] >= 512, "d_model", ">=", 512),
        (lambda t: t["d_model"] == 256, "d_model", "==", 256),
        (lambda t: t["kind"] == "deep", "kind", "==", "deep"),
        (lambda t: t["node"] == "n3", "node", "==", "n3"),
        (lambda t: t["lr"] > 0.75, "lr", ">=", 0.75),
        (lambda t: t["lr"] < 0.25, "lr", "<", 0.25),
    ],
)
def test_a_region_is_found(fails: Callable[[Trial], bool], parameter: str, relation: str, value: Value) -> None:
    (found,) = groups(study(60, lambda trial: "oom_gpu" if fails(trial) else ""))
    region = found.regions[0]
    assert (region.parameter, region.relation) == (parameter, relation)
    if isinstance(value, float):
        assert region.value == pytest.approx(value, abs=0.15)
    else:
        assert region.value == value
        assert (region.failed, region.failed_elsewhere) == (found.trials, 0)
        assert region.ended + region.ended_elsewhere == 60


def test_each_cause_has_its_own_region() -> None:
    def reason(trial: Trial) -> str:
        return "oom_gpu" if trial["d_model"] == 1024 else "nan" if float(trial["lr"]) > 0.8 else ""

    found = {one.reason: one.regions[0].parameter for one in groups(study(80, reason))}
    assert found == {"oom_gpu": "d_model", "nan": "lr"}


def test_it_is_told_as_in_the_issue() -> None:
    (found,) = groups(study(40, lambda t: "oom_gpu" if t["d_model"] == 1024 else ""))
    n = found.trials
    told = f"{n} of {n} where d_model == 1024 ({n} of {n} trials failed so there, 0 of {40 - n} elsewhere)"
    assert told == str(found.regions[0])


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
def test_noise_is_not_called_a_finding(rate: float) -> None:
    """Failures that have nothing to do with anything: one screen in a hundred may be wrong at this level."""
    rng = random.Random(rate)
    alarms = sum(
        any(one.regions for one in groups(study(60, lambda trial: "exception" if rng.random() < rate else "", seed=s)))
        for s in range(200)
    )
    assert alarms <= 200 * LEVEL * 2


def test_few_failures_prove_nothing() -> None:
    failed = iter([True, True] + [False] * 100)
    (found,) = groups(study(40, lambda trial: "nan" if next(failed) else ""))
    assert (found.trials, found.regions) == (2, ())


def test_the_chance_is_fishers() -> None:
    def exactly(k: int) -> float:
        return math.comb(8, k) * math.comb(12, 10 - k) / math.comb(20, 10)

    assert chance_of_share(7, 10, 8, 20) == pytest.approx(exactly(7) + exactly(8))
    assert chance_of_share(0, 10, 8, 20) == pytest.approx(1.0)
    assert chance_of_share(500, 1000, 500, 100_000) < 1e-300


def test_attempts_that_were_tried_again_are_counted(root: Path) -> None:
    from hpo_batch.records import Failed, Reason
    from hpo_batch.study.study import Study
    from tests.study.helpers import claimed, make, owner, state_of

    home = make(root, tables={"failures": 'exception = "retry"'})
    with Study.open(home, owner()) as study:
        study.tell(claimed(study), Failed(reason=Reason.EXCEPTION, message="once"))
        study.tell(claimed(study), Failed(reason=Reason.NAN, message="no"))
    found = {one.reason: (one.trials, one.attempts) for one in groups(state_of(home))}
    assert found == {"nan": (1, 1), "exception": (0, 1)}
