"""What each srun task does for its rank: start and end the process with the user's code when rank 0 says so."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from hpo_batch import processes
from hpo_batch.envvars import EnvVar
from hpo_batch.errors import Exit, UserError
from hpo_batch.objective.memory import oom_kills
from hpo_batch.store.home import StudyHome
from hpo_batch.worker.connection import Address, Message, Wire, connect, look_up
from hpo_batch.worker.rank_protocol import GATHER_S, TICK_S, Rank, meeting_point
from hpo_batch.worker.task_exit import park

log = logging.getLogger(__name__)


class RankProcessKeeper:
    """Starts the process of one rank, and ends it with all its children."""

    def __init__(self, rank: Rank, cwd: Path) -> None:
        self._rank = rank
        self._cwd = cwd
        self._process: processes.Process | None = None
        self._life = ""
        self._oom_kills: int | None = None

    def start(self, generation: int, address: Address, host: str) -> None:
        self.end()
        # job ids of several clusters may coincide; a unique mark makes sure that we kill only our own processes
        self._life = f"{self._rank.life}.{self._rank.rank}.{generation}.{secrets.token_hex(4)}"
        self._oom_kills = oom_kills()
        hub = {**asdict(address), "hosts": [host], "generation": generation, **asdict(self._rank)}
        env = {
            **os.environ,
            **self._rank.environment(),
            "MASTER_ADDR": host,
            EnvVar.RANKS: json.dumps(hub),
            EnvVar.RANK_LIFE: self._life,
        }
        argv = [sys.executable, "-u", "-m", "hpo_batch.worker.rank_process"]
        self._process = processes.start(argv, stdout=None, stderr=None, env=env, cwd=self._cwd)

    def ended(self) -> Message | None:
        """How the process ended; None while it is running, and after this was reported once."""
        if self._process is None or (code := processes.wait(self._process, 0.0)) is None:
            return None
        self.end()
        killed_for_memory = self._oom_kills is not None and (oom_kills() or 0) > self._oom_kills
        return {"exit": code, "oom": killed_for_memory}

    def end(self) -> None:
        if self._process is None:
            return
        processes.signal_group(self._process, signal.SIGKILL)
        for pid in processes.with_environment(EnvVar.RANK_LIFE, self._life):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        processes.wait(self._process, 30.0)
        self._process = None


def follow(home: StudyHome, rank: Rank) -> Exit:
    """Run as any rank but 0: manage one process until rank 0 has finished.

    Ignores signals: rank 0 receives them too, and decides for all ranks.

    Raises:
        UserError: rank 0 cannot be found, or was gone before the work was done.
    """
    keeper = RankProcessKeeper(rank, Path.cwd())
    address, wire = _find(home, rank)
    log.info("rank %s of %s on %s, pid %s", rank.rank, rank.world_size, rank.node, os.getpid())
    generation = 0
    try:
        while wire.is_open:
            for message in wire.read(TICK_S):
                if "start" in message:
                    generation = message["start"]
                    keeper.start(generation, address, wire.peer)
                elif "end" in message:
                    keeper.end()
                elif "park" in message:
                    keeper.end()
                    park()
                elif "finish" in message:
                    return Exit.OK
            if (ended := keeper.ended()) is not None:
                wire.send({**ended, "generation": generation})
    finally:
        keeper.end()
    raise UserError(f"rank {rank.rank}: rank 0 is gone; another worker will resume the trial")


def _find(home: StudyHome, rank: Rank) -> tuple[Address, Wire]:
    end = time.monotonic() + GATHER_S
    path = meeting_point(home, rank)
    while time.monotonic() < end:
        address = look_up(path)
        if address is not None:
            wire = connect(address, {"task": rank.rank, "node": rank.node})
            if wire is not None:
                return address, wire
        time.sleep(TICK_S)
    raise UserError(
        f"rank {rank.rank} on {rank.node}: rank 0 did not show up within {GATHER_S:g} s in '{path}'; see its log"
    )
