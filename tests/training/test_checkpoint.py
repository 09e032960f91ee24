"""Checkpoints: whole or not there, the newest two kept, a damaged one passed over."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo_batch.training import checkpoint


def state(epoch: int) -> dict[str, object]:
    return {"epoch": epoch, "weights": torch.full((3,), float(epoch)), "names": ("a", "b"), "none": None}


def epoch_in(directory: Path) -> object:
    found = checkpoint.load(directory)
    return found["epoch"] if found else None


def test_the_newest_is_loaded_and_two_are_kept(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "checkpoint"
    assert checkpoint.load(directory) is None
    paths = [checkpoint.save(directory, epoch, state(epoch)) for epoch in (9, 10, 11)]
    assert sorted(directory.iterdir()) == paths[1:]
    loaded = checkpoint.load(directory)
    assert loaded is not None
    assert torch.equal(loaded["weights"], torch.full((3,), 11.0))
    assert loaded["names"] == ("a", "b")


def test_a_checkpoint_is_a_plain_torch_file(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, state(1))
    assert torch.load(path, weights_only=True)["epoch"] == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_torn_newest_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path, 1, state(1))
    newest = checkpoint.save(tmp_path, 2, state(2))
    content = newest.read_bytes()
    newest.write_bytes(content[: int(len(content) * share)])
    with caplog.at_level(logging.WARNING):
        assert epoch_in(tmp_path) == 1
    assert str(newest) in caplog.text


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_altered_byte_is_noticed(tmp_path: Path, position: float, flip: int) -> None:
    checkpoint.save(tmp_path, 1, state(1))
    newest = checkpoint.save(tmp_path, 2, state(2))
    content = bytearray(newest.read_bytes())
    content[int(position * len(content))] ^= flip
    newest.write_bytes(content)
    assert epoch_in(tmp_path) == 1


def test_none_is_loaded_when_all_are_damaged(tmp_path: Path) -> None:
    for epoch in (1, 2):
        checkpoint.save(tmp_path, epoch, state(epoch)).write_bytes(b"")
    assert checkpoint.load(tmp_path) is None


def test_later_epochs_of_a_run_that_was_given_up_are_not_taken_for_the_newest(tmp_path: Path) -> None:
    for epoch in (7, 8):
        checkpoint.save(tmp_path, epoch, state(epoch))
    path = checkpoint.save(tmp_path, 1, state(1))
    assert list(tmp_path.iterdir()) == [path]


def test_the_rest_of_a_killed_write_is_ignored_and_removed(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, state(1))
    torn = tmp_path / ".epoch-000002.00000000.pt.1a2b.tmp"
    torn.write_bytes(b"half")
    assert epoch_in(tmp_path) == 1
    checkpoint.save(tmp_path, 2, state(2))
    assert not torn.exists()


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = checkpoint.save(tmp_path, 1, state(1))

    def no_space(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", no_space)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, 2, state(2))
    assert list(tmp_path.iterdir()) == [old]
    assert epoch_in(tmp_path) == 1
