"""Best configurations, groups, filters over many rows, LaTeX, accounting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from hpo_batch.errors import UserError
from hpo_batch.results.accounting import join
from hpo_batch.results.formats import render
from hpo_batch.results.select import check_alike, for_people, joined
from hpo_batch.results.table import TrialsTable, front_of
from hpo_batch.results.top import grouped, top_configurations
from hpo_batch.scheduler.slurm.accounts import parse_sacct
from hpo_batch.scheduler.tasks import ArrayTask
from hpo_batch.sources.read import read_tables

CSV = """trial,state,auc,lr,n
0,COMPLETE,0.5,1e-05,2
1,COMPLETE,0.75,0.1,4
2,COMPLETE,0.75,0.1,4
3,COMPLETE,0.75,0.1,2
4,FAIL,,0.1,8
5,COMPLETE,inf,0.1,9
6,COMPLETE,0.7,0.1,4
7,COMPLETE,0.25,0.2,
8,COMPLETE,0.25,0.2,
"""


@pytest.fixture
def table(tmp_path: Path) -> TrialsTable:
    (tmp_path / "t.csv").write_text(CSV)
    (table,) = read_tables([str(tmp_path / "t.csv")], root=tmp_path)
    return table


def test_a_repeated_configuration_is_one_row_with_its_count(table: TrialsTable) -> None:
    best, tied = top_configurations(table, table.trials, 10)
    rows = best[["rank", "number", "value", "count"]].to_records(index=False).tolist()
    inf = float("inf")  # is what the file says, and stands where it belongs, as it does in Optuna
    assert rows == [(1, 5, inf, 1), (2, 1, 0.75, 3), (2, 3, 0.75, 1), (4, 0, 0.5, 1), (5, 7, 0.25, 2)]
    assert tied == 0
    assert list(for_people(table, best).columns) == ["rank", "number", "auc", "count", "lr", "n", "state"]


def test_ties_with_the_last_row_are_counted(table: TrialsTable) -> None:
    best, tied = top_configurations(table, table.trials, 2)
    assert (best["number"].tolist(), tied) == ([5, 1], 1)
    assert len(top_configurations(table, table.trials.iloc[:0], 3)[0]) == 0
    assert top_configurations(replace(table, directions=("minimize",)), table.trials, 1)[0]["number"].tolist() == [7]


def test_groups(table: TrialsTable) -> None:
    groups = grouped(table, table.trials, "n")
    assert groups["n"].tolist()[:4] == [2, 4, 8, 9]
    assert groups["trials"].tolist() == [2, 3, 1, 1, 2]
    assert groups["failed"].tolist() == [0, 0, 1, 0, 0]
    assert groups["best trial"].tolist()[:2] == [3, 1]
    assert groups["mean"][1] == pytest.approx((0.75 + 0.75 + 0.7) / 3)
    assert pd.isna(groups["best"][2])
    assert pd.isna(groups["best"][3])  # infinite
    with pytest.raises(UserError, match="'depth' is not a column"):
        grouped(table, table.trials, "depth")


def test_studies_are_joined_and_must_be_alike(table: TrialsTable) -> None:
    other = replace(table, label="other", budget="2M")
    both = joined([table, other], [table.trials, other.trials])
    assert both["study"].tolist() == ["t"] * 9 + ["other"] * 9
    assert both["budget"].tolist()[-1] == "2M"
    with pytest.raises(UserError, match=r"t auc \(maximize\); other auc \(minimize\)"):
        check_alike([table, replace(other, directions=("minimize",))], "--group")


def test_latex_is_for_papers(table: TrialsTable) -> None:
    frame = pd.DataFrame({"a_b": [1e-05, -0.5], "x & y": ["50% {~}", "\\^<|>"], "n": [1, 2]})
    assert render(frame, "latex").decode() == (
        "% \\usepackage{booktabs}\n\\begin{tabular}{rlr}\n\\toprule\na\\_b & x \\& y & n \\\\\n\\midrule\n"
        "$10^{-5}$ & 50\\% \\{\\textasciitilde{}\\} & 1 \\\\\n"
        "$-0.5$ & \\textbackslash{}\\textasciicircum{}\\textless{}\\textbar{}\\textgreater{} & 2 \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


def test_an_infinite_value_in_json_is_text(table: TrialsTable) -> None:
    assert '"value": "inf"' in render(table.trials, "json").decode()


def test_the_front_of_several_metrics(tmp_path: Path) -> None:
    assert front_of([[1, 2, None, 2], [1, 2, 9, 1]], ["COMPLETE"] * 4, ("maximize", "minimize")) == [
        False, False, False, True,
    ]  # fmt: skip
    (tmp_path / "m.csv").write_text("trial,values_auc,values_loss,x\n0,1,1,1\n1,2,2,2\n2,2,1,3\n")
    (several,) = read_tables([str(tmp_path / "m.csv")], root=tmp_path)
    assert (several.metrics, several.directions) == (("auc", "loss"), ("maximize", "minimize"))
    assert several.best_first()["number"].tolist() == [2, 1, 0]


def test_accounts_are_joined_to_attempts() -> None:
    text = (
        "9_0|PREEMPTED|0:0|1000|1010|1100|90|60|cpu=1,gres/gpu=2|n1\n"
        "9_0|COMPLETED|0:0|1100|1200|1400|200|60|cpu=1,gres/gpu=2|n2\n"
    )
    rows = parse_sacct(text)
    assert set(rows) == {ArrayTask(job=9, index=0)}
    started = [pd.Timestamp.fromtimestamp(s) for s in (1020.0, 1210.0, 1300.0)]
    attempts = pd.DataFrame(
        {
            "number": [0, 0, 1], "attempt": [1, 2, 1], "how": ["running", "complete", "complete"], "started": started,
            "ended": [pd.NaT, *started[:2]], "seconds": [None, 50.0, 36.0], "node": ["n1", "n2", "n2"],
            "gpus": ["0,1", "0,1", None], "job": ["9_0", "9_0", "local"], "submission": ["s"] * 3,
        }
    )  # fmt: skip
    found = join(attempts, rows)
    assert found["elapsed_s"].tolist() == [80.0, 50.0, 36.0]  # the first could not write its own end
    assert found["gpu_count"].tolist()[:2] == [2, 2]
    assert found["gpu_hours"].tolist()[1] == pytest.approx(100 / 3600)
    assert found["queue_wait_s"].tolist()[:2] == [10.0, 100.0]
    assert found["job_state"].tolist() == ["PREEMPTED", "COMPLETED", None]
    assert pd.isna(found["gpu_hours"][2])
    # two workers on the task's GPUs: each has had its part of them
    shared = join(attempts.assign(gpu_count=[1.0, 1.0, 0.0]), rows)
    assert shared["gpu_hours"].tolist()[:2] == [pytest.approx(80 / 3600), pytest.approx(50 / 3600)]
    assert list(join(attempts.iloc[:0], {}).columns) == list(found.columns)
