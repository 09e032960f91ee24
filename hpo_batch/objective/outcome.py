"""From what an objective returned to the outcome of its attempt. Pure: nothing here runs user code, reads or writes.

A failure stays a failure: no value is invented or taken from where the user did not put it, and reported metrics are
kept with the reason. ``study`` decides what follows from a reason (retry or fail).
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

from hpo_batch.errors import Superseded
from hpo_batch.objective.metrics import Wanted, as_number
from hpo_batch.objective.trial import Progress
from hpo_batch.records import Cause, Complete, Failed, GivenBack, Outcome, Pruned, Reason, Stopping
from hpo_batch.text.names import did_you_mean, listed

CONTINUE_LATER: Final = 75
"""Exit code of a command that has saved a checkpoint and wants to go on later: EX_TEMPFAIL of sysexits.h."""
STOP_SIGNALS: Final = frozenset({signal.SIGUSR2, signal.SIGTERM})
"""the signals that ask a command to stop; SLURM sends them too, to all processes of a step, near the end of a job"""
SIGNALLED: Final = (Stopping.PREEMPTED, Stopping.CANCELLED)
"""reasons that come with a signal, which may have ended processes that the objective had started"""
RACE_S: Final = 2.0
"""how long our worker may take to notice a signal that SLURM sent to all processes of a step"""
log = logging.getLogger(__name__)
_HERE: Final = os.path.dirname(__file__)  # noqa: PTH120  # compared with the names of frames, which are no paths
_MOST: Final = 400
"""characters of a message"""

_GPU_MEMORY = re.compile(
    r"(CUDA|HIP|XPU)( error)?:? out of memory|CUBLAS_STATUS_ALLOC_FAILED|RESOURCE_EXHAUSTED: Out of memory"
)
_HOST_MEMORY = re.compile(
    r"MemoryError|Cannot allocate memory|can't allocate memory|std::bad_alloc|killed by signal: Killed"
)
_PART_KILLED = re.compile(r"\bSIGKILL\b|exitcode\s*:\s*-9\b")
"""what a launcher such as torchrun prints when one of its processes was killed"""
_CHILD_GONE = re.compile(r"killed by signal: (?!Killed)|exited unexpectedly|terminated abruptly")
"""what a function raises when a process that it started is gone, such as a data loader's"""
_KILLED_FOR_MEMORY = re.compile(rf"oom.?kill|Out of memory|\bKilled\b|{_HOST_MEMORY.pattern}")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended, and what it left as its result."""

    code: int
    """as ``subprocess`` has it: minus the signal's number for a process killed by a signal"""
    sent: frozenset[int]
    """the signals that we sent to stop it"""
    printed: Mapping[str, float]
    """from RESULT lines with names"""
    number: float | None
    """from a RESULT line without a name"""
    final: Mapping[str, float]
    """from a line of the metrics file without a step"""
    wrong: Mapping[str, object]
    """what that line held beside numbers: such a metric has no value, whatever was reported before"""
    unread: str
    """a RESULT line that could not be read whole"""
    stderr: str
    """the last of it"""
    almost: str = ""
    """a line that looks almost like a RESULT line"""
    odd: Mapping[str, object] = field(default_factory=dict)
    """what lines with a step held beside numbers"""
    torn: str = ""
    """the last line of the metrics file, if it could not be read: it may have been the result"""
    oom_kills: int = 0
    """processes that the kernel killed for lack of memory, where and while the command ran"""


def of_return(returned: object, *, wanted: Wanted, progress: Progress) -> Outcome | GivenBack:
    """The outcome of a function that returned.

    Raises:
        Superseded: the trial has gone on elsewhere, and the function returned without a result.
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
            message = f"the function returned a dict with the key {name!r}; the names of metrics must be texts"
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
        if missing[0] in progress.metrics:
            message += "; it was reported, but only returned values count: return it as well"
        return _failed(Reason.NO_RESULT, message, progress, wanted, metrics=complete)
    return _complete(complete, wanted=wanted)


def of_exception(error: BaseException, *, wanted: Wanted, progress: Progress) -> Outcome | GivenBack:
    """The outcome of a function that raised; leaving by ``sys.exit()`` with success is returning None."""
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return of_return(None, wanted=wanted, progress=progress)
    if type(error).__name__ == "TrialPruned" and progress.stopping is not None:
        return of_stop(progress, wanted=wanted)  # how a function written for Optuna ends when it was asked to stop
    stopping = progress.stopping
    if stopping in SIGNALLED or (stopping is Stopping.TIME_LIMIT and was_hit(error)):
        # SLURM and terminals signal all processes: what fails because others are gone is not the trial's failure
        return of_stop(progress, wanted=wanted)
    text = _text_of(error)
    if isinstance(error, SystemExit):
        reason, message = Reason.EXIT_CODE, f"the function called sys.exit({error.code!r})"
    else:
        reason, message = _reason_of(error), f"{type(error).__name__}: {text}" if text else type(error).__name__
    return Failed(
        reason=reason,
        message=_one_line(message),
        traceback=format_traceback(error),
        metrics=wanted.complete(progress.metrics),
    )


def was_hit(error: BaseException) -> bool:
    """Whether an exception may be due to a signal that hit a process which the function had started."""
    return any(_CHILD_GONE.search(f"{type(cause).__name__}: {_text_of(cause)}") for cause in _causes(error))


def of_stop(progress: Progress, *, wanted: Wanted) -> Pruned | Failed | GivenBack:
    """The outcome of an attempt that ended without a result because it was asked to stop.

    Raises:
        Superseded: another attempt has taken over, and the result of this one no longer counts.
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
            raise Superseded("the trial has gone on in another attempt; this one has stopped")
        case None:
            raise AssertionError("of_stop needs a reason to stop")


