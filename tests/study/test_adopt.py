"""Finished rows as a study of their own: complete in one step, or not there at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from hpo_batch.errors import StorageError, UserError
from hpo_batch.records import TrialState
from hpo_batch.store.home import StudyHome, all_homes, find_homes, home_of
from hpo_batch.study import adopt as module
from hpo_batch.study.adopt import Row, adopt, fitting, kept_count, settled
from hpo_batch.study.create import what_changes
from hpo_batch.study.read import read_revision
from hpo_batch.study.study import Study
from hpo_batch.study.translate import target_with_history
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.size import target
from tests.study.helpers import Text, idle, make, owner, plain, state_of, sweep_of

SPACE = "x = { low = 0.0, high = 1.0 }\nn = [1, 2, 3, 4]\nepochs = 5"
MORE = '[baseline]\nx = 0.5\nn = 1\n[[trial]]\nname = "first"\nparams = { x = 0.1, n = 2 }\n'


def row(number: int = 0, *, value: float = 0.5, **params: object) -> Row:
    return Row(
        file=0, number=number, params={"x": 0.25, "n": 1, **params}, values=(value,),  # type: ignore[dict-item]
        metrics={"loss": value},
    )  # fmt: skip


def made(root: Path, rows: list[Row], *, text: Text | None = None) -> tuple[StudyHome, Sweep]:
    sweep = sweep_of(root / "toml", text or Text(space=SPACE))
    fits = fitting(sweep, rows)
    home = home_of(root, "adopted")
    adopt(home, settled(sweep, "adopted", trials=len(fits.taken)), fits.taken, facts={"files": []})
    return home, sweep


@pytest.mark.parametrize(
    "text",
    [
        Text(space=SPACE),
        Text(space=SPACE, sampler='name = "list"', study="", rest=MORE),
        Text(space="n = [1, 2, 3, 4]\nx = [0.25, 0.5]\nepochs = 5", sampler='name = "grid"', study="", rest=MORE),
        Text(space=SPACE, sampler='name = "tpe"\nextremes = ["x"]', rest=MORE),
        Text(space=SPACE, study="trials = 5\nreplicates = 3"),
    ],
    ids=["random", "list", "grid", "extremes", "replicates"],
)
def test_whatever_the_sweep_plans_nothing_is_left_to_do(root: Path, text: Text) -> None:
    home, _ = made(root, [row(3), row(7, n=2.0)], text=text)
    state = state_of(home)
    assert (state.counts().target, state.counts().complete, state.counts().remaining) == (2, 2, 0)
    frozen = read_revision(home, state)
    assert (target(frozen), target_with_history(frozen, state), what_changes(home, frozen, state).lines) == (2, 2, ())
    with Study.open(home, owner()) as study:
        assert "target met" in str(idle(study).why)
    assert [t.state for t in state.trials] == [TrialState.COMPLETE] * 2
    assert [t.facts["adopted"]["number"] for t in state.trials] == [3, 7]
    assert state.trials[1].params == {"x": 0.25, "n": 2, "epochs": 5}
    assert plain(home).best_params == {"x": 0.25, "n": 1, "epochs": 5}
    assert kept_count(home) == 2


def test_what_a_row_must_tell(root: Path) -> None:
    sweep = sweep_of(root, Text(space=SPACE + '\n[space.derived]\nhalf = "x / 2"'))
    rows = [row(), row(epochs=5.0), row(half=0.125), row(half=0.3), row(x=float("inf")), row(n=True), row(odd=1)]
    fits = fitting(sweep, rows)
    assert len(fits.taken) == 3
    assert fits.assumed == {"epochs": 5}
    assert len({configuration.key for _, configuration in fits.taken}) == 1
    assert set(fits.against) == {
        "'half' is 0.3 there and 0.125 by the sweep's formula",
        "'x' is not a finite number",
        "'n' is not one of 1, 2, 3, 4",
        "its parameter 'odd' is not in [space]",
    }


def test_times_and_repeats(root: Path) -> None:
    first = replace(row(), started=1000.0, ended=1060.0, seed=3)
    second = replace(row(1, value=0.7), ended=2000.0)
    home, _ = made(root, [first, second, replace(row(2), started=50.0, ended=40.0)])
    trials = state_of(home).trials
    assert [(t.started, t.ended) for t in trials] == [(1000.0, 1060.0), (2000.0, 2000.0), (50.0, 50.0)]
    assert [t.facts.get("replicate_of") for t in trials] == [None, 0, 0]
    assert [t.record().seeds for t in trials] == [(3,), (), ()]


def test_a_name_that_is_taken(root: Path) -> None:
    home = make(root, study="trials = 2")
    before = home.journal.read_bytes()
    sweep = sweep_of(root, Text(space=SPACE))
    fits = fitting(sweep, [row()])
    with pytest.raises(UserError, match="the study 's' already exists"):
        adopt(home, settled(sweep, "s", trials=1), fits.taken, facts={})
    assert home.journal.read_bytes() == before
    assert [home.name for home in all_homes(root)] == ["s"]


def test_somebody_who_was_quicker_keeps_the_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = module._build

    def slow(home: StudyHome, *args: object) -> None:
        build(home, *args)  # type: ignore[arg-type]
        monkeypatch.setattr(module, "_build", build)
        made(root, [row()])

    monkeypatch.setattr(module, "_build", slow)
    with pytest.raises(UserError, match="'adopted' already exists"):
        made(root, [row(), row(1)])
    assert len(state_of(home_of(root, "adopted")).trials) == 1
    assert sorted(path.name for path in root.iterdir()) == ["adopted", "toml"]


def test_what_fails_or_is_killed_leaves_no_study(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes, *, mode: int = 0o666) -> None:
        if path.name == "journal.jsonl":
            raise OSError(28, "No space left on device")
        path.write_bytes(data if isinstance(data, bytes) else data.encode())

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_atomic", full)
        with pytest.raises(StorageError, match="No space left on device"):
            made(root, [row()])
    assert [path.name for path in root.iterdir()] == ["toml"]

    remains = [root / ".adopted.0001.import", root / ".adopted.0002.import"]
    for folder in remains:  # killed just before the rename: one long ago, the other may be at work
        folder.mkdir()
        (folder / "journal.jsonl").write_text("")
        (folder / "sweep.1.json").write_text("")
    os.utime(remains[0], (time.time() - 7200,) * 2)
    assert list(all_homes(root)) == []
    made(root, [row()])
    assert [folder.exists() for folder in remains] == [False, True]
    assert [home.name for home in all_homes(root)] == ["adopted"]
    assert find_homes(root, "adopted")[0].path == root / "adopted"
