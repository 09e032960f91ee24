"""Mount a folder as one host of a cluster would see it; what tests do with such hosts.

    python -m tests.network.mount SOURCE MOUNTPOINT [--rtt-ms N] [--attr-timeout S] [--no-flock | --flock-local]

It stays in the foreground; Ctrl-C, SIGTERM or the end of its parent unmount it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "hostfs.c"
INSTALL = "tests/network/install_fuse.sh installs what is needed (Debian, Ubuntu)"
MNT_DETACH = 2
CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
_libc = ctypes.CDLL(None, use_errno=True)


def missing() -> str | None:
    """Why nothing can be mounted here, or None. That something is not installed is no reason: see ``program``."""
    if not sys.platform.startswith("linux"):
        return "FUSE mounts as tests need them are there on Linux alone"
    if not Path("/dev/fuse").exists():
        return "no /dev/fuse: this machine or container has no FUSE"
    return None if os.geteuid() == 0 else "mounts need root: run the tests as root"


def program() -> Path:
    """The compiled file system; compiled once for each text of its source.

    Raises:
        RuntimeError: the compiler or the library is missing.
    """
    try:
        flags = _output("pkg-config", "--cflags", "--libs", "fuse3").split()
        key = hashlib.sha256(SOURCE.read_bytes() + _output("pkg-config", "--modversion", "fuse3").encode()).hexdigest()
        built = HERE / "build" / f"hostfs-{key[:16]}"
        if not built.exists():
            built.parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=built.parent) as folder:  # two runs may compile at once
                new = Path(folder, "hostfs")
                _output("gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", str(new), str(SOURCE), *flags, "-pthread")
                new.replace(built)
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
        raise RuntimeError(f"{SOURCE.name} cannot be compiled: {error}; {INSTALL}\n{said}") from error
    return built


def _output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a host sees the server."""

    rtt_ms: float = 0.0
    """of each operation that goes to the server"""
    attr_timeout: float = 3.0
    """for how many seconds attributes, names and data are believed"""
    writeback: float = 30.0
    """after how many seconds what was written reaches the server by itself"""
    locks: str = "shared"
    """``shared``: flock excludes all hosts; ``local``: this one (local_lock, localflock); ``none``: there is none"""
    keep_removed: bool = False
    """whether a file that another host removes lives on for whom has it open here, as with NFSv4 of Linux's server"""
    rules: tuple[str, ...] = ()
    """such as ``fail EIO 3 write *journal*``: see ``Host.fail`` and ``Host.delay``"""

    def argv(self) -> list[str]:
        numbers = ("rtt_ms", "attr_timeout", "writeback", "locks")
        words = [f"--{name.replace('_', '-')}={getattr(self, name)}" for name in numbers]
        words += ["--keep-removed"] if self.keep_removed else []
        return words + [f"--rule={rule}" for rule in self.rules]


@dataclass(kw_only=True)
class Host:
    """One mount of the source."""

    source: Path
    """the server's folder itself: what is there whatever a host believes"""
    path: Path
    control: Path
    options: Options
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def mount(self) -> None:
        places = [str(path) for path in (program(), self.source, self.path)]
        argv = [*places, f"--control={self.control}", *self.options.argv()]
        # a session of its own: Ctrl-C in the terminal reaches the tests, which then unmount
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "mounted\n":
            self.unmount()
            raise RuntimeError(f"'{self.path}' could not be mounted; {INSTALL}")

    def unmount(self) -> None:
        """Also if files are open there: they are lost to their programs. Safe to call twice."""
        self._end(signal.SIGTERM)

    def cut_power(self) -> None:
        """What was not written back is gone, and so are its locks. End the programs that run on it, too."""
        self._end(signal.SIGKILL)

    def tell(self, command: str) -> str:
        """One command to the mount, and its answer."""
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.control))
            line.sendall(f"{command}\n".encode())
            with line.makefile() as answer:
                said = answer.readline().strip()
        if said != "ok" and not said.startswith("{"):
            raise ValueError(f"{command}: {said}")
        return said

    def fail(self, error: str, operation: str, glob: str = "*", *, times: int = 1, done: bool = False) -> None:
        """Answer the next operations of a kind (``*``: any) on paths that match with an error, such as ``EDQUOT``.

        Args:
            operation: as in ``counts``. Only what goes to the server can fail: a ``write`` when it is written back.
            times: -1 for ever.
            done: the server does it all the same; its answer is lost.
        """
        self.tell(f"fail {error} {times} {operation} {glob}{' done' if done else ''}")

    def delay(self, seconds: float, operation: str, glob: str = "*", *, times: int = -1, done: bool = False) -> None:
        """Let operations wait before the server does them, or (``done``) before it answers."""
        self.tell(f"delay {seconds * 1000} {times} {operation} {glob}{' done' if done else ''}")

    def stall(self, seconds: float) -> None:
        """Nothing reaches the server for some time."""
        self.tell(f"stall {seconds}")

    def clear(self) -> None:
        """No more errors, delays and stalls."""
        self.tell("clear")

    def set_locks(self, locks: str) -> None:
        """Another kind of locks (see ``Options``) for files that are opened from now on."""
        self.tell(f"locks {locks}")

    def sync(self) -> None:
        """Write everything back."""
        self.tell("sync")

    def counts(self) -> dict[str, int]:
        """How many operations of each kind went to the server."""
        counts: dict[str, int] = json.loads(self.tell("counts"))
        return counts

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(number)
        process.wait(timeout=30)
        assert process.stdout is not None
        process.stdout.close()
        detach(self.path)


