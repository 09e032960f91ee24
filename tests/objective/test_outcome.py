"""What an objective gave back, and what that means."""

from __future__ import annotations

import errno
import math
import re
import signal
from typing import Any

import numpy as np
import pytest

from hpo_batch.errors import Superseded, UserError
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.outcome import Ended, of_exception, of_exit, of_return
from hpo_batch.objective.trial import Progress
from hpo_batch.records import Cause, Complete, Failed, GivenBack, Outcome, Pruned, Reason, Stopping

ENDED: dict[str, Any] = {
    "code": 0,
    "sent": frozenset(),
    "printed": {},
    "number": None,
    "final": {},
    "wrong": {},
    "unread": "",
    "stderr": "",
}


def wanted(*names: str, **computed: str) -> Wanted:
    return Wanted.parse(names or ("auc",), computed)


def progress(stopping: Stopping | None = None, step: int | None = None, **metrics: float) -> Progress:
    return Progress(step=step, metrics=metrics, stopping=stopping)


def returned(value: object, want: Wanted | None = None, told: Progress | None = None) -> Outcome | GivenBack:
    return of_return(value, wanted=want or wanted(), progress=told or progress())


def exited(*, want: Wanted | None = None, told: Progress | None = None, **ended: Any) -> Outcome | GivenBack:
    return of_exit(Ended(**{**ENDED, **ended}), wanted=want or wanted(), progress=told or progress())


def fails(outcome: object, reason: Reason, pattern: str) -> Failed:
    assert isinstance(outcome, Failed)
    assert outcome.reason is reason
    assert re.search(pattern, outcome.message), outcome.message
    assert "\n" not in outcome.message
    return outcome


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array([0.5])])
def test_a_number_is_the_studys_metric_beside_the_last_reports(value: object) -> None:
    assert returned(value) == Complete(values=(0.5,), metrics={"auc": 0.5})
    outcome = returned(value, told=progress(auc=0.9, loss=0.1))
    assert outcome == Complete(values=(0.5,), metrics={"auc": 0.5, "loss": 0.1})


def test_a_dict_is_all_metrics_and_nothing_reported_is_added() -> None:
    told = progress(auc=0.9, loss=0.1)
    assert returned({"auc": 0.5, "f1": 1}, told=told) == Complete(values=(0.5,), metrics={"auc": 0.5, "f1": 1.0})


def test_several_metrics_come_in_the_studys_order() -> None:
    outcome = returned({"a": 1, "b": 2, "c": 3}, wanted("c", "a"))
    assert outcome == Complete(values=(3.0, 1.0), metrics={"a": 1.0, "b": 2.0, "c": 3.0})


def test_a_returned_value_is_complete_also_after_should_stop() -> None:
    assert isinstance(returned(0.5, told=progress(Stopping.TIME_LIMIT)), Complete)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "returned true, not a number"),
        (np.bool_(True), "returned true"),
        ("0.7", r"returned a text \('0.7'\)"),
        ([0.7], "returned a list"),
        ((0.7, 0.8), "returned a tuple"),
        (1j, "returned a complex"),
        ({"auc": True}, "'auc' is true"),
        ({"auc": 0.7, "name": "x"}, "'name' is a text"),
        ({"auc": {"val": 0.7}}, "'auc' is a dict"),
        ({"auc": None}, "'auc' is None"),
        ({1: 0.7}, "key 1"),
    ],
)
def test_what_is_no_number_is_invalid_and_named(value: object, message: str) -> None:
    outcome = fails(returned(value, told=progress(loss=0.1)), Reason.INVALID, message)
    assert outcome.metrics == {"loss": 0.1}


def test_a_number_alone_cannot_be_several_or_computed_metrics() -> None:
    fails(returned(0.5, wanted("a", "b")), Reason.INVALID, "give 'a', 'b' by name")
    fails(returned(0.5, wanted("score", score="2 * p + r")), Reason.INVALID, "computed from 'p', 'r'")


def test_none_is_a_failure_unless_asked_to_stop() -> None:
    fails(returned(None), Reason.NO_RESULT, "returned None; return 'auc'")
    told = progress(Stopping.PRUNED, step=4, auc=0.6, loss=0.2)
    assert returned(None, told=told) == Pruned(step=4, metrics={"auc": 0.6, "loss": 0.2})


