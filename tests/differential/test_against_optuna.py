"""Random studies made by Optuna's own API, read by ``collect`` and ``report``, against what Optuna says of them."""

from __future__ import annotations

import csv
import datetime
import functools
import json
import math
import random
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo_batch.cli.main import run
from hpo_batch.results.table import TrialsTable
from hpo_batch.sources.read import read_tables
from hpo_batch.space.parameters import Choices, Fixed, Integer, Real

SEEDS = range(24)
REPORTED = range(0, 24, 4)
"""seeds whose studies are analysed too, which takes a second each"""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    optuna.logging.set_verbosity(verbosity)


CHOICES: tuple[tuple[Any, ...], ...] = (
    ("a", "b", "c"),
    (1, 2, 4),
    (0.1, 1e-5, 3.0),
    (True, False),
    (None, "a"),
    (None, "None"),
    (1, "1", 1.5),
    ("x,y", 'q"q', "ä\u200b", "", " s "),
    (math.inf, 1.0),
    ("only",),
    ([1, 2], [3, 4], {"k": 1}),
)


def a_distribution(rng: random.Random) -> Callable[[], BaseDistribution]:
    """A parameter of some kind, as it is asked for in each trial; the range of some depends on the trial."""
    kind = rng.choice(
        ["float", "log", "step", "int", "intlog", "intstep", "choice", "dynamic", "dynamic float", "fixed"]
    )
    choices = rng.choice(CHOICES)
    low = rng.choice([-3, 0, 1, 10])
    return {
        "float": lambda: FloatDistribution(low - 0.5, low + 2.25),
        "log": lambda: FloatDistribution(1e-6, 1e2, log=True),
        "step": lambda: FloatDistribution(0.1, 1.0, step=0.3),
        "int": lambda: IntDistribution(low, low + 20),
        "intlog": lambda: IntDistribution(1, 4096, log=True),
        "intstep": lambda: IntDistribution(low, low + 30, step=6),
        "choice": lambda: CategoricalDistribution(choices),
        "dynamic": lambda: IntDistribution(1, rng.randint(1, 9)),
        "dynamic float": lambda: FloatDistribution(rng.choice([0.0, -2.0, 0.5]), rng.choice([0.5, 1.0, 7.0])),
        "fixed": lambda: IntDistribution(7, 7),
    }[kind]


def a_value(rng: random.Random, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return rng.choice(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.step is not None:
        steps = round((distribution.high - distribution.low) / distribution.step)
        value = distribution.low + rng.randint(0, steps) * distribution.step
        return min(value, distribution.high)
    if distribution.log:
        return min(distribution.high, math.exp(rng.uniform(math.log(distribution.low), math.log(distribution.high))))
    return rng.uniform(distribution.low, distribution.high)


def a_number(rng: random.Random, *, nan: bool) -> float:
    odd = [math.inf, -math.inf, 0.0, -0.0, 1e-300, 1e300, *([math.nan] if nan else [])]
    return rng.choice(odd) if rng.random() < 0.1 else round(rng.gauss(0, 1), rng.choice([1, 6]))


ATTRIBUTES: tuple[Any, ...] = (
    1,
    2**70,
    0.25,
    math.nan,
    math.inf,
    "text",
    "",
    True,
    None,
    [1, 2],
    {"a": {"b": 1}},
    "1e-2",
)


def fill(study: optuna.Study, rng: random.Random) -> None:
    """Trials of all states, added and asked for, with everything that a trial can have."""
    parameters = {f"p{i}": a_distribution(rng) for i in range(rng.randint(1, 5))}
    is_constrained = rng.random() < 0.5
    objectives = len(study.directions)
    for _ in range(rng.randint(0, 25)):
        state = rng.choice([TrialState.COMPLETE] * 5 + list(TrialState))
        distributions = {n: make() for n, make in parameters.items() if rng.random() < 0.9}
        reports = {rng.randint(0, 40): a_number(rng, nan=True) for _ in range(rng.choice([0, 0, 3]))}
        constraints = None
        if is_constrained and rng.random() < 0.8:
            constraints = {name: rng.choice([-1.0, -1.0, 0.0, 0.5, math.inf]) for name in ("c0", "memory")}
        trial = create_trial(
            state=state,
            values=[a_number(rng, nan=False) for _ in range(objectives)] if state is TrialState.COMPLETE else None,
            params={name: a_value(rng, each) for name, each in distributions.items()},
            distributions=distributions,
            user_attrs={f"u{i}": rng.choice(ATTRIBUTES) for i in range(rng.randint(0, 2))},
            system_attrs={"fail_reason": "out of memory"} if state is TrialState.FAIL else {},
            intermediate_values=reports,
        )
        for name, value in (constraints or {}).items():
            trial.set_constraint(name, value)
        study.add_trial(trial)
    for _ in range(rng.randint(0, 3)):
        study.enqueue_trial({"z": rng.choice([0.5, 3.0])}, user_attrs={"by": "hand"})
    for _ in range(rng.randint(0, 6)):
        asked = study.ask()
        n = asked.suggest_int("n", 1, 8)
        asked.suggest_int("k", 1, n)
        asked.suggest_float("z", 0, 1)
        if objectives == 1:
            asked.report(a_number(rng, nan=True), 1)
        state = rng.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, None])
        if state is TrialState.COMPLETE:
            study.tell(asked, [a_number(rng, nan=True) for _ in range(objectives)])  # NaN lets it fail
        elif state is not None and not (state is TrialState.PRUNED and objectives > 1):
            study.tell(asked, state=state)
    if rng.random() < 0.5:
        study.set_user_attr("dataset", rng.choice(ATTRIBUTES))


