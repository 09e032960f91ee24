"""Reading what a running command writes, whatever it writes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo_batch.objective import tail
from hpo_batch.objective.tail import Line, Printed, Tail, parse_metrics


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_lines_come_once_and_when_they_are_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    reader = Tail(path)
    assert list(reader.read()) == []
    append(path, b"one\ntw")
    assert list(reader.read()) == [b"one"]
    assert list(reader.read()) == []
    append(path, b"o\nthree\rfour")
    assert list(reader.read()) == [b"two", b"three"]
    assert list(reader.read(to_end=True)) == [b"four"]
    assert list(reader.read(to_end=True)) == []


def test_what_was_there_before_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    append(path, b"old\n")
    reader = Tail(path)
    append(path, b"new\n")
    assert list(reader.read()) == [b"new"]


def test_a_file_emptied_by_its_writer_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "file"
    reader = Tail(path)
    append(path, b"a long first line\n")
    assert len(list(reader.read())) == 1
    path.write_bytes(b"new\n")
    assert list(reader.read()) == [b"new"]


def test_lines_without_the_wanted_text_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "file"
    reader = Tail(path, having=(b"RESULT:",))
    append(path, b"x\n" * 10)
    assert list(reader.read()) == []
    append(path, b"x\nRESULT: 1\n")
    assert b"RESULT: 1" in list(reader.read())


def test_a_line_of_any_length_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "CHUNK", 64)
    monkeypatch.setattr(tail, "_LONGEST_LINE", 64)
    path = tmp_path / "file"
    reader = Tail(path)
    append(path, b"x" * 1000 + b"\nshort\n" + b"y" * 1000)
    assert list(reader.read(to_end=True)) == [b"short"]
    assert reader.dropped == 2
    append(path, b"\nafter\n")
    assert list(reader.read()) == [b"after"]


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_any_split_of_the_writes_gives_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("tail") / "file"
    reader = Tail(path)
    lines = []
    for piece in pieces:
        append(path, piece)
        lines += list(reader.read())
    lines += list(reader.read(to_end=True))
    expected = b"".join(pieces).replace(b"\r", b"\n").split(b"\n")
    assert [line for line in lines if line] == [line for line in expected if line]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"step": 3, "loss": 0.5}', Line(step=3, metrics={"loss": 0.5})),
        (b'{"step": 3.0, "loss": 1, "phase": "train", "ok": true}',
         Line(step=3, metrics={"loss": 1.0}, others={"phase": "train", "ok": True})),
        (b'{"loss": 0.5, "auc": null}', Line(step=None, metrics={"loss": 0.5}, others={"auc": None})),
        (b'{"auc": "0.7"}', Line(step=None, metrics={}, others={"auc": "0.7"})),
        (b"", None),
        (b"{", None),
        (b'{"step": 3, "lo', None),
        (b"[1, 2]", None),
        (b"0.5", None),
        (b"{}", None),
        (b'{"step": 3}', None),
        (b'{"step": 3, "phase": "train"}', None),
        (b'{"step": -1, "loss": 1}', None),
        (b'{"step": 1.5, "loss": 1}', None),
        (b'{"step": true, "loss": 1}', None),
        (b'{"step": "3", "loss": 1}', None),
        (b'{"step": Infinity, "loss": 1}', None),
        (b"\xff\xfe{}", None),
        (b"[" * 100_000, None),
        (b'{"a":' * 100_000, None),
        (b'{"step": 1, "loss": ' + b"9" * 5000 + b"}", None),
    ],
)  # fmt: skip
def test_parses_metrics_lines_and_nothing_else(line: bytes, expected: Line | None) -> None:
    assert parse_metrics(line) == expected


@given(st.binary())
def test_no_line_of_a_metrics_file_raises(line: bytes) -> None:
    parse_metrics(line)
    Printed().take(line)
    Printed().take(b"RESULT:" + line)


@pytest.mark.parametrize(
    ("line", "metrics", "number", "unread"),
    [
        (b"RESULT: 0.31", {}, 0.31, False),
        (b"  RESULT:-1e-3  ", {}, -1e-3, False),
        (b"RESULT: loss=0.3 val/acc=0.9", {"loss": 0.3, "val/acc": 0.9}, None, False),
        (b"RESULT: loss = 0.3, acc=1", {"loss": 0.3, "acc": 1.0}, None, False),
        (b"RESULT: loss=nan", {"loss": "nan"}, None, False),
        (b"RESULT: loss=0.3 acc=high", {}, None, True),
        (b"RESULT: done loss=0.3", {}, None, True),
        (b"RESULT:", {}, None, True),
        (b"RESULT: \xff", {}, None, True),
        (b"the RESULT: 0.31", {}, None, False),
        (b"RESULTS: 0.31", {}, None, False),
        (b"loss=0.3", {}, None, False),
    ],
)
def test_reads_result_lines(line: bytes, metrics: dict[str, object], number: float | None, unread: bool) -> None:
    printed = Printed()
    printed.take(line)
    assert {name: value if value == value else "nan" for name, value in printed.metrics.items()} == metrics
    assert printed.number == number
    assert bool(printed.unread) is unread


@pytest.mark.parametrize(
    "before",
    [
        "INFO:root:",
        "INFO:__main__: ",
        "2026-11-29 10:00:00,123 - INFO - ",
        "2026-11-29 10:00:00,123 INFO train: ",
        "2026-11-29 10:00:00,123 INFO ",
        "2026-11-29T10:00:00.123Z ",
        "INFO train.loop ",
        "[2026-11-29 10:00:00,123][__main__][INFO] - ",
        "2026-11-29 10:00:00.000 | INFO     | __main__:main:12 - ",
        "I1129 10:00:00.000000 140735 train.py:12] ",
        "[10:00:00] INFO     ",
        "2026-11-29 10:00:00 [info     ] ",
        "[rank0]: ",
        "0: ",
        "[default0]:",
        "[1,0]<stdout>:",
        "(train pid=123) ",
        "train-1  | ",
        "wandb: ",
        "100%|##########| 10/10 [00:01<00:00,  9.9it/s]",
        "\u2705 ",
        "=> ",
        "\ufeff",
        "\t ",
    ],
)
def test_a_result_is_read_behind_what_loggers_and_launchers_put_before_it(before: str) -> None:
    printed = Printed()
    printed.take(f"{before}RESULT: val/acc=0.5 loss=1e-3".encode())
    assert (printed.metrics, printed.unread) == ({"val/acc": 0.5, "loss": 1e-3}, "")
    printed.take(f"{before}RESULT: val/acc=0.5 loss=low".encode())
    assert printed.unread == "" if before == "INFO train.loop " else "loss=low" in printed.unread


@pytest.mark.parametrize(
    "line",
    [
        "\x1b[32mRESULT: loss=0.5\x1b[0m",
        "\x1b[1mRESULT:\x1b[0m loss=\x1b[1;32m0.5\x1b[0m",
        "\x1b[38;2;10;20;30mRESULT\x1b[0m: loss=0.5",
        "\x1b[2K\x1b[1GRESULT: loss=0.5\x1b[K",
        "\x1b]8;;http://x\x1b\\\\RESULT: loss=0.5\x1b]8;;\x07".replace("\\\\", "\\"),
        "\x1b[34mINFO\x1b[0m:\x1b[1mtrain\x1b[0m: RESULT: loss=0.5",
        "RESULT: loss=0.5 \x1b[0m",
    ],
)
def test_a_coloured_result_is_read(line: str) -> None:
    printed = Printed()
    printed.take(line.encode())
    assert (printed.metrics, printed.unread) == ({"loss": 0.5}, "")


@pytest.mark.parametrize(
    "line",
    [
        "RESULT: loss=0,5",
        "RESULT: acc=93%",
        "RESULT: loss=tensor(0.5)",
        "RESULT: loss=0.5 (epoch 3)",
        'RESULT: {"loss": 0.5}',
        "RESULT: loss=0.5RESULT: loss=0.4",
        "RESULT: loss=0.5 loss=0.4",
        "RESULT: loss==0.5",
        "RESULT: 0.5 acc=0.9",
        "RESULT: 0.5 0.6",
        "RESULT: loss=",
        "INFO:root:RESULT: loss=0.5 elapsed 3 s",
        "**RESULT:** 0.5",
        b"RESULT: pr\xe9cision=0.5",
        b"RESULT: loss=0.5\x00",
    ],
)
def test_a_result_that_cannot_be_read_whole_gives_no_value(line: str | bytes) -> None:
    printed = Printed()
    printed.take(line if isinstance(line, bytes) else line.encode())
    assert (printed.metrics, printed.number) == ({}, None)
    assert "RESULT:" in printed.unread


@pytest.mark.parametrize(
    "line",
    [
        "Result: 0.5",
        "result = 0.5",
        "RESULT 0.5",
        "RESULT= 0.5",
        "RESULT : loss=0.5",
        "the RESULT: 0.31",
        "final result: 0.5",
        "INFO the RESULT: lines are printed at the end",
        '    print(f"RESULT: loss={loss}")',
        "+ echo 'RESULT: loss=0.5'",
    ],
)
def test_what_may_have_been_meant_as_a_result_is_remembered_and_no_more(line: str) -> None:
    printed = Printed()
    printed.take(line.encode())
    assert (printed.metrics, printed.number, printed.unread) == ({}, None, "")
    assert printed.almost == line.strip()


def test_a_long_line_with_many_blanks_costs_little() -> None:
    printed = Printed()
    began = time.process_time()
    printed.take(b"x" + b" " * 500_000 + b"RESULT: loss=0.5 \x1b[" + b"1;" * 100_000)
    printed.take(b" " * 500_000 + b"RESULT: " + b"a=" * 200_000)
    assert time.process_time() - began < 2


def test_a_result_in_a_line_too_long_to_be_kept_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "CHUNK", 64)
    monkeypatch.setattr(tail, "_LONGEST_LINE", 64)
    path = tmp_path / "file"
    reader = Tail(path, having=tail.RESULT)
    append(path, b"x" * 1000 + b"RESULT: 0.5 " + b"x" * 1000 + b"\n" + b"z" * 1000 + b"\n")
    assert list(reader.read(to_end=True)) == []
    assert (reader.dropped, reader.dropped_having) == (2, 1)


def test_the_last_result_line_of_a_metric_counts() -> None:
    printed = Printed()
    for line in (b"RESULT: loss=3 acc=1", b"RESULT: loss=2"):
        printed.take(line)
    assert printed.metrics == {"loss": 2.0, "acc": 1.0}