@pytest.mark.parametrize(
    ("stopping", "cause"),
    [
        (Stopping.TIME_LIMIT, Cause.TIME_LIMIT),
        (Stopping.PREEMPTED, Cause.PREEMPTED),
        (Stopping.CANCELLED, Cause.CANCELLED),
        (Stopping.DRAINED, Cause.DRAINED),
    ],
)
def test_none_after_any_other_stop_gives_the_trial_back(stopping: Stopping, cause: Cause) -> None:
    assert returned(None, told=progress(stopping)) == GivenBack(cause=cause)


def test_nothing_is_said_for_a_superseded_attempt() -> None:
    with pytest.raises(Superseded):
        returned(None, told=progress(Stopping.SUPERSEDED))


def test_a_missing_metric_is_named_with_what_came() -> None:
    outcome = fails(returned({"val_auc": 0.5, "loss": 1}), Reason.NO_RESULT, "'auc' was not returned")
    assert "'val_auc', 'loss'" in outcome.message
    assert "did you mean 'val_auc'" in outcome.message
    assert outcome.metrics == {"val_auc": 0.5, "loss": 1.0}


def test_a_metric_only_reported_is_not_taken_for_the_result() -> None:
    message = "it was reported, but only returned values count"
    outcome = fails(returned({"loss": 1}, told=progress(auc=0.9)), Reason.NO_RESULT, message)
    assert outcome.metrics == {"auc": 0.9, "loss": 1.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_a_failure_that_keeps_metrics(value: float) -> None:
    outcome = fails(returned({"auc": value, "loss": 1}), Reason.NAN, "'auc' is (nan|inf|-inf)")
    assert outcome.metrics["loss"] == 1.0


def test_nan_beside_the_studys_metric_is_no_failure() -> None:
    assert isinstance(returned({"auc": 0.5, "loss": math.nan}), Complete)


def test_computed_metrics_follow_their_dependences() -> None:
    want = wanted("score", score="half + auc", half="f1 / 2", unused="nothing + 1")
    outcome = returned({"f1": 1, "auc": 0.25}, want)
    assert outcome == Complete(values=(0.75,), metrics={"f1": 1.0, "auc": 0.25, "half": 0.5, "score": 0.75})


def test_a_computed_metric_that_cannot_be_had_says_why() -> None:
    want = wanted("score", score="half + auc", half="f1 / 2")
    fails(returned({"auc": 0.25, "f2": 1}, want), Reason.NO_RESULT, r"\[metrics\] half .*'f1' has no value here")
    fails(returned({"auc": 0}, wanted("x", x="1 / auc")), Reason.NO_RESULT, "division by zero")
    fails(returned({"auc": 0}, wanted("x", x="auc > 1")), Reason.NO_RESULT, r"\[metrics\] x is false, not a number")
    fails(returned({"auc": math.nan}, wanted("x", x="1 / auc")), Reason.NAN, "'x' is nan")


def test_a_formula_comes_before_a_returned_metric_of_its_name() -> None:
    assert returned({"auc": 9, "tp": 1}, wanted("auc", auc="tp / 2")) == Complete(
        values=(0.5,), metrics={"tp": 1.0, "auc": 0.5}
    )


def test_formulas_in_a_circle_are_refused() -> None:
    with pytest.raises(UserError, match=r"depend on each other: '.' -> '.' -> '.'"):
        wanted("a", a="b + 1", b="a + 1")


def test_pruned_trials_have_their_computed_metrics() -> None:
    want = wanted("score", score="2 * auc")
    assert returned(None, want, progress(Stopping.PRUNED, step=1, auc=0.5)) == Pruned(
        step=1, metrics={"auc": 0.5, "score": 1.0}
    )


class OutOfMemoryError(RuntimeError):
    """As torch.cuda has it."""


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class TrialPruned(Exception):
    """As Optuna has it."""


def wrapped(cause: BaseException) -> Exception:
    error = ValueError("training failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (ValueError("shapes\n  do not match"), Reason.EXCEPTION, "^ValueError: shapes do not match$"),
        (KeyError("x"), Reason.EXCEPTION, "^KeyError: 'x'$"),
        (AssertionError(), Reason.EXCEPTION, "^AssertionError$"),
        (UnprintableError(), Reason.EXCEPTION, "^UnprintableError: "),
        (GeneratorExit(), Reason.EXCEPTION, "^GeneratorExit$"),
        (ValueError("x" * 10_000), Reason.EXCEPTION, r"x\.\.\.$"),
        (MemoryError(), Reason.OOM_HOST, "^MemoryError$"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), Reason.OOM_HOST, "Cannot allocate memory"),
        (OSError(errno.ENOENT, "no file"), Reason.EXCEPTION, "no file"),
        (RuntimeError("DataLoader worker (pid 9) is killed by signal: Killed. "), Reason.OOM_HOST, "DataLoader"),
        (OutOfMemoryError("Tried to allocate 2 GiB"), Reason.OOM_GPU, "OutOfMemoryError: Tried"),
        (RuntimeError("CUDA out of memory. Tried"), Reason.OOM_GPU, "CUDA out of memory"),
        (RuntimeError("CUDA error: out of memory"), Reason.OOM_GPU, "CUDA error"),
        (wrapped(OutOfMemoryError("Tried")), Reason.OOM_GPU, "^ValueError: training failed$"),
        (wrapped(KeyError("x")), Reason.EXCEPTION, "^ValueError"),
        (ValueError("CUDA out of memory"), Reason.EXCEPTION, "CUDA"),
        (SystemExit(3), Reason.EXIT_CODE, r"sys\.exit\(3\)"),
        (SystemExit("bad data"), Reason.EXIT_CODE, "bad data"),
        (SystemExit(0), Reason.NO_RESULT, "returned None"),
        (TrialPruned(), Reason.EXCEPTION, "TrialPruned"),
    ],
)
def test_exceptions_become_reasons(error: BaseException, reason: Reason, message: str) -> None:
    outcome = fails(of_exception(error, wanted=wanted(), progress=progress(loss=0.1)), reason, message)
    assert outcome.metrics == {"loss": 0.1}
    assert len(outcome.message) <= 400


