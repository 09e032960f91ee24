"""The dry run shows the jobs that the submission then makes: arrays, their shares of max_running, and the collector."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpo_batch.cli.main import run
from hpo_batch.launch.facts import Fact, Planned, Submitted
from hpo_batch.launch.plan import split
from hpo_batch.launch.preview import preview
from hpo_batch.launch.submit import Request, submit_sweeps
from hpo_batch.store.home import home_of
from hpo_batch.store.submissions import read_submissions
from hpo_batch.sweep.load import load
from tests.helpers import REPOSITORY
from tests.launch.test_submit import Slurm
from tests.launch.test_submit import slurm as slurm

LARGE = (
    *("study.trials=100000", "job.template=cpu", "job.workers=2001", "job.max_running=100"),
    *("job.auto_resume=2", "job.python=python3"),
)


def a_request(root: Path, *overrides: str) -> Request:
    (sweep,) = load(REPOSITORY / "configs" / "quickstart.toml", overrides=overrides)
    return Request(sweep=sweep, home=home_of(root, sweep.path), workdir=REPOSITORY)


def without_ids(text: str, submission: str, *job_ids: str) -> str:
    for number, id in enumerate(job_ids, start=1):
        text = re.sub(rf"(?<=[:'])({id}|<job {number}>|<job>)(?=[:'\n])", "JOB", text)
    return text.replace(submission, "ID").replace("<id>", "ID").replace("'", "")


@pytest.mark.parametrize(
    ("overrides", "array_size", "arrays"),
    [
        (LARGE, 1000, ["0-999%50", "0-999%50", "0-0%1"]),
        (LARGE, 5000, ["0-2000%100"]),
        ((*LARGE, "job.workers=1"), 1000, [None]),
        ((*LARGE, "job.workers=3", "job.max_running=2", "job.auto_resume=0"), 1000, ["0-2%2"]),
        ((*LARGE, "job.workers=1200", "job.collect=true", "job.auto_resume=0"), 700, ["0-699%58", "0-499%42"]),
    ],
)
def test_the_dry_run_is_what_is_submitted(
    overrides: tuple[str, ...], array_size: int, arrays: list[str | None], slurm: Slurm, root: Path
) -> None:
    folder = slurm(array_size=array_size)
    facts: list[Fact] = []
    request = a_request(root, *overrides)
    submit_sweeps([request], tell=facts.append, dry_run=True)
    (planned,) = [fact.plan for fact in facts if isinstance(fact, Planned)]
    shown = "\n".join(preview(planned))
    assert not request.home.path.exists()
    assert not (folder / "asked").exists()

    facts.clear()
    submit_sweeps([request], tell=facts.append)
    (carried_out,) = [fact.plan for fact in facts if isinstance(fact, Planned)]
    assert carried_out.lines() == planned.lines()
    (submission,) = [fact.submission for fact in facts if isinstance(fact, Submitted)]
    assert read_submissions(request.home) == (submission,)
    scripts = sorted(request.home.slurm.glob("*.sh"), key=lambda path: (path.name.count("-"), path.name))
    workers = [path.read_text() for path in scripts if "collector" not in path.name]
    found = [re.search(r"^#SBATCH --array=(.*)$", text, re.MULTILINE) for text in workers]
    assert [match and match[1].strip("'") for match in found] == arrays
    expected = without_ids(shown, submission.id, *submission.job_ids)
    assert without_ids(workers[0], submission.id) in expected
    others = re.findall(
        r"^arrays? (\d+)(?: to (\d+))? of \d+: the same script with #SBATCH --array=(.*)$", expected, re.MULTILINE
    )
    spelled = [size for begin, end, size in others for _ in range(int(begin), int(end or begin) + 1)]
    assert spelled == arrays[1:]
    collectors = [path.read_text() for path in scripts if "collector" in path.name]
    assert len(collectors) == bool(submission.collector) == planned.collects
    for text in collectors:
        assert without_ids(text, submission.id, *submission.job_ids) in expected


def test_the_command_prints_arrays_shares_and_the_collector(
    slurm: Slurm, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm(array_size=1000)
    monkeypatch.chdir(REPOSITORY)
    words = [word for override in LARGE for word in ("--set", override)]
    assert run(["submit", "configs/quickstart.toml", "-n", "--root", str(root), *words]) == 0
    out = capsys.readouterr().out
    assert "in 3 arrays, since SLURM accepts at most 1000 tasks in one: 2 x 1000 (50 at once), 1 (1 at once)" in out
    assert "then one job that collects the results; resumes at most 2 times while trials remain" in out
    assert "--dependency='afterany:<job 1>:<job 2>:<job 3>'" in out
    assert list(root.iterdir()) == []


def test_a_collector_that_would_be_refused_is_told(
    slurm: Slurm, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm()
    (tmp_path / "job_templates").mkdir()
    (tmp_path / "job_templates" / "collector.toml").write_text('partion = "cpu"\n')
    monkeypatch.chdir(tmp_path)
    facts: list[Fact] = []
    submit_sweeps([a_request(root, *LARGE, "job.workers=2")], tell=facts.append, dry_run=True)
    (planned,) = [fact.plan for fact in facts if isinstance(fact, Planned)]
    assert "the collector would be refused: job template" in "\n".join(preview(planned))


@pytest.mark.parametrize("tasks", [1, 2, 7, 999, 1000, 1001, 2001, 12345])
@pytest.mark.parametrize("limit", [0, 1, 6, 1000])
@pytest.mark.parametrize("max_running", [None, 1, 10, 5000])
def test_arrays_hold_all_tasks_and_share_what_may_run(tasks: int, limit: int, max_running: int | None) -> None:
    arrays = split(tasks, limit=limit, max_running=max_running)
    assert sum(array.tasks for array in arrays) == tasks
    assert all(1 <= array.tasks <= max(1, limit) for array in arrays)
    assert {array.is_array for array in arrays} == {tasks > 1 and limit > 1}
    shares = [array.max_running for array in arrays if array.max_running is not None]
    assert len(shares) == (0 if max_running is None else len(arrays))
    assert all(share >= 1 for share in shares)
    if max_running is not None and max_running >= len(arrays):
        assert sum(shares) <= max_running + len(arrays)
