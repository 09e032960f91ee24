"""What the rows of a table are, trials or the steps of trials: files of scikit-learn, Ray Tune, W&B and others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.tree import DecisionTreeClassifier

from hpo_batch.cli.main import run
from hpo_batch.errors import UserError
from hpo_batch.results.table import TrialsTable
from hpo_batch.sources.columns import direction_of
from hpo_batch.sources.read import read_tables
from hpo_batch.space.parameters import Choices, Real
from tests.sources.conftest import Read, told

GRID = [{"max_depth": [1, 2, 3], "criterion": ["gini", "entropy"]}, {"max_depth": [4], "min_samples_leaf": [1, 5]}]


def csv(rows: list[dict[str, Any]] | Mapping[str, Any]) -> str:
    return pd.DataFrame(rows).to_csv(index=False)


# scikit-learn


@pytest.mark.parametrize("how", ["csv", "json", "parquet", "only params"])
def test_cv_results_of_scikit_learn(how: str, read: Read, tmp_path: Path) -> None:
    search = GridSearchCV(DecisionTreeClassifier(random_state=0), GRID, cv=2, return_train_score=True)
    search.fit(*load_iris(return_X_y=True))
    frame = pd.DataFrame(search.cv_results_)
    if how == "only params":
        frame = frame[["params", "mean_test_score", "std_test_score", "rank_test_score", "mean_fit_time"]]
    if how == "parquet":
        for name in frame.columns:
            frame[name] = frame[name].map(str) if frame[name].dtype == object else frame[name]
        frame.replace("nan", None).to_parquet(tmp_path / "r.parquet")
        table = read((tmp_path / "r.parquet").read_bytes(), "r.parquet")
    elif how == "json":
        table = read(frame.to_json(orient="records"), "r.json")
    else:
        table = read(frame.to_csv())
    assert set(table.parameters) == {"max_depth", "criterion", "min_samples_leaf"}
    assert (table.metrics, table.directions) == (("mean_test_score",), ("maximize",))
    assert table.trials["value"].max() == pytest.approx(search.best_score_)
    best = table.best_first(1).iloc[0]
    assert {name: best[f"params_{name}"] for name in search.best_params_} == search.best_params_
    assert "'params'" in told(table)


def test_a_halving_search_is_curves_over_its_resources(read: Read) -> None:
    grid = {"max_depth": [1, 2, 3, 5], "min_samples_leaf": [1, 5, 20]}
    search = HalvingGridSearchCV(DecisionTreeClassifier(random_state=0), grid, cv=2, random_state=0)
    search.fit(*load_iris(return_X_y=True))
    results = pd.DataFrame(search.cv_results_)
    table = read(results.to_csv(index=False))
    assert len(table.trials) == 12 < len(results)
    assert len(table.reports) == len(results)
    final = results[results["iter"] == results["iter"].max()]
    assert table.counts.complete == len(final)
    assert table.counts.pruned == 12 - len(final)
    assert table.trials[table.trials["state"] == "COMPLETE"]["value"].max() == pytest.approx(search.best_score_)


def test_several_scores_are_asked_for_without_their_splits(read: Read) -> None:
    names = ("mean_test_{}", "std_test_{}", "split0_test_{}", "rank_test_{}", "mean_train_{}")
    rows = [{"param_C": i, **{n.format(m): i / 3 for n in names for m in ("acc", "neg_log_loss")}} for i in (1, 2, 3)]
    with pytest.raises(UserError, match=r"measurements there: mean_test_acc, mean_test_neg_log_loss\)"):
        read(csv(rows))
    assert read(csv(rows), value=("mean_test_neg_log_loss",)).directions == ("maximize",)


@pytest.mark.parametrize(
    ("name", "direction"),
    [("neg_mean_squared_error", "maximize"), ("mean_test_neg_log_loss", "maximize"), ("log_loss", "minimize"),
     ("val_negative_loss", "maximize"), ("neg_auc", "maximize")],
)  # fmt: skip
def test_a_negated_loss_is_to_be_maximized(name: str, direction: str) -> None:
    assert direction_of(name) == direction


# numbers as texts


@pytest.mark.parametrize(
    "texts", [["1e-2", 0.01, 0.1], ["1e-2", "0.01", "0.1"], [0.01, "1E-2", " 0.1"], ["inf", 1, "2"]]
)
def test_numbers_of_json_that_are_texts_are_numbers(texts: list[Any], read: Read) -> None:
    rows = [{"lr": text, "value": i} for i, text in enumerate(texts * 3)]
    for content in (
        json.dumps(rows),
        json.dumps({"lr": texts * 3, "value": list(range(9))}),
        "\n".join(map(json.dumps, rows)),
    ):
        table = read(content, "r.json")
        assert [float(value) for value in table.trials["params_lr"]] == [float(text) for text in texts * 3]
        assert "text columns read as numbers or booleans: lr" in told(table)


def test_texts_that_are_no_numbers_stay_texts(read: Read) -> None:
    rows = [{"gamma": gamma, "id": f"{i:03}", "on": on, "value": i} for i, (gamma, on) in
            enumerate([("scale", True), (0.1, "false"), (0.2, "True"), ("scale", False)])]  # fmt: skip
    table = read(json.dumps(rows), "r.json", params=("gamma", "on", "id"))
    assert table.trials["params_gamma"].tolist() == ["scale", 0.1, 0.2, "scale"]
    assert table.trials["params_id"].tolist() == ["000", "001", "002", "003"]
    assert table.trials["params_on"].tolist() == [True, False, True, False]


# Ray Tune


def ray(root: Path, *, trials: int = 20, steps: int = 5, state: bool = True, done: bool = True) -> Path:
    """As Ray Tune's loggers write it: every third trial was stopped early, the last one failed at once."""
    facts = []
    for i in range(trials):
        id = f"c0de_{i:05d}"
        folder = root / f"train_{id}_{i}_lr=0.{i:03d}_2024-05-01_10-00-00"
        folder.mkdir(parents=True)
        config = {"lr": 0.001 * (i + 1), "model": {"width": (32, 64)[i % 2]}, "layers": [8, 8]}
        (folder / "params.json").write_text(json.dumps(config))
        (folder / "params.pkl").write_bytes(b"\x80")
        count = 0 if i == trials - 1 else 2 if i % 3 == 0 else steps
        rows = [
            {
                "mean_accuracy": round(0.5 + 0.01 * step + 0.001 * i, 4), "timestamp": 1714550400 + step,
                "done": done and step == count,
                "checkpoint_dir_name": None, "training_iteration": step, "trial_id": id, "date": "2024-05-01_10-00-00",
                "time_this_iter_s": 1.5, "time_total_s": 1.5 * step, "pid": 1, "hostname": "n1", "node_ip": "10.0.0.1",
                "config": config, "time_since_restore": 1.5 * step, "iterations_since_restore": step,
            }
            for step in range(1, count + 1)
        ]  # fmt: skip
        (folder / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if rows:
            flat = [{**{k: v for k, v in row.items() if k != "config"}, "config/lr": config["lr"],
                     "config/model/width": config["model"]["width"]} for row in rows]  # type: ignore[index] # fmt: skip
            pd.DataFrame(flat).to_csv(folder / "progress.csv", index=False)
        else:
            (folder / "error.txt").write_text("Traceback (most recent call last):\n")
        status = "TERMINATED" if rows else "ERROR"
        facts.append([json.dumps({"trial_id": id, "status": status, "config": config}), "{}"])
    if state:
        (root / "experiment_state-2024-05-01_10-00-00.json").write_text(json.dumps({"trial_data": facts, "stats": {}}))
    return root


def check_ray(table: TrialsTable, *, trials: int = 20) -> None:
    assert (table.label, len(table.trials)) == ("exp", trials)
    assert table.metrics == ("mean_accuracy",)
    assert {"lr", "model.width"} <= set(table.parameters) <= {"lr", "model.width", "layers"}
    assert table.space is not None
    assert isinstance(table.space.by_name["lr"], Real)
    stopped = table.trials["value"].tolist()[:2]
    assert stopped == [0.52, 0.551]  # of the last step, the second and the fifth
    assert table.reports[table.reports["number"] == 1]["step"].tolist() == [1, 2, 3, 4, 5]


def test_a_folder_of_ray_tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = ray(tmp_path / "ray_results" / "exp")
    for source in ("ray_results/exp", "ray_results/exp/", str(folder), "ray_results"):
        (table,) = read_tables([source], root=tmp_path)
        check_ray(table)
        assert (table.counts.complete, table.counts.failed) == (19, 1)
        assert "end before step 5" in told(table)


@pytest.mark.parametrize("name", ["result.json", "progress.csv"])
def test_the_files_of_its_trials_are_one_study(name: str, tmp_path: Path) -> None:
    folder = ray(tmp_path / "ray_results" / "exp")
    files = sorted(map(str, folder.glob(f"*/{name}")))
    (table,) = read_tables(files, root=tmp_path)
    check_ray(table, trials=len(files))
    (one,) = read_tables(files[1:2], root=tmp_path)
    assert one.trials["value"].tolist() == [0.551]
    (same,) = read_tables([str(Path(files[1]).parent)], root=tmp_path)
    assert same.trials["value"].tolist() == [0.551]


def test_how_trials_of_ray_tune_ended(tmp_path: Path) -> None:
    (known,) = read_tables([str(ray(tmp_path / "a" / "exp", state=False))], root=tmp_path)
    assert (known.counts.complete, known.counts.failed) == (19, 1)
    (unknown,) = read_tables([str(ray(tmp_path / "b" / "exp", state=False, done=False))], root=tmp_path)
    assert (unknown.counts.complete, unknown.counts.failed) == (19, 1)
    assert "no file says how the trials ended" in told(unknown)
    folder = ray(tmp_path / "c" / "exp", state=False)
    running = next(folder.glob("*00001_1*")) / "result.json"
    running.write_text("".join(running.read_text().splitlines(keepends=True)[:3]) + '{"mean_acc')
    (table,) = read_tables([str(folder)], root=tmp_path)
    assert (table.counts.running, table.trials["state"][1]) == (1, "RUNNING")


def test_a_restart_tells_a_step_again(tmp_path: Path) -> None:
    folder = ray(tmp_path / "exp")
    file = next(folder.glob("*00001_1*")) / "result.json"
    last = json.loads(file.read_text().splitlines()[-1])
    file.write_text(file.read_text() + json.dumps({**last, "mean_accuracy": 0.9}) + "\n")
    (table,) = read_tables([str(folder)], root=tmp_path)
    assert table.trials["value"][1] == 0.9
    assert "reported more than once" in told(table)


def test_a_file_of_one_trial_that_was_moved_away(read: Read, tmp_path: Path) -> None:
    folder = next(ray(tmp_path / "exp").glob("*00001_1*"))
    for name in ("result.json", "progress.csv"):
        table = read((folder / name).read_bytes(), name)
        assert (len(table.trials), len(table.reports)) == (1, 5)
        assert "lr" in table.parameters


def test_ray_tunes_own_data_frame(read: Read, tmp_path: Path) -> None:
    folder = ray(tmp_path / "exp")
    last = [pd.read_csv(path).tail(1) for path in sorted(folder.glob("*/progress.csv"))]
    table = read(pd.concat(last).to_csv())
    assert len(table.trials) == len(last)
    assert table.parameters == ("lr", "model/width")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"mlruns/0/meta.yaml": ""}, "mlflow.search_runs"),
        ({"run-20240501_100000-ab12/files/config.yaml": ""}, "Weights & Biases"),
        ({"0/.hydra/config.yaml": "", "multirun.yaml": ""}, "Hydra"),
        ({"a.csv": "lr,value\n1,2\n", "b.json": "[]"}, "each of these files is a study of its own: a.csv, b.json"),
        ({"notes.txt": ""}, "nor any CSV"),
    ],
)
def test_other_folders_are_told_apart(files: dict[str, str], says: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_text(text)
    with pytest.raises(UserError) as caught:
        read_tables([str(tmp_path / "folder")], root=tmp_path / "logs")
    assert says in str(caught.value)


def test_an_experiment_can_be_reported_and_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ray(tmp_path / "exp")
    assert run(["report", str(folder), "-o", str(tmp_path / "report")]) == 0
    found = json.loads((tmp_path / "report" / "report.json").read_text())["studies"][0]
    assert (found["summary"]["n"], found["summary"]["best"]["number"]) == (19, 17)
    assert len(found["curves"]) == 19
    (tmp_path / "s.toml").write_text(
        '[study]\nname = "s"\nmetric = "mean_accuracy"\ndirection = "maximize"\ntrials = 3\n'
        '[objective]\nfunction = "a:b"\n[space]\nlr = { low = 1e-4, high = 1.0, log = true }\n'
    )
    capsys.readouterr()
    options = ["--into", str(tmp_path / "s.toml"), "--root", str(tmp_path / "logs"), "-n"]
    assert run(["import", str(folder), *options]) == 0
    assert "exp: 19 of 20 trials taken" in capsys.readouterr().err


# Weights & Biases


def runs(n: int = 8) -> pd.DataFrame:
    """The table of runs as its page exports it: configuration and summary without any mark."""
    return pd.DataFrame(
        {
            "Name": [f"brisk-sun-{i}" for i in range(n)], "State": ["finished"] * n, "Notes": ["-"] * n,
            "User": ["me"] * n, "Tags": [""] * n, "Created": ["2024-05-01T10:00:00.000Z"] * n,
            "Runtime": [100 + 7 * i for i in range(n)], "Sweep": ["ab12"] * n, "ID": [f"x{i}" for i in range(n)],
            "GPU Count": [i % 2 + 1 for i in range(n)], "Hostname": [f"n{i % 3}" for i in range(n)],
            "lr": [10.0 ** -(1 + i % 4) for i in range(n)],
            "batch_size": [16, 32] * (n // 2), "epochs": [10, 20] * (n // 2),
            "_runtime": [99.5 + i for i in range(n)], "_step": [100 - i for i in range(n)],
            "_timestamp": [1.7e9 + i for i in range(n)], "_wandb.runtime": list(range(n)),
            "epoch": [10, 9] * (n // 2), "global_step": [100 * i for i in range(n)],
            "val_accuracy": [0.1 * i for i in range(n)],
        }
    )  # fmt: skip


def test_runs_of_weights_and_biases(read: Read) -> None:
    table = read(runs().to_csv(index=False))
    assert table.parameters == ("lr", "batch_size", "epochs")
    assert len(table.trials) == 8
    assert table.trials["seconds_total"].tolist() == runs()["Runtime"].tolist()


def test_a_chart_is_no_table_of_runs(read: Read) -> None:
    names = [f"brisk-sun-{i} - val_loss{end}" for i in range(2) for end in ("", "__MIN", "__MAX")]
    with pytest.raises(UserError, match="export the table of the runs"):
        read(csv([{"Step": step, **dict.fromkeys(names, 1.0 / (step + 1))} for step in range(4)]))


def test_runs_as_its_api_prints_them(read: Read) -> None:
    frame = pd.DataFrame(
        {
            "summary": [
                str({"_step": 9, "loss": 0.1 * i, "_wandb": {"runtime": 3}, "x": float("nan")}) for i in range(6)
            ],
            "config": [str({"lr": np.float64(10.0**-i), "opt": "adam", "aug": None}) for i in range(6)],
            "name": [f"run {i}" for i in range(6)],
        }
    )
    table = read(frame.to_csv())
    assert table.parameters == ("lr", "opt")
    assert (table.metrics, table.directions) == (("loss",), ("minimize",))
    assert table.trials["params_lr"].tolist() == [10.0**-i for i in range(6)]


# tables of steps, whoever wrote them


def steps(keys: list[dict[str, Any]], *, count: int = 4, step: str = "epoch", first: int = 0) -> list[dict[str, Any]]:
    return [
        {**key, step: first + at, "val_auc": round(0.5 + 0.1 * i + 0.01 * at, 3)}
        for i, key in enumerate(keys)
        for at in range(count - i % 2)
    ]


@pytest.mark.parametrize("step", ["epoch", "step", "_step", "global_step", "training_iteration", "iteration"])
@pytest.mark.parametrize(
    "keys",
    [
        [{"lr": 0.1, "wd": 0.0}, {"lr": 0.1, "wd": 0.1}, {"lr": 0.2, "wd": 0.0}],
        [{"trial": 0, "lr": 0.1}, {"trial": 1, "lr": 0.1}, {"trial": 2, "lr": 0.2}],
        [{"run_id": "a", "config.lr": 0.1}, {"run_id": "b", "config.lr": 0.1}, {"run_id": "c", "config.lr": 0.2}],
        [{"name": "a", "lr": 0.1}, {"name": "b", "lr": 0.1}, {"name": "c", "lr": 0.2}],
        [{"seed": 0, "lr": 0.1}, {"seed": 1, "lr": 0.1}, {"seed": 1, "lr": 0.2}],
    ],
    ids=["configurations", "numbers", "ids", "names", "seeds"],
)
def test_steps_are_put_together_to_trials(keys: list[dict[str, Any]], step: str, read: Read) -> None:
    table = read(csv(steps(keys, step=step)))
    assert table.trials["value"].tolist() == [0.53, 0.62, 0.73]
    assert table.trials["params_lr"].tolist() == [key.get("lr", key.get("config.lr")) for key in keys]
    assert step not in table.parameters
    assert table.reports.groupby("number").size().tolist() == [4, 3, 4]
    assert "rows are steps of trials" in told(table)


@pytest.mark.parametrize(
    "rows",
    [
        # the best epoch of each trial, repeats of a configuration among them
        [
            {"lr": lr, "epoch": epoch, "val_auc": i / 9}
            for i, (lr, epoch) in enumerate([(1, 7), (1, 3), (2, 9), (2, 5)])
        ],
        [{"name": "a", "seed": s, "epoch": 5 + s, "val_auc": s / 9} for s in range(4)],
        [{"trial": i, "epoch": i, "lr": i / 8, "val_auc": i / 9} for i in range(5)],
        # the number of the trial, as optimizers count it
        [{"iteration": i, "lr": 0.3 / (i + 1), "val_auc": i / 9} for i in range(5)],
        [{"step": i, "lr": (i * 7 % 5) / 8, "val_auc": i / 9} for i in range(5)],
        # two studies in a file: a number has two configurations
        [{"id": i % 3, "lr": i / 8, "epoch": (i * 5) % 7, "val_auc": i / 9} for i in range(6)],
    ],
    ids=["best epoch", "seeds", "trials", "iterations", "steps", "two studies"],
)
def test_trials_with_a_column_of_steps_stay_trials(rows: list[dict[str, Any]], read: Read) -> None:
    options: dict[str, Any] = {"ignore": ("id",)} if "id" in rows[0] else {}
    table = read(csv(rows), **options)
    assert len(table.trials) == len(rows)
    assert not {"epoch", "iteration", "step"} & set(table.parameters)
    assert table.reports.empty


def test_every_decision_can_be_overruled(read: Read) -> None:
    rows = steps([{"lr": 0.1, "wd": 0.0}, {"lr": 0.2, "wd": 0.0}], count=4)
    assert len(read(csv(rows), ignore=("epoch",)).trials) == 7
    table = read(csv(rows), params=("lr", "epoch"))
    assert (len(table.trials), table.parameters) == (7, ("lr", "epoch"))


def test_one_training_is_one_trial(read: Read) -> None:
    keras = {"epoch": range(6), "accuracy": np.linspace(0.1, 0.9, 6), "val_loss": np.linspace(1, 0.2, 6),
             "learning_rate": [0.1] * 3 + [0.01] * 3}  # fmt: skip
    table = read(csv(keras), value=("val_loss",))
    assert (len(table.trials), table.parameters, table.trials["value"].tolist()) == (1, (), [pytest.approx(0.2)])
    assert "not parameters, since they change within a trial: learning_rate" in told(table)
    lightning = {"epoch": [0, 0, 0, 1, 1, 1], "step": [49, 99, 99, 149, 199, 199],
                 "train_loss": [1, 0.9, None, 0.8, 0.7, None],
                 "val_loss": [None, None, 0.95, None, None, 0.75]}  # fmt: skip
    table = read(csv(lightning), value=("val_loss",))
    assert table.trials["value"].tolist() == [0.75]
    assert table.reports["value"].tolist() == [0.95, 0.75]


def test_steps_of_several_studies_in_a_file(tmp_path: Path) -> None:
    rows = [
        {"study": study, **row} for study in "ab" for row in steps([{"trial": 0, "lr": 0.1}, {"trial": 1, "lr": 0.2}])
    ]
    (tmp_path / "r.csv").write_text(csv(rows))
    tables = read_tables([str(tmp_path / "r.csv")], root=tmp_path)
    assert [table.trials["value"].tolist() for table in tables] == [[0.53, 0.62]] * 2
    assert [len(table.reports) for table in tables] == [7, 7]


def test_rows_that_say_they_are_one_trial_and_do_not_say_how(read: Read) -> None:
    rows = [{"trial_id": f"t{i // 3}", "lr": 0.1 * (i // 3), "auc": i / 9} for i in range(6)]
    with pytest.raises(UserError, match="'t0' appears 3 times in column 'trial_id'"):
        read(csv(rows))
    assert len(read(csv(rows), ignore=("trial_id",)).trials) == 6


def test_choices_of_numbers_stay_choices_in_curves(read: Read) -> None:
    table = read(csv(steps([{"trial": i, "width": (16, 32)[i % 2]} for i in range(8)])))
    assert table.space is not None
    assert table.space.by_name["width"] == Choices(name="width", values=(16, 32), ordered=True)
