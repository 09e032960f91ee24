"""Who is alive: by its process on this host, by its lease elsewhere, and never by one look."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict, replace

from hpo_batch import processes
from hpo_batch.errors import StorageError
from hpo_batch.processes import is_dead_here
from hpo_batch.records import Owner
from hpo_batch.store import leases
from hpo_batch.store.held_lease import held
from hpo_batch.store.leases import LeaseWatch, is_followed, lease_path, read_owners, remove_dead, remove_left_over
from tests.helpers import until
from tests.processes import dead_process, kill, start


def owner(worker: str = "w-0", **changes: Any) -> Owner:
    pid = os.getpid()
    here = Owner(
        worker=worker,
        job="local",
        host=processes.host_name(),
        pid=pid,
        start=processes.started_at(pid),
        boot=processes.boot_id(),
        gpus=("0", "1"),
        submission="s",
    )
    return replace(here, **changes)


def facts(worker: str = "w-0", **changes: Any) -> Mapping[str, Any]:
    return asdict(owner(worker, **changes))


ELSEWHERE = facts(host="elsewhere")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(tmp_path: Path, clock: Clock) -> LeaseWatch:
    return LeaseWatch(tmp_path, duration_s=60, clock=clock)


def refresh(folder: Path, worker: str = "w-0") -> None:
    path = lease_path(folder, worker)
    path.touch()
    before = path.stat().st_mtime_ns
    os.utime(path, ns=(before + 1, before + 1))


def test_a_lease_and_a_card_are_there_while_they_are_held(tmp_path: Path) -> None:
    folder = tmp_path / "workers"
    with held(folder, owner(), duration_s=60):
        assert lease_path(folder, "w-0").exists()
        assert read_owners(folder) == {"w-0": owner()}
    assert list(folder.iterdir()) == []


def test_a_lease_is_refreshed(tmp_path: Path) -> None:
    with held(tmp_path, owner(), duration_s=0.06):
        first = lease_path(tmp_path, "w-0").stat().st_mtime_ns
        end = time.monotonic() + 10
        while lease_path(tmp_path, "w-0").stat().st_mtime_ns == first:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_two_workers_of_one_name_do_not_run_together(tmp_path: Path) -> None:
    first = owner(gpus=("7",))
    with held(tmp_path, first, duration_s=60):
        with (
            pytest.raises(StorageError, match="another worker called 'w-0' is running"),
            held(tmp_path, owner(), duration_s=60),
        ):
            pytest.fail("the name is taken")
        assert read_owners(tmp_path) == {"w-0": first}  # the card of the one that runs is not touched


def test_a_lease_that_others_removed_is_acquired_again(tmp_path: Path) -> None:
    with held(tmp_path, owner(), duration_s=0.06) as lease:
        lease.keep()
        remove_dead(tmp_path, facts())  # as after a suspension in which others took this worker for dead
        assert list(tmp_path.iterdir()) == []
        end = time.monotonic() + 10
        while not lease_path(tmp_path, "w-0").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
            lease.keep()
        assert read_owners(tmp_path) == {"w-0": owner()}
    assert list(tmp_path.iterdir()) == []


def test_a_successor_that_has_no_card_yet_keeps_its_lease(tmp_path: Path) -> None:
    with held(tmp_path, owner(), duration_s=60), dead_process() as pid:
        dead = facts(pid=pid)
        (tmp_path / "w-0.json").write_text(json.dumps(dead))  # its predecessor's is there still
        remove_dead(tmp_path, dead)
        assert lease_path(tmp_path, "w-0").exists()


def test_what_a_dead_worker_left_is_removed_and_not_what_its_successor_has(tmp_path: Path) -> None:
    with held(tmp_path, owner(), duration_s=60):
        remove_dead(tmp_path, facts(pid=1))
        assert read_owners(tmp_path) == {"w-0": owner()}
        assert lease_path(tmp_path, "w-0").exists()
        remove_dead(tmp_path, facts("w-01"))
        assert lease_path(tmp_path, "w-0").exists()


def test_what_workers_without_a_trial_left_is_removed_and_no_other(tmp_path: Path) -> None:
    def left(worker: str, *, silent_s: float, **changes: Any) -> None:
        (tmp_path / f"{worker}.json").write_text(json.dumps(facts(worker, **changes)))
        lease_path(tmp_path, worker).touch()
        os.utime(lease_path(tmp_path, worker), (time.time() - silent_s,) * 2)

    with dead_process() as pid, held(tmp_path, owner("lives"), duration_s=60):
        left("killed", silent_s=0, pid=pid)
        left("silent", silent_s=0, host="elsewhere")
        left("long-silent", silent_s=601, host="elsewhere")
        left("asleep-here", silent_s=601)
        lease_path(tmp_path, "comes").touch()  # its card is not written yet
        (tmp_path / "left-its-card.json").write_text(json.dumps(facts("left-its-card", pid=pid)))
        (tmp_path / "of-others.json").write_text(json.dumps(facts("of-others", host="elsewhere")))
        remove_left_over(tmp_path, duration_s=60)
        leases = {path.stem for path in tmp_path.glob("*.lease")}
        cards = {path.stem for path in tmp_path.glob("*.json")}
    assert leases == {"lives", "silent", "asleep-here", "comes"}
    assert cards == {"lives", "silent", "asleep-here", "of-others"}
    remove_left_over(tmp_path / "absent", duration_s=60)


def test_whether_an_array_task_runs_again_is_told_without_reading_the_cards_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = owner("7-r0-3", job="7_3")
    for other in (owner("7-r1-4", job="7_4"), *(owner(f"8-r1-{i}", job=f"8_{i}") for i in range(20))):
        (tmp_path / f"{other.worker}.json").write_text(json.dumps(asdict(other)))
    opened: list[Path] = []
    read = leases.read_regular
    monkeypatch.setattr(leases, "read_regular", lambda path, **given: (opened.append(path), read(path, **given))[1])
    assert not is_followed(tmp_path, mine)
    (tmp_path / "7-r1-3.json").write_text(json.dumps(asdict(owner("7-r1-3", job="7_3"))))
    assert is_followed(tmp_path, mine)
    (tmp_path / "7-r1-3.json").unlink()
    (tmp_path / "7-r1-3.0.json").write_text(json.dumps(asdict(owner("7-r1-3.0", job="7_3"))))
    assert is_followed(tmp_path, mine)
    assert {path.name for path in opened if path.suffix == ".json"} == {"7-r1-3.json", "7-r1-3.0.json"}


def hold(folder: Path, ready: Path) -> None:
    with held(folder, owner(), duration_s=60):
        ready.touch()
        time.sleep(60)


def test_a_killed_worker_does_not_keep_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "workers"
    process, _ = start(hold, folder, tmp_path / "ready")
    until((tmp_path / "ready").exists)
    kill(process)
    assert lease_path(folder, "w-0").exists()
    with held(folder, owner(), duration_s=60):
        assert read_owners(folder) == {"w-0": owner()}


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write a lease"), held(tmp_path / "file", owner(), duration_s=60):
        pytest.fail("a file is not a folder")


def test_cards_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    for i, text in enumerate(["", "{", "[]", "{}", '{"worker": "w", "gpus": 1}', '{"gpus": [], "new": 1}']):
        (tmp_path / f"w-{i}.json").write_text(text)
    assert read_owners(tmp_path) == {}
    assert read_owners(tmp_path / "missing") == {}


def test_a_process_of_this_host_is_judged_at_once() -> None:
    assert is_dead_here(facts()) is False
    assert is_dead_here(facts(start=1)) is True  # the number was given to another process
    # this host before it was rebooted, or another one that is called alike: two laboratories' "ubuntu" on one NFS
    assert is_dead_here(facts(boot="before")) is None
    assert is_dead_here(facts(pid_ns="pid:[1]")) is None  # in a container its pid is another
    assert is_dead_here(facts(pid_ns=processes.pid_namespace())) is False
    assert is_dead_here(ELSEWHERE) is None
    with dead_process() as pid:
        assert is_dead_here(facts(pid=pid)) is True


def test_a_zombie_is_dead() -> None:
    process, pipe = start(int)
    pipe.poll(10)
    while processes.is_alive(process.pid or 0):
        time.sleep(0.01)
    assert is_dead_here(facts(pid=process.pid)) is True
    process.join()


def test_a_worker_elsewhere_is_dead_when_its_lease_was_silent_for_its_duration(
    tmp_path: Path, watch: LeaseWatch, clock: Clock
) -> None:
    refresh(tmp_path)
    clock.now = 1000.0
    assert not watch.is_dead(ELSEWHERE)  # however old the lease is: nobody has watched it yet
    clock.now += 60
    assert not watch.is_dead(ELSEWHERE)
    assert watch.silent_s("w-0") == 60
    clock.now += 1
    assert not watch.is_dead(ELSEWHERE)  # its file server, or we, may have stood still
    assert watch.is_in_doubt(ELSEWHERE)
    clock.now += 15
    assert watch.is_dead(ELSEWHERE)
    assert not watch.is_in_doubt(ELSEWHERE)
    refresh(tmp_path)
    assert not watch.is_dead(ELSEWHERE)
    assert watch.silent_s("w-0") == 0


def test_a_file_server_that_stalls_for_a_minute_kills_nobody(tmp_path: Path, watch: LeaseWatch, clock: Clock) -> None:
    refresh(tmp_path)
    assert not watch.is_dead(ELSEWHERE)
    clock.now += 65  # the look hangs as the refreshes do, and is answered before them
    assert not watch.is_dead(ELSEWHERE)
    clock.now += 2
    refresh(tmp_path)
    assert not watch.is_dead(ELSEWHERE)
    clock.now += 20
    assert not watch.is_dead(ELSEWHERE)


def test_a_silence_of_ten_leases_needs_no_confirmation(tmp_path: Path, watch: LeaseWatch, clock: Clock) -> None:
    refresh(tmp_path)
    assert not watch.is_dead(ELSEWHERE)
    clock.now += 3600  # a long trial between the two looks of this worker
    assert watch.is_dead(ELSEWHERE)


def test_a_worker_elsewhere_that_gave_up_its_lease_is_dead(watch: LeaseWatch) -> None:
    assert watch.is_dead(ELSEWHERE)
    assert watch.silent_s("w-0") == float("inf")


def test_a_clock_of_another_host_does_not_matter(tmp_path: Path, watch: LeaseWatch, clock: Clock) -> None:
    refresh(tmp_path)
    for moment in (0, 2**40, 1):  # days ahead, then back in the past
        os.utime(lease_path(tmp_path, "w-0"), ns=(moment, moment))
        assert not watch.is_dead(ELSEWHERE)
        clock.now += 59


def test_a_living_process_of_this_host_needs_no_lease(watch: LeaseWatch, clock: Clock) -> None:
    assert not watch.is_dead(facts())
    assert not watch.is_in_doubt(facts())
    assert watch.is_dead(facts(start=1))
    assert not watch.is_in_doubt(facts(start=1))


def test_doubt_ends_with_a_sign_of_life_or_with_death(tmp_path: Path, watch: LeaseWatch, clock: Clock) -> None:
    refresh(tmp_path)
    assert watch.is_in_doubt(ELSEWHERE)  # one look proves nothing
    clock.now += 20
    assert watch.is_in_doubt(ELSEWHERE)
    refresh(tmp_path)
    assert not watch.is_in_doubt(ELSEWHERE)
    clock.now += 20
    assert not watch.is_in_doubt(ELSEWHERE)  # seen alive a moment ago
    clock.now += 30
    assert not watch.is_in_doubt(ELSEWHERE)
    clock.now += 11
    assert watch.is_in_doubt(ELSEWHERE)  # it has run out, and that is to be confirmed
    clock.now += 15
    assert not watch.is_in_doubt(ELSEWHERE)
    assert watch.is_dead(ELSEWHERE)


def test_a_refresh_at_an_unknown_time_is_no_sign_of_life(tmp_path: Path, watch: LeaseWatch, clock: Clock) -> None:
    refresh(tmp_path)
    assert watch.is_in_doubt(ELSEWHERE)
    clock.now += 7200  # a trial of two hours in between
    refresh(tmp_path)  # some time in these two hours
    assert watch.is_in_doubt(ELSEWHERE)
    clock.now += 30
    refresh(tmp_path)
    assert not watch.is_in_doubt(ELSEWHERE)


def test_nobody_doubts_a_lease_that_is_gone(watch: LeaseWatch) -> None:
    assert not watch.is_in_doubt(ELSEWHERE)
