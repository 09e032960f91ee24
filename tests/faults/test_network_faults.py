"""What file servers do to a worker: calls that fail, answers that get lost, stalls, clocks, studies that move.

A local disk that is full or fails is for ``test_full_disk`` and ``test_every_call``. Here the worker is a client of a
network file system (``tests.simulators``): errors come late, by the sync or the close; a call that was made is answered
with an error; a server stands still. After each of them what was acknowledged is there, the study is readable by us and
by plain Optuna, the message names the file and the reason, and whoever tries again succeeds.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hpo_batch import mounts, processes
from hpo_batch.errors import StorageError, Superseded
from hpo_batch.journal import locks
from hpo_batch.journal.encode import Writer
from hpo_batch.journal.file import Journal
from hpo_batch.records import Claim, Idle, IdleWhy, Owner, TrialState
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study import patience, reports
from hpo_batch.study.study import Study
from tests.helpers import until
from tests.journal.helpers import assert_read_as_optuna_reads
from tests.simulators import control
from tests.simulators.fixtures import Load
from tests.simulators.preload import HostClock, Latency, Refusals, WriteBack
from tests.simulators.processes import Preloaded, ProcessDied
from tests.study.helpers import claimed, complete, make, state_of

IMPORTS = (__name__,)
STALE, QUOTA, FAILED = errno.ESTALE, errno.EDQUOT, errno.EIO
KINDS = (
    "open", "read", "write", "fsync", "close", "link", "unlink", "rename", "mkdir", "stat", "flock", "utime", "trunc",
    "opendir",
)  # fmt: skip
MOST_CALLS = 80
"""of one kind that a short life makes"""
GRACE_S = 0.5
IS_LONG = "HPO_BATCH_TEST_STORMS" in os.environ
"""asked for now: the tests themselves see none of the user's variables"""


TORN = b'{"op_code":9,"worker_id":"hpo-batch-'
"""what a writer left that was killed within a record: the next one cuts it off"""
HANGS_S = 20.0


@dataclass(kw_only=True)
class Life:
    """What a worker's short life came to."""

    said: list[str] = field(default_factory=list)
    """the errors that its calls were answered with"""
    told: dict[int, float] = field(default_factory=dict)
    """what was acknowledged: value by number of the trial"""
    calls: int = 0
    """of the kind that was to fail"""
    went_wrong: str = ""
    """an error that is none of ours"""


def be_worker(host: str, index: int = 0) -> Owner:
    """This process is a worker on a host of its own, on a network; what takes half a minute takes half a second."""
    control.as_network()
    control.be_host(host)
    assert locks.FOREIGN_GRACE_S
    assert patience.RETRY_PAUSES_S
    locks.FOREIGN_GRACE_S = GRACE_S
    patience.RETRY_PAUSES_S = (0.0,)
    reports.REPORT_EVERY_S = 0.0  # each report comes to the journal
    pid = os.getpid()
    return Owner(
        worker=f"{host}-{pid}-{index}", job="local", host=host, pid=pid, start=processes.started_at(pid),
        boot=processes.boot_id(),
    )  # fmt: skip


def lives(home: StudyHome, arm: Callable[[], None], *, trials: int = 2) -> Life:
    """Claim, report and tell; what fails is tried again once, as it is."""
    owner, life = be_worker("first"), Life()
    arm()
    try:
        for again in (False, True):
            try:
                with Study.open(home, owner) as study:
                    for _ in range(trials):
                        _one_trial(study, life)
                break
            except StorageError as error:
                life.said.append(str(error))
                assert not again, f"nor when tried again: {life.said}"
    except Exception as error:
        life.went_wrong = f"{type(error).__name__}: {error}"
    life.calls = control.calls_seen()
    return life


def _one_trial(study: Study, life: Life) -> None:
    claim = _twice(lambda: claimed(study), life)
    _twice(lambda: study.open_attempt(claim), life)
    value = claim.number + 0.25
    study.reports.add(claim, 1, {"loss": value})
    try:
        _twice(lambda: study.tell(claim, complete(claim, value)), life)
    except Superseded:
        if not life.said:  # else it was told, and only the answer was an error
            raise
    life.told[claim.number] = value


def _twice(call: Callable[[], object], life: Life) -> Claim:
    try:
        return call()  # type: ignore[return-value]
    except StorageError as error:
        if isinstance(error, Superseded):
            raise
        life.said.append(str(error))
        return call()  # type: ignore[return-value]


def lives_refused(
    home: StudyHome, kind: str, nth: int, error: int, after: bool, part: str = "", lasting: bool = False
) -> Life:
    where = part or str(home.path)
    return lives(home, lambda: control.refuse(kind, where, nth=nth, error=error, after=after, lasting=lasting))


