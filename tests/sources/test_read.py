"""Trials from anywhere: what each kind of source gives, what is assumed is told, what is wrong is refused in words."""

from __future__ import annotations

import json
import math
import sqlite3
from pathlib import Path

import optuna
import pandas as pd
import pytest

from hpo_batch.errors import HpoBatchError, StorageError, UserError
from hpo_batch.sources.columns import Columns
from hpo_batch.sources.read import read_tables
from hpo_batch.space.parameters import Choices, Fixed, Integer, Real
from tests.conftest import SHARED
from tests.data.make_reference import REFERENCE
from tests.sources.conftest import Read, told

HEADER = "trial,state,value,lr,n_layers,kind"
ROWS = "0,COMPLETE,0.5,1e-05,2,a\n1,COMPLETE,0.75,0.1,4,b\n2,FAIL,,0.1,2,b\n3,PRUNED,0.25,0.1,2,a\n"


def test_a_csv_with_what_it_leaves_open(read: Read) -> None:
    table = read(f"{HEADER}\n{ROWS}")
    assert table.parameters == ("lr", "n_layers", "kind")
    assert table.directions == ("maximize",)
    assert "maximize is assumed, since its name does not tell" in told(table)
    assert "space inferred" in told(table)
    assert list(table.trials["params_n_layers"]) == [2, 4, 2, 2]
    assert list(table.trials["state"]) == ["COMPLETE", "COMPLETE", "FAIL", "PRUNED"]
    assert (table.counts.complete, table.counts.failed, table.counts.pruned, table.counts.target) == (2, 1, 1, 4)
    assert math.isnan(table.trials["value"][2])
    assert table.space is not None
    assert table.space_is_inferred
    assert isinstance(table.space.by_name["n_layers"], Choices)
    assert (table.label, len(table.attempts), table.seeds) == ("trials", 0, {})


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + f"{HEADER}\n{ROWS}".encode(),
        f"{HEADER}\n{ROWS}".replace(",", ";").replace("\n", "\r\n").encode(),
        f"{HEADER}\n{ROWS}".replace(",", ";").replace(".", ",").encode(),
        f"{HEADER}\n{ROWS}".replace(",", "\t").encode(),
        f"{HEADER}\n{ROWS}".encode("utf-16"),
        f"{HEADER}\n\n{ROWS}\n\n".encode(),
        f"{HEADER},note\n{ROWS}".replace(",a\n", ',a,"two\nlines"\n').replace(",b\n", ',b,"say ""x"", y"\n').encode(),
    ],
    ids=["byte order mark", "semicolons", "decimal commas", "tabs", "utf-16", "blank lines", "quoted newlines"],
)
def test_the_same_table_in_other_spellings(read: Read, content: bytes) -> None:
    expected = read(f"{HEADER}\n{ROWS}").trials
    table = read(content)
    shared = ["number", "value", "params_lr", "params_n_layers", "params_kind", "state"]
    pd.testing.assert_frame_equal(table.trials[shared], expected[shared])
    if b"two" in content:
        assert table.trials["note"][0] == "two\nlines"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (f"{HEADER}\n", "a header, but no trials"),
        ("trial,value,lr,lr\n0,1,2,3\n", "column 'lr' 2 times (columns 3, 4)"),
        ("trial,value,,lr\n0,1,2,3\n", "column 3 has no name"),
        ("trial,value,lr\n0,1\n", "row 2 has 2 fields, its header 3: was it cut off"),
        ("trial,value,lr\n0,1,2,3\n1,1,2\n", "an extra delimiter"),
        ("trial,lr\n0,0.1\n1,0.2\n", "no column 'value'"),
        (
            "trial,val_auc,val_f1,lr\n0,.1,.2,3\n",
            "choose the objective with --value COLUMN (measurements there: val_auc, val_f1)",
        ),
        ("trial,value,lr\n0,,0.1\n1,,0.2\n", "'value' is empty"),
        ("trial,value,lr\n0,good,0.1\n1,bad,0.2\n", "'good' is not a number"),
        ("trial,value,lr\n7,1,0.1\n7,2,0.2\n", "the number 7 appears 2 times in column 'trial'"),
        ("trial,state,value,lr\n0,DONE?,1,2\n", "row 1 has the unknown state 'DONE?'"),
        ("trial;value;n\n0;1;1,024\n1;2;2,048\n", "may be 1024 or 1.024"),
        (b"\x89PNG\r\n\x1a\n\0\0", "zero bytes"),
        (b"PAR1 and nothing more", "cannot be read as Parquet"),
        ("[1, 2]", "not a list of trials"),
        ('{"a": 1}', "not a table"),
        ('[{"value": 1', "cannot be read as JSON"),
    ],
)
def test_what_is_wrong_is_told(read: Read, content: str | bytes, says: str) -> None:
    with pytest.raises(UserError) as caught:
        read(content)
    assert says in str(caught.value)
    assert "trials.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"value": ("val",)}, "no column 'val'; did you mean 'value'?"),
        ({"params": ("learning",)}, "no column 'learning'"),
        ({"ignore": ("x",)}, "no column 'x'; there are"),
        ({"mapping": {"lr": "rate"}}, "--map lr=rate"),
        ({"directions": ("up",)}, "'up' is neither maximize nor minimize"),
        ({"directions": ("maximize", "minimize")}, "2 directions for 1 metrics"),
    ],
)
def test_wrong_columns_are_told(read: Read, options: dict[str, object], says: str) -> None:
    with pytest.raises(UserError) as caught:
        read(f"{HEADER}\n{ROWS}", **options)
    assert says in str(caught.value)


