"""Where trials are read from: paths and URLs in all their spellings, read without a trace; options for one of them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from hpo_batch.cli.main import run
from hpo_batch.cli.sources import by_source
from hpo_batch.errors import StorageError, UserError
from hpo_batch.sources.place import existing_file, label_of, split
from hpo_batch.sources.read import read_tables

Storage = Callable[..., Path]
HPO_BATCH = Path(sys.executable).parent / "hpo-batch"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of four trials in a SQLite file that nobody has open. Optuna takes a second or more to make one."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = tmp_path_factory.mktemp("made") / "made.db"
    rdb = optuna.storages.RDBStorage(f"sqlite:///{made}")
    study = optuna.create_study(study_name="s", storage=rdb, sampler=optuna.samplers.RandomSampler(0))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=4)
    rdb.remove_session()
    rdb.engine.dispose()
    return made


@pytest.fixture
def storage(template: Path) -> Storage:
    """``storage(path, name="s", journal_mode="delete")``: that study, elsewhere and under another name."""

    def call(path: Path, *, name: str = "s", journal_mode: str = "delete") -> Path:
        shutil.copy(template, path)
        connection = sqlite3.connect(path)
        connection.execute("update studies set study_name = ?", (name,))
        connection.commit()
        connection.execute(f"pragma journal_mode={journal_mode}")
        connection.close()
        return path

    return call


@pytest.mark.parametrize("name", ["runs#1.db", "a#b#c.db", "what?.db", "100%25.db", "ä ö.db", "no suffix"])
def test_a_path_may_hold_anything(storage: Storage, name: str, tmp_path: Path) -> None:
    path = storage(tmp_path / name, name="st#1")
    for source in (str(path), f"{path}#st#1", f"sqlite:///{path}", f"sqlite+pysqlite:///{path}#st#1"):
        (table,) = read_tables([source], root=tmp_path)
        assert (table.label, len(table.trials)) == ("st#1", 4), source
    with pytest.raises(UserError, match="no study 't' in"):
        read_tables([f"{path}#t"], root=tmp_path)
    if "?" not in name:
        with pytest.raises(UserError, match="no study 't' in"):
            read_tables([f"sqlite:///{path}?timeout=3#t"], root=tmp_path)
    csv = tmp_path / f"{name}.csv"
    csv.write_text("lr,value\n0.1,1\n0.2,2\n")
    assert len(read_tables([str(csv)], root=tmp_path)[0].trials) == 2


def test_a_folder_with_a_hash_in_its_name(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my#dir").mkdir()
    storage(tmp_path / "my#dir" / "hpo.db")
    monkeypatch.chdir(tmp_path)
    assert [table.label for table in read_tables(["my#dir/hpo.db#s"], root=tmp_path)] == ["s"]
    assert split("my#dir/hpo.db#s") == ("my#dir/hpo.db", "s")
    assert existing_file("my#dir/hpo.db#s") == Path("my#dir/hpo.db")


def test_the_hash_of_a_password_is_not_that_of_a_study() -> None:
    assert split("postgresql://me:a#b@host/hpo#best") == ("postgresql://me:a#b@host/hpo", "best")
    assert split("postgresql://me:a#b@host/hpo") == ("postgresql://me:a#b@host/hpo", "")
    assert label_of("postgresql://me:a#b@host/hpo?password=c") == "hpo"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///{}", "sqlite+pysqlite:///{}", "SQLITE:///{}", "sqlite:///file:{}?mode=rwc&uri=true",
        "sqlite:///{}?timeout=3", "sqlite+pysqlite:///file://{}?uri=true", "sqlite+aiosqlite:///{}",
    ],
)  # fmt: skip
def test_no_spelling_of_a_url_makes_a_database(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no Optuna storage"):
        read_tables([url.format(tmp_path / "absent.db")], root=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite+pysqlite:///file::memory:?uri=true"])
def test_a_database_in_memory_is_none(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        read_tables([url], root=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_reading_leaves_no_trace(storage: Storage, journal_mode: str, tmp_path: Path) -> None:
    path = storage(tmp_path / "hpo.db", journal_mode=journal_mode)
    before = path.read_bytes()
    for source in (str(path), f"sqlite:///{path}"):
        assert len(read_tables([source], root=tmp_path)[0].trials) == 4
    assert [one.name for one in tmp_path.iterdir()] == ["hpo.db"]
    assert path.read_bytes() == before


def test_a_write_ahead_log_that_is_open_is_read_too(storage: Storage, tmp_path: Path) -> None:
    path = storage(tmp_path / "hpo.db", journal_mode="wal")
    writer = sqlite3.connect(path)
    writer.execute("update studies set study_name = 'new'")
    writer.commit()
    try:
        assert [table.label for table in read_tables([str(path)], root=tmp_path)] == ["new"]
    finally:
        writer.close()


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    if subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "true"], check=False).returncode:
        pytest.skip("no namespaces here: mounts cannot be made")
    folder = tmp_path / "mount"
    folder.mkdir()
    return folder


def on_read_only_mount(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, where ``folder`` is mounted read-only: permissions do not hold for root, a mount does."""
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, folder, HPO_BATCH, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HPO_BATCH_ROOT": str(folder.parent)},
    )


