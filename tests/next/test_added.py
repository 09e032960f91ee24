"""What refine adds to a range can be reached: signs, limits and constraints end it, and equal bests point nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpo_batch.errors import Declined
from hpo_batch.next.added import unreachable
from hpo_batch.next.ranges import Widened, widened
from hpo_batch.space.parameters import Integer, Real
from tests.next import drawn
from tests.next.test_refine import one, refined, rows_of, toml


@pytest.mark.parametrize(("low", "high", "side"), [(0, 10, "low"), (1, 10, "low"), (-10, 0, "high"), (-10, -1, "high")])
def test_integers_keep_their_sign_where_no_limits_say_otherwise(low: int, high: int, side: str) -> None:
    told = widened(Integer(name="n", low=low, high=high), side)
    assert isinstance(told, str), told
    assert "cannot move by a step: it " in told
    moved = widened(Integer(name="n", low=low, high=high, limits=(-30, 30)), side)
    assert isinstance(moved, Widened)
    assert moved.end == (low - (high - low) // 2 if side == "low" else high + (high - low) // 2)


def test_limits_below_zero_let_a_range_go_there() -> None:
    moved = widened(Real(name="x", low=0.0, high=1.0, limits=(-0.2, 3.0)), "low")
    assert isinstance(moved, Widened)
    assert (moved.end, moved.capped) == (-0.2, "its limits are [-0.2, 3.0]")


def search(rules: str) -> tuple[str, Any]:
    text = toml("bs = [64, 128, 256]\nd = { low = 1, high = 4 }\nk = ['a', 'b']\nm = [true, false]\n" + rules)
    values: dict[str, list[Any]] = {"bs": [64, 128, 256], "d": [1, 2, 3, 4], "k": ["a", "b"], "m": [True, False]}
    rows = rows_of(values, lambda p: 64 / p["bs"] + 0.5 * p["d"], n=40)
    return text, drawn.as_table(rows, one(text), source="made.csv")


@pytest.mark.parametrize(
    ("rules", "acts"),
    [
        ("", {"bs": "expand", "d": "expand"}),
        ("[space.constraints]\nc = 'bs >= 64'\n", {"bs": "keep", "d": "expand"}),
        ("[space.constraints]\nc = 'd < 5'\ne = 'bs < 300'\n", {"bs": "expand", "d": "keep"}),
        ("[space.constraints]\nc = 'bs * d <= 512'\n", {"bs": "expand", "d": "expand"}),
    ],
)
def test_a_range_is_widened_only_where_a_valid_trial_can_lie(rules: str, acts: dict[str, str], tmp_path: Path) -> None:
    text, table = search(rules)
    made = {decision.parameter: decision for decision in refined(text, table, tmp_path).decisions}
    assert {name: made[name].action for name in acts} == acts
    assert all("meets the constraints" in made[name].reason for name, act in acts.items() if act == "keep")


def test_a_part_that_is_only_sometimes_out_of_reach_is_added() -> None:
    sweep = one(toml("a = { low = 1, high = 8 }\nb = { low = 1, high = 8 }\n[space.constraints]\nc = 'a * b <= 40'\n"))
    wider = Integer(name="a", low=1, high=12)
    assert unreachable(sweep.space, wider) == ""
    sweep = one(toml("a = { low = 1, high = 8 }\nb = { low = 5, high = 8 }\n[space.constraints]\nc = 'a * b <= 40'\n"))
    assert unreachable(sweep.space, wider) == "no configuration with a above 8 meets the constraints"


def test_trials_that_all_gave_the_same_point_nowhere(tmp_path: Path) -> None:
    text = toml("w = [16, 32, 64]\nk = ['a', 'b']\n")
    rows = rows_of({"w": [16, 32, 64], "k": ["a", "b"]}, lambda _: 0.5, n=30)
    with pytest.raises(Declined, match=r"all 30 complete trials have score = 0.5: none is the best"):
        refined(text, drawn.as_table([(p, 0.5) for p, _ in rows], one(text), source="made.csv"), tmp_path)


def test_comments_between_choices_stay_where_a_quota_is_added(tmp_path: Path) -> None:
    text = toml('kind = [\n  "a",  # the first\n  "b",\n  "c",\n]  # tail\nx = { low = 0.0, high = 1.0 }\n')
    rows = [({"kind": "c" if i == 7 else "ab"[i % 2], "x": (i * 0.37) % 1}, ((i * 0.61) % 1)) for i in range(60)]
    made = refined(text, drawn.as_table(rows, one(text), source="made.csv"), tmp_path)
    (kind,) = [decision for decision in made.decisions if decision.parameter == "kind"]
    assert kind.action == "quota"
    assert "# the first" in made.toml
    assert "# tail; quota: " in made.toml


def test_what_the_earlier_study_has_run_is_left_out_and_said(tmp_path: Path) -> None:
    text = toml("w = { low = 1, high = 8 }\nx = { low = 0.0, high = 1.0 }\n")
    text = text.replace('name = "tpe"', 'name = "tpe"\nextremes = ["x"]') + (
        '[[trial]]\nname = "t1"\nparams = { w = 3, x = 0.2 }\n'
    )
    rows = rows_of({"w": list(range(1, 9)), "x": [0.1, 0.5, 0.9]}, lambda p: float(p["w"]), n=30)
    made = refined(text, drawn.as_table(rows, one(text), source="made.csv"), tmp_path)
    assert "left out, since the earlier study has run it: 1 [[trial]]" in made.notes
    assert "left out, since the earlier study has run them: the extremes of x" in made.notes
