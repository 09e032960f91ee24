"""Mistakes of a search are told by ``check``, with file and line, or at submission: a worker never finds them first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

HEAD = """[study]
name = "s"
metric = "loss"
direction = "minimize"
trials = 6
[objective]
function = "tests.cli.toys:quadratic"
"""
SPACE = "[space]\nx = { low = 0.0, high = 1.0 }\ny = { low = 0.0, high = 1.0 }\nn = [1, 2, 3]\n"
LOG = "[space]\nx = { low = 0.0, high = 1.0, log = true }\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (SPACE + "[space.constraints]\na = 'x < 2'\nb = 'x + y < 1e-9'", "14: space.constraints.b",
         "almost nothing in [space] satisfies it: none of 4,096 configurations drawn at random is valid"),
        (SPACE + "[space.constraints]\na = 'n > 3'", "13: space.constraints.a", "nothing in [space] satisfies it"),
        ("[space]\nn = [1, 2, 3]\nm = [1, 2, 3]\n[space.constraints]\na = 'n < m'\nb = 'm < n'",
         "11: space.constraints", "nothing in [space] satisfies all of them together"),
        ("[space]\nk = { choices = ['a', 'b'], weights = [1] }", "9: space.k.weights", "a list of 2 numbers"),
        ("[space]\nk = { choices = ['a', 'b'], weights = [1, -1] }", "9: space.k.weights", "numbers >= 0"),
        ("[space]\nk = { choices = ['a', 'b'], weights = [0, 0] }", "9: space.k.weights",
         "at least one of them above 0"),
        (SPACE + "k = ['a', 'b']\n[sampler]\nextremes = ['k']", "14: sampler.extremes", "has no order"),
        (SPACE + "[sampler]\nname = 'grid'", "9: space.x", "a grid needs choices, or a range with a step"),
        (LOG, "9: space.x.low", "a range with log = true needs low above 0, not 0.0"),
        ("[space]\nx = { low = 2.0, high = 1.0 }", "9: space.x.low", "low (2.0) is above high (1.0)"),
        ("[space]\nx = { low = 0.0, high = 1.0, step = 0.3 }", "9: space.x.step", "misses high (1.0)"),
        ("[space]\nx = [1, true, 1.0]", "9: space.x", "choices 1 and true are equal as numbers"),
        (SPACE + "[sampler]\nname = 'tpe'\noptions = { n_ei = 3 }", "14: sampler.options.n_ei", "has no option 'n_ei'"),
        (SPACE + "[pruner]\nname = 'hyperband'\noptions = { eta = 3 }", "14: pruner.options.eta",
         "has no option 'eta'"),
        (SPACE + "[space.constraints]\na = 'n < 3'\n[[trial]]\nname = 'A'\nparams = { x = 0.5, y = 0.5, n = 3 }",
         "16: trial[1].params", "constraint 'a' (n < 3) does not hold"),
        ("[space]\n" + "".join(f"p{i} = [1, 2, 3]\n" for i in range(4))
         + "[sampler]\nextremes = ['p0', 'p1', 'p2', 'p3']", "5: study.trials",
         "the target is 6 trials, but [[trial]], [baseline] and sampler.extremes plan 8"),
    ],
)  # fmt: skip
def test_check_tells_it_with_its_line(cli: Cli, tmp_path: Path, text: str, line: str, words: str) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(HEAD + text + "\n")
    ended = cli("check", path)
    assert ended.code == 2
    (told,) = [one for one in ended.err.splitlines() if line.split(": ")[1] in one]
    assert told.startswith(f"error: {path}:{line}")
    assert words in told


def test_what_is_rare_is_a_warning_with_the_constraint_that_refuses_most(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(HEAD + SPACE + "[space.constraints]\nhalf = 'x < 0.5'\nrare = 'x + y < 0.05'\n")
    ended = cli("check", path)
    assert ended.code == 0
    (told,) = [line for line in ended.err.splitlines() if "space.constraints" in line]
    assert "of 4,096 configurations drawn at random is valid" in told


def test_a_constraint_on_parameter_counts_that_nothing_satisfies(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    head = HEAD + 'n_params = "tests.cli.toys:count"\n'
    path.write_text(head + "[space]\nn = [1, 2, 3]\n[space.constraints]\nsize = 'n_params > 1e9'\n")
    ended = cli("check", path, "--import")
    assert "space.constraints: none of 4,096 configurations drawn at random is valid" in ended.err
    assert "constraint 'size' (n_params > 1e9) does not hold" in ended.err


def test_parameter_counts_are_a_range_only_if_they_differ(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    head = HEAD + 'n_params = "tests.cli.toys:count"\n'
    for space, told in (("n = [1, 2]\nx = [1, 2]\n", "1k to 2k"), ("n = 3\nx = [1, 2, 3, 4, 5, 6]\n", "3k")):
        path.write_text(f"{head}[space]\n{space}")
        assert f"  parameters    {told} (from tests.cli.toys:count)" in cli("check", path, "--import").out


def test_a_part_of_a_grid_says_what_it_leaves_out(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    cells = "[space]\na = [1, 2, 3]\nb = [1, 2, 3, 4]\n[sampler]\nname = 'grid'\n"
    path.write_text(HEAD + cells)
    told = "study.trials is 6, but the grid has 12 cells: 6 run, spread as evenly as possible"
    assert f"{told} (every value of every parameter appears), and 6 are left out" in cli("check", path).err
    assert f"{told.replace('is 6', 'is 3').replace('6 run', '3 run')} (without b = " in (
        cli("check", path, "--set", "study.trials=3").err
    )


def test_architectures_are_told_beside_what_random_draws_meet(cli: Cli) -> None:
    ended = cli("check", "configs/patchtst-budgets.toml")
    assert "75 valid cells over d_model, n_layers, n_heads: 50 trials can reach 50, random draws 36.7" in ended.out
    assert "coverage_share" not in ended.err
    few = cli("check", "configs/patchtst-budgets.toml", "--set", "sampler.coverage_share=0.3")
    short = cli("check", "configs/patchtst-budgets.toml", "--set", "sampler.coverage_share=0.7").err
    assert "0.7 guarantees 36 of 75 cells, and random draws are expected to meet 36.7; 0.71 would" in short
    assert (
        "sampler.coverage_share = 0.3 guarantees 19 of 75 cells, and random draws are expected to meet 36.7" in few.err
    )


def test_shares_are_shown(cli: Cli) -> None:
    assert (
        "encoder_type: cnn 75%, context 25% of the drawn trials"
        in cli("check", "configs/visual-classifier-v3.toml").out
    )


def test_a_sampler_class_that_is_not_there_or_refuses_its_options(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(HEAD + SPACE + '[sampler]\nname = "tests.study.toy_sampler:Count"\n')
    told = cli("check", path).err
    assert "sampler.name: 'tests.study.toy_sampler:Count': module" in told
    assert "did you mean 'Counting'?" in told
    path.write_text(HEAD + SPACE + '[sampler]\nname = "tests.study.toy_sampler:Counting"\noptions = { strat = 3 }\n')
    ended = cli("submit", path, "--local")
    assert ended.code == 2
    assert "[sampler] options: tests.study.toy_sampler:Counting: TypeError" in ended.err
    assert "strat" in ended.err
