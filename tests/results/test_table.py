"""Tables of trials: every format says the same, hostile names stay text, failed trials have no value."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from hpo_batch.errors import ExpressionError, UserError
from hpo_batch.journal.encode import Writer
from hpo_batch.journal.state import JournalState
from hpo_batch.records import TrialState
from hpo_batch.results.formats import render
from hpo_batch.results.output_format import FORMATS, format_of
from hpo_batch.results.select import filtered, for_people
from hpo_batch.results.table import TrialsTable, trials_table

HOSTILE = 'a|b,"c"\n<script>alert(1)</script> & 50% _x_ é'


def encoded(record: dict[str, object]) -> bytes:
    return json.dumps(record).encode() + b"\n"


@pytest.fixture
def table() -> TrialsTable:
    """Two complete trials, a pruned, a failed and a running one, with a parameter of a hostile name."""
    write = Writer("test")
    categorical = json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": [HOSTILE, "plain"]}})
    integer = json.dumps({"name": "IntDistribution", "attributes": {"low": 1, "high": 9, "step": 1, "log": False}})
    records = [write.create_study("s", ["maximize"]), write.study_attr("hpo:metrics", ["auc"])]
    states = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]
    for i, state in enumerate(states):
        facts = {"seeds": [7 + i], "origin": "tpe", "derived": {"d_ff": 4 * i}, "revision": 1}
        attempt = {"worker": "w-0", "job": "9_0", "host": "n1", "gpus": ["0"], "submission": "abc", "started": 100.0}
        params = {HOSTILE: i % 2, "n_layers": i + 1} if i != 2 else {"n_layers": 3}
        records.append(
            write.create_trial(
                now=100.0, state=TrialState.RUNNING, params=params,
                distributions={HOSTILE: categorical, "n_layers": integer},
                system_attrs={"hpo:trial": facts, "hpo:attempt:1": attempt},
            )
        )  # fmt: skip
        if state is TrialState.RUNNING:
            continue
        records.append(write.trial_attr(i, "hpo:ended:1", {"how": "x", "time": 102.5}))
        records.append(write.metric(i, "loss", 0.25 * i))
        if state is TrialState.FAIL:
            records.append(write.trial_attr(i, "hpo:failure", {"reason": "oom_gpu", "message": "out of\nmemory"}))
        values = (0.5 + i / 10,) if state is not TrialState.FAIL else None
        records.append(write.trial_state(i, state, now=103.0, values=values))
    state = JournalState()
    state.apply(b"".join(map(encoded, records)))
    return trials_table(state, source="s")


def test_columns_are_optunas_and_ours(table: TrialsTable) -> None:
    assert list(table.trials.columns) == [
        "number", "value", "datetime_start", "datetime_complete", "duration", f"params_{HOSTILE}", "params_n_layers",
        "params_d_ff", "user_attrs_loss", "state", "name", "set", "note", "origin", "reason", "message", "seed",
        "attempts", "seconds_total", "node", "gpus", "job", "submission",
    ]  # fmt: skip


def test_a_failed_trial_is_a_row_with_its_reason_and_without_a_value(table: TrialsTable) -> None:
    row = table.trials.iloc[3]
    assert row["state"] == "FAIL"
    assert row["reason"] == "oom_gpu"
    assert pd.isna(row["value"])
    assert row["user_attrs_loss"] == 0.75


def test_integers_stay_integers_beside_empty_cells(table: TrialsTable) -> None:
    text = render(table.trials, "csv").decode()
    assert [row["params_n_layers"] for row in pd.read_csv(io.StringIO(text), dtype=str).to_dict("records")] == list(
        "12345"
    )


def test_best_first(table: TrialsTable) -> None:
    assert list(table.best_first()["number"]) == [1, 0, 2, 3, 4]
    assert list(table.best_first(1)["number"]) == [1]


@pytest.mark.parametrize("format", [f for f in FORMATS if f != "parquet"])
def test_every_text_format_renders_hostile_names(table: TrialsTable, format: str) -> None:
    text = render(for_people(table, table.trials), format).decode()
    assert "0.6" in text
    if format == "md":
        rows = text.splitlines()
        assert len({row.replace("\\|", "").count("|") for row in rows}) == 1  # the name breaks no column
        assert "<script>" not in text
    if format == "latex":
        assert "\\&" in text
        assert "\\%" in text


def test_csv_json_and_parquet_agree(table: TrialsTable, tmp_path: Path) -> None:
    from_csv = pd.read_csv(io.BytesIO(render(table.trials, "csv")))
    from_json = pd.DataFrame(json.loads(render(table.trials, "json")))
    from_parquet = pd.read_parquet(io.BytesIO(render(table.trials, "parquet")))
    for name in ("number", "value", "params_n_layers", "user_attrs_loss", "seconds_total"):
        assert list(from_csv[name].dropna()) == list(from_json[name].dropna()) == list(from_parquet[name].dropna())
    assert list(from_csv.columns) == list(from_json.columns) == list(from_parquet.columns)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("n_layers > 3", [3, 4]),
        ("state == 'FAIL'", [3]),
        ("failed", [3]),
        ("value >= 0.6 and loss < 0.4", [1]),
        ("d_ff in (0, 8)", [0, 2]),
    ],
)
def test_filter(table: TrialsTable, text: str, numbers: list[int]) -> None:
    assert list(filtered(table.trials, text)["number"]) == numbers


def test_filter_of_an_unknown_name_and_of_hostile_code(table: TrialsTable) -> None:
    with pytest.raises(UserError, match="'n_layer' is not a column"):
        filtered(table.trials, "n_layer > 3")
    with pytest.raises(ExpressionError):
        filtered(table.trials, "__import__('os').system('x')")


def test_format_follows_the_suffix() -> None:
    assert format_of(Path("x.csv"), None) == "csv"
    assert format_of(Path("x.csv"), "json") == "json"
    assert format_of(None, None) == "table"
    with pytest.raises(UserError, match="has no known extension"):
        format_of(Path("x.dat"), None)
    with pytest.raises(UserError, match="-o"):
        format_of(None, "parquet")


def test_an_empty_study_has_a_table() -> None:
    state = JournalState()
    state.apply(encoded(Writer("t").create_study("s", ["minimize"])))
    empty = trials_table(state, source="s")
    assert render(empty.trials, "csv").decode().startswith("number,value,")
    assert json.loads(render(empty.trials, "json")) == []
    assert "number" in render(for_people(empty, empty.trials), "table").decode()
