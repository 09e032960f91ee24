"""Turns the result of an objective into the outcome of its attempt. Pure functions.

A missing result is a failure: values are never made up or taken from reports. ``study`` decides whether a failure is
retried.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import signal
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from hpo_batch import reported, script
from hpo_batch.errors import Superseded
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.trial import Progress
from hpo_batch.records import Cause, Complete, Failed, GivenBack, Outcome, Pruned, Reason, Stopping
from hpo_batch.reported import as_number
from hpo_batch.text.names import did_you_mean, listed

CONTINUE_LATER: Final = 75
"""exit code of a command that has saved a checkpoint and wants to continue later: EX_TEMPFAIL in sysexits.h"""
STOP_SIGNALS: Final = frozenset({signal.SIGUSR2, signal.SIGTERM})
"""signals that ask a command to stop; SLURM sends them too, to all processes of a step, near the end of a job"""
SIGNALLED: Final = (Stopping.PREEMPTED, Stopping.CANCELLED)
"""reasons that come with a signal, which may have killed child processes of the objective"""
RACE_S: Final = 2.0
"""time for our worker to notice a signal that SLURM sent to all processes of a step"""
log = logging.getLogger(__name__)
# whose frames are no business of the user's: a report passes through them. Texts, as the names of frames are
_HERE: Final = os.path.dirname(__file__) + os.sep  # noqa: PTH120
_OURS: Final = (_HERE, reported.__file__, script.__file__)
# longest message, in characters
_MOST: Final = 400

_GPU_MEMORY = re.compile(
    r"(CUDA|HIP|XPU)( error)?:? out of memory|CUBLAS_STATUS_ALLOC_FAILED|RESOURCE_EXHAUSTED: Out of memory"
)
_HOST_MEMORY = re.compile(
    r"MemoryError|Cannot allocate memory|can't allocate memory|std::bad_alloc|killed by signal: Killed"
)
# printed by launchers such as torchrun when one of their processes was killed
_PART_KILLED = re.compile(r"\bSIGKILL\b|exitcode\s*:\s*-9\b")
# raised in a function when a child process has died, such as a data loader
_CHILD_GONE = re.compile(r"killed by signal: (?!Killed)|exited unexpectedly|terminated abruptly")
_KILLED_FOR_MEMORY = re.compile(rf"oom.?kill|Out of memory|\bKilled\b|{_HOST_MEMORY.pattern}")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended, and its results."""

    code: int
    """as in ``subprocess``: the negative signal number for a process killed by a signal"""
    sent: frozenset[int]
    """signals we sent to stop it"""
    printed: Mapping[str, float]
    """from RESULT lines with names"""
    number: float | None
    """from a RESULT line without a name"""
    final: Mapping[str, float]
    """from a line of the metrics file without a step"""
    wrong: Mapping[str, object]
    """values in that line that are not numbers; these metrics have no value, even if reported before"""
    unread: str
    """a RESULT line that could not be parsed completely"""
    stderr: str
    """the end of its stderr"""
    found: Mapping[str, float] = field(default_factory=dict)
    """the last numbers in its output that have a label"""
    sought: Mapping[str, str] = field(default_factory=dict)
    """the labels of ``[objective] printed``, by metric"""
    almost: str = ""
    """a line that looks similar to a RESULT line"""
    odd: Mapping[str, object] = field(default_factory=dict)
    """values in lines with a step that are not numbers"""
    torn: str = ""
    """the last line of the metrics file, if unreadable: it may have been the result"""
    oom_kills: int = 0
    """out-of-memory kills in our cgroup while the command ran"""