def finishes(home: StudyHome) -> str:
    """Another worker, on another host, does what is left."""
    owner = be_worker("second")
    with Study.open(home, owner) as study:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            given = study.claim()
            if isinstance(given, Idle):
                if given.why is not IdleWhy.IN_FLIGHT:
                    return given.why.value
                time.sleep(0.02)
                continue
            study.tell(given[0], complete(given[0], given[0].number + 0.25))
    return "no end"


def check(home: StudyHome, life: Life, preloaded: Preloaded, *, trials: int) -> None:
    assert not life.went_wrong, life
    before = state_of(home)
    assert_read_as_optuna_reads(home.journal)
    for number, value in life.told.items():
        assert before.trials[number].values == (value,), life
    assert answer_of(preloaded, finishes, home) == "target met", life
    state = state_of(home)
    assert (state.counts().complete, len(state.trials)) == (trials, trials), life
    assert [trial.values for trial in state.trials] == [(n + 0.25,) for n in range(trials)], life
    assert_read_as_optuna_reads(home.journal)


def check_message(message: str, home: StudyHome, error: int) -> None:
    """Which file, and what the system said."""
    assert "cannot" in message, message
    assert str(home.path) in message, message
    assert os.strerror(error) in message, message


@pytest.fixture
def fresh(network_root: Path) -> Callable[[], StudyHome]:
    """The same study again and again, with nothing done in it."""
    kept = make(network_root / "kept", study="trials = 4\nlease_s = 1\nmax_attempts = 9").path
    made = 0

    def copy() -> StudyHome:
        nonlocal made
        made += 1
        folder = network_root / str(made)
        shutil.copytree(kept, folder / "s")
        return home_of(folder, "s")

    return copy


@pytest.fixture(scope="module")
def client(load: Load, refusals: Refusals, write_back: WriteBack) -> Preloaded:
    """A client whose calls fail as they are made."""
    return load(refusals, write_back, imports=IMPORTS)


@pytest.fixture(scope="module")
def served(load: Load, refusals: Refusals, write_back: WriteBack) -> Preloaded:
    """A client whose server refuses what its cache writes."""
    return load(write_back, refusals, imports=IMPORTS)


def torn(home: StudyHome) -> StudyHome:
    with home.journal.open("ab") as file:
        file.write(TORN)
    return home


