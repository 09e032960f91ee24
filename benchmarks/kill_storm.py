"""Does a sweep survive a thousand SIGKILLs: is a result lost, a trial run twice, or one left running forever?

Real workers, forked from this process, run sweeps of no-op trials and of trials that write checkpoints. They are killed
at random moments (``--kills``), and kill themselves at each named point (``--at-each-point``): while they hold the
lock, in the middle of an append, between a result and its tell ... A killed worker is replaced at once. In the end the
journal is compared with the notes that the workers took before they died, and with what plain Optuna reads.

    .venv/bin/python benchmarks/kill_storm.py --kills 1000 --at-each-point 25
    .venv/bin/python benchmarks/kill_storm.py --fuse 4 --kills 400    # workers that train four trials together
    .venv/bin/python benchmarks/kill_storm.py --mounts 4 --rtt-ms 0.5 --power-cuts 20    # on a network file system

``--mounts N`` (needs root, Linux and FUSE) simulates N hosts, each of which sees the studies through a mount of its
own with the caches of an NFS client (tests/network). In a power cut (``--power-cuts``), a host loses all its workers
and what it had not written back, and boots again at once. The files on the server are what counts in the end.

The exit code is 1 if anything is stuck, lost or run twice, or if a worker ended with an error.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storm_judge import Remains, Verdict, judge, leftovers_of, read_notes, report
from storm_worker import POINTS, SUBMISSION, Seat, is_finished, submit_once, work

from hpo_batch.errors import StorageError
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study.create import create
from hpo_batch.sweep.load import load
from hpo_batch.sweep.schema import Sweep

if TYPE_CHECKING:
    from tests.network.mount import Host

SWEEP = """
[study]
name = "storm{number}"
metric = "loss"
direction = "minimize"
trials = {trials}
max_attempts = 100
lease_s = {lease_s}
[objective]
function = "storm_worker:train"
[space]
x = {{ low = 0.0, high = 1.0 }}
checkpoints = [true, false]
[sampler]
name = "random"
[job]
template = "cpu"
device = "cpu"
workers = 2
fuse = {fuse}
"""
SBATCH = """#!/bin/sh
touch "$(dirname "$0")/$(sed -n 's/.*--job-name=.*-//p' "$2").called"
[ "$STORM_SBATCH" = before ] && kill -9 $PPID && exit 1
echo 7
[ "$STORM_SBATCH" = after ] && kill -9 $PPID
exit 0
"""
PATIENCE_S = 60.0
"""a sweep that has finished no trial for this long is stopped and judged as it stands"""
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, kw_only=True)
class Running:
    process: multiprocessing.process.BaseProcess
    point: str | None
    """where it is to die"""
    notes: Path


@dataclass(kw_only=True)
class Storm:
    """A sweep and its processes."""

    home: StudyHome
    sweep: Sweep
    toml: str
    notes: Path
    programs: Path
    chance: random.Random
    fuse: int = 1
    hosts: list[Host] = field(default_factory=list)
    is_busy: bool = False
    running: dict[int, Running] = field(default_factory=dict)
    seats: dict[int, Seat] = field(default_factory=dict)
    """of running processes"""
    lived_s: float = 0.0
    """from each worker's first claim to its end, in all"""
    boots: Counter[str] = field(default_factory=Counter)
    started: int = 0

    def start(self, point: str | None) -> None:
        self.started += 1
        notes = self.notes / f"{self.home.name}-{self.started}.jsonl"
        seat = self._seat()
        seed = self.chance.randrange(2**32)
        arguments: tuple[Any, ...] = (self.home, self.started, notes, point, seed, seat, self.is_busy)
        target: Any = work
        if point == SUBMISSION:
            dies = self.chance.choice(("before", "after"))
            target, arguments = submit_once, (self.home, self.sweep, self.toml, notes, self.programs, dies, seat)
        process = FORK.Process(target=target, args=arguments, daemon=True)
        self.running[self.started] = Running(process=process, point=point, notes=notes)
        process.start()
        if seat is not None:
            self.seats[self.started] = seat

    def _seat(self) -> Seat | None:
        """Each host in turn at first, then a random one."""
        if not self.hosts:
            return None
        is_first = self.started <= len(self.hosts)
        host = self.hosts[self.started - 1] if is_first else self.chance.choice(self.hosts)
        name = host.path.name
        return Seat(name=name, boot=f"{name}.{self.boots[name]}", mount=host.path, at=host.source)

    def cut_power(self) -> None:
        """Cut the power of a host: its processes die, what it has not written back is lost, and it boots again."""
        host = self.chance.choice(self.hosts)
        there = [self.running[i].process for i, seat in self.seats.items() if seat.name == host.path.name]
        for process in there:
            assert process.pid is not None
            # first, so that no process sees its disk vanish: in a real power cut none lives to see it
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGSTOP)
        host.cut_power()
        for process in there:
            process.kill()
            process.join()
        self.boots[host.path.name] += 1
        host.mount()

    def workers(self) -> list[int]:
        return [index for index, one in self.running.items() if one.point != SUBMISSION]

    def ended(self, timeout: float) -> Iterator[tuple[int, str | None, Path]]:
        """The processes that end within the time: exit code, the point they were to die at, their notes."""
        multiprocessing.connection.wait([one.process.sentinel for one in self.running.values()], timeout)
        for index in [i for i, one in self.running.items() if not one.process.is_alive()]:
            one = self.running[index]
            one.process.join()
            self._note_end(index)
            assert one.process.exitcode is not None
            yield one.process.exitcode, one.point, one.notes

    def _note_end(self, index: int) -> None:
        one = self.running.pop(index)
        self.seats.pop(index, None)
        now = time.monotonic()
        asked = next((line["at"] for line in read_notes([one.notes]) if line["what"] == "asks"), now)
        self.lived_s += now - asked

    def kill_one(self) -> None:
        """Kill it. It may have ended by itself just now: ``ended`` says which."""
        process = self.running[self.chance.choice(self.workers())].process
        process.kill()
        process.join()

    def end(self) -> None:
        for index, one in list(self.running.items()):
            one.process.kill()
            one.process.join()
            self._note_end(index)

    def remains(self) -> Remains:
        # on another host a loss is noticed when its lease has expired, and an attempt without any file ends there
        lived_s = None if self.hosts else self.lived_s
        return Remains(home=self.home, notes=self.notes, programs=self.programs, fuse=self.fuse, lived_s=lived_s)


