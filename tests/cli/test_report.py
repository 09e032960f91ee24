"""``report`` and ``compare`` on files and studies, good and bad."""

from __future__ import annotations

import csv
import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest

from hpo_batch.journal.encode import Writer
from hpo_batch.journal.file import Journal
from hpo_batch.records import TrialState
from hpo_batch.store.home import home_of
from hpo_batch.study.create import create
from hpo_batch.study.distributions import JournalParams
from hpo_batch.sweep.load import load
from tests.cli.conftest import Cli

GIVEN = ("--value", "auc", "--direction", "maximize")


def trials_file(path: Path, *, n: int = 24, seed: int = 0) -> Path:
    draw = random.Random(seed)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["trial", "lr", "width", "<script>alert(1)</script>", "auc"])
        for i in range(n):
            lr, width = draw.choice([1e-4, 1e-3, 1e-2]), draw.choice([32, 64, 128])
            score = 0.7 + 0.02 * math.log10(lr / 1e-4) + draw.gauss(0, 0.005)
            rows.writerow([i, lr, width, draw.choice(["a", "b"]), score])
    return path


def test_a_report_of_a_file(cli: Cli, tmp_path: Path) -> None:
    source = trials_file(tmp_path / "runs.csv")
    ended = cli("report", "--from", source, *GIVEN, "-o", tmp_path / "r")
    assert ended.code == 0, ended.err
    assert ended.out.strip() == str((tmp_path / "r" / "report.html").resolve())
    files = {path.name for path in (tmp_path / "r").iterdir()}
    assert files == {"report.html", "report.md", "report.json", "tables.tex", "figures"}
    told = json.loads((tmp_path / "r" / "report.json").read_text())
    assert told["studies"][0]["summary"]["n"] == 24
    assert {effect["parameter"] for effect in told["studies"][0]["effects"]} >= {"lr", "width"}
    assert "<script>alert" not in (tmp_path / "r" / "report.html").read_text()
    assert any(path.name.startswith("slices-") for path in (tmp_path / "r" / "figures").iterdir())


def test_a_report_of_a_study(cli: Cli, write_sweep, tmp_path: Path) -> None:
    assert cli("submit", write_sweep(trials=6), "--wait").code == 0
    ended = cli("report", "toy", "-o", tmp_path / "r")
    assert ended.code == 0, ended.err
    told = json.loads((tmp_path / "r" / "report.json").read_text())
    assert told["studies"][0]["direction"] == "minimize"
    assert told["studies"][0]["summary"]["n"] == 6
    ended = cli("report", "toy")
    page = Path(ended.out.strip())
    assert page.parent.name == "report"
    assert (page.parent.parent / "journal.jsonl").is_file()
    # a sweep that a later hpo-batch has frozen, with keys that are unknown here: the report does without
    frozen = page.parent.parent / "sweep.1.json"
    frozen.write_text(frozen.read_text().replace("{", '{"of_tomorrow": {},', 1))
    ended = cli("report", "toy")
    assert (ended.code, "continuing without it" in ended.err) == (0, True), ended.err


@pytest.mark.parametrize("n", [0, 1, 2])
def test_next_to_no_trials_give_a_report_or_a_message(cli: Cli, tmp_path: Path, n: int) -> None:
    source = trials_file(tmp_path / "runs.csv", n=n)
    ended = cli("report", source, *GIVEN, "-o", tmp_path / "r")
    assert ended.code in (0, 2), ended.err
    assert (tmp_path / "r" / "report.html").exists() == (ended.code == 0)


def test_compare_puts_studies_side_by_side(cli: Cli, tmp_path: Path) -> None:
    sources = [trials_file(tmp_path / f"{name}.csv", seed=seed) for seed, name in enumerate(("one", "two"))]
    ended = cli("compare", *sources, *GIVEN)
    assert ended.code == 0, ended.err
    assert "What each parameter does" in ended.out
    ended = cli("compare", *sources, *GIVEN, "-o", tmp_path / "c.html")
    assert ended.code == 0, ended.err
    assert (tmp_path / "c.html").read_text().lstrip().startswith("<!DOCTYPE html>")
    ended = cli("compare", sources[0], *GIVEN)
    assert ended.code == 2
    assert "at least two" in ended.err