def test_columns_as_the_user_says(read: Read) -> None:
    text = "id,rate,alpha,my_score,junk,junk\n1,0.1,3,0.5,x,y\n2,0.2,4,0.6,x,y\n"
    table = read(
        text, mapping={"lr": "rate"}, value=("my_score",), directions=("min",), params=("rate",), ignore=("junk",)
    )
    assert table.parameters == ("lr",)
    assert table.directions == ("minimize",)
    assert list(table.trials["number"]) == [1, 2]
    assert list(table.trials["user_attrs_alpha"]) == [3, 4]


def test_values_that_are_no_numbers_are_counted_not_guessed(read: Read) -> None:
    table = read(
        "trial,state,value,lr\n0,COMPLETE,nan,1\n1,COMPLETE,inf,2\n2,COMPLETE,-inf,3\n3,FAIL,0.5,4\n4,ok,1,5\n"
    )
    assert "2 complete trials with an infinite value" in told(table)
    assert "1 complete trial without a value" in told(table)
    assert "1 failed trial with a value" in told(table)
    assert math.isnan(table.trials["value"][3])
    assert list(table.trials["state"]) == ["COMPLETE"] * 3 + ["FAIL", "COMPLETE"]


def test_rows_without_a_state_or_a_number(read: Read) -> None:
    table = read("lr,auc\n0.1,0.5\n0.2,\n0.3,0.7\n")
    assert list(table.trials["state"]) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert "1 row without a value: counted as failed" in told(table)
    assert "rows are numbered from 0" in told(table)


def test_several_studies_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "both.csv"
    path.write_text("study,budget,trial,value,lr\na,2M,0,1,1\na,20M,0,2,1\nb,2M,0,3,2\n")
    tables = read_tables([str(path)], root=tmp_path)
    assert [(t.label, t.budget) for t in tables] == [("a/2M", "2M"), ("a/20M", "20M"), ("b/2M", "2M")]
    again = read_tables([str(path), str(path)], root=tmp_path)
    assert len({t.label for t in again}) == 6


def test_json_in_all_its_shapes_and_parquet(read: Read, tmp_path: Path) -> None:
    rows = [
        {"number": 0, "value": 0.5, "params": {"lr": 0.1, "kind": "a"}, "metrics": {"f1": 0.25}},
        {"number": 1, "value": 0.75, "params": {"lr": 0.2, "kind": "b"}, "metrics": {"f1": 0.5}},
    ]
    columns = {"number": [0, 1], "value": [0.5, 0.75], "params_lr": [0.1, 0.2], "params_kind": ["a", "b"]}
    pd.DataFrame(columns).to_parquet(tmp_path / "p.parquet")
    contents = [
        (json.dumps(rows), "t.json"),
        ("\n".join(map(json.dumps, rows)), "t.jsonl"),
        (json.dumps({"trials": rows}), "t.json"),
        (json.dumps(columns), "t.json"),
        ((tmp_path / "p.parquet").read_bytes(), "t.parquet"),
    ]
    for content, name in contents:
        table = read(content, name=name)
        assert table.parameters == ("lr", "kind")
        assert list(table.trials["value"]) == [0.5, 0.75]