def test_databases_on_a_read_only_mount(storage: Storage, read_only: Path, tmp_path: Path) -> None:
    at_rest = storage(read_only / "rest.db", journal_mode="wal")
    storage(read_only / "plain.db")
    # one whose writer was killed: what it wrote last stands in the log alone
    killed = shutil.copy(at_rest, read_only / "killed.db")
    _end_in("update studies set study_name = 'killed'; commit", killed)
    assert Path(f"{killed}-wal").stat().st_size
    names = sorted(one.name for one in read_only.iterdir())
    for name, label in (("rest", "s"), ("plain", "s"), ("killed", "killed")):
        done = on_read_only_mount(read_only, "collect", str(read_only / f"{name}.db"), "--best")
        assert done.returncode == 0, done.stderr
        assert f"{label}: 4 of 4 trials finished" in done.stderr
    assert sorted(one.name for one in read_only.iterdir()) == names


def test_a_transaction_that_was_never_finished_is_undone_on_a_read_only_mount(
    storage: Storage, read_only: Path
) -> None:
    path = storage(read_only / "hpo.db")
    # the pages are in the file, the old ones in the journal beside it
    _end_in("pragma cache_size = 1; update studies set study_name = 'half'; create table more as select * from trials "
            "cross join trial_params cross join trial_values; insert into more select * from more", path)  # fmt: skip
    assert Path(f"{path}-journal").stat().st_size
    done = on_read_only_mount(read_only, "collect", str(path), "--best")
    assert done.returncode == 0, done.stderr
    assert "s: 4 of 4 trials finished" in done.stderr
    assert "read from a copy" in done.stderr


def _end_in(statements: str, path: Path | str) -> None:
    """A process that ends in the middle of its work with a database."""
    code = (
        "import os, sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('begin')\n"
        "for one in sys.argv[2].split(';'):\n"
        "    connection.execute(one)\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path), statements], check=True)


def test_a_plain_journal_has_as_many_trials_as_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = tmp_path / "logs" / "plain"
    folder.mkdir(parents=True)
    for path, source in ((tmp_path / "plain.log", str(tmp_path / "plain.log")), (folder / "journal.jsonl", "plain")):
        journal = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
        study = optuna.create_study(study_name="plain", storage=journal)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=12)
        study.set_user_attr("dataset", "digits")
        for format in ("csv", "table"):
            assert run(["collect", source, "--format", format, "--root", str(tmp_path / "logs")]) == 0
            err = capsys.readouterr().err
            assert "plain: 12 of 12 trials finished" in err
            assert "attributes of the study: dataset = 'digits'" in err
    for command in (["list"], ["status", "plain"]):
        run([*command, "--root", str(tmp_path / "logs")])
        out = capsys.readouterr().out
        assert "12" in out
        assert "of 0" not in out


