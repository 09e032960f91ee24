"""Responses from tables and from the simulator; what the model may see; parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from hpo_batch.training.knowledge_tracing.data import DataOptions, load, simulate
from hpo_batch.training.knowledge_tracing.model import KnowledgeTracing
from hpo_batch.training.knowledge_tracing.settings import Settings
from hpo_batch.training.knowledge_tracing.size import n_params
from hpo_batch.training.knowledge_tracing.train import train
from hpo_batch.training.metrics import auc

from .conftest import RecordingTrial

Write = Callable[..., str]


@pytest.fixture
def table() -> pd.DataFrame:
    """10 students with 12 responses each, in no order."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "order_id": np.arange(120),
            "user_id": np.repeat(np.arange(10), 12),
            "skill_id": random.choice(["add", "divide", "subtract"], 120),
            "correct": random.integers(0, 2, 120),
        }
    )
    return frame.sample(frac=1, random_state=0)


def test_students_are_divided_and_their_responses_sorted(table: pd.DataFrame, write: Write) -> None:
    data = load(DataOptions(data=write(table), val_ratio=0.2, test_ratio=0.3))
    assert data.n_skills == 3
    assert data.test is not None
    assert [len(part.skills) for part in (data.train, data.val, data.test)] == [5, 2, 3]
    in_order = table.sort_values("order_id")
    expected = {tuple(rows["correct"]) for _, rows in in_order.groupby("user_id")}
    found = [tuple(row) for part in (data.train, data.val, data.test) for row in part.responses.tolist()]
    assert len(found) == 10
    assert set(found) == expected


def test_long_sequences_are_cut_and_short_ones_filled_up(table: pd.DataFrame, write: Write) -> None:
    shorter = table[(table["user_id"] != 3) | (table["order_id"] % 12 < 5)]
    data = load(DataOptions(data=write(shorter), seq_len=5, val_ratio=0.2))
    lengths = sorted((torch.cat([data.train.n_predicted, data.val.n_predicted]) + 1).tolist())
    assert lengths == [5] * 19  # twice 5 of 12, and the last 2 are too few; all 5 of student 3
    whole = load(DataOptions(data=write(shorter), val_ratio=0.2))
    (row,) = (whole.train.is_real.sum(1) == 4).nonzero() if (whole.train.is_real.sum(1) == 4).any() else [None]
    part = whole.train if row is not None else whole.val
    index = int((part.is_real.sum(1) == 4).nonzero())
    assert part.skills[index, 5:].sum() == 0
    assert int(part.n_predicted[index]) == 4


def test_the_order_of_the_file_counts_if_asked(table: pd.DataFrame, write: Write) -> None:
    frame = table.sort_values("order_id").drop(columns="order_id")
    a = load(DataOptions(data=write(frame), order_column="row"))
    b = load(DataOptions(data=write(table, "other.csv")))
    assert torch.equal(a.train.responses, b.train.responses)


def change(column: str, row: int, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def changed(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.sort_values("order_id", ignore_index=True).astype({column: object})
        frame.loc[row, column] = value
        return frame

    return changed


@pytest.mark.parametrize(
    ("change", "wanted", "message"),
    [
        (lambda f: f.drop(columns="correct"), {}, "has no column 'correct'; it has 'order_id', 'user_id', 'skill_id'"),
        (lambda f: f.drop(columns="order_id"), {}, "has no column 'order_id'.*set user_column"),
        (change("skill_id", 4, None), {}, "has 1 row with an empty 'skill_id', the first is row 5; drop those rows"),
        (change("correct", 4, 0.5), {}, r"column 'correct' of .* must be 0 or 1, and has '0\.5'"),
        (lambda f: f.assign(correct=1), {}, "responses to predict in the training set of .* are right: no model can"),
        (lambda f: f.assign(correct=0), {}, "are wrong: no model can learn or be judged on one class"),
        (lambda f: f.iloc[:0], {}, "has no rows"),
        (
            lambda f: f.assign(user_id=np.arange(120)),
            {},
            "no student in .* has 3 responses or more: 120 rows of 120 students in column 'user_id'",
        ),
        (lambda f: f[f["user_id"] < 2], {"val_ratio": 0.2}, "too few students in .*: 2 with at least 3 responses"),
        (lambda f: f, {"n_skills": 4}, "has 3 skills, but n_skills = 4"),
        (change("correct", 4, "yes"), {}, "must be 0 or 1, and has 'yes' .1 row of 120.; drop"),
        # as texts, 10 would come before 9
        (change("order_id", 4, "4a"), {}, "column 'order_id' of .* must hold numbers, or times .* and has '4a'"),
    ],
)
def test_bad_data_is_told(table: pd.DataFrame, write: Write, change: Any, wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(DataOptions(data=write(change(table)), **wanted))


def test_rows_with_partial_credit_are_left_out_if_asked(table: pd.DataFrame, write: Write) -> None:
    """ASSISTments 2015 has some; what is left gives the same as a table without them."""
    partial = change("correct", 4, 0.5)(table)
    a = load(DataOptions(data=write(partial), partial="drop"))
    b = load(DataOptions(data=write(partial.drop(index=4), "without.csv")))
    assert torch.equal(a.train.responses, b.train.responses)
    assert torch.equal(a.val.responses, b.val.responses)


@pytest.mark.parametrize(
    "spelt",
    [
        lambda n: f"{n}",
        lambda n: f"{n + 10**30}",  # too large for 64 bits
        lambda n: f"{n}.5",
        lambda n: f"{pd.Timestamp('2012-09-28') + pd.Timedelta(hours=n)}",
    ],
)
def test_responses_are_in_the_order_of_numbers_and_times(table: pd.DataFrame, tmp_path: Path, spelt: Any) -> None:
    """Whatever type they are read as; Parquet keeps texts."""
    path = tmp_path / "texts.parquet"
    table.assign(order_id=table["order_id"].map(spelt)).to_parquet(path)
    plain = tmp_path / "numbers.parquet"
    table.to_parquet(plain)
    texts, numbers = (load(DataOptions(data=str(p))) for p in (path, plain))
    assert torch.equal(texts.train.responses, numbers.train.responses)
    assert torch.equal(texts.train.skills, numbers.train.skills)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no data file '.*gone.csv': 'data' is \"simulated\" or the path"):
        load(DataOptions(data=str(tmp_path / "gone.csv")))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"emb_type": "qidx"}, "parameter 'emb_type' is 'qidx': must be one of qid, additive"),
        ({"optimizer": "SGD"}, "must be one of Adam, AdamW"),
        ({"lambda_bce": 1.5}, "lambda_bce = 1.5 is above 1"),
        ({"val_ratio": 0.6, "test_ratio": 0.4}, "leave no student to train on"),
        ({"data": "x.csv", "n_students": 5}, "n_students: of the simulator; leave out"),
        ({"deterministic": 1}, "must be true or false"),
    ],
)
def test_bad_parameters_are_told(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings.from_params(params)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="d_model = 10 cannot be divided among n_heads = 4"):
        KnowledgeTracing(Settings.from_params({"d_model": 10}), n_skills=3)


