"""The only place that starts other programs: short commands with a time limit, and long-lived ones.

Arguments are lists, never shell text. Every short command has a time limit; a failure carries its output.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import select
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import IO, Any, Final, NoReturn

from hpo_batch.envvars import EnvVar
from hpo_batch.errors import CommandMissing, CommandTimeout

log = logging.getLogger(__name__)

Process = subprocess.Popen[bytes]

_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, kw_only=True)
class Completed:
    """How a short command ended."""

    returncode: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input: str | None = None,
) -> Completed:
    """Run a short command to its end.

    Raises:
        CommandMissing: the executable is not on PATH.
        CommandTimeout: it ran longer than ``timeout_s`` seconds and was killed.
    """
    log.debug("run: %s", shlex.join(argv))
    try:
        done = subprocess.run(
            list(argv),
            capture_output=True,
            timeout=timeout_s,
            env=None if env is None else dict(env),
            cwd=cwd,
            input=input,
            encoding="utf-8",  # not the locale's: in LC_ALL=C a name of git's or SLURM's would be another one
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL if input is None else None,
        )
    except (FileNotFoundError, PermissionError) as error:
        # a folder of PATH that may not be read makes it a PermissionError
        raise CommandMissing(f"command not found: '{argv[0]}'; is it installed and on PATH?") from error
    except subprocess.TimeoutExpired as error:
        raise CommandTimeout(f"'{shlex.join(argv)}' did not answer within {timeout_s:g} s") from error
    return Completed(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)


def exists(executable: str, *, path: str | None = None) -> bool:
    """Whether ``executable`` is on PATH, or on ``path``."""
    return shutil.which(executable, path=path) is not None


def start(
    argv: Sequence[str],
    *,
    stdout: Path | None,
    stderr: Path | None,
    env: Mapping[str, str],
    cwd: Path | None = None,
    ignored: Sequence[int] = (),
) -> Process:
    """Start a program in a session and process group of its own; its output is appended to files (None: to ours).

    A new session: Ctrl-C in the caller's terminal does not reach it; a signal to its group reaches all its children.

    Args:
        ignored: signals that do nothing to the program until it sets a handler of its own.
    """
    log.debug("start: %s", shlex.join(argv))
    try:
        with _appended(stdout) as out, _appended(stderr) as err:
            return subprocess.Popen(
                _ignoring(ignored, argv, env=env, cwd=cwd) if ignored else list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )
    except FileNotFoundError as error:
        missing = error.filename if error.filename not in (None, argv[0]) else argv[0]
        raise CommandMissing(f"command not found: '{missing}'") from error
    except PermissionError as error:
        if cwd is not None and error.filename == str(cwd):  # it would be told of the command
            raise CommandMissing(f"you may not enter '{cwd}', where '{argv[0]}' is to run") from error
        raise CommandMissing(f"command is not executable: '{argv[0]}'") from error


def _ignoring(numbers: Sequence[int], argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None) -> list[str]:
    """The program behind a shell that ignores signals and then becomes it.

    A shell, since ``preexec_fn`` runs Python between fork and exec, where threads of ours may hold locks.

    Raises:
        FileNotFoundError, PermissionError: as of starting it, which the shell would tell as exit codes.
    """
    program = argv[0]
    if "/" in program:
        path = (cwd or Path()) / program
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
        if path.is_dir() or not os.access(path, os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), program)
    elif shutil.which(program, path=os.pathsep.join(os.get_exec_path(dict(env)))) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
    names = " ".join(str(number) for number in numbers)
    return ["/bin/sh", "-c", f'trap "" {names}; exec "$@"', "sh", *argv]


def _appended(path: Path | None) -> contextlib.AbstractContextManager[IO[bytes] | None]:
    if path is None:
        return contextlib.nullcontext()
    # in a folder where others write, no link is followed (to a shell's start-up file) and no pipe waited for
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(mode := os.fstat(fd).st_mode) and not stat.S_ISCHR(mode):  # as /dev/null is
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    os.set_blocking(fd, True)
    return os.fdopen(fd, "ab")


def end_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when the process that started it is gone, however that ended.

    Only Linux knows how; elsewhere nothing happens. For the very start: a parent that is gone already is not noticed.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def reap_in_background(process: Process) -> None:
    """Wait for a detached process in a daemon thread, so that it does not stay a zombie while we live."""
    threading.Thread(target=process.wait, daemon=True).start()


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP are what Ctrl-C is, so that it clears up; after the first, none counts.

    What is ignored (nohup) stays so. For main threads.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: handler for number in numbers if (handler := signal.getsignal(number)) is not signal.SIG_IGN}

    def interrupt(number: int, frame: FrameType | None) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)  # the next would cut the clearing up short
        raise KeyboardInterrupt

    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def not_interrupted() -> Iterator[None]:
    """Hold signals that would end us back until the block has ended: it makes what somebody has to know of.

    For short commands: programs that the block starts do not see them either.
    """
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def signal_group(process: Process, number: int) -> None:
    """Send a signal to the process group that ``start`` made; a group that has ended is no error."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def wait(process: Process, timeout_s: float) -> int | None:
    """Exit status, or None if the process still runs after ``timeout_s`` seconds."""
    try:
        return process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return None


