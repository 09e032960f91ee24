"""One worker whose trials run in several processes (ranks 0 to N - 1) on several GPUs or nodes.

srun starts N tasks. The task of rank 0 is the worker: it alone claims, reports and tells. Each task manages a process
that runs the user's code (``rank_process``), so that code that hangs in a collective can be killed, and all ranks get
new processes after a failure. They talk to rank 0 over TCP (``connection``) instead of a process group of torch, which
belongs to the user's code. Called by ``entry``.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from hpo_batch.errors import UserError
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.outcome import of_stop
from hpo_batch.objective.trial import Trial
from hpo_batch.records import Failed, GivenBack, Outcome, Reason
from hpo_batch.store.attempt_folder import tidy_part
from hpo_batch.store.home import StudyHome
from hpo_batch.sweep.schema import Sweep
from hpo_batch.worker.connection import Message, free_port
from hpo_batch.worker.rank_attempt import RankAttempt, exit_in_words
from hpo_batch.worker.rank_follower import RankProcessKeeper
from hpo_batch.worker.rank_hub import Hub, Peer
from hpo_batch.worker.rank_protocol import GATHER_S, TICK_S, Rank
from hpo_batch.worker.resources import Place

log = logging.getLogger(__name__)


class Lead:
    """Rank 0: an objective that runs a trial in all ranks."""

    def __init__(self, home: StudyHome, sweep: Sweep, rank: Rank) -> None:
        self.hub = Hub(home, sweep, rank)
        self.is_over = False
        """whether a task of the step is gone; it cannot be restarted, so the worker has to end"""
        self._sweep = sweep
        self._keeper = RankProcessKeeper(rank, Path.cwd())
        self._port = 0
        """MASTER_PORT of the user's process group"""
        self._place: Place | None = None
        self._wanted = Wanted.parse(sweep.study.metric, sweep.metrics)

    def close(self) -> None:
        """End all processes and let the other tasks end."""
        self.end_processes()
        self.hub.close()

    def park(self) -> None:
        """Make the other tasks wait for SLURM's kill: if one of them ended now, the step and the job would end too."""
        self.hub.tell_tasks({"park": True})

    def objective(self, place: Place) -> Lead | Failed:
        """Start all ranks. Returns itself as the objective, or the failure to load the user's code.

        Raises:
            UserError: a rank is missing.
        """
        self._place = place
        problem = self._ensure_processes()
        if problem is None:
            nodes = dict.fromkeys(peer.node for peer in self.hub.peers)
            log.info("%s ranks on %s", len(self.hub.peers), ", ".join(nodes))
            return self
        if problem.reason is Reason.INVALID:
            return problem
        raise UserError(problem.message)

    def run(self, trial: Trial) -> Outcome | GivenBack:
        """Run the trial in all ranks; returns rank 0's outcome, or a failure of any rank.

        Raises:
            StorageError, Superseded: as with an objective in one process.
        """
        assert self._place is not None
        problem = self._ensure_processes()
        if problem is not None:
            # processes that are just starting die of a signal to the step, which is not a failure of the trial
            return problem if trial.stopping is None else of_stop(trial.progress, wanted=self._wanted)
        peers = self.hub.peers
        for peer in peers:
            assert peer.process is not None
            peer.process.send({"trial": _facts(trial), "port": self._port})
        attempt = RankAttempt(trial=trial, peers=peers, sweep=self._sweep, place=self._place, wanted=self._wanted)
        try:
            while (outcome := attempt.outcome(time.monotonic())) is None:
                for peer, message in self.take_in(TICK_S):
                    attempt.hear(peer, message)
            return outcome
        finally:
            if attempt.is_clean:
                self._port = free_port()
            else:
                self.end_processes()
                tidy_part(trial.dir)

    def end_processes(self) -> None:
        """End the processes with the user's code on all nodes; the next trial gets new ones."""
        self.hub.tell_tasks({"end": True})
        self.hub.forget_processes()
        self._keeper.end()

    def take_in(self, timeout_s: float) -> list[tuple[Peer, Message]]:
        """Wait for messages and for the end of rank 0's own process; returns messages about the trial."""
        messages = self.hub.take_in(timeout_s)
        own_exit = self._keeper.ended()
        if own_exit is not None:
            self.hub.peers[0].exit = own_exit
        self.is_over = self.is_over or any(peer.is_task_gone for peer in self.hub.peers)
        return messages

    def _ensure_processes(self) -> Failed | None:
        """Make sure that every rank has a process; returns the failure if that is impossible."""
        if all(peer.is_serving for peer in self.hub.peers):
            return None
        end = time.monotonic() + GATHER_S
        # wait for the tasks first: if one never comes, the others need not import the user's code
        return self._await_tasks(end) or self._start_processes(end)

    def _await_tasks(self, end: float) -> Failed | None:
        while missing := [peer for peer in self.hub.peers[1:] if peer.task is None]:
            if time.monotonic() > end:
                return self._missing(missing, "its task")
            self.take_in(TICK_S)
        return None

    def _start_processes(self, end: float) -> Failed | None:
        self.end_processes()
        hub = self.hub
        hub.generation += 1
        self._port = free_port()
        self._keeper.start(hub.generation, hub.address, hub.address.hosts[0])
        hub.tell_tasks({"start": hub.generation})
        while not all(peer.is_ready for peer in hub.peers):
            self.take_in(TICK_S)
            if failure := next((peer.load_failure for peer in hub.peers if peer.load_failure), None):
                return failure
            gone = next((peer for peer in hub.peers if peer.is_gone), None)
            if gone is not None or time.monotonic() > end:
                return self._missing([gone or next(peer for peer in hub.peers if not peer.is_ready)], "its process")
        return None

    def _missing(self, peers: list[Peer], what: str) -> Failed:
        self.is_over = True
        names = ", ".join(str(peer) for peer in peers[:3])
        why = f" ({exit_in_words(peers[0].exit)})" if peers[0].exit else ""
        return Failed(reason=Reason.LOST, message=f"{names}: {what} is not there{why}; see its log")


@contextlib.contextmanager
def led(home: StudyHome, sweep: Sweep, rank: Rank) -> Iterator[Lead]:
    """Act as rank 0 during the block.

    Raises:
        StorageError: its address cannot be written for the others.
    """
    lead = Lead(home, sweep, rank)
    try:
        yield lead
    finally:
        lead.close()


def _facts(trial: Trial) -> Message:
    return {
        "number": trial.number,
        "attempt": trial.attempt,
        "params": trial.params,
        "seed": trial.seed,
        "name": trial.name,
        "dir": str(trial.dir.absolute()),
        "checkpoint": str(trial.checkpoint.absolute()),  # the trial's, since each seed has its own; not the attempt's
        "resumes": trial.resumes,
        "cpus": trial.cpus,
        "device": trial.device,
        "deadline": trial.deadline,
    }
