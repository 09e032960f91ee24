"""What submit does when sbatch says no, says nothing, or is interrupted: with an sbatch that is told what to say."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from hpo_batch.cli.main import run
from hpo_batch.errors import SlurmRefused, SlurmUnreachable, SubmissionUnknown
from hpo_batch.launch import arrays
from hpo_batch.launch.carry_out import carry_out
from hpo_batch.launch.plan import Plan, Site, Standing, plan
from hpo_batch.launch.rollback import Before, remove_unused
from hpo_batch.monitor.live import live
from hpo_batch.monitor.queue import ask, is_starting
from hpo_batch.scheduler.slurm import jobs
from hpo_batch.scheduler.slurm.sbatch_errors import likely_fix
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.store.submissions import Submission, read_submissions
from hpo_batch.study.create import create
from hpo_batch.sweep.difference import Change
from hpo_batch.sweep.load import load
from tests.cli.conftest import SWEEP
from tests.helpers import REPOSITORY, write_program

SBATCH = """#!/bin/sh
script=$2
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$script")
tasks=$((${last:-0} + 1))
used=$(cat FOLDER/used 2>/dev/null || echo 0)
echo "$tasks $(sed -n 's/^#SBATCH --array=.*%//p' "$script")" >>FOLDER/asked
if [ $((used + tasks)) -gt ROOM ]; then printf '%s\\n' "WORDS" >&2; exit 1; fi
echo $((used + tasks)) >FOLDER/used
echo "$((100 + used))"
"""
POLICY = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy"
LIMIT = f"sbatch: error: AssocMaxSubmitJobLimit\n{POLICY}"
Slurm = Callable[..., Path]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """``slurm(room=6)``: an sbatch that takes so many tasks; the folder of its notes."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    (folder / "slurm.conf").write_text("ClusterName=east\n")
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))

    def programs(*, room: int = 10_000, words: str = LIMIT, array_size: int = 1001, sbatch: str = SBATCH) -> Path:
        text = sbatch.replace("FOLDER", str(folder)).replace("ROOM", str(room)).replace("WORDS", words)
        write_program(folder / "sbatch", text)
        write_program(
            folder / "scontrol", f"#!/bin/sh\necho call >>{folder}/configs\necho 'MaxArraySize = {array_size}'\n"
        )
        write_program(
            folder / "squeue", f'#!/bin/sh\necho "$@" >>{folder}/squeues\ncat {folder}/queue 2>/dev/null || true\n'
        )
        return folder

    return programs


def a_plan(root: Path, *, workers: int = 4, **job: object) -> Plan:
    (sweep,) = load(REPOSITORY / "configs" / "quickstart.toml", overrides=["study.trials=100000", "job.template=cpu"])
    sweep = replace(sweep, job=replace(sweep.job, workers=workers, **job))
    return plan(
        home_of(root, "quickstart"),
        sweep,
        change=Change(created=True),
        site=Site(has_slurm=True),
        standing=Standing(remaining=100_000),
        workdir=root,
    )


def go(plan: Plan) -> Submission:
    submission = carry_out(plan, toml="", environ=os.environ)
    assert submission is not None
    assert read_submissions(plan.home)[-1] == submission
    return submission


def asked_of(folder: Path) -> list[tuple[int, int]]:
    lines = (folder / "asked").read_text().splitlines()
    return [(int(line.split()[0]), int([*line.split(), "0"][1])) for line in lines]


def test_one_array_and_no_question_about_the_site(slurm: Slurm, root: Path) -> None:
    folder = slurm()
    submission = go(a_plan(root, workers=4, max_running=3))
    assert (submission.job_ids, submission.workers, submission.log_pattern) == (("100",), 4, arrays.LOG_OF_TASK)
    assert asked_of(folder) == [(4, 3)]
    assert submission.cluster == "east"
    assert not (folder / "configs").exists()
    assert go(a_plan(root, workers=1)).log_pattern == arrays.LOG_OF_JOB


