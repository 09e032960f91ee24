"""The job after the workers: its script, and when it may submit what is left."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from hpo_batch.errors import UserError
from hpo_batch.launch.carry_out import job_name
from hpo_batch.launch.collector import collector_job, collector_name, script, why_not
from hpo_batch.launch.plan import Plan, Standing
from hpo_batch.records import Cause, Failed, Reason
from hpo_batch.scheduler.tasks import TaskState
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.store.submissions import Submission
from hpo_batch.study.study import Study
from hpo_batch.sweep.difference import Change
from hpo_batch.sweep.load import override
from hpo_batch.sweep.schema import Job, Sweep
from tests.study.helpers import Text, claimed, complete, make, owner, state_of, sweep_of

JOB = Job(template="a100", account="lab", partition="gpu", gres="gpu:a100:1", walltime=4 * 3600.0, cpus=8)
SUBMISSION = Submission(
    id="aa11", kind="slurm", workers=2, walltime_s=60, submitted=1.0, job_ids=("7", "8"), code={"workdir": "/my code"}
)


def a_plan(root: Path, job: Job) -> Plan:
    sweep = replace(sweep_of(root, Text()), job=job)
    home = StudyHome(path=root / "my %study", name="my %study")
    return Plan(
        home=home, sweep=sweep, change=Change(), standing=Standing(remaining=1), workers=1, workdir=Path("/code")
    )


def test_the_script_is_bash_and_asks_for_little(root: Path) -> None:
    plan = a_plan(root, replace(JOB, auto_resume=2, setup=("module load x",)))
    text = script(plan, collector_job(plan.sweep.job, near=root), SUBMISSION)
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    options = dict(
        shlex.split(line)[1].removeprefix("--").partition("=")[::2]
        for line in text.splitlines()
        if line.startswith("#SBATCH")
    )
    assert options["dependency"] == "afterany:7:8"
    assert (options["cpus-per-task"], options["time"], options["chdir"]) == ("1", "30", "/my code")
    assert (options["account"], options["partition"]) == ("lab", "gpu")
    assert options["output"] == f"{root}/my %%study/slurm/%j_collector.log"
    assert "gres" not in options
    steps = [line for line in text.splitlines() if "hpo_batch" in line]
    assert [shlex.split(line)[3] for line in steps] == ["collect", "resume"]
    assert "--auto aa11" in steps[1]
    assert text.index("module load x") < text.index("hpo_batch collect")


def test_without_auto_resume_it_only_collects(root: Path) -> None:
    plan = a_plan(root, JOB)
    assert "hpo_batch resume" not in script(plan, collector_job(JOB, near=root), SUBMISSION)


def test_its_template_stands_above_what_it_takes_from_the_workers(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "job_templates").mkdir()
    template = tmp_path / "job_templates" / "collector.toml"
    template.write_text('partition = "cpu"\nwalltime = "10"\n')
    monkeypatch.chdir(tmp_path)
    small = collector_job(replace(JOB, sbatch={"qos": "long"}), near=root)
    assert (small.partition, small.account, small.qos, small.walltime) == ("cpu", "lab", "long", 600)
    template.write_text('partion = "cpu"\n')
    with pytest.raises(UserError, match="partion"):
        collector_job(JOB, near=root)


def test_its_name_is_not_taken_for_the_workers(root: Path) -> None:
    home = home_of(root, "a b/2M")
    assert not collector_name(home, "aa11").endswith("-aa11")
    assert job_name(home, "aa11").endswith("-aa11")


@pytest.fixture
def home(root: Path) -> StudyHome:
    return make(root)


def sweep_with(root: Path, auto_resume: int) -> Sweep:
    return override(sweep_of(root, Text()), [f"job.auto_resume={auto_resume}"])


def asked(home: StudyHome, root: Path, *, submissions: tuple[Submission, ...] = (SUBMISSION,), **changes) -> str | None:
    given = {"sweep": sweep_with(root, 2), "state": state_of(home), "markers": (), "ended": (TaskState.DONE,)}
    return why_not(submissions, "aa11", **{**given, **changes})


def test_it_resumes_while_trials_remain(home: StudyHome, root: Path) -> None:
    assert "none of its workers started a trial" in str(asked(home, root))
    with Study.open(home, owner(submission="aa11")) as study:
        claim = claimed(study)
        study.tell(claim, complete(claim))
        assert asked(home, root) is None
        assert asked(home, root, ended=(TaskState.TIMEOUT, TaskState.NODE_FAIL, TaskState.FAILED)) is None
        assert asked(home, root, ended=()) is None  # nobody remembers
        study.give_back(claimed(study), Cause.TIME_LIMIT)
        assert asked(home, root) is None


def test_it_never_resumes_what_was_ended_on_purpose(home: StudyHome, root: Path) -> None:
    with Study.open(home, owner(submission="aa11")) as study:
        claim = claimed(study)
        study.tell(claim, complete(claim))
        assert asked(home, root, markers=["CANCELLED"]) == "the study was cancelled"
        assert asked(home, root, markers=["DRAIN"]) == "the study is being drained"
        for state in (TaskState.CANCELLED, TaskState.PREEMPTED):
            assert "cancelled or preempted" in str(asked(home, root, ended=(TaskState.DONE, state)))
        cancelled = (structs.replace(SUBMISSION, cancelled=2.0),)
        assert "cancelled or preempted" in str(asked(home, root, submissions=cancelled))
        study.give_back(claimed(study), Cause.PREEMPTED)
        assert "told to stop" in str(asked(home, root))
        claim = claimed(study)  # somebody has gone on with it
        study.tell(claim, complete(claim))
        assert asked(home, root) is None


def test_it_resumes_so_often_and_no_more(home: StudyHome, root: Path) -> None:
    with Study.open(home, owner(submission="aa11")) as study:
        claim = claimed(study)
        study.tell(claim, complete(claim))
    assert asked(home, root, submissions=(structs.replace(SUBMISSION, resumes=1),)) is None
    assert "resumed 2 times" in str(asked(home, root, submissions=(structs.replace(SUBMISSION, resumes=2),)))
    later = structs.replace(SUBMISSION, id="bb22", submitted=2.0)
    assert "a later submission (bb22)" in str(asked(home, root, submissions=(SUBMISSION, later)))
    refused = structs.replace(later, refused="no")
    assert asked(home, root, submissions=(SUBMISSION, refused)) is None
    assert asked(home, root, submissions=()) == "submission 'aa11' does not exist"


def test_it_does_not_resume_what_is_done_or_broken(root: Path) -> None:
    home = make(root, study="trials = 1", rest="[failures]\nstop_after = 1\n")
    with Study.open(home, owner(submission="aa11")) as study:
        claim = claimed(study)
        study.tell(claim, Failed(reason=Reason.EXCEPTION, message="no"))
        assert "failed" in str(asked(home, root, sweep=override(study.sweep, ["job.auto_resume=2"])))
    done = make(root / "done", study="trials = 1")
    with Study.open(done, owner(submission="aa11")) as study:
        claim = claimed(study)
        study.tell(claim, complete(claim))
    assert asked(done, root) == "all trials are finished"