LOADER = RuntimeError("DataLoader worker (pid 9) is killed by signal: Terminated. ")


@pytest.mark.parametrize(
    ("stopping", "error", "is_given_back"),
    [
        (Stopping.PREEMPTED, LOADER, True),
        (Stopping.PREEMPTED, ConnectionResetError("by peer"), True),
        (Stopping.CANCELLED, LOADER, True),
        (Stopping.TIME_LIMIT, LOADER, True),
        (Stopping.TIME_LIMIT, wrapped(LOADER), True),
        (Stopping.TIME_LIMIT, ValueError("no data"), False),
        (Stopping.TIME_LIMIT, RuntimeError("DataLoader worker (pid 9) is killed by signal: Killed. "), False),
        (Stopping.PRUNED, LOADER, False),
        (None, LOADER, False),
    ],
)
def test_what_breaks_because_a_signal_hit_children_is_no_failure(
    stopping: Stopping | None, error: BaseException, is_given_back: bool
) -> None:
    outcome = of_exception(error, wanted=wanted(), progress=progress(stopping))
    assert isinstance(outcome, GivenBack) is is_given_back


def test_a_command_may_end_as_it_likes_after_slurms_sigterm() -> None:
    assert exited(code=1, told=progress(Stopping.PREEMPTED)) == GivenBack(cause=Cause.PREEMPTED)
    assert isinstance(exited(code=1, told=progress(Stopping.TIME_LIMIT)), Failed)


@pytest.mark.parametrize("error", [SystemExit(0), SystemExit(), TrialPruned()])
def test_leaving_when_told_to_stop_is_no_failure(error: BaseException) -> None:
    told = progress(Stopping.PRUNED, step=2, auc=0.5)
    assert of_exception(error, wanted=wanted(), progress=told) == Pruned(step=2, metrics={"auc": 0.5})


def test_an_exception_after_a_stop_is_still_a_failure() -> None:
    told = progress(Stopping.TIME_LIMIT)
    fails(of_exception(ValueError("x"), wanted=wanted(), progress=told), Reason.EXCEPTION, "ValueError: x")


def test_of_several_ways_to_give_a_metric_the_most_final_counts() -> None:
    told = progress(auc=0.1, loss=0.1, f1=0.1)
    outcome = exited(told=told, printed={"auc": 0.2, "loss": 0.2}, final={"auc": 0.3})
    assert outcome == Complete(values=(0.3,), metrics={"auc": 0.3, "loss": 0.2, "f1": 0.1})
    assert exited(told=told, number=0.5) == Complete(values=(0.5,), metrics={"auc": 0.5, "loss": 0.1, "f1": 0.1})
    assert exited(told=told) == Complete(values=(0.1,), metrics={"auc": 0.1, "loss": 0.1, "f1": 0.1})