def rage(
    storm: Storm, verdict: Verdict, *, kills: int, cuts: int, points: list[str], workers: int, pause_s: float
) -> None:
    """Run a sweep to its end, with ``kills`` kills and ``cuts`` power cuts. ``points`` that were hit are removed.

    Raises:
        StorageError: the journal cannot be read.
    """
    for _ in range(workers):
        storm.start(_next(points, storm.chance, often=True))
    next_kill, progress, last = time.monotonic(), time.monotonic(), -1
    while not verdict.errors:
        is_over = verdict.random_kills >= kills and verdict.power_cuts >= cuts
        wait_s = 0.2 if is_over else max(0.0, next_kill - time.monotonic())
        for code, point, notes in storm.ended(wait_s):
            died_at = next((line["point"] for line in read_notes([notes]) if line["what"] == "die"), None)
            if code == -signal.SIGKILL and died_at is not None:
                verdict.at_points[died_at] += 1
            elif point is not None:
                points.append(point)  # it was killed earlier, or ended without reaching the point
            if code == -signal.SIGKILL and died_at is None:
                verdict.random_kills += 1
            if code not in (0, -signal.SIGKILL):
                tail = notes.with_suffix(".log").read_text()[-1500:]
                verdict.errors.append(f"{storm.home.name}: a worker ended with {code}: {tail}")
            if code == -signal.SIGKILL and point != SUBMISSION:
                storm.start(_next(points, storm.chance, often=verdict.random_kills >= kills))
        if points and SUBMISSION in points and storm.chance.random() < 0.2:
            points.remove(SUBMISSION)
            storm.start(SUBMISSION)
        if not storm.workers():
            if is_finished(storm.home) or time.monotonic() - progress > PATIENCE_S:
                break
            verdict.errors.append(f"{storm.home.name}: every worker left before the end")
            storm.start(None)
        if not is_over and storm.workers() and time.monotonic() >= next_kill:
            # the power cuts that are still due, one after the other
            if verdict.power_cuts < cuts and (verdict.random_kills >= kills or storm.chance.random() < 0.1):
                storm.cut_power()
                verdict.power_cuts += 1
            else:
                storm.kill_one()
            next_kill = time.monotonic() + storm.chance.expovariate(1 / pause_s)
        size = storm.home.journal.stat().st_size
        if size != last:
            progress, last = time.monotonic(), size
        elif time.monotonic() - progress > PATIENCE_S:
            break


