"""How long does a user wait for the command line?

Times `--help`, `status` and `list` on a study of N finished trials as whole processes, beside bare Python and beside
what replaces `status` without hpo-batch: loading the same journal with Optuna. Prints medians of CPU and wall time.

    .venv/bin/python benchmarks/cli_latency.py --trials 1000 --runs 15
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hpo_batch.processes import boot_id, started_at
from hpo_batch.records import Complete, Owner
from hpo_batch.store.home import home_of
from hpo_batch.study.create import create
from hpo_batch.study.study import Study
from hpo_batch.sweep.load import load

SWEEP = """
[study]
name = "{name}"
metric = "score"
direction = "minimize"
trials = {trials}

[objective]
function = "benchmarks.no_module:never_called"

[space]
{space}

[sampler]
name = "random"
"""


def make_study(root: Path, trials: int, *, name: str = "bench", left: int = 0) -> None:
    """Make a study of no-op trials with 7 parameters and 3 further metrics each, through claim and tell.

    Args:
        root: the logs directory.
        trials: that have ended.
        name: of the study.
        left: trials that it still has to finish.
    """
    space = "\n".join(f"p{i} = {{ low = 0.0, high = 1.0 }}" for i in range(7))
    path = root / f"{name}.toml"
    path.write_text(SWEEP.format(name=name, trials=trials + left, space=space))
    (sweep,) = load(path)
    home = home_of(root, name)
    create(home, sweep, toml=path.read_text(), now=time.time())
    owner = Owner(
        worker="bench-0",
        job="local",
        host=platform.node(),
        pid=os.getpid(),
        start=started_at(os.getpid()),
        boot=boot_id(),
    )
    with Study.open(home, owner) as study:
        for _ in range(trials):
            claims = study.claim()
            assert isinstance(claims, tuple)
            study.open_attempt(claims[0])
            value = sum(float(v) for v in claims[0].configuration.searched.values())
            study.tell(claims[0], Complete(values=(value,), metrics={"score": value, "a": 1.0, "b": 2.0, "c": 3.0}))


def measure(commands: dict[str, list[str]], runs: int) -> dict[str, tuple[float, float]]:
    """Median CPU and wall milliseconds of each command; the commands take turns."""
    # an installed package has its bytecode: without it, a command would compile 100 modules first
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    cpu: dict[str, list[float]] = {name: [] for name in commands}
    wall: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, argv in commands.items():
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(argv, stdout=subprocess.DEVNULL, check=True, env=environ)
            after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            if run:  # the first is a warm-up
                used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                cpu[name].append(used * 1000)
                wall[name].append((ended - began) * 1000)
    return {name: (statistics.median(cpu[name]), statistics.median(wall[name])) for name in commands}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_study(root, options.trials)
        (elsewhere := root / "elsewhere").mkdir()
        make_study(elsewhere, options.trials, name="open", left=options.trials // 10)
        journal = root / "bench" / "journal.jsonl"
        cli = [str(Path(sys.executable).with_name("hpo-batch"))]
        with_optuna = (
            "from optuna.storages import JournalStorage\n"
            "from optuna.storages.journal import JournalFileBackend\n"
            "import optuna; optuna.logging.set_verbosity(40)\n"
            f"s = optuna.load_study(study_name='bench', storage=JournalStorage(JournalFileBackend({str(journal)!r})))\n"
            "print(len(s.get_trials(deepcopy=False)), s.best_value)"
        )
        measured = measure(
            {
                "bare Python": [sys.executable, "-c", "pass"],
                "`hpo-batch --help`": [*cli, "--help"],
                "`hpo-batch status`": [*cli, "status", "bench", "--root", str(root)],
                "`hpo-batch status`, trials left and no worker": [*cli, "status", "open", "--root", str(elsewhere)],
                "`hpo-batch list`": [*cli, "list", "--root", str(root)],
                "the same count and best value with Optuna": [sys.executable, "-c", with_optuna],
            },
            options.runs,
        )
        size = journal.stat().st_size / 1e6
    print(f"{options.trials} finished trials, journal of {size:.1f} MB, median of {options.runs} runs\n")
    print("| command | CPU ms | wall ms |\n|---|---:|---:|")
    for name, (cpu, wall) in measured.items():
        print(f"| {name} | {cpu:.0f} | {wall:.0f} |")


if __name__ == "__main__":
    main()