def test_our_own_files_come_back(read: Read, tmp_path: Path) -> None:
    from hpo_batch.results.formats import render

    table = read(f"{HEADER}\n{ROWS}")
    for format in ("csv", "json", "parquet"):
        again = read(render(table.trials, format), name=f"again.{format}")
        assert again.parameters == table.parameters
        assert again.counts == table.counts
        assert list(again.trials["value"].dropna()) == list(table.trials["value"].dropna())
        assert list(again.trials["params_kind"]) == list(table.trials["params_kind"])


SWEEP = """
[study]
name = "s"
metric = "auc"
direction = "minimize"
trials = 10
[objective]
function = "a:b"
[space]
lr = { low = 1e-6, high = 1.0, log = true }
n = [1, 2, 4, 8]
[baseline]
lr = 0.1
n = 2
"""


def test_a_sweep_tells_space_direction_and_metric(read: Read, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SWEEP)
    text = "trial,auc,loss,lr,n,other\n0,0.5,1,0.1,1.0,7\n1,0.6,2,0.2,2.0,8\n"
    table = read(text, sweep=tmp_path / "s.toml")
    assert (table.metrics, table.directions, table.parameters) == (("auc",), ("minimize",), ("lr", "n"))
    assert not table.space_is_inferred
    assert table.baseline == {"lr": 0.1, "n": 2}
    assert list(table.trials["params_n"]) == [1, 2]
    with pytest.raises(UserError, match="none of the sweep's parameters"):
        read("trial,auc,a,b\n0,0.5,1,2\n", sweep=tmp_path / "s.toml")


def storage(path: Path, *, studies: int = 1) -> str:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{path}"
    for i in range(studies):
        sampler = optuna.samplers.RandomSampler(0)
        study = optuna.create_study(study_name=f"s{i}", storage=url, direction="maximize", sampler=sampler)

        def objective(trial: optuna.Trial) -> float:
            x = trial.suggest_float("x", 1e-3, 1.0, log=True)
            trial.suggest_categorical("kind", ["a", "b"])
            trial.suggest_int("n", 2, 8, step=2)
            trial.report(0.5, 3)
            trial.set_user_attr("f1", 0.25)
            if trial.number == 2:
                raise ValueError("no")
            return x

        study.optimize(objective, n_trials=4, catch=ValueError)
    return url


def test_optunas_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "a b.db"
    url = storage(path, studies=2)
    before = path.read_bytes()
    path.chmod(0o444)
    for source in (str(path), url):
        tables = read_tables([source], root=tmp_path)
        assert [t.label for t in tables] == ["s0", "s1"]
    (table,) = read_tables([f"{path}#s1"], root=tmp_path)
    frame = optuna.load_study(study_name="s1", storage=url).trials_dataframe()
    assert list(table.trials["value"].dropna()) == list(frame["value"].dropna())
    assert list(table.trials["params_n"]) == list(frame["params_n"])
    assert list(table.trials["state"]) == list(frame["state"])
    assert list(table.trials["user_attrs_f1"]) == [0.25] * 4
    assert table.reports.to_dict("list") == {"number": [0, 1, 2, 3], "step": [3] * 4, "value": [0.5] * 4}
    space = table.space
    assert space is not None
    assert space.by_name["x"] == Real(name="x", low=1e-3, high=1.0, log=True)
    assert space.by_name["n"] == Integer(name="n", low=2, high=8, step=2)
    assert path.read_bytes() == before
    with pytest.raises(UserError, match="no study 's9'"):
        read_tables([f"{path}#s9"], root=tmp_path)


