"""A table as rows for a sweep: times, numbers, names as they are, and nothing that the table does not tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.errors import UserError
from hpo_batch.sources.columns import Columns
from hpo_batch.sources.read import read_for_sweep
from hpo_batch.sources.rows import Rows, rows_of
from hpo_batch.sweep.schema import Sweep
from tests.study.helpers import Text, sweep_of

HEADER = "trial,state,loss,x,n,started,ended,duration_sec,seed,name,note,steps_done\n"


def read(tmp_path: Path, text: str, *, text_of_sweep: Text | None = None, **given: object) -> tuple[Rows, Sweep]:
    sweep = sweep_of(tmp_path, text_of_sweep or Text())
    path = tmp_path / "runs.csv"
    path.write_text(text)
    columns = Columns(**given)  # type: ignore[arg-type]
    used = Columns(mapping=columns.mapping, value=columns.value)
    (table,) = read_for_sweep(str(path), sweep, used, root=tmp_path)
    return rows_of(table, sweep, columns, file=2), sweep


def test_what_a_row_has(tmp_path: Path) -> None:
    lines = (
        "10,COMPLETE,0.5,0.25,1,2026-03-01T10:00:00+00:00,2026-03-01T11:00:00+00:00,3600,7,good,fine,12\n"
        "11,COMPLETE,0.5,0.25,1,2026-03-01T10:00:00+00:00,,60,,twice,,\n"
        "12,COMPLETE,0.5,0.25,1,,2026-03-01T10:00:00+00:00,60,,twice,,12.5\n"
        "13,COMPLETE,0.5,0.25,1,,,60,8,1-3,,\n"
        "14,PRUNED,0.5,0.25,1,,,60,,,,\n15,FAIL,0.5,0.25,1,,,60,,,,\n16,RUNNING,,0.25,1,,,60,,,,\n"
        "17,COMPLETE,inf,0.25,1,,,60,,,,\n18,COMPLETE,,0.25,1,,,60,,,,\n"
    )
    found, _ = read(tmp_path, HEADER + lines)
    first, *rest = found.rows
    assert (first.file, first.number, first.values, first.seed, first.name, first.note) == (
        2, 10, (0.5,), 7, "good", "fine",
    )  # fmt: skip
    assert first.params == {"x": 0.25, "n": 1}
    assert first.metrics == {"loss": 0.5, "steps_done": 12.0}
    assert first.started is not None
    assert first.ended == first.started + 3600
    assert rest[0].ended == pytest.approx(first.started + 60)
    assert rest[1].started == pytest.approx(first.started - 60)
    assert (rest[2].started, rest[2].ended) == (None, None)
    assert [row.name for row in rest] == [None] * 3  # two of one name, and one that would be a range
    assert dict(found.left_out) == {"pruned": 1, "failed": 1, "running": 1, "without a finite value": 2}
    assert (found.notes, found.columns) == ((), {})


def test_renamed_columns_are_told(tmp_path: Path) -> None:
    text = "judged,rate,n\n0.5,0.25,1\n"
    found, _ = read(tmp_path, text, mapping={"x": "rate"}, value=("judged",))
    assert found.columns == {"x": "rate", "loss": "judged"}
    assert found.notes == ("the values of 'judged' are used for 'loss'",)
    assert found.rows[0].metrics == {"loss": 0.5}


def test_a_name_that_tells_another_direction_is_refused(tmp_path: Path) -> None:
    text = "test_auc,x,n\n0.5,0.25,1\n"
    with pytest.raises(UserError, match="'test_auc': its name suggests maximize, but the sweep says minimize"):
        read(tmp_path, text)
    found, _ = read(tmp_path, text, directions=("min",))
    assert found.rows[0].values == (0.5,)
    named = Text(metric='metric = "test_auc"\ndirection = "minimize"')  # the sweep says so itself
    assert read(tmp_path, text, text_of_sweep=named)[0].rows[0].values == (0.5,)
