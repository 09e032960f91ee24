"""``hpo-batch doctor`` as a user meets it: after a crash, with a lost journal, and on a good day."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from hpo_batch.store.home import home_of
from hpo_batch.store.submissions import read_submissions
from tests.cli.conftest import Cli
from tests.helpers import start, until

MOMENTS = ["datetime_start", "datetime_complete", "duration", "seconds_total"]


def collected(cli: Cli) -> pd.DataFrame:
    """The table without what a moment of writing decides."""
    return pd.read_csv(io.StringIO(cli("collect", "toy", "--format", "csv").out)).drop(columns=MOMENTS)


@pytest.mark.usefixtures("few_turns")
def test_a_deleted_journal_loses_nothing_finished(cli: Cli, write_sweep, root: Path) -> None:
    path = write_sweep("fails_for_two", trials=5)
    path.write_text(path.read_text().replace('metric = "score"', 'metric = "x"'))
    cli("submit", path, "--wait")
    before = collected(cli)
    assert {"COMPLETE", "FAIL"} == set(before["state"])
    (root / "toy" / "journal.jsonl").unlink()

    for command in ("status", "collect", "logs"):
        ended = cli(command, "toy", *(["0"] if command == "logs" else []))
        assert ended.code == 2
        assert "'hpo-batch doctor toy --rebuild'" in ended.err
    refused = cli("submit", path)
    assert refused.code == 4
    assert "'hpo-batch doctor toy --rebuild' rebuilds it" in refused.err
    sick = cli("doctor", "toy")
    assert sick.code == 4
    assert "journal.jsonl' is gone" in sick.out

    rebuilt = cli("doctor", "toy", "--rebuild")
    assert rebuilt.code == 0, rebuilt.err
    assert "5 of 5 finished: 5 complete" in rebuilt.out
    pd.testing.assert_frame_equal(collected(cli), before)
    assert "5 of 5 finished" in cli("status", "toy").out
    assert "all 5 trials are finished: nothing to do" in cli("submit", path).err
    assert cli("doctor", "toy").code == 0
    more = cli("submit", path, "--wait", "--trials", "7")
    assert more.err.count("toy: 7 of 7 trials finished") >= 1, more.err


@pytest.mark.usefixtures("few_turns")
def test_a_healthy_study_is_said_to_be_and_left_alone(cli: Cli, write_sweep, root: Path) -> None:
    path = write_sweep(trials=2)
    cli("submit", path, "--wait")
    journal = root / "toy" / "journal.jsonl"
    content = journal.read_bytes()
    for study in ("toy", str(path), str(root / "toy")):
        healthy = cli("doctor", study)
        assert healthy.code == 0, healthy.out
        assert " bad " not in healthy.out
    assert "study toy (the newest" in cli("doctor").err
    done = cli("doctor", "toy", "--rebuild")
    assert (done.code, done.out) == (0, "the journal of 'toy' is healthy: nothing was done\n")
    assert journal.read_bytes() == content
    forced = cli("doctor", "toy", "--rebuild", "--force")
    assert forced.code == 0
    assert f"former    {root / 'toy' / 'journal.before-rebuild.1.jsonl'}" in forced.out
    assert (root / "toy" / "journal.before-rebuild.1.jsonl").read_bytes() == content


@pytest.mark.usefixtures("few_turns")
def test_a_damaged_journal_is_kept_and_made_again(cli: Cli, write_sweep, root: Path) -> None:
    cli("submit", write_sweep(trials=4), "--wait")
    before = collected(cli)
    journal = root / "toy" / "journal.jsonl"
    content = journal.read_bytes()
    middle = len(content) // 2
    damaged = content[:middle] + b"\0" * 200 + content[middle + 200 :]
    journal.write_bytes(damaged)
    ended = cli("status", "toy")
    assert ended.code == 4
    assert "next: 'hpo-batch doctor STUDY'" in ended.err
    assert cli("doctor", "toy").code == 4
    assert cli("doctor", "toy", "--rebuild").code == 0
    assert (root / "toy" / "journal.before-rebuild.1.jsonl").read_bytes() == damaged
    pd.testing.assert_frame_equal(collected(cli), before)


@pytest.mark.usefixtures("few_turns")
def test_a_journal_cut_at_the_end_of_a_line_is_found_out(cli: Cli, write_sweep, root: Path) -> None:
    cli("submit", write_sweep(trials=4), "--wait")
    before = collected(cli)
    journal = root / "toy" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: len(lines) // 2]))
    assert cli("status", "toy").code == 0  # nothing looks wrong
    assert "the journal lacks what the folders of trials have" in cli("doctor", "toy").out
    assert cli("doctor", "toy", "--rebuild").code == 0
    pd.testing.assert_frame_equal(collected(cli), before)


def test_results_that_only_the_journal_knows_are_not_given_up(cli: Cli, write_sweep, root: Path) -> None:
    path = write_sweep(trials=3)
    cli("submit", path, "--wait")
    home = home_of(root, "toy")
    for number in (1, 2):  # as if their results could not be written: then claims stay
        result = home.attempt(number, 1) / "result.json"
        (result.parent / "claim.json").write_text(json.dumps(json.loads(result.read_text())["claim"]))
    (home.attempt(1, 1) / "result.json").unlink()
    good = cli("doctor", "toy", "--rebuild")
    assert good.code == 0
    assert "note: the folders have no result of trials that are finished in the journal: 1" in good.err
    (home.attempt(2, 1) / "result.json").write_text("{}")  # it was edited: now the journal is doubted
    content = home.journal.read_bytes()
    home.journal.write_bytes(content + b"garbage\n")
    refused = cli("doctor", "toy", "--rebuild")
    assert refused.code == 4
    assert "no result of trials that are finished in the journal: 1, 2. A rebuild would run them again" in refused.err
    forced = cli("doctor", "toy", "--rebuild", "--force")
    assert "1 of 3 finished: 1 complete, 2 waiting" in forced.out
    assert "result.json' was not written by this hpo-batch" in forced.out
    assert "toy: 3 of 3 trials finished" in cli("submit", path, "--wait").err


@pytest.mark.usefixtures("few_turns")
def test_nothing_is_rebuilt_while_a_worker_is_at_work(cli: Cli, write_sweep, root: Path) -> None:
    path = write_sweep("sleeps", trials=1)
    cli("submit", path, "--workers", "1")
    home = home_of(root, "toy")
    pid = int(read_submissions(home)[0].job_ids[0])
    try:
        until((home.attempt(0, 1) / "metrics.jsonl").exists)
        content = home.journal.read_bytes()
        refused = cli("doctor", "toy", "--rebuild", "--force")
        assert refused.code == 4
        assert f"(pid {pid}) is working on 'toy'" in refused.err
        assert "then rebuild" in refused.err
        assert home.journal.read_bytes().startswith(content)
        assert "1 live: worker" in cli("doctor", "toy").out
    finally:
        os.kill(pid, signal.SIGKILL)
    until(lambda: cli("doctor", "toy", "--rebuild", "--force").code == 0)
    assert "1 waiting" in cli("status", "toy").out


def test_killed_in_the_middle_it_is_done_again(cli: Cli, write_sweep, root: Path) -> None:
    cli("submit", write_sweep(trials=3), "--wait")
    before = collected(cli)
    home = home_of(root, "toy")
    damaged = home.journal.read_bytes() + b"garbage\n"
    home.journal.write_bytes(damaged)
    for delay_s in (0.35, 0.4, 0.45, 0.5, 0.6, 0.7):
        process = start(
            "doctor", "toy", "--rebuild", "--force", env={"HPO_BATCH_ROOT": str(root)},
            stdout=subprocess.DEVNULL, stderr=None,
        )  # fmt: skip
        time.sleep(delay_s)
        process.kill()
        process.wait()
        assert home.journal.exists()
    assert cli("doctor", "toy", "--rebuild", "--force").code == 0
    pd.testing.assert_frame_equal(collected(cli), before)
    assert (home.path / "journal.before-rebuild.1.jsonl").read_bytes() == damaged


@pytest.mark.usefixtures("few_turns")
def test_budgets_are_rebuilt_one_by_one(cli: Cli, write_sweep, root: Path) -> None:
    budgets = '[[budget]]\nname = "a"\n[[budget]]\nname = "b"\nspace = { n = [2] }\n'
    path = write_sweep(trials=2, more=budgets)
    cli("submit", path, "--wait")
    (root / "toy" / "b" / "journal.jsonl").unlink()
    both = cli("doctor", "toy")
    assert both.code == 4
    assert both.out.count("study     toy/") == 2
    assert "name one" in cli("doctor", "toy", "--rebuild").err
    assert cli("doctor", "toy/b", "--rebuild").code == 0
    assert cli("doctor", path).code == 0
    assert "toy/b: 2 of 2 trials finished" in cli("collect", "toy").err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rebuild"], "name the STUDY to rebuild"),
        (["toy", "--force"], "--force requires --rebuild"),
        (["nowhere", "--rebuild"], "no study 'nowhere'"),
    ],
)
def test_what_makes_no_sense_is_refused(cli: Cli, argv: list[str], message: str) -> None:
    ended = cli("doctor", *argv)
    assert ended.code == 2
    assert message in ended.err


@pytest.mark.usefixtures("few_turns")
def test_a_study_of_plain_optuna_is_not_rebuilt(cli: Cli, root: Path) -> None:
    import optuna

    (root / "theirs").mkdir()
    journal = root / "theirs" / "journal.jsonl"
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    optuna.create_study(study_name="theirs", storage=optuna.storages.JournalStorage(backend))
    content = journal.read_bytes()
    assert cli("doctor", "theirs").code == 0
    assert cli("doctor", "theirs", "--rebuild").code == 0
    assert cli("doctor", "theirs", "--rebuild", "--force").code == 4
    assert journal.read_bytes() == content


def test_a_sweep_that_was_never_submitted_and_a_machine_without_slurm(
    cli: Cli, write_sweep, root: Path, no_slurm: None, request: pytest.FixtureRequest
) -> None:
    local = cli("doctor", write_sweep(trials=100_000))
    assert re.search(r"disk +ok .*; about 501,000 more files and folders are to come", local.out), local.out
    assert (local.code, "slurm" in local.out) == (0, False)
    assert "two processes of this host: kernel locks keep each other out" in local.out
    request.getfixturevalue("few_turns")
    path = write_sweep(name="far")
    path.write_text(path.read_text().replace('"local"', '"cpu"'))
    for argv, code in (([path], 0), ([], 0), ([path, "--cluster"], 3), (["--cluster"], 3)):
        ended = cli("doctor", *argv)
        assert ended.code == code
        assert "there is no SLURM on this machine" in ended.out
        assert "load SLURM" in ended.out
    assert list(root.iterdir()) == []


def test_a_slurm_that_refuses_to_answer_is_told_and_the_rest_is_done(cli: Cli, write_sweep) -> None:
    path = write_sweep()
    path.write_text(path.read_text().replace('"local"', '"cpu"'))
    ended = cli("doctor", path, "--cluster")  # the guard of the tests answers
    assert ended.code == 3
    assert "'scontrol show config' failed with exit code 97" in ended.out
    assert "no job was submitted" in ended.out
    assert ended.out.count("keep each other out") == 2


@pytest.mark.usefixtures("few_turns")
def test_findings_as_json(cli: Cli, write_sweep, root: Path) -> None:
    path = write_sweep(trials=1)
    cli("submit", path, "--wait")
    shown = json.loads(cli("doctor", path, "--json").out)
    assert shown["exit_code"] == 0
    study, site = shown["examined"]
    assert (study["kind"], study["name"], study["path"]) == ("study", "toy", str(root / "toy"))
    assert (site["kind"], site["path"]) == ("site", str(root))
    assert {tuple(finding) for part in (study, site) for finding in part["findings"]} == {
        ("level", "about", "what", "do")
    }
    (root / "toy" / "journal.jsonl").unlink()
    lost = cli("doctor", path, "--json")
    assert (lost.code, json.loads(lost.out)["exit_code"]) == (4, 4)


def test_two_nodes_need_a_sweep_for_slurm(cli: Cli, write_sweep) -> None:
    refused = cli("doctor", write_sweep(), "--cluster")
    assert refused.code == 2
    assert "template 'local' runs on this machine" in refused.err
    assert "--gpu requires --cluster" in cli("doctor", "--gpu").err
    assert "--rebuild cannot be combined with --cluster or --json" in cli("doctor", "toy", "--rebuild", "--json").err