def test_a_command_without_a_result_failed() -> None:
    report = r"call hpo_batch\.report\(auc=\.\.\.\)"
    fails(exited(), Reason.NO_RESULT, rf"^no result: {report}, or print a line 'RESULT: auc=\.\.\.'$")
    report = r'call hpo_batch\.report\(metrics={"val/auc": \.\.\.}\), or'
    fails(exited(want=wanted("val/auc")), Reason.NO_RESULT, report)
    fails(exited(want=wanted("a", "b")), Reason.NO_RESULT, r"print a line 'RESULT: a=\.\.\. b=\.\.\.'$")
    fails(exited(want=wanted("f", f="2 * p / q")), Reason.NO_RESULT, r"print a line 'RESULT: p=\.\.\. q=\.\.\.'$")
    fails(exited(almost="Result: 0.5"), Reason.NO_RESULT, r"RESULT: auc=\.\.\.'; the line 'Result: 0.5' is not one$")
    fails(exited(printed={"aux": 1.0}), Reason.NO_RESULT, "did you mean 'aux'")
    fails(
        exited(unread="RESULT: done"),
        Reason.NO_RESULT,
        "cannot read the line 'RESULT: done': .*; print RESULT: auc=",
    )
    fails(exited(unread="RESULT: auc=0,5", final={"auc": 0.5}), Reason.NO_RESULT, "the line 'RESULT: auc=0,5'")
    fails(exited(unread="RESULT: x", told=progress(auc=0.5)), Reason.NO_RESULT, "'RESULT: x'")
    fails(exited(wrong={"auc": None}, told=progress(auc=0.5)), Reason.INVALID, "'auc' as None")
    fails(exited(odd={"auc": "0.5"}, told=progress(loss=0.5)), Reason.INVALID, "'auc' as '0.5'")
    fails(exited(torn='{"auc": 0.', told=progress(auc=0.5)), Reason.NO_RESULT, "last line of the metrics file")
    assert isinstance(exited(odd={"auc": None}, told=progress(auc=0.5)), Complete)
    assert isinstance(exited(torn="{", printed={"auc": 0.5}), Complete)
    fails(exited(wrong={"auc": "0.7"}), Reason.INVALID, "'auc' as '0.7'")
    fails(exited(number=0.5, want=wanted("a", "b")), Reason.INVALID, "'RESULT: 0.5' has no name")
    fails(exited(final={"auc": math.nan}), Reason.NAN, "'auc' is nan")


def test_exit_code_75_is_to_be_continued() -> None:
    assert exited(code=75, told=progress(auc=0.5)) == GivenBack(cause=Cause.CHECKPOINTED)
    assert exited(code=75, told=progress(Stopping.TIME_LIMIT)) == GivenBack(cause=Cause.TIME_LIMIT)


@pytest.mark.parametrize(
    ("code", "sent"),
    [
        (0, set()),
        (75, set()),
        (-signal.SIGUSR2, {signal.SIGUSR2}),
        (128 + signal.SIGUSR2, {signal.SIGUSR2}),
        (1, {signal.SIGUSR2, signal.SIGTERM}),
        (-signal.SIGKILL, {signal.SIGUSR2, signal.SIGTERM, signal.SIGKILL}),
    ],
)
def test_a_stopped_command_is_pruned_or_given_back(code: int, sent: set[int]) -> None:
    told = progress(Stopping.PRUNED, step=3, auc=0.5)
    assert exited(code=code, sent=frozenset(sent), told=told) == Pruned(step=3, metrics={"auc": 0.5})
    told = progress(Stopping.PREEMPTED, step=3, auc=0.5)
    assert exited(code=code, sent=frozenset(sent), told=told) == GivenBack(cause=Cause.PREEMPTED)


def test_a_stopped_command_with_a_final_result_is_complete() -> None:
    told = progress(Stopping.TIME_LIMIT, auc=0.5)
    assert isinstance(exited(told=told, printed={"auc": 0.7}), Complete)
    assert isinstance(exited(told=told, printed={"loss": 0.7}), GivenBack)
    assert isinstance(exited(told=told, printed={"auc": 0.7}, unread="RESULT: auc=0."), GivenBack)


