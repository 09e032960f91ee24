"""Optuna's own tests of a storage, on our journal: lock, repair and appends are ours, everything else is Optuna's."""

from __future__ import annotations

import pickle
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.testing.pytest_storages import StorageTestCase

from hpo_batch.study.backend import JournalBackend


class TestOptunaStorage(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> JournalStorage:
        return JournalStorage(JournalBackend(tmp_path / "journal.jsonl"))


def test_a_torn_tail_is_cut_at_the_next_append(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    study = optuna.create_study(storage=JournalStorage(JournalBackend(path)), study_name="s")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "worker')
    again = optuna.load_study(storage=JournalStorage(JournalBackend(path)), study_name="s")
    again.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    plain = optuna.load_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name="s")
    assert [trial.value for trial in plain.trials] == [trial.value for trial in again.trials]
    assert len(plain.trials) == 5


def test_a_backend_survives_pickling(tmp_path: Path) -> None:
    backend = JournalBackend(tmp_path / "journal.jsonl")
    optuna.create_study(storage=JournalStorage(backend), study_name="s")
    loaded = pickle.loads(pickle.dumps(backend))
    assert list(loaded.read_logs(0)) == list(backend.read_logs(0))
