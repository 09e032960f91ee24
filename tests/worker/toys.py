"""Objectives of a user's project, copied beside a sweep by the fixture ``project``. They know nothing of the tests."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from hpo_batch import Trial, Trials


def fine(trial: Trial) -> float:
    trial.report(1, loss=0.5, auc=0.25)
    return trial.params["x"]


def holds(trial: Trial) -> float:
    """Say what the process holds; one attempt fails."""
    trial.report(1, loss=0.5)
    links = [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]
    print(*sorted(Path(link).name for link in links if "metrics" in link))
    print(*sorted(f"{thread.name}-{thread.ident}" for thread in threading.enumerate() if thread.daemon))
    if trial.number == 1:
        raise ValueError("no such luck")
    return 0.5


def told(trial: Trial) -> float:
    """Say where and with what it runs."""
    import numpy as np
    import threadpoolctl

    np.ones((4, 4)) @ np.ones((4, 4))
    print("cwd", Path.cwd().name)
    print("threads", *(os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")), trial.cpus)
    print("blas", *{pool["num_threads"] for pool in threadpoolctl.threadpool_info()})
    (trial.dir / "metrics.jsonl").mkdir()  # so that the worker has something to warn of while the function runs
    trial.report(1, loss=0.5)
    print("env", os.environ["FROM_SWEEP"], trial.device, trial.seed)
    print("to stderr", file=sys.stderr)
    logging.getLogger("user").warning("by the user's logger")
    logging.getLogger("user").info("of little weight")
    return 0.5


def mixed(trial: Trial) -> object:
    """Each way to fail, and to be fine between them."""
    trial.report(1, loss=0.75)
    kind = trial.params["kind"]
    if kind == "exception":
        raise ValueError("no such luck")
    if kind == "exit":
        sys.exit(3)
    if kind == "import":
        import nothing_of_this_name  # noqa: F401
    return {"nan": math.nan, "text": "0.5", "none": None, "other": {"auc": 0.5}, "fine": 0.5}.get(kind, [1, 2])


def long(trial: Trial) -> float | None:
    """Epochs with checkpoints until it is told to stop, or until the end if it has resumed."""
    saved = trial.checkpoint / "epoch"
    first = int(saved.read_text()) + 1 if trial.resumes else 0
    print("from", first)
    for epoch in range(first, first + 2 if trial.resumes else 100_000):
        saved.write_text(str(epoch))
        trial.report(epoch, loss=1 / (1 + epoch))
        if trial.should_stop():
            print("stopping", trial.stopping)
            return None
        time.sleep(0.01)
    return 0.25


def deaf(trial: Trial) -> float:
    (trial.checkpoint / "epoch").write_text("0")
    while True:
        time.sleep(0.01)


def busy(trial: Trial) -> float:
    time.sleep(0.02)
    return trial.params["x"]


def half_a_second(trial: Trial) -> float:
    time.sleep(0.5)
    return 0.5


def prints_to_the_end(trial: Trial) -> float:
    print("printed")
    return 0.5


def hangs(trial: Trial) -> float:
    """Report a little, start a child and a grandchild, and wait for what never comes. Fine when it is tried again."""
    import subprocess
    import threading

    if trial.attempt > 1 or trial.number > 0:
        return 0.5
    sleep = f"sleep 98765.{os.getpid()}"
    for line in (f"touch one; exec {sleep}", f"{sleep} & touch two; {sleep}"):
        subprocess.Popen(["sh", "-c", line], cwd=trial.dir)
    while not all((trial.dir / name).exists() for name in ("one", "two")):
        (trial.checkpoint / "epoch").write_text(str(time.time()))  # progress: it does not stand still yet
        time.sleep(0.02)
    trial.report(1, loss=0.75)
    (trial.dir / "hangs").touch()
    threading.Event().wait()
    return 0.25


def steps_slowly(trial: Trial) -> float:
    """Never silent for a moment: for a while it only reports, then it only saves."""
    began = time.monotonic()
    for step in range(100_000):
        time.sleep(0.02)
        since = time.monotonic() - began
        if since > 9:
            break
        if since < 4.5:
            trial.report(step, loss=0.5)
        else:
            (trial.checkpoint / "epoch").write_text(str(step))
    return 0.5


def listens(trial: Trial) -> float | None:
    """Without progress, but it asks whether to stop."""
    trial.report(3, loss=0.75)
    while not trial.should_stop():
        time.sleep(0.02)
    print("stopping", trial.stopping)
    return None


def runs_out(trial: Trial) -> float:
    """Out of memory, of the GPU's and of the host's, as torch and Python tell it."""
    import torch

    if trial.params["kind"] == "gpu":
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    raise MemoryError


def says_its_gpu(trial: Trial) -> float:
    time.sleep(0.3)  # so that every worker gets a trial
    print(os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("CUDA_MPS_PIPE_DIRECTORY"), trial.cpus)
    return trial.params["x"]


def first_is_killed(trial: Trial) -> float:
    """As by the kernel for want of memory; the others are at work meanwhile."""
    if trial.number == 0 and trial.attempt == 1:
        time.sleep(0.5)
        os.kill(os.getpid(), 9)
    time.sleep(0.2)
    return trial.params["x"]


def all_are_killed(trial: Trial) -> float:
    os.kill(os.getpid(), 9)
    return 0.5


def trains_together(trial: Trial) -> float | dict[str, float] | None:
    """As a user writes it for DDP: a process group of its own, and a collective in every step."""
    if trial.params["kind"].startswith("ours"):
        return _our_trainer(trial)
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    assert (dist.get_rank(), dist.get_world_size()) == (trial.rank, trial.world_size)

    def all_reduce(value: float) -> float:
        total = torch.tensor([value])
        dist.all_reduce(total)
        return float(total.item())

    return _trained_together(trial, all_reduce)


def _our_trainer(trial: Trial) -> dict[str, float] | None:
    """With a process group of its own; in the first attempt of one that is killed, rank 1 is, while it trains."""
    from hpo_batch.training.patchtst.train import train

    def kill() -> None:
        while not list(trial.checkpoint.glob("epoch-000002*")):
            time.sleep(0.01)
        os.kill(os.getpid(), 9)

    if (trial.params["kind"], trial.attempt, trial.rank) == ("ours, killed", 1, 1):
        threading.Thread(target=kill, daemon=True).start()
    trial.params = {"d_model": 8, "n_heads": 2, "batch_size": 128, "dropout": 0.3, "epochs": trial.params["steps"]}
    result = train(trial)
    return None if result is None else {**result, "loss": 1 - result["val_auc"]}


def steps_together(trial: Trial) -> float | None:
    """The same without torch, whose import takes each rank two seconds: sums over sockets."""
    place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    with contextlib.ExitStack() as stack:
        if trial.rank == 0:
            server = stack.enter_context(socket.create_server(place))
            others = [stack.enter_context(server.accept()[0]) for _ in range(1, trial.world_size)]
        else:
            others = [stack.enter_context(_connected(place))]
        files = [stack.enter_context(other.makefile("rw")) for other in others]

        def line(file: TextIO) -> float:
            text = ""
            with contextlib.suppress(ConnectionResetError):
                text = file.readline()
            if not text:
                time.sleep(10_000)  # a rank that is gone leaves the others waiting, as collectives do
            return float(text)

        def all_reduce(value: float) -> float:
            if trial.rank == 0:
                value += sum(line(file) for file in files)
            for file in files:
                with contextlib.suppress(OSError):
                    print(value, file=file, flush=True)
            return value if trial.rank == 0 else line(files[0])

        return _trained_together(trial, all_reduce)


def _connected(place: tuple[str, int]) -> socket.socket:
    while True:
        try:
            return socket.create_connection(place)
        except ConnectionRefusedError:
            time.sleep(0.05)


def _trained_together(trial: Trial, all_reduce: Callable[[float], float]) -> float | None:
    saved = trial.checkpoint / "step"
    first = int(saved.read_text()) + 1 if trial.resumes else 0
    print("rank", trial.rank, "of", trial.world_size, "local", trial.local_rank, "from", first)
    for step in range(first, trial.params["steps"]):
        if trial.params["kind"] == "killed" and trial.attempt == 1 and trial.rank == 1 and step == 3:
            os.kill(os.getpid(), 9)
        if trial.params["kind"] == "raises" and trial.rank == 1 and step == 2:
            raise ValueError("rank one has had enough")
        if trial.params["kind"] == "hangs" and trial.rank == 1 and step == 2:
            time.sleep(10_000)
        total = all_reduce(float(trial.rank + 1))
        if trial.rank == 0:
            saved.write_text(str(step))
        # what each rank reports differs: only rank 0's counts
        trial.report(step, loss=trial.params["loss"] if trial.rank == 0 else -1.0)
        if trial.should_stop():
            print("stopped", trial.stopping, "at", step)
            return None
        if trial.params["kind"] == "long":
            time.sleep(0.02)
    print("sum", total, "resumed", trial.resumes)
    return trial.params["loss"] if trial.rank == 0 else None


def asks_too_often(trial: Trial) -> float:
    """Rank 0 asks three times, the others until the answer is yes."""
    if trial.rank == 0:
        assert [trial.should_stop() for _ in range(3)] == [False] * 3
        return trial.params["loss"]
    asked = 1
    while not trial.should_stop():
        asked += 1
    print("asked", asked, "times")
    return 0.0


def fails_on_bad_nodes(trial: Trial) -> float:
    time.sleep(0.05)
    if os.environ["SLURMD_NODENAME"] == "bad":
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
    return trial.params["x"]


def second_seed_hangs(trial: Trial) -> float:
    """In its first attempt the second seed never returns."""
    print("seed", trial.seed)
    trial.report(1, loss=trial.seed % 100)
    while trial.attempt == 1 and trial.dir.name == "seed-2":
        (trial.checkpoint / "model").write_text("half")
        time.sleep(0.05)
    return float(trial.seed % 100)


def breaks_with_its_children(trial: Trial) -> float:
    """As a data loader, whose processes SLURM signals too: it raises instead of returning."""
    import multiprocessing

    if trial.attempt > 1:
        return 0.5
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,), daemon=True)
    child.start()
    (trial.checkpoint / "epoch").write_text("0")
    (trial.dir / "child").write_text(str(child.pid))
    child.join()
    raise RuntimeError(f"DataLoader worker (pid {child.pid}) is killed by signal: Terminated.")


def leaves_children(trial: Trial) -> float:
    """Three that would outlive it: a child, one of another session, and one whose parent has ended."""
    import subprocess

    line = f"exec sleep 98765.{os.getpid()}"
    subprocess.Popen(["sh", "-c", line])
    subprocess.Popen(["sh", "-c", line], start_new_session=True)
    subprocess.run(["sh", "-c", f"setsid sleep 98765.{os.getpid()} & exit"], check=True)
    if trial.params["n"] == 2:
        raise RuntimeError("no luck")
    return 0.5


def waits_for_drain(trial: Trial) -> float | None:
    assert trial.checkpoint
    while not (trial.dir.parents[4] / "DRAIN").exists():
        time.sleep(0.02)
    time.sleep(0.1)
    return None if trial.should_stop() else 0.5


def quiet(trial: Trial) -> float:
    return trial.params["x"]


def is_killed_once(trial: Trial) -> float:
    """The first attempt of the first trial is killed as by the kernel; `kind` says what it leaves."""
    if trial.attempt == 1 and trial.number == 0:
        if trial.params["kind"] == "saves":
            (trial.checkpoint / "model").write_text("half")
            print("half")
        elif trial.params["kind"] == "asks":
            trial.checkpoint  # noqa: B018  # which makes it
        os.kill(os.getpid(), 9)
    return 0.5


def asks_for_a_checkpoint(trial: Trial) -> float:
    trial.checkpoint  # noqa: B018  # which makes it
    return 0.5


def saves(trial: Trial) -> float:
    (trial.checkpoint / "model").write_text("whole")
    return 0.5


def one_seed_prints(trial: Trial) -> float:
    trial.report(1, loss=0.5)
    if trial.dir.name == "seed-2":
        print("printed")
    return 0.5


def train(trial: Trial) -> float | None:
    raise AssertionError("this was to be trained together")


def train_many(trials: Trials) -> None:
    """Five epochs with checkpoints; without GO they take long, and with HANG for ever."""
    epochs: dict[int, int] = {}
    running: list[Trial] = []
    while running := running + trials.take():
        if "GO" not in os.environ:
            time.sleep(0.05 if "SLOW" in os.environ else 0.5)
        while "HANG" in os.environ:
            time.sleep(0.1)
        for trial in list(running):
            saved = trial.checkpoint / "epoch"
            if trial.number not in epochs:
                epochs[trial.number] = int(saved.read_text()) if trial.resumes else 0
            epochs[trial.number] += 1
            trial.report(epochs[trial.number], loss=trial.params["x"])
            saved.with_suffix(".part").write_text(str(epochs[trial.number]))
            saved.with_suffix(".part").rename(saved)
            if epochs[trial.number] >= 5:
                trials.end(trial, trial.params["x"])
            elif trial.should_stop():
                trials.end(trial, None)
            else:
                continue
            running.remove(trial)


train_many.shape = ("d",)  # type: ignore[attr-defined]
