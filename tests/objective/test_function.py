"""Functions as objectives: where their output goes, and what their exceptions become."""

from __future__ import annotations

import ctypes
import gc
import io
import logging
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpo_batch import Trial
from hpo_batch.errors import StorageError, Superseded
from hpo_batch.objective.function import FunctionObjective
from hpo_batch.objective.metrics import Wanted
from hpo_batch.records import Complete, Failed, GivenBack, Outcome, Pruned, Reason, Stopping, Verdict

from .conftest import FakeEngine


def outcome_of(function: Callable[[Trial], object], trial: Trial) -> Outcome | GivenBack:
    return FunctionObjective(function=function, wanted=Wanted.parse(("loss",), {})).run(trial)


@pytest.fixture(autouse=True)
def descriptors_are_as_before() -> Iterator[None]:
    def state() -> tuple[object, ...]:
        return (
            sys.stdout,
            sys.stderr,
            os.fstat(1).st_ino,
            os.fstat(2).st_ino,
            len(list(Path("/proc/self/fd").iterdir())),
        )

    before = state()
    yield
    assert state() == before


def test_all_output_goes_to_the_attempts_files(trial: Trial, capfd: pytest.CaptureFixture[str]) -> None:
    def train(trial: Trial) -> float:
        print("from python")
        print("to stderr", file=sys.stderr)
        os.write(1, b"raw \xff\n")
        subprocess.run(["sh", "-c", "echo from child; echo child error >&2"], check=True)
        ctypes.CDLL(None).printf(b"from C")  # held back by libc until somebody flushes
        return 0.5

    assert outcome_of(train, trial) == Complete(values=(0.5,), metrics={"loss": 0.5})
    output = (trial.dir / "stdout").read_bytes()
    assert sorted(output.split(b"\n")) == sorted([b"from python", b"raw \xff", b"from child", b"from C"])
    assert (trial.dir / "stderr").read_text() == "to stderr\nchild error\n"
    print("after")
    assert capfd.readouterr().out == "after\n"