def test_databases_that_are_not_this_optunas(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("create table t (a int)")
    connection.close()
    with pytest.raises(StorageError, match="not an Optuna storage"):
        read_tables([str(other)], root=tmp_path)
    old = tmp_path / "old.db"
    storage(old)
    with sqlite3.connect(old) as connection:
        connection.execute("update alembic_version set version_num = 'v0.9.0.a'")
        connection.execute("update version_info set schema_version = 1, library_version = '0.9.0'")
    connection.close()
    with pytest.raises(StorageError, match="another version of Optuna"):
        read_tables([str(old)], root=tmp_path)
    torn = tmp_path / "torn.db"
    torn.write_bytes(old.read_bytes()[:5000])
    with pytest.raises(StorageError):
        read_tables([str(torn)], root=tmp_path)
    with pytest.raises(UserError, match="no Optuna storage"):
        read_tables([f"sqlite:///{tmp_path}/absent.db"], root=tmp_path)
    assert not (tmp_path / "absent.db").exists()


def test_a_plain_journal_also_while_it_is_written(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = tmp_path / "plain.log"
    journal = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    study = optuna.create_study(study_name="one", storage=journal, direction="minimize")
    study.optimize(lambda t: t.suggest_float("x", 0, 1) + t.suggest_categorical("k", [1, 2]), n_trials=3)
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "worker_id": "x", "stu')
    (table,) = read_tables([str(path)], root=tmp_path)
    assert (table.label, table.directions, len(table.trials)) == ("one", ("minimize",), 3)
    assert table.space is not None
    assert table.space.by_name["x"] == Real(name="x", low=0.0, high=1.0)
    assert list(table.trials["params_x"]) == [t.params["x"] for t in study.trials]
    _whole(path)
    optuna.create_study(study_name="two", storage=journal)
    assert [t.label for t in read_tables([str(path)], root=tmp_path)] == ["one", "two"]


def _whole(path: Path) -> None:
    path.write_bytes(path.read_bytes().rpartition(b"\n")[0] + b"\n")


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    for source in ("absent.csv", "absent", str(tmp_path / "x.db"), "absent.toml"):
        with pytest.raises(HpoBatchError) as caught:
            read_tables([source], root=tmp_path)
        assert "absent" in str(caught.value) or "x.db" in str(caught.value)


def test_ten_thousand_choices_and_long_names(read: Read) -> None:
    name = "länge" * 60
    rows = "\n".join(f"{i},{i / 7},choice {i % 5000}" for i in range(10_000))
    table = read(f"trial,value,{name}\n{rows}\n")
    assert table.parameters == (name,)
    assert table.space is not None
    assert isinstance(table.space.by_name[name], Choices)
    assert len(told(table)) < 2000


@pytest.mark.parametrize("reference", [REFERENCE, SHARED / "reference"], ids=["ours", "shared"])
def test_the_reference_files_as_they_are(reference: Path, tmp_path: Path) -> None:
    if not reference.is_dir():
        pytest.skip(f"an additional check, of what is in {reference}")
    spaces = json.loads((reference / "fints_studies.json").read_text())
    names = ("d_model", "n_layers", "n_heads", "d_ff_ratio", "learning_rate", "dropout", "weight_decay")
    for file, facts in spaces.items():
        (table,) = read_tables([str(reference / file)], root=tmp_path)
        assert table.parameters == names, file
        assert table.budget == facts["budget"].upper() or "twophase" in file  # recorded wrongly there
        assert (table.counts.complete, table.directions) == (50, ("maximize",))
        assert table.space is not None
        for name, values in facts["search_space"].items():
            seen = table.space.by_name[name]
            found = (seen.value,) if isinstance(seen, Fixed) else seen.cells
            assert found is not None
            assert set(found) <= set(values), (file, name)
        assert float(table.trials["value"].max()) == pytest.approx(facts["best_value"], abs=1e-12)
    experiments = str(reference / "gainakt4_phase1_26_experiments.csv")
    with pytest.raises(UserError, match="--value COLUMN"):
        read_tables([experiments], root=tmp_path)
    (table,) = read_tables([experiments], root=tmp_path, columns=Columns(value=("test_auc",)))
    assert table.parameters == ("learning_rate", "d_model", "n_heads", "d_ff", "dropout", "num_encoder_blocks")
    assert table.trials["number"][0] == 631733
    assert table.trials["value"].mean() == pytest.approx(pd.read_csv(experiments)["test_auc"].mean(), abs=1e-12)
    assert table.trials["user_attrs_checkpoint_epoch"][0] == 2
    models = read_tables(
        [str(reference / "fints_topmodels_a50.csv")], root=tmp_path, columns=Columns(value=("val_auc",))
    )
    assert [(t.budget, t.parameters == names) for t in models] == [("2M", True), ("20M", True), ("200M", True)]
    assert "user_attrs_val_pred_min" in models[0].trials
