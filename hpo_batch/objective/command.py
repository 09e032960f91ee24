"""Run an objective that is a command, by the contract that its authors read in the docs.

It learns of its trial from placeholders and ``HPO_BATCH_*`` variables, writes one JSON line per step into the metrics
file, and is told to stop by a file, then SIGUSR2, then SIGTERM. Exit code 0 with a result is done, 75 is "continue me
later". When ``run`` ends in whatever way, no process of the command is left.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hpo_batch import processes
from hpo_batch.errors import CommandMissing, UserError
from hpo_batch.files import unlink_if_empty, write_atomic
from hpo_batch.objective.memory import oom_kills
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.outcome import RACE_S, SIGNALLED, STOP_SIGNALS, Ended, is_signal, of_exit
from hpo_batch.objective.placeholders import Template
from hpo_batch.objective.tail import Printed, Tail, parse_metrics
from hpo_batch.objective.trial import Trial
from hpo_batch.records import CommandEnd, Complete, Failed, GivenBack, Outcome, Reason, Stopping
from hpo_batch.store.trial_folder import STOP, STREAMS

log = logging.getLogger(__name__)

REPORTED: Final = "reported.jsonl"
"""the metrics file of a command; ``metrics.jsonl`` beside it is ours, and has what could be read of it. If that is all
of it, the command's own is removed"""
TRIAL_DIR: Final = "HPO_BATCH_TRIAL_DIR"
"""also the mark by which all processes of an attempt are found"""

_STDERR_BYTES: Final = 16 << 10


@dataclass(frozen=True, kw_only=True)
class CommandObjective:
    """``[objective] command``."""

    template: Template
    wanted: Wanted
    cwd: Path | None = None
    env: Mapping[str, str]
    grace_s: float = 30.0
    """from SIGUSR2 to SIGTERM: time to save a checkpoint"""
    kill_s: float = 10.0
    """from SIGTERM to SIGKILL"""
    poll_s: float = 0.2
    preempted_s: float = 30.0
    """from the SIGTERM of SLURM to its SIGKILL: the command has two thirds of it"""

    def run(self, trial: Trial) -> Outcome | GivenBack:
        """Run the command to its end.

        Raises:
            StorageError: the attempt's folder cannot be written, or a report could not be stored.
            Superseded: the trial has gone on elsewhere.
        """
        folder = trial.dir.absolute()
        checkpoint = trial.checkpoint.absolute()  # which makes it: the command is told its name
        try:
            with contextlib.suppress(FileNotFoundError):
                (folder / STOP).unlink()
            errors_start = _size(folder / "stderr")
            inbox = _Inbox(trial, folder)
            argv = self.template.fill(trial.params, _facts(trial, folder))
            killed_before = oom_kills()
            process = self._start(argv, trial, folder, checkpoint)
        except (UserError, CommandMissing, ValueError) as error:
            return Failed(reason=Reason.INVALID, message=str(error))
        except OSError as error:
            return Failed(reason=Reason.INVALID, message=f"the command could not be started: {error}")
        started = time.time()
        stop = _Stop(self, deadline=trial.deadline, process=process, folder=folder)
        try:
            code = self._watch(process, trial, inbox, stop)
        finally:
            _end_all(process, folder)
        asked = stop.why
        inbox.read(to_end=True)
        # A prune that only the very last reports led to came too late: the command has run to its end.
        if asked is None and trial.stopping is not Stopping.PRUNED:
            asked = trial.stopping
        stderr = _last_bytes(folder / "stderr", errors_start)
        inbox.mention_unread(folder / "stderr")
        ended = Ended(
            code=code,
            sent=frozenset(stop.sent),
            printed=inbox.printed.metrics,
            number=inbox.printed.number,
            unread=inbox.printed.unread,
            final=inbox.final,
            wrong=inbox.wrong,
            stderr=stderr,
            oom_kills=0 if killed_before is None else (oom_kills() or killed_before) - killed_before,
        )
        try:
            outcome = of_exit(ended, wanted=self.wanted, progress=replace(trial.progress, stopping=asked))
        finally:
            _remove_unused(folder, is_stopped=asked is not None)
        if inbox.is_repeated(outcome):
            with contextlib.suppress(OSError):
                (folder / REPORTED).unlink()
        return replace(outcome, command=_as_it_ended(argv, code, asked, seconds=time.time() - started))

    def _start(self, argv: list[str], trial: Trial, folder: Path, checkpoint: Path) -> processes.Process:
        if self.cwd is not None and not self.cwd.is_dir():
            raise UserError(f"the working directory '{self.cwd}' of [objective] does not exist")
        return processes.start(
            argv,
            stdout=folder / "stdout",
            stderr=folder / "stderr",
            env=self._environment(trial, folder, checkpoint),
            cwd=self.cwd,
        )

    def _environment(self, trial: Trial, folder: Path, checkpoint: Path) -> dict[str, str]:
        contract = {
            "HPO_BATCH_TRIAL": str(trial.number),
            "HPO_BATCH_ATTEMPT": str(trial.attempt),
            TRIAL_DIR: str(folder),
            "HPO_BATCH_CHECKPOINT_DIR": str(checkpoint),
            "HPO_BATCH_METRICS_FILE": str(folder / REPORTED),
            "HPO_BATCH_STOP_FILE": str(folder / STOP),
            "HPO_BATCH_SEED": str(trial.seed),
            "HPO_BATCH_PARAMS": json.dumps(trial.params, ensure_ascii=False),
        }
        if trial.deadline is not None:
            contract["HPO_BATCH_DEADLINE"] = repr(trial.deadline)
        # Unbuffered, so that `logs -f` shows a running trial and a killed one loses no last words.
        defaults = {"OMP_NUM_THREADS": str(trial.cpus), "PYTHONUNBUFFERED": "1"}
        inherited = {name: value for name, value in os.environ.items() if name != "HPO_BATCH_DEADLINE"}
        return {**defaults, **inherited, **self.env, **contract}

    def _watch(self, process: processes.Process, trial: Trial, inbox: _Inbox, stop: _Stop) -> int:
        """Pass reports on and stop the command when the trial says so, until it has ended."""
        while True:
            code = processes.wait(process, self.poll_s)
            inbox.read()
            if stop.why is None:
                why = trial.stopping if code is None else _why_slurm_stopped(code, trial)
                if why is not None:
                    stop.begin(why, by_slurm=code is not None)
            stop.go_on()
            if code is not None:
                if not stop.is_waiting_for_others(code):
                    return code
                time.sleep(self.poll_s)


