"""``hpo-batch refine`` as typed: a study, the next sweep, its study, and the one after that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli

from hpo_batch.errors import Exit
from tests.cli.conftest import Cli

WriteSweep = Callable[..., Path]


@pytest.fixture
def toy(cli: Cli, write_sweep: WriteSweep) -> Path:
    """A study of 24 trials; the best n is its lowest."""
    path = write_sweep(trials=24, more="# the end\n")
    path.write_text(path.read_text().replace("n = [1, 2, 3]", "n = { low = 3, high = 6, limits = [0, 9] }  # small"))
    assert cli("submit", path, "--wait").code == Exit.OK
    return path


def test_a_study_is_refined_submitted_twice_and_refined_again(cli: Cli, toy: Path, tmp_path: Path) -> None:
    following = tmp_path / "second.toml"
    shown = cli("refine", "toy", "--dry-run")
    assert shown.code == Exit.OK
    assert not list(tmp_path.glob("*second*"))
    made = cli("refine", "toy", "-o", following, "--diff")
    assert made.code == Exit.OK, made.err
    assert '-name = "toy"' in made.out
    assert '+name = "toy-v2"' in made.out
    assert sorted(path.name for path in tmp_path.glob("second*")) == [
        "second.decisions.json", "second.rationale.md", "second.toml",
    ]  # fmt: skip
    assert tomli.loads(shown.out)["space"] == tomli.loads(following.read_text())["space"]
    decisions = json.loads((tmp_path / "second.decisions.json").read_text())
    assert decisions["from"] == ["toy"]
    assert {d["parameter"] for d in decisions["decisions"]} == {"x", "n"}
    raw = tomli.loads(following.read_text())
    assert raw["study"]["import"] == ["toy"]
    assert raw["previous"]["study"] == ["toy"]
    assert "# small" in following.read_text()
    assert "# the end" in following.read_text()

    assert cli("check", following).code == Exit.OK
    assert cli("submit", following, "--wait").code == Exit.OK
    again = cli("submit", following, "--wait")
    assert again.code in (Exit.OK, Exit.TRIALS_FAILED)
    assert "->" not in again.out + again.err  # no key has changed

    third = cli("refine", "toy-v2", "toy", "-o", tmp_path / "third.toml")
    assert third.code in (Exit.OK, Exit.DECLINED), third.err
    if third.code == Exit.OK:
        assert cli("check", tmp_path / "third.toml").code == Exit.OK
        assert tomli.loads((tmp_path / "third.toml").read_text())["study"]["name"] == "toy-v3"

    refused = cli("refine", "toy", "-o", following)
    assert refused.code == Exit.BAD_INPUT
    assert "exists already" in refused.err


def test_an_edited_file_is_not_what_the_trials_came_from(cli: Cli, toy: Path, tmp_path: Path) -> None:
    toy.write_text(toy.read_text().replace("high = 6", "high = 7"))
    refused = cli("refine", toy, "-o", tmp_path / "second.toml")
    assert refused.code == Exit.BAD_INPUT
    assert "n in [space] of the file is not what the trials of 'toy' were drawn from" in refused.err
    assert cli("refine", "toy", "-o", tmp_path / "second.toml").code == Exit.OK


def test_a_study_without_a_result_is_declined(cli: Cli, write_sweep: WriteSweep, tmp_path: Path) -> None:
    path = write_sweep("returns_nan", trials=3)
    cli("submit", path, "--wait")
    refused = cli("refine", "toy", "-o", tmp_path / "second.toml")
    assert refused.code == Exit.DECLINED
    assert "none completed" in refused.err
    assert not list(tmp_path.glob("second*"))


def test_one_budget_at_a_time(cli: Cli, write_sweep: WriteSweep, tmp_path: Path) -> None:
    budgets = '\n[[budget]]\nname = "2M"\nspace = { n = [1, 2, 3, 4] }\n\n[[budget]]\nname = "4M"\n'
    path = write_sweep(trials=12, more=budgets)
    assert cli("submit", path, "--wait").code == Exit.OK
    refused = cli("refine", "toy", "-o", tmp_path / "second.toml")
    assert refused.code == Exit.BAD_INPUT
    assert "do not have the same budget" in refused.err
    made = cli("refine", "toy/2M", "-o", tmp_path / "second.toml")
    assert made.code in (Exit.OK, Exit.DECLINED), made.err
    if made.code == Exit.OK:
        raw = tomli.loads((tmp_path / "second.toml").read_text())
        assert "budget" not in raw
        assert raw["study"]["name"] == "toy-2m-v2"
        assert raw["study"]["import"] == ["toy/2M"]
        assert cli("check", tmp_path / "second.toml").code == Exit.OK
