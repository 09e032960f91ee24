"""Names that are told apart: of equal labels, metrics and studies."""

from __future__ import annotations

import pytest

from hpo_batch.text.names import unique_names


@pytest.mark.parametrize(
    ("names", "unique"),
    [
        ([], []),
        (["a", "b"], ["a", "b"]),
        (["a", "a", "a"], ["a", "a (2)", "a (3)"]),
        (["a", "a", "a (2)"], ["a", "a (3)", "a (2)"]),  # a name that somebody chose stays as it is
        (["a (2)", "a", "a"], ["a (2)", "a", "a (3)"]),
    ],
)
def test_each_name_is_another(names: list[str], unique: list[str]) -> None:
    assert unique_names(names) == unique
