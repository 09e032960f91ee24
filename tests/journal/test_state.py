"""What our scan makes of a journal is what plain Optuna makes of it, whoever wrote the records."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import msgspec
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState as S

from hpo_batch.errors import JournalCorrupt
from hpo_batch.journal.columns import trial_columns
from hpo_batch.journal.encode import FORMAT, Record, Writer
from hpo_batch.journal.file import Journal
from hpo_batch.journal.state import JournalState
from hpo_batch.records import Configuration, TrialState
from tests.fuzzers.targets import journal_of, operations
from tests.journal.helpers import assert_read_as_optuna_reads, plain_storage, read_state

ATTEMPT = {"worker": "w-0", "job": "local", "host": "h", "gpus": ["0"], "submission": "s", "token": "t", "started": 5.0}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def write(path: Path, *records: Record) -> None:
    with Journal(path).transaction() as transaction:
        transaction.append(records, sync=False)


def ours(path: Path) -> Writer:
    writer = Writer("test")
    write(path, writer.create_study("s", ["minimize"]), writer.study_attr("hpo:format", FORMAT))
    return writer


def created(writer: Writer, **changes: Any) -> Record:
    facts: dict[str, Any] = {
        "now": time.time(),
        "state": TrialState.RUNNING,
        "params": {},
        "distributions": {},
        "system_attrs": {"hpo:trial": {"key": "k"}, "hpo:attempt:1": ATTEMPT},
    }
    return writer.create_trial(**{**facts, **changes})


def test_our_own_records_mean_to_optuna_what_they_mean_to_us(path: Path) -> None:
    writer = ours(path)
    distributions: dict[str, BaseDistribution] = {
        "c": CategoricalDistribution(("a", 2, 0.5, True)),
        "i": IntDistribution(1, 9, step=2),
        "f": FloatDistribution(0.1, 1.0, log=True),
    }
    as_json = {name: optuna.distributions.distribution_to_json(d) for name, d in distributions.items()}
    params: dict[str, float] = {"c": 3, "i": 5, "f": 0.1}
    common = {"params": params, "distributions": as_json}
    write(
        path,
        created(writer, **common),
        created(writer, state=TrialState.COMPLETE, values=(1.5,), user_attrs={"m": 2.5}, **common),
        created(writer, state=TrialState.COMPLETE, values=(1.5, 2.5), **common),
        created(writer, state=TrialState.PRUNED, values=None, steps={1: 0.5, 10: 0.25}, **common),
        created(writer, state=TrialState.WAITING),
        writer.report(0, 3, 0.75),
        writer.report(0, 3, 0.5),
        writer.metric(0, "val/auc", 0.7),
        writer.trial_attr(0, "hpo:ended:1", {"how": "complete", "time": 6.0}),
        writer.trial_state(0, TrialState.COMPLETE, now=time.time(), values=(0.5,)),
        writer.trial_state(0, TrialState.FAIL, now=time.time()),  # too late: ignored by everybody
        writer.metric(0, "late", 1.0),
        writer.trial_param(4, "i", 7, as_json["i"]),
        writer.trial_state(4, TrialState.RUNNING, now=time.time()),
        writer.trial_state(4, TrialState.WAITING, now=time.time()),
    )
    assert_read_as_optuna_reads(path)
    state = read_state(path)
    assert state.trials[0].params == {"c": True, "i": 5, "f": 0.1}
    assert state.trials[0].params["c"] is True
    assert state.trials[0].steps == {3: 0.5}
    assert state.trials[0].values == (0.5,)
    assert "late" not in state.trials[0].user_attrs


@pytest.mark.filterwarnings("ignore:The value nan is not acceptable")
def test_trials_of_plain_optuna(path: Path) -> None:
    study = optuna.create_study(study_name="s", storage=plain_storage(path), directions=["maximize"])
    study.enqueue_trial({"x": 0.25, "n": 3}, user_attrs={"who": "me"})
    study.enqueue_trial({"x": 0.75})
    for outcome in (1.0, S.PRUNED, S.FAIL, math.nan, math.inf):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        trial.suggest_int("n", 1, 5)
        trial.suggest_categorical("c", ["a", None, 1, True, 0.5])
        trial.report(0.5, 1)
        trial.report(math.nan, 2)
        trial.report(-math.inf, 3)
        trial.set_user_attr("note", {"deep": [1, None, "ü", math.nan]})
        trial.storage.set_trial_system_attr(trial._trial_id, "s", math.inf)
        if isinstance(outcome, S):
            study.tell(trial, state=outcome)
        else:
            study.tell(trial, outcome, skip_if_finished=True)
    study.ask()
    study.add_trial(optuna.create_trial(value=2.0, params={"x": 0.5}, distributions={"x": FloatDistribution(0, 1)}))
    assert_read_as_optuna_reads(path)
    state = read_state(path)
    assert not state.is_ours
    assert state.trials[0].params["n"] == 3
    assert [reason for reason, _ in state.endings] == ["", "", "unknown", "unknown", "", ""]


def test_starting_a_trial_twice_is_ignored_as_optuna_ignores_it(path: Path) -> None:
    writer = ours(path)
    write(
        path,
        created(writer, now=100.0),
        writer.trial_state(0, TrialState.RUNNING, now=200.0, values=(1.0,)),
        created(writer, now=100.0, state=TrialState.WAITING),
        writer.trial_state(1, TrialState.RUNNING, now=200.0),
    )
    assert_read_as_optuna_reads(path)
    assert [(t.started, t.values) for t in read_state(path).trials] == [(100.0, None), (200.0, None)]


@pytest.mark.parametrize(
    ("first", "second", "is_taken"),
    [
        (FloatDistribution(0, 1), FloatDistribution(0, 5, step=0.5), True),
        (FloatDistribution(0.5, 1), FloatDistribution(0.5, 1, log=True), False),
        (FloatDistribution(0, 1), IntDistribution(0, 1), False),
        (IntDistribution(1, 4), IntDistribution(1, 9, step=4), True),
        (CategoricalDistribution((1, 2)), CategoricalDistribution((1, 2)), True),
        (CategoricalDistribution((1, 2)), CategoricalDistribution((1, 2, 3)), False),
    ],
)
def test_a_parameter_of_another_kind_than_before_is_ignored_as_optuna_ignores_it(
    path: Path, first: BaseDistribution, second: BaseDistribution, is_taken: bool
) -> None:
    writer = ours(path)
    texts = [optuna.distributions.distribution_to_json(distribution) for distribution in (first, second)]
    write(
        path,
        created(writer, params={"x": 1.0}, distributions={"x": texts[0]}),
        created(writer),
        writer.trial_param(1, "x", 1.0, texts[1]),
        writer.trial_param(1, "y", 1.0, texts[1]),
        created(writer),
        writer.trial_param(2, "y", 1.0, texts[0]),
    )
    assert_read_as_optuna_reads(path)
    assert ("x" in read_state(path).trials[1].params) is is_taken
    assert ("y" in read_state(path).trials[2].params) is is_taken


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=operations)
def test_whatever_optuna_ignores_we_ignore(path: Path, operations: list[tuple[Any, ...]]) -> None:
    path.write_bytes(journal_of(operations))
    assert_read_as_optuna_reads(path)


def test_a_second_study_in_the_file_takes_up_ids_and_nothing_else(path: Path) -> None:
    writer = ours(path)
    storage = plain_storage(path)
    other = optuna.create_study(study_name="other", storage=storage)
    write(path, created(writer))
    other.add_trial(optuna.create_trial(value=1.0))
    write(path, created(writer), writer.trial_state(2, TrialState.COMPLETE, now=1.0, values=(2.0,)))
    optuna.delete_study(study_name="other", storage=storage)
    write(path, created(writer))
    state = read_state(path)
    assert [(t.trial_id, t.number, t.state.name) for t in state.trials] == [
        (0, 0, "RUNNING"),
        (2, 1, "COMPLETE"),
        (3, 2, "RUNNING"),
    ]
    assert_read_as_optuna_reads(path)


def test_a_study_that_was_deleted_with_optuna_is_told_so(path: Path) -> None:
    ours(path)
    optuna.delete_study(study_name="s", storage=plain_storage(path))
    with pytest.raises(JournalCorrupt, match="the study 's' was deleted"):
        read_state(path)


def test_a_journal_of_a_newer_version_is_refused(path: Path) -> None:
    writer = ours(path)
    write(path, writer.study_attr("hpo:format", FORMAT + 1))
    with pytest.raises(JournalCorrupt, match="upgrade hpo-batch"):
        read_state(path)


@pytest.mark.parametrize(
    "line",
    [
        b'{"op_code":-1}',
        b'{"op_code":6,"trial_id":0,"state":7}',
        b'{"op_code":4,"params":{"x":1}}',
        b'{"op_code":5,"trial_id":0,"param_name":"x","distribution":"{"}',
    ],
)
def test_a_line_that_makes_no_sense_is_shown(path: Path, line: bytes) -> None:
    writer = ours(path)
    write(path, created(writer))
    with path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(JournalCorrupt) as caught:
        read_state(path)
    assert repr(line)[1:] in str(caught.value) or "SetTrialStateValues(trial_id=0, state=7" in str(caught.value)


def test_unknown_operations_and_blank_lines_are_skipped(path: Path) -> None:
    writer = ours(path)
    with path.open("ab") as file:
        file.write(b'   \n{"op_code":10,"worker_id":"w","trial_ids":[0]}\n')
    write(path, created(writer))
    assert len(read_state(path).trials) == 1


def test_a_trial_as_readers_see_it(path: Path) -> None:
    writer = ours(path)
    facts = {"key": "k", "seeds": [7], "origin": "list", "name": "A1", "set": "A", "note": "n", "revision": 2,
             "derived": {"d_ff": 8}}  # fmt: skip
    write(
        path,
        created(writer, now=100.0, system_attrs={"hpo:trial": facts, "hpo:attempt:1": {**ATTEMPT, "started": 100.0}}),
        writer.metric(0, "auc", 0.5),
        writer.trial_attr(0, "hpo:ended:1", {"how": "lost", "time": 130.0}),
        writer.trial_state(0, TrialState.WAITING, now=130.0),
        writer.trial_attr(0, "hpo:attempt:2", {**ATTEMPT, "started": 200.0, "worker": "w-1"}),
        writer.trial_state(0, TrialState.RUNNING, now=200.0),
    )
    state = read_state(path)
    record = state.trials[0].record()
    assert (record.name, record.set, record.note, record.seeds, record.revision) == ("A1", "A", "n", (7,), 2)
    assert record.params == {"d_ff": 8}
    assert record.metrics == {"auc": 0.5}
    assert [(a.number, a.worker, a.ended, a.ending) for a in record.attempts] == [
        (1, "w-0", 130.0, "lost"),
        (2, "w-1", None, ""),
    ]
    assert record.started == 100.0
    assert trial_columns(state.trials, objectives=1)["seconds_total"] == [30.0]
    failure = {"reason": "nan", "message": "'auc' is nan"}
    write(
        path,
        writer.trial_attr(0, "hpo:failure", failure),
        writer.trial_state(0, TrialState.FAIL, now=260.0),
    )
    failed = read_state(path).trials[0].record()
    assert (failed.reason, failed.message, failed.ended) == ("nan", "'auc' is nan", 260.0)


def test_the_number_of_the_newest_attempt_is_known_from_the_tenth_on(path: Path) -> None:
    writer = ours(path)
    write(path, created(writer), *(writer.trial_attr(0, f"hpo:attempt:{n}", ATTEMPT) for n in range(2, 12)))
    assert read_state(path).trials[0].attempt == 11


def test_a_configuration_that_plain_optuna_ran_is_known_as_tried(path: Path) -> None:
    ours(path)
    study = optuna.load_study(study_name="s", storage=plain_storage(path))
    trial = study.ask()
    params = {"x": trial.suggest_float("x", 0, 1), "n": trial.suggest_int("n", 1, 3)}
    assert read_state(path).number_of_key == {}
    study.tell(trial, 1.0)
    assert read_state(path).number_of_key == {
        Configuration(searched={"n": params["n"]}, fixed={"x": params["x"]}).key: 0
    }


def test_trials_of_one_configuration_are_known(path: Path) -> None:
    writer = ours(path)
    keys = ["a", "b", "a", None, "c", "a", "b", "d"]
    write(path, *(created(writer, system_attrs={"hpo:trial": {"key": key}} if key else {}) for key in keys))
    state = read_state(path)
    assert state.alike == {"a": [0, 2, 5], "b": [1, 6]}
    state.also_known_as(4, "e")  # what it is today is not what it was made as
    more = [created(writer, system_attrs={"hpo:trial": {"key": "e"}}), created(writer, system_attrs={})]
    facts = [writer.trial_attr(number, "hpo:trial", {"key": "b"}) for number in (9, 1, 9)]  # given later, and again
    state.apply(b"".join(msgspec.json.encode(record) + b"\n" for record in [*more, *facts]))
    assert state.alike == {"a": [0, 2, 5], "b": [1, 6, 9]}
    assert state.number_of_key["e"] == 8


def test_arming_the_breaker_forgets_earlier_failures(path: Path) -> None:
    writer = ours(path)
    failed = {"hpo:trial": {"key": "k"}, "hpo:failure": {"reason": "nan"}}
    write(path, created(writer, state=TrialState.FAIL, system_attrs=failed))
    state = read_state(path)
    assert (state.armed, state.failed_since_armed) == (0, 1)
    write(path, writer.study_attr("hpo:armed", 1.0), created(writer, state=TrialState.FAIL, system_attrs=failed))
    state = read_state(path)
    assert (state.armed, state.failed_since_armed) == (1, 1)
    assert [reason for reason, _ in state.endings] == ["nan", "nan"]


def test_lines_may_come_in_any_portions(path: Path) -> None:
    writer = ours(path)
    write(path, created(writer), writer.report(0, 1, 2.0), writer.trial_state(0, TrialState.PRUNED, now=1.0))
    whole, parts = read_state(path), JournalState()
    for line in Journal(path).read_new().splitlines(keepends=True):
        parts.apply(line)
    assert parts.counts() == whole.counts()
    assert parts.trials[0].record() == whole.trials[0].record()
