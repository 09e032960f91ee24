"""Fuzz everything that reads files or text from outside, for as long as you like; the tests try a few inputs of each.

A target (tests/fuzzers) is a reader, a strategy for its inputs, and the properties to check: it returns a result or
raises an error of ours, in bounded time, and agrees with an oracle (Optuna or Python) where there is one. Hypothesis
generates the inputs and shrinks those that fail. Each round of a few seconds runs in a process of its own with a memory
limit, so that inputs that kill the reader, or hang it, are found as well.

    .venv/bin/python benchmarks/fuzz.py --list
    .venv/bin/python benchmarks/fuzz.py journal csv --seconds 600 --seed 7
    .venv/bin/python benchmarks/fuzz.py csv --replay OUT/csv-1.case

The smallest input of each crash is saved to a file. The exit code is 1 if there was a crash.
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
# before numpy is imported: rounds are forked, and threads do not survive a fork
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis

import hpo_batch
from tests.fuzzers.cases import Case
from tests.fuzzers.running import surroundings
from tests.fuzzers.targets import TARGETS, tried

ROUND_S = 60.0
SMALLER_S = 30.0
"""time for shrinking a failing input"""
GRACE_S = 120.0
"""how far a round may overrun before it counts as hanging"""
MEMORY_BYTES = 8 << 30
OUT = Path(tempfile.gettempdir()) / "hpo-batch-fuzz"


@dataclass(frozen=True, kw_only=True)
class Crash:
    mark: str
    """identifies the crash: the error, and the line of hpo-batch or of the checks"""
    case: Case
    trace: str


@dataclass(kw_only=True)
class Round:
    inputs: int = 0
    again: int = 0
    """inputs that hit a crash that was known already"""
    crash: Crash | None = None


@dataclass(kw_only=True)
class Told:
    """The results for a target."""

    inputs: int = 0
    again: int = 0
    seconds: float = 0.0
    crashes: dict[str, Path] = field(default_factory=dict)


class Enough(BaseException):
    """The round's time is over. A BaseException, which Hypothesis does not treat as a failing input."""


def mark_of(trace: str) -> str:
    """Identify a crash: two inputs that fail with the same error at the same line count as one."""
    places = re.findall(r'File "\S*?((?:hpo_batch|tests)/\S+)", line (\d+)', trace)
    ours = [place for place in places if place[0].startswith("hpo_batch")] or places
    where = ":".join(ours[-1]) if ours else "?"
    last = next((line for line in reversed(trace.strip().splitlines()) if re.match(r"[\w.]+(:|$)", line)), "?")
    return f"{re.sub('[0-9]+', 'N', last.partition(': ')[0] + ' ' + last.partition(': ')[2][:60])} at {where}"


def run_round(name: str, seed: int, seconds: float, known: frozenset[str], trying: Path) -> Round:
    told, end, since = Round(), 0.0, 0.0

    def one(case: Case) -> None:
        nonlocal end, since
        end = end or time.monotonic() + seconds  # the imports do not count
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
            if told.crash is None:  # a fault of the fuzzer itself: it must not look as if nothing was found
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
    """Run one round; called in a process of its own."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    try:
        pipe.send(run_round(name, seed, seconds, known, trying))
    except BaseException:
        pipe.send(traceback.format_exc())


def in_process(name: str, seed: int, seconds: float, known: frozenset[str], trying: Path) -> Round:
    """Run a round in a child process. If the child dies or hangs, the input it was trying is the crash."""
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
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help="targets to fuzz, one after the other [default: all]"
    )
    parser.add_argument("--list", action="store_true", help="list the targets")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds for each target [default: 60]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first round; each round adds 1 [default: 0]")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder for failing inputs [default: {OUT}]")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run a saved input again and show its traceback")
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
    for module in pkgutil.walk_packages(
        hpo_batch.__path__, "hpo_batch."
    ):  # import once here, rather than in every forked round
        if not module.name.startswith(("hpo_batch.training", "hpo_batch.integrations", "hpo_batch.__main__")):
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
