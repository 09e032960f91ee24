"""Texts that nobody thought of: whatever a reader is given, it answers or refuses in words of ours. A small budget.

``benchmarks/fuzz.py`` is the place for longer runs; what is found becomes a test of its own.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from hpo_batch.errors import HpoBatchError
from hpo_batch.expressions import parse
from hpo_batch.objective.tail import Printed, parse_metrics
from hpo_batch.scheduler.slurm.accounts import parse_sacct
from hpo_batch.scheduler.slurm.control import parse_config
from hpo_batch.scheduler.slurm.queue import parse_squeue
from hpo_batch.sources.read import read_tables
from hpo_batch.sweep.load import load
from hpo_batch.text.lines import harmless, one_line
from hpo_batch.text.secrets import masked, secrets_in
from tests.cli.conftest import SWEEP

budget = hypothesis.settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)
ODD = (
    "nan",
    "inf",
    "-inf",
    "1e308",
    "-1e308",
    "1e-400",
    "9" * 400,
    "9" * 5000,
    "0",
    "-0.0",
    "true",
    "²",
    "٣",
    "\0",
    "é",
)
SIGNS = ("\x1b[2J", "\u202e", "\ud800", "学", "", *" \n\r,;\"'[]{}=#|:_")
COLUMNS = ("value", "state", "number", "duration", "datetime_start", "params_x", "COMPLETE", "0001-01-01", "9999-12-31")
words = st.sampled_from((*ODD, *SIGNS, *COLUMNS))
texts = st.lists(words | st.text(max_size=5), max_size=30).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=15,
)


def refused_or_read(run: Callable[[], object]) -> None:
    """An error of ours is an answer; any other one is exit 70."""
    with contextlib.suppress(HpoBatchError):
        run()


def table(content: bytes, ending: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x.{ending}"
        path.write_bytes(content)
        refused_or_read(lambda: read_tables((str(path),), root=Path(folder)))


@budget
@hypothesis.given(
    st.lists(st.lists(words.filter(lambda word: "\ud800" not in word), min_size=1, max_size=5), max_size=6)
)
def test_csv(rows: list[list[str]]) -> None:
    table("\n".join(",".join(row) for row in rows).encode(), "csv")


@budget
@hypothesis.given(st.lists(st.dictionaries(words, values, max_size=5), max_size=5))
def test_json(rows: list[dict[str, object]]) -> None:
    table(json.dumps(rows, default=str).encode(), "json")


@budget
@hypothesis.given(values)
def test_json_of_any_shape(value: object) -> None:
    table(json.dumps(value, default=str).encode(), "json")


@budget
@hypothesis.given(
    st.binary(max_size=200), st.sampled_from([b"", b"PAR1", b"SQLite format 3\0", b"[", b"\xff\xfe", b"{"])
)
def test_bytes(tail: bytes, head: bytes) -> None:
    table(head + tail, "csv")


@budget
@hypothesis.given(texts, st.sampled_from(["study", "objective", "space", "sampler", "job"]), words)
def test_toml(text: str, where: str, value: str) -> None:
    whole = SWEEP.format(name="toy", trials=3, function="quadratic")
    for made in (text, whole.replace(f"[{where}]", f"[{where}]\n{text}"), whole.replace('"toy"', value)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.toml"
            path.write_bytes(made.encode(errors="replace"))
            refused_or_read(lambda path=path: load(path))  # type: ignore[misc]


@budget
@hypothesis.given(st.dictionaries(words.filter(str.isidentifier) | st.just("y"), values, max_size=3), texts)
def test_tables_of_a_sweep(space: dict[str, object], override: str) -> None:
    whole = SWEEP.format(name="toy", trials=3, function="quadratic")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.toml"
        path.write_text(whole)
        given = [f"space.{name}={json.dumps(value, default=str)}" for name, value in space.items()]
        refused_or_read(lambda: load(path, overrides=[*given, override]))


TOKENS = "x lr ( ) + - * / ** // % < > == != and or not in if else 1 0 1e308 -1 'a' [ ] , min max log sqrt len . `a b`"
tokens = st.sampled_from(TOKENS.split())


@budget
@hypothesis.given(
    texts | st.lists(tokens, max_size=15).map(" ".join), st.sampled_from([0, -1, 1e308, -1e308, 2**53, "a", True])
)
def test_expressions(text: str, value: object) -> None:
    def run() -> None:
        found = parse(text)
        found.evaluate(dict.fromkeys(found.names, value))  # type: ignore[arg-type]

    refused_or_read(run)


@budget
@hypothesis.given(
    st.lists(words | st.text(max_size=8) | st.integers().map(str) | st.just("7_[0-999999999999]"), max_size=14)
)
def test_slurms_words(fields: list[str]) -> None:
    line = "|".join(fields)
    for text in (line, f"7|0|{line}", f"7_[0-{'9' * 15}]|{line}", f"{line}\n{line}"):
        parse_squeue(text)
        parse_squeue(text, whole=True)
        parse_sacct(text)
        parse_config(text)


@budget
@hypothesis.given(texts)
def test_what_a_trial_prints(text: str) -> None:
    data = text.encode(errors="surrogatepass")
    for line in (data, b"RESULT: " + data, b'{"step": 1, "a": ' + data + b"}"):
        Printed().take(line)
        parse_metrics(line)


@budget
@hypothesis.given(texts)
def test_what_is_shown(text: str) -> None:
    assert one_line(text).isprintable()
    assert all(
        letter.isprintable() or letter in "\n\t\r\u00a0\u200c\u200d" or ord(letter) > 0xA0 for letter in harmless(text)
    )
    assert "\x1b" not in harmless(text)
    refused = masked(text, known=secrets_in([text]))
    assert isinstance(refused, str)


@pytest.mark.parametrize("count", ["999999999999", "9" * 5_000])
def test_an_array_of_any_size(count: str) -> None:
    assert len(parse_sacct(f"7_[0-{count}]|PENDING|0:0|1|1|1|1|1||n")) <= 1_000_000
