"""Run an objective that is a command, by the contract that its authors read in the docs.

It learns of its trial from placeholders and ``HPO_BATCH_*`` variables, writes one JSON line per step into the metrics
file, and is told to stop by a file, then by SIGUSR2 and SIGTERM if it has handlers for them. Exit code 0 with a result
is done, 75 is "continue me later". When ``run`` ends in whatever way, no process of the command is left.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hpo_batch import processes
from hpo_batch.errors import CommandMissing, UserError
from hpo_batch.files import append_text, unlink_if_empty, write_atomic
from hpo_batch.masking import masked_words
from hpo_batch.objective.memory import oom_kills
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.outcome import RACE_S, SIGNALLED, STOP_SIGNALS, Ended, is_signal, of_exit
from hpo_batch.objective.placeholders import Template
from hpo_batch.objective.tail import RESULT, Printed, Tail, parse_metrics
from hpo_batch.objective.trial import Trial
from hpo_batch.records import CommandEnd, Complete, Failed, GivenBack, Outcome, Reason, Stopping, Value
from hpo_batch.store.checkpoints import fingerprint
from hpo_batch.store.trial_folder import STOP, STREAMS

log = logging.getLogger(__name__)

VARIABLES: Final = {
    "HPO_BATCH_TRIAL": "trial_number",
    "HPO_BATCH_ATTEMPT": "trial_attempt",
    "HPO_BATCH_SEED": "trial_seed",
    "HPO_BATCH_TRIAL_DIR": "trial_dir",
    "HPO_BATCH_CHECKPOINT_DIR": "checkpoint_dir",
    "HPO_BATCH_METRICS_FILE": "metrics_file",
    "HPO_BATCH_STOP_FILE": "stop_file",
    "HPO_BATCH_PARAMS": "params_json",
    "HPO_BATCH_DEADLINE": "",
}
"""what tells a command of its trial: an environment variable, and the placeholder that says the same, if any"""
REPORTED: Final = "reported.jsonl"
"""the metrics file of a command; ``metrics.jsonl`` beside it is ours, and has what could be read of it. If that is all
of it, the command's own is removed"""
TRIAL_DIR: Final = "HPO_BATCH_TRIAL_DIR"
"""also the mark by which all processes of an attempt are found"""

LOOK_EVERY_S: Final = 0.3
"""at a checkpoint that is being written when the command is to be ended"""
SETTLED_S: Final = 0.25
"""a checkpoint of which no file is open and that has not changed for so long is whole"""
KEPT_OPEN_S: Final = 10.0
"""a file among the checkpoints that is open and has not changed for so long is a log"""
LEFT_BEHIND_S: Final = 10.0
"""to finish a checkpoint, for what a command left running when it ended, and for one that we have to give up"""