def detach(path: Path) -> None:
    """Unmount, also what is dead or in use; nothing if nothing is mounted there."""
    while any(line.split(" ")[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines()):
        _check(_libc.umount2(bytes(path), MNT_DETACH))


def see(host: Path, at: Path) -> None:
    """Let this process and its children, and nobody else, see a mounted host at another path, the same on all hosts.

    For a forked child, as root. ``in_view`` is the same for programs.
    """
    _check(_libc.unshare(CLONE_NEWNS))
    _check(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    _check(_libc.mount(bytes(host), bytes(at), None, MS_BIND, None))


def in_view(host: Path, at: Path) -> list[str]:
    """What to put before a command so that it sees a mounted host at another path."""
    text = 'mount --bind "$0" "$1" && shift && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", text, str(host), str(at)]


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def mounted(count: int, *, source: Path | None = None, **options: object) -> Iterator[list[Host]]:
    """So many hosts of one fresh folder, or of ``source``; unmounted at the end, whatever has happened."""
    # short and in /tmp: the path of a Unix socket ends at 107 characters
    folder = Path(tempfile.mkdtemp(prefix="hpo-batch-hosts-", dir="/tmp"))
    if source is None:
        source = folder / "server"
        source.mkdir()
    hosts = [
        Host(
            source=source,
            path=folder / f"host{number}",
            control=folder / f"host{number}.control",
            options=Options(**options),  # type: ignore[arg-type]
        )
        for number in range(1, count + 1)
    ]
    try:
        for host in hosts:
            host.path.mkdir()
            host.mount()
        yield hosts
    finally:
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            for host in hosts:
                stack.callback(host.unmount)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("mountpoint", type=Path)
    parser.add_argument("--rtt-ms", type=float, default=Options.rtt_ms)
    parser.add_argument("--attr-timeout", type=float, default=Options.attr_timeout, metavar="S")
    parser.add_argument("--writeback", type=float, default=Options.writeback, metavar="S")
    locks = parser.add_mutually_exclusive_group()
    locks.add_argument("--flock-local", dest="locks", action="store_const", const="local", default="shared")
    locks.add_argument("--no-flock", dest="locks", action="store_const", const="none")
    parser.add_argument("--keep-removed", action="store_true", help="files that another host removes stay open here")
    parser.add_argument("--fail", action="append", default=[], metavar="'ERROR COUNT OPERATION GLOB'")
    parser.add_argument("--delay", action="append", default=[], metavar="'MS COUNT OPERATION GLOB'")
    parser.add_argument("--control", type=Path, default=None, help="a socket to make, for commands at run time")
    given = parser.parse_args()
    rules = [f"fail {rule}" for rule in given.fail] + [f"delay {rule}" for rule in given.delay]
    options = Options(
        rtt_ms=given.rtt_ms,
        attr_timeout=given.attr_timeout,
        writeback=given.writeback,
        locks=given.locks,
        keep_removed=given.keep_removed,
        rules=tuple(rules),
    )
    control = [f"--control={given.control.resolve()}"] if given.control else []
    try:
        compiled = program()
    except RuntimeError as error:
        sys.exit(str(error))
    os.execv(compiled, ["hostfs", str(given.source), str(given.mountpoint.resolve()), *control, *options.argv()])


if __name__ == "__main__":
    main()
