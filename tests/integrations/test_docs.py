"""The examples of docs/integrations.md and of the helper in docs/objective.md, run as they stand."""

from __future__ import annotations

import os
import re
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hpo_batch
from tests.helpers import REPOSITORY
from tests.integrations.conftest import Command

pytestmark = pytest.mark.filterwarnings("ignore")
X = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]


def example(document: str, title: str) -> str:
    text = (REPOSITORY / "docs" / document).read_text().split(f"# {title}\n")[1]
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def steps(command: Command, title: str, **names: Any) -> list[float]:
    """The steps that an example reports."""
    exec(example("integrations.md", title), {"hpo_batch": hpo_batch, **names})
    return command.steps


def test_lightning(command: Command) -> None:
    pytest.importorskip("lightning.pytorch")
    from hpo_batch.integrations import LightningCallback
    from tests.integrations.test_lightning import data, new_model, trainer

    loader = data()
    model = new_model(command)
    model.val_dataloader = data
    pl = types.SimpleNamespace(Trainer=lambda callbacks: trainer(callbacks[0], max_epochs=2))
    assert steps(command, "Lightning", LightningCallback=LightningCallback, pl=pl, model=model, data=loader) == [0, 1]


def test_hugging_face(command: Command) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from hpo_batch.integrations import HuggingFaceCallback
    from tests.integrations.test_hugging_face import Line

    rows = [{"x": torch.tensor([float(x)]), "labels": torch.tensor([2.0 * float(x)])} for x in X[:, 0]]
    names = {
        "HuggingFaceCallback": HuggingFaceCallback,
        "Trainer": transformers.Trainer,
        "TrainingArguments": lambda **given: transformers.TrainingArguments(
            num_train_epochs=2, report_to=[], use_cpu=True, disable_tqdm=True, save_strategy="no", **given
        ),
    }
    assert steps(command, "Hugging Face", model=Line(command), data=rows, validation=rows, **names) == [1, 2]


def test_keras(command: Command) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    from hpo_batch.integrations import KerasCallback

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    names = {"keras": keras, "KerasCallback": KerasCallback, "model": model, "x": X, "y": 2 * X}
    assert steps(command, "Keras", validation=(X, 2 * X), **names) == [0]


def test_xgboost_and_lightgbm(command: Command) -> None:
    xgboost, lightgbm = pytest.importorskip("xgboost"), pytest.importorskip("lightgbm")
    from hpo_batch.integrations import LightGBMCallback, XGBoostCallback

    lines = example("integrations.md", "XGBoost and LightGBM").splitlines()
    labels = (X[:, 0] > 0).astype(int)
    of_xgboost = {"params": {"nthread": 1}, "data": xgboost.DMatrix(X, labels), "XGBoostCallback": XGBoostCallback}
    exec(lines[0], {"xgboost": xgboost, "validation": of_xgboost["data"], **of_xgboost})
    assert set(command.reports[-1]) == {"step", "val-rmse"}
    rows = lightgbm.Dataset(X, labels)
    of_lightgbm = {"params": {"verbosity": -1, "num_threads": 1}, "data": rows, "LightGBMCallback": LightGBMCallback}
    exec(lines[1], {"lightgbm": lightgbm, "validation": rows, **of_lightgbm})
    assert set(command.reports[-1]) == {"step", "val-l2"}


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_script_that_reports(command: Command, is_stopped: bool) -> None:
    if is_stopped:
        command.stop()
    exec(example("objective.md", "A script that reports"), {})
    assert command.steps == ([0] if is_stopped else list(range(10)))
    assert (command.checkpoint / "last.txt").exists() is is_stopped


def test_outside_a_sweep_the_script_leaves_nothing_but_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(example("objective.md", "A script that reports"), {})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]
