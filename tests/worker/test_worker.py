"""Workers as processes: what they run, how they end, and what is left of a trial in each case."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from hpo_batch.records import TrialState
from hpo_batch.store.home import home_of
from hpo_batch.store.submissions import Submission, write_submission
from hpo_batch.worker.entry import Worker, drop_link

from .conftest import Project
from .test_watchdog import sleepers

SLURM = Submission(id="abc", kind="slurm", workers=1, walltime_s=600, submitted=time.time(), job_ids=("7",))

Build = Callable[..., Project]
KINDS = ("fine", "exception", "nan", "text", "none", "list", "other", "exit", "import")


def test_every_failure_of_a_function_is_one_failed_trial_with_its_reason(project: Build) -> None:
    trials = [(f"{kind}_", kind) for kind in KINDS] + [("last", "fine")]  # the last repeats the first: it is answered
    text = "".join(f'[[trial]]\nname = "{name}"\nparams = {{ kind = "{kind}" }}\n' for name, kind in trials)
    here = project("mixed", study="max_failed = 100", space="", sampler='name = "list"', rest=text)
    worker = here.run()
    assert worker.process.returncode == 1
    records = [trial.record() for trial in here.state.trials]
    found = {record.name: (record.state.name, record.reason) for record in records}
    assert found == {
        "fine_": ("COMPLETE", None),
        "exception_": ("FAIL", "exception"),
        "nan_": ("FAIL", "nan"),
        "text_": ("FAIL", "invalid"),
        "none_": ("FAIL", "no_result"),
        "list_": ("FAIL", "invalid"),
        "other_": ("FAIL", "no_result"),
        "exit_": ("FAIL", "exit_code"),
        "import_": ("FAIL", "exception"),
        "last": ("COMPLETE", None),
    }
    messages = {record.name: str(record.message) for record in records}
    assert messages["exception_"] == "ValueError: no such luck"
    assert "'loss' was not returned; returned: 'auc'" in messages["other_"]
    assert "returned None" in messages["none_"]
    number = next(record.number for record in records if record.name == "exception_")
    stderr = here.file("stderr", number)
    assert "Traceback (most recent call last)" in stderr
    assert 'raise ValueError("no such luck")' in stderr
    assert "ModuleNotFoundError" in here.file("stderr", number + 7)
    assert all(dict(record.steps) == {1: 0.75} for record in records)
    assert worker.output == ""
    assert "Traceback" not in worker.said
    assert "exception: ValueError: no such luck" in worker.said
    assert "worker ends: 1 complete, 0 pruned, 8 failed, 0 given back" in worker.said
    assert list(here.home.workers.iterdir()) == []


def test_an_attempt_leaves_neither_files_open_nor_threads(project: Build) -> None:
    here = project("holds", study="trials = 3\nreplicates = 2")
    here.run()
    said = [path.read_text().splitlines() for path in sorted(here.home.path.rglob("stdout")) if path.read_text()]
    assert len(said) == 7  # two seeds each, and of the one that fails only the first
    assert {files for files, _ in said} == {"metrics.jsonl", "metrics.seeds.jsonl"}  # its own, and no other
    assert len({threads for _, threads in said}) == 1
    assert "watchdog" in said[0][1]


def test_a_function_runs_where_and_with_what_the_sweep_says(project: Build) -> None:
    here = project(
        "told", study="trials = 1", objective='function = "toys:told"\ncwd = "inner"\nenv = { FROM_SWEEP = "yes" }'
    )
    (here.path / "inner").mkdir()
    worker = here.run(OMP_NUM_THREADS="7", HPO_BATCH_CPUS="2")
    assert worker.process.returncode == 0
    lines = here.file("stdout").splitlines()
    seed = here.state.trials[0].facts["seeds"][0]
    assert lines == ["cwd inner", "threads 2 2 2", "blas 2", f"env yes cpu {seed}"]
    errors = here.file("stderr")
    assert "to stderr" in errors
    assert "by the user's logger" in errors
    # the worker's own words are in its own log and nowhere else
    assert "trial 0: 0.5 after" in worker.said
    assert "trial 0: metrics are no longer written to" in worker.said
    assert "trial 0" not in errors
    assert "user's logger" not in worker.said
    assert "no more trials for this worker: target met" in worker.said


def test_a_worker_that_nobody_gave_cores_takes_those_of_the_sweep(project: Build) -> None:
    here = project("told", study="trials = 1", objective='function = "toys:told"\nenv = { FROM_SWEEP = "yes" }')
    here.run(OMP_NUM_THREADS="7")
    assert "threads 1 1 1" in here.file("stdout").splitlines()
    assert "cwd project" in here.file("stdout").splitlines()


SCRIPT = """
import json, os, sys
from pathlib import Path
with open(os.environ["HPO_BATCH_METRICS_FILE"], "a") as file:
    file.write(json.dumps({"step": 1, "loss": 0.5}) + chr(10))
