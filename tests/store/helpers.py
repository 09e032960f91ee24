"""Real processes for the tests of store and study, and a judge that compares our reading with Optuna's."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from hpo_batch.journal.file import Journal
from hpo_batch.journal.state import JournalState
from hpo_batch.records import Value

FORK = multiprocessing.get_context("fork")
PATIENCE_S = 60.0


def _call(pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        pipe.send((True, function(*arguments)))
    except BaseException:
        pipe.send((False, traceback.format_exc()))


def start(function: Callable[..., Any], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """Call a function in a forked process."""
    ours, theirs = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_call, args=(theirs, function, arguments), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: the child starts none of ours
        process.start()
    theirs.close()
    return process, ours


def answer(process: BaseProcess, pipe: Connection) -> Any:
    """What the function returned."""
    assert pipe.poll(PATIENCE_S), "the process did not answer in time"
    fine, result = pipe.recv()
    process.join()
    assert fine, result
    return result


def in_processes(calls: list[tuple[Any, ...]]) -> list[Any]:
    """Results of ``(function, argument, ...)`` calls, each in a process of its own, all at the same time."""
    started = [start(*call) for call in calls]
    return [answer(process, pipe) for process, pipe in started]


def kill(process: BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


@contextmanager
def dead_process() -> Iterator[int]:
    """The number of a process that has ended."""
    process, pipe = start(os.getpid)
    yield answer(process, pipe)


def read_state(path: Path) -> JournalState:
    state = JournalState()
    journal = Journal(path)
    while lines := journal.read_new():
        state.apply(lines)
    return state


def plain_storage(path: Path, lock: Any = None) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path.absolute()), lock_obj=lock))


def assert_read_as_optuna_reads(path: Path, *, exact: bool = True) -> None:
    """Everything that Optuna knows of the first study of a journal, our scan knows alike.

    Args:
        exact: else an integer is the float next to it, where Optuna writes only floats.
    """
    state, storage = read_state(path), plain_storage(path)
    study = next(s for s in storage.get_all_studies() if s._study_id == 0)
    assert state.study_name == study.study_name
    assert state.directions == tuple(direction.value for direction in study.directions)
    assert repr(state.attrs) == repr(study.system_attrs)
    theirs = storage.get_all_trials(0, deepcopy=False)
    assert len(state.trials) == len(theirs)
    for ours, trial in zip(state.trials, theirs, strict=True):
        assert (ours.number, ours.trial_id, ours.state.value) == (trial.number, trial._trial_id, trial.state.value)
        same_kind = typed if exact else loose
        params = trial.params if exact else as_numbers(trial)
        assert same_kind(ours.params) == same_kind(params)
        same_numbers = numbers if exact else loose
        assert same_numbers(dict(enumerate(ours.values or ()))) == same_numbers(dict(enumerate(trial.values or ())))
        reported = {step: value for step, value in trial.intermediate_values.items() if value is not None}
        assert same_numbers(ours.steps) == same_numbers(reported)  # a null is no report: no pruner could use it
        assert repr(ours.user_attrs) == repr(trial.user_attrs)  # repr: NaN is not equal to itself
        assert repr(ours.system_attrs) == repr(trial.system_attrs)
        assert ours.started == (trial.datetime_start and trial.datetime_start.timestamp())
        assert ours.ended == (trial.datetime_complete and trial.datetime_complete.timestamp())
    counts = state.counts()
    by_state = [t.state for t in theirs]
    states = optuna.trial.TrialState
    assert (counts.waiting, counts.running) == (by_state.count(states.WAITING), by_state.count(states.RUNNING))
    assert (counts.complete, counts.pruned) == (by_state.count(states.COMPLETE), by_state.count(states.PRUNED))
    assert counts.failed == by_state.count(states.FAIL)
    assert len(state.endings) == sum(s.is_finished() for s in by_state)


def typed(params: dict[str, Value]) -> dict[str, tuple[type, Value]]:
    return {name: (type(value), value) for name, value in params.items()}


def as_numbers(trial: FrozenTrial) -> dict[str, Any]:
    """Its parameters, with 1 for a ``true`` where a number was to be: Optuna writes none there, and passes it on."""
    return {
        name: int(value)
        if isinstance(value, bool) and not isinstance(trial.distributions[name], CategoricalDistribution)
        else value
        for name, value in trial.params.items()
    }


def loose(params: dict[Any, Any]) -> dict[Any, str]:
    return {
        name: repr(float(value) if isinstance(value, int) and not isinstance(value, bool) else value)
        for name, value in params.items()
    }


def numbers(values: dict[int, Any]) -> dict[int, Any]:
    return {key: "nan" if isinstance(v, float) and math.isnan(v) else v for key, v in values.items()}