_STDERR_BYTES: Final = 16 << 10
_SCRIPT_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class CommandObjective:
    """``[objective] command``."""

    template: Template
    wanted: Wanted
    cwd: Path | None = None
    env: Mapping[str, str]
    grace_s: float = 30.0
    """from the stop file to the first signal: to come to the end of a step and look at the file"""
    save_s: float = 20.0
    """from SIGUSR2 to SIGTERM, if it has a handler: to save a checkpoint"""
    kill_s: float = 10.0
    """from SIGTERM to SIGKILL, if it has a handler"""
    write_s: float = 60.0
    """how much longer a command may take that is writing its checkpoint when a signal is due"""
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
            argv = self.template.fill(trial.params, _facts(trial, folder, checkpoint))
            killed_before = oom_kills()
            process = self._start(argv, trial, folder, checkpoint)
        except (UserError, CommandMissing, ValueError) as error:
            return Failed(reason=Reason.INVALID, message=str(error))
        except OSError as error:
            return Failed(reason=Reason.INVALID, message=f"the command could not be started: {error}")
        started = time.time()
        running = _Running(process=process, folder=folder, checkpoint=checkpoint)
        stop = _Stop(self, deadline=trial.deadline, running=running)
        try:
            code = self._watch(process, trial, inbox, stop)
        finally:
            running.end()
        asked = stop.why
        inbox.read(to_end=True, is_whole=code == 0)
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
            almost=inbox.printed.almost,
            odd=inbox.odd,
            torn=inbox.torn,
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
        if self.cwd is not None:
            with contextlib.suppress(PermissionError):  # the start tells of it
                if not self.cwd.is_dir():
                    raise UserError(f"the working directory '{self.cwd}' of [objective] does not exist")
        return processes.start(
            argv,
            stdout=folder / "stdout",
            stderr=folder / "stderr",
            env=self._environment(trial, folder, checkpoint),
            cwd=self.cwd,
            ignored=self._ignored(argv),
        )

    def _ignored(self, argv: Sequence[str]) -> tuple[int, ...]:
        """SIGUSR2 in SLURM, which sends it to all processes of a step to warn of the limit, and its default is death.

        A shell cannot trap a signal that was ignored when it started (POSIX), so a command that speaks of it gets it.
        """
        if "SLURM_JOB_ID" not in os.environ or any(_speaks_of(word, "USR2", self.cwd) for word in argv):
            return ()
        return (signal.SIGUSR2,)

    def _environment(self, trial: Trial, folder: Path, checkpoint: Path) -> dict[str, str]:
        told = contract(_facts(trial, folder, checkpoint), trial.params)
        if trial.deadline is not None:
            told["HPO_BATCH_DEADLINE"] = repr(trial.deadline)
        # Unbuffered, so that `logs -f` shows a running trial and a killed one loses no last words. Overlap: the srun
        # that started us holds all that the job has, and one in the command would wait for it until the walltime ends.
        defaults = {"OMP_NUM_THREADS": str(trial.cpus), "PYTHONUNBUFFERED": "1", "SLURM_OVERLAP": "1"}
        inherited = {name: value for name, value in os.environ.items() if name != "HPO_BATCH_DEADLINE"}
        return {**defaults, **inherited, **self.env, **told}

    def _watch(self, process: processes.Process, trial: Trial, inbox: _Inbox, stop: _Stop) -> int:
        """Pass reports on and stop the command when the trial says so, until it has ended."""
        while True:
            code = processes.wait(process, self.poll_s)
            inbox.read()
            if stop.why is None:
                why = trial.stopping if code is None else _why_slurm_stopped(code, trial)
                if why is not None:
                    stop.begin(why)
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
        # both streams: Python's logging writes to stderr, Hydra's to stdout
        self._streams = [Tail(folder / stream, having=RESULT) for stream in STREAMS]
        self._unread: list[bytes] = []
        self._count = 0
        """steps that were reported"""
        self._others = False
        """whether one of them held more than numbers"""
        self.printed = Printed()
        self.final: dict[str, float] = {}
        self._finals = 0
        """lines without a step: the last one is the result, and those before it stand nowhere else"""
        self.wrong: dict[str, object] = {}
        self.odd: dict[str, object] = {}
        """what steps held beside numbers: null, where nothing was measured"""
        self.torn = ""
        """the last line of the metrics file, if it could not be read"""

    def read(self, *, to_end: bool = False, is_whole: bool = True) -> None:
        """What has come since; with ``to_end`` all of it.

        Args:
            is_whole: whether a last line without its newline counts: one of a command that was killed may be torn.
        """
        for text in self._reports.read(to_end=to_end):
            line = parse_metrics(text)
            if not text.strip():
                continue
            self.torn = "" if line is not None else text[:200].decode(errors="replace")
            if line is None:
                self._unread.append(text)
            elif line.step is None:
                self._finals += 1
                self.final, self.wrong = line.metrics, line.others
            else:
                self.odd = {**self.odd, **line.others}
                self._others = self._others or bool(line.others)
                self._count += 1
                self._trial.report(line.step, line.metrics)
        for stream in self._streams:
            for text in stream.read(to_end=to_end, unended=is_whole):
                self.printed.take(text)
        if any(stream.dropped_having for stream in self._streams):
            self.printed.unread = "(a line of more than a megabyte with RESULT in it)"

    def is_repeated(self, outcome: Outcome | GivenBack) -> bool:
        """Whether all that stands in the command's metrics file stands in ours and in the result, too."""
        has_more = self._unread or self._reports.dropped or self._others or self.wrong or self._finals > 1
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
        with contextlib.suppress(OSError):
            append_text(stderr, f"hpo-batch: {lines} of the metrics file could not be read{first}\n")