def test_arrays_of_a_large_submission(slurm: Slurm, root: Path) -> None:
    folder = slurm(array_size=1000)
    submission = go(a_plan(root, workers=2001, max_running=100))
    assert (submission.workers, len(submission.job_ids)) == (2001, 3)
    assert asked_of(folder) == [(1000, 50), (1000, 50), (1, 1)]
    assert submission.log_pattern == arrays.LOG_OF_TASK  # also of the array of one
    assert (folder / "configs").read_text() == "call\n"


def test_the_usual_limit_is_taken_where_the_site_does_not_tell(slurm: Slurm, root: Path) -> None:
    folder = slurm()
    (folder / "scontrol").write_text("#!/bin/sh\nexit 1\n")
    go(a_plan(root, workers=1500))
    assert [size for size, _ in asked_of(folder)] == [1001, 499]


def test_a_site_without_arrays(slurm: Slurm, root: Path) -> None:
    folder = slurm(array_size=0, room=0, words="sbatch: error: Invalid job array specification")
    with pytest.raises(SlurmRefused):
        go(a_plan(root, workers=2))
    assert [size for size, _ in asked_of(folder)] == [2, 1]


@pytest.mark.parametrize(
    ("workers", "room", "sizes"),
    [(16, 10, [16, 8, 8, 4, 2]), (16, 16, [16]), (5, 1, [5, 2, 1, 1]), (3, 2, [3, 1, 1, 1])],
)
def test_a_limit_is_met_with_halves(slurm: Slurm, root: Path, workers: int, room: int, sizes: list[int]) -> None:
    folder = slurm(room=room)
    submission = go(a_plan(root, workers=workers))
    assert [size for size, _ in asked_of(folder)][: len(sizes)] == sizes
    assert (submission.workers, submission.asked) == (room, workers)
    assert "AssocMaxSubmitJobLimit" in submission.limit or room == workers


def test_halving_ends(slurm: Slurm, root: Path) -> None:
    folder = slurm(room=0)
    with pytest.raises(SlurmRefused, match="not even one worker fits now"):
        go(a_plan(root, workers=1000))
    assert len(asked_of(folder)) <= arrays.MOST_REFUSALS + 1
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        "Invalid partition name specified",
        "QOSMaxWallDurationPerJobLimit\nsbatch: error: Job violates accounting/QOS policy",
    ],
)
def test_other_refusals_are_not_tried_again(slurm: Slurm, root: Path, words: str) -> None:
    folder = slurm(room=0, words=f"sbatch: error: {words}")
    with pytest.raises(SlurmRefused):
        go(a_plan(root))
    assert len(asked_of(folder)) == 1
    assert list(root.iterdir()) == []


def test_a_second_array_that_is_refused_leaves_the_first(slurm: Slurm, root: Path) -> None:
    slurm(array_size=1000, room=1000, words="sbatch: error: Unable to contact slurm controller")
    submission = go(a_plan(root, workers=1500))
    assert (submission.workers, submission.job_ids) == (1000, ("100",))
    assert "Unable to contact" in submission.limit


def test_folders_on_the_way_go_too_if_they_were_made_for_it(slurm: Slurm, root: Path) -> None:
    slurm(room=0)
    for made in (False, True):
        (root / "a").mkdir() if made else None
        with pytest.raises(SlurmRefused):
            go(replace(a_plan(root), home=StudyHome(path=root / "a" / "b", name="a/b")))
        assert list(root.rglob("*")) == ([root / "a"] if made else [])
    (root / "a" / "c").mkdir(parents=True)
    with pytest.raises(SlurmRefused):
        go(replace(a_plan(root), home=StudyHome(path=root / "a" / "b", name="a/b")))
    assert [path.name for path in (root / "a").iterdir()] == ["c"]
    with pytest.raises(SlurmRefused):
        go(replace(a_plan(root), home=home_of(root / "new" / "logs", "b")))
    assert [path.name for path in root.iterdir()] == ["a"]