def stalled(progress: Progress, *, wanted: Wanted, traceback: str = "", where: str = "") -> Failed:
    """The outcome of an attempt that showed no progress; ``traceback`` and ``where`` tell what it was at."""
    since = "" if progress.step is None else f" after step {progress.step}"
    message = f"no report{since} and no change of the checkpoint within failures.stall"
    if where:
        message += f"; it was in {where}"
    metrics = wanted.complete(progress.metrics)
    return Failed(reason=Reason.STALLED, message=_one_line(message), traceback=traceback, metrics=metrics)


def of_exit(ended: Ended, *, wanted: Wanted, progress: Progress) -> Outcome | GivenBack:
    """The outcome of a command. ``progress.stopping`` is why it was asked to stop, None if it was not asked.

    Raises:
        Superseded: the trial has gone on elsewhere, and the command ended without a result.
    """
    was_stopped = progress.stopping is not None
    if ended.code == CONTINUE_LATER:
        return of_stop(progress, wanted=wanted) if was_stopped else GivenBack(cause=Cause.CHECKPOINTED)
    # a stalled command may well crash when it is asked to stop
    is_stalled = progress.stopping is Stopping.STALLED
    if ended.code != 0 and not is_stalled and not (was_stopped and _is_our_doing(ended, progress.stopping)):
        return _of_crash(ended, wanted=wanted, progress=progress)
    bare = {} if ended.number is None or wanted.single is None else {wanted.single: ended.number}
    final = {**bare, **ended.printed, **ended.final}
    if was_stopped and (ended.unread or not all(name in wanted.complete(final) for name in wanted.names)):
        return of_stop(progress, wanted=wanted)
    complete = wanted.complete({**progress.metrics, **final})
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
    message = lack.removesuffix("; ") or f"no result: print a line '{_result_line(wanted)}'"
    if ended.almost:
        message += f"; the line {ended.almost!r} is not one"
    return _failed(Reason.NO_RESULT, message, progress, wanted, metrics=complete)


def is_signal(code: int, signals: frozenset[int]) -> bool:
    """Whether an exit code says "killed by one of these": as ``subprocess`` has it, or as a shell passes it on."""
    return -code in signals or code - 128 in signals


def format_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, without the frames of this package."""
    try:
        shown = traceback.TracebackException.from_exception(error)
        shown.stack[:] = [frame for frame in shown.stack if not frame.filename.startswith(f"{_HERE}{os.sep}")]
        return "".join(shown.format())
    except Exception:
        # An exception whose own __str__ or __repr__ raises must not cost us the outcome.
        return f"{type(error).__name__} (it could not be formatted)\n"


def _complete(complete: Mapping[str, float], *, wanted: Wanted) -> Complete | Failed:
    """Complete, unless a wanted value is not finite. ``complete`` has all wanted metrics."""
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
    """A failure that keeps the last metrics: those of the result before those reported."""
    kept = wanted.complete({**progress.metrics, **(metrics or {})})
    return Failed(reason=reason, message=_one_line(message), metrics=kept)


def _of_crash(ended: Ended, *, wanted: Wanted, progress: Progress) -> Failed:
    lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    was_killed = is_signal(ended.code, frozenset({signal.SIGKILL}))
    by_kernel = ended.oom_kills > 0 and (was_killed or _PART_KILLED.search(ended.stderr) is not None)
    said_so = (_KILLED_FOR_MEMORY if was_killed else _HOST_MEMORY).search(ended.stderr if was_killed else last)
    if _GPU_MEMORY.search(ended.stderr):
        reason = Reason.OOM_GPU
    elif by_kernel or said_so:
        reason = Reason.OOM_HOST
    else:
        reason = Reason.EXIT_CODE
    what = f"killed by {_signal_name(-ended.code)}" if ended.code < 0 else f"exit code {ended.code}"
    if was_killed and reason is Reason.EXIT_CODE:
        what += "; out of memory? 'sacct -j JOB -o MaxRSS,State' shows it"
    elif reason is Reason.OOM_HOST and by_kernel:
        what += " out of memory: raise job.mem_gb"
    start = ended.stderr.rfind("Traceback (most recent call last)")
    return Failed(
        reason=reason,
        message=_one_line(f"{what}: {last}" if last else f"{what}, with nothing on stderr"),
        traceback=ended.stderr[start:] if start >= 0 else "",
        metrics=wanted.complete({**progress.metrics, **ended.printed, **ended.final}),
    )


def _is_our_doing(ended: Ended, stopping: Stopping | None) -> bool:
    """Killed by a stop signal. Once a SIGTERM went out, any exit is: frameworks turn it into codes of their own."""
    was_told = signal.SIGTERM in ended.sent or stopping is Stopping.PREEMPTED
    return was_told or is_signal(ended.code, STOP_SIGNALS | ended.sent)


def _reason_of(error: BaseException) -> Reason:
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
    """The error and what it was raised from; a cycle that user code made ends it."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and all(current is not known for known in seen):
        seen.append(current)
        yield current
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
    """``RESULT: val_acc=... loss=...``, of the metrics that are not computed."""
    inputs = [name for name in wanted.names if name not in wanted.computed]
    for name in wanted.names:
        if name in wanted.computed:
            inputs += sorted(wanted.computed[name].names - wanted.computed.keys())
    return "RESULT: " + " ".join(f"{name}=..." for name in dict.fromkeys(inputs))


def _form(wanted: Wanted) -> str:
    return "a number or a dict" if wanted.single is not None else "a dict"


def _quoted(names: Iterable[str]) -> str:
    return listed((f"'{name}'" for name in names), most=12)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST else f"{line[: _MOST - 3]}..."
