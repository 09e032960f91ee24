"""Trials that several processes train together, with gloo or sockets: started here as srun starts them."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Callable

import pytest

from hpo_batch.records import TrialState
from hpo_batch.scheduler.allocation import read
from hpo_batch.sweep.schema import Job
from hpo_batch.worker.connection import Address, connect, listen
from hpo_batch.worker.rank_protocol import rank_of

from .conftest import Project, Worker

Build = Callable[..., Project]
pytestmark = pytest.mark.timeout(240)


def as_srun(rank: int, world: int, job: str = "15") -> dict[str, str]:
    return {
        "SLURM_JOB_ID": job,
        "SLURM_JOB_NAME": "s-abc",
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": str(world),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": "0",
        "SLURMD_NODENAME": f"node{rank}",
        "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1",
        "SLURM_CPUS_PER_TASK": "1",
    }


def start(here: Project, world: int) -> list[Worker]:
    return [here.start(**as_srun(rank, world)) for rank in range(world)]


def of(world: int, **text: str) -> dict[str, object]:
    tables = {"job": f'template = "cpu"\nnodes = {world}', **text}
    return {"sampler": 'name = "list"', "space": "", "tables": tables}


def trial(name: str, kind: str, *, steps: int = 6, loss: float = 0.5) -> str:
    return f'[[trial]]\nname = "{name}"\nparams = {{ kind = "{kind}", steps = {steps}, loss = {loss} }}\n'


def test_ranks_train_together_and_a_failed_one_ends_the_attempt_everywhere(project: Build) -> None:
    text = trial("a", "fine", loss=0.25) + trial("b", "killed") + trial("c", "raises") + trial("d", "fine", loss=0.75)
    here = project("steps_together", study="", rest=text, **of(3))
    workers = start(here, 3)
    codes = [worker.wait() for worker in workers]
    assert codes == [1, 0, 0], "\n".join(worker.said for worker in workers)
    a, b, c, d = [one.record() for one in here.state.trials]
    assert (a.state, a.values) == (TrialState.COMPLETE, (0.25,))
    assert dict(a.steps) == dict.fromkeys(range(6), 0.25)  # rank 0's and nobody else's, each once
    assert here.file("stdout") == "rank 0 of 3 local 0 from 0\nsum 6.0 resumed False\n"
    assert here.file("rank-2/stdout") == "rank 2 of 3 local 0 from 0\nsum 6.0 resumed False\n"
    assert len(here.file("metrics.jsonl").splitlines()) == 6
    assert not (here.home.attempt(0, 1) / "rank-1" / "metrics.jsonl").exists()
    # killed: the others hung in all_reduce or saw it break; the same worker goes on from the checkpoint
    assert [attempt.ending for attempt in b.attempts] == ["lost", "complete"], workers[0].said
    assert "trial 1: failed" in workers[0].said
    assert "lost: rank 1 on node1: its process was killed by SIGKILL; the other ranks were ended" in workers[0].said
    assert here.file("stdout", 1, 2).startswith("rank 0 of 3 local 0 from 3\n")
    assert (c.state, c.reason, c.message) == (
        TrialState.FAIL,
        "exception",
        "rank 1 on node1: ValueError: rank one has had enough",
    )
    assert "rank one has had enough" in here.file("rank-1/stderr", 2)
    assert (d.state, d.values) == (TrialState.COMPLETE, (0.75,))
    assert {attempt.worker for record in (a, b, c, d) for attempt in record.attempts} == {"15-r0-0"}
    assert list(here.home.slurm.iterdir()) == []


def test_ranks_of_torch_go_on_after_one_was_killed(project: Build) -> None:
    """A user's trainer, and ours, whose numbers are those of a trial that was not killed."""
    text = trial("a", "fine", loss=0.25) + trial("b", "ours") + trial("c", "ours, killed") + trial("d", "killed")
    here = project("trains_together", study="seeds = [3]", rest=text, **of(2))
    workers = start(here, 2)
    assert [worker.wait() for worker in workers] == [0, 0], "\n".join(worker.said for worker in workers)
    a, b, c, d = [one.record() for one in here.state.trials]
    assert (a.state, a.values) == (TrialState.COMPLETE, (0.25,))
    assert here.file("rank-1/stdout") == "rank 1 of 2 local 0 from 0\nsum 3.0 resumed False\n"
    # killed: the other hung in all_reduce or saw it break
    for one in (c, d):
        assert [attempt.ending for attempt in one.attempts] == ["lost", "complete"], workers[0].said
    assert workers[0].said.count("rank 1 on node1: its process was killed by SIGKILL; the other ranks were ended") == 2
    assert here.file("stdout", 3, 2).startswith("rank 0 of 2 local 0 from 3\n")
    assert "continuing after epoch" in here.file("stderr", 2, 2)
    for name in set(b.metrics) - {"seconds", "seconds_per_epoch", "peak_memory_mb"}:
        assert c.metrics[name] == b.metrics[name], name
    assert "gains nothing" in here.file("stderr", 1)
    # of a process that lives on from one trial to the next
    assert json.loads(here.file("result.json", 1))["usage"]["cpu_s"] > 0.05
    assert "epoch 6 of 6" not in here.file("rank-1/stderr", 1)