def of_return(returned: object, *, wanted: Wanted, progress: Progress) -> Outcome | GivenBack:
    """The outcome of a function that returned.

    Raises:
        Superseded: another attempt has taken over the trial, and the function returned without a result.
    """
    if returned is None:
        if progress.stopping is not None:
            return of_stop(progress, wanted=wanted)
        message = f"the function returned None; return {_quoted(wanted.names)} as {_form(wanted)}"
        return _failed(Reason.NO_RESULT, message, progress, wanted)
    if not isinstance(returned, Mapping):
        try:
            number = as_number(returned)
        except TypeError as error:
            message = f"the function returned {error}; return a number or a dict of numbers"
            return _failed(Reason.INVALID, message, progress, wanted)
        if wanted.single is None:
            return _failed(Reason.INVALID, f"the function returned a number; {_needs_names(wanted)}", progress, wanted)
        return _complete({**progress.metrics, wanted.single: number}, wanted=wanted)
    metrics: dict[str, float] = {}
    for name, value in returned.items():
        if not isinstance(name, str):
            message = f"the function returned a dict with the key {name!r}; names of metrics must be strings"
            return _failed(Reason.INVALID, message, progress, wanted)
        try:
            metrics[name] = as_number(value)
        except TypeError as error:
            message = f"the function returned a dict whose '{name}' is {error}; metrics are numbers"
            return _failed(Reason.INVALID, message, progress, wanted)
    complete = wanted.complete(metrics)
    missing = [name for name in wanted.names if name not in complete]
    if missing:
        message = _missing(missing[0], complete, wanted, came="returned")
        # reports are never used as the result: the last one may be from another epoch than the best
        if missing[0] in progress.metrics:
            message += "; it was reported, but only returned values count: return it as well"
        return _failed(Reason.NO_RESULT, message, progress, wanted, metrics=complete)
    return _complete(complete, wanted=wanted)


def of_exception(error: BaseException, *, wanted: Wanted, progress: Progress) -> Outcome | GivenBack:
    """The outcome of a function that raised an exception. ``sys.exit()`` with success counts as returning None."""
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return of_return(None, wanted=wanted, progress=progress)
    if type(error).__name__ == "TrialPruned" and progress.stopping is not None:
        return of_stop(progress, wanted=wanted)  # optuna.TrialPruned, raised by functions written for Optuna
    stopping = progress.stopping
    if stopping in SIGNALLED or (stopping is Stopping.TIME_LIMIT and was_hit(error)):
        # SLURM and terminals signal all processes: an error because child processes died is not the trial's failure
        return of_stop(progress, wanted=wanted)
    text = _text_of(error)
    if isinstance(error, SystemExit):
        reason, message = Reason.EXIT_CODE, f"the function called sys.exit({error.code!r})"
    else:
        reason, message = reason_of(error), f"{type(error).__name__}: {text}" if text else type(error).__name__
    return Failed(
        reason=reason,
        message=_one_line(message),
        traceback=format_traceback(error),
        metrics=wanted.complete(progress.metrics),
    )


def was_hit(error: BaseException) -> bool:
    """Whether an exception may be caused by a signal that killed a child process."""
    return any(_CHILD_GONE.search(f"{type(cause).__name__}: {_text_of(cause)}") for cause in _causes(error))


def of_stop(progress: Progress, *, wanted: Wanted) -> Pruned | Failed | GivenBack:
    """The outcome of an attempt that ended without a result because it was asked to stop.

    Raises:
        Superseded: another attempt has taken over the trial.
    """
    match progress.stopping:
        case Stopping.PRUNED:
            return Pruned(step=progress.step or 0, metrics=wanted.complete(progress.metrics))
        case Stopping.TIME_LIMIT:
            return GivenBack(cause=Cause.TIME_LIMIT)
        case Stopping.PREEMPTED:
            return GivenBack(cause=Cause.PREEMPTED)
        case Stopping.CANCELLED:
            return GivenBack(cause=Cause.CANCELLED)
        case Stopping.DRAINED:
            return GivenBack(cause=Cause.DRAINED)
        case Stopping.STALLED:
            return stalled(progress, wanted=wanted)
        case Stopping.SUPERSEDED:
            raise Superseded("another attempt has taken over the trial; this one has stopped")
        case None:
            raise AssertionError("of_stop needs a reason to stop")


def stalled(progress: Progress, *, wanted: Wanted, traceback: str = "", where: str = "") -> Failed:
    """The outcome of an attempt without progress; ``traceback`` and ``where`` say what it was doing."""
    since = "" if progress.step is None else f" after step {progress.step}"
    message = f"no report{since} and no change of the checkpoint within failures.stall"
    if where:
        message += f"; it was in {where}"
    metrics = wanted.complete(progress.metrics)
    return Failed(reason=Reason.STALLED, message=_one_line(message), traceback=traceback, metrics=metrics)


