"""A frozen sweep as readers without pydantic see it."""

from __future__ import annotations

from pathlib import Path

from hpo_batch.store.frozen import read_frozen, setting
from tests.study.helpers import make


def test_the_frozen_sweep_as_it_stands(root: Path) -> None:
    home = make(root)
    frozen = read_frozen(home, 1)
    assert setting(frozen, "study", "trials", 0) == 5
    assert setting(frozen, "job", "never", "default") == "default"
    home.revision(1).write_text("{")
    assert read_frozen(home, 1) is None
    assert setting(None, "study", "trials", 7) == 7
