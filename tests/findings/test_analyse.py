"""All of it together: any table gives findings, and what cannot be computed says why."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from hpo_batch.findings import analyse as analyse_module
from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.known import Known
from hpo_batch.findings.records import Findings
from hpo_batch.records import Answer
from hpo_batch.results.table import TrialsTable
from hpo_batch.sweep.load import load
from tests.findings.tables import table

pytestmark = pytest.mark.usefixtures("small_forests")


def random_rows(n: int, *, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "depth": int(rng.integers(1, 5)),
            "lr": float(10 ** rng.uniform(-5, -2)),
            "kind": str(rng.choice(["a", "b"])),
            "value": float(rng.normal(0.7, 0.02)),
        }
        for _ in range(n)
    ]


PARAMS = ("depth", "lr", "kind")


def numbers_in(record: Any) -> Iterator[float]:
    if is_dataclass(record):
        for field in fields(record):
            yield from numbers_in(getattr(record, field.name))
    elif isinstance(record, dict):
        for value in record.values():
            yield from numbers_in(value)
    elif isinstance(record, tuple | list):
        for value in record:
            yield from numbers_in(value)
    elif isinstance(record, float):
        yield record


BAD: dict[str, Callable[[], list[TrialsTable]]] = {
    "no study": list,
    "empty study": lambda: [table([], params=[])],
    "one trial": lambda: [table(random_rows(1), params=PARAMS)],
    "two trials": lambda: [table(random_rows(2), params=PARAMS)],
    "only failures": lambda: [
        table([{**row, "value": None, "state": "FAIL"} for row in random_rows(9)], params=PARAMS)
    ],
    "only running": lambda: [
        table([{**row, "value": None, "state": "RUNNING"} for row in random_rows(3)], params=PARAMS)
    ],
    "no parameter": lambda: [table([{"value": 0.1 * i} for i in range(9)], params=[])],
    "one parameter": lambda: [table([{"x": i % 3, "value": 0.1 * i} for i in range(20)], params=["x"])],
    "a parameter that never varied": lambda: [
        table([{**row, "fixed": 1} for row in random_rows(20)], params=[*PARAMS, "fixed"])
    ],
    "constant metric": lambda: [table([{**row, "value": 0.5} for row in random_rows(30)], params=PARAMS)],
    "not finite": lambda: [
        table(
            [{**r, "value": [math.nan, math.inf, -math.inf, 0.5, 0.6][i % 5]} for i, r in enumerate(random_rows(30))],
            params=PARAMS,
        )
    ],
    "all not finite": lambda: [table([{**row, "value": math.nan} for row in random_rows(9)], params=PARAMS)],
    "collinear": lambda: [
        table([{"a": i % 4, "b": 2 * (i % 4), "value": 0.01 * i} for i in range(24)], params=["a", "b"])
    ],
    "more parameters than trials": lambda: [
        table([{**{f"p{k}": (i * 7 + k) % 3 for k in range(12)}, "value": 0.1 * i} for i in range(6)],
              params=[f"p{k}" for k in range(12)])
    ],
    "mixed types": lambda: [
        table([{"x": [1, True, "1", 1.5][i % 4], "value": 0.1 * i} for i in range(20)], params=["x"])
    ],
    "conditional": lambda: [
        table([{"k": "a" if i % 5 else "b", "t": None if i % 5 else float(i), "value": 0.1 * i} for i in range(20)],
              params=["k", "t"])
    ],
    "huge values": lambda: [
        table([{**row, "value": 1e300 if i == 3 else row["value"]} for i, row in enumerate(random_rows(20))],
              params=PARAMS)
    ],
    "all equal configurations": lambda: [table([{"x": 1, "value": 0.5 + 0.01 * i} for i in range(12)], params=["x"])],
    "ten thousand choices": lambda: [
        table([{"x": f"choice {i}", "y": i % 3, "value": 0.001 * (i % 97)} for i in range(2_000)], params=["x", "y"])
    ],
    "names of strangers": lambda: [
        table([{"<script>alert(1)</script>": i % 3, "ä|b " * 50: i % 2, "value": 0.1 * i} for i in range(20)],
              params=["<script>alert(1)</script>", "ä|b " * 50], label="../../x <b>")
    ],
    "two directions": lambda: [
        table(random_rows(8), params=PARAMS, label="up"),
        table(random_rows(8), params=PARAMS, label="down", directions=("minimize",)),
    ],
    "two metrics beside one": lambda: [
        table(random_rows(8), params=PARAMS),
        table(random_rows(8), params=PARAMS, metrics=("loss",)),
    ],
    "one of two is empty": lambda: [table(random_rows(8), params=PARAMS), table([], params=[])],
    "equal labels": lambda: [table(random_rows(8), params=PARAMS)] * 2,
    "no parameter in common": lambda: [
        table(random_rows(8), params=PARAMS, label="a"),
        table([{"other": i % 3, "value": 0.1 * i} for i in range(8)], params=["other"], label="b"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_any_table_gives_findings(name: str) -> None:
    tables = BAD[name]()
    found = analyse(tables, known=Known(n_eval=100, n_pos=30))
    assert len(found.studies) == len(tables)
    assert len({study.label for study in found.studies}) == len(tables)
    for finding in found.findings:
        assert finding.text
        assert " nan" not in finding.text
        assert finding.p_holm is None or 0 <= finding.p_holm <= 1
    for study in found.studies:
        keys = [f.key for f in found.findings if f.study == study.label]
        assert len(set(keys)) == len(keys)
    assert not [number for number in numbers_in(found) if math.isnan(number)], "None stands for what cannot be given"


def test_nothing_complete_is_the_first_that_is_told() -> None:
    found = analyse(BAD["only failures"]())
    assert found.findings[0].key == "trials"
    assert "no complete trial with a finite value (9 FAIL)" in found.findings[0].text
    assert found.family == 0


def test_what_is_left_out_is_told() -> None:
    found = analyse(BAD["not finite"]())
    assert "study: 18 complete trial(s) without a finite value are left out of everything" in found.warnings
    assert found.studies[0].summary.n == 12
    other = analyse(BAD["two directions"]())
    assert any("different metrics or directions" in warning for warning in other.warnings)
    assert other.budgets is None


def one_effect(n: int = 80) -> Findings:
    rng = np.random.default_rng(5)
    rows = [
        {"depth": i % 4, "width": int(rng.integers(0, 3)), "value": 0.5 + 0.05 * (i % 4) + 0.01 * rng.normal()}
        for i in range(n)
    ]
    return analyse([table(rows, params=["depth", "width"])])


@pytest.fixture(scope="module")
def strong(small_forests: None) -> Findings:
    return one_effect()


def test_a_strong_effect_is_told_and_nothing_else(strong: Findings) -> None:
    found = strong
    answers = {f.key: f.answer for f in found.findings}
    assert answers["effect.depth"] is Answer.YES
    assert answers["effect.width"] is Answer.CANNOT_TELL
    assert answers["noise.floor"] is Answer.NOT_MEASURED
    (depth,) = (f for f in found.findings if f.key == "effect.depth")
    assert "matters (increasing)" in depth.text
    assert depth.p_holm is not None
    assert found.family == 2
    keys = [f.key for f in found.findings]
    assert keys.index("effects.survive") < keys.index("effect.depth") < keys.index("effect.width")


def test_the_family_is_that_of_all_studies() -> None:
    alone = analyse([table(random_rows(20), params=PARAMS)])
    many = analyse([table(random_rows(20, seed=s), params=PARAMS, label=str(s)) for s in range(2)])
    assert (alone.family, many.family) == (3, 6)
    assert many.studies[0].effects[0].p == alone.studies[0].effects[0].p
    assert (many.studies[0].effects[0].p_holm or 0) >= (alone.studies[0].effects[0].p_holm or 0)


def test_equal_input_gives_equal_findings(strong: Findings) -> None:
    assert one_effect() == strong


def test_one_thread_computes_and_the_callers_threads_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    seen: list[set[int]] = []
    whole = analyse_module._analyse
    monkeypatch.setattr(
        analyse_module, "_analyse", lambda *args, **more: (seen.append(threads()), whole(*args, **more))[1]
    )
    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        analyse([table(random_rows(8), params=PARAMS)])
        assert threads() == before
    assert seen == [{1}]


def test_several_metrics_give_the_front_and_no_single_best() -> None:
    points = [(0.9, 10.0), (0.8, 5.0), (0.7, 7.0), (0.9, 12.0), (None, None)]
    rows = [
        {"x": i, "values_auc": auc, "values_cost": cost, "state": "COMPLETE" if auc else "FAIL"}
        for i, (auc, cost) in enumerate(points)
    ]
    found = analyse([table(rows, params=["x"], metrics=("auc", "cost"), directions=("maximize", "minimize"))])
    (study,) = found.studies
    assert [(t.number, t.values) for t in study.front] == [(0, (0.9, 10.0)), (1, (0.8, 5.0))]
    assert study.front[0].params == {"x": 0}
    assert (study.summary.best, study.summary.mean, study.effects, study.curse) == (None, None, (), None)
    assert study.summary.n == 4
    assert found.pooled is None


SWEEP = """
[study]
name = "s"
metric = "val_auc"
direction = "maximize"
trials = 9
[objective]
function = "m:f"
[space]
d_model = [1, 2, 3]
n_layers = [1, 2, 3]
[sampler]
coverage = ["n_layers", "d_model"]
[baseline]                                # what it leaves out is the middle
d_model = 1
[[trial]]
name = "A1"
set = "A"
from = "baseline"
params = { d_model = 2 }
[[trial]]
name = "A2"
set = "A"
from = "baseline"
params = { d_model = 3 }
[expect]
"width helps" = "mean(A) > baseline"
"three is best" = "A2 > A1"
"elites are wide" = { if = "share(elites, d_model == 3) > 0.1", then = "widen d_model" }
"later" = "best > 2"
"""


def test_expectations_baseline_and_coverage_of_a_sweep(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(SWEEP)
    (sweep,) = load(path)
    names = {(2, 2): "A1", (3, 2): "A2"}
    rows = [
        {"d_model": d, "n_layers": n, "value": 0.5 + 0.1 * d, "name": names.get((d, n)),
         "set": "A" if (d, n) in names else None, "seed": 1}
        for d, n in itertools.product([1, 2, 3], repeat=2)
    ]  # fmt: skip
    rows += [{**rows[1], "seed": 2, "value": 0.601}, {**rows[3], "seed": 2, "value": 0.699}]
    trials = table(rows, params=["d_model", "n_layers"], space=sweep.space, sweep=sweep, baseline=sweep.baseline)
    (study,) = analyse([trials]).studies
    assert study.noise.source == "replicates"
    expected = {e.statement: e.answer for e in study.expected}
    assert expected["three is best"] is Answer.YES
    assert expected["later"] is Answer.NO
    assert expected["width helps"] is Answer.YES
    assert study.coverage[0].label == "all"
    assert study.baseline is not None
    assert study.baseline.value is not None
    assert study.baseline.value.n == 2
    assert {pair.parameter for pair in study.baseline.pairs} == {"d_model", "n_layers"}


def test_learning_curves_come_in_order() -> None:
    import pandas as pd

    rows = random_rows(12)
    reports = pd.DataFrame(
        [{"number": i, "step": s, "value": row["value"] * s / 3} for i, row in enumerate(rows) for s in (3, 1, 2)]
        + [{"number": 0, "step": 1, "value": math.nan}]
    )
    found = analyse([table(rows, params=PARAMS, reports=reports)])
    (study,) = found.studies
    (finding,) = (f for f in found.findings if f.key == "fidelity")
    assert finding.answer is Answer.YES
    assert finding.do == "let a pruner begin at step 1 at the earliest"
    assert [step for step, _ in study.curves[0]] == [1, 2, 3]
    assert [(step, n) for step, _, n in study.fidelity] == [(1, 12), (2, 12)]
    assert study.fidelity[0][1] is not None
    assert study.fidelity[0][1].value == pytest.approx(1.0)


def importance_of(weights: tuple[float, float], *, seed: int = 0) -> tuple[dict[str, float], str]:
    random = np.random.default_rng(seed)
    pairs = random.random((20, 2)).tolist()
    # mirrored, so that neither has a wider range
    rows = [
        {"a": a, "b": b, "value": weights[0] * a + weights[1] * b + 0.05 * random.normal()}
        for a, b in [*pairs, *((b, a) for a, b in pairs)]
    ]
    findings = analyse([table(rows, params=["a", "b"])])
    told = next(finding.text for finding in findings.findings if finding.key == "importance")
    chances = {effect.parameter: effect.top_probability or 0.0 for effect in findings.studies[0].effects}
    return chances, told


def test_the_most_important_parameter_is_named_with_its_probability() -> None:
    chances, told = importance_of((1.0, 0.2))
    assert chances["a"] > 0.95
    assert sum(chances.values()) == pytest.approx(1.0)
    assert "; a has the largest share (> 99 %)" in told


def test_where_two_may_be_the_most_important_both_are_named() -> None:
    chances, told = importance_of((1.0, 1.0))
    first, second = sorted(chances, key=lambda name: -chances[name])
    assert chances[first] < 0.8
    assert f"the largest share is that of {first} ({100 * chances[first]:.0f} %) or {second} (" in told
