"""The frozen revision says what the sweep said: workers read nothing else."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo_batch.sweep.difference import difference
from hpo_batch.sweep.load import load, override
from hpo_batch.sweep.planned import planned_trials
from hpo_batch.sweep.schema import Failures, Job, Sweep
from hpo_batch.sweep.tables import from_raw, keys_of, tables_in, to_raw
from hpo_batch.sweep.validate import checked
from tests.helpers import REPOSITORY
from tests.space.spaces import Drawn, drawn_spaces
from tests.sweep.conftest import HEAD, SPACE, LoadOne

CONFIGS = sorted((REPOSITORY / "configs").glob("*.toml"))
TABLES: dict[str, Any] = {
    "study": {"name": "s", "metric": "m", "direction": "minimize", "trials": 3},
    "objective": {"function": "a.b:c"},
}


def assert_survives(sweep: Sweep) -> None:
    text = sweep.to_json()
    again = Sweep.from_json(text)
    assert again == sweep
    assert again.to_json() == text
    assert repr(again) == repr(sweep)  # 1, 1.0 and true are equal otherwise
    assert again.space == sweep.space
    assert again.path == sweep.path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("overrides", [(), ("job.template=local", "job.walltime=2-3:04:05", "study.lease_s=7")])
def test_the_sweeps_of_the_documents(path: Path, overrides: tuple[str, ...]) -> None:
    for sweep in load(path, overrides=overrides):
        planned = planned_trials(sweep)
        assert_survives(sweep)
        again = Sweep.from_json(sweep.to_json().encode())
        assert planned_trials(again) == planned
        assert [p.configuration.key for p in planned_trials(again)] == [p.configuration.key for p in planned]


def test_every_kind_of_value(load_one: LoadOne) -> None:
    sweep = load_one(
        SPACE
        + """
