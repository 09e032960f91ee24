"""No file and no word on the command line ends a command as a bug, takes its memory, or never lets it end."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from hpo_batch.errors import Exit, StorageError
from hpo_batch.sources import optuna_storage, parquet
from tests.cli.conftest import cli as cli  # a fixture
from tests.cli.conftest import write_sweep as write_sweep  # a fixture
from tests.study.helpers import make, work

LONG = "a" * 5_000
ODD = [
    LONG,
    "\udcff\udcfe",
    "²",
    "٣",
    "9" * 5_000,
    "-",
    "--",
    "0-",
    "1-2-3",
    "..",
    "/",
    "",
    " ",
    "\x1b[2J",
    "a" * 200 + "/" + "b" * 300,
]
SETS = ["#=1", "# a=1", "=1", "a.#=1", "[a]=1", "study.name=\udcff", f"a{'.a' * 20_000}=1", f"study.x={'9' * 5_000}",
        "a", "study={", "study.trials=1e400", "\udcff=1", '""=1', "space.x=nan"]  # fmt: skip


@pytest.mark.parametrize("text", SETS, ids=lambda text: ascii(text)[:20])
def test_what_set_takes(cli: Callable[..., object], write_sweep: Callable[..., Path], text: str) -> None:
    ended = cli("check", write_sweep(), "--set", text)
    assert ended.code == Exit.BAD_INPUT, ended


@pytest.mark.parametrize("word", ODD, ids=lambda word: ascii(word)[:20])
def test_words_that_name_nothing(cli: Callable[..., object], root: Path, word: str) -> None:
    work(make(root, study="trials = 1"))
    for command in ("logs", "explain"):
        ended = cli(command, "s", "--", word)
        assert ended.code == Exit.BAD_INPUT, (command, ended)
    for command in ("status", "collect", "report", "compare", "doctor", "retry", "cancel", "resume", "check", "import"):
        ended = cli(command, "--", word)
        assert ended.code in (Exit.BAD_INPUT, Exit.STORAGE) or word in ("", "..", "/"), (command, ended)
        assert ended.code != Exit.BUG, (command, ended)


HALF = '[{"x": "\\ud800", "value": 1}, {"\\udfff": 1, "value": 2}]'
FILES: dict[str, tuple[str, str]] = {
    "a comma": ("csv", ",\n"),
    "commas": ("csv", ",\n,\n"),
    "quotes": ("csv", '""\n""\n'),
    "durations without end": ("csv", "x,duration,value\n1,inf,2\n2,1,3\n3,-inf,1\n"),
    "durations beyond pandas": ("csv", "x,duration,value\n1,1e308,2\n2,1,3\n3,-1e308,1\n"),
    "times beyond pandas": (
        "csv",
        "x,datetime_start,datetime_complete,value\n1,9999-12-31,0001-01-01,1\n2,1e308,nan,1\n",
    ),
    "digits": ("csv", f"x,value\n{'9' * 5_000},2\n2,3\n"),
    "digits of a value": ("csv", f"x,value\n1,{'9' * 5_000}\n2,3\n"),
    "digits in JSON": ("json", f'[{{"x": {"9" * 4_000}, "value": 1}}]'),
    "more digits in JSON": ("json", f'[{{"x": {"9" * 5_000}, "value": 1}}]'),
    "numbers beyond 64 bits": ("csv", "number,value\n99999999999999999999,1\n2,2\n"),
    "halves of a pair": ("json", HALF),
    "halves line by line": ("json", "\n".join(map(json.dumps, json.loads(HALF)))),
    "the ends of numbers": ("csv", "x,value\n1e308,1e308\n-1e308,-1e308\n1.7e308,1.7e308\n-1.7e308,-1.7e308\n0,0\n"),
    "numbers that are none": ("csv", "x,value\nnan,nan\ninf,inf\n-inf,-inf\n1,1\n"),
    "a NUL": ("csv", "x,value\n1\0,2\n"),
    "a NUL in JSON": ("json", '[{"x\\u0000": "a\\u0000b", "value": 1}]'),
    "brackets": ("json", "[" * 100_000),
    "brackets line by line": ("json", "{}\n" + "[" * 100_000),
    "tables in tables": ("json", f'[{{"a": {"{" + chr(34) + "a" + chr(34) + ":"}' * 1 + "1" + "}" + ', "value": 1}]'),
    "columns that are lists": ("json", '{"columns": [[1], {}], "data": [[1, 2]]}'),
    "trials that are numbers": ("json", '{"trials": [1, 2]}'),
    "a dict in a cell": ("csv", "params,value\n\"{'a': " + "(" * 500 + '",1\n'),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_somebody_made(cli: Callable[..., object], tmp_path: Path, name: str) -> None:
    ending, text = FILES[name]
    path = tmp_path / f"x.{ending}"
    path.write_text(text)
    for words in (("collect", path), ("collect", path, "--format", "json"), ("collect", path, "--format", "parquet")):
        ended = cli(*words, *(("-o", tmp_path / "out") if "parquet" in words else ()))
        assert ended.code in (0, 1, Exit.BAD_INPUT), ended
    ended = cli("report", path, "-o", tmp_path / "report")
    assert ended.code in (0, Exit.BAD_INPUT), ended


def test_a_number_of_a_trial_does_not_become_another(cli, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(FILES["numbers beyond 64 bits"][1])
    ended = cli("collect", path)
    assert (ended.code, "does not contain trial numbers" in ended.err) == (2, True)


def test_a_megabyte_that_becomes_gigabytes(cli, tmp_path: Path) -> None:
    """A text of 1 MB that stands in 30,000 rows is stored once; a column of one number once for all its rows."""
    texts, numbers = tmp_path / "texts.parquet", tmp_path / "numbers.parquet"
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 30_000, pyarrow.int32()), ["a" * 1_000_000])
    pyarrow.parquet.write_table(pyarrow.table({"x": column, "value": [1.0] * 30_000}), texts, compression="zstd")
    chunk = pyarrow.chunked_array([pyarrow.nulls(parquet.MOST_CELLS + 1, pyarrow.bool_())])
    pyarrow.parquet.write_table(pyarrow.table({"x": chunk}), numbers)
    for path in (texts, numbers):
        assert path.stat().st_size < 2_000_000
        began = time.process_time()
        ended = cli("collect", path)
        assert (ended.code, "too large to be a table of trials" in ended.err) == (2, True), ended
        assert time.process_time() - began < 10


def test_a_parquet_file_of_the_usual_kind_is_read(cli, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, 1, None], pyarrow.int32()), ["a", "b"])
    table = pyarrow.table({"kind": column, "lists": [[1], [], None], "value": [1.0, 2.0, 3.0]})
    pyarrow.parquet.write_table(table, path)
    ended = cli("collect", path, "--format", "csv")
    assert ended.code == 0, ended
    assert "a" in ended.out


VERSION = """
create table version_info(version_info_id integer primary key, schema_version integer, library_version text);
insert into version_info values(1, 12, '4.0.0');
create table alembic_version(version_num varchar(32)); insert into alembic_version values('v3.2.0.a');
"""
ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select i as study_id, i as study_name from n"


def test_a_view_without_end(cli, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(f"{VERSION} create view studies as {ENDLESS};")
    began = time.monotonic()
    ended = cli("collect", path)
    assert ended.code in (Exit.BAD_INPUT, Exit.STORAGE), ended
    assert "it has a view, 'studies'" in ended.err
    assert time.monotonic() - began < 30


def test_a_database_has_a_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes time without a view, by the same connection that Optuna gets."""
    path = tmp_path / "x.db"
    sqlite3.connect(path).close()
    monkeypatch.setattr(optuna_storage, "MOST_S", 0.5)
    connection = optuna_storage._connected(f"file:{path}", "x.db")
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        connection.execute(f"select count(*) from ({ENDLESS})").fetchall()
    assert "more than 0.5 s" in optuna_storage.explained("x.db", StorageError("interrupted"))