def _next(points: list[str], chance: random.Random, *, often: bool) -> str | None:
    """The point at which a new worker dies; while others are killed at random, not every worker gets one."""
    open_points = [point for point in points if point != SUBMISSION]
    if not open_points or (not often and chance.random() < 0.6):
        return None
    point = chance.choice(open_points)
    points.remove(point)
    return point


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000, help="number of kills at random moments")
    parser.add_argument("--at-each-point", type=int, default=25)
    parser.add_argument(
        "--trials", type=int, default=300, help="trials of each sweep; there are as many sweeps as the kills need"
    )
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--fuse", type=int, default=1, metavar="K", help="trials that a worker trains together")
    parser.add_argument("--pause", type=float, default=0.03, help="mean seconds between two random kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, default=None, help="folder for the studies [default: the temporary folder]"
    )
    parser.add_argument("--busy", action="store_true", help="run a busy thread beside each trial")
    parser.add_argument(
        "--mounts", type=int, default=0, metavar="HOSTS", help="number of simulated hosts, see above [default: none]"
    )
    parser.add_argument("--power-cuts", type=int, default=0, help="power cuts of hosts at random moments")
    parser.add_argument("--rtt-ms", type=float, default=0.0, help="round trip of each operation that asks the server")
    parser.add_argument(
        "--attr-timeout", type=float, default=3.0, help="seconds for which hosts cache attributes (acregmin of NFS)"
    )
    parser.add_argument(
        "--locks",
        choices=("shared", "local", "none"),
        default="shared",
        help="whether flock excludes other hosts, or only processes of the same one",
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # "fork with threads": those of numeric libraries, which the children do not use
    for name in [name for name in os.environ if name.startswith(("HPO_BATCH_", "SLURM"))]:
        del os.environ[name]
    chance, verdict, leftovers = random.Random(options.seed), Verdict(), Counter[str]()
    points = [point for point in POINTS for _ in range(options.at_each_point)]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, contextlib.ExitStack() as stack:
        root = Path(folder)
        (root / "logs").mkdir()
        hosts: list[Host] = []
        if options.mounts:
            from tests.network.mount import mounted

            seen = {"rtt_ms": options.rtt_ms, "attr_timeout": options.attr_timeout, "locks": options.locks}
            hosts = stack.enter_context(mounted(options.mounts, source=root / "logs", **seen))
        arguments = {"kills": options.kills, "cuts": options.power_cuts, "points": points, "workers": options.workers}
        while not verdict.sweeps or (_is_left(verdict, options, points) and not verdict.errors):
            storm = brew(root, verdict.sweeps, options, chance, hosts)
            verdict.sweeps += 1
            try:
                rage(storm, verdict, pause_s=options.pause, **arguments)
                storm.end()
                judge(storm.remains(), verdict)
            except StorageError as error:
                verdict.errors.append(f"{storm.home.name}: the journal cannot be read: {error}")
            finally:
                storm.end()
            leftovers += leftovers_of(storm.home)
    verdict.seconds = time.monotonic() - began
    print(report(verdict, leftovers))
    for error in verdict.errors:
        print(error, file=sys.stderr)
    return 0 if verdict.is_fine else 1


def _is_left(verdict: Verdict, options: argparse.Namespace, points: list[str]) -> bool:
    """Whether kills, points or power cuts are still due."""
    return verdict.random_kills < options.kills or verdict.power_cuts < options.power_cuts or bool(points)


def brew(root: Path, number: int, options: argparse.Namespace, chance: random.Random, hosts: list[Host]) -> Storm:
    # a worker of another host counts as dead once its lease has expired
    toml = SWEEP.format(number=number, trials=options.trials, fuse=options.fuse, lease_s=10 if hosts else 60)
    path = root / f"{number}.toml"
    path.write_text(toml)
    (sweep,) = load(path)
    programs, notes = root / f"bin{number}", root / "notes"
    programs.mkdir()
    notes.mkdir(exist_ok=True)
    for name, text in {"sbatch": SBATCH, "srun": "#!/bin/sh\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    home = home_of(root / "logs", sweep.path)
    create(home, sweep, toml=toml, now=time.time())
    return Storm(
        home=home,
        sweep=sweep,
        toml=toml,
        notes=notes,
        programs=programs,
        chance=chance,
        fuse=options.fuse,
        hosts=hosts,
        is_busy=options.busy,
    )


if __name__ == "__main__":
    sys.exit(main())
