"""When the outcome of an attempt in several ranks is certain: by the clock that it is given, without waiting."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.trial import Trial, TrialContext
from hpo_batch.records import Cause, Complete, Failed, GivenBack, Outcome, Reason, Stopping, Verdict
from hpo_batch.worker.connection import Wire
from hpo_batch.worker.rank_attempt import COMMAND_GRACE_S, GRACE_S, LINGER_S, SETTLE_S, Phase, RankAttempt
from hpo_batch.worker.rank_hub import Peer
from hpo_batch.worker.rank_protocol import encode_outcome
from hpo_batch.worker.resources import Place
from tests.study.helpers import Text, sweep_of

FINE = Complete(values=(0.5,), metrics={"loss": 0.5})
BROKEN = Failed(reason=Reason.EXCEPTION, message="ValueError: no such luck")


class Engine:
    """Of rank 0's trial."""

    why: Stopping | None = None

    def take_report(self, step: int, metrics: object) -> Verdict:
        return Verdict.CONTINUE

    def stopping(self) -> Stopping | None:
        return self.why


class Ranks:
    """Real connections to processes that say what a test lets them say."""

    def __init__(self, folder: Path, world: int, **text: str) -> None:
        self.peers = [Peer(rank=number, node=f"node{number}") for number in range(world)]
        self.ends: list[socket.socket] = []
        for peer in self.peers:
            here, there = socket.socketpair()
            peer.process = Pipe(here)
            self.ends.append(there)
        self.engine = Engine()
        sweep = sweep_of(folder, Text(**text))
        self.attempt = RankAttempt(
            trial=Trial(
                TrialContext(number=0, attempt=1, params={}, seed=1, dir=folder, checkpoint=folder / "c"), self.engine
            ),
            peers=self.peers,
            sweep=sweep,
            place=Place(device="cpu", cpus=1, deadline=None, lead_s=0.0),
            wanted=Wanted.parse(sweep.study.metric, sweep.metrics),
        )

    def end(self, rank: int, outcome: Outcome | GivenBack) -> None:
        self.attempt.hear(self.peers[rank], {"ended": json.loads(json.dumps(encode_outcome(outcome)))})

    def ask(self, rank: int, count: int) -> None:
        self.attempt.hear(self.peers[rank], {"ask": count})

    def answers(self, rank: int) -> list[str | None]:
        self.ends[rank].setblocking(False)
        try:
            return [json.loads(line)["why"] for line in self.ends[rank].recv(1 << 16).splitlines()]
        except BlockingIOError:
            return []

    def close(self) -> None:
        for peer, end in zip(self.peers, self.ends, strict=True):
            assert peer.process is not None
            peer.process.close()
            end.close()


class Pipe(Wire):
    """A connection within this process: it has no TCP options."""

    def __init__(self, connection: socket.socket) -> None:
        self.is_open = True
        self._socket = connection


@pytest.fixture
def make_ranks(tmp_path: Path) -> Iterator[Any]:
    made: list[Ranks] = []

    def of(world: int = 2, **text: str) -> Ranks:
        made.append(Ranks(tmp_path, world, **text))
        return made[-1]

    yield of
    for one in made:
        one.close()


def test_all_have_ended(make_ranks: Any) -> None:
    ranks = make_ranks()
    assert ranks.attempt.outcome(0.0) is None
    ranks.end(1, Failed(reason=Reason.NO_RESULT, message="nothing"))  # nobody asks it for a result
    assert ranks.attempt.outcome(1.0) is None
    ranks.end(0, FINE)
    assert ranks.attempt.outcome(2.0) == FINE
    assert ranks.attempt.is_clean


def test_rank_0_lingers_for_the_others_and_no_longer(make_ranks: Any) -> None:
    ranks = make_ranks(3)
    ranks.end(0, FINE)
    assert ranks.attempt.outcome(10.0) is None
    assert ranks.attempt.phase is Phase.LINGERING
    ranks.end(2, FINE)
    assert ranks.attempt.outcome(10.0 + LINGER_S) is None
    assert ranks.attempt.outcome(10.1 + LINGER_S) == FINE
    assert not ranks.attempt.is_clean  # rank 1 still runs


