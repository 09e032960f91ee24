"""What ``/proc`` tells of processes, of this PID namespace alone: another one's shows somebody else under a number.

Not psutil: its import adds 20 ms to every command, one look takes three times as long, and it gives start times in
seconds, which move with the clock, where the kernel's ticks name a process for good.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hpo_batch.envvars import EnvVar


def is_alive(pid: int) -> bool:
    """Whether a process of this host and PID namespace has the number ``pid``; a zombie counts as dead.

    What can be no process's number is dead: to ``kill``, 0 and those below mean groups, and -1 all processes.
    """
    if not is_number(pid):
        return False
    try:
        if not proc_is_ours():
            raise FileNotFoundError
        state = stat_fields(pid)[0]
    except FileNotFoundError:
        # no such process, no /proc or another namespace's, or one with hidepid=2, which hides those of other users
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    except (OSError, IndexError):
        return True
    return state not in ("Z", "X")


def is_number(pid: object) -> bool:
    """Whether that can be a process's number: it may have been read from a file."""
    return type(pid) is int and 0 < pid < 1 << 31


def stat_fields(pid: int | str) -> list[str]:
    """What the kernel tells of a process, from its state on: before it comes its name, which may be any bytes."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()


def with_environment(name: str, value: str, *, begins: bool = False) -> tuple[int, ...]:
    """Live processes of this user that were started with ``name=value`` in their environment; none without ``/proc``.

    It finds descendants that have left our process group: torchrun gives each of its workers a session of its own.

    Args:
        begins: also if the value only begins so.
    """
    entry = os.fsencode(f"{name}={value}")
    found = []
    for folder in all_processes():
        try:
            environment = (folder / "environ").read_bytes()  # empty for a zombie
        except OSError:
            continue
        # most processes have nothing of the kind: to look for the text first costs a third of cutting it up
        if entry in environment and any(
            one == entry or (begins and one.startswith(entry)) for one in environment.split(b"\0")
        ):
            found.append(int(folder.name))
    return tuple(found)


def family(leader: int, name: str, value: str) -> set[int]:
    """A process that leads its session, what it has started, and what was started with ``name=value``; none else.

    The three ways find what one alone does not: containers clear the environment, launchers open sessions of their own,
    and a parent that has ended leaves no trace in its children.
    """
    found = descendants(leader) | set(with_environment(name, value))
    return found | {leader} if is_alive(leader) else found


def group_of(leader: int) -> set[int]:
    """Live processes of the process group or the session that a process leads, or has led."""
    found = set()
    for folder in all_processes():
        with contextlib.suppress(OSError, IndexError, ValueError):
            state, _, group, session = stat_fields(folder.name)[:4]
            if state not in ("Z", "X") and leader in (int(group), int(session)):
                found.add(int(folder.name))
    return found


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal; False also for one that is gone or cannot be looked at."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            if line.startswith(b"SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def written_by(pid: int) -> set[str]:
    """Regular files that a process has open for writing; none if it cannot be looked at."""
    return {name for name, _ in open_for_writing(pid)}


def open_for_writing(pid: int) -> Iterator[tuple[str, os.stat_result]]:
    """Name and facts of each regular file that a process may write into."""
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            with contextlib.suppress(OSError, ValueError, StopIteration):
                link = Path(f"/proc/{pid}/fd/{fd}")
                info = Path(f"/proc/{pid}/fdinfo/{fd}").read_text(encoding="utf-8").splitlines()
                flags = next(int(line.split()[1], 8) for line in info if line.startswith("flags:"))
                facts = link.stat()
                if flags & os.O_ACCMODE != os.O_RDONLY and stat.S_ISREG(facts.st_mode):
                    # a text: of a file that was removed it is no path
                    yield os.readlink(link), facts  # noqa: PTH115


def is_saving(pid: int) -> bool:
    """Whether a process has a file open for writing below the folder for checkpoints that its environment names."""
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, folder = entry.partition(b"=")
            if name == EnvVar.CHECKPOINT_DIR.encode() and folder:
                inside = f"{Path(os.fsdecode(folder)).resolve()}{os.sep}"
                return any(path.startswith(inside) for path in written_by(pid))
    return False


def descendants(ancestor: int) -> set[int]:
    """Live processes that descend from ``ancestor``, or are of the session that it leads; none without ``/proc``."""
    children: dict[int, list[int]] = {}
    found: set[int] = set()
    for folder in all_processes():
        with contextlib.suppress(OSError, IndexError):
            state, parent, _, session = stat_fields(folder.name)[:4]
            if state in ("Z", "X"):
                continue
            children.setdefault(int(parent), []).append(int(folder.name))
            if int(session) == ancestor:
                found.add(int(folder.name))
    waiting = [ancestor]
    while waiting:
        born = children.get(waiting.pop(), [])
        found.update(born)
        waiting += born
    return found - {ancestor}


def started_at(pid: int) -> int:
    """Start of process ``pid`` in clock ticks since boot: with the pid it names a process for good; 0 if unknown.

    Unknown is that of a process that is gone, of another user's where ``/proc`` is mounted with hidepid, and of any
    other process where ``/proc`` is another PID namespace's.
    """
    try:
        if pid != os.getpid() and not proc_is_ours():
            return 0
        return int(stat_fields("self" if pid == os.getpid() else pid)[19])
    except (OSError, IndexError, ValueError):
        return 0


def proc_is_ours() -> bool:
    """Whether ``/proc`` shows the processes of our PID namespace: ``unshare --pid`` alone leaves it as it was.

    What another namespace's shows under a number is somebody else.
    """
    try:
        return os.readlink("/proc/self") == str(os.getpid())  # noqa: PTH115  # no path
    except OSError:
        return False


def all_processes() -> list[Path]:
    """Folders of all processes that we can see and name; none without a ``/proc`` of ours."""
    return list(Path("/proc").glob("[0-9]*")) if proc_is_ours() else []
