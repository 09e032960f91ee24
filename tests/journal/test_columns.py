"""The columns of a study say what its records say, whoever wrote the journal."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo_batch.journal.attempt_intervals import spans
from hpo_batch.journal.columns import attempt_columns, trial_columns
from hpo_batch.journal.encode import Writer
from hpo_batch.journal.file import Journal
from hpo_batch.journal.state import JournalState
from hpo_batch.records import TrialState


def check(state: JournalState) -> dict[str, list[Any]]:
    columns = trial_columns(state.trials, objectives=len(state.directions))
    records = [trial.record() for trial in state.trials]
    for i, record in enumerate(records):
        row = {name: column[i] for name, column in columns.items()}
        assert row["number"] == record.number
        value = None if record.state is TrialState.FAIL or record.values is None else record.values[0]
        assert row["value.0"] == value
        params = {name.removeprefix("params."): row[name] for name in columns if name.startswith("params.")}
        shown = {name: value for name, value in params.items() if value is not None}
        assert shown == dict(record.params)
        assert {name: type(v) for name, v in shown.items()} == {name: type(v) for name, v in record.params.items()}
        metrics = {name.removeprefix("metrics."): row[name] for name in columns if name.startswith("metrics.")}
        assert {name: v for name, v in metrics.items() if v is not None} == dict(record.metrics)
        for name in ("name", "set", "note", "origin", "reason", "message"):
            assert row[name] == getattr(record, name), name
        ended = [attempt.ended - attempt.started for attempt in record.attempts if attempt.ended is not None]
        assert row["seconds_total"] == (sum(ended) if ended else None)
        assert (row["state"], tuple(row["seeds"])) == (record.state.name, record.seeds)
        assert row["attempts"] == len(record.attempts)
        last = record.attempts[-1] if record.attempts else None
        assert row["node"] == (last.host if last else None)
        assert row["gpus"] == (",".join(last.gpus) if last else None)
        for name in ("started", "ended"):
            time = getattr(record, name)
            assert row[name] == (None if time is None else datetime.datetime.fromtimestamp(time))
    return columns


def test_ours() -> None:
    write = Writer("t")
    choice = json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": [1, 1.5, "x", True]}})
    edited = json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": ["x", "y"]}})
    integer = json.dumps({"name": "IntDistribution", "attributes": {"low": 1, "high": 9, "step": 1, "log": False}})
    real = json.dumps({"name": "FloatDistribution", "attributes": {"low": 0, "high": 9, "step": None, "log": False}})
    records = [write.create_study("s", ["minimize"]), write.study_attr("hpo:metrics", ["loss"])]
    sets = [({"c": 0, "n": 3}, {"c": choice, "n": integer}), ({"c": 1, "r": 2}, {"c": edited, "r": real}),
            ({"c": 3}, {"c": choice}), ({}, {})]  # fmt: skip
    for i, state in enumerate([TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING, TrialState.PRUNED]):
        params, distributions = sets[i]
        facts = {"seeds": [i], "origin": "tpe", "derived": {"n": 7} if i == 2 else {"d": "é"}, "name": f"t{i}"}
        attempt = {"worker": "w", "job": "9_0", "host": f"n{i}", "gpus": ["a", "b"], "started": 100.5}
        records.append(
            write.create_trial(
                now=100.0, state=TrialState.RUNNING, params=params, distributions=distributions,
                system_attrs={"hpo:trial": facts, "hpo:attempt:1": attempt},
            )
        )  # fmt: skip
        records.append(write.trial_attr(i, "hpo:ended:1", {"how": "lost", "time": 102.5}))
        records.append(write.trial_attr(i, "hpo:attempt:2", {**attempt, "host": "m", "started": 110.0}))
        records.append(write.metric(i, "loss" if i else "other", 0.25 * i))
        if state is TrialState.FAIL:
            records.append(write.trial_attr(i, "hpo:failure", {"reason": "oom_gpu", "message": "out"}))
        if state is not TrialState.RUNNING:
            records.append(write.trial_attr(i, "hpo:ended:2", {"how": "x", "time": 111.0}))
            records.append(write.trial_state(i, state, now=112.0, values=[0.5]))
    state = JournalState()
    state.apply(b"".join(json.dumps(record).encode() + b"\n" for record in records))
    columns = check(state)
    assert columns["params.c"] == [1, "y", True, None]
    check(state)  # again: the records above have decoded everything by now


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_plain_optunas(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    path = tmp_path / "journal.log"
    journal = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    study = optuna.create_study(storage=journal, direction="minimize")

    def objective(trial: optuna.Trial) -> float:
        trial.set_user_attr("nan", float("nan"))
        trial.set_user_attr("f1", trial.number)
        trial.set_user_attr("list", [1])
        if trial.number == 1:
            raise RuntimeError("no")
        if trial.number == 2:
            return float("nan")
        return trial.suggest_float("x", 0, 1) + trial.suggest_int("n", 1, 3) + trial.suggest_categorical("k", [1, 2])

    study.optimize(objective, n_trials=5, catch=RuntimeError)
    study.enqueue_trial({"x": 0.5})
    state = JournalState()
    state.apply(Journal(path).read_new())
    check(state)


def test_no_trials() -> None:
    assert trial_columns([], objectives=1)["number"] == []


def test_an_attempt_whose_claim_could_not_be_read() -> None:
    """As ``doctor --rebuild`` writes it: tables leave it out, as records and intervals do."""
    write = Writer("t")
    attempt = {"worker": "w", "job": "9_0", "host": "n", "gpus": ["a"], "started": 100.5}
    attrs = {
        "hpo:trial": {},
        "hpo:attempt:1": {},
        "hpo:ended:1": {"how": "lost", "time": 3.0},
        "hpo:attempt:2": attempt,
    }
    records = [
        write.create_study("s", ["minimize"]),
        write.create_trial(now=1.0, state=TrialState.RUNNING, params={}, distributions={}, system_attrs=attrs),
    ]
    state = JournalState()
    state.apply(b"".join(json.dumps(record).encode() + b"\n" for record in records))
    assert check(state)["attempts"] == [1]
    assert attempt_columns(state.trials)["attempt"] == [2]
    assert [span.attempt for span in spans(state.trials[0])] == [2]