class _Inbox:
    """All that the running command has told us, and what of it could not be read."""

    def __init__(self, trial: Trial, folder: Path) -> None:
        self._trial = trial
        self._kept = trial.metrics_file
        self._kept_start = _size(self._kept)
        self._is_new = _size(folder / REPORTED) == 0
        self._reports = Tail(folder / REPORTED)
        self._stdout = Tail(folder / "stdout", having=b"RESULT:")
        self._unread: list[bytes] = []
        self._count = 0
        """steps that were reported"""
        self._others = False
        """whether one of them held more than numbers"""
        self.printed = Printed()
        self.final: dict[str, float] = {}
        self.wrong: dict[str, object] = {}

    def read(self, *, to_end: bool = False) -> None:
        for text in self._reports.read(to_end=to_end):
            line = parse_metrics(text)
            if line is None:
                self._unread += [text] if text.strip() else []
            elif line.step is None:
                self.final, self.wrong = line.metrics, line.others
            else:
                self._others = self._others or bool(line.others)
                self._count += 1
                self._trial.report(line.step, line.metrics)
        for text in self._stdout.read(to_end=to_end):
            self.printed.take(text)

    def is_repeated(self, outcome: Outcome | GivenBack) -> bool:
        """Whether all that stands in the command's metrics file stands in ours and in the result, too."""
        has_more = self._unread or self._reports.dropped or self._others or self.wrong
        is_in_result = isinstance(outcome, Complete) or not self.final
        if not self._is_new or has_more or not is_in_result or self._trial.world_size > 1:
            return False
        if self._count == 0:
            return bool(self.final)
        try:
            with self._kept.open("rb") as file:
                file.seek(self._kept_start)
                return sum(1 for _ in file) >= self._count  # fewer: the disk was full
        except OSError:
            return False

    def mention_unread(self, stderr: Path) -> None:
        """Say once, where the user looks first, that lines of the metrics file were left out."""
        count = len(self._unread) + self._reports.dropped
        if not count:
            return
        first = f", the first: {self._unread[0][:200].decode(errors='replace')!r}" if self._unread else ""
        lines = "1 line" if count == 1 else f"{count} lines"
        with contextlib.suppress(OSError), stderr.open("a", encoding="utf-8") as file:
            file.write(f"hpo-batch: {lines} of the metrics file could not be read{first}\n")


