"""Checkpoints: whole or not there, the newest two kept, a damaged one passed over."""

from __future__ import annotations

import logging
import pickle
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo_batch.training import checkpoint
from hpo_batch.training.checkpoint import Checkpoint


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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=30))
def test_whatever_stands_in_a_file_of_the_right_name_ends_nothing(
    tmp_path: Path, places: list[tuple[float, int]]
) -> None:
    """Of another program, or forged: the checksum in its name is right."""
    older = checkpoint.save(tmp_path, 1, state(1))
    content = bytearray(older.read_bytes())
    for position, value in places:
        content[int(position * len(content))] = value
    (tmp_path / checkpoint._name(2, bytes(content))).write_bytes(content)
    Checkpoint(tmp_path, {}, {"model": torch.nn.Linear(1, 1)}).restore()


@pytest.mark.parametrize("content", [b"", b"[1, 2]", pickle.dumps([1, 2]), b"PK\x05\x06" + bytes(18)])
def test_no_checkpoint_at_all_falls_back_to_the_one_before(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path, 1, state(1))
    path = tmp_path / checkpoint._name(2, content)
    path.write_bytes(content)
    (tmp_path / "epoch-000003.0123abcd.pt").mkdir()
    assert epoch_in(tmp_path) == 1
    assert str(path) in caplog.text


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


def parts(seed: int = 0) -> dict[str, Any]:
    """A small training with everything that has a state: also a scheduler, and a generator of the data's order."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2)
    order = torch.Generator().manual_seed(seed)
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler, "order": order}


def run(training: dict[str, Any], epochs: int) -> list[float]:
    losses = []
    for _ in range(epochs):
        # Python's and NumPy's generators take part, as in somebody's augmentation
        shift = random.random() + float(np.random.random())
        x = torch.randn(8, 3, generator=training["order"]) + shift
        loss = training["model"](x).square().mean()
        training["optimizer"].zero_grad()
        loss.backward()
        training["optimizer"].step()
        training["scheduler"].step()
        losses.append(float(loss.detach()))
    return losses


def test_a_training_goes_on_to_the_last_bit(tmp_path: Path) -> None:
    random.seed(1)
    np.random.seed(1)  # the generator that is saved
    whole = parts()
    keeper = Checkpoint(tmp_path, {"lr": 0.1}, whole)
    run(whole, 3)
    keeper.save(3, {"best": {"loss": 0.5, "epoch": 2}, "weights": torch.ones(2)})
    expected = run(whole, 4)

    other = parts(seed=9)
    run(other, 2)
    saved = Checkpoint(tmp_path, {"lr": 0.1}, other).restore()
    assert saved is not None
    assert (saved["epoch"], saved["best"]) == (3, {"loss": 0.5, "epoch": 2})
    assert torch.equal(saved["weights"], torch.ones(2))
    assert set(saved) == {"epoch", "best", "weights"}
    assert run(other, 4) == expected
    assert other["optimizer"].param_groups[0]["lr"] == whole["optimizer"].param_groups[0]["lr"] < 0.1
    for a, b in zip(whole["model"].state_dict().values(), other["model"].state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_nothing_to_continue_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Checkpoint(tmp_path / "none", {}, parts()).restore() is None
    assert caplog.text == ""


def other_identity(path: Path) -> None:
    Checkpoint(path, {"lr": 0.2, "seed": 1}, parts()).save(1)


def other_shape(path: Path) -> None:
    Checkpoint(path, {"lr": 0.1}, {**parts(), "model": torch.nn.Linear(2, 2)}).save(1)


def fewer_parts(path: Path) -> None:
    Checkpoint(path, {"lr": 0.1}, {"model": parts()["model"]}).save(1)


def other_format(path: Path) -> None:
    checkpoint.save(path, 1, {"format": 99, "identity": {"lr": 0.1}})


def of_an_older_version(path: Path) -> None:
    checkpoint.save(path, 1, {"identity": {"lr": 0.1}, "epoch": 1})


def an_object(path: Path) -> None:
    checkpoint.save(path, 1, {"format": 1, "path": path})


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (other_identity, r"of other parameters or seed \(lr 0.2 there, 0.1 here; seed 1 there, 'not set' here\)"),
        (other_shape, "of a model of another shape"),
        (fewer_parts, "without optimizer, scheduler, order"),
        (other_format, "of format 99, and this version of hpo-batch reads format 1"),
        (of_an_older_version, "of format unknown, and this version of hpo-batch reads format 1"),
        (an_object, "cannot read checkpoint"),
    ],
)
def test_another_checkpoint_changes_nothing_and_is_told(
    tmp_path: Path, write: Callable[[Path], None], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path)
    training = parts()
    before = torch.get_rng_state()
    with caplog.at_level(logging.WARNING):
        assert Checkpoint(tmp_path, {"lr": 0.1}, training).restore() is None
    assert re.search(message, caplog.text)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(
        torch.equal(a, b) for a, b in zip(training["model"].parameters(), parts()["model"].parameters(), strict=True)
    )


def test_another_version_of_torch_is_told_and_continued(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = Checkpoint(tmp_path, {}, parts()).save(1)
    state = torch.load(path, weights_only=True)
    checkpoint.save(tmp_path, 2, {**state, "torch": "1.0.0", "epoch": 2})
    saved = Checkpoint(tmp_path, {}, parts()).restore()
    assert saved == {"epoch": 2}
    assert "was written by torch 1.0.0, and this is torch" in caplog.text


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"model": 1}, ValueError, "names of parts and of values at once: model"),
        ({"rng": 1}, ValueError, "a checkpoint uses these names itself: rng"),
        ({"best": {"auc": np.float64(0.5)}}, TypeError, r"checkpoint\['best'\]\['auc'\] is a float64: save numbers"),
        ({"path": Path()}, TypeError, r"\['path'\] is a PosixPath"),
    ],
)
def test_what_could_not_be_loaded_again_is_not_saved(
    tmp_path: Path, values: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Checkpoint(tmp_path, {}, parts()).save(1, values)
    assert list(tmp_path.iterdir()) == []


def test_the_disk_holds_two_at_most(tmp_path: Path) -> None:
    keeper = Checkpoint(tmp_path, {}, parts())
    sizes = []
    for epoch in range(1, 30):
        keeper.save(epoch)
        sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
    assert len(list(tmp_path.iterdir())) == 2
    assert max(sizes) < 3 * sizes[0]
