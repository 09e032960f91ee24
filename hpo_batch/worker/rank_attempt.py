"""The state of one attempt that runs in several ranks: answers their questions and decides on the outcome.

It does no I/O of its own besides the answers: the caller passes messages to ``hear`` and asks for the ``outcome`` at a
given time.
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

# after a rank has failed, time for the others to report: the first failure to arrive may be caused by another one
SETTLE_S: Final = 3.0
# time for the other ranks to return after rank 0 has
LINGER_S: Final = 60.0
GRACE_S: Final = 20.0
# time for rank 0 to end after it was told to stop. A command may take its own grace periods within this time
COMMAND_GRACE_S: Final = 130.0
# the same after a stall, or the sweep's ``stall`` if that is shorter
STALLED_GRACE_S: Final = 30.0


class Phase(enum.Enum):
    """The phase of an attempt. RUNNING is followed by LINGERING or SETTLING, LINGERING by SETTLING or nothing."""

    RUNNING = "rank 0 runs"
    LINGERING = "rank 0 has returned, the others are still running"
    SETTLING = "a rank has failed, the others may still report"


@dataclass(kw_only=True)
class RankAttempt:
    """The state of an attempt."""

    trial: Trial
    peers: Sequence[Peer]
    sweep: Sweep
    place: Place
    wanted: Wanted
    phase: Phase = Phase.RUNNING
    _since: float = 0.0
    """start of the phase, monotonic clock"""
    _stopping_since: float | None = None
    """when a reason to stop was first seen, monotonic clock"""
    _asked: int = 0
    """number of times that rank 0 has asked whether to stop"""
    _answer: Stopping | None = None
    """the answer to its last question"""
    _waiting: dict[int, int] = field(default_factory=dict)
    """ranks that are ahead of rank 0 -> the number of their question"""
    _ended: dict[int, Outcome | GivenBack] = field(default_factory=dict)
    """by rank, in order of arrival"""
    _gone: list[int] = field(default_factory=list)
    """ranks whose process is gone, in order of arrival"""

    @property
    def is_clean(self) -> bool:
        """Whether no rank has failed, so that the processes can run the next trial."""
        return len(self._ended) == len(self.peers) and self.phase is not Phase.SETTLING

    def hear(self, peer: Peer, message: Message) -> None:
        """Process a message of a rank."""
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
        """The attempt's outcome; None while it is not certain.

        Args:
            now: monotonic clock.
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
        """Whether rank 0 has returned."""
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
        """Answer a rank's ``count``-th question whether to stop; 0 for one from outside the user's function."""
        if count == 0 or count < self._asked or self._has_returned:
            # rank 0 was told to go on at this question, so this rank is too
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
                # tell it to stop: rank 0, which it would wait for, asks no more
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
        """The failure to report. A lost process comes first: errors in other ranks are usually its consequence."""
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
        """Whether rank 0 was told to stop, and has taken longer than allowed."""
        why = self.trial.stopping
        if why is None:
            return False
        self._stopping_since = self._stopping_since or now
        waited_s = now - self._stopping_since
        match why:
            case Stopping.PRUNED:
                return False  # as in one process: a function that does not ask runs to its end
            case Stopping.TIME_LIMIT:
                return self.place.is_past_limit()
            case _ if self.sweep.objective.command is not None:
                return waited_s > COMMAND_GRACE_S
            case Stopping.STALLED:
                return waited_s > min(STALLED_GRACE_S, self.sweep.failures.stall or STALLED_GRACE_S)
            case _:
                return waited_s > GRACE_S


def exit_in_words(exit_: Mapping[str, Any] | None) -> str:
    """How a rank's process ended, according to its task; None if the task has not reported it."""
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