def is_alive(pid: int) -> bool:
    """Whether a process of this host and PID namespace has the number ``pid``; a zombie counts as dead.

    What can be no process's number is dead: to ``kill``, 0 and those below mean groups, and -1 all processes.
    """
    if not is_number(pid):
        return False
    try:
        if not _proc_is_ours():
            raise FileNotFoundError
        state = _stat(pid)[0]
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


def _stat(pid: int | str) -> list[str]:
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
    for folder in _processes():
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
    found = _descendants(leader) | set(with_environment(name, value))
    return found | {leader} if is_alive(leader) else found


def group_of(leader: int) -> set[int]:
    """Live processes of the process group or the session that a process leads, or has led."""
    found = set()
    for folder in _processes():
        with contextlib.suppress(OSError, IndexError, ValueError):
            state, _, group, session = _stat(folder.name)[:4]
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
    return {name for name, _ in _open_for_writing(pid)}


def _open_for_writing(pid: int) -> Iterator[tuple[str, os.stat_result]]:
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


class Proven:
    """A process that was proven to be the one that is meant: what is sent reaches it or nobody.

    A file may name any process, and a number may be another process's a moment later. So it is held by a descriptor
    (man 2 pidfd_open, Linux 5.3) first and looked at then; without those the look is repeated before each signal.
    """

    def __init__(self, pid: int, fd: int | None, is_it: Callable[[], bool]) -> None:
        self.pid, self._fd, self._is_it = pid, fd, is_it

    def send(self, number: int) -> bool:
        """Whether the signal was sent; False if the process is gone, or another user's."""
        try:
            if self._fd is not None:
                signal.pidfd_send_signal(self._fd, number)
            elif self._is_it():
                os.kill(self.pid, number)
            else:
                return False
        except (ProcessLookupError, PermissionError):
            return False
        return True

    @property
    def is_alive(self) -> bool:
        """Whether it runs still; a zombie does not."""
        if self._fd is None:
            return is_alive(self.pid) and self._is_it()
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return not poll.poll(0)

    def environment(self, name: str) -> str:
        """A variable that it was started with; empty if it has none of that name, or cannot be looked at."""
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{self.pid}/environ").read_bytes().split(b"\0"):
                key, equals, value = entry.partition(b"=")
                if equals and key == os.fsencode(name) and self.is_alive:
                    return os.fsdecode(value)
        return ""

    def kill_family(self, also: Callable[[], set[int]] = set) -> None:
        """SIGKILL to it and to all that descends from it, and to what ``also`` finds; never to this process."""
        if self.is_alive:
            _kill_found(lambda: _descendants(self.pid) - {os.getpid()} if self.is_alive else set())
            self.send(signal.SIGKILL)
        _kill_found(lambda: also() - {os.getpid()})

    def close(self) -> None:
        """May be called twice."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def prove(pid: int, *, holds: Iterable[Path], start: int = 0) -> Proven | None:
    """Process ``pid``, if it has one of these files open for writing; None if not, or if nobody can tell.

    That cannot be forged: a copy of the file is another one, and a stranger's file is not what this user's process
    writes into. A file of several names (hard links) proves nothing, nor does a link.

    Args:
        start: when the process began (``started_at``), if it is known.
    """
    if not is_number(pid) or pid == 1 or pid == os.getpid() or not _proc_is_ours():
        return None
    files = list(holds)

    def is_it() -> bool:
        if start and started_at(pid) != start:
            return False
        wanted = set()
        for path in files:
            with contextlib.suppress(OSError):
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1 and not path.parent.is_symlink():
                    wanted.add((facts.st_dev, facts.st_ino))
        return any((facts.st_dev, facts.st_ino) in wanted for _, facts in _open_for_writing(pid))

    found = Proven(pid, _pidfd(pid), is_it)
    if is_it():
        return found
    found.close()
    return None


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):  # before Linux 5.3, or it is gone
        return None


def _kill_found(find: Callable[[], set[int]]) -> None:
    """SIGKILL to what is found twice, with a descriptor on each in between: none can have become another process."""
    for _ in range(10):  # one that forks while we look leaves another one
        pids = {pid: _pidfd(pid) for pid in find()}
        if not pids:
            break
        still = find()
        for pid, fd in pids.items():
            one = Proven(pid, fd, lambda: True)
            if pid in still:
                one.send(signal.SIGKILL)
            one.close()
        time.sleep(0.01)


def is_saving(pid: int) -> bool:
    """Whether a process has a file open for writing below the folder for checkpoints that its environment names."""
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, folder = entry.partition(b"=")
            if name == EnvVar.CHECKPOINT_DIR.encode() and folder:
                inside = f"{Path(os.fsdecode(folder)).resolve()}{os.sep}"
                return any(path.startswith(inside) for path in written_by(pid))
    return False


def send(pids: Iterable[int], number: int) -> None:
    """A signal to processes of this user; one that is gone is no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def kill_unless(find: Callable[[], set[int]], is_busy: Callable[[set[int]], bool]) -> bool:
    """Kill processes, unless they are in the middle of something: they are stopped, looked at, and killed or let go on.

    Args:
        find: the processes, asked again until there are no more: one that forks while we look leaves another one.
        is_busy: asked while they stand still.

    Returns:
        Whether they were killed.
    """
    pids = find()
    send(pids, signal.SIGSTOP)
    end = time.monotonic() + 0.2
    while not all(map(_stands_still, pids)) and time.monotonic() < end:
        time.sleep(0.002)
    if is_busy(pids):
        send(pids, signal.SIGCONT)
        return False
    kill(find)
    return True