def test_a_line_of_a_journal_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "plain.log"
    journal = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    optuna.create_study(study_name="plain", storage=journal)
    path.write_text(f"{path.read_text()}not JSON\n")
    with pytest.raises(StorageError, match="line 2 is not a journal record"):
        read_tables([str(path)], root=tmp_path)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("trial,rate,auc\n0,0.1,0.5\n1,0.2,0.6\n")
    (tmp_path / "b.csv").write_text("trial,lr,score,auc,junk\n0,0.1,0.7,0.1,x\n1,0.2,0.8,0.2,x\n")
    return tmp_path


def collect(*options: str) -> int:
    return run(["collect", "a.csv", "b.csv", "--format", "csv", *options])


def test_options_for_one_source(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert collect("--map", "a.csv:lr=rate", "--value", "b.csv:score", "--map", "b.csv:auc=score") == 0
    out = capsys.readouterr().out.splitlines()
    assert [row.split(",")[2] for row in out] == ["value", "0.5", "0.6", "0.7", "0.8"]
    assert "params_lr" in out[0]
    assert "rate" not in out[0]
    assert collect("--direction", "b.csv:minimize", "--value", "auc", "--top", "1") == 0
    out = capsys.readouterr().out.splitlines()
    assert [row.split(",")[2] for row in out[1:]] == ["1", "0"]  # the largest of the one, the least of the other


def test_options_for_all_sources_hold_where_they_fit(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert collect("--map", "lr=rate", "--value", "auc", "--ignore", "junk", "--ignore", "score") == 0
    out, err = capsys.readouterr()
    assert "b: has no column 'rate': --map lr=rate applies to other files" in err
    assert "a: has no column 'junk': --ignore junk applies to other files" in err
    assert [name for name in ("params_lr", "rate", "junk", "score") if name in out.splitlines()[0]] == ["params_lr"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--value", "nope"], "has no column 'nope': --value nope applies to other files"),
        (["--value", "auc", "--map", "lr=nope"], "--map lr=nope: no file has this column"),
        (["--value", "auc", "--ignore", "nope"], "--ignore nope: no file has this column"),
        (["--value", "b.csv:nope"], "b.csv has no column 'nope'"),
        (["--value", "a.csv:auc"], "b.csv: no column 'value'"),
        (["--map", "a.csv:rate"], "'rate' is not NAME=COLUMN"),
    ],
)
def test_options_of_no_use_are_refused(
    options: list[str], says: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert collect(*options) == 2
    assert says in capsys.readouterr().err


def test_what_tells_itself_what_it_is_takes_no_options(
    storage: Storage, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage(files / "hpo.db")
    for options in (["--value", "x"], ["--map", "a=x"], ["--params", "x"], ["--direction", "max"], ["--ignore", "x"]):
        assert run(["collect", "hpo.db", *options]) == 2
        assert f"{options[0]} applies only to files: 'hpo.db' is an Optuna storage" in capsys.readouterr().err
    assert run(["collect", "hpo.db", "a.csv", "--value", "hpo.db:x"]) == 2
    assert run(["collect", "hpo.db", "a.csv", "--value", "auc"]) == 0


def test_the_names_of_files_that_are_alike_are_no_scope() -> None:
    options: dict[str, tuple[str, ...]] = {
        "maps": (),
        "value": ("t.csv:x",),
        "direction": (),
        "params": (),
        "ignore": (),
    }
    with pytest.raises(UserError, match=r"'t.csv' may be one/t.csv or two/t.csv"):
        by_source(["one/t.csv", "two/t.csv"], options)
    shared, own = by_source(
        ["one/t.csv", "sqlite:///x.db"], {**options, "value": ("t.csv:x", "sqlite:///x.db:y", "a:b")}
    )
    assert (shared.value, own["one/t.csv"].value, own["sqlite:///x.db"].value) == (("a:b",), ("x",), ("y",))
