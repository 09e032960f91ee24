"""What other tools and spreadsheets write: read as it was meant, or refused in words; nothing is guessed."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hpo_batch.errors import UserError
from hpo_batch.results.formats import render
from hpo_batch.results.top import grouped
from hpo_batch.sources.read import read_tables
from hpo_batch.space.parameters import Choices, Integer, Real
from hpo_batch.text.lines import printable
from tests.sources.conftest import Read, told


def frame(n: int = 6) -> pd.DataFrame:
    return pd.DataFrame(
        {"lr": [10.0 ** -(1 + i % 3) for i in range(n)], "opt": ["a", "b"] * (n // 2), "value": np.arange(n) / 8}
    )


def test_the_index_that_pandas_writes_is_no_parameter(read: Read) -> None:
    assert read(frame().to_csv()).parameters == ("lr", "opt")


@pytest.mark.parametrize("orient", ["records", "columns", "split", "list"])
def test_pandas_own_json(read: Read, orient: str) -> None:
    content = json.dumps(frame().to_dict("list")) if orient == "list" else frame().to_json(orient=orient)  # type: ignore[call-overload]
    table = read(content, "trials.json")
    assert table.parameters == ("lr", "opt")
    assert table.trials["value"].tolist() == frame()["value"].tolist()


def test_objects_in_objects_of_json_are_columns(read: Read) -> None:
    rows = [{"config": {"model": {"d": i, "kind": {"name": "x" if i % 2 else "y"}}}, "value": i / 4} for i in range(4)]
    table = read(json.dumps(rows), "trials.json")
    assert table.parameters == ("model.d", "model.kind.name")
    assert table.trials["params_model.d"].tolist() == [0, 1, 2, 3]


def test_lists_and_named_indexes_of_parquet(read: Read) -> None:
    buffer = io.BytesIO()
    frame().assign(shape=[[1, 2]] * 6).set_index("opt").to_parquet(buffer)
    table = read(buffer.getvalue(), "trials.parquet")
    assert table.parameters == ("opt", "lr")
    assert table.trials["user_attrs_shape"].tolist() == ["[1, 2]"] * 6


def test_whole_numbers_that_no_float_tells_apart_stay_apart(read: Read) -> None:
    rows = "".join(f"{2**63 + i % 3},{i}\n" for i in range(9))
    table = read(f"big,value\n{rows}")
    assert set(table.trials["params_big"]) == {str(2**63 + i) for i in range(3)}
    again = read(json.dumps([{"big": 2**63 + i % 3, "value": i} for i in range(9)]), "trials.json")
    assert again.trials["params_big"].tolist() == table.trials["params_big"].tolist()


def test_optuna_dashboards_export(read: Read) -> None:
    table = read(
        "Number,State,Value,Param lr,Param kind,UserAttribute node\n0,COMPLETE,0.5,0.1,a,n1\n1,FAIL,,0.2,b,n2\n"
        "2,PRUNED,0.4,0.1,b,n1\n3,COMPLETE,0.6,0.3,a,n1\n"
    )
    assert table.parameters == ("lr", "kind")
    assert table.trials["value"].dropna().tolist() == [0.5, 0.4, 0.6]
    assert "optuna-dashboard" in told(table)


def test_an_export_of_mlflow(read: Read) -> None:
    rows = "".join(f"{i:032x},7,FINISHED,0.{i + 1},0.{9 - i},user\n" for i in range(5))
    table = read(f"run_id,experiment_id,status,metrics.auc,params.lr,tags.mlflow.user\n{rows}")
    assert (table.parameters, table.metrics) == (("lr",), ("auc",))
    assert table.trials["number"].tolist() == [0, 1, 2, 3, 4]
    assert "'experiment_id' is the same in all rows" in told(table)


def test_a_trial_without_a_number_makes_no_parameter_of_the_others(read: Read) -> None:
    table = read("trial,lr,value\n0,0.1,1\n,0.2,2\n2,0.3,3\n")
    assert table.parameters == ("lr",)
    assert table.trials["number"].tolist() == [0, 1, 2]
    assert "1 row without a number in 'trial'" in told(table)


def test_parameters_without_a_value_or_with_an_infinite_one_are_told(read: Read) -> None:
    table = read("lr,decay,value\n0.1,,1\ninf,0.1,2\n0.3,0.2,3\n0.4,0.3,4\n")
    assert "treated as inactive: decay in 1 of 4 rows" in told(table)
    assert "infinite values of parameters are treated as missing: lr in 1 of 4 rows" in told(table)


def test_the_separator_that_a_spreadsheet_asks_for(read: Read) -> None:
    assert read("sep=;\nlr;value\n0,1;1\n0,2;2\n").trials["params_lr"].tolist() == [0.1, 0.2]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("lr;units;value\n0,1;1.024;1\n0,2;2.048;2\n", "'1.024' may be 1.024 or 1024"),
        (gzip.compress(b"lr,value\n1,2\n", mtime=0), "compressed by gzip"),
        (b"PK\x03\x04...", "a zip archive or a spreadsheet"),
        ("lr,state,val_auc\n1,FAIL,\n2,FAIL,\n", "empty columns ignored: val_auc"),
        ('{"study": {"trials": [{"value": 1}]}}', "not a table"),
    ],
)
def test_what_is_wrong_is_told(read: Read, content: str | bytes, says: str) -> None:
    with pytest.raises(UserError) as caught:
        read(content)
    assert says in str(caught.value)


def test_folders_and_pipes_are_no_files(tmp_path: Path) -> None:
    folder = tmp_path / "runs.csv"
    folder.mkdir()
    with pytest.raises(UserError, match="contains neither a study"):
        read_tables([str(folder)], root=tmp_path / "logs")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="save it to a file first"):
        read_tables([str(tmp_path / "pipe")], root=tmp_path / "logs")


def test_a_range_is_logarithmic_only_if_it_was_drawn_so(read: Read) -> None:
    random = np.random.default_rng(1)
    even, decades = random.random(100), 10 ** random.uniform(-5, -1, 100)
    even[0] = 0.004  # the least of a hundred even draws
    table = read(pd.DataFrame({"a": even, "b": decades, "value": even}).to_csv(index=False))
    assert table.space is not None
    a, b = table.space.by_name["a"], table.space.by_name["b"]
    assert isinstance(a, Real)
    assert isinstance(b, Real)
    assert (a.log, b.log) == (False, True)


def test_replicates_make_no_choices_of_what_was_drawn_from_a_range(read: Read) -> None:
    rows = [(round(0.1 + 0.07 * i, 3), (16, 32)[i % 2], seed, i) for i in range(8) for seed in (0, 1, 2)]
    table = read("lr,width,seed,value\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    assert table.space is not None
    assert isinstance(table.space.by_name["lr"], Real | Integer)
    assert isinstance(table.space.by_name["width"], Choices)


def test_moments_of_huge_values_do_not_overflow(read: Read) -> None:
    table = read("kind,value\n" + "".join(f"{'ab'[i % 2]},{(-1) ** (i // 2) * 1e300}\n" for i in range(8)))
    groups = grouped(table, table.trials, "kind")
    assert groups["mean"].tolist() == [0.0, 0.0]
    assert all(math.isfinite(std) for std in groups["std"])


def test_nothing_in_a_table_steers_the_terminal() -> None:
    made = render(pd.DataFrame({"a\x1b[31m": ["x\u202ey\x07"]}), "table").decode()
    assert "\x1b" not in made
    assert "\u202e" not in made
    assert printable("plain  \n text") == "plain text"
    assert printable("größe 學") == "größe 學"
