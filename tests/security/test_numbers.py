"""Numbers that are none: on the command line, in foreign files and journals, in what is printed for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.files import shown_json
from tests.cli.conftest import cli as cli  # a fixture
from tests.study.helpers import make, work

pytestmark = pytest.mark.usefixtures("few_turns")

NONE = ["nan", "inf", "-inf", "1e999", "NaN", "-Infinity"]


def strict(text: str) -> object:
    """JSON as other programs read it."""

    def refuse(word: str) -> object:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("value", NONE)
@pytest.mark.parametrize("words", [("report", "--baseline"), ("compare", "--baseline"), ("doctor", "--start-within")])
def test_no_option_takes_them(cli: Callable[..., object], root: Path, words: tuple[str, str], value: str) -> None:
    work(make(root))
    ended = cli(words[0], "s", *(["s"] if words[0] == "compare" else []), f"{words[1]}={value}")
    assert ended.code == 2, ended
    assert "finite" in ended.err or "range" in ended.err


@pytest.fixture
def poisoned(root: Path) -> Path:
    """A journal as somebody's other program may write it: Optuna refuses a NaN as a value, its journal does not."""
    home = make(root, study="trials = 4")
    work(home)
    lines = home.journal.read_text().splitlines()
    told = [i for i, line in enumerate(lines) if '"values":[' in line.replace(" ", "")]
    assert len(told) == 4
    for i, value in zip(told, ("NaN", "-Infinity", "Infinity"), strict=False):
        record = json.loads(lines[i])
        record["values"] = [float(value)]
        lines[i] = json.dumps(record, separators=(",", ":"))
    home.journal.write_text("\n".join(lines) + "\n")
    return home.path


def test_a_nan_is_never_the_best_and_json_stays_json(cli: Callable[..., object], poisoned: Path) -> None:
    (told,) = strict(cli("status", "s", "--json").out)
    assert told["best"]["number"] == 3
    assert "best" in cli("list").out
    assert "nan" not in cli("list").out
    assert "by trial 3" in cli("status", "s").out
    for words in (("explain", "s", "0", "--json"), ("explain", "s", "1", "--json"), ("doctor", "s", "--json")):
        strict(cli(*words).out)
    assert strict(cli("explain", "s", "0", "--json").out)[0]["values"] == [None]
    ended = cli("collect", "s", "--format", "json")
    assert ended.code in (0, 1, 2, 4), ended
    if ended.code < 2:
        strict(ended.out)
    ended = cli("report", "s", "-o", poisoned / "report")
    assert ended.code in (0, 2, 4), ended
    if ended.code == 0:
        strict((poisoned / "report" / "report.json").read_text())


def test_on_a_front_there_is_no_nan(cli: Callable[..., object], root: Path) -> None:
    from hpo_batch.journal.pareto import front_of, on_front

    assert on_front([(1.0, 2.0), (2.0, 1.0), (2.0, 2.0)]) == [0, 1]
    nan = float("nan")
    assert front_of([[nan, 1.0, 2.0], [0.0, 2.0, 1.0]], ["COMPLETE"] * 3, ["minimize"] * 2) == [False, True, True]


def test_the_writer_of_json() -> None:
    inner = {"a": (float("nan"), [float("-inf")]), "b": {"c": float("inf"), "d": 1e308}, "e": "NaN", "f": 5e-324}
    assert strict(shown_json(inner)) == {"a": [None, [None]], "b": {"c": None, "d": 1e308}, "e": "NaN", "f": 5e-324}
