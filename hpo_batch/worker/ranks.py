"""One worker whose trials run in several processes, on several GPUs or nodes: ranks 0 to N - 1.

srun starts N tasks. That of rank 0 is the worker: it alone claims, reports and tells. Each task keeps one process that
runs the user's code (``rank_process``): code that hangs in a collective can be ended from outside, and when a rank has
failed all get new processes for the next trial. They talk to rank 0 over connections of our own, not over a process
group of torch: that one is the user's. Called by ``entry``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from hpo_batch import processes
from hpo_batch.cluster.allocation import Allocation
from hpo_batch.errors import Exit, UserError
from hpo_batch.objective.memory import oom_kills
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.outcome import of_stop
from hpo_batch.objective.trial import Trial
from hpo_batch.records import Cause, CommandEnd, Complete, Failed, GivenBack, Outcome, Pruned, Reason, Stopping
from hpo_batch.store.home import StudyHome
from hpo_batch.store.trial_folder import tidy_part
from hpo_batch.sweep.schema import Job, Sweep
from hpo_batch.worker.leaving import park
from hpo_batch.worker.place import Place
from hpo_batch.worker.wire import (
    MOST_HELLO,
    MOST_MESSAGE,
    Address,
    Message,
    Wire,
    addresses_of,
    connect,
    free_port,
    is_known,
    listen,
    look_up,
    publish,
)

log = logging.getLogger(__name__)

HUB_VARIABLE: Final = "HPO_BATCH_RANKS"
"""how a process of the user's code finds rank 0; it takes the variable out of its environment"""
LIFE_VARIABLE: Final = "HPO_BATCH_RANK_LIFE"
"""the mark by which all that such a process has started is found"""
GATHER_S: Final = 300.0
"""for all processes to be there: nodes do not begin at the same moment, and import from one file system"""
SETTLE_S: Final = 3.0
"""after a rank has failed, to hear of the others: the first to be heard of may have failed because of another"""
LINGER_S: Final = 60.0
"""for the other ranks to return after rank 0 has"""
GRACE_S: Final = 20.0
COMMAND_GRACE_S: Final = 130.0
"""for rank 0 to end after it was told to stop: a command has graces of its own within it"""
HELLO_S: Final = 5.0
"""for whoever connects to tell the token"""
MOST_STRANGERS: Final = 256
"""who have connected and told nothing; the oldest of more is cut off, so that descriptors are left for the ranks"""
_TICK_S: Final = 0.2
_NO_FAILURE: Final = (Reason.NO_RESULT, Reason.INVALID, Reason.NAN)
"""what rank 0's answer may lack; nobody asks the others for one"""


@dataclass(frozen=True, kw_only=True)
class Rank:
    """One task of a worker's step."""

    rank: int
    world_size: int
    local_rank: int
    local_size: int
    node: str
    life: str
    """names this run of the array task: a requeued one has another"""

    def environment(self) -> dict[str, str]:
        """As torchrun sets it: what ``init_process_group`` reads, MASTER_ADDR and MASTER_PORT left out."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
        }


def rank_of(job: Job, allocation: Allocation, environ: Mapping[str, str]) -> Rank | None:
    """The rank of this process, None if its worker has no others.

    Only a task of srun has one: a batch script has the variables too, and is alone.
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
    return int(text) if text.isdecimal() and len(text) < 19 else None


def encode(ended: Outcome | GivenBack) -> Message:
    return {"kind": type(ended).__name__, **asdict(ended)}


def decode(message: Message) -> Outcome | GivenBack:
    facts = {key: value for key, value in message.items() if key != "kind"}
    if facts["command"] is not None:
        facts["command"] = CommandEnd(**{**facts["command"], "argv": tuple(facts["command"]["argv"])})
    match message["kind"]:
        case "Complete":
            return Complete(**{**facts, "values": tuple(facts["values"]), "replicates": ()})
        case "Pruned":
            return Pruned(**facts)
        case "GivenBack":
            return GivenBack(**{**facts, "cause": Cause(facts["cause"])})
        case _:
            return Failed(**{**facts, "reason": Reason(facts["reason"])})