def made(tmp_path: Path, seed: int) -> tuple[list[optuna.Study], str]:
    """One or two studies in a storage of either kind, and the source that means it."""
    rng = random.Random(seed)
    path = tmp_path / rng.choice(["plain", "with # in it", "a b?c%20"])
    if seed % 2:
        storage: Any = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(f"{path}.log"))
        source = f"{path}.log"
    else:
        # renamed afterwards: a URL of SQLAlchemy's cannot say every path
        storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'made.db'}")
        source = f"{path}.db"
    studies = []
    for i in range(rng.choice([1, 1, 2])):
        objectives = rng.choice([1, 1, 1, 2, 3])
        directions = [rng.choice(["minimize", "maximize"]) for _ in range(objectives)]
        sampler = optuna.samplers.RandomSampler(seed)
        study = optuna.create_study(study_name=f"s#{i}", storage=storage, directions=directions, sampler=sampler)
        if rng.random() < 0.5:
            study.set_metric_names([rng.choice(["loss", "acc", "t"]) for _ in directions])
        fill(study, rng)
        studies.append(study)
    if not seed % 2:
        storage.remove_session()
        storage.engine.dispose()
        (tmp_path / "made.db").rename(source)
        connect = functools.partial(sqlite3.connect, source, check_same_thread=False)
        storage = optuna.storages.RDBStorage("sqlite:///", engine_kwargs={"creator": connect})
        studies = [optuna.load_study(study_name=study.study_name, storage=storage) for study in studies]
    return studies, source


def is_empty(cell: Any) -> bool:
    return cell is None or type(cell).__name__ in ("NAType", "NaTType") or cell != cell


def same(ours: Any, theirs: Any) -> bool:
    """A cell of a table and what Optuna has; an empty cell is None or NaN."""
    if is_empty(ours):
        return theirs is None or (isinstance(theirs, float) and math.isnan(theirs))
    if isinstance(theirs, bool) or isinstance(ours, bool):
        return bool(ours) == theirs and isinstance(theirs, bool)
    if isinstance(theirs, int | float):
        return float(ours) == float(theirs)
    if isinstance(theirs, str):
        return bool(ours == theirs)
    return str(ours).startswith(json.dumps(theirs) if isinstance(theirs, list | tuple | dict) else str(theirs))


def check_trials(table: TrialsTable, study: optuna.Study) -> None:
    trials = study.get_trials(deepcopy=False)
    rows = table.trials.to_dict("records")
    assert [row["number"] for row in rows] == [trial.number for trial in trials]
    assert [row["state"] for row in rows] == [trial.state.name for trial in trials]
    assert table.directions == tuple(direction.name.lower() for direction in study.directions)
    if study.metric_names is not None and len(set(study.metric_names)) == len(study.metric_names):
        assert list(table.metrics) == study.metric_names
    have = {str(c) for c in table.trials.columns}
    for row, trial in zip(rows, trials, strict=True):
        for i, column in enumerate(table.value_columns):
            assert same(row[column], trial.values[i] if trial.values else None), (trial.number, column)
        for kind, told in (("params_", trial.params), ("user_attrs_", trial.user_attrs)):
            for column in (c for c in have if c.startswith(kind)):
                name = column.removeprefix(kind)
                if name in told and told[name] is None and kind == "params_":
                    assert str(row[column]).startswith("None"), "a choice that is None is a choice"
                elif name in told and kind == "params_" and isinstance(told[name], float) and math.isinf(told[name]):
                    assert row[column] == str(told[name])
                else:
                    assert same(row[column], told.get(name)), (trial.number, column)
            assert {f"{kind}{name}" for name in told} <= have
        for name, value in trial.constraints.items():
            assert same(row[f"constraints_{name}"], value)
        for column, moment in (
            ("datetime_start", trial.datetime_start),
            ("datetime_complete", trial.datetime_complete),
        ):
            ours = None if is_empty(row[column]) else row[column].to_pydatetime()
            assert ours == moment
        if trial.state is TrialState.FAIL and "fail_reason" in trial.system_attrs:
            assert row["message"] == trial.system_attrs["fail_reason"]
        assert row["origin"] == ("enqueued" if "fixed_params" in trial.system_attrs else "optuna")
    reports = [(t.number, step, value) for t in trials for step, value in sorted(t.intermediate_values.items())]
    ours = list(table.reports.itertuples(index=False, name=None))
    assert [row[:2] for row in ours] == [row[:2] for row in reports]
    assert all(same(a[2], b[2]) for a, b in zip(ours, reports, strict=True))


