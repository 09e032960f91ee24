"""The simulators do what they say: or what is tested with them proves nothing."""

from __future__ import annotations

import datetime
import errno
import fcntl
import mmap
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

from tests.simulators import control
from tests.simulators.fixtures import Load
from tests.simulators.preload import COUNTED, HostClock, Latency, Refusals, WriteBack, together, with_environ
from tests.simulators.processes import ProcessDied


def server(path: Path) -> bytes | None:
    """What lies on the server: read by a program that is no client."""
    done = subprocess.run(["cat", str(path)], capture_output=True, env={"PATH": os.environ["PATH"]})
    return done.stdout if done.returncode == 0 else None


def others_append(path: Path, text: str) -> None:
    subprocess.run(["sh", "-c", 'printf %s "$1" >> "$2"', "sh", text, str(path)], env={"PATH": os.environ["PATH"]})


# --- write-back


def writes(path: Path) -> list[bytes | None]:
    """The server's view: after each way to write, then after what shows it to others."""
    seen = []
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(fd, b"write,")
    os.pwrite(fd, b"pwrite,", 6)
    os.lseek(fd, 0, os.SEEK_END)
    os.writev(fd, [b"writ", b"ev"])
    seen.append(server(path))
    assert os.pread(fd, 100, 0) == b"write,pwrite,writev"  # its own reads see it
    assert (os.fstat(fd).st_size, path.stat().st_size, path.lstat().st_size) == (19, 19, 19)
    assert (
        path.read_bytes() == b"write,pwrite,writev"
    )  # also by another descriptor: it may not write, so this shows nothing
    seen.append(server(path))
    os.fsync(fd)
    seen.append(server(path))
    os.pwrite(fd, b"-", 19)
    other = os.dup(fd)
    os.close(fd)  # any descriptor of the file that may write
    seen.append(server(path))
    os.ftruncate(other, 5)
    seen.append(server(path))
    os.write(other, b"")
    os.pwrite(other, b"times", 0)
    os.utime(path)
    seen.append(server(path))
    os.ftruncate(other, 5)
    os.close(other)
    with path.open("ab") as file:  # past the functions of os
        file.write(b"+")
        file.flush()
        assert os.fstat(file.fileno()).st_size == 6
        seen.append(server(path))
    seen.append(server(path))
    path.write_text("text")
    seen.append(server(path))
    return seen


def test_what_is_written_is_seen_by_others_when_it_is_synced_or_closed(
    load: Load, write_back: WriteBack, network_root: Path
) -> None:
    whole = b"write,pwrite,writev"
    assert load(write_back).call(writes, network_root / "f") == [
        b"", b"", whole, whole + b"-", b"write", b"times", b"times", b"times+", b"text",
    ]  # fmt: skip


def test_elsewhere_nothing_is_kept(load: Load, write_back: WriteBack, tmp_path: Path) -> None:
    seen = load(write_back).call(writes, tmp_path / "f")
    assert seen[0] == b"write,pwrite,writev"


