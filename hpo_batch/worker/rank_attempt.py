"""One attempt of a trial in all ranks, from rank 0's side: who asks, who has ended, and when the outcome is certain.

It is told what the ranks say (``hear``) and asked, with the time, what has come of it (``outcome``). It never waits.
"""

from __future__ import annotations

import enum
import logging
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.outcome import of_stop
from hpo_batch.objective.trial import Trial
from hpo_batch.records import Complete, Failed, GivenBack, Outcome, Pruned, Reason, Stopping
from hpo_batch.sweep.schema import Sweep
from hpo_batch.worker.connection import Message
from hpo_batch.worker.rank_hub import Peer
from hpo_batch.worker.rank_protocol import decode_outcome, has_failed
from hpo_batch.worker.resources import Place

log = logging.getLogger(__name__)

# after a rank has failed, to hear of the others: the first to be heard of may have failed because of another
SETTLE_S: Final = 3.0
# for the other ranks to return after rank 0 has
LINGER_S: Final = 60.0
GRACE_S: Final = 20.0
# for rank 0 to end after it was told to stop: a command has graces of its own within it
COMMAND_GRACE_S: Final = 130.0
# and for one that stood still; less if a shorter silence is a stall
STALLED_GRACE_S: Final = 30.0


class Phase(enum.Enum):
    """How far an attempt has come. It goes on from RUNNING to one of the others, and from LINGERING to SETTLING."""

    RUNNING = "rank 0 runs"
    LINGERING = "rank 0 has returned, and waits for the others"
    SETTLING = "a rank has failed, and the others are still to be heard of"