@pytest.mark.parametrize("table", ["constraints", "derived"])
def test_thousands_of_expressions(cli, write_sweep: Callable[..., Path], table: str) -> None:
    sweep = write_sweep(more=f"[space.{table}]\n" + "\n".join(f'c{i} = "x > {i}e-9"' for i in range(10_001)))
    began = time.process_time()
    ended = cli("check", sweep)
    assert (ended.code, f"space.{table}: 10,001 expressions are too many to check (at most" in ended.err) == (
        2,
        True,
    ), ended.err[:300]
    assert time.process_time() - began < 10


@pytest.mark.parametrize("ends", ["-1e308, high = 1e308", "-1.7e308, high = 1.7e308", "0.0, high = 1e308"])
def test_a_range_that_no_number_is_wide_enough_for(cli, write_sweep: Callable[..., Path], ends: str) -> None:
    ended = cli("check", write_sweep(), "--set", f"space.x={{low = {ends}}}", "--set", "sampler.name=tpe")
    assert (ended.code, "too wide for sampler 'tpe'" in ended.err) == (2, True), ended


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc"])
def test_the_widest_range_that_is_allowed_is_searched(cli, write_sweep, sampler: str) -> None:
    sweep = write_sweep("fails_for_two", trials=8)
    more: tuple[str, ...] = (
        "--set",
        "space.n=1",
        "--set",
        f"sampler.name={sampler}",
        "--set",
        "sampler.startup_trials=2",
        "--set",
        "space.x={low=-1e307,high=1e307}",
    )
    assert cli("submit", sweep, *more, "--set", "space.y={low=1e-308,high=1e308,log=true}", "--wait").code == 0
    for command in ("status", "report", "collect", "list"):
        assert cli(command, *(["toy"] if command != "list" else [])).code == 0
