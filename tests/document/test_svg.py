"""Scales and ticks of drawings."""

from __future__ import annotations

import pytest

from hpo_batch.document.svg import Scale, tick_labels


def test_ticks_are_round_and_few() -> None:
    assert Scale(low=0.0, high=1.0, start=0, end=1).ticks() == (0.0, 0.2, 0.4, pytest.approx(0.6), 0.8, 1.0)
    assert tick_labels(Scale(low=1e-5, high=1e-1, start=0, end=1, log=True).ticks()) == (
        "1e-5",
        "1e-4",
        "1e-3",
        "1e-2",
        "0.1",
    )
    assert Scale(low=5.0, high=5.0, start=0, end=1).ticks() == (5.0,)
