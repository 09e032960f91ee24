"""The protocol between the processes of one worker on several GPUs or nodes, and how a process finds its rank.

Rank 0 listens. Each other task keeps one connection for its whole life, and so does each process with the user's code.
A message is one JSON object:

| from -> to | message |
|---|---|
| task -> rank 0 | first: ``{"token": ..., "task": rank, "node": ...}`` |
| process -> rank 0 | first: ``{"token": ..., "process": rank, "generation": n}`` |
| rank 0 -> task | ``{"start": generation}``, ``{"end": true}``, ``{"park": true}``, ``{"finish": true}`` |
| task -> rank 0 | ``{"exit": code, "oom": bool, "generation": n}`` |
| rank 0 -> process | ``{"trial": {...}, "port": MASTER_PORT}``, ``{"why": stopping or null}`` |
| process -> rank 0 | ``{"ready": ...}``, ``{"report": [step, metrics]}``, ``{"ask": n}``, ``{"ended": outcome}`` |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from hpo_batch.records import Cause, CommandEnd, Complete, Failed, GivenBack, Outcome, Pruned, Reason
from hpo_batch.scheduler.allocation import Allocation
from hpo_batch.scheduler.integers import is_integer
from hpo_batch.store.home import StudyHome
from hpo_batch.sweep.schema import Job
from hpo_batch.worker.connection import Message

# time limit for all processes to be ready: nodes start at different times and import from the same file system
GATHER_S: Final = 300.0
# longest wait for a message before a process checks for other events
TICK_S: Final = 0.2
# faults of the returned value; only rank 0 has to return one, so for others these are no failures
_OWN_SHORTCOMINGS: Final = (Reason.NO_RESULT, Reason.INVALID, Reason.NAN)


@dataclass(frozen=True, kw_only=True)
class Rank:
    """One task of a worker's step."""

    rank: int
    world_size: int
    local_rank: int
    local_size: int
    node: str
    life: str
    """identifies this run of the array task; it changes with a requeue"""

    def environment(self) -> dict[str, str]:
        """The variables of torchrun that ``init_process_group`` reads, without MASTER_ADDR and MASTER_PORT.

        https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables
        """
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
        }


def rank_of(job: Job, allocation: Allocation, environ: Mapping[str, str]) -> Rank | None:
    """The rank of this process, None if its worker has no others.

    Only srun tasks have ranks. The batch script also has SLURM_NTASKS, but runs alone, hence SLURM_STEP_ID.
    """
    world = _number(environ, "SLURM_STEP_NUM_TASKS") or _number(environ, "SLURM_NTASKS") or 1
    if job.ranks == 1 or world == 1 or "SLURM_STEP_ID" not in environ or allocation.job is None:
        return None
    return Rank(
        rank=_number(environ, "SLURM_PROCID") or 0,
        world_size=world,
        local_rank=_number(environ, "SLURM_LOCALID") or 0,
        local_size=job.tasks_per_node,
        node=allocation.node,
        life=f"{allocation.job}-r{allocation.restarts}-s{environ['SLURM_STEP_ID']}",
    )


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    return int(text) if is_integer(text) else None


def encode_outcome(ended: Outcome | GivenBack) -> Message:
    return {"kind": type(ended).__name__, **msgspec.to_builtins(ended)}


def decode_outcome(message: Message) -> Outcome | GivenBack:
    fields = {key: value for key, value in message.items() if key != "kind"}
    if fields["command"] is not None:
        fields["command"] = CommandEnd(**{**fields["command"], "argv": tuple(fields["command"]["argv"])})
    match message["kind"]:
        case "Complete":
            return Complete(**{**fields, "values": tuple(fields["values"]), "replicates": ()})
        case "Pruned":
            return Pruned(**fields)
        case "GivenBack":
            return GivenBack(**{**fields, "cause": Cause(fields["cause"])})
        case _:
            return Failed(**{**fields, "reason": Reason(fields["reason"])})


def has_failed(ended: Outcome | GivenBack) -> bool:
    """Whether a rank failed, so that the others may wait for it forever."""
    return isinstance(ended, Failed) and ended.reason not in _OWN_SHORTCOMINGS


def meeting_point(home: StudyHome, rank: Rank) -> Path:
    """The file with the address at which rank 0 listens."""
    return home.slurm / f"{rank.life}.ranks"
