"""What a user's function can do with its trial."""

from __future__ import annotations

import json
import math
import os
import pickle
import resource
import shutil
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo_batch import Trial
from hpo_batch.mounts import SHARED_VARIABLE
from hpo_batch.objective.trial import end
from hpo_batch.records import Stopping, Verdict

from .conftest import FakeEngine


def test_a_report_reaches_engine_and_file_and_is_kept(trial: Trial, engine: FakeEngine) -> None:
    trial.report(1, val_auc=0.7, loss=0.5)
    trial.report(2, {"val/auc": 0.8}, loss=0.4)
    trial.report(step=3, loss=math.nan)
    assert engine.reports[:2] == [(1, {"val_auc": 0.7, "loss": 0.5}), (2, {"val/auc": 0.8, "loss": 0.4})]
    assert trial.progress.step == 3
    assert trial.progress.metrics["val_auc"] == 0.7
    assert math.isnan(trial.progress.metrics["loss"])
    lines = [json.loads(line) for line in (trial.dir / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["metrics"]) for line in lines[:2]] == engine.reports[:2]


@pytest.mark.parametrize(
    "value", [1, 1.0, np.float32(1), np.int64(1), np.array(1.0), np.array([[1.0]]), Fraction(1), Decimal(1)]
)
def test_numbers_of_many_kinds_are_metrics(trial: Trial, engine: FakeEngine, value: float) -> None:
    trial.report(0, loss=value)
    assert engine.reports == [(0, {"loss": 1.0})]
    assert type(engine.reports[0][1]["loss"]) is float


def test_tensors_are_metrics(trial: Trial, engine: FakeEngine) -> None:
    torch = pytest.importorskip("torch")
    trial.report(0, loss=torch.tensor(0.5, requires_grad=True), acc=torch.tensor([1], dtype=torch.bfloat16))
    assert engine.reports == [(0, {"loss": 0.5, "acc": 1.0})]
    with pytest.raises(TypeError, match="metric 'loss' is a Tensor with other than one element"):
        trial.report(0, loss=torch.zeros(2))


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("0.7", "a text"),
        (None, "None"),
        (True, "true, not a number"),
        (np.bool_(False), "false, not a number"),
        ([0.7], "a list"),
        ({"a": 1}, "a dict"),
        (1j, "a complex"),
        (np.zeros(2), "a ndarray with other than one element"),
        (10**400, "an? int that is not a real number"),
        (object(), "a object"),
    ],
)
def test_other_values_are_refused_by_name_and_type(trial: Trial, engine: FakeEngine, value: float, what: str) -> None:
    with pytest.raises(TypeError, match=f"metric 'loss' is {what}"):
        trial.report(0, acc=0.5, loss=value)
    assert engine.reports == []
    assert trial.progress.metrics == {}


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda t: t.report(1), TypeError),
        (lambda t: t.report(1, {}), TypeError),
        (lambda t: t.report(1, 0.7), TypeError),
        (lambda t: t.report(1.0, loss=1), TypeError),
        (lambda t: t.report("1", loss=1), TypeError),
        (lambda t: t.report(True, loss=1), TypeError),
        (lambda t: t.report(-1, loss=1), ValueError),
        (lambda t: t.report(1, {3: 1.0}), TypeError),
    ],
)
def test_malformed_reports_are_refused(
    trial: Trial, engine: FakeEngine, call: Callable[[Trial], None], error: type[Exception]
) -> None:
    with pytest.raises(error):
        call(trial)
    assert engine.reports == []


def test_a_numpy_step_is_a_step(trial: Trial, engine: FakeEngine) -> None:
    trial.report(np.int64(4), loss=1)  # type: ignore[arg-type]
    assert engine.reports == [(4, {"loss": 1.0})]


def test_should_stop_once_pruned_and_stays_so(trial: Trial, engine: FakeEngine) -> None:
    engine.verdicts = {2: Verdict.PRUNE}
    trial.report(1, loss=1)
    assert not trial.should_stop()
    trial.report(2, loss=1)
    trial.report(3, loss=1)
    assert trial.should_stop()
    assert trial.stopping is Stopping.PRUNED


def test_should_stop_when_the_engine_says_so(trial: Trial, engine: FakeEngine) -> None:
    engine.reason = Stopping.TIME_LIMIT
    assert trial.stopping is Stopping.TIME_LIMIT
    engine.reason = None
    assert trial.should_stop()  # told once, the function may be on its way out


@pytest.mark.parametrize(
    ("verdict", "expected"), [(Verdict.PRUNE, Stopping.PRUNED), (Verdict.SUPERSEDED, Stopping.SUPERSEDED)]
)
def test_a_verdict_is_stronger_than_a_time_limit(
    trial: Trial, engine: FakeEngine, verdict: Verdict, expected: Stopping
) -> None:
    engine.reason = Stopping.TIME_LIMIT
    assert trial.should_stop()
    engine.verdicts = {1: verdict}
    trial.report(1, loss=1)
    assert trial.stopping is expected


def test_params_are_a_plain_dict_of_ones_own(make_trial: Callable[..., Trial]) -> None:
    given = {"lr": 0.1}
    trial = make_trial(params=given)
    assert json.dumps(trial.params) == '{"lr": 0.1}'
    trial.params["lr"] = 3
    assert given == {"lr": 0.1}


def test_training_goes_on_when_metrics_cannot_be_written(trial: Trial, engine: FakeEngine) -> None:
    shutil.rmtree(trial.dir)
    trial.report(1, loss=1)
    trial.report(2, loss=1)
    assert len(engine.reports) == 2