def has_failed(ended: Outcome | GivenBack) -> bool:
    """Whether a rank's end is one that the others may wait for in vain."""
    return isinstance(ended, Failed) and ended.reason not in _NO_FAILURE


class Keeper:
    """Starts the process of one rank and ends it, with all that it has started."""

    def __init__(self, rank: Rank, cwd: Path) -> None:
        self._rank = rank
        self._cwd = cwd
        self._process: processes.Process | None = None
        self._life = ""
        self._oom_kills: int | None = None

    def start(self, generation: int, address: Address, host: str) -> None:
        self.end()
        # a job's id alone is shared by the jobs of several clusters: what is killed by it must be ours
        self._life = f"{self._rank.life}.{self._rank.rank}.{generation}.{secrets.token_hex(4)}"
        self._oom_kills = oom_kills()
        hub = {**asdict(address), "hosts": [host], "generation": generation, **asdict(self._rank)}
        env = {
            **os.environ,
            **self._rank.environment(),
            "MASTER_ADDR": host,
            HUB_VARIABLE: json.dumps(hub),
            LIFE_VARIABLE: self._life,
        }
        argv = [sys.executable, "-u", "-m", "hpo_batch.worker.rank_process"]
        self._process = processes.start(argv, stdout=None, stderr=None, env=env, cwd=self._cwd)

    def ended(self) -> Message | None:
        """How the process has ended, told once."""
        if self._process is None or (code := processes.wait(self._process, 0.0)) is None:
            return None
        self.end()
        killed_for_memory = self._oom_kills is not None and (oom_kills() or 0) > self._oom_kills
        return {"exit": code, "oom": killed_for_memory}

    def end(self) -> None:
        if self._process is None:
            return
        processes.signal_group(self._process, signal.SIGKILL)
        for pid in processes.with_environment(LIFE_VARIABLE, self._life):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        processes.wait(self._process, 30.0)
        self._process = None


def follow(home: StudyHome, rank: Rank) -> Exit:
    """What a task other than that of rank 0 does: keep a process for it, until rank 0 ends.

    It pays no heed to signals: rank 0 has them too, and decides for all.

    Raises:
        UserError: rank 0 is not to be found, or is gone before the work was done.
    """
    keeper = Keeper(rank, Path.cwd())
    address, wire = _find(home, rank)
    log.info("rank %s of %s on %s, pid %s", rank.rank, rank.world_size, rank.node, os.getpid())
    generation = 0
    try:
        while wire.is_open:
            for message in wire.read(_TICK_S):
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
    raise UserError(f"rank {rank.rank}: rank 0 is gone; the trial goes on when another worker finds that out")


def _find(home: StudyHome, rank: Rank) -> tuple[Address, Wire]:
    end = time.monotonic() + GATHER_S
    path = _meeting_point(home, rank)
    while time.monotonic() < end:
        address = look_up(path)
        if address is not None:
            wire = connect(address, {"task": rank.rank, "node": rank.node})
            if wire is not None:
                return address, wire
        time.sleep(_TICK_S)
    raise UserError(
        f"rank {rank.rank} on {rank.node}: no word of rank 0 within {GATHER_S:g} s in '{path}'; see its log"
    )


def _meeting_point(home: StudyHome, rank: Rank) -> Path:
    return home.slurm / f"{rank.life}.ranks"


@dataclass(kw_only=True)
class _Peer:
    """What rank 0 knows of a rank."""

    rank: int
    node: str = "?"
    task: Wire | None = None
    """None for rank 0's own"""
    process: Wire | None = None
    load_failure: Failed | None = None
    is_ready: bool = False
    exit: Message | None = None

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.node}"