def appends(path: Path) -> bytes | None:
    """Two writers at the end of a file, each without a lock: the second overwrites, as on NFS."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"mine")
    others_append(path, "others")
    os.close(fd)
    return server(path)


def test_appends_without_a_lock_overwrite_each_other(load: Load, write_back: WriteBack, network_root: Path) -> None:
    assert load(write_back).call(appends, network_root / "f") == b"miners"


def locks(path: Path) -> list[bytes | None]:
    seen = []
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    others_append(path, "before;")
    os.write(fd, b"within;")
    seen.append(server(path))
    fcntl.flock(fd, fcntl.LOCK_UN)
    seen.append(server(path))
    return seen


def test_unlocking_a_file_shows_what_was_written_to_it(load: Load, write_back: WriteBack, network_root: Path) -> None:
    assert load(write_back).call(locks, network_root / "f") == [b"before;", b"within;"]


def dies(path: Path, how: int) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(fd, b"synced;")
    os.fsync(fd)
    os.write(fd, b"not")
    os.kill(os.getpid(), how)
    time.sleep(10)


@pytest.mark.parametrize(("how", "left"), [(signal.SIGKILL, b"synced;"), (signal.SIGRTMIN, b"synced;not")])
def test_what_a_killed_process_had_written(
    load: Load, write_back: WriteBack, network_root: Path, how: int, left: bytes
) -> None:
    """Its host crashes with it; or it lives on, and writes it."""
    with pytest.raises(ProcessDied):
        load(write_back).call(dies, network_root / "f", how)
    assert (network_root / "f").read_bytes() == left


def dies_with_lock(path: Path) -> None:
    lock = os.open(f"{path}.flock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    dies(path, signal.SIGRTMIN)


def test_the_locks_of_a_process_go_before_what_it_had_written(load: Load, network_root: Path) -> None:
    late = WriteBack(root=network_root.parent, linger_s=0.5)
    process = load(late).start(dies_with_lock, network_root / "f")
    while server(network_root / "f") != b"synced;":
        time.sleep(0.01)
    with (network_root / "f.flock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert server(network_root / "f") == b"synced;"
    with pytest.raises(ProcessDied):
        process.answer()
    assert server(network_root / "f") == b"synced;not"


def ends(path: Path) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(fd, b"all")
    if os.fork() == 0:
        os._exit(0)  # a child is no writer of what its parent has written
    time.sleep(0.1)
    assert server(path) == b""


def test_a_process_that_ends_in_order_has_written(load: Load, write_back: WriteBack, network_root: Path) -> None:
    load(write_back).call(ends, network_root / "f")
    end = time.monotonic() + 5
    while server(network_root / "f") != b"all":
        assert time.monotonic() < end
        time.sleep(0.01)


def copies(folder: Path) -> None:
    (folder / "a").write_bytes(b"x" * 100_000)
    shutil.copyfile(folder / "a", folder / "b")
    assert (folder / "b").read_bytes() == (folder / "a").read_bytes()
    lock = filelock.SoftFileLease(folder / "lease", lease_duration=5, timeout=0)
    with lock, pytest.raises(filelock.Timeout):
        filelock.SoftFileLease(folder / "lease", lease_duration=5, timeout=0).acquire()
    fd = os.open(folder / "a", os.O_RDWR)
    with mmap.mmap(fd, 10) as mapped:
        assert mapped[:3] == b"xxx"
    os.close(fd)
    shutil.rmtree(folder)
    assert not folder.exists()


def test_programs_of_others_work(load: Load, write_back: WriteBack, network_root: Path) -> None:
    load(write_back).call(copies, network_root)


def looks(folder: Path) -> dict[str, object]:
    path, missing = folder / "f", folder / "missing"
    path.write_text("1")
    fd = os.open(path, os.O_RDONLY)
    first = (path.stat().st_size, path.lstat().st_size, os.fstat(fd).st_size, missing.exists())
    others_append(path, "23")
    others_append(missing, "there")
    cached = (path.stat().st_size, path.lstat().st_size, os.fstat(fd).st_size, missing.exists(), os.pread(fd, 9, 0))
    with missing.open() as file:  # opened: asked of the server
        opened = (file.read(), missing.exists())
    again = os.open(path, os.O_RDONLY)
    revalidated = (os.fstat(again).st_size, path.stat().st_size, os.pread(fd, 9, 0))
    others_append(path, "4")
    os.utime(path)
    changed = path.stat().st_size
    others_append(path, "5")
    stale = path.stat().st_size
    time.sleep(0.35)
    return {
        "first": first, "cached": cached, "opened": opened, "revalidated": revalidated, "changed": changed,
        "stale": stale, "in time": path.stat().st_size,
    }  # fmt: skip


def test_what_a_stat_has_answered_is_believed_for_a_while(load: Load, network_root: Path) -> None:
    assert load(WriteBack(root=network_root.parent, attributes_s=0.3)).call(looks, network_root) == {
        "first": (1, 1, 1, False),
        "cached": (1, 1, 1, False, b"1"),
        "opened": ("there", True),
        "revalidated": (3, 3, b"123"),
        "changed": 4,
        "stale": 4,
        "in time": 5,
    }


def links(folder: Path) -> list[object]:
    """A lock made by a link, as Optuna and we take it: names changed here are seen here, those of others late."""
    card, lock = folder / "card", folder / "lock"
    card.touch()
    seen: list[object] = [lock.exists()]
    os.link(card, lock)
    seen.append(lock.exists())
    subprocess.run(["rm", str(lock)], env={"PATH": os.environ["PATH"]})
    seen.append(lock.exists())  # believed to be there
    os.link(card, lock)
    lock.unlink()
    seen.append(lock.exists())
    card.rename(lock)
    seen += [card.exists(), lock.exists()]
    return seen


def test_names_that_this_client_changes_are_not_believed(load: Load, write_back: WriteBack, network_root: Path) -> None:
    assert load(write_back).call(links, network_root) == [False, True, True, False, False, True]


def stalls(folder: Path, holes: bool) -> list[int]:
    control.stall_writes(seed=1, permille=1000, most_s=0.02, holes=holes)
    seen = []
    for i in range(20):
        (folder / str(i)).write_bytes(b"x" * 1000)
        seen.append(len(server(folder / str(i)) or b""))
    began = time.monotonic()
    for i in range(20):
        (folder / str(i)).write_bytes(b"x" * 1000)
    assert time.monotonic() - began > 0.05
    return seen


def test_stalled_writes_are_whole_when_they_are_acknowledged(
    load: Load, write_back: WriteBack, network_root: Path
) -> None:
    for holes in (False, True):
        process = load(write_back).start(stalls, network_root, holes)
        seen = set()
        while not process.has_ended:
            seen |= {path.read_bytes() for path in network_root.iterdir()}
        assert process.answer() == [1000] * 20
        assert any(0 < len(content) < 1000 for content in seen)  # others saw parts
        assert any(b"\0" in content for content in seen) == holes


def has_no_flock(path: Path) -> int | None:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno
    return None


def test_a_file_system_without_flock(load: Load, write_back: WriteBack, network_root: Path, tmp_path: Path) -> None:
    without = load(WriteBack(root=network_root.parent, flock=False))
    assert without.call(has_no_flock, network_root / "f") == errno.ENOLCK
    assert without.call(has_no_flock, tmp_path / "f") is None
    assert load(write_back).call(has_no_flock, network_root / "f") is None


# --- latency


def operates(folder: Path) -> None:
    fd = os.open(folder / "a", os.O_RDWR | os.O_CREAT)  # open
    os.pwrite(fd, b"x" * 1000, 0)
    os.fsync(fd)  # fsync
    os.close(fd)
    (folder / "b").write_text("x")  # open, close
    (folder / "b").read_text()  # open, read
    (folder / "a").rename(folder / "c")  # rename
    os.link(folder / "b", folder / "d")  # link
    (folder / "d").unlink()  # unlink
    (folder / "e").mkdir()  # mkdir
    os.utime(folder / "c")  # utime
    (folder / "c").stat()
    with (folder / "c").open("r+") as file:  # open
        fcntl.flock(file, fcntl.LOCK_EX)  # flock
        file.truncate(3)  # trunc


def test_operations_are_counted_and_take_a_round_trip(load: Load, latency: Latency, network_root: Path) -> None:
    slow = load(latency)
    began = time.monotonic()
    with latency.counting() as made:
        slow.call(operates, network_root)
    expected = {"open": 4, "fsync": 1, "close": 1, "read": 1, "rename": 1, "link": 1, "unlink": 1, "mkdir": 1,
                "utime": 1, "flock": 1, "trunc": 1}  # fmt: skip
    assert made == {kind: expected.get(kind, 0) for kind in COUNTED}
    assert time.monotonic() - began >= sum(expected.values()) * latency.round_trip_s


def test_other_folders_are_free_and_stats_if_asked_for_are_not(
    load: Load, latency: Latency, network_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    beside = Path(f"{latency.root}-beside")
    beside.mkdir(exist_ok=True)
    with latency.counting() as made:
        load(latency).call(operates, tmp_path / "elsewhere")
        load(latency).call(operates, beside)
    assert not any(made.values())
    shutil.rmtree(beside)
    dear = Latency(root=latency.root, round_trip_s=0.0, out=tmp_path / "dear", stats=True)
    load(dear).call(operates, network_root)
    assert dear.counts()["stat"] >= 1


def test_a_program_gets_them_by_its_environment(latency: Latency, network_root: Path, write_back: WriteBack) -> None:
    code = (
        f"import os; fd = os.open({str(network_root / 'f')!r}, os.O_RDWR | os.O_CREAT); os.write(fd, b'x'); os._exit(0)"
    )
    environ = with_environ(together([write_back, latency]))
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)
    assert (network_root / "f").read_bytes() == b"x"
    assert latency.counts()["open"] == 1


def syncs_late(path: Path) -> list[float]:
    took = []
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    for call in (lambda: os.pwrite(fd, b"x", 0), lambda: os.fsync(fd)):
        began = time.monotonic()
        call()
        took.append(time.monotonic() - began)
    return took


def test_the_cache_answers_at_once_and_the_sync_takes_a_round_trip(
    load: Load, write_back: WriteBack, network_root: Path, tmp_path: Path
) -> None:
    far = Latency(root=network_root.parent, round_trip_s=0.05, out=tmp_path / "out")
    write, sync = load(write_back, far).call(syncs_late, network_root / "f")
    assert write < 0.05 <= sync


def writes_at(path: Path) -> float:
    """When it was done."""
    path.write_text("x")
    return time.monotonic()


def test_a_server_that_stalls_answers_nobody_and_then_everybody(
    load: Load, latency: Latency, network_root: Path
) -> None:
    slow = load(latency)
    slow.call(writes_at, network_root / "before")
    until = time.monotonic() + 1.0
    latency.stall(1.0)
    processes = [slow.start(writes_at, network_root / str(i)) for i in range(3)]
    assert all(process.answer() >= until for process in processes)


# --- clocks


def tells_time(path: Path) -> tuple[float, float, float, float]:
    before = time.monotonic()
    control.set_clock(ahead_s=3600.0)
    path.touch()
    today = datetime.datetime.now(tz=datetime.UTC).timestamp()
    return time.time(), today, path.stat().st_mtime, time.monotonic() - before


def test_the_clock_of_another_host(load: Load, tmp_path: Path) -> None:
    now, today, touched, passed = load(HostClock()).call(tells_time, tmp_path / "f")
    assert now - time.time() == pytest.approx(3600, abs=60)
    assert today == pytest.approx(now, abs=1)
    assert touched == pytest.approx(time.time(), abs=60)
    assert 0 <= passed < 60


# --- refusals


def is_refused(folder: Path, kind: str, after: bool) -> tuple[int | None, list[str], bytes]:
    path, other = folder / "f", folder / "g"
    path.write_bytes(b"0123456789")
    calls = {
        "open": lambda: os.close(os.open(other, os.O_CREAT | os.O_WRONLY)),
        "read": lambda: path.read_bytes(),
        "write": lambda: path.write_bytes(b"abcd"),
        "fsync": lambda: os.fsync(fd),
        "close": lambda: os.close(os.dup(fd)),
        "link": lambda: os.link(path, other),
        "unlink": lambda: path.unlink(),
        "rename": lambda: path.rename(other),
        "mkdir": lambda: other.mkdir(),
        "stat": lambda: path.stat(),
        "flock": lambda: fcntl.flock(fd, fcntl.LOCK_EX),
        "utime": lambda: os.utime(path),
        "trunc": lambda: os.ftruncate(fd, 3),
        "opendir": lambda: list(folder.iterdir()),
    }
    fd = os.open(path, os.O_RDWR)
    control.refuse(kind, str(folder), error=errno.ESTALE, after=after)
    try:
        calls[kind]()
        code = None
    except OSError as error:
        code = error.errno
    assert control.calls_seen() >= 1
    calls["flock"]()  # once only
    names = sorted(one.name for one in folder.iterdir())
    return code, names, path.read_bytes() if path.exists() else b""


CHANGED = {
    "open": (["f", "g"], b"0123456789"),
    "write": (["f"], b"ab"),
    "link": (["f", "g"], b"0123456789"),
    "unlink": ([], b""),
    "rename": (["g"], b""),
    "mkdir": (["f", "g"], b"0123456789"),
    "trunc": (["f"], b"012"),
}
KINDS = (
    "open", "read", "write", "fsync", "close", "link", "unlink", "rename", "mkdir", "stat", "flock", "utime", "trunc",
    "opendir",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_is_refused_or_made_with_its_answer_lost(
    load: Load, refusals: Refusals, network_root: Path, kind: str
) -> None:
    before, after = network_root / "before", network_root / "after"
    before.mkdir()
    after.mkdir()
    unchanged = ["f"], b"" if kind == "write" else b"0123456789"  # the open has cut it
    assert load(refusals).call(is_refused, before, kind, False) == (errno.ESTALE, *unchanged)
    assert load(refusals).call(is_refused, after, kind, True) == (errno.ESTALE, *CHANGED.get(kind, unchanged))


def late_error(path: Path, shown_by: str) -> tuple[str, bytes | None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    control.refuse("write", error=errno.EDQUOT)
    os.write(fd, b"accepted")  # by the cache
    try:
        os.fsync(fd) if shown_by == "fsync" else os.close(fd)
    except OSError as error:
        return os.strerror(error.errno or 0), server(path)
    return "", server(path)


@pytest.mark.parametrize("shown_by", ["fsync", "close"])
def test_a_refused_late_write_is_told_by_the_sync_or_the_close(
    load: Load, write_back: WriteBack, refusals: Refusals, network_root: Path, shown_by: str
) -> None:
    told = load(write_back, refusals).call(late_error, network_root / "f", shown_by)
    assert told == ("Disk quota exceeded", b"")


def kills_itself(path: Path, number: int, after: bool) -> str:
    control.refuse("write", nth=1, error=-number, after=after)
    with path.open("wb", buffering=0) as file:
        file.write(b"first;")
        file.write(b"second")
    return "lived on"


def test_a_process_is_killed_at_a_call(load: Load, refusals: Refusals, network_root: Path) -> None:
    for after, left in ((False, b"first;"), (True, b"first;sec")):
        with pytest.raises(ProcessDied):
            load(refusals).call(kills_itself, network_root / "f", signal.SIGKILL, after)
        assert (network_root / "f").read_bytes() == left


def test_a_process_is_stopped_at_a_call(load: Load, refusals: Refusals, network_root: Path) -> None:
    process = load(refusals).start(kills_itself, network_root / "f", signal.SIGSTOP, False)
    end = time.monotonic() + 10
    while " T " not in Path(f"/proc/{process.pid}/stat").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert (network_root / "f").read_bytes() == b"first;"
    assert not process.has_ended
    process.signal(signal.SIGCONT)
    assert process.answer() == "lived on"
    assert (network_root / "f").read_bytes() == b"first;second"


def is_refused_wrongly() -> None:
    control.refuse("fsnyc", error=errno.EIO)


def test_a_kind_that_there_is_not_is_no_test(load: Load, refusals: Refusals) -> None:
    with pytest.raises(AssertionError, match="no kind of call: 'fsnyc'"):
        load(refusals).call(is_refused_wrongly)
