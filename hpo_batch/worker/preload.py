"""Several workers in an array task are forked from their supervisor, after it has imported what all of them need.

So torch is imported once per array task, and what the import has made, data too, lies in memory once until a worker
writes to it. A worker that replaces one which was killed starts by itself, in case the fork was to blame.
"""

from __future__ import annotations

import logging
import os
import pickle
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from hpo_batch.errors import Exit, HpoBatchError
from hpo_batch.objective.load import import_function
from hpo_batch.processes import forks
from hpo_batch.records import Failed
from hpo_batch.store.home import StudyHome
from hpo_batch.study.read import read_state
from hpo_batch.sweep.schema import Sweep
from hpo_batch.worker.loading import enter, limit_threads, load_objective

log = logging.getLogger(__name__)

Forks = Callable[[Mapping[str, str]], forks.Fork]
_ADVICE: Final = "load it in the function instead, or set fork = false in [job]"


def preload(home: StudyHome, sweep: Sweep, *, cpus: int) -> Forks | None:
    """Import what the workers need, in this process, which runs no trials.

    Args:
        home: of the study.
        sweep: its current revision.
        cpus: of each worker.

    Returns:
        Starts a worker with a given environment; None if workers must start by themselves, and the log says why.
    """
    if not sweep.job.fork or sweep.objective.function is None:
        return None
    began, before, cwd = time.monotonic(), forks.Footing(), Path.cwd()
    limit_threads(sweep, cpus)
    drawn = _Random()
    try:
        problem = _load(home, sweep)
    except HpoBatchError as error:
        problem = str(error)
    except (Exception, SystemExit) as error:  # of the user's function
        problem = f"{sweep.objective.preload}: {type(error).__name__}: {error}"
    finally:
        os.chdir(cwd)
    if problem:
        log.info("workers start by themselves: %s", problem)
        return None
    if why := before.why_unsafe():
        log.warning("workers start by themselves, since importing the objective has left %s: %s", why, _ADVICE)
        return None
    drawn.note()
    log.info("the objective is imported once for all workers, in %.1f s", time.monotonic() - began)
    return lambda environ: forks.fork(lambda: _work(home, drawn), env=environ)


def _work(home: StudyHome, drawn: _Random) -> int:
    """Be a worker; the exit code is that of ``hpo-batch worker``."""
    from hpo_batch.worker.entry import run_worker  # which imports this module

    drawn.restore()
    try:
        return run_worker(home, os.environ)
    except HpoBatchError as error:
        log.error("%s", error)
        return error.exit_code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception:
        log.exception("the worker has failed")
        return Exit.BUG


def _load(home: StudyHome, sweep: Sweep) -> str:
    """What is wrong with the objective; each worker will say it in full."""
    if isinstance(failed := enter(sweep) or load_objective(sweep), Failed):
        return failed.message
    spec = sweep.objective.n_params
    n_params = import_function(spec) if spec else None
    # after limit_threads, and for its samplers, which import Optuna
    from hpo_batch.study import study  # noqa: F401
    from hpo_batch.study.revision import Revision

    Revision.read(home, read_state(home), n_params=n_params)
    if sweep.objective.preload is not None:
        import_function(sweep.objective.preload)({one.name: one.value for one in sweep.space.fixed})
    return ""


class _Random:
    """The states of Python's and NumPy's generators, as they were and as the import has left them.

    Forked workers must not draw the same numbers, unless the user's module has seeded them.
    """

    def __init__(self) -> None:
        _import_numpy()
        self._before = self._states()
        self._after = self._before

    def note(self) -> None:
        self._after = self._states()

    def restore(self) -> None:
        """What a process that imports the module itself would have."""
        if self._after["python"] != self._before["python"]:
            random.setstate(pickle.loads(self._after["python"]))  # Python seeds it anew in each fork
        if "numpy" in self._after and self._after["numpy"] == self._before.get("numpy"):
            sys.modules["numpy"].random.seed()

    @staticmethod
    def _states() -> dict[str, bytes]:
        states: dict[str, Any] = {"python": random.getstate()}
        if "numpy" in sys.modules:
            states["numpy"] = sys.modules["numpy"].random.get_state()
        return {name: pickle.dumps(state) for name, state in states.items()}


def _import_numpy() -> None:
    """Before the objective, which may seed it."""
    try:
        import numpy  # noqa: F401
    except ImportError:  # needed by Optuna, which not every sampler needs
        return