def test_each_seed_of_a_trial_has_all_ranks_and_its_own_checkpoint(project: Build) -> None:
    here = project("steps_together", study="replicates = 2", rest=trial("a", "killed", loss=0.25), **of(2))
    workers = start(here, 2)
    assert [worker.wait() for worker in workers] == [0, 0], workers[0].said
    record = here.state.trials[0].record()
    assert [attempt.ending for attempt in record.attempts] == ["lost", "complete"], workers[0].said
    assert (record.values, len(record.replicates)) == ((0.25,), 2)
    assert here.file("stdout", 0, 2).startswith("rank 0 of 2 local 0 from 3\n")
    assert here.file("seed-2/stdout", 0, 2).startswith("rank 0 of 2 local 0 from 0\n")
    assert here.file("seed-2/rank-1/stdout", 0, 2).startswith("rank 1 of 2 local 0 from 0\n")


def test_all_ranks_are_told_to_stop_at_the_same_step(project: Build) -> None:
    pruner = 'name = "median"\nfirst_rung = 1\noptions = { n_startup_trials = 1, n_warmup_steps = 0 }'
    text = trial("good", "fine", loss=0.25) + trial("bad", "long", steps=500, loss=0.75)
    text += trial("cut", "long", steps=100_000, loss=0.125)
    here = project("steps_together", study="", rest=text, **of(2, pruner=pruner))
    workers = start(here, 2)
    here.until(lambda: len(here.state.trials) > 2 and (here.home.attempt(2, 1) / "metrics.jsonl").exists())
    for worker in workers:
        worker.process.send_signal(signal.SIGUSR2)  # as SLURM does before the limit
    here.until(lambda: here.state.trials[2].ending(1).get("how") == "time_limit")
    assert here.state.trials[1].state is TrialState.PRUNED, here.state.trials[1].record()
    for number, why in ((1, "pruned"), (2, "time_limit")):
        last = [here.file(f"{folder}stdout", number).splitlines()[-1] for folder in ("", "rank-1/")]
        assert last[0] == last[1]
        assert last[0].startswith(f"stopped {why} at ")
    # it asks to be requeued, which nobody here can do, and ends
    assert [worker.wait() for worker in workers] == [0, 0], workers[0].said
    assert list(here.home.workers.iterdir()) == []


def test_ranks_that_wait_for_one_that_hangs_are_ended(project: Build) -> None:
    text = trial("a", "hangs") + trial("b", "fine", loss=0.25)
    here = project("steps_together", study="", rest=text, **of(2, failures='stall = "0:00:03"'))
    workers = start(here, 2)
    assert [worker.wait() for worker in workers] == [1, 0], workers[0].said
    a, b = [one.record() for one in here.state.trials]
    assert (a.state, a.reason) == (TrialState.FAIL, "stalled")
    assert (b.state, b.values) == (TrialState.COMPLETE, (0.25,))


