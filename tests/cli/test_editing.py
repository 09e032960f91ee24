"""What users see of edited sweeps, imports, parts of a sweep, several seeds and several metrics."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Cli
from tests.cli.test_budgets import BUDGETS

Write = Callable[..., Path]

LIST = """
[[trial]]
name = "A1"
set = "A"
params = { x = 0.1, n = 1 }
[[trial]]
name = "A2"
set = "A"
from = "B1"
params = { x = 0.2 }
[[trial]]
name = "B1"
set = "B"
params = { x = 0.3, n = 2 }
"""


def rows(cli: Cli, *argv: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(cli("collect", *argv, "--format", "csv").out)))


def edited(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def test_an_edit_is_shown_with_what_it_means_for_the_trials(cli: Cli, write_sweep: Write) -> None:
    path = write_sweep(trials=4)
    assert cli("submit", path, "--wait").code == 0
    edited(path, "n = [1, 2, 3]", "n = [1, 2, 3]\ndepth = [1, 2]")
    refused = cli("submit", path, "--wait")
    assert refused.code == 2
    assert "depth = { choices = [1, 2], before = 1 }" in refused.err
    assert "depth = { choices = [1, 2], before = 1 }" in cli("submit", path, "--dry-run").out
    edited(path, "depth = [1, 2]", "depth = { choices = [1, 2], before = 1 }")
    edited(path, "x = { low = 0.0", "x = { low = 0.2")
    edited(path, "trials = 4", "trials = 6")
    inside = sum(float(row["params_x"]) >= 0.2 for row in rows(cli, "toy"))
    gone_on = cli("submit", path, "--wait")
    assert gone_on.code == 0, gone_on.err
    assert "changed: space.x: {'low': 0.0, 'high': 1.0} -> {'low': 0.2, 'high': 1.0}" in gone_on.err
    assert (f"{inside} of 4 trials" if inside < 4 else "all 4 trials") + " lie in the space now" in gone_on.err
    assert len(rows(cli, "toy")) == 6


def test_another_study_is_imported_or_it_is_told_why_not(cli: Cli, write_sweep: Write) -> None:
    assert cli("submit", write_sweep(trials=4), "--wait").code == 0
    path = write_sweep(name="next", trials=2)
    edited(path, "trials = 2", 'trials = 2\nimport = ["toi"]')
    told = cli("check", path)
    assert told.code == 2
    assert "no study 'toi'" in told.err
    assert "did you mean 'toy'?" in told.err
    assert cli("submit", path).code == 2
    edited(path, "toi", "toy")
    assert "history       4 of 4 finished trials of 'toy' fit" in cli("check", path).out
    edited(path, 'kind = "toy"', 'kind = "other"')
    none = cli("submit", path)
    assert none.code == 2
    assert (
        "none of the 4 trials of 'toy' lies in this space; most common problem of the others: 'kind' is 'toy'"
        in none.err
    )
    edited(path, 'kind = "other"', 'kind = "toy"')
    assert cli("submit", path, "--wait").code == 0
    assert len(rows(cli, "next")) == 2
    assert "as it was when the study imported it" in cli("submit", path, "--wait").err


def test_budgets_from_one_on(cli: Cli, write_sweep: Write, root: Path) -> None:
    path = write_sweep(trials=2, more=BUDGETS)
    wrong = cli("submit", path, "--start-from", "larg")
    assert wrong.code == 2
    assert "did you mean 'large'?" in wrong.err
    assert cli("submit", path, "--start-from", "large", "--wait").code == 0
    assert not (root / "toy" / "small").exists()
    ended = cli("submit", path, "--wait")
    assert ended.code == 0
    overview = ended.out.split("study")[-1]
    assert "toy/small  2 of 2" in overview
    assert "toy/large  4 of 4" in overview


def test_a_part_of_a_list(cli: Cli, write_sweep: Write) -> None:
    path = edited(write_sweep(trials=9, more=LIST), "trials = 9\n", "")
    assert "--only requires [sampler] name" in cli("submit", path, "--trials", "9", "--only", "A1").err
    edited(path, '"random"', '"list"')
    assert "no [[trial]] is called 'A3'; there are A1, A2, B1" in cli("submit", path, "--only", "A1,A3").err
    assert "there are A, B" in cli("submit", path, "--set-of", "C").err
    assert cli("submit", path, "--only", "A2", "--wait").code == 0
    (row,) = rows(cli, "toy")
    assert (row["name"], row["params_x"], row["params_n"]) == ("A2", "0.2", "2")
    assert cli("submit", path, "--set-of", "A", "--wait").code == 0
    assert sorted(row["name"] for row in rows(cli, "toy")) == ["A1", "A2"]
    whole = cli("submit", path, "--wait")
    assert whole.code == 0
    assert "1 trial to finish, 2 finished before" in whole.err
    assert sorted(row["name"] for row in rows(cli, "toy")) == ["A1", "A2", "B1"]


def test_seeds_are_collected_with_their_spread(cli: Cli, write_sweep: Write, root: Path) -> None:
    path = write_sweep("by_seed", trials=2)
    edited(path, "trials = 2", "trials = 20_000\nreplicates = 3")
    checked = cli("check", path).out
    assert "each with 3 seeds" in checked
    assert "  files         about 121,000 files and folders, 552 MB, without output and kept checkpoints" in checked
    edited(path, "trials = 20_000", "trials = 2")
    assert cli("submit", path, "--wait").code == 0
    walked = 1 + sum(1 for _ in (root / "toy").rglob("*"))
    assert f"files     about {walked} files and folders" in cli("status", "toy").out
    for row in rows(cli, "toy"):
        values = json.loads(row["value_by_seed"])
        seeds = json.loads(row["seeds"])
        assert len(values) == len(set(seeds)) == int(row["n_seeds"]) == 3
        assert values == [seed % 1000 / 1000 for seed in seeds]
        assert float(row["value"]) == statistics.mean(values)
        assert float(row["value_std"]) == statistics.stdev(values)
    assert "score std" in cli("collect", "toy").out
    assert "seed-3/stdout" in cli("logs", "toy", "0").err


def test_several_metrics_have_a_front(cli: Cli, write_sweep: Write) -> None:
    path = write_sweep(trials=8)
    edited(
        path,
        'metric = "score"\ndirection = "minimize"',
        'metric = ["score", "twice"]\ndirection = ["minimize", "maximize"]',
    )
    edited(path, 'name = "random"', 'name = "tpe"')
    assert cli("submit", path, "--wait").code == 0
    found = rows(cli, "toy")
    points = [(float(row["values_score"]), -float(row["values_twice"])) for row in found]
    front = [all(other == p or other[0] > p[0] or other[1] > p[1] for other in points) for p in points]
    assert [row["front"] == "True" for row in found] == front
    best = rows(cli, "toy", "--best")
    assert {row["number"] for row in best} == {
        row["number"] for row, is_best in zip(found, front, strict=True) if is_best
    }
    assert [float(row["values_score"]) for row in best] == sorted(float(row["values_score"]) for row in best)
    assert f"front     {sum(front)} trials on the Pareto front of score, twice" in cli("status", "toy").out
    assert json.loads(cli("status", "toy", "--json").out)[0]["front"] == [
        i for i, is_best in enumerate(front) if is_best
    ]
    assert "--best gives the Pareto front" in cli("collect", "toy", "--top", "3").err
    text = path.read_text()
    path.write_text(f'{text}\n[pruner]\nname = "median"\n[expect]\n"good" = "best > 1"\n')
    told = cli("check", path)
    assert told.code == 2
    assert "pruning needs a study with a single metric" in told.err
    assert "no single 'best' trial" in told.err


def test_mistakes_of_imports_and_seeds_are_told_by_check(cli: Cli, write_sweep: Write) -> None:
    path = write_sweep(trials=2)
    edited(path, "trials = 2", 'trials = 2\nreplicates = 0\nimport = ["toy", "a", "a"]')
    edited(path, "n = [1, 2, 3]", 'n = { low = 1, high = 3, before = "two" }')
    edited(path, 'name = "random"', 'name = "grid"\nduplicates = "replicate"')
    told = cli("check", path).err
    assert "study.replicates" in told
    assert "a study cannot import itself" in told
    assert "a study is listed twice" in told
    assert "space.n.before: before = 'two': the parameter is a number" in told
    assert "sampler.duplicates: has no effect with sampler 'grid'" in told