print("cwd", Path.cwd().name, os.environ["FROM_SWEEP"], os.environ["OMP_NUM_THREADS"])
n = int(sys.argv[sys.argv.index("--n") + 1])
if n == 2:
    sys.exit("no luck")
print(f"RESULT: loss={n / 8}")
"""


def test_a_command_runs_in_its_own_folder_and_fails_by_its_exit_code(project: Build) -> None:
    command = f'command = ["{sys.executable}", "script.py", "{{args}}"]'
    here = project(
        study="",
        objective=f'{command}\ncwd = "inner"\nenv = {{ FROM_SWEEP = "yes" }}',
        space="n = [1, 2, 3]",
        sampler='name = "grid"',
    )
    (here.path / "inner").mkdir()
    (here.path / "inner" / "script.py").write_text(SCRIPT)
    worker = here.run()
    assert worker.process.returncode == 1
    records = [trial.record() for trial in here.state.trials]
    assert [(r.state.name, r.values, r.reason) for r in records] == [
        ("COMPLETE", (0.125,), None),
        ("FAIL", None, "exit_code"),
        ("COMPLETE", (0.375,), None),
    ]
    assert here.file("stdout").splitlines()[0] == "cwd inner yes 1"
    assert here.file("stderr", 1) == "no luck\n"
    assert dict(records[1].steps) == {1: 0.5}


@pytest.mark.parametrize("wrong", ["module", "import", "name", "cwd", "program", "script"])
def test_where_the_objective_cannot_be_loaded_no_trial_is_begun(project: Build, wrong: str) -> None:
    objective = {
        "module": 'function = "missing.module:f"',
        "import": 'function = "broken:f"',
        "name": 'function = "toys:fin"',
        "cwd": 'function = "toys:fine"\ncwd = "missing"',
        "program": 'command = "no-such-program {args}"',
        "script": 'command = "python no_such_script.py {args}"',
    }[wrong]
    here = project(study="trials = 5", objective=objective)
    (here.path / "broken.py").write_text("import math\nmath.sqrt(-1)\n")
    worker = here.run(SLURMD_NODENAME="n7")
    assert worker.process.returncode == 2
    assert here.state.trials == []  # nothing is wrong with a trial: all wait for a worker that can run them
    expected = {
        "module": "there is no module 'missing.module'",
        "import": "module 'broken' failed while it was imported: ValueError",
        "name": "module 'toys' has no 'fin'; did you mean 'fine'?",
        "cwd": f"cannot change to the working directory '{here.path}/missing'",
        "program": "'no-such-program' is not a command on this machine",
        "script": f"no file 'no_such_script.py' in {here.path}",
    }[wrong]
    *_, last = worker.said.strip().splitlines()
    assert last.startswith("error: on n7: ")
    assert expected in last
    assert last.endswith("; no trial was started")
    assert ("Traceback" in worker.said) is ("math.sqrt(-1)" in worker.said) is (wrong == "import")
    assert not any(here.home.workers.iterdir())


def test_where_the_directory_of_the_submission_is_not_there_no_trial_is_begun(project: Build, tmp_path: Path) -> None:
    """SLURM starts the job in /tmp then, where `python train.py` would fail each trial, or another one be found."""
    here = project()
    code = {"workdir": os.path.relpath(here.path, here.home.path)}
    write_submission(here.home, replace(SLURM, id="abc", code=code))
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "s-abc", "SLURMD_NODENAME": "n7"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    before, here.path = here.path, elsewhere
    assert here.run(**job).process.returncode == 0  # it goes there
    assert here.state.counts().complete == 5
    before.rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved" / "logs", before.parent / "logs")
    here.home = home_of(before.parent / "logs", "s")
    write_submission(here.home, replace(SLURM, id="abc", code={"workdir": str(before)}))
    worker = here.run(**job)
    assert worker.process.returncode == 2
    assert f"cannot use the working directory '{before}' (" in worker.said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGUSR2, 0)])
def test_a_signal_gives_the_trial_back_and_the_next_worker_resumes_it(project: Build, number: int, code: int) -> None:
    here = project("long", study="trials = 1")
    worker = here.start()
    checkpoint = here.home.attempt(0, 1) / "checkpoint" / "epoch"
    here.until(lambda: checkpoint.exists() and (checkpoint.read_text() or "0") > "2")
    worker.process.send_signal(number)
    assert worker.wait() == code
    trial = here.state.trials[0]
    assert trial.state is TrialState.WAITING
    cause = {signal.SIGTERM: "preempted", signal.SIGINT: "cancelled", signal.SIGUSR2: "time_limit"}[
        signal.Signals(number)
    ]
    assert trial.ending(1)["how"] == cause
    assert here.file("stdout").splitlines() == ["from 0", f"stopping {cause}"]
    assert "given back after" in worker.said
    reached = int(checkpoint.read_text())
    assert trial.steps[reached] == 1 / (1 + reached)  # what waited in memory was written
    assert here.run().process.returncode == 0
    record = here.state.trials[0].record()
    assert (record.state, record.values) == (TrialState.COMPLETE, (0.25,))
    assert [attempt.ending for attempt in record.attempts] == [cause, "complete"]
    assert here.file("stdout", attempt=2).splitlines() == [f"from {reached + 1}"]


def test_a_second_interrupt_ends_a_deaf_objective_at_once(project: Build) -> None:
    here = project("deaf", study="trials = 1")
    worker = here.start()
    here.until(lambda: (here.home.attempt(0, 1) / "checkpoint" / "epoch").exists())
    worker.process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    assert worker.process.poll() is None
    worker.process.send_signal(signal.SIGINT)
    assert worker.wait() == 130
    assert worker.said.splitlines()[-1] == "interrupted"
    assert here.state.trials[0].state is TrialState.WAITING
    assert here.state.trials[0].ending(1)["how"] == "cancelled"


def test_a_killed_worker_is_followed_by_the_next(project: Build) -> None:
    here = project("long", study="trials = 1")
    worker = here.start()
    checkpoint = here.home.attempt(0, 1) / "checkpoint" / "epoch"
    here.until(lambda: checkpoint.exists() and (checkpoint.read_text() or "0") > "2")
    worker.process.kill()
    assert worker.wait() == -9
    assert here.state.trials[0].state is TrialState.RUNNING
    assert here.run().process.returncode == 0
    record = here.state.trials[0].record()
    assert [(a.number, a.ending) for a in record.attempts] == [(1, "lost"), (2, "complete")]
    assert (record.state, len(here.state.trials)) == (TrialState.COMPLETE, 1)
    assert here.file("stdout", attempt=2).startswith("from ")
    assert here.file("stdout", attempt=2) != "from 0\n"


def test_cancelling_ends_a_running_trial_and_starts_no_other(project: Build) -> None:
    here = project("long", study="trials = 3")
    worker = here.start()
    here.until(lambda: (here.home.attempt(0, 1) / "checkpoint" / "epoch").exists())
    here.home.marker("CANCELLED").touch()
    assert worker.wait() == 0
    assert [(t.state, t.ending(1).get("how")) for t in here.state.trials] == [(TrialState.WAITING, "cancelled")]
    again = here.run()
    assert again.process.returncode == 0
    assert "no more trials for this worker: cancelled" in again.said
    assert here.state.trials[0].attempt == 1


def test_draining_lets_running_trials_end_and_begins_no_other(project: Build) -> None:
    here = project("waits_for_drain", study="trials = 3")
    worker = here.start()
    here.until(lambda: (here.home.attempt(0, 1) / "checkpoint").exists())
    here.home.marker("DRAIN").touch()
    assert worker.wait() == 0
    assert [trial.state for trial in here.state.trials] == [TrialState.COMPLETE]
    assert "no more trials for this worker: draining" in worker.said


def test_a_function_that_breaks_because_slurm_hit_its_children_is_given_back(project: Build) -> None:
    here = project("breaks_with_its_children", study="trials = 1")
    worker = here.start()
    child = here.home.attempt(0, 1) / "child"
    here.until(lambda: child.exists() and child.read_text())
    os.kill(int(child.read_text()), signal.SIGTERM)  # as SLURM does it: to all processes of a step
    worker.process.terminate()
    assert worker.wait() == 0
    trial = here.state.trials[0]
    assert (trial.state, trial.ending(1)["how"]) == (TrialState.WAITING, "preempted")
    assert "is killed by signal: Terminated" in here.file("stderr")
    assert here.run().process.returncode == 0
    assert here.state.trials[0].state is TrialState.COMPLETE


@pytest.mark.parametrize("killed", [False, True])
def test_a_deaf_function_is_given_back_soon_after_sigterm(project: Build, killed: bool) -> None:
    grace = 1000 if killed else 1  # of a template for SLURM: [job] of a local sweep has none
    here = project("deaf", study="trials = 1", tables={"job": f'template = "cpu"\ngrace_s = {grace}'})
    worker = here.start()
    here.until(lambda: (here.home.attempt(0, 1) / "checkpoint" / "epoch").exists())
    worker.process.terminate()
    if killed:  # before its time: what it wrote down at once is told by the next worker
        here.until(lambda: (here.home.attempt(0, 1) / "result.json").exists())
        assert here.state.trials[0].state is TrialState.RUNNING
        worker.process.kill()
    worker.wait()
    ending = here.start()
    here.until(lambda: here.state.trials[0].attempt == 2)
    ending.process.kill()
    assert here.state.trials[0].ending(1)["how"] == "preempted"
    assert worker.process.returncode == (-signal.SIGKILL if killed else 0)


@pytest.mark.parametrize("n", [1, 2])
def test_nothing_is_left_of_what_a_function_has_started(project: Build, n: int) -> None:
    here = project("leaves_children", study="trials = 1", space=f"n = {n}\nx = {{ low = 0.0, high = 1.0 }}")
    worker = here.run()
    assert here.state.trials[0].state is (TrialState.COMPLETE if n == 1 else TrialState.FAIL)
    assert sleepers(worker.process.pid) == []


def test_a_preempted_batch_task_waits_for_its_end(project: Build) -> None:
    """With nothing left of the worker: neither its lease nor its threads, nor a handler that could be called."""
    here = project("long", study="trials = 1")
    array = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "15", "SLURM_JOB_NAME": "s-abc"}
    worker = here.start(**array, ENVIRONMENT="BATCH")
    here.until(lambda: (here.home.attempt(0, 1) / "checkpoint" / "epoch").exists())
    worker.process.terminate()
    command = Path(f"/proc/{worker.process.pid}/cmdline")
    here.until(lambda: b"time.sleep(" in command.read_bytes())
    assert here.state.trials[0].ending(1)["how"] == "preempted"
    assert list(here.home.workers.iterdir()) == []
    worker.process.terminate()  # SLURM sends it again
    with pytest.raises(subprocess.TimeoutExpired):
        worker.process.wait(0.2)
    worker.process.kill()
    worker.wait()
    assert "waiting, so that it is requeued if it was preempted" in worker.said
    # its next run need not wait for a lease of the first
    assert here.run(**array, SLURM_RESTART_COUNT="1").process.returncode == 0


def test_no_trial_is_begun_that_would_not_come_to_its_end(project: Build) -> None:
    job = {"job": 'template = "local"\nwalltime = "0:01:00"\nsignal_lead_s = 10'}
    here = project("half_a_second", study="trials = 10000", tables=job)
    # less than a trial takes is left before it would be asked to stop
    worker = here.run(HPO_BATCH_DEADLINE=str(time.time() + 10 + 8))
    assert worker.process.returncode == 0
    assert "no more trials for this worker: no trial fits into the time that is left (0:00:" in worker.said
    assert here.state.counts().complete == len(here.state.trials)


def test_near_the_deadline_a_trial_is_given_back_and_none_is_begun(project: Build) -> None:
    job = {"job": 'template = "local"\nwalltime = "0:00:08"\nsignal_lead_s = 10'}  # so that the lead is 2 seconds
    here = project("long", study="trials = 2", tables=job)
    worker = here.run(HPO_BATCH_DEADLINE=str(time.time() + 6))
    assert worker.process.returncode == 0
    assert [(t.state, t.ending(1).get("how")) for t in here.state.trials] == [(TrialState.WAITING, "time_limit")]
    late = here.run(HPO_BATCH_DEADLINE=str(time.time() + 1))
    assert late.process.returncode == 0
    assert "no trial fits into the time that is left" in late.said
    assert here.state.trials[0].attempt == 1


def test_a_gpu_that_is_asked_for_and_missing_is_told_before_a_trial_is_taken(project: Build) -> None:
    here = project("fine", tables={"job": 'template = "local"\ndevice = "cuda"'})
    worker = here.run()
    assert worker.process.returncode == 2
    errors = [line for line in worker.said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert 'device = "cuda" was requested, no GPU was allocated' in errors[0]
    assert "--set job.device=cpu" in errors[0]
    assert "Traceback" not in worker.said
    assert here.state.trials == []
    assert not any(here.home.workers.iterdir())


def test_two_workers_at_once_finish_exactly_the_target(project: Build) -> None:
    here = project("busy", study="trials = 15", sampler='name = "tpe"\nstartup_trials = 4')
    workers = [here.start(HPO_BATCH_SUBMISSION="sub", HPO_BATCH_WORKER=str(i)) for i in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    state = here.state
    assert (state.counts().complete, len(state.trials)) == (15, 15)
    assert len({trial.key for trial in state.trials}) == 15
    attempts = [trial.record().attempts[0] for trial in state.trials]
    assert {attempt.worker for attempt in attempts} == {"sub-0", "sub-1"}
    assert {attempt.submission for attempt in attempts} == {"sub"}


def test_a_study_that_is_not_there_is_told_in_one_line(project: Build) -> None:
    here = project("fine")
    here.home.journal.write_bytes(b"")
    worker = here.run()
    assert worker.process.returncode == 4
    assert worker.said.splitlines() == [f"error: no study in '{here.home.path}': submit a sweep first"]


def test_a_task_removes_the_link_to_its_pickle_unless_another_rank_reads_it(tmp_path: Path) -> None:
    (tmp_path / "abc.pkl").touch()
    array = {"SUBMITIT_FOLDER": str(tmp_path), "SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12",
             "SLURM_ARRAY_TASK_ID": "3"}  # fmt: skip
    alone = {"SUBMITIT_FOLDER": str(tmp_path), "SLURM_JOB_ID": "15", "SLURM_NTASKS": "1"}
    for environ, name in ((array, "12_3"), (alone, "15")):
        link = tmp_path / f"{name}_submitted.pkl"
        link.symlink_to("abc.pkl")
        drop_link({**environ, "SLURM_NTASKS": "2"})
        assert link.is_symlink()
        drop_link(environ)
        drop_link(environ)  # it is gone
        assert [path.name for path in tmp_path.iterdir()] == ["abc.pkl"]
    drop_link({})
    (tmp_path / "15_submitted.pkl").touch()  # submitit's own: no link
    drop_link(alone)
    assert (tmp_path / "15_submitted.pkl").exists()


def test_the_callable_that_submitit_pickles_runs_the_same_worker(project: Build, tmp_path: Path) -> None:
    here = project("prints_to_the_end", study="trials = 2", space="x = [1, 2]")
    pickled = pickle.dumps(Worker(home=str(here.home.path)))
    assert len(pickled) < 300  # a path and nothing else
    (tmp_path / "job.pkl").write_bytes(pickled)
    code = f"import pickle; print('returned', pickle.load(open({str(tmp_path / 'job.pkl')!r}, 'rb'))())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=here.path,
        env={**os.environ, "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "15",
             "SLURM_JOB_NAME": "s-abc", "SLURMD_NODENAME": "node1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout == "returned 0\n", done.stderr
    attempts = [trial.record().attempts[0] for trial in here.state.trials]
    assert {(a.worker, a.job, a.host, a.submission) for a in attempts} == {("12-r0-3", "12_3", "node1", "abc")}
    assert here.file("stdout") == "printed\n"