@pytest.mark.parametrize("who", ["another submission", "a worker", "a submission of the same revision"])
def test_a_study_that_others_have_begun_to_use_stays(root: Path, who: str) -> None:
    made = a_plan(root)
    create(made.home, made.sweep, toml="", now=1.0)
    if who == "a worker":
        (made.home.workers / "x.json").write_text("{}")
    elif who == "another submission":
        made.home.submissions.write_text('{"id":"b","kind":"slurm","workers":1,"walltime_s":1,"submitted":1}\n')
    else:
        create(made.home, made.sweep, toml="", now=2.0)
    assert not remove_unused(made.home, "a", before=Before(above=root / "quickstart"))
    assert made.home.exists


def test_an_sbatch_that_hangs_is_given_up_and_its_job_found_by_name(
    slurm: Slurm, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = slurm(sbatch="#!/bin/sh\nexec sleep 60\n")
    quick = jobs.sbatch
    monkeypatch.setattr(jobs, "sbatch", lambda script, *, env: quick(script, env=env, timeout_s=0.5))
    made = a_plan(root)
    made.home.make()
    made.home.marker("DRAIN").touch()
    with pytest.raises(SubmissionUnknown, match=r"may have been submitted.*found by its name"):
        go(made)
    (submission,) = read_submissions(made.home)
    assert (submission.job_ids, submission.is_open, submission.refused) == ((), True, "")
    assert not made.home.marker("DRAIN").exists()  # its workers may run
    # this process lives and the submission is young: it may be on its way
    assert is_starting(submission)
    assert live([made.home])[made.home.name].workers == 4
    # found by name: no more than are there, whoever else has a job like it
    (folder / "queue").write_text(
        "".join(f"7|{i}|RUNNING|None|0:01|1:00|n1|0|{submission.name}\n" for i in range(4))
        + "8|0|RUNNING|None|0:01|1:00|n1|0|other\n"
    )
    queue = ask([submission])
    assert queue.job_ids == {submission.id: ("7",)}
    assert len(queue.of(submission)) == 4
    assert live([made.home])[made.home.name].workers == 4  # none of them twice, though sbatch may be at it still
    later = submission.submitted + 10_000
    assert not is_starting(submission, now=later)
    assert f"--name={submission.name}" in (folder / "squeues").read_text()


def test_a_submitter_that_died_is_not_waited_for(slurm: Slurm, root: Path) -> None:
    slurm()
    submission = go(a_plan(root))
    open_again = structs.replace(submission, job_ids=(), is_open=True, submitted=time.time())
    assert is_starting(open_again)
    gone = {**open_again.submitter, "start": 1}
    assert not is_starting(structs.replace(open_again, submitter=gone))
    assert is_starting(structs.replace(open_again, submitter={**gone, "host": "elsewhere"}))
    assert structs.asdict(open_again)["submitter"]["pid"] == os.getpid()


def test_without_lost_jobs_squeue_is_asked_for_ids(slurm: Slurm, root: Path) -> None:
    folder = slurm()
    go(a_plan(root))
    live([home_of(root, "quickstart")])
    assert (folder / "squeues").read_text().startswith("-h -r -t all -j 100 -o ")


def test_a_job_id_among_other_words(slurm: Slurm, root: Path) -> None:
    slurm(sbatch="#!/bin/sh\necho 'welcome to the cluster'\necho '17;east'\n")
    assert go(a_plan(root)).job_ids == ("17",)
    slurm(sbatch="#!/bin/sh\necho 'welcome to the cluster'\n")
    with pytest.raises(SubmissionUnknown, match="which is not a job id"):
        go(a_plan(root))


def test_no_controller(slurm: Slurm, root: Path) -> None:
    slurm(room=0, words="sbatch: error: Unable to contact slurm controller (connect failure)")
    with pytest.raises(SlurmUnreachable, match="try again later"):
        go(a_plan(root))
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("invalid partition specified: x; Invalid partition name specified", "sinfo -s"),
        ("Invalid account or account/partition combination specified", "[job] account"),
        ("Invalid qos specification", "[job] qos"),
        ("Requested GRES option unsupported by configured SelectType plugin", "[job] gres"),
        ("Invalid generic resource (gres) specification", "gpu:a100:1"),
        ("QOSMaxWallDurationPerJobLimit; Job violates accounting/QOS policy", "[job] walltime"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "[job] walltime"),
        ("QOSMaxGRESPerUser", "ask for less"),
        ("Requested node configuration is not available", "sinfo -o"),
        ("User's group not permitted to use this partition", "ask for access"),
        ("never heard of it", ""),
    ],
)
def test_the_likely_fix(words: str, part: str) -> None:
    assert part in likely_fix(words)
    assert bool(part) == bool(likely_fix(words))


