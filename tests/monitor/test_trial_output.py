"""``status``, ``logs``, ``explain`` and ``--wait`` as functions: what Python users call, without a command line."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hpo_batch.errors import StorageError, UserError
from hpo_batch.monitor import status, waiting
from hpo_batch.monitor.explain import explain
from hpo_batch.monitor.reader import StudyReader, trial_numbers
from hpo_batch.monitor.status import View, study_statuses
from hpo_batch.monitor.trial_output import PIECE, Note, Text, trial_output, worker_output
from hpo_batch.monitor.waiting import wait_for_workers
from hpo_batch.records import Cause
from hpo_batch.store.home import StudyHome
from hpo_batch.study.study import Study
from tests.study.helpers import checkpoints, claimed, complete, make, owner, work

LISTED = """
[[trial]]
name = "small"
params = { x = 0.5, n = 1 }

[[trial]]
name = "large"
params = { x = 0.5, n = 4 }
"""


@pytest.fixture
def home(root: Path) -> StudyHome:
    """Two named trials; the first was preempted once, and has printed something in each attempt."""
    home = make(root, study="", sampler='name = "list"', rest=LISTED)
    with Study.open(home, owner()) as study:
        first = claimed(study)
        (checkpoints(study, first) / "epoch").write_text("1")
        (home.attempt(0, 1) / "stdout").write_text("epoch 1\n")
        study.give_back(first, Cause.PREEMPTED)
        again = claimed(study)
        (study.open_attempt(again) / "stdout").write_text("epoch 2\n")
        study.tell(again, complete(again))
    return home


def texts(pieces: object) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))  # type: ignore[attr-defined]


def test_output_comes_in_pieces_with_notes_apart(home: StudyHome) -> None:
    notes = [piece.text for piece in trial_output(StudyReader(home), 0) if isinstance(piece, Note)]
    assert notes[0].startswith("trial 0 (small): COMPLETE, attempt 2 of 2 on ")
    assert notes[1] == f"--- {home.attempt(0, 2) / 'stdout'}"
    assert texts(trial_output(StudyReader(home), 0)) == "epoch 2\n"
    assert texts(trial_output(StudyReader(home), 0, attempt=1)) == "epoch 1\n"
    with pytest.raises(UserError, match="trial 0 has 2 attempts; there is no attempt 3"):
        list(trial_output(StudyReader(home), 0, attempt=3))


def test_a_piece_ends_with_a_line_where_it_can(home: StudyHome) -> None:
    printed = ("0123456789" * 9 + "\n") * (PIECE // 40) + "\x1b[3"
    (home.attempt(0, 2) / "stdout").write_text(printed)
    pieces = [piece.text for piece in trial_output(StudyReader(home), 0) if isinstance(piece, Text)]
    assert "".join(pieces) == printed
    assert len(pieces) > 2
    assert all(piece.endswith("\n") for piece in pieces[:-1])


def test_following_ends_with_the_trial(home: StudyHome) -> None:
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        path = study.open_attempt(claim) / "stdout"
        path.write_text("epoch 1\n")
        pieces = trial_output(StudyReader(home), 1, follow=True)
        assert next(piece.text for piece in pieces if isinstance(piece, Text)) == "epoch 1\n"

        def finish() -> None:
            with path.open("a") as file:
                file.write("epoch 2\n")
            study.tell(claim, complete(claim))

        threading.Timer(0.2, finish).start()
        assert texts(pieces) == "epoch 2\n"


def test_a_worker_without_a_log(home: StudyHome) -> None:
    with pytest.raises(StorageError, match=r"the log of worker .* is not in .*: was it removed"):
        list(worker_output(StudyReader(home), 0))
    with pytest.raises(UserError, match="there is no attempt 3"):
        list(worker_output(StudyReader(home), 0, attempt=3))


@pytest.mark.parametrize(
    ("words", "numbers"), [(("0",), [0]), (("large", "0"), [1, 0]), (("0-1",), [0, 1]), (("1-1", "small"), [1, 0])]
)
def test_trials_by_number_name_and_range(home: StudyHome, words: tuple[str, ...], numbers: list[int]) -> None:
    work(home)
    assert trial_numbers(StudyReader(home).read(), *words) == numbers
    assert [story.number for story in explain(home, *words)] == numbers


@pytest.mark.parametrize("word", ["2", "1-0", "0-2", "²", "9" * 19, "0-" + "9" * 18, "-1", "", "tiny"])
def test_no_such_trial(home: StudyHome, word: str) -> None:
    work(home)
    with pytest.raises(UserError, match="there are trials 0 to 1, and large, small"):
        trial_numbers(StudyReader(home).read(), word)


def test_a_history_is_told_in_words(home: StudyHome) -> None:
    (story,) = explain(home, "small")
    assert [attempt.told for attempt in story.attempts] == ["given back: preempted", "complete"]
    assert story.came_from == ("listed in the sweep: [[trial]] 'small'",)
    assert story.happened[0].endswith("given back: preempted; the next one continued from its checkpoint")


def test_watching_yields_a_status_after_each_change(home: StudyHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "LOOK_EVERY_S", 0.01)
    looks = View([home]).watch()
    (before,) = next(looks)
    (again,) = next(looks)
    assert before.gist == again.gist
    work(home)
    (after,) = next(looks)
    assert after.gist != before.gist
    assert after.counts.complete == 2
    assert study_statuses([home])[0].gist == after.gist


def test_waiting_ends_with_the_workers(home: StudyHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_EVERY_S", 0.01)
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        study.open_attempt(claim)
        looks = wait_for_workers([home], tell=lambda line: None)
        assert [(c.running, c.complete) for c in next(looks)] == [(1, 1)]
        assert [(c.running, c.complete) for c in next(looks)] == [(1, 1)]
        study.tell(claim, complete(claim))
    assert [[(c.running, c.complete) for c in counts] for counts in looks][-1] == [(0, 2)]