class _Stop:
    """The escalation: stop file and SIGUSR2, SIGTERM after a grace, SIGKILL after another."""

    def __init__(
        self, objective: CommandObjective, *, deadline: float | None, process: processes.Process, folder: Path
    ) -> None:
        self._objective = objective
        self._grace_s = objective.grace_s
        self._kill_s = objective.kill_s
        self._deadline = deadline
        self._process = process
        self._folder = folder
        self._since = 0.0
        self.why: Stopping | None = None
        self.sent: list[int] = []

    def begin(self, why: Stopping, *, by_slurm: bool) -> None:
        """Say so; ``by_slurm``: the first signal has come to all processes already."""
        self.why = why
        self._since = time.monotonic()
        self._hurry(why)
        log.info("telling the command to stop (%s): '%s'", why, self._folder / STOP)
        try:
            write_atomic(self._folder / STOP, f"{why}\n", sync=False)
        except OSError as error:  # a full disk: the signals still reach it
            log.warning("cannot write the stop file '%s': %s", self._folder / STOP, error)
        if not by_slurm:
            self._send(signal.SIGUSR2)

    def _hurry(self, why: Stopping) -> None:
        """Both graces shorter, if SLURM would kill the command, and us, before they are over."""
        left_s = float("inf")
        if why in SIGNALLED:
            left_s = self._objective.preempted_s
        # one that is over was not the last word: SLURM has moved the limit
        if self._deadline is not None and self._deadline > time.time():
            left_s = min(left_s, max(1.0, self._deadline - time.time()))
        share = min(1.0, left_s * 2 / 3 / (self._grace_s + self._kill_s))
        self._grace_s, self._kill_s = share * self._grace_s, share * self._kill_s

    def go_on(self) -> None:
        """The next signal, if its time has come."""
        if self.why is None:
            return
        waited_s = time.monotonic() - self._since
        if waited_s >= self._grace_s and signal.SIGTERM not in self.sent:
            self._send(signal.SIGTERM)
        elif waited_s >= self._grace_s + self._kill_s and signal.SIGKILL not in self.sent:
            self._send(signal.SIGKILL)

    def is_waiting_for_others(self, code: int) -> bool:
        """Whether processes behind a dead one may still be saving a checkpoint.

        In ``bash train.sh``, SIGUSR2 kills the shell at once, while the training it started handles the signal.
        """
        died_of_it = self.why is not None and -code in STOP_SIGNALS and signal.SIGKILL not in self.sent
        return died_of_it and bool(_family(self._folder))

    def _send(self, number: int) -> None:
        self.sent.append(number)
        processes.signal_group(self._process, number)
        if number != signal.SIGUSR2:
            _signal_family(self._folder, number)


def _end_all(process: processes.Process, folder: Path) -> None:
    """Kill what is left of the command: its group, and descendants that have left the group."""
    processes.signal_group(process, signal.SIGKILL)
    for _ in range(10):  # a process that forks while we look leaves another one
        if not _signal_family(folder, signal.SIGKILL):
            break
        time.sleep(0.01)
    processes.wait(process, timeout_s=30)


def _family(folder: Path) -> tuple[int, ...]:
    return processes.with_environment(TRIAL_DIR, str(folder))


def _signal_family(folder: Path, number: int) -> bool:
    """Whether there was anybody to signal."""
    pids = _family(folder)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return bool(pids)


def _why_slurm_stopped(code: int, trial: Trial) -> Stopping | None:
    """Why the trial stops, if the command died of a signal of SLURM's before our worker could pass it on."""
    if not is_signal(code, STOP_SIGNALS):
        return None
    end = time.monotonic() + RACE_S
    while trial.stopping is None and time.monotonic() < end:
        time.sleep(0.05)
    return trial.stopping


def _facts(trial: Trial, folder: Path) -> dict[str, str]:
    return {"trial_dir": str(folder), "trial_seed": str(trial.seed), "trial_number": str(trial.number)}


def _as_it_ended(argv: list[str], code: int, asked: Stopping | None, *, seconds: float) -> CommandEnd:
    return CommandEnd(
        argv=tuple(argv),
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        stopped=None if asked is None else asked.value,
        seconds=round(seconds, 3),
    )


def _remove_unused(folder: Path, *, is_stopped: bool) -> None:
    """What counts against a quota and tells nothing. No process of the command is left that could write into it."""
    for stream in STREAMS:
        unlink_if_empty(folder / stream)
    if is_stopped:
        with contextlib.suppress(OSError):
            (folder / STOP).unlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _last_bytes(path: Path, start: int) -> str:
    """The end of a file, nothing before ``start`` included."""
    with path.open("rb") as file:
        file.seek(max(start, _size(path) - _STDERR_BYTES))
        return file.read().decode(errors="replace")