@dataclass(kw_only=True)
class _Run:
    """One attempt, as far as it has come."""

    asked: int = 0
    """how often rank 0 has asked whether to stop"""
    answer: Stopping | None = None
    """to its last question"""
    waiting: dict[int, int] = field(default_factory=dict)
    """ranks that have asked more often than rank 0 yet, and how often"""
    ended: dict[int, Outcome | GivenBack] = field(default_factory=dict)
    """in the order in which they were heard of"""
    gone: list[int] = field(default_factory=list)
    troubled: float | None = None
    """when a rank was first heard to have failed, by our clock"""
    over: float | None = None
    """when rank 0 has ended"""
    stopping: float | None = None
    """when there was a reason to stop"""


class Lead:
    """Rank 0: where the others connect to, and an objective that runs a trial in all of them."""

    def __init__(self, home: StudyHome, sweep: Sweep, rank: Rank) -> None:
        self.is_over = False
        """whether a task of the step is gone: its process cannot be started again, so the worker has to end"""
        self._sweep = sweep
        self._rank = rank
        self._keeper = Keeper(rank, Path.cwd())
        self._generation = 0
        self._port = 0
        self._peers = [_Peer(rank=number) for number in range(rank.world_size)]
        self._peers[0].node = rank.node
        name, launcher = socket.gethostname(), os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "")
        here = [] if rank.world_size <= rank.local_size else [*addresses_of(name), *addresses_of(launcher)]
        # with all ranks on this node nobody else needs to reach it; else only by the address that the node has by name
        self._server = listen(here or (["127.0.0.1"] if rank.world_size <= rank.local_size else []))
        bound = str(self._server.getsockname()[0])
        hosts = ("127.0.0.1",) if bound == "127.0.0.1" else (name, *here, launcher, "127.0.0.1")
        self._address = Address(
            hosts=tuple(host for host in dict.fromkeys(hosts) if host and is_known(host)),
            port=self._server.getsockname()[1],
            token=secrets.token_hex(16),
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ, None)
        self._strangers: dict[Wire, float] = {}
        """who has connected and not told the token yet, and until when they may"""
        self._place: Place | None = None
        self._wanted = Wanted.parse(sweep.study.metric, sweep.metrics)
        self._path = _meeting_point(home, rank)
        publish(self._path, self._address)

    def close(self) -> None:
        """The other tasks may end."""
        self.end_processes()
        for peer in self._peers:
            if peer.task is not None:
                peer.task.send({"finish": True})
                peer.task.close()
        for wire in list(self._strangers):
            self._dismiss(wire)
        self._selector.close()
        self._server.close()
        self._path.unlink(missing_ok=True)

    def park(self) -> None:
        """Have the other tasks wait for SLURM's kill: one that ended now would end the step, and with it the job."""
        for peer in self._peers:
            if peer.task is not None:
                peer.task.send({"park": True})

    def objective(self, place: Place) -> Lead | Failed:
        """Start all ranks; itself, since it runs trials, or why the user's code cannot be loaded.

        Raises:
            UserError: a rank is missing.
        """
        self._place = place
        wrong = self._ensure_processes()
        if wrong is None:
            log.info("%s ranks on %s", len(self._peers), ", ".join(dict.fromkeys(peer.node for peer in self._peers)))
            return self
        if wrong.reason is Reason.INVALID:
            return wrong
        raise UserError(wrong.message)

    def run(self, trial: Trial) -> Outcome | GivenBack:
        """Run the trial in all ranks; what rank 0 returned, unless a rank has failed.

        Raises:
            StorageError, Superseded: as an objective in one process.
        """
        wrong = self._ensure_processes()
        if wrong is not None:
            # a signal to the whole step ends processes that are just starting: that is no failure of the trial
            return wrong if trial.stopping is None else of_stop(trial.progress, wanted=self._wanted)
        facts = {
            "number": trial.number,
            "attempt": trial.attempt,
            "params": trial.params,
            "seed": trial.seed,
            "name": trial.name,
            "dir": str(trial.dir.absolute()),
            "checkpoint": str(trial.checkpoint.absolute()),  # not that of the attempt: each seed has its own
            "resumes": trial.resumes,
            "cpus": trial.cpus,
            "device": trial.device,
            "deadline": trial.deadline,
        }
        for peer in self._peers:
            assert peer.process is not None
            peer.process.send({"trial": facts, "port": self._port})
        run = _Run()
        try:
            return self._watch(trial, run)
        finally:
            if len(run.ended) < len(self._peers) or run.troubled is not None:
                self.end_processes()
                tidy_part(trial.dir)
            else:
                self._port = free_port()

    def end_processes(self) -> None:
        """Those of the user's code, on all nodes; the next trial gets new ones."""
        for peer in self._peers:
            if peer.task is not None:
                peer.task.send({"end": True})
            self._forget_process(peer)
        self._keeper.end()

    def _ensure_processes(self) -> Failed | None:
        """Have a process of every rank ready; what is in the way if there is not."""
        if all(peer.is_ready and peer.process is not None and peer.process.is_open for peer in self._peers):
            return None
        end = time.monotonic() + GATHER_S
        # the tasks first: a rank that is missing for good should cost the others no import
        while any(peer.task is None for peer in self._peers[1:]):
            if time.monotonic() > end:
                return self._missing([peer for peer in self._peers[1:] if peer.task is None], "its task")
            self._take_in(_TICK_S)
        self.end_processes()
        self._generation += 1
        self._port = free_port()
        self._keeper.start(self._generation, self._address, self._address.hosts[0])
        for peer in self._peers[1:]:
            assert peer.task is not None
            peer.task.send({"start": self._generation})
        while not all(peer.is_ready for peer in self._peers):
            self._take_in(_TICK_S)
            if failed := next((peer.load_failure for peer in self._peers if peer.load_failure), None):
                return failed
            lost = next((peer for peer in self._peers if self._is_gone(peer)), None)
            if lost is not None or time.monotonic() > end:
                return self._missing([lost or next(peer for peer in self._peers if not peer.is_ready)], "its process")
        return None

    def _missing(self, peers: list[_Peer], what: str) -> Failed:
        self.is_over = True
        names = ", ".join(str(peer) for peer in peers[:3])
        why = f" ({_exit_in_words(peers[0].exit)})" if peers[0].exit else ""
        return Failed(reason=Reason.LOST, message=f"{names}: {what} is not there{why}; see its log")

    def _take_in(self, timeout_s: float) -> Iterator[tuple[_Peer, Message]]:
        """Wait for connections and messages; those of the users' processes are returned."""
        found: list[tuple[_Peer, Message]] = []
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                self._accept()
                continue
            peer, wire = key.data
            if peer is None:
                self._hear_stranger(wire)
                continue
            for message in wire.read(0.0):
                self._note(peer, wire, message, found)
            if not wire.is_open:
                self._selector.unregister(key.fileobj)
        now = time.monotonic()
        for wire in [wire for wire, until in self._strangers.items() if until < now]:
            self._dismiss(wire)
        own = self._keeper.ended()
        if own is not None:
            self._peers[0].exit = own
        return iter(found)

    def _note(self, peer: _Peer, wire: Wire, message: Message, found: list[tuple[_Peer, Message]]) -> None:
        if wire is peer.task:
            if message.get("generation") == self._generation:
                peer.exit = message
        elif "ready" in message:
            peer.is_ready = message["ready"]
            if not peer.is_ready:
                peer.load_failure = Failed(reason=Reason.INVALID, **message["why"])
        else:
            found.append((peer, message))

    def _accept(self) -> None:
        """Take a connection in without waiting for what it says: it may be anybody's, and never say anything."""
        try:
            connection, _ = self._server.accept()
            wire = Wire(connection)
        except OSError:  # gone again, or this process has no descriptor left
            return
        wire.most = MOST_HELLO
        while len(self._strangers) >= MOST_STRANGERS:
            self._dismiss(next(iter(self._strangers)))
        self._strangers[wire] = time.monotonic() + HELLO_S
        self._selector.register(wire, selectors.EVENT_READ, (None, wire))

    def _dismiss(self, wire: Wire) -> None:
        del self._strangers[wire]
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(wire)
        wire.close()

    def _hear_stranger(self, wire: Wire) -> None:
        """Its first message has to hold the token."""
        if wire not in self._strangers:
            return
        number = wire.fileno()
        messages = wire.read(0.0)
        if not messages and wire.is_open:
            return
        del self._strangers[wire]
        self._selector.unregister(number)
        hello = messages[0] if messages else {}
        token = str(hello.get("token", "")).encode(errors="replace")
        if len(messages) != 1 or not secrets.compare_digest(token, self._address.token.encode()):
            wire.close()
            return
        wire.most = MOST_MESSAGE
        peer = self._peers[hello["task"] if "task" in hello else hello["process"]]
        if "task" in hello:
            peer.task, peer.node = wire, hello["node"]
        elif hello["generation"] == self._generation:
            peer.process = wire
        else:
            wire.close()
            return
        wire.send({"welcome": True, "sweep": self._sweep.to_json()} if "process" in hello else {"welcome": True})
        self._selector.register(wire, selectors.EVENT_READ, (peer, wire))

    def _forget_process(self, peer: _Peer) -> None:
        if peer.process is not None and peer.process.is_open:
            self._selector.unregister(peer.process)  # once it is closed, its number is another connection's
            peer.process.close()
        peer.process, peer.load_failure, peer.is_ready, peer.exit = None, None, False, None

    def _is_gone(self, peer: _Peer) -> bool:
        if peer.task is not None and not peer.task.is_open:
            self.is_over = True
            return True
        return peer.exit is not None or (peer.process is not None and not peer.process.is_open)

    def _watch(self, trial: Trial, run: _Run) -> Outcome | GivenBack:
        while True:
            for peer, message in self._take_in(_TICK_S):
                self._answer(peer, message, trial, run)
            now = time.monotonic()
            run.gone += [p.rank for p in self._peers if p.rank not in (*run.gone, *run.ended) and self._is_gone(p)]
            if run.troubled is None and (run.gone or any(map(has_failed, run.ended.values()))):
                run.troubled = now
            heard_of_all = len(run.gone) + len(run.ended) == len(self._peers)
            told_why = all(self._peers[rank].exit is not None or self.is_over for rank in run.gone)
            if run.troubled is not None and (now - run.troubled > SETTLE_S or (heard_of_all and told_why)):
                return self._failure(run)
            if run.troubled is None and run.over is not None and (heard_of_all or now - run.over > LINGER_S):
                if not heard_of_all:
                    late = [str(peer) for peer in self._peers if peer.rank not in run.ended]
                    log.warning("trial %s: rank 0 has returned, %s not; ended", trial.number, ", ".join(late[:3]))
                return self._result(trial, run.ended[0])
            if trial.stopping is not None and run.over is None:
                run.stopping = run.stopping or now
                if self._is_out_of_patience(trial.stopping, now - run.stopping):
                    log.warning("trial %s: it does not stop (%s) and is ended", trial.number, trial.stopping)
                    return of_stop(trial.progress, wanted=self._wanted)

    def _answer(self, peer: _Peer, message: Message, trial: Trial, run: _Run) -> None:
        if "report" in message:
            step, metrics = message["report"]
            trial.report(step, metrics)
        elif "ended" in message:
            run.ended[peer.rank] = decode(message["ended"])
            if peer.rank == 0:
                run.over = time.monotonic()
                self._release(trial, run)
        elif message["ask"] == 0 or message["ask"] < run.asked or run.over is not None:
            # outside of the user's function, or a question that rank 0 had answered with "go on"
            why = None if 0 < message["ask"] < run.asked else trial.stopping
            if run.over is not None and message["ask"] > run.asked:
                why = trial.stopping or Stopping.CANCELLED
            self._tell(peer, why)
        elif peer.rank == 0:
            run.asked = message["ask"]
            run.answer = trial.stopping
            self._tell(peer, run.answer)
            self._release(trial, run)
        elif message["ask"] == run.asked:
            self._tell(peer, run.answer)
        else:
            run.waiting[peer.rank] = message["ask"]

    def _release(self, trial: Trial, run: _Run) -> None:
        """Answer the ranks that were ahead of rank 0."""
        for rank, asked in list(run.waiting.items()):
            if asked == run.asked:
                self._tell(self._peers[rank], run.answer)
            elif run.over is not None:
                # rank 0 has returned: whoever still asks will wait for nobody
                self._tell(self._peers[rank], trial.stopping or Stopping.CANCELLED)
            else:
                continue
            del run.waiting[rank]

    def _tell(self, peer: _Peer, why: Stopping | None) -> None:
        if peer.process is not None:
            peer.process.send({"why": why})

    def _result(self, trial: Trial, ended: Outcome | GivenBack) -> Outcome | GivenBack:
        if isinstance(ended, GivenBack) and trial.stopping is Stopping.SUPERSEDED:
            return of_stop(trial.progress, wanted=self._wanted)  # raises
        return ended

    def _failure(self, run: _Run) -> Failed:
        """Of several failures the cause of the others: a death comes before what it made of those who waited for it."""
        kept = next((e.metrics for e in (run.ended.get(0),) if isinstance(e, Failed | Complete | Pruned)), {})
        if run.gone:
            killed = self._peers[run.gone[0]]
            if self.is_over and killed.exit is None:
                why = "its task is gone"
            else:
                why = _exit_in_words(killed.exit)
            reason = Reason.OOM_HOST if killed.exit is not None and killed.exit["oom"] else Reason.LOST
            return Failed(reason=reason, message=f"{killed}: {why}; the other ranks were ended", metrics=kept)
        rank, failed = next((rank, ended) for rank, ended in run.ended.items() if has_failed(ended))
        assert isinstance(failed, Failed)
        message = failed.message if rank == 0 else f"{self._peers[rank]}: {failed.message}"
        metrics = failed.metrics if rank == 0 else kept
        return Failed(reason=failed.reason, message=message, traceback=failed.traceback, metrics=metrics)

    def _is_out_of_patience(self, why: Stopping, waited_s: float) -> bool:
        assert self._place is not None
        stall_s = self._sweep.failures.stall
        is_command = self._sweep.objective.command is not None
        match why:
            case Stopping.PRUNED:
                return False  # as in one process: who does not ask runs to the end
            case Stopping.TIME_LIMIT:
                return time.time() > self._place.limit()
            case _ if is_command:
                return waited_s > COMMAND_GRACE_S
            case Stopping.STALLED:
                return waited_s > min(30.0, stall_s or 30.0)
            case _:
                return waited_s > GRACE_S


@contextlib.contextmanager
def led(home: StudyHome, sweep: Sweep, rank: Rank) -> Iterator[Lead]:
    """Rank 0 while the block runs.

    Raises:
        StorageError: the others cannot be told where it is.
    """
    lead = Lead(home, sweep, rank)
    try:
        yield lead
    finally:
        lead.close()


def _exit_in_words(ended: Mapping[str, Any] | None) -> str:
    if ended is None:
        return "its process is gone"
    if ended["oom"]:
        return "its process was killed for want of memory: ask for more with job.mem_gb"
    code = ended["exit"]
    return (
        f"its process was killed by {signal.Signals(-code).name}" if code < 0 else f"its process left with code {code}"
    )