def test_a_death_is_the_cause_of_what_it_made_of_the_others(make_ranks: Any) -> None:
    ranks = make_ranks(3)
    ranks.end(0, BROKEN)  # all_reduce broke
    assert ranks.attempt.outcome(10.0) is None
    assert ranks.attempt.phase is Phase.SETTLING
    ranks.peers[2].exit = {"exit": -9, "oom": False}
    assert ranks.attempt.outcome(10.0 + SETTLE_S) is None
    failed = ranks.attempt.outcome(10.1 + SETTLE_S)
    assert failed == Failed(
        reason=Reason.LOST, message="rank 2 on node2: its process was killed by SIGKILL; the other ranks were ended"
    )
    assert not ranks.attempt.is_clean


def test_settling_ends_when_all_are_heard_of(make_ranks: Any) -> None:
    ranks = make_ranks()
    ranks.end(1, BROKEN)
    ranks.attempt.outcome(10.0)
    ranks.end(0, FINE)
    failed = ranks.attempt.outcome(10.0)
    assert isinstance(failed, Failed)
    assert (failed.message, failed.metrics) == ("rank 1 on node1: ValueError: no such luck", {"loss": 0.5})


def test_memory_is_the_reason_where_the_kernel_says_so(make_ranks: Any) -> None:
    ranks = make_ranks()
    ranks.peers[1].exit = {"exit": -9, "oom": True}
    ranks.attempt.outcome(0.0)
    failed = ranks.attempt.outcome(SETTLE_S + 1)
    assert isinstance(failed, Failed)
    assert failed.reason is Reason.OOM_HOST


@pytest.mark.parametrize(
    ("text", "why", "grace_s"),
    [
        ({}, Stopping.CANCELLED, GRACE_S),
        ({"objective": 'command = ["true"]'}, Stopping.CANCELLED, COMMAND_GRACE_S),
        ({"tables": {"failures": 'stall = "0:00:05"'}}, Stopping.STALLED, 5.0),
        ({"tables": {"failures": 'stall = "0:05:00"'}}, Stopping.STALLED, 30.0),
    ],
)
def test_a_rank_0_that_does_not_stop_is_ended_after_its_grace(
    make_ranks: Any, text: dict[str, Any], why: Stopping, grace_s: float
) -> None:
    ranks = make_ranks(**text)
    ranks.engine.why = why
    assert ranks.attempt.outcome(100.0) is None
    assert ranks.attempt.outcome(100.0 + grace_s) is None
    ended = ranks.attempt.outcome(100.1 + grace_s)
    expected = GivenBack(cause=Cause.CANCELLED) if why is Stopping.CANCELLED else ended
    assert ended == expected
    assert isinstance(ended, GivenBack | Failed)


def test_a_pruned_trial_that_does_not_ask_runs_to_its_end(make_ranks: Any) -> None:
    ranks = make_ranks()
    ranks.engine.why = Stopping.PRUNED
    for now in (0.0, 1e6):
        assert ranks.attempt.outcome(now) is None


def test_the_nth_question_of_each_rank_gets_the_answer_to_rank_0s_nth(make_ranks: Any) -> None:
    ranks = make_ranks()
    ranks.ask(1, 1)
    assert ranks.answers(1) == []  # rank 0 has not asked yet
    ranks.ask(0, 1)
    ranks.engine.why = Stopping.TIME_LIMIT
    assert (ranks.answers(0), ranks.answers(1)) == ([None], [None])
    ranks.ask(0, 2)
    ranks.ask(1, 2)
    assert (ranks.answers(0), ranks.answers(1)) == (["time_limit"], ["time_limit"])


def test_who_still_asks_when_rank_0_has_returned_waits_for_nobody(make_ranks: Any) -> None:
    ranks = make_ranks()
    ranks.ask(1, 3)
    ranks.end(0, FINE)
    ranks.ask(1, 4)
    assert ranks.answers(1) == ["cancelled", "cancelled"]