@pytest.mark.parametrize("emb_type", ["qid", "additive"])
def test_a_prediction_sees_no_response_that_comes_later(emb_type: str) -> None:
    params = {"d_model": 8, "d_ff": 8, "emb_type": emb_type, "lambda_bce": 0.5, "num_encoder_blocks": 2, "seq_len": 9}
    model = KnowledgeTracing(Settings.from_params(params), n_skills=4).eval()
    skills, responses = torch.randint(4, (1, 9)), torch.randint(2, (1, 9))
    for outputs in (0, 1):
        before = model(skills, responses)[outputs]
        later = responses.clone()
        later[0, 5:] = 1 - later[0, 5:]  # the response at 5 is predicted by output 4, which must not see it
        after = model(skills, later)[outputs]
        assert torch.allclose(before[0, :5], after[0, :5], atol=1e-6)
        assert not torch.allclose(before[0, 5:], after[0, 5:], atol=1e-6)


def test_mastery_of_a_skill_never_falls() -> None:
    params = {"d_model": 8, "d_ff": 8, "lambda_bce": 0.5, "seq_len": 30}
    model = KnowledgeTracing(Settings.from_params(params), n_skills=1).eval()
    _, mastery = model(torch.zeros(1, 30, dtype=torch.long), torch.randint(2, (1, 30)))
    assert mastery is not None
    assert (mastery.diff() >= 0).all()


def test_the_simulator_keeps_to_its_statement() -> None:
    students = simulate(seed=5, n_skills=20, n_students=2000, n_responses=40)
    lengths = [len(skills) for skills, _ in students]
    assert min(lengths) >= 20
    assert max(lengths) <= 60
    assert np.mean(lengths) == pytest.approx(40, abs=0.7)
    stays = np.concatenate([skills[1:] == skills[:-1] for skills, _ in students])
    assert stays.mean() == pytest.approx(0.7 + 0.3 / 20, abs=0.01)
    # they learn: the tenth response to a skill is right more often than the first
    first, tenth = [], []
    for skills, right in students:
        for skill in np.unique(skills):
            of_skill = right[skills == skill]
            first.append(of_skill[0])
            tenth += of_skill[9:10].tolist()
    assert np.mean(tenth) > np.mean(first) + 0.08


def test_a_small_model_learns_what_can_be_learned(tmp_path: Path) -> None:
    params = {"d_model": 16, "n_heads": 2, "d_ff": 32, "num_encoder_blocks": 1, "learning_rate": 5e-3, "dropout": 0.0}
    params |= {"n_students": 300, "n_skills": 8, "n_responses": 30, "epochs": 4, "batch_size": 32, "test_ratio": 0.2}
    trial = RecordingTrial(params=params, dir=tmp_path)
    result = train(trial)
    assert result is not None
    assert result["val_auc"] > 0.65
    assert result["test_auc"] > 0.62
    assert result["n_params"] == n_params(params)
    data = load(Settings.from_params(params))
    # more than the share of right responses per skill tells
    rates = torch.stack([data.train.responses[data.train.skills == k].double().mean() for k in range(8)])
    baseline = auc(rates[data.val.skills[:, 1:]][data.val.is_real], data.val.responses[:, 1:][data.val.is_real])
    assert result["val_auc"] > baseline


def test_the_mastery_head_takes_part(tmp_path: Path) -> None:
    params = {"d_model": 8, "n_heads": 2, "d_ff": 8, "num_encoder_blocks": 1, "n_students": 40, "epochs": 1}
    alone = train(RecordingTrial(params=params, dir=tmp_path / "a"))
    both = train(RecordingTrial(params={**params, "lambda_bce": 0.5}, dir=tmp_path / "b"))
    assert alone is not None
    assert both is not None
    assert both["n_params"] > alone["n_params"]
    assert both["val_loss"] != alone["val_loss"]
