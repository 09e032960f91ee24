"""The process in which one rank of a trial runs the user's code: ``python -m hpo_batch.worker.rank_process``.

It is started by the rank's task (``ranks``), asks rank 0 for everything and knows no study. A ``Trial`` is made of what
rank 0 sends. It lives for many trials, and is killed from outside if one of them ends badly.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpo_batch import processes
from hpo_batch.envvars import EnvVar
from hpo_batch.errors import StorageError, Superseded
from hpo_batch.files import make_real_folder
from hpo_batch.objective.function import FunctionObjective
from hpo_batch.objective.load import Objective
from hpo_batch.objective.trial import Trial
from hpo_batch.records import Cause, Failed, GivenBack, Outcome, Reason, Stopping, Verdict
from hpo_batch.sweep.schema import Sweep
from hpo_batch.worker.connection import Address, Wire, connect
from hpo_batch.worker.entry import enter, load_objective, log_apart
from hpo_batch.worker.ranks import encode, has_failed
from hpo_batch.worker.signals import Signals


def main() -> int:
    """Serve rank 0 until it closes the connection."""
    processes.end_with_parent(signal.SIGKILL)
    # SLURM signals all processes of a step: rank 0's task decides what follows, for all ranks together
    Signals().install()
    facts = json.loads(os.environ.pop(EnvVar.RANKS))
    log_apart(f" [rank {facts['rank']}]")
    address = Address(hosts=tuple(facts["hosts"]), port=facts["port"], token=facts["token"])
    wire = connect(address, {"process": facts["rank"], "generation": facts["generation"]})
    if wire is None:
        logging.getLogger(__name__).error("rank 0 does not answer at %s:%s", address.hosts[0], address.port)
        return 1
    sweep = Sweep.from_json(wire.welcome["sweep"])
    objective = enter(sweep) or load_objective(sweep)
    if isinstance(objective, Failed):
        wire.send({"ready": False, "why": {"message": objective.message, "traceback": objective.traceback}})
    else:
        wire.send({"ready": True})
        while message := wire.next():
            os.environ["MASTER_PORT"] = str(message["port"])
            wire.send({"ended": encode(_run(objective, message["trial"], facts, wire))})
    return 0


def _run(objective: Objective, given: Mapping[str, Any], facts: Mapping[str, Any], wire: Wire) -> Outcome | GivenBack:
    rank = facts["rank"]
    folder = Path(given["dir"])
    if rank > 0:
        folder = folder / f"rank-{rank}"
    is_function = isinstance(objective, FunctionObjective)
    engine = RankEngine(wire, rank=rank, together=is_function)
    try:
        make_real_folder(folder)
        trial = RankTrial(
            **{**given, "dir": folder, "checkpoint": Path(given["checkpoint"])},
            engine=engine,
            rank=rank,
            world_size=facts["world_size"],
            local_rank=facts["local_rank"],
        )
        if isinstance(objective, FunctionObjective):
            objective = replace(objective, function=engine.around(objective.function))
        try:
            ended = objective.run(trial)
        finally:
            if rank > 0:
                with contextlib.suppress(OSError):
                    folder.rmdir()  # unless something was printed or kept there
        if not has_failed(ended):  # after a failure this process is ended, and a collective clean-up may hang
            _leave_process_group()
        return ended
    except Superseded:
        return GivenBack(cause=Cause.CANCELLED)  # rank 0's task knows better
    except (StorageError, OSError) as error:
        return Failed(reason=Reason.EXCEPTION, message=str(error))


class RankTrial(Trial):
    """A trial that reports through rank 0's task, which keeps what was reported."""

    def _write(self, values: Mapping[str, float]) -> None:
        pass


class RankEngine:
    """Asks rank 0's task. The n-th question of every rank gets the answer to rank 0's n-th: all stop together."""

    def __init__(self, wire: Wire, *, rank: int, together: bool) -> None:
        self._wire = wire
        self._rank = rank
        self._together = together
        self._asked = 0

    def around(self, function: Any) -> Any:
        """The function; what is asked after it has ended, to make its outcome, waits for nobody."""

        def call(trial: Trial) -> object:
            try:
                return function(trial)
            finally:
                self._together = False

        return call

    def report(self, step: int, metrics: Mapping[str, float]) -> Verdict:
        if self._rank == 0:
            self._wire.send({"report": [step, dict(metrics)]})
        return Verdict.CONTINUE  # a verdict is told by the next answer, to all ranks

    def stopping(self) -> Stopping | None:
        self._asked += self._together
        self._wire.send({"ask": self._asked if self._together else 0})
        answer = self._wire.next()
        if answer is None:
            os._exit(1)  # rank 0 is gone, and with it whoever would take what comes of this trial
        why = answer["why"]
        return None if why is None else Stopping(why)


def _leave_process_group() -> None:
    """The next trial's ``init_process_group`` refuses if this trial's group is still there."""
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
