"""The file system of the network tests itself: does it show hosts what clients of a network file system see?"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Hosts
from tests.network.mount import Host, mounted

LONG = 60.0
"""an attribute timeout that does not run out in a test"""


@pytest.fixture
def pair(hosts: Hosts) -> list[Host]:
    return hosts(2, attr_timeout=LONG)


@contextlib.contextmanager
def opened(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> Iterator[int]:
    fd = os.open(path, flags, 0o644)
    try:
        yield fd
    finally:
        os.close(fd)


def raises(number: int) -> contextlib.AbstractContextManager[object]:
    return pytest.raises(OSError, match=rf"\[Errno {number}\]")


# -- what is written


def test_what_is_written_is_seen_elsewhere_when_it_is_synced(pair: list[Host]) -> None:
    a, b = pair
    with opened(a.path / "file") as fd:
        os.write(fd, b"first")
        assert (a.path / "file").read_bytes() == b"first"
        assert (a.path / "file").stat().st_size == 5
        assert (b.path / "file").read_bytes() == b""
        assert (a.source / "file").read_bytes() == b""
        os.fsync(fd)
        assert (a.source / "file").read_bytes() == b"first"
        assert (b.path / "file").read_bytes() == b"first"


@pytest.mark.parametrize(
    "act",
    [
        lambda fd: os.ftruncate(fd, 5),
        lambda fd: os.utime(fd),
        lambda fd: fcntl.flock(fd, fcntl.LOCK_EX),
        lambda fd: fcntl.flock(fd, fcntl.LOCK_SH),
        lambda fd: fcntl.flock(fd, fcntl.LOCK_UN),
        lambda fd: os.close(os.dup(fd)),
        lambda fd: os.fdatasync(fd),
    ],
    ids=["truncate", "utime", "lock", "shared lock", "unlock", "close of a copy", "fdatasync"],
)
def test_what_else_writes_back(pair: list[Host], act: Callable[[int], object]) -> None:
    a, _ = pair
    with opened(a.path / "file") as fd:
        os.write(fd, b"first")
        assert (a.source / "file").read_bytes() == b""
        act(fd)
        assert (a.source / "file").read_bytes() == b"first"


def test_the_lock_of_another_file_writes_nothing_back(pair: list[Host]) -> None:
    a, _ = pair
    with opened(a.path / "data") as data, opened(a.path / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(data, b"first")
        fcntl.flock(lock, fcntl.LOCK_UN)
        with opened(a.path / "data", os.O_RDONLY):
            pass
        assert (a.source / "data").read_bytes() == b""
    assert (a.source / "data").read_bytes() == b"first"


def test_what_is_written_reaches_the_server_by_itself_after_a_while(hosts: Hosts) -> None:
    (a,) = hosts(1, writeback=0.2)
    with opened(a.path / "file") as fd:
        os.write(fd, b"first")
        deadline = time.monotonic() + 20
        while not (a.source / "file").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.write(fd, b"second")
        a.sync()
        assert (a.source / "file").read_bytes() == b"firstsecond"


def test_sync_writes_at_once_where_it_was_asked_for(pair: list[Host]) -> None:
    a, _ = pair
    with opened(a.path / "file", os.O_WRONLY | os.O_CREAT | os.O_DSYNC) as fd:
        os.write(fd, b"first")
        assert (a.source / "file").read_bytes() == b"first"


def test_a_killed_program_has_written_back_and_a_host_without_power_has_not(hosts: Hosts) -> None:
    a, b = hosts(2)
    text = (
        "import os, sys, time; fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); os.write(fd, b'first');"
        "print(1, flush=True); time.sleep(1000)"
    )
    for host, cut, left in ((a, False, b"first"), (b, True, b"")):
        path = host.path / f"file{cut}"
        argv = [sys.executable, "-c", text, path]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.read(1)
            if cut:
                host.cut_power()
            process.kill()
        assert (host.source / path.name).read_bytes() == left
    with raises(errno.ENOENT):
        (b.path / "fileTrue").read_bytes()
    b.mount()
    assert (b.path / "fileTrue").read_bytes() == b""


def test_two_hosts_that_append_without_a_lock_write_over_each_other(pair: list[Host]) -> None:
    """The order of fault 1: the second host sees the old size, since the first has not synced."""
    a, b = pair
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    with opened(a.path / "log", flags) as first, opened(b.path / "log", flags) as second:
        os.write(first, b"aaaa")
        os.write(second, b"bb")
        os.fsync(first)
        os.fsync(second)
    assert (a.source / "log").read_bytes() == b"bbaa"


def test_a_page_is_written_back_as_this_host_knew_it(pair: list[Host]) -> None:
    a, b = pair
    (a.path / "file").write_bytes(b"old1old2")
    with opened(a.path / "file") as mine, opened(b.path / "file") as theirs:
        assert os.pread(mine, 8, 0) == b"old1old2"
        os.pwrite(theirs, b"NEW1", 0)
        os.fsync(theirs)
        os.pwrite(mine, b"new2", 4)
        os.fsync(mine)
    assert (a.source / "file").read_bytes() == b"old1new2"


# -- what is read


def test_what_was_read_is_kept_until_the_file_is_opened_again(pair: list[Host]) -> None:
    a, b = pair
    (a.path / "file").write_bytes(b"first")
    with opened(b.path / "file", os.O_RDONLY) as fd:
        assert os.pread(fd, 9, 0) == b"first"
        (a.path / "file").write_bytes(b"other and longer")
        assert os.pread(fd, 99, 0) == b"first"
        assert os.fstat(fd).st_size == 5
        with opened(b.path / "file", os.O_RDONLY):
            assert os.pread(fd, 99, 0) == b"other and longer"


def test_what_was_read_is_looked_at_anew_under_the_files_own_lock(pair: list[Host]) -> None:
    a, b = pair
    (a.path / "file").write_bytes(b"first")
    with opened(b.path / "file") as fd, opened(b.path / "lock") as lock:
        assert os.pread(fd, 9, 0) == b"first"
        (a.path / "file").write_bytes(b"other")
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert os.pread(fd, 9, 0) == b"first"
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert os.pread(fd, 9, 0) == b"other"


def test_attributes_and_data_are_believed_for_the_timeout(hosts: Hosts) -> None:
    a, b = hosts(2, attr_timeout=0.5)
    (a.path / "file").write_bytes(b"first")
    with opened(b.path / "file", os.O_RDONLY) as fd:
        assert os.pread(fd, 99, 0) == b"first"
        began = time.monotonic()
        before = (b.path / "file").stat()
        (a.path / "file").write_bytes(b"other and longer")
        early = (b.path / "file").stat()
        late = time.monotonic() - began
        assert late < 0.5, "the machine is too slow for this test"
        assert (early.st_size, early.st_mtime_ns) == (5, before.st_mtime_ns)
        time.sleep(0.6)
        assert os.pread(fd, 99, 0) == b"other and longer"
        assert (b.path / "file").stat().st_size == 16


def test_what_we_wrote_makes_what_we_read_no_older(pair: list[Host]) -> None:
    """After a write of its own a host cannot tell whether others wrote before: the next open reads anew."""
    a, b = pair
    (a.path / "file").write_bytes(b"1" * 9000)
    with opened(b.path / "file") as fd:
        assert os.pread(fd, 9000, 0) == b"1" * 9000
        with opened(a.path / "file") as other:
            os.pwrite(other, b"2" * 10, 0)
        os.pwrite(fd, b"3" * 10, 8000)
        os.fsync(fd)
        assert os.pread(fd, 10, 0) == b"1" * 10
        with opened(b.path / "file") as again:
            assert os.pread(again, 10, 0) == b"2" * 10
            assert os.pread(again, 10, 8000) == b"3" * 10


def test_the_own_changes_are_seen_at_once(pair: list[Host]) -> None:
    a, _ = pair
    path = a.path / "file"
    path.write_bytes(b"12345")
    assert path.stat().st_size == 5
    os.truncate(path, 2)
    assert (path.stat().st_size, path.read_bytes()) == (2, b"12")
    os.utime(path, (1, 2))
    assert path.stat().st_mtime == 2
    os.link(path, a.path / "other")
    assert path.stat().st_nlink == 2
    (a.path / "other").unlink()
    assert path.stat().st_nlink == 1
    path.chmod(0o600)
    assert path.stat().st_mode & 0o777 == 0o600


# -- names


def test_names_are_believed_until_the_folder_is_known_to_have_changed(pair: list[Host]) -> None:
    a, b = pair
    (a.path / "gone").touch()
    assert (b.path / "gone").exists()
    assert not (b.path / "new").exists()
    (a.path / "gone").unlink()
    (a.path / "new").write_text("x")
    assert (b.path / "gone").exists()
    assert not (b.path / "new").exists()
    assert sorted(path.name for path in b.path.iterdir()) == ["new"]
    assert not (b.path / "gone").exists()
    assert (b.path / "new").read_text() == "x"


def test_a_change_of_ours_in_the_folder_shows_what_others_did_there(pair: list[Host]) -> None:
    a, b = pair
    assert not (b.path / "new").exists()
    (a.path / "new").touch()
    assert not (b.path / "new").exists()
    (b.path / "own").touch()
    time.sleep(0.2)  # by a thread, since the kernel holds the folder during the call itself
    assert (b.path / "new").exists()


def test_names_are_looked_up_again_after_the_timeout(hosts: Hosts) -> None:
    a, b = hosts(2, attr_timeout=0.3)
    assert not (b.path / "new").exists()
    (a.path / "new").touch()
    time.sleep(0.4)
    assert (b.path / "new").exists()


def test_an_open_asks_the_server_which_file_it_is(pair: list[Host]) -> None:
    a, b = pair
    (a.path / "file").write_text("old")
    assert (b.path / "file").read_text() == "old"
    (a.path / "next").write_text("replaced")
    (a.path / "next").replace(a.path / "file")
    assert (b.path / "file").read_text() == "replaced"
    (a.path / "file").unlink()
    with raises(errno.ENOENT):
        (b.path / "file").read_text()


def test_a_file_that_another_host_removed_is_stale_and_one_that_this_host_removed_is_not(pair: list[Host]) -> None:
    a, b = pair
    (a.path / "file").write_text("text")
    with opened(a.path / "file") as mine, opened(b.path / "file") as theirs:
        (a.path / "file").unlink()
        assert os.pread(mine, 9, 0) == b"text"
        os.pwrite(mine, b"more", 4)
        os.fsync(mine)
        assert os.pread(mine, 9, 0) == b"textmore"
        assert os.fstat(mine).st_nlink == 0
        with raises(errno.ESTALE):
            os.pread(theirs, 9, 0)
        os.pwrite(theirs, b"lost", 0)
        with raises(errno.ESTALE):
            os.fsync(theirs)


def test_a_server_that_keeps_removed_files_for_whom_has_them_open(hosts: Hosts) -> None:
    a, b = hosts(2, keep_removed=True)
    (a.path / "file").write_text("text")
    with opened(b.path / "file") as theirs:
        (a.path / "file").unlink()
        assert os.pread(theirs, 9, 0) == b"text"
        os.pwrite(theirs, b"more", 4)
        os.fsync(theirs)


def test_exclusive_creation_and_links_ask_the_server(pair: list[Host]) -> None:
    a, b = pair
    for host in pair:
        (host.path / f"card.{host.path.name}").touch()
    for name, make in {
        "open": lambda host, path: os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
        "link": lambda host, path: os.link(host.path / f"card.{host.path.name}", path),
        "mkdir": lambda host, path: path.mkdir(),
        "symlink": lambda host, path: path.symlink_to("x"),
    }.items():
        assert not (b.path / name).exists()
        make(a, a.path / name)
        assert not (b.path / name).exists()  # it still believes so
        with raises(errno.EEXIST):
            make(b, b.path / name)
        (a.path / name).rmdir() if name == "mkdir" else (a.path / name).unlink()
        make(b, b.path / name)  # though it believes that it is there


@pytest.mark.parametrize("kind", ["open", "link"])
def test_locks_made_of_files_exclude_hosts(hosts: Hosts, kind: str) -> None:
    trio = hosts(3)

    def take(host: Host, card: Path) -> None:
        if kind == "link":
            os.link(card, host.path / "lock")
        else:
            os.close(os.open(host.path / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY))

    held, most = [0], [0]
    errors: list[BaseException] = []

    def contend(host: Host) -> None:
        card = host.path / f"card.{host.path.name}"
        card.touch()
        won = 0
        try:
            while won < 30:
                try:
                    take(host, card)
                except FileExistsError:
                    continue
                held[0] += 1
                most[0] = max(most[0], held[0])
                time.sleep(0.0002)
                won += 1
                held[0] -= 1
                (host.path / "lock").unlink()
        except BaseException as error:
            errors.append(error)

    in_threads([lambda host=host: contend(host) for host in trio])
    assert not errors
    assert most == [1]


def test_a_rename_replaces_in_one_step(hosts: Hosts) -> None:
    a, b = hosts(2)
    (a.path / "file").write_bytes(b"0" * 5000)
    stop = threading.Event()
    seen: set[bytes] = set()
    others: set[int | None] = set()

    def read() -> None:
        while not stop.is_set():
            try:
                seen.add((b.path / "file").read_bytes())
            except OSError as error:  # replaced between its opening and its reading, as on NFS
                others.add(error.errno)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 60):
        (a.path / "new").write_bytes(str(number % 10).encode() * 5000)
        (a.path / "new").replace(a.path / "file")
    stop.set()
    reader.join()
    assert all(len(text) == 5000 and len(set(text)) == 1 for text in seen)
    assert len(seen) > 1
    assert others <= {errno.ESTALE}


def test_hard_links_are_one_file_with_one_number(pair: list[Host]) -> None:
    a, b = pair
    (a.path / "one").write_text("text")
    os.link(a.path / "one", a.path / "two")
    numbers = {(host.path / name).stat().st_ino for host in pair for name in ("one", "two")}
    assert numbers == {(a.source / "one").stat().st_ino}
    with opened(a.path / "one") as fd:
        os.pwrite(fd, b"TEXT", 0)
        assert (a.path / "two").read_text() == "TEXT"
    assert (b.path / "two").read_text() == "TEXT"


# -- locks


def try_lock(fd: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize("locks", ["shared", "local"])
def test_whom_flock_excludes(hosts: Hosts, locks: str) -> None:
    a, b = hosts(2, locks=locks)
    with (
        opened(a.path / "lock") as first,
        opened(a.path / "lock") as second,
        opened(b.path / "lock") as elsewhere,
    ):
        assert try_lock(first)
        assert not try_lock(second)
        assert try_lock(elsewhere) == (locks == "local")
        fcntl.flock(elsewhere, fcntl.LOCK_UN)
        fcntl.flock(first, fcntl.LOCK_UN)
        assert try_lock(second)
        fcntl.flock(second, fcntl.LOCK_SH)
        assert try_lock(first, fcntl.LOCK_SH)
        assert try_lock(elsewhere, fcntl.LOCK_SH)
        assert not try_lock(first)


def test_a_file_system_without_flock_says_so(hosts: Hosts) -> None:
    (a,) = hosts(1, locks="none")
    with opened(a.path / "lock") as fd, raises(errno.ENOSYS):
        fcntl.flock(fd, fcntl.LOCK_EX)


HOLD = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
print(1, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("end", ["kill", "power", "unmount"])
def test_a_lock_is_free_when_its_holder_or_his_host_is_gone(pair: list[Host], end: str) -> None:
    a, b = pair
    with subprocess.Popen([sys.executable, "-c", HOLD, a.path / "lock"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.read(1)
        with opened(b.path / "lock") as fd:
            assert not try_lock(fd)
            {"kill": holder.kill, "power": a.cut_power, "unmount": a.unmount}[end]()
            fcntl.flock(fd, fcntl.LOCK_EX)  # a wait: what was killed is not gone at once
        holder.kill()


def test_a_wait_for_a_lock_can_be_killed_and_leaves_none(pair: list[Host]) -> None:
    a, b = pair
    with opened(a.path / "lock") as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with subprocess.Popen([sys.executable, "-c", HOLD, b.path / "lock"]) as waiting:
            time.sleep(0.5)
            waiting.send_signal(signal.SIGKILL)
            assert waiting.wait(timeout=20) == -signal.SIGKILL
        fcntl.flock(fd, fcntl.LOCK_UN)
        assert try_lock(fd)


COUNT = """
import fcntl, os, sys, time
folder, times, is_synced = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "synced"
lock = os.open(folder + "/lock", os.O_RDWR | os.O_CREAT)
for _ in range(times):
    fcntl.flock(lock, fcntl.LOCK_EX)
    fd = os.open(folder + "/count", os.O_RDWR | os.O_CREAT)
    number = int(os.read(fd, 20) or b"0") + 1
    os.pwrite(fd, b"%020d" % number, 0)
    if is_synced:
        os.fsync(fd)
    fcntl.flock(lock, fcntl.LOCK_UN)
    time.sleep(0.001)
    os.close(fd)
