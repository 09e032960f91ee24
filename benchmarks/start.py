"""What do several workers of one array task cost until they train, forked or each with imports of its own?

Runs the array task as SLURM would start it, with the quickstart's model or over a large table of responses, in turns:
`fork = false`, `fork = true`, and for the table with `[objective] preload` too. Prints for each the CPU time of all
processes, their largest common memory (PSS, in which a page that n processes share counts 1/n), and the wall time
until every worker has a trial. `--calls` counts calls to the file system instead, with strace.

    .venv/bin/python benchmarks/start.py --workers 4 --turns 3
    .venv/bin/python benchmarks/start.py --workers 4 --turns 1 --table 400000
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import datetime
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpo_batch import processes
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study.create import create
from hpo_batch.sweep.load import load

REPOSITORY = Path(__file__).resolve().parents[1]
PR_SET_CHILD_SUBREAPER = 36
READS = """
import time
import torch
from hpo_batch.training.knowledge_tracing import data

def train(trial):
    found = data.load(data.DataOptions(data=trial.params["data"]))
    time.sleep(3)  # so that all workers hold it at once
    return float(found.n_skills)
"""
SWEEP = """
[study]
name = "start"
metric = "val_auc"
direction = "maximize"
trials = {trials}
[objective]
{objective}
[space]
{space}
[sampler]
name = "tpe"
[job]
template = "cpu"
workers_per_gpu = {workers}
fork = {fork}
"""
QUICKSTART = """
data = "digits"
epochs = 3
d_model = [8, 16, 32]
n_heads = [1, 2, 4, 8]
learning_rate = { low = 1e-4, high = 3e-2, log = true }
"""
DATA = "hpo_batch.training.knowledge_tracing.data:preload"


@dataclass(frozen=True, kw_only=True)
class Cost:
    cpu_s: float
    memory_mb: float
    all_train_s: float
    calls: int


def write_table(path: Path, rows: int) -> None:
    draw = np.random.default_rng(0)
    columns = [draw.integers(0, most, rows) for most in (max(2, rows // 100), 120, 2)]
    table = np.stack([*columns, np.arange(rows)], axis=1)
    np.savetxt(path, table, fmt="%d", delimiter=",", header="user_id,skill_id,correct,order_id", comments="")


def make(root: Path, *, workers: int, fork: bool, table: Path | None, preload: bool) -> StudyHome:
    if table is None:
        objective, space = 'function = "hpo_batch.training.patchtst.train:train"', QUICKSTART
    else:
        (root / "reads.py").write_text(READS)
        objective, space = 'function = "reads:train"', f'data = "{table}"\nx = {{ low = 0.0, high = 1.0 }}'
    if preload:
        objective += f'\npreload = "{DATA}"'
    text = SWEEP.format(
        trials=2 * workers if table is None else workers,
        objective=objective,
        space=space.strip(),
        workers=workers,
        fork=str(fork).lower(),
    )
    path = root / "start.toml"
    path.write_text(text)
    (sweep,) = load(path)
    home = home_of(root, "start")
    create(home, sweep, toml=text, now=time.time())
    return home


def pss_mb(pid: int) -> float:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024 / 1e6
    return 0.0


def run(home: StudyHome, *, workers: int, calls: bool) -> Cost:
    """Run one array task until it ends."""
    task = {"ARRAY_JOB_ID": "1", "ARRAY_TASK_ID": "0", "JOB_ID": "1", "JOB_NAME": "start-a", "CPUS_PER_TASK": workers}
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), **{f"SLURM_{name}": str(text) for name, text in task.items()}}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    counts = home.path.parent / "calls"
    trace = ["strace", "-f", "-c", "-e", "trace=%file", "-o", str(counts)] if calls else []
    log = home.path.parent / "log"
    before, began, most = resource.getrusage(resource.RUSAGE_CHILDREN), time.time(), 0.0
    with log.open("w") as file:
        argv = [*trace, sys.executable, "-m", "hpo_batch", "worker", str(home.path)]
        process = subprocess.Popen(argv, cwd=home.path.parent, env=env, stdout=file, stderr=file)
        while process.poll() is None:
            if not calls:
                most = max(most, sum(map(pss_mb, {process.pid} | processes.descendants(process.pid))))
            time.sleep(0.3)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = log.read_text()
    assert process.returncode == 0, said
    started = [line for line in said.splitlines() if ": attempt 1, " in line][workers - 1]
    moment = datetime.datetime.strptime(started[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()
    return Cost(
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        memory_mb=most,
        all_train_s=moment - began,
        calls=int(counts.read_text().splitlines()[-1].split()[3]) if calls else 0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--table", type=int, default=0, metavar="ROWS", help="over a table of so many responses")
    parser.add_argument("--calls", action="store_true", help="count calls to the file system (needs strace)")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # so that guardians are waited for, too
    ways = [("each imports", False, False), ("forked", True, False)]
    ways += [("forked, data preloaded", True, True)] if options.table else []
    found: dict[str, list[Cost]] = {name: [] for name, *_ in ways}
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "responses.csv") if options.table else None
        if table is not None:
            write_table(table, options.table)
        for turn in range(options.turns):
            for i, (name, fork, preload) in enumerate(ways):
                root = Path(folder, f"{turn}-{i}")
                root.mkdir()
                home = make(root, workers=options.workers, fork=fork, table=table, preload=preload)
                found[name].append(run(home, workers=options.workers, calls=options.calls))
    show(found, workers=options.workers, turns=options.turns, calls=options.calls)


def show(found: dict[str, list[Cost]], *, workers: int, turns: int, calls: bool) -> None:
    def middle(values: Sequence[float]) -> str:
        return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"

    print(f"{workers} workers in one array task; median (least to most); turns: {turns}\n")
    if calls:
        print("| workers | calls to the file system |\n|---|---:|")
        for name, costs in found.items():
            print(f"| {name} | {statistics.median(cost.calls for cost in costs):,.0f} |")
        return
    print("| workers | CPU s | memory MB | all have a trial after s |\n|---|---:|---:|---:|")
    for name, costs in found.items():
        columns = ([c.cpu_s for c in costs], [c.memory_mb for c in costs], [c.all_train_s for c in costs])
        print(f"| {name} | {' | '.join(map(middle, columns))} |")


if __name__ == "__main__":
    main()