def check_space(table: TrialsTable, study: optuna.Study) -> None:
    """The space is no narrower than any distribution, nor than any value; and no wider than all of them together."""
    assert table.space is not None
    ranges: dict[str, list[BaseDistribution]] = {}
    values: dict[str, list[Any]] = {}
    for trial in study.get_trials(deepcopy=False):
        for name, each in trial.distributions.items():
            ranges.setdefault(name, []).append(each)
            values.setdefault(name, []).append(trial.params[name])
    assert set(table.space.by_name) == set(ranges)
    for name, several in ranges.items():
        parameter = table.space.by_name[name]
        if isinstance(several[0], CategoricalDistribution):
            count = len({repr(choice) for each in several for choice in each.choices})  # type: ignore[attr-defined]
            assert parameter.count == count
            assert isinstance(parameter, Choices if count > 1 else Fixed)
            continue
        low = min(*(each.low for each in several), *values[name], math.inf)  # type: ignore[attr-defined]
        high = max(*(each.high for each in several), *values[name], -math.inf)  # type: ignore[attr-defined]
        if isinstance(parameter, Fixed):
            assert low == high == parameter.value
            continue
        assert isinstance(parameter, Integer if isinstance(several[0], IntDistribution) else Real)
        assert (parameter.low, parameter.high) == (low, high)
        column = table.trials[f"params_{name}"].dropna().tolist()
        assert all(parameter.why_outside(value) is None for value in column), (name, parameter)
        if len({repr(each) for each in several}) > 1:
            assert any(f"'{name}'" in note for note in table.notes), "that a range is not always the same is told"


def best_of(study: optuna.Study) -> set[int]:
    if len(study.directions) > 1:
        return {trial.number for trial in study.best_trials}
    try:
        return {study.best_trial.number}
    except ValueError:  # none, or none that keeps its constraints
        return set()


@pytest.mark.parametrize("seed", SEEDS)
def test_collect_says_what_optuna_says(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    studies, source = made(tmp_path, seed)
    tables = read_tables([source], root=tmp_path / "logs")
    assert [table.label for table in tables] == [study.study_name for study in studies]
    for table, study in zip(tables, studies, strict=True):
        check_trials(table, study)
        check_space(table, study)
        # as a user asks for it: the command, one study of the storage, the best of it
        assert run(["collect", f"{source}#{study.study_name}", "--best", "--format", "csv"]) == 0
        out, err = capsys.readouterr()
        rows = list(csv.DictReader(out.splitlines()))
        assert {int(row["number"]) for row in rows} == best_of(study)
        counts = [trial.state for trial in study.get_trials(deepcopy=False)]
        finished = sum(state in (TrialState.COMPLETE, TrialState.PRUNED) for state in counts)
        if counts:
            assert f"{study.study_name}: {finished} of {len(counts)} trials finished" in err


@pytest.mark.parametrize("seed", REPORTED)
def test_report_says_what_optuna_says(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    studies, source = made(tmp_path, seed)
    assert run(["report", source, "-o", str(tmp_path / "report")]) == 0
    told = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [each["label"] for each in told["studies"]] == [study.study_name for study in studies]
    for each, study in zip(told["studies"], studies, strict=True):
        trials = study.get_trials(deepcopy=False)
        states = {state.name: sum(t.state is state for t in trials) for state in TrialState}
        assert each["summary"]["states"] == {name: count for name, count in states.items() if count}
        if len(study.directions) > 1:
            assert {trial["number"] for trial in each["front"]} == best_of(study)
            continue
        able = [t for t in trials if t.state is TrialState.COMPLETE and is_analysed(t)]
        sign = 1 if study.direction is optuna.study.StudyDirection.MINIMIZE else -1
        best = min(able, key=lambda t: (sign * t.value, t.number), default=None)
        if best is None:
            assert each["summary"]["best"] is None
            continue
        assert each["summary"]["best"]["number"] == best.number
        assert each["summary"]["best"]["value"] == best.value
        if best_of(study) != {best.number}:
            assert any("not finite" in warning for warning in told["warnings"]), (
                "Optuna's best is left out: that is told"
            )


def is_analysed(trial: FrozenTrial) -> bool:
    """docs/methods.md: finite, and no larger than what can be squared; and no constraint is broken."""
    value = trial.value
    return value is not None and abs(value) < 1e150 and all(each <= 0 for each in trial.constraints.values())


def test_times_with_a_zone_beside_times_without(tmp_path: Path) -> None:
    path = tmp_path / "zones.log"
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    study = optuna.create_study(study_name="zones", storage=storage)
    for zone in (None, datetime.UTC):
        trial = create_trial(value=1.0)
        trial.datetime_start = datetime.datetime(2024, 1, 2, tzinfo=zone)
        trial.datetime_complete = datetime.datetime(2024, 1, 3, tzinfo=zone)
        study.add_trial(trial)
    (table,) = read_tables([str(path)], root=tmp_path)
    assert table.trials["seconds_total"].tolist() == [86400.0, 86400.0]