def test_streams_kept_since_the_import_are_caught_too(tmp_path: Path) -> None:
    script = (
        "import logging, sys, pathlib\n"
        "logging.basicConfig(format='%(message)s')\n"
        "kept = sys.stdout\n"
        "from hpo_batch.objective.function import captured\n"
        "with captured(pathlib.Path('.')):\n"
        "    logging.warning('logged'); kept.write('written\\n')\n"
        "print('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("after\n", "")
    assert (tmp_path / "stdout").read_text() == "written\n"
    assert (tmp_path / "stderr").read_text() == "logged\n"


def test_output_is_there_while_the_function_runs(trial: Trial) -> None:
    def train(trial: Trial) -> int:
        print("epoch 1")
        return len((trial.dir / "stdout").read_text())

    assert outcome_of(train, trial) == Complete(values=(8.0,), metrics={"loss": 8.0})


def test_a_second_call_appends(trial: Trial) -> None:
    for _ in range(2):
        outcome_of(lambda trial: print("replicate"), trial)
    assert (trial.dir / "stdout").read_text() == "replicate\n" * 2


def test_a_handler_made_by_the_users_code_works_in_the_next_trial(
    make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    logger = logging.getLogger("user")

    def train(trial: Trial) -> float:
        if not logger.handlers:
            logger.addHandler(logging.StreamHandler())
        logger.warning("trial %d", trial.number)
        return 1.0

    try:
        for number in (1, 2):
            outcome_of(train, make_trial(number=number, dir=tmp_path / str(number)))
    finally:
        logger.handlers.clear()
    assert (tmp_path / "2" / "stderr").read_text() == "trial 2\n"


def test_streams_closed_or_replaced_by_the_users_code_do_no_harm(
    trial: Trial, capfd: pytest.CaptureFixture[str]
) -> None:
    def train(trial: Trial) -> float:
        sys.stdout.close()
        sys.stderr = io.StringIO()
        raise ValueError("still told")

    outcome = outcome_of(train, trial)
    assert isinstance(outcome, Failed)
    assert "ValueError: still told" in (trial.dir / "stderr").read_text()
    print("after")
    assert capfd.readouterr().out == "after\n"


def test_an_exception_is_kept_whole_and_without_our_frames(trial: Trial) -> None:
    def train(trial: Trial) -> float:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("shapes\ndo not match") from error

    outcome = outcome_of(train, trial)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.EXCEPTION
    assert outcome.message == "ValueError: shapes do not match"
    assert "KeyError: 'first'" in outcome.traceback
    assert "in train" in outcome.traceback
    assert "hpo_batch" not in outcome.traceback
    assert (trial.dir / "stderr").read_text() == outcome.traceback


def test_a_report_of_the_wrong_type_fails_the_trial(trial: Trial, engine: FakeEngine) -> None:
    def train(trial: Trial) -> float:
        trial.report(1, loss=0.5)
        trial.report(2, loss="bad")  # type: ignore[arg-type]
        return 1.0

    outcome = outcome_of(train, trial)
    assert isinstance(outcome, Failed)
    assert outcome.message == "TypeError: metric 'loss' is a text ('bad'); report real numbers"
    assert "trial.report(2, loss=" in outcome.traceback
    assert "hpo_batch" not in outcome.traceback
    assert outcome.metrics == {"loss": 0.5}


def test_a_function_without_an_argument_says_so(trial: Trial) -> None:
    outcome = outcome_of(lambda: 1.0, trial)  # type: ignore[misc,arg-type]
    assert isinstance(outcome, Failed)
    assert "takes 0 positional arguments but 1 was given" in outcome.message


def test_a_pruned_function(trial: Trial, engine: FakeEngine) -> None:
    def train(trial: Trial) -> float | None:
        for step in range(5):
            trial.report(step, loss=step)
            if trial.should_stop():
                return None
        return 1.0

    engine.verdicts = {3: Verdict.PRUNE}
    assert outcome_of(train, trial) == Pruned(step=3, metrics={"loss": 3.0})


def test_leaving_by_sys_exit(trial: Trial, engine: FakeEngine) -> None:
    outcome = outcome_of(lambda trial: sys.exit("no data"), trial)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.EXIT_CODE
    engine.reason = Stopping.DRAINED
    assert isinstance(outcome_of(lambda trial: sys.exit(), trial), GivenBack)


@pytest.mark.parametrize("error", [KeyboardInterrupt, StorageError, Superseded])
def test_what_is_not_the_functions_failure_passes_through(
    trial: Trial, engine: FakeEngine, error: type[BaseException]
) -> None:
    def report(step: int) -> None:
        raise error

    engine.on_report = report
    with pytest.raises(error):
        outcome_of(lambda trial: trial.report(1, loss=1), trial)


def test_a_failed_calls_variables_are_freed(trial: Trial) -> None:
    class Tensor:
        pass

    alive: list[weakref.ref[Tensor]] = []
    kept: list[BaseException] = []

    def train(trial: Trial) -> float:
        tensor = Tensor()
        alive.append(weakref.ref(tensor))
        kept.append(RuntimeError("CUDA out of memory"))  # as a logger or a global variable may keep it
        raise kept[0]

    outcome = outcome_of(train, trial)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.OOM_GPU
    assert alive[0]() is None


def raises(tensor: Any) -> None:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def in_a_cycle(tensor: Any) -> None:
    model = {"weight": tensor}
    model["self"] = model
    raises(tensor)


def while_it_was_handled(tensor: Any) -> None:
    try:
        raises(tensor)
    except RuntimeError as error:
        raise ValueError("cannot train") from error


def in_a_group(tensor: Any) -> None:
    try:
        raises(tensor)
    except RuntimeError as error:
        group = ExceptionGroup("of two tasks", [ValueError("stopped"), error])
    raise group


@pytest.mark.parametrize("fail", [raises, in_a_cycle, while_it_was_handled, in_a_group])
def test_after_running_out_of_memory_the_next_trial_has_all_of_it(trial: Trial, fail: Callable[[Any], None]) -> None:
    torch = pytest.importorskip("torch")
    alive: list[weakref.ref[Any]] = []
    kept: list[BaseException] = []

    def train(trial: Trial) -> float:
        if alive:
            return float(alive[0]() is not None)
        tensor = torch.ones(1000)
        alive.append(weakref.ref(tensor))
        try:
            fail(tensor)
        except Exception as error:
            kept.append(error)  # as a logger may
            raise
        return 0.0

    gc.disable()  # so that nothing frees it by chance
    try:
        assert isinstance(outcome_of(train, trial), Failed)
        assert outcome_of(train, trial) == Complete(values=(0.0,), metrics={"loss": 0.0})
    finally:
        gc.enable()


def test_the_folder_for_checkpoints_is_made_when_it_is_asked_for(
    make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    trial = make_trial(checkpoint=tmp_path / "deep" / "checkpoint")
    outcome_of(lambda trial: 1.0, trial)
    assert not (tmp_path / "deep").exists()
    outcome_of(lambda trial: (trial.checkpoint / "model.pt").write_text("x"), trial)
    assert (tmp_path / "deep" / "checkpoint" / "model.pt").exists()


def test_an_attempts_folder_that_cannot_be_written_is_a_storage_error(
    make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    trial = make_trial(checkpoint=tmp_path / "file" / "checkpoint")
    with pytest.raises(StorageError, match="trial 17"):
        outcome_of(lambda trial: trial.checkpoint, trial)
    shutil.rmtree(trial.dir)
    with pytest.raises(StorageError, match="cannot write the output of a trial"):
        outcome_of(lambda trial: 1.0, trial)