def kill(find: Callable[[], set[int]]) -> None:
    """Kill processes until ``find`` finds no more: one that forks while we look leaves another one."""
    for _ in range(10):
        pids = find()
        send(pids, signal.SIGKILL)
        if not pids:
            break
        time.sleep(0.01)


def _stands_still(pid: int) -> bool:
    try:
        return _stat(pid)[0] in ("T", "t", "Z", "X")
    except (OSError, IndexError):
        return True


def end_with_descendants(code: int) -> NoReturn:
    """End this process at once, whatever its other threads do, and before it all that it has started.

    Those whose parents have ended are found only if this process leads its session, as detached workers do.
    """
    end_descendants()
    os._exit(code)


def end_descendants(mark: str = "") -> None:
    """Kill all that this process has started.

    Those whose parents have ended are found only if this process leads its session, as detached workers do, or by what
    they were started with.

    Args:
        mark: a variable that this process has set in its environment; empty: none.
    """
    for _ in range(10):  # a process that forks while we look leaves another one
        pids = _descendants(os.getpid())
        if mark:
            pids |= set(with_environment(mark, os.environ.get(mark, ""))) - {os.getpid()}
        pids = {pid for pid in pids if not _is_tracker(pid)}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            break
        time.sleep(0.01)


def become_sleeper(seconds: float) -> NoReturn:
    """Kill all that this process has started, and let it be a program that sleeps and heeds no signal but SIGKILL.

    The process keeps its number, so for SLURM the task goes on, while threads and memory are gone. May be called from
    any thread.
    """
    end_descendants()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    # blocked, not ignored: the mask of this thread outlives execv, and no signal comes in between
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP})
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", f"import time; time.sleep({seconds:g})"])