def of_exit(ended: Ended, *, wanted: Wanted, progress: Progress) -> Outcome | GivenBack:
    """The outcome of a command. ``progress.stopping`` is why it was asked to stop, or None.

    Raises:
        Superseded: another attempt has taken over the trial, and the command ended without a result.
    """
    was_stopped = progress.stopping is not None
    # a request of the command, even if it was not asked to stop
    if ended.code == CONTINUE_LATER:
        return of_stop(progress, wanted=wanted) if was_stopped else GivenBack(cause=Cause.CHECKPOINTED)
    # a stalled command may crash when it is asked to stop
    is_stalled = progress.stopping is Stopping.STALLED
    if ended.code != 0 and not is_stalled and not (was_stopped and _is_our_doing(ended, progress.stopping)):
        return _of_crash(ended, wanted=wanted, progress=progress)
    bare = {} if ended.number is None or wanted.single is None else {wanted.single: ended.number}
    final = {**bare, **ended.printed, **ended.final}
    if was_stopped and (ended.unread or not all(name in wanted.complete(final) for name in wanted.names)):
        return of_stop(progress, wanted=wanted)
    complete = wanted.complete({**ended.found, **progress.metrics, **final})
    missing = [name for name in wanted.names if name not in complete]
    lack = f"{_missing(missing[0], complete, wanted, came='reported')}; " if missing and complete else ""
    if ended.unread:
        form = f"a result is 'RESULT: name=value' or 'RESULT: value'; print {_result_line(wanted)}"
        message = f"{lack}cannot read the line {ended.unread!r}: {form}"
        return _failed(Reason.NO_RESULT, message, progress, wanted, metrics=complete)
    if ended.torn and not all(name in wanted.complete(final) for name in wanted.names):
        message = f"cannot read the last line of the metrics file, {ended.torn!r}"
        return _failed(Reason.NO_RESULT, message, progress, wanted, metrics=complete)
    refused = {**(ended.odd if missing else {}), **ended.wrong}
    for name in wanted.names:
        if name in refused and (name in missing or (name in ended.wrong and name not in final)):
            message = f"the metrics file gives '{name}' as {_one_line(repr(refused[name]))}; metrics are numbers"
            return _failed(Reason.INVALID, message, progress, wanted, metrics=complete)
    if not missing:
        return _complete(complete, wanted=wanted)
    if ended.number is not None and wanted.single is None:
        message = f"'RESULT: {ended.number:g}' has no name; {_needs_names(wanted)}"
        return _failed(Reason.INVALID, message, progress, wanted, metrics=complete)
    message = lack.removesuffix("; ") or f"no result: {_ways(wanted)}"
    unseen = [name for name in missing if name in ended.sought]
    if unseen:
        message = f"no result: it printed no line with {ended.sought[unseen[0]]!r} ([objective] printed)"
    if ended.almost:
        message += f"; the line {ended.almost!r} is not one"
    return _failed(Reason.NO_RESULT, message, progress, wanted, metrics=complete)


def is_signal(code: int, signals: frozenset[int]) -> bool:
    """Whether an exit code means "killed by one of these signals", as in ``subprocess`` (-N) or in a shell (128 +
    N)."""
    return -code in signals or code - 128 in signals


def format_traceback(error: BaseException) -> str:
    """The traceback as printed by Python, without frames of this package."""
    try:
        shown = traceback.TracebackException.from_exception(error)
        shown.stack[:] = [frame for frame in shown.stack if not frame.filename.startswith(_OURS)]
        return "".join(shown.format())
    except Exception:
        # the exception's own __str__ or __repr__ may raise
        return f"{type(error).__name__} (it could not be formatted)\n"


def _complete(complete: Mapping[str, float], *, wanted: Wanted) -> Complete | Failed:
    """Complete, unless a required value is missing or not finite."""
    complete = wanted.complete(complete)
    for name in wanted.computed.keys() - complete.keys():
        log.warning("the trial has no '%s': %s", name, wanted.why_missing(name, complete))
    for name in wanted.names:
        if name not in complete:
            return Failed(reason=Reason.NO_RESULT, message=wanted.why_missing(name, complete), metrics=complete)
        if not math.isfinite(complete[name]):
            message = f"'{name}' is {complete[name]}"
            return Failed(reason=Reason.NAN, message=message, metrics=complete)
    return Complete(values=tuple(complete[name] for name in wanted.names), metrics=complete)


def _failed(
    reason: Reason,
    message: str,
    progress: Progress,
    wanted: Wanted,
    *,
    metrics: Mapping[str, float] | None = None,
) -> Failed:
    """A failure with the last metrics: those of the result take precedence over those reported."""
    last = wanted.complete({**progress.metrics, **(metrics or {})})
    return Failed(reason=reason, message=_one_line(message), metrics=last)


