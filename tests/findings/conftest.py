"""Forests small enough for tests that ask nothing of the null line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hpo_batch.findings.importance import numbers as importance


@pytest.fixture(scope="module")
def small_forests() -> Iterator[None]:
    """fANOVA with a rough null line and range; test_parts and test_simulations hold those of full size."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"N_NULL": 3, "N_RESAMPLED": 3, "N_TREES": 16, "N_TREES_HELD_OUT": 8}.items():
            patch.setattr(importance, name, value)
        yield


@pytest.fixture
def no_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what takes most of a report's time."""
    monkeypatch.setattr("hpo_batch.findings.importance.subject.importance", lambda data, seed: None)
