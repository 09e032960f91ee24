"""hpo-batch from Python: the documented examples, and what goes wrong."""

from __future__ import annotations

import doctest
import json
import re
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

import hpo_batch
from hpo_batch.api import Results
from hpo_batch.errors import SweepInvalid, UserError
from hpo_batch.launch.facts import Fact, Submitted
from tests.helpers import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "python.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of docs/python.md, as the working directory."""
    files = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    assert [name for name, _ in files] == ["circle.py", "circle.toml"]
    for name, text in files:
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_BATCH_ROOT", raising=False)
    return tmp_path


def test_the_page_on_python_runs(folder: Path) -> None:
    options = doctest.ELLIPSIS
    failed, tried = doctest.testfile(str(DOCUMENT), module_relative=False, optionflags=options)
    assert tried > 15
    assert failed == 0


def test_importing_is_light() -> None:
    code = "import sys, hpo_batch; print(sorted({'torch', 'pandas', 'optuna', 'numpy', 'click'} & {*sys.modules}))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
    assert set(hpo_batch.__all__) >= {"load", "load_all", "submit", "wait"}
    assert all(callable(getattr(hpo_batch, name)) for name in ("load", "load_all", "submit", "wait"))


def test_events_are_told_as_they_happen(folder: Path) -> None:
    told: list[Fact] = []
    seen: list[int] = []
    started = hpo_batch.submit("circle.toml", local=True, set=["study.trials=3"], tell=told.append)
    assert any(isinstance(fact, Submitted) for fact in told)
    hpo_batch.wait(started, progress=lambda counts: seen.append(counts[0].finished))
    assert seen[-1] == 3


def test_waiting_ends_after_a_time_and_leaves_the_workers(folder: Path) -> None:
    (folder / "circle.py").write_text("import time\ndef distance(trial):\n    time.sleep(3)\n    return 1.0\n")
    started = hpo_batch.submit("circle.toml", local=True, set=["study.trials=1"])
    with pytest.raises(TimeoutError, match=r"circle: workers still run after 0\.1 s"):
        hpo_batch.wait(started, timeout_s=0.1)
    assert hpo_batch.wait(started)[0].complete == 1


def test_a_study_without_a_result_says_so(folder: Path) -> None:
    (folder / "circle.py").write_text("def distance(trial):\n    raise ValueError('no')\n")
    hpo_batch.wait(hpo_batch.submit("circle.toml", local=True, set=["study.trials=1"]))
    trials = hpo_batch.load("circle")
    for name in ("best_number", "best_value", "best_params"):
        with pytest.raises(UserError, match="circle has no complete trial yet"):
            getattr(trials, name)
    assert "0 complete" in trials._repr_html_()
    assert trials.findings().studies[0].summary.n == 0


def test_several_metrics_have_a_front(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/two.db"
    study = optuna.create_study(directions=["minimize", "maximize"], storage=storage, study_name="two")
    study.optimize(lambda t: (t.suggest_float("x", 0, 1), t.params["x"] ** 2), n_trials=6)
    trials = hpo_batch.load(storage)
    assert sorted(trials.best_trials()["number"]) == sorted(trial.number for trial in study.best_trials)
    with pytest.raises(UserError, match="several metrics"):
        _ = trials.best_value
    assert "<table" in trials._repr_html_()


def test_what_load_gives_is_what_optuna_has(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/one.db"
    study = optuna.create_study(direction="maximize", storage=storage, study_name="one")
    study.optimize(lambda t: t.suggest_float("x", 0, 1) + t.suggest_int("n", 1, 4), n_trials=8)
    trials = hpo_batch.load(storage)
    report = trials.report()
    for shown in (report, report.findings, trials.figures()["history-one"]):  # what a notebook prints of them
        assert len(repr(shown)) < 120
        assert "one" in repr(shown)
    theirs, ours = study.trials_dataframe(), trials.trials_dataframe()
    for column in ("number", "value", "params_x", "params_n", "state"):
        assert ours[column].tolist() == theirs[column].tolist()
    assert (trials.best_number, trials.best_params) == (study.best_trial.number, study.best_params)
    assert all(type(value) in (int, float) for value in trials.best_params.values())


def test_a_hostile_name_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "trials.json"
    path.write_text(json.dumps([{"params": {"<b>x": i, "k": "<script>"}, "value": i} for i in range(4)]))
    shown = hpo_batch.load(path)._repr_html_()
    assert "<script>" not in shown
    assert "<b>" not in shown


def test_budgets_are_loaded_together_or_by_name(folder: Path) -> None:
    text = (folder / "circle.toml").read_text()
    (folder / "circle.toml").write_text(f'{text}\n[[budget]]\nname = "small"\n[[budget]]\nname = "large"\n')
    started = hpo_batch.submit("circle.toml", local=True, set=["study.trials=2"])
    assert started.studies == ("circle/small", "circle/large")
    assert [counts.complete for counts in hpo_batch.wait(started)] == [2, 2]
    assert [one.name for one in hpo_batch.load_all(started)] == ["circle/small", "circle/large"]
    with pytest.raises(UserError, match="several studies: circle/small, circle/large; load one of them"):
        hpo_batch.load(started)
    assert isinstance(hpo_batch.load("circle/small"), Results)


@pytest.mark.parametrize(
    ("text", "message"), [("nonsense = 1\n[study]\nname = 'a'\n", "nonsense"), ("[study", "TOML")], ids=["key", "TOML"]
)
def test_a_wrong_sweep_raises_all_its_mistakes(folder: Path, text: str, message: str) -> None:
    (folder / "wrong.toml").write_text(text)
    with pytest.raises((SweepInvalid, UserError), match=message):
        hpo_batch.submit("wrong.toml", local=True)
    assert not (folder / "logs").exists()


def test_no_source_is_a_mistake() -> None:
    with pytest.raises(UserError, match="at least one source"):
        hpo_batch.load_all()
