"""What real sweeps leave on disk, file by file: a quota of a million must hold 200,000 trials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.records import TrialState
from hpo_batch.store.attempt_folder import tidy
from hpo_batch.store.footprint import of_study, of_trial, planned
from hpo_batch.store.frozen import read_frozen
from hpo_batch.store.home import StudyHome

from .conftest import Project

Build = Callable[..., Project]
FOLDERS = [".", "attempts", "attempts/1"]
KEPT = {"study": 'trials = 3\nkeep_checkpoints = "all"'}


def left(home: StudyHome, number: int = 0) -> list[str]:
    """Files and folders of a trial."""
    folder = home.trial(number)
    return sorted(["."] + [str(path.relative_to(folder)) for path in folder.rglob("*")])


def of(*names: str, attempt: int = 1) -> list[str]:
    return sorted([*FOLDERS, *(f"attempts/{attempt}/{name}" for name in names)])


@pytest.mark.parametrize(
    ("function", "text", "files"),
    [
        ("quiet", {}, ["result.json"]),
        ("fine", {}, ["metrics.jsonl", "result.json"]),
        ("prints_to_the_end", {}, ["result.json", "stdout"]),
        ("asks_for_a_checkpoint", {}, ["result.json"]),
        ("asks_for_a_checkpoint", KEPT, ["result.json"]),
        ("saves", {}, ["result.json"]),
        ("saves", KEPT, ["checkpoint", "checkpoint/model", "result.json"]),
        ("quiet", {"study": "trials = 3\nreplicates = 3"}, ["result.json"]),
        ("fine", {"study": "trials = 3\nreplicates = 3"}, ["metrics.jsonl", "metrics.seeds.jsonl", "result.json"]),
        (
            "one_seed_prints",
            {"study": "trials = 3\nreplicates = 3"},
            ["metrics.jsonl", "metrics.seeds.jsonl", "result.json", "seed-2", "seed-2/stdout"],
        ),
    ],
)  # fmt: skip
def test_what_a_function_leaves(project: Build, function: str, text: dict[str, str], files: list[str]) -> None:
    here = project(function, **{"study": "trials = 3", **text})
    assert here.run().process.returncode == 0
    assert [left(here.home, number) for number in range(3)] == [of(*files)] * 3


def test_a_function_that_fails_leaves_its_traceback(project: Build) -> None:
    space, sampler = 'kind = ["exception", "fine"]', 'name = "grid"'
    here = project("mixed", study="trials = 2\nmax_failed = 2", space=space, sampler=sampler)
    here.run()
    failed = next(trial.number for trial in here.state.trials if trial.state is TrialState.FAIL)
    assert left(here.home, failed) == of("metrics.jsonl", "result.json", "stderr")
    assert left(here.home, 1 - failed) == of("metrics.jsonl", "result.json")


REPORT = 'echo \'{"step": 1, "loss": 0.5}\' >> "$HPO_BATCH_METRICS_FILE"\n'
FINAL = 'echo \'{"loss": 0.5}\' >> "$HPO_BATCH_METRICS_FILE"\n'
WORDS = 'echo \'{"step": 2, "loss": 0.5, "phase": "late"}\' >> "$HPO_BATCH_METRICS_FILE"\n'
TORN = 'echo \'{"step": 2, "lo\' >> "$HPO_BATCH_METRICS_FILE"\n'
RESULT = "echo RESULT: 0.5\n"


@pytest.mark.parametrize(
    ("script", "study", "files"),
    [
        (RESULT, "", ["result.json", "stdout"]),
        (FINAL, "", ["result.json"]),
        (REPORT, "", ["metrics.jsonl", "result.json"]),
        (REPORT + FINAL, "", ["metrics.jsonl", "result.json"]),
        (REPORT + WORDS, "", ["metrics.jsonl", "reported.jsonl", "result.json"]),
        (REPORT + TORN, "", ["metrics.jsonl", "reported.jsonl", "result.json", "stderr"]),
        ("echo lost >&2; exit 3", "max_failed = 3", ["result.json", "stderr"]),
        ("exit 3", "max_failed = 3", ["result.json"]),
        (RESULT + 'touch "$HPO_BATCH_CHECKPOINT_DIR/c"', "", ["result.json", "stdout"]),
        (
            RESULT + 'touch "$HPO_BATCH_CHECKPOINT_DIR/c"',
            'keep_checkpoints = "all"',
            ["checkpoint", "checkpoint/c", "result.json", "stdout"],
        ),
        (RESULT, 'keep_checkpoints = "all"', ["result.json", "stdout"]),
        (REPORT, "replicates = 3", ["metrics.jsonl", "metrics.seeds.jsonl", "result.json"]),
        (RESULT, "replicates = 2", ["result.json", "seed-2", "seed-2/stdout", "stdout"]),
    ],
)
def test_what_a_command_leaves(project: Build, script: str, study: str, files: list[str]) -> None:
    here = project(objective='command = "sh script.sh"', study=f"trials = 2\n{study}", tables={"failures": ""})
    (here.path / "script.sh").write_text(script)
    here.run()
    assert left(here.home) == of(*files)
    reports = 2 if files.count("reported.jsonl") and "late" in script else int("metrics.jsonl" in files)
    assert len(here.state.trials[0].steps) == reports  # nothing is counted that was not read


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("nothing", ["claim.json", "stderr", "stdout"], ["claim.json"]),
        ("asks", ["checkpoint", "claim.json", "stderr", "stdout"], ["claim.json"]),
        ("saves", ["claim.json", "stderr", "stdout"], ["claim.json", "stdout"]),
    ],
)
def test_a_trial_that_was_killed_and_resumed(project: Build, kind: str, before: list[str], after: list[str]) -> None:
    sampler = {"space": f'kind = ["{kind}"]\nn = [1, 2]', "sampler": 'name = "grid"'}
    here = project("is_killed_once", study="trials = 2", **sampler)
    assert here.run().process.returncode == -9
    first = here.home.attempt(0, 1)
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(before if kind != "saves" else ["checkpoint", *before])
    tidy(here.home, 0, 1)  # as who takes it over
    assert here.run().process.returncode == 0
    assert here.state.trials[0].ending(1)["how"] == "lost"
    assert left(here.home) == sorted([*of(*after), "attempts/2", "attempts/2/result.json"])
    assert ("half\n" in (first / "stdout").read_text()) if kind == "saves" else not (first / "stdout").exists()


def test_an_attempt_that_was_given_back(project: Build) -> None:
    here = project("long", study="trials = 1")
    worker = here.start()
    here.until(lambda: here.state.trials and here.state.trials[0].steps)
    worker.process.terminate()
    worker.wait()
    name = "attempts/1/{}".format
    given_back = [*FOLDERS, *map(name, ("checkpoint", "checkpoint/epoch", "metrics.jsonl", "result.json", "stdout"))]
    assert left(here.home) == given_back
    assert here.run().process.returncode == 0
    second = ["attempts/2", *(f"attempts/2/{name}" for name in ("metrics.jsonl", "result.json", "stdout"))]
    assert left(here.home) == [*(one for one in given_back if "checkpoint" not in one), *second]


def test_a_worker_that_ends_itself_leaves_nothing_empty(project: Build) -> None:
    failures = {"failures": 'stall = "0:00:02"'}
    here = project("deaf", study="trials = 1\nmax_failed = 1", tables=failures)
    here.run()
    assert here.state.trials[0].record().reason == "stalled"
    assert left(here.home) == of("result.json", "stderr")


def test_the_figures_that_are_told_are_those_on_the_disk(project: Build) -> None:
    here = project("fine", study="trials = 30")
    assert here.run().process.returncode == 0
    walked = 1 + sum(1 for _ in here.home.path.rglob("*"))
    state = here.state
    usage = of_study(here.home, state, read_frozen(here.home, state.revision))
    assert (usage.now, usage.expected, usage.per_trial, usage.of) == (walked, walked, 5.0, 8)
    assert of_trial(seeds=1, is_command=False) == 5
    expected = planned(trials=30, workers=1)
    assert walked <= expected.files <= walked + 25  # what one submission and a living worker add
    assert planned(trials=200_000, workers=1000, processes=1000).files < 1_010_000


def test_a_study_that_has_not_begun_is_predicted(project: Build, tmp_path: Path) -> None:
    here = project(objective='command = "true"', study="trials = 2000\nreplicates = 2")
    usage = of_study(here.home, here.state, read_frozen(here.home, 1))
    assert usage.of == 0
    assert usage.expected == usage.now + 2 + 2000 * 9
    assert usage.to_come == usage.expected - usage.now
