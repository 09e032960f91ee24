"""Passwords do not leave the command line: not in messages, reports or the report of a bug."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from urllib.parse import quote

import optuna
import pytest

import hpo_batch.sources.read
from hpo_batch.cli.main import run
from hpo_batch.text.secrets import masked, secrets_in

SECRET = "s3cr t/@:#w"
"""with everything that a URL has signs of its own for"""
ENCODED = quote(SECRET, safe="")

URLS = [
    f"postgresql://me:{ENCODED}@host/hpo",
    f"postgresql+psycopg2://me:{ENCODED}@host:5432/hpo?sslmode=require#best",
    f"mysql+pymysql://:{ENCODED}@host/hpo",
    f"postgresql://me@host/hpo?password={ENCODED}",
    f"postgresql://host/hpo?user=me&PASSWORD={ENCODED}&connect_timeout=3",
    f"postgresql://host/hpo?sslpassword={ENCODED}",
    f"mysql://host/hpo?ssl_key=k&passwd={ENCODED}",
    f"https://host/api?token={ENCODED}",
    f"https://host/api?x=1&api_key={ENCODED}",
    f"mssql+pyodbc:///?odbc_connect={quote(f'DRIVER={{ODBC}};UID=me;PWD={{{SECRET}}};Encrypt=yes')}",
    f"sqlite+pysqlcipher://:{ENCODED}@/hpo.db?cipher=aes-256-cfb",
    f"postgresql:/me:{ENCODED}@host/hpo",  # a slash forgotten
    f"postgresql//me:{ENCODED}@host/hpo",  # the colon
    f"POSTGRESQL://me:{ENCODED}@host/hpo",
    "postgresql://me:s3cr@t@host/hpo",  # not encoded
    "postgresql://me:s3cr/t@host/hpo",
    "postgresql://me:s3cr t@host/hpo",
    "redis://:s3cr@host",
]


def leaks(text: str) -> bool:
    return re.search(r"s3cr", text) is not None


@pytest.mark.parametrize("url", URLS)
def test_no_password_is_shown(url: str) -> None:
    assert leaks(url)
    known = secrets_in([url])
    texts = [url, f"no study 'x' in '{url}'; there are y"]
    texts += [f"'{url}': FATAL: '{SECRET}' or {ENCODED} is wrong"] if ENCODED in url or "odbc" in url else []
    for text in texts:
        shown = masked(text, known=known)
        assert not leaks(shown), shown
        assert "***" in shown
    assert masked(masked(url, known=known)) == masked(url, known=known)


@pytest.mark.parametrize(
    "text",
    ["sqlite:////data/hpo.db#best", "postgresql://me@host:5432/hpo", "runs.csv: --map token=tokens is no column",
     "/home/me/a.csv", "a: b@c", "see https://www.sqlite.org/wal.html#read_only_databases"],
)  # fmt: skip
def test_what_holds_no_secret_stays_as_it_is(text: str) -> None:
    assert masked(text, known=secrets_in([text])) == text


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("command", ["collect", "report", "compare"])
def test_no_message_tells_a_password(
    command: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (
        [command, url],
        [command, "--from", url],
        [command, f"--nonsense={url}"],
        [command, "--top", url],
    ):
        assert run(arguments) in (2, 4)
        out, err = capsys.readouterr()
        assert not leaks(out + err), err
        assert err.startswith(("error: ", "Usage: "))
    assert list(tmp_path.iterdir()) == []


def test_the_report_of_a_bug_tells_no_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(sources: tuple[str, ...], **_: object) -> None:
        try:
            raise ValueError(f"password {SECRET!r} of {sources[0]}")
        except ValueError as error:
            raise RuntimeError(f"cannot connect with {ENCODED}") from error

    monkeypatch.setattr(
        hpo_batch.sources.read, "read_tables", broken
    )  # the fault itself: where there is none, none shows
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for url in URLS[:4]:
        assert run(["collect", url]) == 70
        assert not leaks("".join(capsys.readouterr()))
    written = list(tmp_path.iterdir())
    assert len(written) == 4
    for path in written:
        text = path.read_text()
        assert "RuntimeError: cannot connect" in text
        assert "hpo-batch collect" in text
        assert not leaks(text)


def test_report_json_names_its_sources_without_passwords(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A storage that SQLite itself reads; what a query holds for a driver goes unread, and unshown."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = tmp_path / "hpo.db"
    study = optuna.create_study(study_name="s", storage=f"sqlite:///{path}")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=5)
    sqlite3.connect(path).close()
    for command in (["report", "-o", str(tmp_path / "r")], ["compare", "-o", str(tmp_path / "r" / "compare.json")]):
        assert run([*command, *([f"sqlite:///{path}?password={ENCODED}"] * (1 + (command[0] == "compare")))]) == 0
    for file in (one for one in (tmp_path / "r").rglob("*") if one.is_file()):
        assert not leaks(file.read_text())
    sources = json.loads((tmp_path / "r" / "report.json").read_text())["sources"]
    assert sources == [f"sqlite:///{path}?password=***"]
    assert not leaks("".join(capsys.readouterr()))
    assert run(["collect", f"sqlite:///{path}?password={ENCODED}#absent"]) == 2
    err = capsys.readouterr().err
    assert "no study 'absent'" in err
    assert not leaks(err)
