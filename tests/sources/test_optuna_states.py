"""What an Optuna storage states, one by one, as docs/sources.md lists it. Random studies: tests/differential."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from hpo_batch.cli.main import run
from hpo_batch.results.table import TrialsTable
from hpo_batch.sources.read import read_tables
from hpo_batch.space.parameters import Choices, Fixed, Integer, Real
from tests.sources.conftest import told

Fill = Callable[[optuna.Study], None]


@pytest.fixture
def read_study(tmp_path: Path) -> Callable[..., TrialsTable]:
    """The table of a journal with one study that ``fill`` makes."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def call(fill: Fill, directions: tuple[str, ...] = ("minimize",)) -> TrialsTable:
        journal = optuna.storages.journal.JournalFileBackend(str(tmp_path / "plain.log"))
        storage = optuna.storages.JournalStorage(journal)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna warns of much of what is stated here, and stores it
            study = optuna.create_study(study_name="s", storage=storage, directions=list(directions))
            fill(study)
        (table,) = read_tables([str(tmp_path / "plain.log")], root=tmp_path)
        return table

    return call


Reader = Callable[..., TrialsTable]


def test_a_range_that_depends_on_another_parameter(read_study: Reader, tmp_path: Path) -> None:
    def fill(study: optuna.Study) -> None:
        for n in (1, 1, 8, 3):
            study.enqueue_trial({"n": n, "k": n, "width": 2.0 * n})

        def objective(trial: optuna.Trial) -> float:
            n = trial.suggest_int("n", 1, 8)
            trial.suggest_float("width", n, 2 * n)
            return float(trial.suggest_int("k", 1, n))

        study.optimize(objective, n_trials=4)

    table = read_study(fill)
    assert table.space is not None
    assert table.space.by_name["k"] == Integer(name="k", low=1, high=8)
    assert table.space.by_name["width"] == Real(name="width", low=1.0, high=16.0)
    assert "the range of 'k' differs between trials: the space covers all of it, 1 to 8" in told(table)
    assert "(fixed)" not in told(table)


@pytest.mark.parametrize(
    ("several", "expected"),
    [
        ([IntDistribution(0, 4, step=4), IntDistribution(2, 8, step=2)], Integer(name="p", low=0, high=8, step=2)),
        ([IntDistribution(0, 6, step=3), IntDistribution(1, 9, step=4)], Integer(name="p", low=0, high=9)),
        ([IntDistribution(5, 5), IntDistribution(5, 5)], Fixed(name="p", value=5)),
        ([IntDistribution(1, 1, log=True), IntDistribution(1, 64, log=True)],
         Integer(name="p", low=1, high=64, log=True)),
        ([IntDistribution(1, 1), FloatDistribution(0.5, 2.0)], Real(name="p", low=0.5, high=2.0)),
        ([FloatDistribution(0.5, 2.0, step=0.5)], Real(name="p", low=0.5, high=2.0, step=0.5)),
        ([FloatDistribution(0, 1, step=0.5), FloatDistribution(0, 3, step=0.25)], Real(name="p", low=0.0, high=3.0)),
        ([FloatDistribution(1, 2, log=True), FloatDistribution(1, 4)], Real(name="p", low=1.0, high=4.0)),
        ([CategoricalDistribution([1, 2]), CategoricalDistribution([2, 3])],
         Choices(name="p", values=(1, 2, 3), ordered=True)),
        ([CategoricalDistribution(["a"]), IntDistribution(1, 9)], Choices(name="p", values=("a", 1), ordered=False)),
        ([CategoricalDistribution([None, "None"])],
         Choices(name="p", values=("None (NoneType)", "None"), ordered=False)),
    ],
)  # fmt: skip
def test_distributions_together(several: list[optuna.distributions.BaseDistribution], expected: object) -> None:
    """A journal refuses some of these after the fact; storages that were merged, or added to by hand, have them."""
    from hpo_batch.sources.infer import from_distributions

    facts = [{"name": type(each).__name__, "attributes": each._asdict()} for each in several]
    seen = [1] if any(isinstance(each, CategoricalDistribution) for each in several) and len(several) == 2 else []
    space, notes = from_distributions({"p": facts}, {"p": seen})
    assert space.by_name["p"] == expected
    assert bool(notes) == (len({repr(each) for each in several}) > 1 or "None" in str(several))


def test_values_that_were_enqueued_outside_of_their_range(read_study: Reader) -> None:
    def fill(study: optuna.Study) -> None:
        study.enqueue_trial({"x": 9.0})
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
        study.enqueue_trial({"x": 0.5})

    table = read_study(fill)
    assert table.space is not None
    assert table.space.by_name["x"] == Real(name="x", low=0.0, high=9.0)
    assert "'x' has values outside its range" in told(table)
    assert table.trials["origin"].tolist() == ["enqueued", "optuna", "optuna", "enqueued"]
    assert "1 waiting trial" in told(table)
    assert (table.counts.waiting, table.counts.target) == (1, 4)