def test_a_crash_while_stopping_is_a_crash() -> None:
    told = progress(Stopping.PRUNED, step=3, auc=0.5)
    fails(exited(code=1, sent=frozenset({signal.SIGUSR2}), told=told), Reason.EXIT_CODE, "exit code 1")
    fails(exited(code=-signal.SIGSEGV, sent=frozenset({signal.SIGUSR2}), told=told), Reason.EXIT_CODE, "SIGSEGV")


@pytest.mark.parametrize(
    ("code", "stderr", "reason", "message"),
    [
        (2, "usage: x\nerror: bad --lr\n", Reason.EXIT_CODE, "^exit code 2: error: bad --lr$"),
        (1, "", Reason.EXIT_CODE, "^exit code 1, with nothing on stderr$"),
        (-signal.SIGKILL, "", Reason.EXIT_CODE, "^killed by SIGKILL; out of memory\\?"),
        (-signal.SIGKILL, "Detected 1 oom-kill event", Reason.OOM_HOST, "^killed by SIGKILL: Detected"),
        (137, "train.sh: line 3: 77 Killed python train.py\n", Reason.OOM_HOST, "^exit code 137: "),
        (1, "Traceback (most recent call last):\nMemoryError\n", Reason.OOM_HOST, "^exit code 1: MemoryError$"),
        (1, "MemoryError was caught\nValueError: x\n", Reason.EXIT_CODE, "^exit code 1: ValueError: x$"),
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried\n[W] bye\n", Reason.OOM_GPU, "^exit code 1"),
        (-64, "", Reason.EXIT_CODE, "^killed by SIGRTMAX"),
        (-50, "", Reason.EXIT_CODE, "^killed by signal 50"),
        (-signal.SIGTERM, "", Reason.EXIT_CODE, "^killed by SIGTERM"),
    ],
)
def test_crashes_become_reasons(code: int, stderr: str, reason: Reason, message: str) -> None:
    outcome = fails(exited(code=code, stderr=stderr, told=progress(loss=0.1), final={"f1": 1.0}), reason, message)
    assert outcome.metrics == {"loss": 0.1, "f1": 1.0}


TRACE = "Traceback (most recent call last):\n  File x, line 3\n    y()\n"
HINT = "\nSet the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace.\n"


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        (f"Error executing job with overrides: ['lr=1']\n{TRACE}ValueError: y\n{HINT}", "ValueError: y"),
        (f"{TRACE}pickle.UnpicklingError: Weights only load failed.\n\t(1) In PyTorch\n\nCheck the docs.\n{HINT}",
         "pickle.UnpicklingError: Weights only load failed."),
        (f"{TRACE}RuntimeError: Error(s) in loading:\n\tsize mismatch for fc\n", "RuntimeError: Error(s) in loading:"),
        (f"UserWarning: old\n\nCould not override 'lr'.\nKey 'lr' is not in struct\n{HINT}",
         "Could not override 'lr'. Key 'lr' is not in struct"),
        (f"In 'hydra': Could not find 'x'\n\nAvailable options in 'hydra':\n\tbasic\n"
         f"Config search path:\n\tprovider=hydra\n\n{HINT}", "In 'hydra': Could not find 'x'"),
        (f"{TRACE}ValueError: handled\nsrun: error: task 0 exited\n", "srun: error: task 0 exited"),
        (f"{TRACE}ValueError: a\n\nDuring handling, another:\n\n{TRACE}KeyError: 'b'\n", "KeyError: 'b'"),
        (f"{TRACE}KeyboardInterrupt\n", "KeyboardInterrupt"),
        (f"{TRACE}my.Own: z\n", "my.Own: z"),
    ],
)  # fmt: skip
def test_a_crash_is_told_by_the_line_that_says_why(stderr: str, message: str) -> None:
    fails(exited(code=1, stderr=stderr), Reason.EXIT_CODE, f"^exit code 1: {re.escape(message)}$")


def test_a_crashs_traceback_is_kept() -> None:
    stderr = "warning\nTraceback (most recent call last):\n  File x\nValueError: y\n"
    outcome = fails(exited(code=1, stderr=stderr), Reason.EXIT_CODE, "ValueError: y")
    assert outcome.traceback.startswith("Traceback (most recent")
