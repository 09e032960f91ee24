"""Submissions: the last line of an id counts, and a torn line costs itself only."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from hpo_batch.store.home import home_of
from hpo_batch.store.submissions import Submission, read_submissions, write_submission

FIRST = Submission(
    id="a", kind="slurm", name="x-a", workers=4, walltime_s=60.0, submitted=1.5, gpus="gpu:1", code={"commit": "c"}
)
SECOND = Submission(id="b", kind="local", workers=1, walltime_s=60.0, submitted=2.5, job_ids=("17",))


def test_the_last_line_of_an_id_counts_in_the_order_of_the_first(tmp_path: Path) -> None:
    home = home_of(tmp_path, "")
    assert read_submissions(home) == ()
    completed = replace(FIRST, job_ids=("123", "124"))
    for submission in (FIRST, SECOND, completed):
        write_submission(home, submission)
    assert read_submissions(home) == (completed, SECOND)


def test_a_torn_line_is_skipped_and_the_next_is_whole(tmp_path: Path) -> None:
    home = home_of(tmp_path, "")
    write_submission(home, FIRST)
    whole = home.submissions.read_bytes()
    for length in range(1, len(whole) - 1):
        home.submissions.write_bytes(whole + whole.replace(b'"a"', b'"x"')[:length])
        write_submission(home, SECOND)
        assert read_submissions(home) == (FIRST, SECOND)


def test_lines_of_another_version_do_not_hide_the_others(tmp_path: Path) -> None:
    home = home_of(tmp_path, "")
    write_submission(home, FIRST)
    with home.submissions.open("a") as file:
        file.write('{"id": "c", "later": 1}\n[1]\nnull\n')
    text = home.submissions.read_text().replace('"workers":4', '"workers":4,"later":true', 1)
    home.submissions.write_text(text)
    assert read_submissions(home) == (FIRST,)