def _of_crash(ended: Ended, *, wanted: Wanted, progress: Progress) -> Failed:
    from hpo_batch.objective.crash_text import last_traceback, last_words, signal_name  # no worker starts with it

    last = last_words(ended.stderr)
    was_killed = is_signal(ended.code, frozenset({signal.SIGKILL}))
    by_kernel = ended.oom_kills > 0 and (was_killed or _PART_KILLED.search(ended.stderr) is not None)
    # after a SIGKILL anywhere in stderr, else only the last line: earlier ones may be about errors that were handled
    by_message = (_KILLED_FOR_MEMORY if was_killed else _HOST_MEMORY).search(ended.stderr if was_killed else last)
    if _GPU_MEMORY.search(ended.stderr):
        reason = Reason.OOM_GPU
    elif by_kernel or by_message:
        reason = Reason.OOM_HOST
    else:
        reason = Reason.EXIT_CODE
    what = f"killed by {signal_name(-ended.code)}" if ended.code < 0 else f"exit code {ended.code}"
    if was_killed and reason is Reason.EXIT_CODE:
        what += "; out of memory? 'sacct -j JOB -o MaxRSS,State' shows it"
    elif reason is Reason.OOM_HOST and by_kernel:
        what += " out of memory: raise job.mem_gb"
    return Failed(
        reason=reason,
        message=_one_line(f"{what}: {last}" if last else f"{what}, with nothing on stderr"),
        traceback=last_traceback(ended.stderr),
        metrics=wanted.complete({**progress.metrics, **ended.printed, **ended.final}),
    )


def _is_our_doing(ended: Ended, stopping: Stopping | None) -> bool:
    """Whether the command ended because of a stop signal. After SIGTERM, any exit code counts: frameworks have
    theirs."""
    has_sigterm = signal.SIGTERM in ended.sent or stopping is Stopping.PREEMPTED
    return has_sigterm or is_signal(ended.code, STOP_SIGNALS | ended.sent)


def reason_of(error: BaseException) -> Reason:
    """Why an exception failed its trial."""
    for cause in _causes(error):
        text = _text_of(cause)
        is_gpu = any(kind.__name__ == "OutOfMemoryError" for kind in type(cause).__mro__)
        if is_gpu or (isinstance(cause, RuntimeError) and _GPU_MEMORY.search(text)):
            return Reason.OOM_GPU
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM):
            return Reason.OOM_HOST
        if isinstance(cause, RuntimeError) and _HOST_MEMORY.search(text):
            return Reason.OOM_HOST
    return Reason.EXCEPTION


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes; stops at a cycle, which user code may create."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and all(current is not known for known in seen):
        seen.append(current)
        yield current
        # only explicit causes (`raise from`), unlike tracebacks, which also show __context__
        current = current.__cause__


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its text could not be formatted)"


def _missing(name: str, metrics: Mapping[str, float], wanted: Wanted, *, came: str) -> str:
    if name in wanted.computed:
        return wanted.why_missing(name, metrics)
    others = f"; {came}: {_quoted(metrics)}" if metrics else ""
    return f"'{name}' was not {came}{others}{did_you_mean(name, metrics)}"


def _needs_names(wanted: Wanted) -> str:
    if wanted.names[0] in wanted.computed and len(wanted.names) == 1:
        inputs = _quoted(sorted(wanted.computed[wanted.names[0]].names))
        return f"'{wanted.names[0]}' is computed from {inputs}: give these by name"
    return f"the study has several metrics: give {_quoted(wanted.names)} by name"


def _result_line(wanted: Wanted) -> str:
    """``RESULT: val_acc=... loss=...``, with the metrics that are not computed."""
    return "RESULT: " + " ".join(f"{name}=..." for name in _inputs(wanted))


def _ways(wanted: Wanted) -> str:
    """How a command can give its result."""
    names = _inputs(wanted)
    given = ", ".join(f"{name}=..." for name in names)
    if not all(name.isidentifier() for name in names):
        given = "metrics={" + ", ".join(f'"{name}": ...' for name in names) + "}"
    return f"call hpo_batch.report({given}), or print a line '{_result_line(wanted)}'"


def _inputs(wanted: Wanted) -> list[str]:
    """The names of the metrics that a command has to give: all that are not computed, and what those are made of."""
    names = [name for name in wanted.names if name not in wanted.computed]
    for name in wanted.names:
        if name in wanted.computed:
            names += sorted(wanted.computed[name].names - wanted.computed.keys())
    return list(dict.fromkeys(names))


def _form(wanted: Wanted) -> str:
    return "a number or a dict" if wanted.single is not None else "a dict"


def _quoted(names: Iterable[str]) -> str:
    return listed((f"'{name}'" for name in names), most=12)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST else f"{line[: _MOST - 3]}..."