@dataclass(kw_only=True)
class RankAttempt:
    """The attempt so far."""

    trial: Trial
    peers: Sequence[Peer]
    sweep: Sweep
    place: Place
    wanted: Wanted
    phase: Phase = Phase.RUNNING
    _since: float = 0.0
    """when the phase began, by a monotonic clock"""
    _stopping_since: float | None = None
    """when there was first a reason to stop"""
    _asked: int = 0
    """how often rank 0 has asked whether to stop"""
    _answer: Stopping | None = None
    """to its last question"""
    _waiting: dict[int, int] = field(default_factory=dict)
    """ranks that have asked more often than rank 0 yet, and how often"""
    _ended: dict[int, Outcome | GivenBack] = field(default_factory=dict)
    """by rank, in the order in which they were heard of"""
    _gone: list[int] = field(default_factory=list)
    """ranks without a process, in that order too"""

    @property
    def is_clean(self) -> bool:
        """Whether all ranks have ended in order: their processes can run the next trial."""
        return len(self._ended) == len(self.peers) and self.phase is not Phase.SETTLING

    def hear(self, peer: Peer, message: Message) -> None:
        """Take in what a process says."""
        if "report" in message:
            step, metrics = message["report"]
            self.trial.report(step, metrics)
        elif "ended" in message:
            self._ended[peer.rank] = decode_outcome(message["ended"])
            if peer.rank == 0:
                self._release()
        else:
            self._hear_question(peer, message["ask"])

    def outcome(self, now: float) -> Outcome | GivenBack | None:
        """What has come of the attempt; None while that is not certain.

        Args:
            now: by a monotonic clock.
        """
        self._advance(now)
        heard_of_all = len(self._gone) + len(self._ended) == len(self.peers)
        if self.phase is Phase.SETTLING:
            reasons_told = all(self.peers[rank].exit is not None or self._is_task_gone for rank in self._gone)
            is_settled = now - self._since > SETTLE_S or (heard_of_all and reasons_told)
            if is_settled:
                return self._failure()
        elif self.phase is Phase.LINGERING and (heard_of_all or now - self._since > LINGER_S):
            if not heard_of_all:
                late = [str(peer) for peer in self.peers if peer.rank not in self._ended]
                log.warning("trial %s: rank 0 has returned, %s not; ended", self.trial.number, ", ".join(late[:3]))
            return self._result()
        if not self._has_returned and self._is_out_of_patience(now):
            log.warning("trial %s: it does not stop (%s) and is ended", self.trial.number, self.trial.stopping)
            return of_stop(self.trial.progress, wanted=self.wanted)
        return None

    @property
    def _has_returned(self) -> bool:
        """Whether rank 0 has."""
        return 0 in self._ended

    @property
    def _is_task_gone(self) -> bool:
        return any(peer.is_task_gone for peer in self.peers)

    def _advance(self, now: float) -> None:
        heard_of = (*self._gone, *self._ended)
        self._gone += [peer.rank for peer in self.peers if peer.rank not in heard_of and peer.is_gone]
        if self.phase is not Phase.SETTLING and (self._gone or any(map(has_failed, self._ended.values()))):
            self.phase, self._since = Phase.SETTLING, now
        elif self.phase is Phase.RUNNING and self._has_returned:
            self.phase, self._since = Phase.LINGERING, now

    def _hear_question(self, peer: Peer, count: int) -> None:
        """Whether to stop, asked by a rank for the ``count``-th time; 0: outside of the user's function."""
        if count == 0 or count < self._asked or self._has_returned:
            # a question that rank 0 had answered with "go on" gets the same answer
            why = None if 0 < count < self._asked else self.trial.stopping
            if self._has_returned and count > self._asked:
                why = self.trial.stopping or Stopping.CANCELLED
            _answer(peer, why)
        elif peer.rank == 0:
            self._asked = count
            self._answer = self.trial.stopping
            _answer(peer, self._answer)
            self._release()
        elif count == self._asked:
            _answer(peer, self._answer)
        else:
            self._waiting[peer.rank] = count

    def _release(self) -> None:
        """Answer the ranks that were ahead of rank 0."""
        for rank, count in list(self._waiting.items()):
            if count == self._asked:
                _answer(self.peers[rank], self._answer)
            elif self._has_returned:
                # whoever still asks will wait for nobody
                _answer(self.peers[rank], self.trial.stopping or Stopping.CANCELLED)
            else:
                continue
            del self._waiting[rank]

    def _result(self) -> Outcome | GivenBack:
        ended = self._ended[0]
        if isinstance(ended, GivenBack) and self.trial.stopping is Stopping.SUPERSEDED:
            return of_stop(self.trial.progress, wanted=self.wanted)  # raises
        return ended

    def _failure(self) -> Failed:
        """Of several failures the cause of the others: a death comes before what it made of those who waited for it."""
        own = self._ended.get(0)
        metrics = own.metrics if isinstance(own, Failed | Complete | Pruned) else {}
        if self._gone:
            peer = self.peers[self._gone[0]]
            why = "its task is gone" if peer.exit is None and self._is_task_gone else exit_in_words(peer.exit)
            reason = Reason.OOM_HOST if peer.exit is not None and peer.exit["oom"] else Reason.LOST
            return Failed(reason=reason, message=f"{peer}: {why}; the other ranks were ended", metrics=metrics)
        rank, failed = next((rank, ended) for rank, ended in self._ended.items() if has_failed(ended))
        assert isinstance(failed, Failed)
        message = failed.message if rank == 0 else f"{self.peers[rank]}: {failed.message}"
        return Failed(reason=failed.reason, message=message, traceback=failed.traceback, metrics=metrics)

    def _is_out_of_patience(self, now: float) -> bool:
        """Whether rank 0 was told to stop, and has not for longer than it may take."""
        why = self.trial.stopping
        if why is None:
            return False
        self._stopping_since = self._stopping_since or now
        waited_s = now - self._stopping_since
        match why:
            case Stopping.PRUNED:
                return False  # as in one process: who does not ask runs to the end
            case Stopping.TIME_LIMIT:
                return self.place.is_past_limit()
            case _ if self.sweep.objective.command is not None:
                return waited_s > COMMAND_GRACE_S
            case Stopping.STALLED:
                return waited_s > min(STALLED_GRACE_S, self.sweep.failures.stall or STALLED_GRACE_S)
            case _:
                return waited_s > GRACE_S


def exit_in_words(exit_: Mapping[str, Any] | None) -> str:
    """How the process of a rank ended, as its task has told; None: it has not."""
    if exit_ is None:
        return "its process is gone"
    if exit_["oom"]:
        return "its process ran out of memory; request more with job.mem_gb"
    code = exit_["exit"]
    if code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process exited with code {code}"


def _answer(peer: Peer, why: Stopping | None) -> None:
    if peer.process is not None:
        peer.process.send({"why": why})
