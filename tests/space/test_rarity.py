"""How rare valid configurations are: estimated from random draws, and no more of them than the answer needs."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hpo_batch.records import Configuration
from hpo_batch.space import draw as space_draw
from hpo_batch.space.draw import at_random
from hpo_batch.space.space import Space

from .spaces import make


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Configuration]:
    """Every configuration that was drawn for an estimate."""
    found: list[Configuration] = []

    def noted(space: Space, rng: random.Random) -> Configuration:
        found.append(at_random(space, rng))
        return found[-1]

    monkeypatch.setattr(space_draw, "at_random", noted)
    return found


def space(rule: str) -> Space:
    raw: dict[str, Any] = {"x": {"low": 0.0, "high": 1.0}, "constraints": {"small": rule}}
    return make(raw)


def test_what_is_not_rare_is_known_after_a_few_draws(drawn: list[Configuration]) -> None:
    assert space_draw.rarely_valid(space("x < 0.5")) is None
    assert space_draw.RARE * space_draw.DRAWS <= len(drawn) < 0.05 * space_draw.DRAWS


@pytest.mark.parametrize("share", [0.005, 0.0])
def test_what_is_rare_is_counted_over_all_draws(drawn: list[Configuration], share: float) -> None:
    found = space_draw.rarely_valid(space(f"x < {share}"))
    assert found is not None
    assert len(drawn) == space_draw.DRAWS
    assert found.valid == sum(configuration.searched["x"] < share for configuration in drawn)  # type: ignore[operator]
    assert found.refused == space_draw.DRAWS - found.valid
    assert found.worst == "small"