def _is_tracker(pid: int) -> bool:
    """Whether it is the helper of multiprocessing, which ends by itself after it has removed what others left."""
    try:
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _descendants(ancestor: int) -> set[int]:
    """Live processes that descend from ``ancestor``, or are of the session that it leads; none without ``/proc``."""
    children: dict[int, list[int]] = {}
    found: set[int] = set()
    for folder in _processes():
        with contextlib.suppress(OSError, IndexError):
            state, parent, _, session = _stat(folder.name)[:4]
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
        if pid != os.getpid() and not _proc_is_ours():
            return 0
        return int(_stat("self" if pid == os.getpid() else pid)[19])
    except (OSError, IndexError, ValueError):
        return 0


def host_name(environ: Mapping[str, str] | None = None) -> str:
    """This machine as SLURM calls it in a job, else its own name: virtual nodes on one machine are several hosts."""
    return (os.environ if environ is None else environ).get("SLURMD_NODENAME") or socket.gethostname()


def identity() -> dict[str, str | int]:
    """What tells this process from all others, on any host: ``host``, ``boot``, ``pid_ns``, ``pid`` and ``start``.

    A host name alone does not name a machine, since two may be called alike, nor does a pid name a process: containers
    of one host have pids of their own (apptainer --pid, docker).
    """
    pid = os.getpid()
    return {"host": host_name(), "boot": boot_id(), "pid_ns": pid_namespace(), "pid": pid, "start": started_at(pid)}


def pid_namespace() -> str:
    """In which the pid of this process is its number, such as ``pid:[4026531836]``; empty where there are none."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115  # no path
    except OSError:
        return ""


def _proc_is_ours() -> bool:
    """Whether ``/proc`` shows the processes of our PID namespace: ``unshare --pid`` alone leaves it as it was.

    What another namespace's shows under a number is somebody else.
    """
    try:
        return os.readlink("/proc/self") == str(os.getpid())  # noqa: PTH115  # no path
    except OSError:
        return False


def _processes() -> list[Path]:
    """Folders of all processes that we can see and name; none without a ``/proc`` of ours."""
    return list(Path("/proc").glob("[0-9]*")) if _proc_is_ours() else []


def boot_id() -> str:
    """Identity of this boot of this machine; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def is_dead_here(facts: Mapping[str, Any]) -> bool | None:
    """Whether the process behind a claim is proven gone; None if nobody here can tell.

    That is if it is not from here (``is_from_here``), or if it is another user's and this host hides those (hidepid).
    """
    if not is_from_here(facts):
        return None
    pid = facts["pid"]
    if not is_alive(pid):  # or no process's number at all
        return True
    started = started_at(pid)
    return None if started == 0 else bool(started != facts["start"])


def is_from_here(facts: Mapping[str, Any]) -> bool:
    """Whether a process lives, or lived, where its pid means to us what it means to itself.

    Not in another PID namespace (a container). Nor on a host of our name with another boot: that may be this one before
    it was rebooted, or another one that is called alike. Their leases tell.
    """
    ours = (host_name(), _boot())
    return (facts.get("host"), facts.get("boot")) == ours and (
        facts.get("pid_ns", "") in ("", _pid_namespace(os.getpid()))
    )


@cache
def _boot() -> str:
    return boot_id()


@cache
def _pid_namespace(pid: int) -> str:
    """Of this process, whose pid is given: its child may be in another one."""
    return pid_namespace()
