"""Editing a sweep's file: one key changes, comments and order stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli

from hpo_batch.errors import UserError
from hpo_batch.files import write_files
from hpo_batch.next.write import Draft

TEXT = """\
# top
[study]
name = "a" # the name

[space]
width = [
    8,  # small
    16,
    32,  # large
]
flag = true  # on
lr = { low = 1e-5, high = 1e-3, log = true } # careful

[space.depth]  # layers
low = 2
high = 6 # six

[space.derived]
twice = "width * 2"

[[budget]]
name = "2M"
space = { lr = { high = 1e-2 }, extra = [1, 2] }

[[budget]]
name = "4M"
"""


@pytest.fixture
def draft() -> Draft:
    return Draft(TEXT)


def plain(draft: Draft) -> dict[str, object]:
    return tomli.loads(draft.text)["space"]  # type: ignore[no-any-return]


def test_values_are_added_and_taken_out_between_the_comments_of_a_list(draft: Draft) -> None:
    draft.set(("space", "width"), [16, 32, 64], comment="expand: why")
    assert plain(draft)["width"] == [16, 32, 64]
    assert "# large" in draft.text
    assert "] # expand: why" in draft.text
    draft.set(("space", "width"), [4, 16, 32, 64])
    assert plain(draft)["width"] == [4, 16, 32, 64]
    draft.set(("space", "width"), 16)
    assert plain(draft)["width"] == 16


def test_a_reason_follows_the_comment_that_was_there_and_replaces_an_earlier_reason(draft: Draft) -> None:
    draft.set(("space", "lr"), {"low": 1e-6, "high": 1e-3, "log": True}, comment="expand: first; was 1")
    draft.set(("space", "lr"), {"low": 1e-6, "high": 1e-3, "log": True}, comment="keep: second")
    assert "# careful; keep: second\n" in draft.text
    assert "high = 1e-3" in draft.text  # as it was written
    draft.set(("space", "flag"), False, comment="fix: off")
    assert "flag = false # on; fix: off" in draft.text


def test_tables_of_their_own_change_key_by_key(draft: Draft) -> None:
    draft.set(("space", "depth"), {"low": 2, "high": 9}, comment="expand: why")
    assert "[space.depth]  # layers\nlow = 2 # expand: why\nhigh = 9 # six\n" in draft.text
    assert list(plain(draft)) == ["width", "flag", "lr", "depth", "derived"]


def test_one_budget_becomes_the_sweep(draft: Draft) -> None:
    draft.take_budget("2M")
    raw = tomli.loads(draft.text)
    assert "budget" not in raw
    assert raw["space"]["lr"] == {"low": 1e-5, "high": 1e-2, "log": True}
    assert raw["space"]["extra"] == [1, 2]
    assert raw["space"]["depth"] == {"low": 2, "high": 6}


def test_trials_are_added_after_those_there(draft: Draft) -> None:
    draft.add_trials([{"name": "A", "params": {"lr": 1e-4}}])
    draft.add_trials([{"name": "B", "params": {"lr": 2e-4}}])
    assert [trial["name"] for trial in tomli.loads(draft.text)["trial"]] == ["A", "B"]


def test_all_files_are_written_or_none(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("mine")
    with pytest.raises(UserError, match=r"'.*b' exists already"):
        write_files({tmp_path / "a": "1", tmp_path / "b": "2"})
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b").read_text() == "mine"


def test_text_that_is_not_toml_is_refused() -> None:
    with pytest.raises(UserError, match="not valid TOML"):
        Draft("[study")
