from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from hpo_batch.findings.expected.numbers import Expected, judge
from hpo_batch.records import Answer


def group(*values: float, start: int = 0, **params: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"number": range(start, start + len(values)), "value": values, **params})


GROUPS = {
    "A1": group(0.70),
    "A2": group(0.80, start=1),
    "A": group(0.70, 0.80),
    "best": group(0.80, start=1, kind=["cnn"]),
    "elites": group(*[0.8] * 20, start=10, kind=["cnn"] * 19 + ["rnn"]),
    "baseline": group(),
}


def one(expression: Any, *, sd: float | None = 0.001, known: tuple[str, ...] = ()) -> Expected:
    (found,) = judge({"it is so": expression}, GROUPS, noise_sd=sd, known=known)
    return found


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("A2 > A1", Answer.YES),
        ("A1 > A2", Answer.NO),
        ("mean(A2) - mean(A1) > 0.05", Answer.YES),
        ("mean(A) > 0.9 or max(A) > 0.75", Answer.YES),
        ("mean(A) > 0.7501", Answer.CANNOT_TELL),
        ("best > A2", Answer.NO),
        ("best > 0.7 and count(elites) == 20", Answer.YES),
        ("share(elites, kind == 'cnn') > 0.7", Answer.YES),
        ("share(elites, kind == 'rnn') > 0.5", Answer.NO),
        ("share(elites, kind == 'cnn') > 0.9", Answer.CANNOT_TELL),
        ("std(A) > 0.01", Answer.YES),
        ("min(A) < median(A)", Answer.YES),
    ],
)
def test_three_answers(expression: str, answer: Answer) -> None:
    assert one(expression).answer is answer


def test_without_a_noise_floor_only_shares_and_counts_are_judged() -> None:
    found = one("A2 > A1", sd=None)
    assert found.answer is Answer.CANNOT_TELL
    assert "observed: true (A1 = 0.7, A2 = 0.8)" in found.text
    assert "noise floor is unknown" in found.text
    assert one("share(elites, kind == 'cnn') > 0.7", sd=None).answer is Answer.YES


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("mean(baseline) > 0", "no finished trial of baseline"),
        ("B1 > 0", "no finished trial of B1"),
        ("B2 > 0", "'B2' is neither a trial nor a set"),
        ("A > 0.5", "'A' is several trials: write mean(A)"),
        ("A1 >", "cannot be parsed"),
        ("share(elites, depth > 1) > 0", "'depth' is not a parameter of these trials"),
        ("A1 / (A2 - A2) > 1", "has no result"),
        ("std(A1) > 0", "needs two trials"),
        ("", "cannot be parsed"),
    ],
)
def test_what_cannot_be_judged_says_why(expression: str, part: str) -> None:
    found = one(expression, known=("B1",))
    assert found.answer is Answer.CANNOT_TELL
    assert part in found.text


def test_a_table_says_what_to_do() -> None:
    found = one({"if": "A2 > A1", "then": "fix encoder"})
    assert (found.then, found.expression, found.statement) == ("fix encoder", "A2 > A1", "it is so")


def test_the_same_seed_gives_the_same_answer() -> None:
    assert one("mean(A) > 0.7501") == one("mean(A) > 0.7501")
