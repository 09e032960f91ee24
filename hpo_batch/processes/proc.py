"""Reads processes from ``/proc``, if it belongs to this PID namespace: otherwise its pids are those of others.

Not psutil: its import adds 20 ms to every command, a lookup takes three times as long, and its start times in seconds
change when the clock is set, while the kernel's ticks since boot do not (proc_pid_stat(5)).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hpo_batch.envvars import EnvVar


def is_alive(pid: int) -> bool:
    """Whether process ``pid`` of this PID namespace is running. Zombies and invalid pids are not.

    0 and negative numbers are rejected: to kill(2) they mean process groups, and -1 means all processes.
    """
    if not is_number(pid):
        return False
    try:
        if not proc_is_ours():
            raise FileNotFoundError
        state = stat_fields(pid)[0]
    except FileNotFoundError:
        # no such process, no usable /proc, or hidepid=2, which hides processes of other users
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
    """Whether this can be a pid: it may come from a file."""
    return type(pid) is int and 0 < pid < 1 << 31


def stat_fields(pid: int | str) -> list[str]:
    """Fields of ``/proc/PID/stat`` from the state on. The name before it may contain spaces and parentheses."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()


def with_environment(name: str, value: str, *, begins: bool = False) -> tuple[int, ...]:
    """Running processes of this user that were started with ``name=value`` in their environment; none without /proc.

    Also finds descendants that left the process group: torchrun starts each worker in its own session.

    Args:
        name: of the variable.
        value: of the variable.
        begins: whether ``value`` may be a prefix.
    """
    entry = os.fsencode(f"{name}={value}")
    found = []
    for folder in all_processes():
        try:
            environment = (folder / "environ").read_bytes()  # empty for a zombie
        except OSError:
            continue
        # most processes do not match: searching the bytes first takes a third of the time of splitting them
        if entry in environment and any(
            one == entry or (begins and one.startswith(entry)) for one in environment.split(b"\0")
        ):
            found.append(int(folder.name))
    return tuple(found)


def family(leader: int, name: str, value: str) -> set[int]:
    """A session leader, its descendants, and processes started with ``name=value``.

    All three are needed: containers clear the environment, launchers open new sessions, and orphans are reparented.
    """
    members = descendants(leader) | set(with_environment(name, value))
    return members | {leader} if is_alive(leader) else members


def group_of(leader: int) -> set[int]:
    """Running processes in the process group or session of ``leader``, even if the leader has ended."""
    found = set()
    for folder in all_processes():
        with contextlib.suppress(OSError, IndexError, ValueError):
            state, _, group, session = stat_fields(folder.name)[:4]
            if state not in ("Z", "X") and leader in (int(group), int(session)):
                found.add(int(folder.name))
    return found


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal; False if it has ended or is not readable."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            if line.startswith(b"SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def written_by(pid: int) -> set[str]:
    """Regular files that a process has open for writing; none if it is not readable."""
    return {name for name, _ in open_for_writing(pid)}


def open_for_writing(pid: int) -> Iterator[tuple[str, os.stat_result]]:
    """Name and stat of each regular file that a process has open for writing."""
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            with contextlib.suppress(OSError, ValueError, StopIteration):
                link = Path(f"/proc/{pid}/fd/{fd}")
                info = Path(f"/proc/{pid}/fdinfo/{fd}").read_text(encoding="utf-8").splitlines()
                flags = next(int(line.split()[1], 8) for line in info if line.startswith("flags:"))
                facts = link.stat()
                if flags & os.O_ACCMODE != os.O_RDONLY and stat.S_ISREG(facts.st_mode):
                    # str: the name of a removed file is not a path
                    yield os.readlink(link), facts  # noqa: PTH115


def is_saving(pid: int) -> bool:
    """Whether a process has a file open for writing in the checkpoint folder named in its environment."""
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, folder = entry.partition(b"=")
            if name == EnvVar.CHECKPOINT_DIR.encode() and folder:
                inside = f"{Path(os.fsdecode(folder)).resolve()}{os.sep}"
                return any(path.startswith(inside) for path in written_by(pid))
    return False


def descendants(ancestor: int) -> set[int]:
    """Running descendants of ``ancestor`` and members of its session; none without /proc."""
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
    """Start time of process ``pid`` in clock ticks since boot; together with the pid it identifies a process.

    0 if unknown: the process has ended, is hidden (hidepid), or /proc belongs to another PID namespace.
    """
    try:
        if pid != os.getpid() and not proc_is_ours():
            return 0
        return int(stat_fields("self" if pid == os.getpid() else pid)[19])
    except (OSError, IndexError, ValueError):
        return 0


def proc_is_ours() -> bool:
    """Whether ``/proc`` belongs to our PID namespace. After ``unshare --pid`` without a new mount it does not."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())  # noqa: PTH115  # no path
    except OSError:
        return False


def all_processes() -> list[Path]:
    """Folders of all visible processes; none if ``/proc`` is not ours."""
    return list(Path("/proc").glob("[0-9]*")) if proc_is_ours() else []