def test_one_question_for_all_budgets(
    slurm: Slurm, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = slurm()
    write_program(folder / "srun", "#!/bin/sh\nexit 1\n")
    monkeypatch.chdir(REPOSITORY)
    path = tmp_path / "toy.toml"
    budgets = "".join(f'\n[[budget]]\nname = "b{i}"\nspace = {{ n = [{i}] }}\n' for i in range(3))
    path.write_text(SWEEP.format(name="toy", trials=9, function="quadratic").replace('"local"', '"cpu"') + budgets)
    argv = ["submit", str(path), "--root", str(root)]
    assert run(argv) == 0
    assert not (folder / "squeues").exists()  # no study was there
    ids = [int(read_submissions(home_of(root, f"toy/b{i}"))[0].job_ids[0]) for i in range(3)]
    names = [read_submissions(home_of(root, f"toy/b{i}"))[0].name for i in range(3)]
    waiting = "{}|{}|PENDING|Priority|0:00|1:00||0|{}\n"
    rows = [waiting.format(id, i, name) for id, name in zip(ids, names, strict=True) for i in range(2)]
    (folder / "queue").write_text("".join(rows))
    capsys.readouterr()
    assert run(argv) == 0
    assert capsys.readouterr().err.count("2 workers are already running") == 3
    assert len((folder / "squeues").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--qos", "high", "--partition", "p"], "#SBATCH --qos=high"),
        (["--account", "12"], "#SBATCH --account=12"),
        (["--dependency", "afterok:7"], "#SBATCH --dependency=afterok:7"),
        (["--exclude", "n[1-2]", "--constraint", "a&b"], "#SBATCH --constraint='a&b'"),
        (["--", "--qos", "high"], "#SBATCH --qos=high"),
        (["--", "--time=0:30:00"], "#SBATCH --time=30"),
        (["--", "--licenses=x"], "#SBATCH --licenses=x"),
    ],
)
def test_options_of_submit_in_the_script(
    slurm: Slurm,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    line: str,
) -> None:
    folder = slurm()
    (folder / "srun").touch(mode=0o755)
    monkeypatch.chdir(REPOSITORY)
    assert run(["submit", "configs/quickstart.toml", "-n", "--root", str(root), *options]) == 0
    assert line in capsys.readouterr().out.splitlines()
    assert list(root.iterdir()) == []


def test_a_submission_of_an_older_version_beside_a_lost_one(slurm: Slurm, root: Path) -> None:
    folder = slurm()
    home = home_of(root, "a/b")
    home.make()
    old = {"kind": "slurm", "workers": 2, "walltime_s": 60.0, "submitted": 1.0}
    lines = [{"id": "old", "job_ids": ["5"], **old}, {"id": "lost", **old}]
    home.submissions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "queue").write_text(
        "5|0|RUNNING|None|0:01|1:00|n1|0|a.b-old\n6|N/A|PENDING|Priority|0:00|1:00||0|a.b-lost\n"
    )
    assert live([home])[home.name].workers == 2
    assert "--name=a.b-old,a.b-lost" in (folder / "squeues").read_text()
