"""What a kill storm has left of a sweep: its journal against the workers' notes, and what plain Optuna reads of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from storm_worker import POINTS, STEP_S, STEPS, after_step

from hpo_batch.journal.state import ScannedTrial
from hpo_batch.monitor.hours import HOUR_S
from hpo_batch.monitor.status import study_statuses
from hpo_batch.records import TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import read_submissions
from hpo_batch.study.read import read_state


@dataclass(kw_only=True)
class Verdict:
    """Totals over all sweeps."""

    random_kills: int = 0
    power_cuts: int = 0
    at_points: Counter[str] = field(default_factory=Counter)
    sweeps: int = 0
    asked: int = 0
    finished: int = 0
    attempts: int = 0
    in_blocks: int = 0
    """attempts of workers that train several trials together"""
    stuck: int = 0
    failed: int = 0
    lost: int = 0
    doubled: int = 0
    told: int = 0
    """results whose tell returned to the worker"""
    steps: int = 0
    redone: int = 0
    """steps that were trained again"""
    trained_twice: int = 0
    """attempts that had a result and were followed by another attempt all the same"""
    wrong: int = 0
    """values other than what the steps of their trial add up to"""
    bad_lines: int = 0
    unlike_optuna: int = 0
    """states and values that plain Optuna reads differently"""
    forgotten: int = 0
    """attempts that did not start from the newest checkpoint of their trial"""
    lived_s: float = 0.0
    """from each worker's first claim to its end, by the clock of the storm"""
    counted_s: float = 0.0
    """what `status` counts of that as time of attempts"""
    trained_s: float = 0.0
    """what steps with a checkpoint took, each trial with its share of the worker"""
    miscounted: int = 0
    """sweeps whose attempts count for more than their workers have lived, or for less than their steps took"""
    unknown_submissions: int = 0
    """submissions without a record, although sbatch was called"""
    errors: list[str] = field(default_factory=list)
    """how workers ended that were not killed and did not exit normally"""
    seconds: float = 0.0

    @property
    def is_fine(self) -> bool:
        wrong = self.stuck + self.lost + self.doubled + self.trained_twice + self.wrong
        wrong += self.bad_lines + self.unlike_optuna + self.forgotten + self.miscounted
        return not (wrong or self.failed or self.unknown_submissions or self.errors) and self.finished == self.asked


