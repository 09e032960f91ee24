"""The process in which one rank of a trial runs the user's code: ``python -m hpo_batch.worker.rank_process``.

The rank's task (``ranks``) starts it. It gets everything from rank 0, which is the only one to read the study, and runs
many trials; if one of them fails, its task kills it.
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
from hpo_batch.objective.trial import Trial, TrialContext
from hpo_batch.records import Cause, Failed, GivenBack, Outcome, Reason, Stopping, Verdict
from hpo_batch.sweep.schema import Sweep
from hpo_batch.worker.connection import Address, Wire, connect
from hpo_batch.worker.entry import log_apart
from hpo_batch.worker.loading import enter, load_objective
from hpo_batch.worker.rank_protocol import encode_outcome, has_failed
from hpo_batch.worker.signals import Signals


def main() -> int:
    """Serve rank 0 until it closes the connection."""
    processes.end_with_parent(signal.SIGKILL)
    # SLURM signals all processes of a step, but rank 0's task decides for all ranks: do not die of the signal
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
            wire.send({"ended": encode_outcome(_run(objective, message["trial"], facts, wire))})
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
        context = TrialContext(
            **{**given, "dir": folder, "checkpoint": Path(given["checkpoint"])},
            rank=rank,
            world_size=facts["world_size"],
            local_rank=facts["local_rank"],
        )
        trial = RankTrial(context, engine)
        if isinstance(objective, FunctionObjective):
            objective = replace(objective, function=engine.around(objective.function))
        try:
            ended = objective.run(trial)
        finally:
            if rank > 0:
                with contextlib.suppress(OSError):
                    folder.rmdir()  # fails if it is not empty: it has output or files of the user
        if not has_failed(ended):  # after a failure this process is killed anyway, and destroying the group may hang
            _leave_process_group()
        return ended
    except Superseded:
        return GivenBack(cause=Cause.CANCELLED)  # rank 0's task knows the real cause
    except (StorageError, OSError) as error:
        return Failed(reason=Reason.EXCEPTION, message=str(error))


class RankTrial(Trial):
    """A trial whose reports are written by rank 0's task."""

    def _write(self, values: Mapping[str, float]) -> None:
        pass


class RankEngine:
    """Asks rank 0's task whether to stop. All ranks get the same answer to the n-th question, so they stop together."""

    def __init__(self, wire: Wire, *, rank: int, together: bool) -> None:
        self._wire = wire
        self._rank = rank
        self._together = together
        self._asked = 0

    def around(self, function: Any) -> Any:
        """Wrap the function so that questions after its end, while the outcome is made, do not wait for other ranks."""

        def call(trial: Trial) -> object:
            try:
                return function(trial)
            finally:
                self._together = False

        return call

    def take_report(self, step: int, metrics: Mapping[str, float]) -> Verdict:
        if self._rank == 0:
            self._wire.send({"report": [step, dict(metrics)]})
        return Verdict.CONTINUE  # the next answer carries the verdict to all ranks

    def stopping(self) -> Stopping | None:
        self._asked += self._together
        self._wire.send({"ask": self._asked if self._together else 0})
        answer = self._wire.next()
        if answer is None:
            os._exit(1)  # rank 0 is gone, so nobody would record the outcome
        why = answer["why"]
        return None if why is None else Stopping(why)


def _leave_process_group() -> None:
    """Destroy the trial's process group; otherwise ``init_process_group`` fails in the next trial."""
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
