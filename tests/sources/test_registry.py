"""A source from outside: one module with a ``Source``, one line in the registry, and every reading command reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from hpo_batch.cli.main import run
from hpo_batch.errors import UserError
from hpo_batch.sources import registry
from hpo_batch.sources.columns import Columns
from hpo_batch.sources.place import Place
from hpo_batch.sources.read import read_tables
from hpo_batch.sources.source import RawTable, Request, Source

TOY = """toy 1
lr=0.1 -> 0.5
lr=0.2 -> 0.75
lr=0.3 -> 0.25
"""


def knows(place: Place) -> bool:
    return place.head.startswith(b"toy 1\n")


def read(place: Place, request: Request) -> Sequence[RawTable]:
    assert place.path is not None
    rows = [line.replace("lr=", "").split(" -> ") for line in place.path.read_text().splitlines()[1:]]
    frame = pd.DataFrame([[float(lr), float(value)] for lr, value in rows], columns=["lr", "score"])
    return [RawTable(frame=frame, label="toy", notes=("a toy",))]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    source = Source(kind="a toy", knows=knows, read=read)
    monkeypatch.setattr(registry, "SOURCES", (source, *registry.SOURCES))
    path = tmp_path / "runs.toy"
    path.write_text(TOY)
    return str(path)


def test_collect_reads_a_source_from_outside(toy: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["collect", toy, "--best", "--format", "json", "--root", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    (best,) = json.loads(out)
    assert (best["params_lr"], best["value"]) == (0.2, 0.75)
    assert "toy: a toy" in err


def test_options_about_columns_apply_to_it(toy: str, tmp_path: Path) -> None:
    (table,) = read_tables([toy], root=tmp_path, columns=Columns(directions=("min",), mapping={"rate": "lr"}))
    assert (table.parameters, table.directions) == (("rate",), ("minimize",))
    assert run(["collect", toy, "--value", "nope", "--root", str(tmp_path)]) == 2


def test_it_stands_beside_other_sources(toy: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("lr,score,junk\n0.5,0.1,0\n0.6,0.2,1\n")
    tables = read_tables([toy, str(tmp_path / "t.csv")], root=tmp_path, columns=Columns(ignore=("junk",)))
    assert [(table.label, len(table.trials)) for table in tables] == [("toy", 3), ("t", 2)]


def test_each_source_is_in_the_registry_once() -> None:
    assert len(set(registry.SOURCES)) == len(registry.SOURCES)
    modules = {path.stem for path in Path(registry.__file__).parent.glob("*.py") if "\nSOURCE" in path.read_text()}
    assert modules == {"csv", "json", "optuna", "parquet", "ray_tune", "registry", "study"}


def test_ignored_columns_are_left_out_whoever_wrote_the_source(toy: str, tmp_path: Path) -> None:
    (table,) = read_tables([toy], root=tmp_path, columns=Columns(value=("score",), params=(), ignore=()))
    assert table.parameters == ("lr",)
    (tmp_path / "t.csv").write_text("lr,score,n\n0.5,0.1,1\n0.6,0.2,2\n")
    first, second = read_tables([toy, str(tmp_path / "t.csv")], root=tmp_path, columns=Columns(ignore=("lr",)))
    assert (first.parameters, second.parameters) == ((), ("n",))
    with pytest.raises(UserError, match=r"--ignore: .* has no column 'depth'"):
        read_tables([toy], root=tmp_path, columns=Columns(ignore=("depth",)))


def test_a_source_that_finds_nothing(toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Source(kind="a toy", knows=knows, read=lambda place, request: [])
    monkeypatch.setattr(registry, "SOURCES", (nothing, *registry.SOURCES))
    with pytest.raises(UserError, match="holds no trials"):
        read_tables([toy], root=tmp_path)