def read_notes(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Read the notes of processes. An incomplete last line does not count: its write never returned."""
    lines: list[dict[str, Any]] = []
    for path in files:
        text = path.read_text() if path.exists() else ""
        lines += [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return lines


@dataclass(frozen=True, kw_only=True)
class Remains:
    """What is left of a sweep."""

    home: StudyHome
    notes: Path
    programs: Path
    fuse: int
    lived_s: float | None
    """from each worker's first claim to its end, in all; None: their hours are not judged"""


def judge(left: Remains, verdict: Verdict) -> None:
    """Compare the journal with the notes, and with what plain Optuna reads."""
    state = read_state(left.home)
    notes = read_notes(sorted(left.notes.glob(f"{left.home.name}-*.jsonl")))
    counts = state.counts()
    verdict.asked += counts.target
    verdict.finished += counts.finished
    verdict.failed += counts.failed
    verdict.attempts += sum(trial.attempt for trial in state.trials)
    verdict.in_blocks += sum(a.fused > 1 for trial in state.trials for a in trial.record().attempts)
    verdict.stuck += counts.running + counts.waiting
    verdict.lost += sum(_is_lost(state.trials, line) for line in notes if line["what"] == "told")
    verdict.lost += sum(_has_result_untold(left.home, trial) for trial in state.trials)
    told = Counter(line["number"] for line in notes if line["what"] == "told" and line["values"] is not None)
    verdict.told += sum(told.values())
    keys = Counter(trial.key for trial in state.trials)
    verdict.doubled += sum(n - 1 for n in told.values() if n > 1) + sum(n - 1 for n in keys.values() if n > 1)
    verdict.doubled += max(0, counts.finished - counts.target)
    steps = Counter((line["number"], line["step"]) for line in notes if line["what"] == "step")
    verdict.steps += sum(steps.values())
    verdict.redone += sum(n - 1 for n in steps.values())
    verdict.trained_twice += sum(
        _result(left.home, trial.number, attempt) is not None
        for trial in state.trials
        for attempt in range(1, trial.attempt)
    )
    verdict.wrong += sum(t.values != (value_of(t),) for t in state.trials if t.state is TrialState.COMPLETE)
    verdict.bad_lines += sum(not _is_record(line) for line in left.home.journal.read_bytes().split(b"\n")[:-1])
    verdict.unlike_optuna += unlike_optuna(left.home, state.trials)
    verdict.forgotten += forgotten(notes)
    if left.lived_s is not None:
        judge_hours(left, verdict, saved=sum(line["what"] == "saved" for line in notes))
    called = {path.name for path in left.programs.glob("*.called")}
    known = {f"{submission.id}.called" for submission in read_submissions(left.home)}
    verdict.unknown_submissions += len(called - known)


def forgotten(notes: list[dict[str, Any]]) -> int:
    """The number of attempts that began before what earlier attempts of their trial had saved."""
    saved: dict[int, list[tuple[int, int]]] = {}
    for line in notes:
        if line["what"] == "saved":
            saved.setdefault(line["number"], []).append((line["attempt"], line["done"]))
    begun = [line for line in notes if line["what"] == "began"]
    return sum(
        any(attempt < line["attempt"] and done > line["done"] for attempt, done in saved.get(line["number"], []))
        for line in begun
    )


def judge_hours(left: Remains, verdict: Verdict, *, saved: int) -> None:
    """Hold what `status` counts against the clock: trials that share a worker share its time, and none counts twice."""
    (status,) = study_statuses([left.home])
    counted_s = (status.hours.used - status.hours.idle) * HOUR_S
    trained_s = saved * STEP_S / left.fuse
    assert left.lived_s is not None
    verdict.lived_s += left.lived_s
    verdict.counted_s += counted_s
    verdict.trained_s += trained_s
    verdict.miscounted += not trained_s <= counted_s <= left.lived_s


def _is_lost(trials: list[ScannedTrial], told: dict[str, Any]) -> bool:
    """Whether the journal lacks a result whose tell returned, or holds another one."""
    if told["values"] is None or told["number"] >= len(trials):
        return told["values"] is not None
    trial = trials[told["number"]]
    is_there = trial.state is TrialState.COMPLETE and list(trial.values or ()) == told["values"]
    return not is_there or trial.ending(told["attempt"]).get("how") != "complete"


def _has_result_untold(home: StudyHome, trial: ScannedTrial) -> bool:
    """Whether the last attempt left a result in its folder that the journal does not hold."""
    result = _result(home, trial.number, trial.attempt)
    return result is not None and result["outcome"] == "complete" and list(trial.values or ()) != result["values"]


def _result(home: StudyHome, number: int, attempt: int) -> dict[str, Any] | None:
    """The result file of an attempt; None if there is none, or only a part that a kill cut off."""
    folder = home.attempt(number, attempt)
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        if not (folder / "claim.json").exists():
            raise
        return None
    return result


def value_of(trial: ScannedTrial) -> float:
    x, value = trial.params["x"], 0.0
    assert isinstance(x, float)
    for step in range(STEPS if trial.params["checkpoints"] else 1):
        value = after_step(value, x, step)
    return value


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def unlike_optuna(home: StudyHome, trials: list[ScannedTrial]) -> int:
    """The number of trials in which plain Optuna reads another state or other values."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name=home.name, storage=JournalStorage(JournalFileBackend(str(home.journal))))
    theirs = [(t.state.value, tuple(t.values) if t.values else None) for t in study.get_trials(deepcopy=False)]
    ours = [(trial.state.value, trial.values) for trial in trials]
    return sum(a != b for a, b in zip(ours, theirs, strict=False)) + abs(len(ours) - len(theirs))


def report(verdict: Verdict, leftovers: Counter[str]) -> str:
    redone = f"{verdict.redone} / {verdict.steps} ({verdict.redone / max(1, verdict.steps):.1%})"
    seconds = f"{verdict.lived_s:.0f} / {verdict.counted_s:.0f} / {verdict.trained_s:.0f}"
    lived = seconds if verdict.lived_s else "not judged"
    lines = [
        "| | |",
        "|---|---:|",
        f"| SIGKILLs at random | {verdict.random_kills} |",
        f"| hosts that lost their power | {verdict.power_cuts} |",
        *(f"| SIGKILLs {point} | {verdict.at_points[point]} |" for point in POINTS),
        f"| sweeps | {verdict.sweeps} |",
        f"| trials asked for | {verdict.asked} |",
        f"| finished | {verdict.finished} |",
        f"| attempts | {verdict.attempts} |",
        f"| attempts in blocks | {verdict.in_blocks} |",
        f"| results acknowledged to workers | {verdict.told} |",
        f"| **stuck** (running or waiting in the end) | {verdict.stuck} |",
        f"| **lost** (acknowledged or in its file, not in the journal) | {verdict.lost} |",
        f"| **doubled** (told twice, a configuration twice, more than asked for) | {verdict.doubled} |",
        f"| failed | {verdict.failed} |",
        f"| wrong values | {verdict.wrong} |",
        f"| bad lines in journals | {verdict.bad_lines} |",
        f"| trials that plain Optuna reads otherwise | {verdict.unlike_optuna} |",
        f"| submissions without a line | {verdict.unknown_submissions} |",
        f"| workers that ended with an error | {len(verdict.errors)} |",
        f"| steps trained again / steps | {redone} |",
        f"| attempts with a result that were trained again | {verdict.trained_twice} |",
        f"| **forgotten** (attempts that did not start from their trial's newest checkpoint) | {verdict.forgotten} |",
        f"| seconds from workers' first claims to their ends / counted as attempts / spent in saved steps | {lived} |",
        f"| **miscounted** (sweeps whose attempts count for more than that, or for less than their steps took) "
        f"| {verdict.miscounted} |",
        f"| files left behind by the dead | {leftovers.total()} |",
        f"| seconds | {verdict.seconds:.0f} |",
    ]
    return "\n".join(lines)


def leftovers_of(home: StudyHome) -> Counter[str]:
    """Count the temporary files that nobody will read again, by kind."""
    found: Counter[str] = Counter()
    for path in home.path.rglob("*"):
        if path.is_file() and (path.name.startswith(".journal") or path.suffix == ".tmp"):
            found[path.name.partition("json")[0]] += 1
    return found
