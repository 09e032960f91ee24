"""``hpo-batch import``: somebody's finished trials as a study, whatever they come in; what fails leaves nothing."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import optuna
import pandas as pd
import pytest

from hpo_batch.store.home import home_of
from hpo_batch.study.create import create
from hpo_batch.study.imported import gather
from hpo_batch.sweep.load import load
from tests.cli.conftest import Cli, Ended
from tests.helpers import REPOSITORY, start
from tests.study.helpers import plain, state_of
from tests.study.test_editing import shown

pytestmark = pytest.mark.usefixtures("few_turns")

SWEEP = """
[study]
name = "new"
metric = "val_auc"
direction = "maximize"
trials = 8
{study}
[objective]
function = "tests.cli.toys:quadratic"
[space]
lr = {{ low = 1e-5, high = 0.1, log = true }}
n = [1, 2, 3]
opt = ["adam", "sgd"]
momentum = {{ low = 0.0, high = 0.99, when = "opt == 'sgd'" }}
epochs = 12
[space.derived]
double = "n * 2"
[job]
template = "local"
"""
CSV = """trial,state,val_auc,val_loss,lr,n,opt,momentum,double,seed,note
0,COMPLETE,0.7,0.3,0.01,1,adam,,2,5,first
1,COMPLETE,0.8,0.2,0.02,2,sgd,0.9,4,5,
2,COMPLETE,0.9,0.1,0.5,2,sgd,0.9,4,5,
3,FAIL,,,0.02,2,sgd,0.9,4,5,
4,COMPLETE,inf,,0.02,2,sgd,0.9,4,5,
5,COMPLETE,0.6,0.4,0.02,3,sgd,0.8,4,5,
6,COMPLETE,0.65,0.4,0.02,3,adam,0.8,6,5,
7,COMPLETE,0.81,0.2,0.02,2,sgd,0.9,4,6,
"""


def sweep_file(tmp_path: Path, study: str = "", *, more: str = "", **replaced: str) -> Path:
    text = SWEEP.format(study=study)
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "new.toml"
    path.write_text(text + more)
    return path


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return sweep_file(tmp_path)


def file(tmp_path: Path, text: str = CSV, name: str = "runs.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def rows(ended: Ended) -> list[dict[str, str]]:
    assert ended.code == 0, ended.err
    return list(csv.DictReader(io.StringIO(ended.out)))


def configurations(found: Sequence[dict[str, str]], value: str = "value") -> list[tuple[str, ...]]:
    names = sorted(name for name in found[0] if name.startswith("params_"))
    return [(row[value], *(row[name] for name in names)) for row in found]


def refused(ended: Ended, *says: str, code: int = 2) -> None:
    assert ended.code == code, (ended.code, ended.err)
    for words in says:
        assert words in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_a_csv_becomes_a_study_that_every_command_reads(cli: Cli, tmp_path: Path, root: Path, sweep: Path) -> None:
    runs = file(tmp_path, CSV.replace(",lr,", ",learning_rate,"))
    dry = cli("import", runs, "--into", sweep, "--map", "lr=learning_rate", "-n")
    assert (dry.code, dry.out) == (0, 'import = ["runs"]\n')
    assert not any(root.iterdir())
    done = cli("import", runs, "--into", sweep, "--map", "lr=learning_rate")
    assert (done.code, done.out) == (0, 'import = ["runs"]\n')
    for words in (
        "runs.csv: 3 of 8 trials taken; left out: 1 failed, 1 without a finite value, 3 not in the space (most often: ",
        f"missing in some trials, assumed as fixed in {sweep}: epochs = 12",
        "lr (column learning_rate)",
        "made the study 'runs'",
        f"add this line to [study] of {sweep}",
    ):
        assert words in done.err, done.err
    assert [path.name for path in root.iterdir()] == ["runs"]

    found = rows(cli("collect", "runs", "--format", "csv"))
    assert [(r["value"], r["params_epochs"], r["params_double"], r["seed"]) for r in found] == [
        ("0.7", "12", "2", "5"), ("0.8", "12", "4", "5"), ("0.81", "12", "4", "6"),
    ]  # fmt: skip
    assert found[0]["params_momentum"] == ""
    assert [r["user_attrs_val_loss"] for r in found] == ["0.3", "0.2", "0.2"]
    assert (found[0]["note"], found[2]["replicate_of"], found[0]["attempts"]) == ("first", "1", "0")
    told = cli("explain", "runs", 2)
    assert "imported: trial 7 of runs.csv (sha256 " in told.out
    assert "lr from column learning_rate" in told.out
    assert json.loads(cli("explain", "runs", 2, "--json").out)[0]["origin"] == "import"
    assert "3 of 3 finished" in cli("status", "runs").out
    assert "it was imported, and ran elsewhere" in cli("logs", "runs", 0).err
    assert "best 0.81" in cli("list").out
    doctor = cli("doctor", "runs")
    assert (doctor.code, "bad" in doctor.out) == (0, False)
    assert cli("report", "runs", "-o", tmp_path / "report").code == 0
    study = plain(home_of(root, "runs"))
    assert study.best_value == 0.81
    assert study.best_params == {"lr": 0.02, "n": 2, "opt": "sgd", "momentum": 0.9, "epochs": 12}
    assert len(study.trials_dataframe()) == 3

    # nothing is to be run in it
    assert cli("resume", "runs").code == 0
    assert "has trials left; name the one you mean" in cli("resume").err
    assert cli("retry", "runs").out == ""
    assert len(state_of(home_of(root, "runs")).trials) == 3
    assert not any((root / "runs" / "workers").iterdir())
    refused(cli("import", runs, "--into", sweep, "--map", "lr=learning_rate"), "already exists", "--name")


def test_the_sampler_of_the_sweep_is_shown_them(cli: Cli, tmp_path: Path, root: Path, sweep: Path) -> None:
    assert cli("import", file(tmp_path), "--into", sweep).code == 0
    named = sweep_file(tmp_path, 'import = ["runs"]')
    assert "2 of 2 finished trials of 'runs' fit" in cli("check", named).out
    (one,) = load(named)
    home = home_of(root, "new")
    create(home, one, toml="", now=1.0)
    assert shown(home) == [
        ({"lr": 0.01, "n": 1, "opt": "adam"}, [0.7]),
        ({"lr": 0.02, "n": 2, "opt": "sgd", "momentum": 0.9}, [pytest.approx(0.805)]),  # both of one configuration
    ]
    again = cli("import", file(tmp_path), "--into", named, "--name", "more")
    assert again.out == 'import = ["runs", "more"]\n'
    assert "in place of the import there" in again.err
    shutil.rmtree(root / "runs")
    known = cli("import", file(tmp_path), "--into", named)
    assert (known.code, known.out) == (0, "")
    assert "imports it already: nothing to add" in known.err
    assert "keeps the imports that it has read" in known.err


def test_out_and_in_again_is_the_same(cli: Cli, write_sweep, tmp_path: Path, root: Path) -> None:
    path = write_sweep(trials=5)
    assert cli("submit", path, "--wait").code == 0
    export = cli("collect", "toy", "--format", "csv")
    for suffix in ("csv", "parquet", "json"):
        assert cli("collect", "toy", "-o", tmp_path / f"out-{suffix}.{suffix}").code == 0
        out = tmp_path / f"out-{suffix}.{suffix}"
        done = cli("import", out, "--into", path)
        assert done.out == f'import = ["out-{suffix}"]\n', done.err
    assert cli("import", root / "toy" / "journal.jsonl", "--into", path, "--name", "again").code == 0
    wanted = rows(export)
    for name in ("out-csv", "out-parquet", "out-json", "again"):
        found = rows(cli("collect", name, "--format", "csv"))
        assert configurations(found) == configurations(wanted)
        same = ("user_attrs_twice", "user_attrs_score", "seed", "datetime_start", "datetime_complete")
        assert [[r[c] for c in same[:2]] for r in found] == [[r[c] for c in same[:2]] for r in wanted]
        if name != "again":
            assert [[r[c] for c in same[2:]] for r in found] == [[r[c] for c in same[2:]] for r in wanted]
        (one,) = load(path)
        importing = replace(one, study=replace(one.study, import_=(name,), name="other"))
        assert gather(home_of(root, "other"), importing).lines[0].startswith("5 of 5")
    refused(cli("import", "toy", "--into", path), 'is already a study: add import = ["toy"]')


def optuna_study(storage: object, name: str, **more: str) -> optuna.Study:
    study = optuna.create_study(storage=storage, study_name=name, direction=more.pop("direction", "maximize"))  # type: ignore[arg-type]
    for i in range(4):
        trial = study.ask()
        trial.suggest_float("learning_rate", 1e-5, 1.0, log=True)
        trial.suggest_categorical("opt", ["adam"])
        trial.suggest_int("n", 1, 3)
        trial.set_user_attr("val_auc", 0.5 + i / 10)
        trial.set_user_attr("host", "a node")
        study.tell(trial, 0.1 * i)
    return study


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_storages_of_optuna(cli: Cli, tmp_path: Path, root: Path) -> None:
    path = sweep_file(tmp_path, **{"high = 0.1, log": "high = 1.0, log"})
    database = tmp_path / "hpo.db"
    optuna_study(f"sqlite:///{database}", "first")
    renamed = ("--map", "lr=learning_rate")
    done = cli("import", database, "--into", path, *renamed)
    assert done.out == 'import = ["hpo"]\n', done.err
    assert [r["value"] for r in rows(cli("collect", "hpo", "--format", "csv"))] == ["0.5", "0.6", "0.7", "0.8"]
    assert (
        "its parameter 'learning_rate' is not in [space]" in cli("import", database, "--into", path, "--name", "x").err
        or "no value for parameter 'lr'" in cli("import", database, "--into", path, "--name", "x").err
    )
    refused(
        cli("import", database, "--into", path, "--map", "lr=learning_rat", "--name", "x"),
        "did you mean 'learning_rate'?",
    )
    refused(cli("import", database, "--into", path, "--value", "f1", *renamed, "--name", "x"), "no values of 'f1'")
    value = cli("import", database, "--into", path, *renamed, "--name", "judged", "--value", "value")
    assert "the values of 'value' are used for 'val_auc'" in value.err
    assert rows(cli("collect", "judged", "--format", "csv"))[0]["value"] == "0.0"

    optuna_study(f"sqlite:///{database}", "second one", direction="minimize")
    refused(
        cli("import", database, "--into", path, *renamed, "--name", "x"), "holds several studies (first, second one)"
    )
    second = cli("import", f"{database}#second one", "--into", path, *renamed)
    assert second.out == 'import = ["second-one"]\n', second.err
    less = ("import", f"{database}#second one", "--into", path, *renamed, "--name", "x", "--value", "value")
    refused(cli(*less), "its study says minimize, but the sweep says maximize for 'val_auc'", "--direction maximize")
    assert cli(*less, "--direction", "maximize").code == 0
    refused(cli(*less[:-3], "y", "--direction", "minimize"), "--direction minimize: the sweep says maximize")

    url = cli("import", f"sqlite:///{database}#first", "--into", path, *renamed, "--name", "url")
    assert url.code == 0, url.err
    journal = tmp_path / "their journal.log"
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    optuna_study(optuna.storages.JournalStorage(backend), "theirs")
    done = cli("import", journal, "--into", path, *renamed)
    assert done.out == 'import = ["their-journal"]\n', done.err
    assert len(state_of(home_of(root, "their-journal")).trials) == 4
    assert "host" not in cli("collect", "their-journal", "--format", "csv").out


def test_what_the_file_calls_the_value(cli: Cli, tmp_path: Path, sweep: Path) -> None:
    other = file(tmp_path, CSV.replace("val_auc", "test_auc"), "other.csv")
    refused(cli("import", other, "--into", sweep), "choose the objective with --value COLUMN")
    for option in (("--value", "test_auc"), ("--map", "val_auc=test_auc")):
        done = cli("import", other, "--into", sweep, *option, "-n")
        assert done.code == 0, done.err
        assert "the values of 'test_auc' are used for 'val_auc'" in done.err
        assert "its name does not tell" not in done.err
    alone = file(tmp_path, CSV.replace("val_auc", "value"), "alone.csv")
    assert "the values of 'value' are used for 'val_auc'" in cli("import", alone, "--into", sweep, "-n").err
    loss = cli("import", other, "--into", sweep, "--value", "val_loss")
    refused(loss, "its name suggests minimize, but the sweep says maximize for 'val_auc'", "--direction maximize")
    same = ("import", other, "--into", sweep, "--value", "val_loss", "--direction", "max")
    assert cli(*same, "-n").code == 0
    refused(cli(*same[:-1], "min"), "--direction min: the sweep says maximize for 'val_auc'")
    refused(cli("import", other, "--into", sweep, "--value", "val_los"), "did you mean 'val_loss'?")
    refused(cli("import", other, "--into", sweep, "--value", "val_loss", "--value", "test_auc"), "has 1 metrics")


def test_the_example_of_the_documents(cli: Cli, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (REPOSITORY / "docs" / "sources.md").read_text()
    (example,) = re.findall(r"```console\n\$ (hpo-batch import .*?)```", text, flags=re.DOTALL)
    typed, *printed, line = example.splitlines()
    cells = [("COMPLETE", 1)] * 41 + [("FAIL", 2)] * 6 + [("COMPLETE", 7)] * 5
    lines = [f"{state},{'' if state == 'FAIL' else 0.5},0.01,{n},adam" for state, n in cells]
    file(tmp_path, "state,test_auc,learning_rate,n,opt\n" + "\n".join(lines) + "\n")
    sweep_file(tmp_path).rename(tmp_path / "sweep.toml")
    monkeypatch.chdir(tmp_path)
    done = cli(*shlex.split(typed)[1:])
    assert done.out.strip() == line
    for words in printed:
        assert words.replace("/home/you/logs", str(root)) in done.err


def test_several_metrics_and_several_files(cli: Cli, tmp_path: Path, root: Path) -> None:
    path = sweep_file(
        tmp_path,
        **{'"val_auc"': '["val_auc", "val_loss"]', '"maximize"': '["maximize", "minimize"]'},
    )
    one, two = file(tmp_path), file(tmp_path, CSV.replace("val_loss", "loss"), "two.csv")
    refused(cli("import", one, two, "--into", path), "two.csv", "--value COLUMN_OF_val_auc --value COLUMN_OF_val_loss")
    assert not any(root.iterdir())
    again = file(tmp_path, CSV.replace("0.7,0.3", "0.71,0.31"), "again.csv")
    done = cli("import", one, again, "--into", path, "--name", "both")
    assert done.out == 'import = ["both"]\n', done.err
    found = rows(cli("collect", "both", "--format", "csv"))
    assert [(r["values_val_auc"], r["values_val_loss"]) for r in found][::3] == [("0.7", "0.3"), ("0.71", "0.31")]
    assert "imported: trial 0 of again.csv" in cli("explain", "both", 3).out
    assert cli("collect", "both", "-o", tmp_path / "export.csv").code == 0
    back = cli("import", tmp_path / "export.csv", "--into", path)
    assert back.code == 0, back.err
    assert configurations(rows(cli("collect", "export", "--format", "csv")), "values_val_loss") == configurations(
        found, "values_val_loss"
    )


def test_fixed_derived_and_inactive_parameters(cli: Cli, tmp_path: Path, sweep: Path) -> None:
    agree = file(tmp_path, "val_auc,lr,n,opt,momentum,epochs\n0.5,0.01,1,adam,,12\n0.6,0.01,1,adam,,30\n")
    done = cli("import", agree, "--into", sweep, "-n")
    assert "1 of 2 trials taken" in done.err
    assert "'epochs' is 30 there and fixed to 12 here" in done.err
    assert "assumed as fixed in" not in done.err
    for line, why in (
        ("0.5,0.01,1,adam,0.9,2", "its parameter 'momentum' is not active"),
        ("0.5,0.01,1,sgd,,2", "no value for parameter 'momentum'"),
        ("0.5,0.01,1,adam,,7", "'double' is 7 there and 2 by the sweep's formula"),
        ("0.5,inf,1,adam,,2", "'lr' is not"),
        ("0.5,0.01,7,adam,,2", "'n' is not one of 1, 2, 3"),
        ("0.5,text,1,adam,,2", "'lr' is not"),
    ):
        bad = file(tmp_path, f"val_auc,lr,n,opt,momentum,double\n{line}\n", "bad.csv")
        refused(cli("import", bad, "--into", sweep), "none of its 1 trials lies in the sweep's space", why)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("val_auc,lr,n,opt\n", "a header, but no trials"),
        ("val_auc,a,b\n0.5,1,2\n", "none of the sweep's parameters"),
        ("val_auc,lr,opt\n0.5,0.01,adam\n", "no value for parameter 'n'; --map PARAMETER=COLUMN"),
        (
            "trial,val_auc,lr,n,opt\n0,0.5,0.01,1,adam\n0,0.5,0.02,1,adam\n",
            "the number 0 appears 2 times in column 'trial'",
        ),
        ("state,val_auc,lr,n,opt\nFAIL,,0.01,1,adam\nRUNNING,0.3,0.01,1,adam\n", "1 failed, 1 running"),
        ("val_auc,lr,n,opt\nnan,0.01,1,adam\n", "is empty: no trial has a value"),
        ("val_auc,lr,n,opt\n0.5,0.01\n", "row 2 has 2 fields"),
        ("val_auc,lr,lr,n,opt\n0.5,0.01,1,1,adam\n", "lr"),
        ("\0\0\1\2", "zero"),
    ],
)
def test_bad_files_leave_nothing(cli: Cli, tmp_path: Path, root: Path, sweep: Path, text: str, says: str) -> None:
    refused(cli("import", file(tmp_path, text), "--into", sweep), says)
    assert not any(root.iterdir())


def test_what_makes_no_sense_is_refused(cli: Cli, tmp_path: Path, root: Path, sweep: Path) -> None:
    runs = file(tmp_path)
    assert cli("import", runs).code == 2
    assert cli("import", "--into", sweep).code == 2
    refused(cli("import", tmp_path / "absent.csv", "--into", sweep), "no file")
    refused(cli("import", "nothing", "--into", sweep), "no file")
    refused(cli("import", sweep, "--into", sweep), "is a sweep file, which has no trials")
    refused(cli("import", runs, "--into", tmp_path / "no.toml"), "no sweep file")
    refused(cli("import", runs, "--into", sweep, "--name", "new"), "does not import itself")
    refused(cli("import", runs, "--into", sweep, "--budget", "2M"), "no [[budget]]", "there is none")
    refused(cli("import", runs, "--into", sweep, "--map", "lr"), "is not NAME=COLUMN")
    for name in ("../x", "a/b", "12", "", "x.toml", "-rf", "UPPER", "a b", "\x1b[31m"):
        refused(cli("import", runs, "--into", sweep, "--name", name), "cannot be a study's name")
    (root / "runs").mkdir()
    refused(cli("import", runs, "--into", sweep), "already exists")
    assert [path.name for path in root.iterdir()] == ["runs"]


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("Läufe vom 3. Mai.csv", "l-ufe-vom-3.-mai"),
        ("123.csv", "import-123"),
        ("日本.csv", "import"),
        ("x.toml.csv", "x"),
        ("--into.csv", "into"),
        ("a#b.csv", "a-b"),
        ("x" * 200 + ".csv", "x" * 80),
    ],
)
def test_a_name_is_made_of_any_files(cli: Cli, tmp_path: Path, root: Path, sweep: Path, name: str, made: str) -> None:
    done = cli("import", "--into", sweep, "--", file(tmp_path, name=name))
    assert done.out == f'import = ["{made}"]\n', done.err
    assert "3 of 3" in cli("status", made).out


def test_hostile_texts_stay_texts(cli: Cli, tmp_path: Path, root: Path) -> None:
    odd = "<script>alert(1)</script>"
    path = sweep_file(tmp_path, **{'"adam", "sgd"': f'"{odd}", "sgd"'})
    text = "val_auc,lr,n,opt,momentum,name,set,note,hpo:replicates,<b>\n"
    text += f'0.5,0.01,1,{odd},,1-3,"a\nb","x\x1b[31m",0.5,0.25\n0.6,0.01,2,{odd},,good,s,fine,0.5,0.25\n'
    assert cli("import", file(tmp_path, text), "--into", path, "--params", "lr,n,opt").code == 0
    first, second = rows(cli("collect", "runs", "--format", "csv"))
    assert (first["name"], first["set"], first["note"], first["params_opt"]) == ("", "", "", odd)
    assert (second["name"], second["set"], second["note"]) == ("good", "s", "fine")
    assert second["user_attrs_<b>"] == "0.25"
    assert "hpo:replicates" not in state_of(home_of(root, "runs")).trials[0].user_attrs
    assert "good" in cli("explain", "runs", "good").out


def test_budgets(cli: Cli, tmp_path: Path, root: Path) -> None:
    budgets = '[[budget]]\nname = "2M"\nspace = { epochs = 5 }\n[[budget]]\nname = "20M"\nspace = { epochs = 30 }\n'
    path = sweep_file(tmp_path, more=budgets)
    text = CSV.replace("note\n", "budget\n").replace("first", "2M").replace(",5,\n", ",5,2M\n")
    runs = file(tmp_path, text.replace(",6,\n", ",6,20M\n"))
    refused(cli("import", runs, "--into", path), "choose one for the trials with --budget NAME (2M, 20M)")
    refused(cli("import", runs, "--into", path, "--budget", "2m"), "there are 2M, 20M")
    done = cli("import", runs, "--into", path, "--budget", "2M")
    assert done.out == 'study.import = ["runs"]\n', done.err
    assert "the [[budget]] '2M'" in done.err
    assert "1 of budget 20M" in done.err
    assert [r["params_epochs"] for r in rows(cli("collect", "runs", "--format", "csv"))] == ["5", "5"]
    labelled = file(tmp_path, CSV, "runs_20m.csv")
    assert "its name says budget 20M" in cli("import", labelled, "--into", path, "--budget", "2M", "-n").err
    assert "its name says budget" not in cli("import", labelled, "--into", path, "--budget", "20M", "-n").err
    named = sweep_file(tmp_path, more=budgets.replace('"2M"\n', '"2M"\n' + done.out))
    checked = cli("check", named)
    assert checked.code == 0, checked.err
    assert "finished trials of 'runs' fit" in checked.out
    alike = sweep_file(tmp_path, more='[[budget]]\nname = "a"\n[[budget]]\nname = "b"\nsampler = { seed = 2 }\n')
    assert cli("import", runs, "--into", alike, "--name", "all").out == 'import = ["all"]\n'


def test_a_lost_journal_is_made_again(cli: Cli, tmp_path: Path, root: Path, sweep: Path) -> None:
    cli("import", file(tmp_path), "--into", sweep)
    home = home_of(root, "runs")
    before, export = home.journal.read_bytes(), cli("collect", "runs", "--format", "csv").out
    home.journal.write_bytes(before[: len(before) // 2] + b"garbage\n")
    assert cli("doctor", "runs").code == 4
    assert cli("doctor", "runs", "--rebuild").code == 0
    assert cli("collect", "runs", "--format", "csv").out == export
    home.journal.unlink()
    rebuilt = cli("doctor", "runs", "--rebuild")
    assert "3 of 3 finished" in rebuilt.out
    assert cli("collect", "runs", "--format", "csv").out == export
    assert "imported: trial 7 of runs.csv" in cli("explain", "runs", 2).out
    (home.path / "adopted.jsonl").write_bytes(b"torn")
    home.journal.unlink()
    assert cli("doctor", "runs", "--rebuild").code == 4


def test_killed_at_any_moment_it_is_done_again(cli: Cli, tmp_path: Path, root: Path, sweep: Path) -> None:
    lines = "".join(f"{i},{0.5 + i / 1e4},{1e-5 * (i + 1)},{i % 3 + 1},adam\n" for i in range(2000))
    runs = file(tmp_path, "trial,val_auc,lr,n,opt\n" + lines)
    nothing = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = start("import", runs, "--into", sweep, "--root", root, **nothing)
    while process.poll() is None and not any(root.iterdir()):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for folder in root.iterdir():  # whatever it has left is no study
        assert folder.name.startswith(".runs.") or (folder / "journal.jsonl").exists()
    listed = cli("list").out
    assert listed.strip() == "" or "2000 of 2000" in listed
    for folder in root.glob(".runs.*"):
        (folder / "journal.jsonl").write_text("")  # the worst moment
        old = time.time() - 7200
        os.utime(folder, (old, old))
    assert "." not in cli("list").out or "2000 of 2000" in listed
    shutil.rmtree(root / "runs", ignore_errors=True)
    done = cli("import", runs, "--into", sweep)
    assert done.code == 0, done.err
    assert [path.name for path in root.iterdir()] == ["runs"]
    assert "2000 of 2000" in cli("list").out


def test_a_url_names_the_study_without_its_password(cli: Cli, sweep: Path) -> None:
    from hpo_batch.sources.import_trials import name_for
    from hpo_batch.sources.place import label_of

    for url, label in (
        ("postgresql://me:secret@host/hpo?password=secret", "hpo"),
        ("postgresql://me:secret@host", "host"),
        ("postgresql://me:secret@host/hpo#best one", "hpo#best one"),
    ):
        assert label_of(url) == label
        assert "secret" not in name_for(url)
    assert cli("import", "sqlite:////nowhere/x.db", "--into", sweep).code in (2, 4)


def test_a_place_that_cannot_be_written(cli: Cli, tmp_path: Path, sweep: Path) -> None:
    (tmp_path / "in the way").write_text("")
    ended = cli("import", file(tmp_path), "--into", sweep, "--root", tmp_path / "in the way" / "logs")
    refused(ended, "in the way", code=ended.code)
    assert ended.code in (2, 4)


def test_a_shared_sweep_makes_a_shared_study(cli: Cli, tmp_path: Path, root: Path) -> None:
    assert cli("import", file(tmp_path), "--into", sweep_file(tmp_path, "shared = true")).code == 0
    home = home_of(root, "runs")
    assert home.path.stat().st_mode & 0o7777 == 0o2770
    assert {path.stat().st_mode & 0o777 for path in home.path.iterdir() if path.is_file()} == {0o660}


def test_numbers_as_spreadsheets_write_them(cli: Cli, tmp_path: Path, sweep: Path) -> None:
    text = "﻿val_auc;lr;n;opt\n0,75;0,01;2.0;adam\n0,5;0,02;3;adam\n"
    assert cli("import", file(tmp_path, text), "--into", sweep).code == 0
    found = rows(cli("collect", "runs", "--format", "csv"))
    assert [(r["value"], r["params_lr"], r["params_n"]) for r in found] == [("0.75", "0.01", "2"), ("0.5", "0.02", "3")]
    frame = pd.DataFrame({"val_auc": [0.5], "lr": [0.01], "n": [float("nan")], "opt": ["adam"]})
    frame.loc[1] = [0.6, 0.02, 2.0, "adam"]
    frame.to_parquet(tmp_path / "frame.parquet")
    done = cli("import", tmp_path / "frame.parquet", "--into", sweep)
    assert "1 of 2 trials taken; left out: 1 not in the space (most often: no value for parameter 'n')" in done.err
