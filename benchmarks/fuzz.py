"""What readers do with inputs that nobody thought of, for as long as one likes; the tests try a few of each.

A target is a reader with its inputs and with what must hold of it (tests/fuzzers): it answers or refuses in words of
ours, within a bound of time; where there is an oracle, Optuna or Python, it says what that says. Inputs are made by
Hypothesis, which also makes what fails smaller. A round of some seconds is a process of its own, with a limit on its
memory: an input that kills it or never ends is found, too.

    .venv/bin/python benchmarks/fuzz.py --list
    .venv/bin/python benchmarks/fuzz.py journal csv --seconds 600 --seed 7
    .venv/bin/python benchmarks/fuzz.py csv --replay OUT/csv-1.case

The smallest input of each crash is kept in a file. Ends with exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import pkgutil
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: a round is a fork, and no thread comes along

import hypothesis

import hpo_batch
from tests.fuzzers.cases import Case
from tests.fuzzers.running import surroundings
from tests.fuzzers.targets import TARGETS, tried

ROUND_S = 60.0
SMALLER_S = 30.0
"""how long a failing input is made smaller"""
GRACE_S = 120.0
"""how long a round may take beyond its time before it counts as one that never ends"""
MEMORY_BYTES = 8 << 30
OUT = Path(tempfile.gettempdir()) / "hpo-batch-fuzz"


@dataclass(frozen=True, kw_only=True)
class Crash:
    mark: str
    """what tells it from others: the error, and where in hpo-batch or in the checks"""
    case: Case
    trace: str


@dataclass(kw_only=True)
class Round:
    inputs: int = 0
    again: int = 0
    """inputs that ran into a crash known before"""
    crash: Crash | None = None


@dataclass(kw_only=True)
class Told:
    """What has come of a target."""

    inputs: int = 0
    again: int = 0
    seconds: float = 0.0
    crashes: dict[str, Path] = field(default_factory=dict)


class Enough(BaseException):
    """The round's time is over: Hypothesis lets it through."""


def mark_of(trace: str) -> str:
    """The kind of a crash: two inputs that end at the same line in the same way are one."""
    places = re.findall(r'File "\S*?((?:hpo_batch|tests)/\S+)", line (\d+)', trace)
    ours = [place for place in places if place[0].startswith("hpo_batch")] or places
    where = ":".join(ours[-1]) if ours else "?"
    last = next((line for line in reversed(trace.strip().splitlines()) if re.match(r"[\w.]+(:|$)", line)), "?")
    return f"{re.sub('[0-9]+', 'N', last.partition(': ')[0] + ' ' + last.partition(': ')[2][:60])} at {where}"


def run_round(name: str, seed: int, seconds: float, known: frozenset[str], trying: Path) -> Round:
    told, end, since = Round(), 0.0, 0.0

    def one(case: Case) -> None:
        nonlocal end, since
        end = end or time.monotonic() + seconds  # without what it took to load everything
        if time.monotonic() > (end if told.crash is None else since + SMALLER_S):
            raise Enough
        if told.crash is None:
            told.inputs += 1
        case.save(trying)
        try:
            tried(name, case, around)
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            mark = mark_of(trace)
            if mark in known:
                told.again += told.crash is None
                return
            since = since or time.monotonic()
            if told.crash is None or (mark == told.crash.mark and len(case.content) <= len(told.crash.case.content)):
                told.crash = Crash(mark=mark, case=case, trace=trace)
            elif mark != told.crash.mark:
                return
            raise

    holds = hypothesis.given(TARGETS[name].inputs())(one)
    holds = hypothesis.settings(
        max_examples=1_000_000, database=None, deadline=None, report_multiple_bugs=False, print_blob=False,
        verbosity=hypothesis.Verbosity.quiet, suppress_health_check=list(hypothesis.HealthCheck),
    )(holds)  # fmt: skip
    with surroundings() as around, contextlib.suppress(Enough):
        try:
            hypothesis.seed(seed)(holds)()
        except BaseException:
            if (
                told.crash is None
            ):  # not of an input: a fuzzer that cannot run must not look like one that finds nothing
                raise
    return told


