"""``kill -9`` of a worker: nothing that it has started goes on, and the next attempt begins with a whole checkpoint."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch import processes
from hpo_batch.records import TrialState
from hpo_batch.worker import guardian

from .conftest import Project, Worker
from .test_slots import TASK, job

Build = Callable[..., Project]
TRAIN = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
folder = Path(os.environ["HPO_BATCH_CHECKPOINT_DIR"])
attempt = int(os.environ["HPO_BATCH_ATTEMPT"])
Path(os.environ["PIDS"], f"{attempt}-{os.getpid()}").touch()
if attempt == 2:
    earlier = [p.name.split("-")[1] for p in Path(os.environ["PIDS"]).iterdir() if p.name.startswith("1-")]
    states = {pid: Path(f"/proc/{pid}/stat") for pid in earlier}
    print("beside", [pid for pid, path in states.items() if path.exists() and ") Z" not in path.read_text()])
    print("from", (folder / "model").read_text()[-3:])
    print("RESULT: loss=1")
    sys.exit(0)
child = "import os, time; open(os.environ['PIDS'] + f'/1-{os.getpid()}', 'w'); time.sleep(600)"
subprocess.Popen([sys.executable, "-S", "-c", child], start_new_session=True)
with open(os.environ["HPO_BATCH_METRICS_FILE"], "a") as file:
    file.write(json.dumps({"step": 1, "loss": 0.5}) + chr(10))
while True:
    with (folder / "model").open("w") as file:
        for _ in range(10):
            file.write("x")
            file.flush()
            time.sleep(0.03)
        file.write("end")
    time.sleep(0.7)
"""


def command_project(project: Build, tmp_path: Path, command: str, **tables: dict[str, str]) -> tuple[Project, Path]:
    pids = tmp_path / "pids"
    pids.mkdir()
    objective = f"command = {command}\nenv = {{ PIDS = '{pids}' }}"
    here = project(study="trials = 1", space="n = [1]", sampler='name = "grid"', objective=objective, **tables)
    (here.path / "train.py").write_text(TRAIN)
    (here.path / "run.sh").write_text(f"{sys.executable} -S train.py\nexit $?\n")
    return here, pids


def alive(pids: Path) -> list[int]:
    return [pid for path in pids.iterdir() if processes.is_alive(pid := int(path.name.split("-")[1]))]


def kill(worker: Worker) -> None:
    worker.process.kill()
    worker.process.communicate()


@pytest.mark.parametrize("command", [f"['{sys.executable}', '-S', 'train.py']", "['bash', 'run.sh']"])
def test_the_command_of_a_killed_worker_is_gone_at_once(project: Build, tmp_path: Path, command: str) -> None:
    here, pids = command_project(project, tmp_path, command)
    worker = here.start()
    here.until(lambda: len(list(pids.iterdir())) == 2)
    time.sleep(0.2)  # amid a checkpoint
    kill(worker)
    here.until(lambda: not alive(pids))
    assert (here.home.attempt(0, 1) / "checkpoint" / "model").read_text().endswith("end")
    assert here.run().process.returncode == 0
    assert here.state.trials[0].state is TrialState.COMPLETE
    assert here.file("stdout", attempt=2).splitlines() == ["beside []", "from end", "RESULT: loss=1"]


def test_without_a_guardian_the_next_attempt_ends_the_earlier_one(project: Build, tmp_path: Path) -> None:
    here, pids = command_project(project, tmp_path, "['bash', 'run.sh']")
    worker = here.start()
    here.until(lambda: len(list(pids.iterdir())) == 2)
    for pid in processes.descendants(worker.process.pid):
        if b"guardian.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    kill(worker)
    time.sleep(0.3)
    assert len(alive(pids)) == 2
    second = here.run()
    assert second.process.returncode == 0
    assert "killing processes of its earlier attempt that outlived their worker on this node" in second.said
    assert here.file("stdout", attempt=2).splitlines() == ["beside []", "from end", "RESULT: loss=1"]
    assert alive(pids) == []


def test_a_killed_worker_of_several_in_a_task_leaves_nothing(project: Build, tmp_path: Path) -> None:
    here, pids = command_project(project, tmp_path, "['bash', 'run.sh']", tables=job("workers_per_gpu = 2"))
    supervisor = here.start(**TASK)
    here.until(lambda: len(list(pids.iterdir())) == 2)
    owner = here.state.trials[0].record().attempts[0].worker
    assert owner.endswith((".0", ".1"))
    (worker,) = {
        pid for pid in processes.descendants(supervisor.process.pid)
        if f"HPO_BATCH_SLOT={owner[-1]}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        and b"hpo_batch\0worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    }  # fmt: skip
    os.kill(worker, signal.SIGKILL)
    assert supervisor.wait() == 0
    assert here.state.trials[0].state is TrialState.COMPLETE
    assert here.file("stdout", attempt=2).splitlines()[0] == "beside []"
    assert alive(pids) == []


def test_what_a_function_has_started_is_gone_too(project: Build) -> None:
    here = project("leaves_children", study="trials = 1")
    (here.path / "toys.py").write_text(
        "import os, subprocess, time\n"
        "def leaves_children(trial):\n"
        "    child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "    print(child.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    worker = here.start()
    out = here.home.attempt(0, 1) / "stdout"
    here.until(lambda: out.exists() and out.read_text().endswith("\n"))
    kill(worker)
    here.until(lambda: not processes.is_alive(int(out.read_text())))


def test_the_guardian_ends_with_its_worker_and_others_are_left_alone(project: Build, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    here = project("fine", study="trials = 1")
    sleeper = processes.start(["sleep", "60"], stdout=other / "o", stderr=other / "e", env={guardian.MARK: "another"})
    try:
        assert here.run().process.returncode == 0
        here.until(lambda: not _guardians())
        assert processes.is_alive(sleeper.pid)
    finally:
        sleeper.kill()
        sleeper.wait()


def _guardians() -> list[str]:
    return [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"guardian.py\0%d\0" % os.getpid() in path.read_bytes()
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_knows_no_signal_keeps_a_whole_checkpoint(project: Build, tmp_path: Path, number: int) -> None:
    """Ctrl-C and cancel reach the worker; its command is ended between two checkpoints and goes on from the last."""
    here, pids = command_project(
        project, tmp_path, "['bash', 'run.sh']", tables={"job": 'template = "local"\ngrace_s = 8'}
    )
    train = (here.path / "train.py").read_text()
    (here.path / "train.py").write_text(train.replace("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n", ""))
    worker = here.start()
    here.until(lambda: len(list(pids.iterdir())) == 2)
    time.sleep(0.3)
    worker.process.send_signal(number)
    assert worker.wait() == (130 if number == signal.SIGINT else 0), worker.said
    assert here.state.trials[0].state is TrialState.WAITING
    assert alive(pids) == []
    assert here.run().process.returncode == 0
    assert here.file("stdout", attempt=2).splitlines() == ["beside []", "from end", "RESULT: loss=1"]