@dataclass(frozen=True, kw_only=True)
class _Running:
    """The processes of a command: what it has started too, wherever that has gone."""

    process: processes.Process
    folder: Path
    checkpoint: Path

    def family(self) -> set[int]:
        return processes.family(self.process.pid, TRIAL_DIR, str(self.folder)) - {os.getpid()}

    def _has_left(self) -> bool:
        """Whether a command that has ended left anybody: the cheap half of ``family``, since it is asked each time."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return bool(processes.with_environment(TRIAL_DIR, str(self.folder)))
        except PermissionError:
            pass
        return True

    def writes(self, pids: Iterable[int]) -> set[str]:
        """What they have open for writing, their output and reports left out."""
        ours = {str((self.folder / name).resolve()) for name in (*STREAMS, REPORTED)}
        return {path for pid in pids for path in processes.written_by(pid)} - ours

    def end(self) -> None:
        """Kill what is left: of a command that has ended, what it left behind; of one that we give up, all."""
        is_over = processes.wait(self.process, 0.0) is not None
        if is_over and not self._has_left():
            return
        writing = _Writing(self, None)
        end = time.monotonic() + LEFT_BEHIND_S
        while time.monotonic() < end and not processes.kill_unless(self.family, writing.is_under_way):
            time.sleep(LOOK_EVERY_S)
        processes.kill(self.family)
        processes.signal_group(self.process, signal.SIGKILL)
        processes.wait(self.process, timeout_s=30)


class _Writing:
    """Whether a checkpoint is being written: a file is open, or something has changed since the last look.

    Some checkpoints are several files, and between two of them none is open.
    """

    def __init__(self, running: _Running, known: set[str] | None) -> None:
        """``known``: files elsewhere that are open all the time, such as logs; None: none elsewhere counts."""
        self._running = running
        self._known = known
        self._open: dict[str, tuple[int, int]] = {}
        self._changed: dict[str, float] = {}
        self._seen = fingerprint(running.checkpoint)
        self._looked = time.monotonic()

    def is_under_way(self, pids: Iterable[int], *, settled: bool = True) -> bool:
        """``settled``: it has to lie still for a while. Who saves all the time gives no such while."""
        now = time.monotonic()
        is_open = [self._is_written(path, now) for path in self._running.writes(pids)]
        seen, before = fingerprint(self._running.checkpoint), self._seen
        is_old = now - self._looked > SETTLED_S
        if seen != before or is_old:
            self._seen, self._looked = seen, now
        return any(is_open) or (settled and (seen != before or not is_old))

    def _is_written(self, path: str, now: float) -> bool:
        """Whether an open file is more than one that is merely kept open."""
        is_checkpoint = path.startswith(f"{self._running.checkpoint.resolve()}{os.sep}")
        if not is_checkpoint and (self._known is None or path in self._known):
            return False
        state = _state(path)
        if self._open.get(path) != state:
            self._open[path], self._changed[path] = state, now
        return now - self._changed[path] < (KEPT_OPEN_S if is_checkpoint else SETTLED_S)


def _state(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return (-1, 0)
    return found.st_size, found.st_mtime_ns


class _Stop:
    """The escalation: stop file; after a grace SIGUSR2 and SIGTERM, to processes that have handlers for them; SIGKILL.

    No signal and no kill comes while a checkpoint is being written, as long as there is time.
    """

    def __init__(self, objective: CommandObjective, *, deadline: float | None, running: _Running) -> None:
        self._objective = objective
        self._deadline = deadline
        self._running = running
        self._due = 0.0
        """the next signal, by the monotonic clock"""
        self._latest = 0.0
        """when it comes whatever is being written"""
        self._hasty = 0.0
        """from when on a moment will do in which no file of a checkpoint is open"""
        self._share = 1.0
        """of the graces, if there is no time for all of them"""
        self._left = [signal.SIGUSR2, signal.SIGTERM, signal.SIGKILL]
        self._writing: _Writing | None = None
        self.why: Stopping | None = None
        self.sent: list[int] = []

    def begin(self, why: Stopping) -> None:
        """Tell the command."""
        self.why = why
        path = self._running.folder / STOP
        log.info("telling the command to stop (%s): '%s'", why, path)
        try:
            write_atomic(path, f"{why}\n", sync=False)
        except OSError as error:  # a full disk: the signals still reach it
            log.warning("cannot write the stop file '%s': %s", path, error)
        self._plan(why)
        self._writing = _Writing(self._running, self._running.writes(self._running.family()))

    def _plan(self, why: Stopping) -> None:
        """All graces shorter, if SLURM would kill the command, and us, before they are over."""
        of = self._objective
        left_s = float("inf")
        if why in SIGNALLED:
            left_s = of.preempted_s
        # one that is over was not the last word: SLURM has moved the limit
        if self._deadline is not None and self._deadline > time.time():
            left_s = min(left_s, max(1.0, self._deadline - time.time()))
        whole_s = of.grace_s + of.save_s + of.kill_s
        self._share = min(1.0, left_s * 2 / 3 / whole_s)
        now = time.monotonic()
        self._due = now + self._share * of.grace_s
        self._latest = now + min(left_s * 5 / 6, whole_s + of.write_s)
        self._hasty = self._due + (self._latest - self._due) / 3

    def go_on(self) -> None:
        """The next signal, if its time has come and somebody listens to it."""
        while self.why is not None and self._left and time.monotonic() >= self._due:
            if not self._signal(self._left[0]):
                break
            self._left.pop(0)

    def is_waiting_for_others(self, code: int) -> bool:
        """Whether processes behind a dead one may still be saving a checkpoint.

        In ``bash train.sh``, SLURM's SIGTERM kills the shell at once, while the training it started handles the signal.
        """
        died_of_it = self.why is not None and -code in STOP_SIGNALS and signal.SIGKILL not in self.sent
        return died_of_it and bool(self._running.family())

    def _is_writing(self, pids: Iterable[int]) -> bool:
        assert self._writing is not None
        return self._writing.is_under_way(pids, settled=time.monotonic() < self._hasty)

    def _signal(self, number: int) -> bool:
        """Whether nothing more is to be done about this signal; False while a checkpoint is being written."""
        family = self._running.family
        is_late = time.monotonic() >= self._latest
        if number == signal.SIGKILL:
            if is_late:
                processes.kill(family)
            elif not processes.kill_unless(family, self._is_writing):
                self._due = time.monotonic() + LOOK_EVERY_S
                return False
            self.sent.append(number)
            return True
        pids = family()
        listening = [pid for pid in pids if processes.catches(pid, number)]
        if not listening:
            return True
        if not is_late and self._is_writing(pids):
            self._due = time.monotonic() + LOOK_EVERY_S
            return False
        processes.send(listening, number)
        self.sent.append(number)
        grace_s = self._objective.save_s if number == signal.SIGUSR2 else self._objective.kill_s
        self._due = time.monotonic() + self._share * grace_s
        return True


def _why_slurm_stopped(code: int, trial: Trial) -> Stopping | None:
    """Why the trial stops, if the command died of a signal of SLURM's before our worker could pass it on."""
    if not is_signal(code, STOP_SIGNALS):
        return None
    end = time.monotonic() + RACE_S
    while trial.stopping is None and time.monotonic() < end:
        time.sleep(0.05)
    return trial.stopping


