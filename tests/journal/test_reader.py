"""The one reader of journals: what is absent or empty, what was appended since, and what was left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpo_batch.errors import StorageError
from hpo_batch.journal.encode import Writer
from hpo_batch.journal.file import PIECE, Journal
from hpo_batch.journal.reader import JournalReader, summary_reader
from hpo_batch.journal.state import JournalState, StudyTrials
from hpo_batch.records import TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.study.backend import JournalBackend
from hpo_batch.study.read import read_state

WRITER = Writer("t")


def append(path: Path, *records: dict[str, object]) -> None:
    with Journal(path).transaction() as transaction:
        transaction.append(records, sync=False)


def made(path: Path) -> None:
    append(
        path,
        WRITER.create_study("s", ["minimize"]),
        WRITER.create_trial(
            now=1.0, state=TrialState.RUNNING, params={}, distributions={}, system_attrs={}, user_attrs={"a": 1.0}
        ),
        WRITER.report(0, 3, 0.5),
    )


@pytest.mark.parametrize("is_there", [False, True])
def test_a_journal_without_a_study_is_an_empty_state(tmp_path: Path, is_there: bool) -> None:
    path = tmp_path / "journal.jsonl"
    if is_there:
        path.touch()
    reader = summary_reader(path)
    assert reader.read().study_name is None
    assert reader.read().trials == []
    with pytest.raises(StorageError, match="contains no study"):
        reader.read_study()
    made(path)
    assert reader.read_study().study_name == "s"  # it reads on


def test_what_was_left_out_is_no_empty_value(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    made(path)
    (whole,) = JournalReader(path, JournalState()).read().trials
    assert (whole.steps, whole.user_attrs) == ({3: 0.5}, {"a": 1.0})
    (summary,) = summary_reader(path).read().trials
    with pytest.raises(RuntimeError, match="reports were skipped"):
        _ = summary.steps
    with pytest.raises(RuntimeError, match="metrics were skipped"):
        _ = summary.user_attrs
    assert (summary.decoded_steps, summary.record().steps, summary.record().metrics) == ({}, {}, {})
    assert not hasattr(JournalReader(path, StudyTrials()).read(), "number_of_key")


def test_optunas_backend_reads_a_large_journal_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    made(path)
    count = 3 * PIECE // 100_000
    append(path, *(WRITER.metric(0, f"m{i}", "x" * 100_000) for i in range(count)))
    assert path.stat().st_size > 2 * PIECE
    logs = list(JournalBackend(path).read_logs(0))
    assert len(logs) == len(path.read_bytes().splitlines()) == count + 3
    assert json.loads(path.read_bytes().splitlines()[-1]) == logs[-1]


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    home = StudyHome(path=tmp_path / "s", name="s")
    assert read_state(home).study_name is None
