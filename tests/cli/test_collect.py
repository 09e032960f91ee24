"""collect from studies, files and storages: rows on stdout, talk on stderr, mistakes in one line."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Ended
from tests.helpers import run

CSV = (
    "trial,value,lr,n,note\n0,0.5,0.1,1,a\n1,0.75,0.1,2,b\n2,0.75,0.1,2,c\n3,0.75,0.2,2,d\n4,,0.2,4,e\n"
    "5,0.25,0.3,8,<script>alert(1)</script>\n"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "runs_2m.csv"
    path.write_text(CSV)
    return path


def rows(ended: Ended) -> list[dict[str, str]]:
    assert ended.code == 0, ended.err
    return list(csv.DictReader(io.StringIO(ended.out)))


def test_a_file_its_assumptions_and_its_best(cli: Cli, file: Path, root: Path) -> None:
    ended = cli("collect", file, "--top", 2, "--format", "csv")
    assert [(r["rank"], r["number"], r["count"]) for r in rows(ended)] == [("1", "1", "2"), ("1", "3", "1")]
    for words in (
        "runs_2m: 5 of 6 trials finished (1 failed)",
        "'value': maximize is assumed",
        "parameters: lr, n",
        "space inferred",
        "1 row without a value: counted as failed",
    ):
        assert words in ended.err
    assert not any(root.iterdir())
    assert cli("collect", "--from", file, "--top", 2, "--format", "csv").out == ended.out
    tied = cli("collect", file, "--best")
    assert "1 more with the value of the last one shown" in tied.err
    assert rows(cli("collect", file, "--best", "--direction", "min", "--format", "csv"))[0]["number"] == "5"


def test_columns_and_filters(cli: Cli, file: Path) -> None:
    found = rows(
        cli("collect", file, "--map", "rate=lr", "--ignore", "n", "--filter", "rate > 0.15", "--format", "csv")
    )
    assert [r["number"] for r in found] == ["3", "4", "5"]
    assert "params_rate" in found[0]
    assert "params_n" not in found[0]
    (failed,) = rows(cli("collect", file, "--filter", "failed", "--format", "csv"))
    assert (failed["number"], failed["value"]) == ("4", "")
    only = rows(cli("collect", file, "--params", "n", "--format", "csv"))
    assert [name for name in only[0] if name.startswith("params_")] == ["params_n"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--map", "lr"], "'lr' is not NAME=COLUMN"),
        (["--value", "valeu"], "did you mean 'value'?"),
        (["--group", "depth"], "--group: 'depth' is not a column"),
        (["--attempts", "--top", "3"], "--attempts lists attempts"),
        (["--accounting"], "needs --attempts"),
        (["--sweep", "absent.toml"], "no sweep file"),
    ],
)
def test_mistakes_are_told(cli: Cli, file: Path, argv: list[str], says: str) -> None:
    ended = cli("collect", file, *argv)
    assert ended.code == 2
    assert says in ended.err
    assert "Traceback" not in ended.err


def test_files_beside_each_other_and_groups(cli: Cli, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "runs_20m.csv"
    other.write_text(CSV.replace("0.75", "0.875"))
    both = rows(cli("collect", file, other, "--format", "csv"))
    assert {(r["study"], r["budget"]) for r in both} == {("runs_2m", "2M"), ("runs_20m", "20M")}
    groups = rows(cli("collect", file, other, "--group", "budget", "--format", "csv"))
    assert [(g["budget"], g["trials"], g["complete"], g["failed"], g["best"]) for g in groups] == [
        ("20M", "6", "5", "1", "0.875"),
        ("2M", "6", "5", "1", "0.75"),
    ]
    best = rows(cli("collect", file, other, "--group", "budget", "--best", "--format", "csv"))
    assert [(b["budget"], b["number"], b["count"]) for b in best] == [("20M", "1", "2"), ("2M", "1", "2")]
    by_n = cli("collect", file, "--group", "n", "--format", "md")
    assert "|" in by_n.out
    assert by_n.code == 0
    loss = tmp_path / "loss.csv"
    loss.write_text("trial,loss,lr\n0,1,2\n")
    differ = cli("collect", file, loss, "--group", "study")
    assert differ.code == 2
    assert "do not have the same objective" in differ.err


def test_several_metrics_have_a_front(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("trial,auc,loss,x\n0,0.1,1,1\n1,0.2,2,2\n2,0.2,1,3\n3,0.1,0.5,4\n")
    argv = ("collect", path, "--value", "auc", "--value", "loss")
    assert sorted(r["number"] for r in rows(cli(*argv, "--best", "--format", "csv"))) == ["2", "3"]
    assert cli(*argv, "--top", 1).code == 2
    shown = cli(*argv)
    assert "front" in shown.out


def test_a_study_in_every_format(cli: Cli, write_sweep, root: Path, tmp_path: Path) -> None:
    assert cli("submit", write_sweep(trials=4), "--wait").code == 0
    table = cli("collect", "toy", "--top", 2)
    assert table.out.split()[:2] == ["rank", "number"]
    assert "4 of 4 trials finished" in table.err
    assert "space" not in table.err
    for suffix in ("csv", "json", "parquet", "md", "tex"):
        out = tmp_path / f"out.{suffix}"
        assert cli("collect", "toy", "-o", out).code == 0
        assert out.stat().st_size > 100
    again = cli("collect", tmp_path / "out.csv", "--format", "json")
    first = json.loads(cli("collect", "toy", "--format", "json").out)
    known = {row["number"]: row for row in json.loads(again.out)}
    assert [known[row["number"]]["value"] for row in first] == [row["value"] for row in first]
    attempts = rows(cli("collect", "toy", "--attempts", "--accounting", "--format", "csv"))
    assert len(attempts) == 4
    assert "gpu_hours" in attempts[0]
    (journal,) = root.rglob("journal.jsonl")
    assert "4 of 4" in cli("collect", journal).err


@pytest.mark.parametrize("metric", ["count", "number", "state", "rank", "best", "failed", "study", "value", "seconds"])
def test_metrics_and_parameters_that_are_called_as_our_columns_are(cli: Cli, write_sweep, metric: str) -> None:
    path = write_sweep("by_seed", trials=3)
    text = path.read_text().replace('metric = "score"', f'metric = "{metric}"')
    path.write_text(text.replace("n = [1, 2, 3]", "number = [1, 2, 3]\nstate = [1, 2]\ncount = [1, 2]\nrank = [1, 2]"))
    ended = cli("submit", path, "--wait")
    assert ended.code == 0, ended.err
    head, *_ = ended.out.splitlines()
    columns = re.split(r"\s{2,}", head.strip())
    assert len(columns) == len(set(columns))
    known = ("count", "number", "state", "rank", "seconds")
    assert {"number", "state", f"{metric} (metric)" if metric in known else metric} <= set(columns)
    for argv in (
        ("collect", "toy"),
        ("collect", "toy", "--top", "2"),
        ("collect", "toy", "--group", "count"),
        ("status", "toy"),
    ):
        again = cli(*argv)
        assert again.code == 0, again.err


def test_an_output_that_cannot_be_written_is_no_bug(cli: Cli, write_sweep, root: Path) -> None:
    assert cli("submit", write_sweep(trials=2), "--wait").code == 0
    with Path("/dev/full").open("wb") as full:
        ended = run("collect", "toy", "--root", root, stdout=full)
    assert (ended.code, "the output cannot be written: No space left on device" in ended.err) == (4, True)


def test_ids_are_no_parameters_however_few_there_are(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    rows = ["trial_id,run,units,lr,seed,epoch,val_loss"]
    rows += [
        f"r{i},x{i},{u},0.1,{s},{e},{0.5 - 0.1 * e}"
        for i, (u, s) in enumerate([(8, 1), (8, 2), (16, 2)])
        for e in (0, 1)
    ]
    path.write_text("\n".join(rows) + "\n")
    ended = cli("collect", path, "--value", "val_loss", "--direction", "minimize")
    assert ended.code == 0, ended.err
    assert "parameters: units, lr" in ended.err