def _speaks_of(word: str, text: str, cwd: Path | None) -> bool:
    """Whether an argument, or the script that it names, contains a text."""
    if text in word:
        return True
    path = (cwd or Path()) / word
    try:
        if not path.is_file():  # to open a pipe would wait for its other end
            return False
        with path.open("rb") as file:
            return text.encode() in file.read(_SCRIPT_BYTES)
    except (OSError, ValueError):
        return False


def facts_of(*, folder: Path, checkpoint: Path, number: int, attempt: int, seed: int) -> dict[str, str]:
    """The values of ``FACTS``.

    Args:
        folder: of the attempt, or of one of its seeds.
    """
    return {
        "trial_number": str(number),
        "trial_attempt": str(attempt),
        "trial_seed": str(seed),
        "trial_dir": str(folder),
        "checkpoint_dir": str(checkpoint),
        "metrics_file": str(folder / REPORTED),
        "stop_file": str(folder / STOP),
    }


def contract(facts: Mapping[str, str], params: Mapping[str, Value]) -> dict[str, str]:
    """The environment variables that say the same; ``HPO_BATCH_DEADLINE`` left out."""
    told = {variable: facts[name] for variable, name in VARIABLES.items() if name in facts}
    return {**told, "HPO_BATCH_PARAMS": json.dumps(dict(params), ensure_ascii=False)}


def _facts(trial: Trial, folder: Path, checkpoint: Path) -> dict[str, str]:
    return facts_of(folder=folder, checkpoint=checkpoint, number=trial.number, attempt=trial.attempt, seed=trial.seed)


def _as_it_ended(argv: list[str], code: int, asked: Stopping | None, *, seconds: float) -> CommandEnd:
    return CommandEnd(
        argv=masked_words(argv),  # a result may be read by more people than the sweep
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