"""


@pytest.mark.parametrize(("how", "is_right"), [("synced", True), ("unsynced", False)])
def test_a_count_under_a_lock_is_right_if_it_is_synced_under_it(hosts: Hosts, how: str, is_right: bool) -> None:
    trio = hosts(3, attr_timeout=LONG)
    counters = [subprocess.Popen([sys.executable, "-c", COUNT, host.path, "60", how]) for host in trio]
    assert [counter.wait(timeout=60) for counter in counters] == [0] * 3
    assert (int((trio[0].source / "count").read_text()) == 180) is is_right


# -- errors and delays


@pytest.mark.parametrize("name", ["EDQUOT", "ENOSPC", "EIO"])
def test_an_error_of_writing_is_told_by_fsync_or_close_once_to_each(pair: list[Host], name: str) -> None:
    a, _ = pair
    number = getattr(errno, name)
    with opened(a.path / "file") as fd, opened(a.path / "file") as other:
        a.fail(name, "write", "/file")
        os.write(fd, b"first")
        with raises(number):
            os.fsync(fd)
        os.fsync(fd)
        with raises(number):
            os.fsync(other)
        assert (a.path / "file").read_bytes() == b""
        a.fail(name, "write", "/file")
        late = os.open(a.path / "file", os.O_WRONLY)
        os.write(late, b"more")
        with raises(number):
            os.close(late)
        for left in (fd, other):
            with raises(number):
                os.fsync(left)


def test_errors_hit_what_they_are_meant_for(pair: list[Host]) -> None:
    a, b = pair
    a.fail("EIO", "mkdir", "*/x*", times=2)
    (a.path / "folder").mkdir()
    for _ in range(2):
        with raises(errno.EIO):
            (a.path / "folder" / "xyz").mkdir()
    (a.path / "folder" / "xyz").mkdir()
    b.fail("ESTALE", "*", times=-1)
    with raises(errno.ESTALE):
        (b.path / "anything").mkdir()
    b.clear()
    (b.path / "anything").mkdir()
    with pytest.raises(ValueError, match="unknown"):
        a.fail("EVERYTHING", "mkdir")


def test_an_answer_that_is_lost_came_after_the_deed(pair: list[Host]) -> None:
    a, _ = pair
    (a.path / "card").touch()
    a.fail("EEXIST", "link", done=True)
    with raises(errno.EEXIST):
        os.link(a.path / "card", a.path / "lock")
    assert (a.path / "lock").samefile(a.path / "card")


def test_stalls_delays_and_round_trips_take_time(hosts: Hosts) -> None:
    (a,) = hosts(1, rtt_ms=30)

    def took(act: Callable[[], object]) -> float:
        began = time.monotonic()
        act()
        return time.monotonic() - began

    assert took((a.path / "folder").mkdir) > 0.03
    time.sleep(0.2)
    (a.path / "folder").stat()
    before = a.counts()
    for _ in range(20):
        (a.path / "folder").stat()
    assert a.counts() == before, "attributes are answered without the server"
    a.stall(0.5)
    assert took((a.path / "other").mkdir) > 0.4
    a.delay(0.4, "unlink", "*/slow", times=1)
    (a.path / "slow").touch()
    assert took((a.path / "slow").unlink) > 0.4


def test_a_network_that_hangs_hangs_its_host_alone(pair: list[Host]) -> None:
    a, b = pair
    a.stall(30)
    began = time.monotonic()
    (b.path / "folder").mkdir()
    with subprocess.Popen(["mkdir", a.path / "other"]) as waiting:
        time.sleep(0.3)
        assert waiting.poll() is None
        a.clear()
        a.cut_power()
        waiting.wait(timeout=20)
    assert time.monotonic() - began < 20


# -- any program


def test_git_works_on_a_host(hosts: Hosts) -> None:
    a, b = hosts(2, attr_timeout=0.2)
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = a.path / "repository"
    folder.mkdir()
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}

    def git(*argv: str, cwd: Path = folder) -> str:
        name = ("-c", "user.name=x", "-c", "user.email=x@y")
        done = subprocess.run(["git", *name, *argv], cwd=cwd, env=env, check=True, capture_output=True, text=True)
        return done.stdout

    git("init", "-q")
    for number in range(3):
        (folder / f"file{number}").write_text(f"{number}\n" * 1000)
        git("add", ".")
        git("commit", "-qm", str(number))
    git("gc", "-q")
    assert git("log", "--format=%s", cwd=b.path / "repository").split() == ["2", "1", "0"]
    assert git("status", "--porcelain", cwd=b.path / "repository") == ""
    git("fsck", "--strict", cwd=b.path / "repository")


@pytest.mark.parametrize("seed", range(4))
def test_random_operations_do_what_they_do_on_a_disk(hosts: Hosts, tmp_path: Path, seed: int) -> None:
    """One host alone: whatever is cached, a program sees what it would on a local disk, and in the end so does the
    server."""
    (a,) = hosts(1, attr_timeout=random.Random(seed).choice([0.0, 0.01, LONG]))
    mine, theirs = random.Random(seed), random.Random(seed)
    local = tmp_path / "local"
    local.mkdir()
    on_disk, on_host = operate(local, mine), operate(a.path, theirs)
    for number, (expected, got) in enumerate(zip(on_disk, on_host, strict=True)):
        assert got == expected, f"step {number}"
    assert tree(a.path) == tree(local)
    assert tree(a.source) == tree(local)


def operate(root: Path, chance: random.Random, steps: int = 1200) -> Iterator[object]:
    """Any operations on few names and few open files; what each returned, or its error."""
    names = [root / name for name in ("a", "b", "folder/a", "folder/b", "folder", "deep/er/c")]
    (root / "folder").mkdir()
    (root / "deep" / "er").mkdir(parents=True)
    descriptors: list[int] = []

    def name() -> Path:
        return chance.choice(names)

    def act(what: str) -> object:
        if what == "open":
            flags = chance.choice([0, os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_CREAT | os.O_TRUNC, os.O_TRUNC])
            flags |= chance.choice([os.O_RDWR, os.O_RDWR | os.O_APPEND, os.O_RDONLY, os.O_WRONLY])
            fd = os.open(name(), flags, 0o640)
            descriptors.append(fd)
            return len(descriptors)
        if what == "path":
            return on_path(
                chance.choice(("mkdir", "rmdir", "unlink", "rename", "link", "symlink", "stat", "list", "read"))
            )
        fd = chance.choice(descriptors) if descriptors else -1
        return on_descriptor(what, fd)

    def on_path(what: str) -> object:
        first, second = name(), name()
        calls: dict[str, Callable[[], object]] = {
            "mkdir": first.mkdir,
            "rmdir": first.rmdir,
            "unlink": first.unlink,
            "rename": lambda: first.rename(second),
            "link": lambda: os.link(first, second),
            "symlink": lambda: first.symlink_to("a"),
            "stat": lambda: facts(first.stat()),
            "list": lambda: sorted(path.name for path in first.iterdir()),
            "read": first.read_bytes,
        }
        result = calls[what]()
        return result if what in ("stat", "list", "read") else None

    def on_descriptor(what: str, fd: int) -> object:
        at, count = chance.choice([0, 10, 4090, 4096, 9000, 20000]), chance.choice([1, 7, 100, 4096, 10000])
        data, whence = chance.randbytes(count), chance.choice([os.SEEK_SET, os.SEEK_END])
        if what == "close":
            descriptors.remove(fd)
            return os.close(fd)
        calls: dict[str, Callable[[], object]] = {
            "write": lambda: os.write(fd, data),
            "pwrite": lambda: os.pwrite(fd, data, at),
            "read": lambda: os.read(fd, count),
            "pread": lambda: os.pread(fd, count, at),
            "seek": lambda: os.lseek(fd, 0, whence) if stat.S_ISREG(os.fstat(fd).st_mode) else None,
            "truncate": lambda: os.ftruncate(fd, at),
            "fstat": lambda: facts(os.fstat(fd)),
            "fsync": lambda: os.fsync(fd),
        }
        return calls[what]()

    kinds = ("open", "path", "path", "close", "write", "pwrite", "read", "pread", "seek", "truncate", "fstat", "fsync")
    for _ in range(steps):
        what = chance.choice(kinds)
        if what == "open" and len(descriptors) > 8:
            what = "close"
        if what not in ("open", "path") and not descriptors:
            what = "path"
        try:
            yield what, act(what)
        except OSError as error:
            yield what, error.errno
    for fd in descriptors:
        os.close(fd)


def facts(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_mode, found.st_nlink, found.st_size if stat.S_ISREG(found.st_mode) else 0)


def tree(root: Path) -> dict[str, object]:
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.is_dir() or path.read_bytes()
        for path in sorted(root.rglob("*"))
    }


def in_threads(acts: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# -- the mounts themselves


def test_nothing_is_left_of_hosts_whatever_their_programs_do(fuse: None) -> None:
    with mounted(2) as (a, b):
        folder = a.path.parent
        stuck = subprocess.Popen([sys.executable, "-c", HOLD, a.path / "lock"], stdout=subprocess.PIPE)
        assert stuck.stdout is not None
        stuck.stdout.read(1)
        b.cut_power()
        pids = [host._process.pid for host in (a,) if host._process]
    try:
        assert not folder.exists()
        assert str(folder) not in Path("/proc/mounts").read_text()
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    finally:
        stuck.kill()
        stuck.communicate()


def test_hosts_end_with_the_program_that_made_them(fuse: None) -> None:
    text = """
import os, signal, sys
from tests.network.mount import mounted
with mounted(1) as (host,):
    print(host.path, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    path = done.stdout.strip()
    assert path
    deadline = time.monotonic() + 20
    while path in Path("/proc/mounts").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shutil.rmtree(Path(path).parent)


def test_the_command_mounts_until_it_is_told_to_end(fuse: None, tmp_path: Path) -> None:
    source, mountpoint = tmp_path / "source", tmp_path / "mountpoint"
    source.mkdir()
    mountpoint.mkdir()
    (source / "file").write_text("text")
    argv = [sys.executable, "-m", "tests.network.mount", source, mountpoint, "--no-flock", "--fail", "EIO 1 mkdir *"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mounted\n"
        assert (mountpoint / "file").read_text() == "text"
        with raises(errno.EIO):
            (mountpoint / "folder").mkdir()
        process.terminate()
    assert list(mountpoint.iterdir()) == []
