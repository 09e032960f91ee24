"""Spaces from the distributions that a file gives; those of damaged files are told."""

from __future__ import annotations

from typing import Any

import pytest

from hpo_batch.errors import StorageError
from hpo_batch.sources.infer import from_distributions


@pytest.mark.parametrize(
    "facts",
    [
        {"name": "FloatDistribution", "attributes": {"low": 0.0, "High": 1.0}},
        {"name": "FloatDistribution", "attributes": {"low": "0", "high": 1.0}},
        {"name": "IntDistribution", "attributes": {"low": 0, "high": float("inf"), "step": 1}},
        {"name": "IntDistribution", "attributes": {"low": 0, "high": 9, "step": "two"}},
        {"name": "CategoricalDistribution", "attributes": {"choices": None}},
        {"name": "CategoricalDistribution", "attributes": {"Choices": [1, 2]}},
        {"name": "FloatDistribution", "attributes": None},
        {"name": None, "attributes": {"low": 0.0, "high": 1.0}},
        {},
        None,
    ],
)
def test_what_is_no_distribution_is_told_with_its_parameter(facts: Any) -> None:
    with pytest.raises(StorageError, match="'lr' make no sense"):
        from_distributions({"lr": [facts]}, {})