def test_options_that_make_no_sense_are_told(cli: Cli, tmp_path: Path) -> None:
    source = trials_file(tmp_path / "runs.csv")
    ended = cli("report", source, *GIVEN, "--n-pos", "76")
    assert ended.code == 2
    assert "--n-eval" in ended.err
    (tmp_path / "file").write_text("x")
    ended = cli("report", source, *GIVEN, "-o", tmp_path / "file")
    assert ended.code == 2
    assert "takes a folder" in ended.err


LARGE = """
[study]
name = "large"
metric = "loss"
direction = "minimize"
trials = 1_000_000
[objective]
function = "nothing:called"
[space]
a = { low = 0.0, high = 1.0 }
b = { low = 1, high = 100_000 }
c = ["x", "y", "z"]
d = { low = 0.0, high = 1.0 }
"""
"""parameters most of whose values are tried once"""


def large_study(root: Path, *, n: int) -> None:
    """Finished trials with ten reports each, as workers write them."""
    (root / "large.toml").write_text(LARGE)
    (sweep,) = load(root / "large.toml")
    home = home_of(root, "large")
    create(home, sweep, toml=LARGE, now=1.0)
    write, draw, stored, records = Writer("large"), random.Random(0), JournalParams(sweep.space), []
    for i in range(n):
        values = {"a": draw.random(), "b": draw.randint(1, 100_000), "c": draw.choice("xyz"), "d": draw.random()}
        configuration = sweep.space.resolve(values)
        params, distributions = stored(configuration)
        attempt = {"worker": "w", "job": f"{i % 9}_1", "host": "n1", "pid": 1, "start": 0, "boot": "", "gpus": ["0"],
                   "submission": "s", "token": "t", "started": 1.0}  # fmt: skip
        facts = {"key": configuration.key, "seeds": [i], "origin": "random", "revision": 1, "derived": {}}
        records.append(
            write.create_trial(
                now=1.0,
                state=TrialState.RUNNING,
                params=params,
                distributions=distributions,
                system_attrs={"hpo:trial": facts, "hpo:attempt:1": attempt},
            )
        )
        loss = values["a"] + draw.gauss(0, 0.3)
        records += [write.report(i, step, loss + 1 / (step + 1) + draw.gauss(0, 0.1)) for step in range(10)]
        records.append(write.trial_attr(i, "hpo:ended:1", {"how": "complete", "time": 60.0 + i % 7}))
        records.append(write.trial_state(i, TrialState.COMPLETE, now=60.0, values=[loss]))
    with Journal(home.journal).transaction() as transaction:
        transaction.append(records, sync=False)


def test_a_report_of_many_trials_takes_little_memory_and_is_a_page_to_open(tmp_path: Path) -> None:
    large_study(tmp_path, n=20_000)
    peak = tmp_path / "peak"
    # not what the parent is told of its child: that counts the memory of this process too, out of which it was made
    code = (
        "import atexit, pathlib; from hpo_batch.cli.main import main; "
        f"atexit.register(lambda: pathlib.Path({str(peak)!r}).write_text(open('/proc/self/status').read())); main()"
    )
    command = [sys.executable, "-c", code, "report", "large", "--root", str(tmp_path), "-o", str(tmp_path / "r")]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    (kilobytes,) = (int(line.split()[1]) for line in peak.read_text().splitlines() if line.startswith("VmHWM"))
    assert kilobytes / 1024 < 420  # 250 for 1,000 trials; a copy of all values for each resample took gigabytes
    told = json.loads((tmp_path / "r" / "report.json").read_text())
    (study,) = told["studies"]
    assert study["summary"]["n"] == 20_000
    assert [effect["parameter"] for effect in study["effects"] if effect["trend"] == "increasing"] == ["a"]
    assert study["fidelity"][0]["rank_correlation"]["n"] == 10_000
    assert len(study["history"]) < 10_100
    assert sum(map(len, study["curves"].values())) <= 100_010
    assert any("history of" in text for text in told["warnings"])
    page = (tmp_path / "r" / "report.html").read_text()
    assert len(page) < 3_000_000
    assert "Dots: 2,000 of 20,000 complete trials" in page
    assert "2,000 of 20,000 trials: the best, and others evenly." in page
