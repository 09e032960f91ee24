"""[expect]: what may be said, and what `check` refuses."""

from __future__ import annotations

import pytest

from hpo_batch.errors import ExpressionError, UserError
from hpo_batch.sweep.expect import read_statement, why_unknown
from tests.sweep.conftest import LoadOne

SPACE = "[space]\nx = [1, 2, 3]\ny = { low = 0.0, high = 1.0 }\n"
TRIAL = "[[trial]]\nname = '{}'\nset = 'A'\nparams = {{ x = {}, y = 0.5 }}\n"
TRIALS = TRIAL.format("A1", 1) + TRIAL.format("A2", 2)


def test_statistics_are_taken_out_of_the_text() -> None:
    statement = read_statement("mean(A3, A4) - mean(A1) > 0.01 and share(elites, encoder == 'cnn') > 0.8")
    assert statement.names == {"A1", "A3", "A4", "elites"}
    assert sorted(s.name for s in statement.statistics.values()) == ["mean", "mean", "share"]
    (share,) = (s for s in statement.statistics.values() if s.name == "share")
    assert share.where is not None
    assert share.where.names == {"encoder"}


def test_max_of_trials_and_max_of_numbers() -> None:
    statement = read_statement("max(A, B) > max(mean(A), 0.5)")
    assert sorted(s.name for s in statement.statistics.values()) == ["max", "mean"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "mean()", "mean(1)", "mean(A + 1) > 2", "mean(mean(A)) > 1", "mean(A, key=1)", "A >", "A[0] > 1"),
        *("share(elites)", "share(elites, x.y())", "share('elites', x > 1)", "open('f')", "[a for a in b]", "x" * 600),
    ],
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        read_statement(text)


def test_unknown_names_have_a_guess() -> None:
    told = why_unknown(read_statement("mean(elite) > best"), trials=["A1"], sets=[])
    assert "'elite' is neither a trial nor a set; did you mean 'elites'?" in told
    assert why_unknown(read_statement("mean(A) > A1"), trials=["A1"], sets=["A"]) == ""


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ("'a 0.5' = 'mean(A3) > A1'", "'A3' is neither a trial nor a set; did you mean"),
        ("a = { if = 'share(A, z > 1) > 0.5' }", "'z' is not a parameter of [space]"),
        ("a = 'A1 >'", "expect.a: "),
    ],
)
def test_check_refuses_what_report_could_not_judge(load_one: LoadOne, expect: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_one(f"{SPACE}{TRIALS}[expect]\n{expect}\n")
    assert message in str(caught.value)


def test_check_takes_what_report_can_judge(load_one: LoadOne) -> None:
    text = "a = 'mean(A) > A1'\nb = { if = 'share(elites, x > y) > 0.5', then = 'c' }\nd = 'best > baseline'\n"
    assert len(load_one(f"{SPACE}{TRIALS}[expect]\n{text}").expect) == 3