flag = [true, false]
one = 1
real = 1.0
yes = true
tiny = 5e-324
huge = 1.7976931348623157e308
third = 0.1
"weird name" = "ü \\" \\\\ \\u0001"
[space.derived]
d = "x * 2"
[space.constraints]
c = "d > 0"
[metrics]
m2 = "2 * loss"
[sampler]
name = "my.code:Sampler"
options = { a = [1, 2.0, true, "x"], b = { c = 1e22 } }
[baseline]
x = 2
[[trial]]
name = "A"
from = "baseline"
set = "S"
note = "ü"
params = { lr = 1e-4, x = 5 }
[expect]
e = "A > 1"
f = { if = "A > 1", then = "x" }
[failures]
lost = "fail"
[job]
template = "a100"
walltime = "1-2:03:04"
sbatch = { exclusive = true, nice = 3, comment = "c" }
setup = ["a", "b"]
"""
    )
    assert_survives(sweep)
    assert sweep.job.walltime == 93784.0
    assert sweep.sampler.options == {"a": [1, 2.0, True, "x"], "b": {"c": 1e22}}
    assert sweep.trial[0].from_ == "baseline"


def test_commands_as_text_and_as_list(load_one: LoadOne) -> None:
    for command in ("'python train.py {args}'", "['python', 'train.py', '{args}']"):
        head = HEAD.replace('function = "package.module:function"', f"command = {command}")
        assert_survives(load_one(SPACE, head=head))


@given(st.integers(1, 10 * 365 * 86400 - 1))
def test_any_walltime(seconds: int) -> None:
    job = checked(Job, {"walltime": f"0:0:{seconds}"})
    assert from_raw(Job, to_raw(job)).walltime == job.walltime == seconds


@settings(deadline=None, max_examples=100)
@given(drawn_spaces(), st.data())
def test_any_space(drawn: Drawn, data: st.DataObject) -> None:
    sweep = checked(Sweep, {**TABLES, "space": drawn.raw})
    assert_survives(sweep)
    chosen = data.draw(st.sampled_from(drawn.combinations()))
    assert Sweep.from_json(sweep.to_json()).space.resolve(chosen).key == sweep.space.resolve(chosen).key


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5),
        st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        max_size=4,
    )
)
def test_any_values_given_by_hand(params: dict[str, Any]) -> None:
    trial = {"name": "A", "params": params}
    assert_survives(checked(Sweep, {**TABLES, "trial": [trial], "baseline": params, "sampler": {"options": params}}))


WHOLE = checked(
    Sweep,
    {**TABLES, "trial": [{"name": "A"}], "expect": {"e": {"if": "A > 1"}}, "previous": {"study": "s"}},
)
NO_VALUE = [{"neither": ["text", None]}]
"""of no key but those that hold whatever JSON holds"""
Path_ = tuple[str | int, ...]


def places() -> list[Path_]:
    """Every key of every table, as the path to it in ``WHOLE``."""
    found: list[Path_] = []
    for key in keys_of(Sweep):
        inside = {"trial": (0,), "expect": ("e",)}.get(key.name, ())
        tables = tables_in(key.annotation)
        found += [(key.name, *inside, inner.name) for table in tables for inner in keys_of(table)]
        found.append((key.name,))
    return found


def with_value(path: Path_, value: object) -> str:
    whole = json.loads(WHOLE.to_json())
    node = whole
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return json.dumps(whole)


def dotted(path: Path_) -> str:
    return ".".join(map(str, path))


@pytest.mark.parametrize("path", places(), ids=dotted)
def test_a_value_of_the_wrong_type_is_refused_and_its_key_named(path: Path_) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(dotted(path))}"):
        Sweep.from_json(with_value(path, NO_VALUE))


@pytest.mark.parametrize("table", sorted({path[:-1] for path in places()}), ids=dotted)
def test_an_unknown_key_is_refused_in_every_table(table: Path_) -> None:
    unknown = (*table, "of_a_newer_version")
    with pytest.raises(ValueError, match=rf"^{re.escape(dotted(unknown))}: unknown key$"):
        Sweep.from_json(with_value(unknown, 1))


def test_every_table_survives() -> None:
    assert_survives(WHOLE)


def test_all_that_is_wrong_with_a_frozen_sweep_is_told_together() -> None:
    raw = {"study": {"name": "s", "metric": "m", "trials": 1.5}, "job": {"walltime": "soon"}}
    with pytest.raises(ValueError, match="soon") as refused:
        Sweep.from_json(json.dumps(raw))
    told = str(refused.value)
    for key in ("job.walltime: ", "objective: is missing", "study.direction: is missing", "study.trials: 1.5"):
        assert key in told
    for text in ("[]", "3", "{", '"sweep"'):
        with pytest.raises(ValueError):
            Sweep.from_json(text)


def test_a_sweep_cannot_be_changed(load_one: LoadOne) -> None:
    sweep = load_one(SPACE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        sweep.study.trials = 6  # type: ignore[misc]


@pytest.mark.parametrize("stall", [None, "0:00:05", "2-00:00:00"])
def test_any_stall(stall: str | None) -> None:
    failures = checked(Failures, {"stall": stall})
    again = from_raw(Failures, to_raw(failures))
    assert again == failures
    assert again.stall == {None: None, "0:00:05": 5.0, "2-00:00:00": 172800.0}[stall]


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").glob("*.toml")), ids=lambda path: path.stem)
def test_a_frozen_sweep_with_a_key_changed_is_the_same_otherwise(path: Path) -> None:
    for sweep in load(path):
        frozen = Sweep.from_json(sweep.to_json())
        assert override(frozen, []) == frozen
        changed = override(frozen, ["job.workers=7", "job.auto_resume=2"])
        assert difference(frozen, changed).lines == (
            "job.auto_resume: 0 -> 2",
            f"job.workers: {sweep.job.workers} -> 7",
        )
        assert not difference(frozen, changed).against
        assert changed.path == sweep.path