def test_a_choice_of_nothing_is_a_choice(read_study: Reader) -> None:
    def fill(study: optuna.Study) -> None:
        for value in (None, "a", None):
            distribution = CategoricalDistribution([None, "a"])
            study.add_trial(create_trial(value=1.0, params={"c": value}, distributions={"c": distribution}))
        study.add_trial(create_trial(value=2.0))

    table = read_study(fill)
    cells = table.trials["params_c"]
    assert cells.tolist()[:3] == ["None", "a", "None"]
    assert cells.isna().tolist() == [False, False, False, True]
    assert "choices of 'c' that are neither text nor number are shown as text" in told(table)


def test_constraints_decide_what_is_best(
    read_study: Reader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(study: optuna.Study) -> None:
        for value, limit in ((0.1, 1.0), (0.2, -1.0), (0.3, None), (0.05, 1e-9), (0.4, 0.0), (0.5, -2.0)):
            constraints = None if limit is None else {"memory": limit, "time": -1.0}
            study.add_trial(create_trial(value=value, constraints=constraints))
        # as Optuna up to 4 stores them
        study.add_trial(create_trial(value=0.0, system_attrs={"constraints": [-1.0, 2.0]}))
        study.add_trial(create_trial(value=0.0, system_attrs={"constraints": [float("nan")]}))

    table = read_study(fill)
    assert table.trials["feasible"].tolist() == [False, True, True, False, True, True, False, False]
    assert table.trials["constraints_memory"].tolist()[:2] == [1.0, -1.0]
    assert "4 of 8 complete trials break a constraint" in told(table)
    assert run(["collect", str(tmp_path / "plain.log"), "--best", "--format", "json"]) == 0
    assert [row["number"] for row in json.loads(capsys.readouterr().out)] == [1]
    assert run(["report", str(tmp_path / "plain.log"), "-o", str(tmp_path / "report")]) == 0
    study = json.loads((tmp_path / "report" / "report.json").read_text())["studies"][0]
    assert (study["summary"]["best"]["number"], study["summary"]["n"]) == (1, 4)


def test_constraints_survive_an_export(read_study: Reader, tmp_path: Path) -> None:
    def fill(study: optuna.Study) -> None:
        for value, limit in ((0.1, 1.0), (0.2, -1.0)):
            study.add_trial(create_trial(value=value, constraints={"memory": limit}))
        study.trials_dataframe().to_csv(tmp_path / "optuna.csv", index=False)

    read_study(fill)
    assert run(["collect", str(tmp_path / "plain.log"), "-o", str(tmp_path / "ours.csv")]) == 0
    for file in ("optuna.csv", "ours.csv"):
        (table,) = read_tables([str(tmp_path / file)], root=tmp_path)
        assert table.trials["feasible"].tolist() == [False, True], file


def test_metrics_of_one_name_are_two(read_study: Reader) -> None:
    def fill(study: optuna.Study) -> None:
        study.set_metric_names(["loss", "loss"])
        study.add_trial(create_trial(values=[1.0, 2.0]))

    table = read_study(fill, ("minimize", "maximize"))
    assert table.metrics == ("loss", "loss (2)")
    assert table.trials[list(table.value_columns)].to_numpy().tolist() == [[1.0, 2.0]]


def test_what_has_no_place_in_a_table_is_told(read_study: Reader) -> None:
    def fill(study: optuna.Study) -> None:
        study.set_user_attr("dataset", "digits")
        study._storage.set_study_system_attr(study._study_id, "dashboard:note", "x")
        attrs = {"cma:optimizer:0": "a", "cma:optimizer:1": "b", "grid_id": 3, "failed_trial": 0}
        study.add_trial(create_trial(value=1.0, system_attrs=attrs, intermediate_values={1: float("nan"), 2: 1.0}))
        study.add_trial(create_trial(value=float("inf"), user_attrs={"big": 2**70, "list": [1]}))
        study.add_trial(create_trial(state=TrialState.FAIL, system_attrs={"fail_reason": "out of memory"}))

    table = read_study(fill)
    assert "attributes of the study: dataset = 'digits'" in told(table)
    assert "not read: cma:optimizer, dashboard:note, grid_id" in told(table)
    assert "1 of 2 reported values are not finite" in told(table)
    assert "1 of 2 complete trials have a value that is not finite" in told(table)
    assert table.trials["note"].tolist() == ["retry of trial 0", None, None]
    assert table.trials["message"].tolist() == [None, None, "out of memory"]
    assert table.trials["user_attrs_big"].tolist()[1] == 2**70