def test_ranks_that_ask_more_often_than_rank_0_are_told_to_stop_when_it_has_returned(project: Build) -> None:
    here = project("asks_too_often", study="", rest=trial("a", "fine"), **of(2))
    workers = start(here, 2)
    assert [worker.wait() for worker in workers] == [0, 0], workers[0].said
    assert here.state.trials[0].record().values == (0.5,)
    assert here.file("rank-1/stdout") == "asked 4 times\n"


def test_a_task_that_is_gone_ends_the_worker_in_order(project: Build) -> None:
    here = project("steps_together", study="", rest=trial("a", "long", steps=100_000) + trial("b", "fine"), **of(2))
    workers = start(here, 2)
    here.until(lambda: (here.home.attempt(0, 1) / "metrics.jsonl").exists())
    workers[1].process.kill()
    assert workers[0].wait() == 0, workers[0].said
    record = here.state.trials[0].record()
    assert [attempt.ending for attempt in record.attempts] == ["lost"]
    assert record.state is TrialState.WAITING  # for another worker
    assert "lost: rank 1 on node1: its task is gone; the other ranks were ended" in workers[0].said
    workers[1].wait()


def test_a_rank_0_that_is_killed_takes_the_others_with_it(project: Build) -> None:
    here = project("steps_together", study="", rest=trial("a", "long", steps=100_000), **of(2))
    workers = start(here, 2)
    here.until(lambda: (here.home.attempt(0, 1) / "metrics.jsonl").exists())
    workers[0].process.kill()
    assert workers[1].wait() == 2  # its output ends: no process of its own is left either
    assert "rank 1: rank 0 is gone" in workers[1].said
    workers[0].wait()


def test_an_objective_that_cannot_be_loaded_is_told_once(project: Build) -> None:
    here = project("no_such_function", study="", rest=trial("a", "fine") + trial("b", "fine"), **of(2))
    workers = start(here, 2)
    assert [worker.wait() for worker in workers] == [2, 0]
    assert here.state.trials == []
    assert workers[0].said.count("has no 'no_such_function'") == 1


SCRIPT = """
import json, os, sys
with open(os.environ["HPO_BATCH_METRICS_FILE"], "a") as file:
    file.write(json.dumps({"step": 1, "loss": float(os.environ["RANK"]) + 0.5}) + chr(10))
print(*(os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")), os.environ["MASTER_PORT"].isdigit())
if sys.argv[-1] == "raises" and os.environ["RANK"] == "1":
    sys.exit(3)
"""


def test_a_command_runs_in_every_rank_and_rank_0_has_the_result(project: Build) -> None:
    command = f'command = ["{sys.executable}", "script.py", "{{kind}}"]'
    text = trial("a", "fine") + trial("b", "raises")
    here = project(study="", objective=command, rest=text, **of(2))
    (here.path / "script.py").write_text(SCRIPT)
    workers = start(here, 2)
    assert [worker.wait() for worker in workers] == [1, 0], workers[0].said
    a, b = [one.record() for one in here.state.trials]
    assert (a.values, here.file("stdout"), here.file("rank-1/stdout")) == ((0.5,), "0 2 0 True\n", "1 2 0 True\n")
    assert (b.state, b.reason) == (TrialState.FAIL, "exit_code")
    assert str(b.message).startswith("rank 1 on node1: exit code 3")


def test_who_has_ranks() -> None:
    two = as_srun(1, 2)
    job = Job(nodes=2)
    found = rank_of(job, read(two, 0.0), two)
    assert found is not None
    assert (found.rank, found.world_size, found.local_rank, found.node, found.life) == (1, 2, 0, "node1", "15-r0-s0")
    assert rank_of(Job(), read(two, 0.0), two) is None
    alone = {key: value for key, value in two.items() if key != "SLURM_STEP_ID"}  # in a batch script
    assert rank_of(job, read(alone, 0.0), alone) is None
    one = as_srun(0, 1)
    assert rank_of(job, read(one, 0.0), one) is None


def test_nobody_answers_to_another_token() -> None:
    with listen() as server:
        address = Address(hosts=("127.0.0.1",), port=server.getsockname()[1], token="x")
        server.close()
        assert connect(address, {}) is None
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(5)
        address = Address(hosts=("127.0.0.1",), port=other.getsockname()[1], token="x")

        import threading

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert connect(address, {}) is None
        thread.join()