def places(calls: int) -> list[int]:
    """Which of so many calls are to fail: all of them in a long run, else three."""
    return sorted(range(calls) if IS_LONG else {calls * i // 3 for i in range(3)})


def answer_of(preloaded: Preloaded, function: Callable[..., Any], *arguments: Any) -> Any:
    return preloaded.start(function, *arguments).answer(HANGS_S)


# --- one call fails


@pytest.mark.parametrize("after", [False, True], ids=["refused", "made, and its answer lost"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_call_of_each_kind_fails_wherever_it_is(
    fresh: Callable[[], StudyHome], client: Preloaded, kind: str, after: bool
) -> None:
    """Calls of the kind in turn, with the errors in turn; the journal begins with a torn record."""
    calls = answer_of(client, lives_refused, torn(fresh()), kind, MOST_CALLS, FAILED, after).calls
    assert 0 < calls < MOST_CALLS
    for nth in places(calls):
        error = (STALE, QUOTA, FAILED)[nth % 3]
        home = torn(fresh())
        life = answer_of(client, lives_refused, home, kind, nth, error, after)
        for message in life.said:
            check_message(message, home, error)
        check(home, life, client, trials=4)


@pytest.mark.parametrize("error", [STALE, QUOTA, FAILED], ids=["stale handle", "quota", "input/output error"])
@pytest.mark.parametrize("part", ["/journal.jsonl", "/result.json", "/claim.json", "/workers/"])
def test_the_server_refuses_what_the_cache_writes(
    fresh: Callable[[], StudyHome], served: Preloaded, part: str, error: int
) -> None:
    """The write was fine; the sync, or the close, says that it was not, and the data is gone."""
    for nth in range(6):
        home = fresh()
        name = part if part != "/result.json" else "result.json"  # it is written under another name
        life = answer_of(served, lives_refused, home, "write", nth, error, False, name)
        for message in life.said:
            check_message(message, home, error)
        check(home, life, served, trials=4)
        if life.calls <= nth:
            break
    assert nth > 0


LOST_ANSWERS = {"link": errno.EEXIST, "unlink": errno.ENOENT, "rename": errno.ENOENT, "mkdir": errno.EEXIST}
"""what a server says to a request that it has carried out and is sent again, since its answer was lost

Not to O_EXCL: by the verifier that comes with the request the server knows it again.
"""


@pytest.mark.parametrize("kind", LOST_ANSWERS)
def test_a_request_that_was_sent_again_is_answered_as_if_somebody_else_had_been_there(
    fresh: Callable[[], StudyHome], client: Preloaded, kind: str
) -> None:
    error = LOST_ANSWERS[kind]
    for nth in places(answer_of(client, lives_refused, fresh(), kind, MOST_CALLS, error, True).calls):
        home = fresh()
        life = answer_of(client, lives_refused, home, kind, nth, error, True)
        for message in life.said:
            check_message(message, home, error)
        check(home, life, client, trials=4)


# --- all calls fail for a while


def tells_at_last(home: StudyHome, kind: str, error: int) -> tuple[list[str], int]:
    """A quota that stays used up, a server that is away: what is told meanwhile, and then."""
    owner, said = be_worker("first"), []
    with Study.open(home, owner) as study:
        claim = claimed(study)
        study.open_attempt(claim)
        with control.refused(kind, str(home.path), error=error):
            study.reports.add(claim, 1, {"loss": 0.25})
            for call in (lambda: study.tell(claim, complete(claim, 0.25)), study.claim):
                try:
                    call()
                except StorageError as refusal:
                    said.append(str(refusal))
        study.tell(claim, complete(claim, 0.25))
        return said, claimed(study).number


@pytest.mark.parametrize("kind", ["open", "write", "fsync", "link", "flock"])
@pytest.mark.parametrize("error", [STALE, QUOTA, FAILED], ids=["stale handle", "quota", "input/output error"])
def test_a_worker_whose_server_refuses_for_a_while_goes_on_when_it_is_back(
    fresh: Callable[[], StudyHome], client: Preloaded, kind: str, error: int
) -> None:
    home = fresh()
    said, next_one = answer_of(client, tells_at_last, home, kind, error)
    assert len(said) == 2
    for message in said:
        check_message(message, home, error)
    assert next_one == 1
    state = state_of(home)
    assert (state.trials[0].state, state.trials[0].values, state.trials[0].attempt) == (
        TrialState.COMPLETE, (0.25,), 1,
    )  # fmt: skip
    assert state.trials[0].steps == {1: 0.25}
    assert_read_as_optuna_reads(home.journal)


def quota_in_the_cache(home: StudyHome) -> tuple[list[str], bytes, int]:
    owner, said = be_worker("first"), []
    with Study.open(home, owner) as study:
        claim = claimed(study)
        study.open_attempt(claim)
        control.refuse("write", "/journal.jsonl", error=QUOTA, lasting=True)
        for call in (lambda: study.tell(claim, complete(claim, 0.25)), study.claim):
            try:
                call()
            except StorageError as error:
                said.append(str(error))
        control.refuse("write", "/nothing", error=QUOTA)
        study.tell(claim, complete(claim, 0.25))
        return said, home.journal.read_bytes(), claimed(study).number


def test_a_worker_over_quota_goes_on_when_there_is_room_again(
    fresh: Callable[[], StudyHome], served: Preloaded
) -> None:
    """On NFS a quota is told by the sync: what the worker believes to have written is not there."""
    home = fresh()
    said, journal, next_one = answer_of(served, quota_in_the_cache, home)
    assert len(said) == 2
    for message in said:
        check_message(message, home, QUOTA)
    assert next_one == 1
    assert home.journal.read_bytes().startswith(journal)
    assert state_of(home).trials[0].values == (0.25,)


@pytest.mark.parametrize("error", [STALE, QUOTA, FAILED], ids=["stale handle", "quota", "input/output error"])
def test_a_message_says_what_to_do(fresh: Callable[[], StudyHome], client: Preloaded, error: int) -> None:
    """Beside the file and the system's words: "Stale file handle" and "Input/output error" help nobody."""
    said, _ = answer_of(client, tells_at_last, fresh(), "fsync", error)
    for message in said:
        assert not message.endswith(os.strerror(error)), message


# --- writes that overtake each other


@pytest.mark.parametrize("later", [1, 2], ids=["the last record", "with a whole record after it"])
def test_a_worker_without_the_lock_waits_for_a_record_that_is_still_zeros(
    root: Path, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client may send the end of a write before its beginning: until then others read zeros, as of a hole.

    To read on behind them would be to miss the record; to call it damage ends a worker whose journal is fine.
    """
    monkeypatch.setenv(mounts.SHARED_VARIABLE, "1")
    home = make(root, study="trials = 9")
    reader = Journal(home.journal)
    before = home.journal.read_bytes()
    assert reader.read_new() == before
    writer = Writer("other")
    records = [msgspec.json.encode(writer.study_attr("hpo:armed", float(n))) + b"\n" for n in range(later)]
    data = b"".join(records)
    hidden = len(records[0]) // 2
    home.journal.write_bytes(before + b"\0" * hidden + data[hidden:])
    assert reader.read_new(judge=False) == b""
    home.journal.write_bytes(before + data)
    assert reader.read_new(judge=False) == data


# --- a server that stands still


def holds(home: StudyHome, end: Path) -> str:
    """A worker that trains until a file is there."""
    with Study.open(home, be_worker("first")) as study:
        claim = claimed(study)
        (home.path / "it trains").touch()
        until(end.exists)
        try:
            study.tell(claim, complete(claim, 0.25))
        except Superseded:
            return "its trial was taken from it"
    return "told"


def waits_for_the_rest(home: StudyHome) -> str:
    """A worker with nothing to do, which watches whether the other lives."""
    with Study.open(home, be_worker("second")) as study:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            given = study.claim()
            if not isinstance(given, Idle):
                study.tell(given[0], complete(given[0], 0.5))
            elif given.why is not IdleWhy.IN_FLIGHT:
                return given.why.value
            study.is_in_doubt()
            (home.path / "it watches").touch()
            time.sleep(0.05)
    return "no end"


@pytest.fixture
def far(network_folder: Path, tmp_path: Path) -> Latency:
    return Latency(root=network_folder, round_trip_s=0.0005, out=tmp_path / "operations")


def test_a_server_that_stands_still_for_longer_than_a_lease_kills_nobody(
    load: Load, far: Latency, network_root: Path, tmp_path: Path
) -> None:
    """Nobody could refresh a lease, and nobody could see one refreshed: it proves nothing.

    Clients find a server that is back at different times: the one that watches before the one that is watched.
    """
    # nine seconds: with three, a busy machine refreshed the lease too late about one second after the server was back
    home = make(network_root, study="trials = 1\nlease_s = 9\nmax_attempts = 9")
    holders = Latency(root=far.root, round_trip_s=far.round_trip_s, out=tmp_path / "operations of the holder")
    write_back, over = WriteBack(root=far.root), tmp_path / "it is over"
    holder = load(write_back, holders, imports=IMPORTS).start(holds, home, over)
    until((home.path / "it trains").exists)
    other = load(write_back, far, imports=IMPORTS).start(waits_for_the_rest, home)
    until((home.path / "it watches").exists)
    time.sleep(0.5)
    far.stall(12.0)
    holders.stall(13.2)
    time.sleep(19)
    over.touch()
    assert holder.answer() == "told"
    assert other.answer() == "target met"
    trial = state_of(home).trials[0]
    assert (trial.values, trial.attempt) == ((0.25,), 1)


def test_a_server_that_stands_still_in_the_middle_of_calls_costs_time_only(
    load: Load, far: Latency, network_root: Path
) -> None:
    home = make(network_root, study="trials = 12\nlease_s = 30\nmax_attempts = 9")
    slow = load(WriteBack(root=far.root), far, imports=IMPORTS)
    workers = [slow.start(finishes, home) for _ in range(3)]
    while not all(worker.has_ended for worker in workers):
        far.stall(0.15)
        time.sleep(0.2)
    assert {worker.answer() for worker in workers} == {"target met"}
    state = state_of(home)
    assert (state.counts().complete, [trial.attempt for trial in state.trials]) == (12, [1] * 12)
    assert_read_as_optuna_reads(home.journal)


# --- clocks


def works_by_another_clock(home: StudyHome, index: int, hours: float) -> int:
    owner, done = be_worker(f"host{index}", index), 0
    control.set_clock(ahead_s=hours * 3600)
    with Study.open(home, owner) as study:
        while not isinstance(given := study.claim(), Idle) or given.why is IdleWhy.IN_FLIGHT:
            if isinstance(given, Idle):
                time.sleep(0.02)
                continue
            study.reports.add(given[0], 1, {"loss": 0.5})
            study.tell(given[0], complete(given[0]))
            done += 1
    return done


def dies_by_another_clock(home: StudyHome, hours: float, number: int) -> None:
    """When it is about to append, holding all locks."""
    owner = be_worker("dying")
    control.set_clock(ahead_s=hours * 3600)
    with Study.open(home, owner) as study:
        claim = claimed(study)
        control.refuse("write", "/journal.jsonl", error=-number)
        study.tell(claim, complete(claim))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGRTMIN], ids=["host crashes", "host lives on"])
def test_hosts_whose_clocks_are_hours_apart_take_over_from_each_other(
    load: Load, network_root: Path, write_back: WriteBack, refusals: Refusals, how: int
) -> None:
    """What a dead host held is found dead by no clock but the watcher's; what the living hold is left alone."""
    home = make(network_root, study="trials = 24\nlease_s = 1\nmax_attempts = 9")
    clocks = load(HostClock(), refusals, write_back, imports=IMPORTS)
    for hours in (-7.0, 9.0):
        with pytest.raises(ProcessDied):
            clocks.call(dies_by_another_clock, home, hours, how)
    workers = [clocks.start(works_by_another_clock, home, i, h) for i, h in enumerate((-7.0, 0.0, 5.0))]
    done = [worker.answer() for worker in workers]
    state = state_of(home)
    assert (state.counts().complete, len(state.trials)) == (24, 24)
    # the two dead had claimed, or told, a trial each
    assert sum(done) >= 22
    assert sum(trial.attempt for trial in state.trials) <= 26
    assert_read_as_optuna_reads(home.journal)


# --- a study that moves between kinds of file systems


def works_some(home: StudyHome, trials: int) -> list[int]:
    owner, done = be_worker("cluster"), []
    with Study.open(home, owner) as study:
        for _ in range(trials):
            claim = claimed(study)
            study.open_attempt(claim)
            study.tell(claim, complete(claim))
            done.append(claim.number)
    return done


def works_here(home: StudyHome, trials: int) -> list[int]:
    """On a laptop: a local disk, and no simulator."""
    done: list[int] = []
    locks.FOREIGN_GRACE_S = GRACE_S
    pid = os.getpid()
    owner = Owner(
        worker=f"laptop-{pid}-0", job="local", host=processes.host_name(), pid=pid, start=processes.started_at(pid),
        boot=processes.boot_id(),
    )  # fmt: skip
    with Study.open(home, owner) as study:
        end = time.monotonic() + 20
        while len(done) < trials and time.monotonic() < end:
            given = study.claim()
            if isinstance(given, Idle):
                assert given.why is IdleWhy.IN_FLIGHT, given
                time.sleep(0.02)
                continue
            study.tell(given[0], complete(given[0]))
            done.append(given[0].number)
    return done


@pytest.mark.parametrize("left", ["in order", "by a dead host that held the lock", "while another works"])
def test_a_study_goes_from_the_network_to_a_local_disk_and_back(
    load: Load, write_back: WriteBack, refusals: Refusals, network_root: Path, tmp_path: Path, left: str
) -> None:
    """Copied with all that lies in it: locks, cards, and leases of hosts that nobody here can ask."""
    home = make(network_root, study="trials = 16\nlease_s = 1\nmax_attempts = 9")
    cluster = load(HostClock(), refusals, write_back, imports=IMPORTS)
    done = cluster.call(works_some, home, 5)
    holder = None
    if left == "by a dead host that held the lock":
        with pytest.raises(ProcessDied):
            cluster.call(dies_by_another_clock, home, 0.0, signal.SIGKILL)
        assert Path(f"{home.journal}.lock").exists()
    elif left == "while another works":
        holder = cluster.start(holds, home, tmp_path / "it is copied")
        until((home.path / "it trains").exists)
    here = home_of(tmp_path, "s")
    shutil.copytree(home.path, here.path, symlinks=True)
    if holder is not None:
        (tmp_path / "it is copied").touch()
        assert holder.answer() == "told"  # in the original: the copy does not have it
    before = {trial.number: trial.values for trial in state_of(here).trials if trial.state is TrialState.COMPLETE}
    assert set(done) <= set(before)
    local = load(imports=IMPORTS)
    local.call(works_here, here, 6)
    assert_read_as_optuna_reads(here.journal)
    shutil.rmtree(home.path)
    shutil.copytree(here.path, home.path, symlinks=True)
    assert cluster.call(finishes_by_value, home) == "target met"
    state = state_of(home)
    assert (state.counts().complete, len(state.trials)) == (16, 16)
    assert {number: state.trials[number].values for number in before} == before
    assert len({trial.key for trial in state.trials}) == 16
    assert_read_as_optuna_reads(home.journal)


def finishes_by_value(home: StudyHome) -> str:
    with Study.open(home, be_worker("cluster again")) as study:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            given = study.claim()
            if not isinstance(given, Idle):
                study.tell(given[0], complete(given[0]))
            elif given.why is not IdleWhy.IN_FLIGHT:
                return given.why.value
            else:
                time.sleep(0.02)
    return "no end"
