"""refine: every file that it writes is a sweep, nothing good is lost, and what the trials do not carry is refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import tomli

from hpo_batch.errors import Declined, Exit, UserError
from hpo_batch.launch.check import check
from hpo_batch.next.decide import most_changes
from hpo_batch.next.decision import LEAVES_OUT
from hpo_batch.next.refine import NextSweep, refine, write
from hpo_batch.next.rules.enough import FEWEST_TO_NARROW
from hpo_batch.records import Value
from hpo_batch.results.table import TrialsTable
from hpo_batch.space.build import build
from hpo_batch.space.parameters import Choices, Fixed, Integer, Real
from hpo_batch.space.space import Space
from hpo_batch.sweep.load import loads
from hpo_batch.sweep.schema import Sweep
from tests.findings import simulate
from tests.helpers import REPOSITORY
from tests.next import drawn


def one(text: str) -> Sweep:
    (sweep,) = loads(text, path=Path("sweep.toml"))
    return sweep


def refined(text: str, table: TrialsTable, folder: Path, *, name: str = "next.toml", **more: Any) -> NextSweep:
    return refine([table], root=folder / "logs", text=text, path=folder / name, **more)


def refined_or_refused(text: str, table: TrialsTable, folder: Path, **more: Any) -> NextSweep | str:
    try:
        return refined(text, table, folder, **more)
    except Declined as declined:
        return str(declined)


def is_inside(space: Space, values: dict[str, Value]) -> bool:
    return all(p.why_outside(values[p.name]) is None for p in space.parameters if p.name in values)


@pytest.mark.parametrize("seed", range(16))
def test_every_sweep_that_is_written_is_valid_and_can_be_refined_again(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    text = drawn.sweep_text(seed)
    for i in range(2):
        sweep = one(text)
        table = drawn.table_of(sweep, n=random.Random(seed + i).choice([12, 25, 60]), seed=seed)
        made = refined_or_refused(text, table, tmp_path, name=f"next{i}.toml")
        if isinstance(made, str):
            assert "more trial" in made or "the space is right" in made
            return
        write(made)
        (study,) = check(made.path, root=tmp_path / "logs")
        assert not study.errors
        assert_is_safe(sweep, made)
        assert_can_be_undone(sweep, made)
        assert made.toml.count("# a sweep") == 1  # comments stay
        assert all(f"# note {k}" in made.toml for k in range(9) if f"# note {k}" in text)
        text = made.toml


def assert_is_safe(old: Sweep, made: NextSweep) -> None:
    new, evidence = made.sweep, made.evidence
    assert is_inside(new.space, {**evidence.incumbent})
    changed = [d for d in made.decisions if d.changes]
    assert 0 < len(changed) <= most_changes(len(old.space.searched))
    for decision in changed:
        assert decision.reason in made.toml.replace("\\", "")
        assert str(decision.n) in decision.reason
        parameter = new.space.by_name[decision.parameter]
        if isinstance(parameter, Integer | Real) and parameter.limits is not None:
            assert parameter.limits[0] <= parameter.low <= parameter.high <= parameter.limits[1]
    if any(d.action in LEAVES_OUT for d in changed):
        assert evidence.n >= FEWEST_TO_NARROW
        old_space = [trial for trial in new.trial if trial.set == "old_space"]
        assert new.study.trials is not None or new.sampler.name == "grid"
        assert made.notes or len(old_space) == max(1, round(0.1 * (new.study.trials or 0)))
        assert all(not is_inside(new.space, trial.params) for trial in old_space)
        assert all(is_inside(old.space, trial.params) for trial in old_space)


def assert_can_be_undone(old: Sweep, made: NextSweep) -> None:
    assert made.sweep.previous is not None
    space, problems = build({**made.sweep.space_table, **made.sweep.previous.space}, with_n_params=False)
    assert not problems
    assert space.parameters == old.space.parameters


def test_comments_order_and_everything_else_of_the_file_stay(tmp_path: Path) -> None:
    text = drawn.sweep_text(3)
    sweep = one(text)
    made = refined(text, drawn.table_of(sweep, n=60, seed=2), tmp_path)
    before, after = tomli.loads(text), tomli.loads(made.toml)
    assert list(after["space"]) == list(before["space"])
    assert after["objective"] == before["objective"]
    assert after["study"]["name"] == "drawn-v2"


SPACE_TOML = """
[study]
name = "v1"
metric = "score"
direction = "maximize"
trials = 50
[objective]
function = "tests.cli.toys:quadratic"
[space]
{space}
[sampler]
name = "{sampler}"
[job]
template = "local"
"""


def toml(space: str, *, sampler: str = "tpe") -> str:
    return SPACE_TOML.format(space=space, sampler=sampler)


def rows_of(values: dict[str, list[Any]], score: Any, *, n: int, seed: int = 0) -> list[tuple[dict[str, Any], float]]:
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        params = {name: rng.choice(choices) for name, choices in values.items()}
        rows.append((params, score(params) + 0.05 * rng.gauss(0, 1)))
    return rows


def table(rows: Any, text: str, **more: Any) -> TrialsTable:
    return drawn.as_table(rows, one(text), **more)


def test_a_range_whose_best_lies_at_its_end_is_widened_and_limits_hold(tmp_path: Path) -> None:
    reals = [i / 20 for i in range(11)]
    values = {"drop": reals, "lr": [10 ** (-5 + i / 4) for i in range(9)]}
    text = toml("drop = { low = 0.0, high = 0.5, limits = [0.0, 0.6] }\nlr = { low = 1e-5, high = 1e-3, log = true }")
    made = refined(text, table(rows_of(values, lambda p: 3 * p["drop"], n=40), text), tmp_path)
    drop = made.sweep.space.by_name["drop"]
    assert isinstance(drop, Real)
    assert (drop.low, drop.high) == (0.0, 0.6)
    (decision, *_) = made.decisions
    assert (decision.parameter, decision.action, decision.confidence) == ("drop", "expand", "high")
    assert "limits" in decision.reason


def test_choices_go_on_within_their_limits(tmp_path: Path) -> None:
    text = toml(
        'size = { choices = ["s", "m"], ordered = true, limits = ["xs", "s", "m", "l", "xl"] }\n'
        "width = { choices = [64, 32, 16, 8], limits = [4, 8, 16, 32, 64, 96, 128, 256] }\n"
        "depth = { choices = [1, 2, 3], limits = [1, 2, 3] }\nx = { low = 0.0, high = 1.0 }"
    )
    values: dict[str, list[Any]] = {"size": ["s", "m"], "width": [64, 32, 16, 8], "depth": [1, 2, 3], "x": [0.5, 0.6]}
    rows = rows_of(values, lambda p: 2.0 * (p["size"] == "m") + p["width"] / 16 + p["depth"], n=60)
    made = refined(text, table(rows, text), tmp_path)
    width, size = made.sweep.space.by_name["width"], made.sweep.space.by_name["size"]
    assert isinstance(width, Choices)
    # half as many as there were
    assert width.values == (128, 96, 64, 32, 16, 8)
    assert width.limits == (4, 8, 16, 32, 64, 96, 128, 256)
    assert isinstance(size, Choices)
    assert size.values == ("s", "m", "l")
    reasons = {decision.parameter: decision.reason for decision in made.decisions}
    assert "best at the high end, but there is no value above 3 in its limits" in reasons["depth"]


def test_of_two_values_one_that_is_hardly_tried_widens_nothing(tmp_path: Path) -> None:
    text = toml('drop = [0.3, 0.6]\nx = { low = 0.0, high = 1.0 }\nkind = ["a", "b"]')
    values: dict[str, list[Any]] = {"drop": [0.3, 0.6], "x": [i / 30 for i in range(31)], "kind": ["a", "b"]}

    def score(params: dict[str, Any]) -> float:
        return -3 * params["drop"] - (params["x"] - 0.5) ** 2

    made = refined(text, table(rows_of(values, score, n=40), text), tmp_path)
    drop = made.sweep.space.by_name["drop"]
    assert isinstance(drop, Choices)
    assert drop.values == (0.15, 0.3, 0.6)
    hardly = [
        (params | {"drop": 0.3 if i > 1 else 0.6}, 0.0) for i, (params, _) in enumerate(rows_of(values, score, n=40))
    ]
    rows = [(params, score(params)) for params, _ in hardly]
    again = refined_or_refused(text, table(rows, text), tmp_path)
    if not isinstance(again, str):
        assert {d.parameter: d.action for d in again.decisions}["drop"] != "expand"


def test_a_value_that_is_certainly_worse_is_fixed_away_and_a_tenth_of_the_trials_go_back_to_it(tmp_path: Path) -> None:
    text = toml('opt = ["adam", "sgd"]\nx = { low = 0.0, high = 1.0 }')
    values = {"opt": ["adam", "sgd"], "x": [i / 30 for i in range(31)]}
    rows = rows_of(values, lambda p: 2.0 * (p["opt"] == "adam") - (p["x"] - 0.5) ** 2, n=60)
    made = refined(text, table(rows, text), tmp_path)
    assert made.sweep.space.by_name["opt"] == Fixed(name="opt", value="adam")
    old = [trial for trial in made.sweep.trial if trial.set == "old_space"]
    assert [trial.params["opt"] for trial in old] == ["sgd"] * 5
    assert made.sweep.previous is not None
    assert made.sweep.previous.share == 0.1


def test_the_baseline_stays_inside_and_stays_what_it_was(tmp_path: Path) -> None:
    text = toml('opt = ["adam", "sgd"]\nx = { low = 0.0, high = 2.0 }\n[baseline]\nopt = "sgd"')
    values = {"opt": ["adam", "sgd"], "x": [i / 15 for i in range(31)]}
    rows = rows_of(values, lambda p: 2.0 * (p["opt"] == "adam") + 3 * p["x"], n=60)
    made = refined(text, table(rows, text), tmp_path)
    assert "sgd" in made.sweep.space.by_name["opt"].cells  # type: ignore[operator]
    x = made.sweep.space.by_name["x"]
    assert isinstance(x, Real)
    assert x.high == 3.0
    assert made.sweep.baseline == {"opt": "sgd", "x": 1.0}


def test_a_value_that_never_completes_is_repaired(tmp_path: Path) -> None:
    text = toml('kernel = ["a", "b", "c"]\nx = { low = 0.0, high = 1.0 }')
    values = {"kernel": ["a", "b", "c"], "x": [i / 30 for i in range(31)]}
    rows: Any = rows_of(values, lambda p: -((p["x"] - 0.5) ** 2), n=60)
    states = ["FAIL" if params["kernel"] == "c" else "COMPLETE" for params, _ in rows]
    rows = [(params, None if state == "FAIL" else value) for (params, value), state in zip(rows, states, strict=True)]
    made = refined(text, table(rows, text, states=states), tmp_path)
    kernel = made.sweep.space.by_name["kernel"]
    assert isinstance(kernel, Choices)
    assert kernel.values == ("a", "b")
    assert made.decisions[0].action == "repair"


def test_a_starved_value_gets_a_quota_and_not_a_verdict(tmp_path: Path) -> None:
    text = toml('encoder = ["cnn", "context"]\nx = { low = 0.0, high = 1.0 }')
    rng = random.Random(1)
    rows = [
        ({"encoder": "context" if i in (3, 7, 20) else "cnn", "x": rng.random()}, rng.gauss(0, 1)) for i in range(40)
    ]
    made = refined(text, table(rows, text), tmp_path)
    encoder = made.sweep.space.by_name["encoder"]
    assert isinstance(encoder, Choices)
    assert encoder.weights == (3, 1)
    assert "context had 3 of 40 trials" in made.toml


def test_noise_alone_is_refused_with_the_trials_that_would_lift_it(tmp_path: Path) -> None:
    text = toml('a = ["p", "q", "r"]\nb = ["s", "t"]')
    rng = random.Random(5)
    rows = [({"a": "pqr"[i % 3], "b": "st"[i % 2]}, rng.gauss(0, 1)) for i in range(18)]
    with pytest.raises(Declined, match=r"more trials? could .* study.trials=\d+") as refused:
        refined(text, table(rows, text), tmp_path)
    assert refused.value.exit_code == Exit.DECLINED
    assert not list(tmp_path.glob("next*"))


# bad input


def test_what_cannot_be_refined_is_said_and_nothing_is_overwritten(tmp_path: Path) -> None:
    text = toml('a = ["p", "q", "r"]\nx = { low = 0.0, high = 2.0 }')
    values = {"a": ["p", "q", "r"], "x": [i / 15 for i in range(31)]}
    good = rows_of(values, lambda p: 3 * p["x"], n=40)
    with pytest.raises(Declined, match="it has no trials"):
        refined(text, table([], text), tmp_path)
    failed: Any = [(params, None) for params, _ in good]
    with pytest.raises(Declined, match="40 trials failed and none completed"):
        refined(text, table(failed, text, states=["FAIL"] * 40), tmp_path)
    with pytest.raises(UserError, match=r"runs \(1 trial\)"):
        refined(text, table(good, text, states=["COMPLETE"] * 39 + ["RUNNING"]), tmp_path)
    with pytest.raises(UserError, match="has no sweep: --sweep"):
        refine([simulate.table(good)], root=tmp_path)
    with pytest.raises(UserError, match=r"x in \[space\] of the file is not what the trials"):
        refined(text.replace("high = 2.0", "high = 3.0"), table(good, text), tmp_path)
    other = text.replace("toys:quadratic", "toys:sleeps")
    with pytest.raises(UserError, match="do not have the same function"):
        refine([table(good, text), table(good, other)], root=tmp_path, text=text)
    made = refined(text, table(good, text), tmp_path)
    made.path.write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        write(made)
    assert made.path.read_text() == "mine"
    assert [path.name for path in tmp_path.glob("next*")] == ["next.toml"]


def test_trials_of_several_studies_count_together(tmp_path: Path) -> None:
    text = toml('a = ["p", "q", "r"]\nx = { low = 0.0, high = 2.0 }')
    values = {"a": ["p", "q", "r"], "x": [i / 15 for i in range(31)]}
    parts = [table(rows_of(values, lambda p: 3 * p["x"], n=20, seed=seed), text) for seed in (1, 2)]
    made = refine(parts, root=tmp_path, text=text, path=tmp_path / "next.toml")
    assert made.evidence.n == 40