def lines_of(trial: Trial) -> list[int]:
    """The steps that were kept; every line is whole."""
    return [json.loads(line)["step"] for line in (trial.dir / "metrics.jsonl").read_text().splitlines() if line]


def held_open(trial: Trial) -> int:
    """Descriptors of this process on the trial's reports."""
    links = [Path(entry).readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return links.count(trial.dir / "metrics.jsonl")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often reports have opened and synced a file; the calls are made."""
    counted: Counter[str] = Counter()

    def count(call: Callable[..., Any], *args: Any) -> Any:
        counted[call.__name__] += 1
        return call(*args)

    for call in (os.open, os.fsync, os.write):
        monkeypatch.setattr(f"hpo_batch.files.json_text.os.{call.__name__}", partial(count, call))
    return counted


def test_reports_are_kept_by_one_open_and_one_write_each(trial: Trial, calls: Counter[str]) -> None:
    for step in range(50):
        trial.report(step, loss=1)
        assert lines_of(trial)[-1] == step  # a reader sees it at once
    assert (calls["open"], calls["write"], calls["fsync"]) == (1, 50, 0)  # this is a local disk
    assert held_open(trial) == 1
    end(trial)
    assert held_open(trial) == 0
    end(trial)
    assert lines_of(trial) == list(range(50))


def test_a_thread_that_reports_after_the_end_holds_nothing_open(trial: Trial) -> None:
    trial.report(0, loss=1)
    end(trial)
    trial.report(1, loss=1)
    trial.report(2, loss=1)
    assert lines_of(trial) == [0, 1, 2]
    assert held_open(trial) == 0


def test_a_trial_that_nobody_ends_holds_nothing_open_when_it_is_gone(make_trial: Callable[..., Trial]) -> None:
    trial = make_trial()
    trial.report(0, loss=1)
    same = make_trial()
    assert held_open(same) == 1
    del trial
    assert held_open(same) == 0


def test_an_earlier_torn_line_is_closed_first(trial: Trial) -> None:
    path = trial.dir / "metrics.jsonl"
    path.write_text('{"step": 1, "metr')
    trial.report(2, loss=1)
    trial.report(3, loss=1)
    torn, *whole = path.read_text().splitlines()
    assert torn == '{"step": 1, "metr'
    assert [json.loads(line)["step"] for line in whole] == [2, 3]


def test_a_line_that_a_full_disk_has_cut_is_closed_first(trial: Trial) -> None:
    """Under a limit on the size of files, which cuts a write as a full disk does."""
    trial.report(1, loss=1)
    size = (trial.dir / "metrics.jsonl").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        trial.report(2, loss=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    trial.report(3, loss=1)
    one, cut, three = (trial.dir / "metrics.jsonl").read_bytes().splitlines()
    assert (json.loads(one)["step"], len(cut), json.loads(three)["step"]) == (1, 10, 3)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_forked_children_report_into_the_same_file(trial: Trial) -> None:
    trial.report(0, loss=1)
    children = []
    for child in range(4):
        pid = os.fork()
        if pid == 0:
            for step in range(100):
                trial.report(1000 * (child + 1) + step, loss=1)
            os._exit(0)
        children.append(pid)
    for step in range(1, 100):
        trial.report(step, loss=1)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    end(trial)
    assert sorted(lines_of(trial)) == [1000 * process + step for process in range(5) for step in range(100)]


def test_copies_of_a_trial_open_the_file_themselves(make_trial: Callable[..., Trial]) -> None:
    trial = make_trial(engine=None)  # one that can be pickled, as that of ``by_hand``
    trial._engine = FakeEngine.__new__(FakeEngine)
    trial._engine.__dict__ = {}
    trial._write({"loss": 1.0})
    again = pickle.loads(pickle.dumps(trial))
    end(trial)
    again._write({"loss": 2.0})
    end(again)
    assert len(lines_of(trial)) == 2
    assert held_open(trial) == 0


@pytest.fixture
def not_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file system counts as one of this host."""
    monkeypatch.setenv(SHARED_VARIABLE, "1")


@pytest.mark.usefixtures("not_local")
def test_other_hosts_see_reports_within_10_seconds(
    trial: Trial, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("hpo_batch.files.json_text.time.monotonic", lambda: now[0])
    synced = []
    for step in range(40):
        trial.report(step, loss=1)
        synced.append(calls["fsync"])
        now[0] += 1.0
    assert synced[0] == 1  # the first at once
    assert [synced[i] for i in (9, 10, 19, 20, 39)] == [1, 2, 2, 3, 4]
    assert calls["open"] == 1


def test_training_goes_on_when_the_disk_fills_up(
    trial: Trial, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, not_local: None
) -> None:
    """On a network file system that may be told by a sync or by the close only."""
    trial.report(1, loss=1)
    file = trial._file
    assert file is not None
    os.close(file._fd)  # what the kernel answers from now on is an error
    trial.report(2, loss=1)
    trial.report(3, loss=1)
    assert len(engine.reports) == 3
    end(trial)
    assert lines_of(trial) == [1]


def test_what_the_close_says_ends_no_trial(trial: Trial, caplog: pytest.LogCaptureFixture) -> None:
    trial.report(1, loss=1)
    assert trial._file is not None
    os.close(trial._file._fd)
    end(trial)
    assert "its last reports may be missing" in caplog.text
