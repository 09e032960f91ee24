"""Runs an objective that is a command, as documented in docs/objective.md.

The command gets its trial through placeholders and ``HPO_BATCH_*`` variables and writes one JSON line per step to the
metrics file. To stop it, a file is created, followed by SIGUSR2 and SIGTERM if it handles them. Exit code 0 with a
result means complete, 75 means "continue later". When ``run`` returns or raises, no process of the command is left.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from hpo_batch import processes
from hpo_batch.envvars import EnvVar
from hpo_batch.errors import CommandMissing, UserError
from hpo_batch.files import unlink_if_empty
from hpo_batch.objective.command_processes import CommandProcesses
from hpo_batch.objective.inbox import Inbox
from hpo_batch.objective.labels import Label
from hpo_batch.objective.memory import oom_kills
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.outcome import RACE_S, STOP_SIGNALS, Ended, is_signal, of_exit
from hpo_batch.objective.placeholders import Template
from hpo_batch.objective.stop import Graces, StopEscalation
from hpo_batch.objective.tail import size_of
from hpo_batch.objective.trial import Trial
from hpo_batch.objective.variables import REPORTED, environment, placeholder_values
from hpo_batch.records import CommandEnd, Failed, GivenBack, Outcome, Reason, Stopping
from hpo_batch.store.attempt_folder import STOP, STREAMS
from hpo_batch.text.secrets import masked_words

log = logging.getLogger(__name__)

_STDERR_BYTES: Final = 16 << 10
_SCRIPT_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class CommandObjective:
    """``[objective] command``."""

    template: Template
    wanted: Wanted
    cwd: Path | None = None
    env: Mapping[str, str]
    labels: Mapping[str, Label] = field(default_factory=dict)
    """of the numbers to look for in its output, by metric"""
    graces: Graces = field(default_factory=Graces)
    poll_s: float = 0.2
    """seconds between two checks of the running command"""

    def run(self, trial: Trial) -> Outcome | GivenBack:
        """Run the command and wait for it to end.

        Raises:
            StorageError: the attempt's folder cannot be written, or a report cannot be stored.
            Superseded: another attempt has taken over the trial.
        """
        folder = trial.dir.absolute()
        checkpoint = trial.checkpoint.absolute()  # creates the folder, whose name is passed to the command
        facts = _facts(trial, folder, checkpoint)
        try:
            with contextlib.suppress(FileNotFoundError):
                (folder / STOP).unlink()
            stderr_start = size_of(folder / "stderr")
            inbox = Inbox(trial, folder, self.labels)
            argv = self.template.fill(trial.params, facts)
            oom_kills_before = oom_kills()
            process = self._start(argv, trial, facts)
        except (UserError, CommandMissing, ValueError) as error:
            return Failed(reason=Reason.INVALID, message=str(error))
        except OSError as error:
            return Failed(reason=Reason.INVALID, message=f"the command could not be started: {error}")
        started = time.time()
        command = CommandProcesses(process=process, folder=folder, checkpoint=checkpoint)
        stop = StopEscalation(self.graces, deadline=trial.deadline, command=command)
        try:
            code = self._watch(process, trial, inbox, stop)
        finally:
            command.end()
        inbox.read(to_end=True, is_whole=code == 0)
        # if only the last reports led to pruning, it came too late: the command has finished
        reason = stop.reason or (None if trial.stopping is Stopping.PRUNED else trial.stopping)
        stderr = _last_bytes(folder / "stderr", stderr_start)
        inbox.mention_unread(folder / "stderr")
        killed = 0 if oom_kills_before is None else (oom_kills() or oom_kills_before) - oom_kills_before
        sought = {name: label.text for name, label in self.labels.items()}
        ended = _ended(code, stop, inbox, stderr=stderr, oom_kills=killed, sought=sought)
        try:
            outcome = of_exit(ended, wanted=self.wanted, progress=replace(trial.progress, stopping=reason))
        finally:
            _remove_unused(folder, is_stopped=reason is not None)
        if inbox.is_copied(outcome):
            with contextlib.suppress(OSError):
                (folder / REPORTED).unlink()
        return replace(outcome, command=_command_end(argv, code, reason, seconds=time.time() - started))

    def _start(self, argv: list[str], trial: Trial, facts: Mapping[str, str]) -> processes.Process:
        if self.cwd is not None:
            with contextlib.suppress(PermissionError):  # starting the command reports it
                if not self.cwd.is_dir():
                    raise UserError(f"the working directory '{self.cwd}' of [objective] does not exist")
        folder = Path(facts["trial_dir"])
        return processes.start(
            argv,
            stdout=folder / "stdout",
            stderr=folder / "stderr",
            env=self._environment(trial, facts),
            cwd=self.cwd,
            ignored=self._ignored_signals(argv),
        )

    def _ignored_signals(self, argv: Sequence[str]) -> tuple[int, ...]:
        """Signals that the command ignores at start: in SLURM, SIGUSR2, which would kill it.

        SLURM sends it to all processes of a step as a warning of the time limit (sbatch --signal). But a shell cannot
        trap a signal that was ignored at its start (POSIX, ``trap``), so a command that mentions it gets it.
        """
        if "SLURM_JOB_ID" not in os.environ or any(_mentions(word, "USR2", self.cwd) for word in argv):
            return ()
        return (signal.SIGUSR2,)

    def _environment(self, trial: Trial, facts: Mapping[str, str]) -> dict[str, str]:
        # PYTHONUNBUFFERED: `logs -f` shows output at once, and a kill loses none. SLURM_OVERLAP: our own srun step
        # holds all resources of the job, so an srun in the command would wait forever
        # (https://slurm.schedmd.com/srun.html, --overlap)
        defaults = {"OMP_NUM_THREADS": str(trial.cpus), "PYTHONUNBUFFERED": "1", "SLURM_OVERLAP": "1"}
        inherited = {name: value for name, value in os.environ.items() if name != EnvVar.DEADLINE}
        return {**defaults, **inherited, **self.env, **environment(facts, trial.params, deadline=trial.deadline)}

    def _watch(self, process: processes.Process, trial: Trial, inbox: Inbox, stop: StopEscalation) -> int:
        """Forward reports and stop the command on request, until it ends. Returns its exit code."""
        while True:
            code = processes.wait(process, self.poll_s)
            inbox.read()
            if stop.reason is None:
                reason = trial.stopping if code is None else _why_slurm_stopped(code, trial)
                if reason is not None:
                    stop.begin(reason)
            stop.advance()
            if code is not None:
                if not stop.is_waiting_for_others(code):
                    return code
                time.sleep(self.poll_s)


def _facts(trial: Trial, folder: Path, checkpoint: Path) -> dict[str, str]:
    return placeholder_values(
        folder=folder, checkpoint=checkpoint, number=trial.number, attempt=trial.attempt, seed=trial.seed
    )


def _ended(
    code: int, stop: StopEscalation, inbox: Inbox, *, stderr: str, oom_kills: int, sought: Mapping[str, str]
) -> Ended:
    return Ended(
        code=code,
        sent=frozenset(stop.sent),
        printed=inbox.printed.metrics,
        number=inbox.printed.number,
        unread=inbox.printed.unread,
        almost=inbox.printed.almost,
        odd=inbox.odd,
        torn=inbox.torn,
        final=inbox.final,
        found=inbox.numbers.metrics,
        sought=sought,
        wrong=inbox.wrong,
        stderr=stderr,
        oom_kills=oom_kills,
    )


def _why_slurm_stopped(code: int, trial: Trial) -> Stopping | None:
    """Why the trial stops, if SLURM's signal killed the command before the worker noticed the signal."""
    if not is_signal(code, STOP_SIGNALS):
        return None
    end = time.monotonic() + RACE_S
    while trial.stopping is None and time.monotonic() < end:
        time.sleep(0.05)
    return trial.stopping


def _mentions(word: str, text: str, cwd: Path | None) -> bool:
    """Whether an argument, or the script it names, contains ``text``."""
    if text in word:
        return True
    path = (cwd or Path()) / word
    try:
        if not path.is_file():  # opening a pipe would block
            return False
        with path.open("rb") as file:
            return text.encode() in file.read(_SCRIPT_BYTES)
    except (OSError, ValueError):
        return False


def _command_end(argv: list[str], code: int, reason: Stopping | None, *, seconds: float) -> CommandEnd:
    return CommandEnd(
        argv=masked_words(argv),  # a result may be read by more people than the sweep
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        stopped=None if reason is None else reason.value,
        seconds=round(seconds, 3),
    )


def _remove_unused(folder: Path, *, is_stopped: bool) -> None:
    """Remove empty output files, which count against quotas. No process is left that could write to them."""
    for stream in STREAMS:
        unlink_if_empty(folder / stream)
    if is_stopped:
        with contextlib.suppress(OSError):
            (folder / STOP).unlink()


def _last_bytes(path: Path, start: int) -> str:
    """The end of a file, after byte ``start``."""
    with path.open("rb") as file:
        file.seek(max(start, size_of(path) - _STDERR_BYTES))
        return file.read().decode(errors="replace")