def _round(
    name: str,
    seed: int,
    seconds: float,
    known: frozenset[str],
    trying: Path,
    pipe: multiprocessing.connection.Connection,
) -> None:
    """In a process of its own."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    try:
        pipe.send(run_round(name, seed, seconds, known, trying))
    except BaseException:
        pipe.send(traceback.format_exc())


def in_process(name: str, seed: int, seconds: float, known: frozenset[str], trying: Path) -> Round:
    """A round; what its process was at is its crash if it dies or does not come back."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=_round, args=(name, seed, seconds, known, trying, theirs))
    process.start()
    theirs.close()
    answer: Round | str | None = None
    if ours.poll(seconds + SMALLER_S + GRACE_S):
        with contextlib.suppress(EOFError):
            answer = ours.recv()
        process.join()
        ending = f"the process ended with {process.exitcode}"
    else:
        process.kill()
        process.join()
        ending = "it never ends"
    if isinstance(answer, str):
        raise SystemExit(f"the fuzzer of {name} cannot run:\n{answer}")
    if answer is not None:
        return answer
    return Round(inputs=1, crash=Crash(mark=ending, case=Case.of(trying), trace=ending))


def fuzz(name: str, *, seconds: float, seed: int, out: Path) -> Told:
    told, began = Told(), time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        while (left := seconds - (time.monotonic() - began)) > 0:
            round_ = in_process(name, seed, min(left, ROUND_S), frozenset(told.crashes), Path(folder) / "trying")
            seed += 1
            told.inputs += round_.inputs
            told.again += round_.again
            if round_.crash is not None and round_.crash.mark not in told.crashes:
                number = len(told.crashes) + 1
                path = out / f"{name}-{number}.case"
                round_.crash.case.save(path)
                path.with_suffix(".txt").write_text(round_.crash.trace, errors="backslashreplace")
                told.crashes[round_.crash.mark] = path
                print(
                    f"{name}: {round_.crash.mark}\n    benchmarks/fuzz.py {name} --replay {path}",
                    file=sys.stderr,
                    flush=True,
                )
    told.seconds = time.monotonic() - began
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="what to fuzz, one after the other [default: all]")
    parser.add_argument("--list", action="store_true", help="say which targets there are")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target [default: 60]")
    parser.add_argument("--seed", type=int, default=0, help="of the first round; each has the next [default: 0]")
    parser.add_argument("--out", type=Path, default=OUT, help=f"where inputs that fail are kept [default: {OUT}]")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="try one input again, and show how it fails")
    given = parser.parse_args()
    if unknown := [name for name in given.targets if name not in TARGETS]:
        parser.error(f"no target {unknown[0]}; there are {', '.join(TARGETS)}")
    if given.list:
        for name, target in TARGETS.items():
            print(f"{name:<12} {target.about}")
        return 0
    if given.replay is not None:
        if len(given.targets) != 1:
            parser.error("--replay takes one target")
        case = Case.of(given.replay)
        with surroundings() as around:
            tried(given.targets[0], case, around)
        print("holds")
        return 0
    for module in pkgutil.walk_packages(hpo_batch.__path__, "hpo_batch."):  # once, and not in each round
        if not module.name.startswith(("hpo_batch.training", "hpo_batch.__main__")):
            importlib.import_module(module.name)
    out = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    print("| target | seconds | inputs | crashes | inputs that ran into one again |\n|---|---|---|---|---|", flush=True)
    found = 0
    for name in given.targets or TARGETS:
        told = fuzz(name, seconds=given.seconds, seed=given.seed, out=out)
        found += len(told.crashes)
        print(f"| {name} | {told.seconds:.0f} | {told.inputs:,} | {len(told.crashes)} | {told.again:,} |", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
