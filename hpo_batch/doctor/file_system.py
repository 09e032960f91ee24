"""Test whether the file system of the logs directory does what a study relies on, in a folder that is removed.

Two processes contend for both locks (``contention``): two of this host, or two nodes that ``doctor.nodes`` starts.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hpo_batch import mounts, processes
from hpo_batch.doctor import contention
from hpo_batch.doctor.contention import JOURNAL, JOURNAL_FILE, KERNEL, LINE, LINK, NUMBER_BYTES
from hpo_batch.doctor.finding import Finding, bad, fine, note
from hpo_batch.errors import HpoBatchError, StorageError
from hpo_batch.files import write_atomic
from hpo_batch.text.numbers import count

PREFIX: Final = ".doctor."
TIMES = 100
"""turns of each process: enough for the two to meet dozens of times, in a few seconds even on NFS"""
PATIENCE_S: Final = 60.0
"""NFS clients may take that long to see a new file of another client (acdirmax):
https://man7.org/linux/man-pages/man5/nfs.5.html"""
TRIED_BYTES: Final = 16 << 20
"""more than a client's cache hides, and still written within a second"""
ELSEWHERE = "put the studies on another file system (--root, or $HPO_BATCH_ROOT)"


def nearest_folder(path: Path) -> Path:
    """``path``, or the nearest existing folder above it."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


@contextlib.contextmanager
def trial_folder(root: Path) -> Iterator[Path]:
    """Create a folder in the logs directory for the length of the block.

    Raises:
        StorageError: it cannot be created.
    """
    # an unguessable name, for this user alone: others may write into the logs directory
    folder = nearest_folder(root) / f"{PREFIX}{secrets.token_hex(4)}"
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise StorageError.because(f"no folder can be made in '{folder.parent}'", error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def self_test(root: Path) -> Iterator[Finding]:
    """All tests that need only this host."""
    try:
        with trial_folder(root) as folder:
            yield _kind(folder)
            yield from _basics(folder)
            yield from _contend(folder)
    except StorageError as error:
        yield note("files", f"not tried: {error}", "choose another with --root")
    yield from _left_over(root)


def _kind(folder: Path) -> Finding:
    kind = mounts.file_system(folder.stat().st_dev)
    if mounts.said_to_be_shared():
        shared = f"shared, as {mounts.SHARED_VARIABLE} says"
        return fine("files", f"'{folder.parent}' is on {kind or 'an unknown file system'}, {shared}")
    if mounts.is_local(folder):
        where = f"'{folder.parent}' is on a disk of this host ({kind})"
        return fine("files", where)
    return fine("files", f"'{folder.parent}' is on {kind or 'an unknown file system'}")


def _basics(folder: Path) -> Iterator[Finding]:
    """Whether files are replaced atomically, hard links work, and there is room."""
    try:
        write_atomic(folder / "replaced", "old")
        write_atomic(folder / "replaced", "new")
        if (folder / "replaced").read_text(encoding="utf-8") != "new":
            # rename(2) is atomic, but a client may go on showing the old file from its cache
            what = "a file that was replaced still reads as before"
            yield bad("files", what, ELSEWHERE)
        _write(folder / "room", TRIED_BYTES)
    except OSError as error:
        quota = "make room, or ask for a higher quota" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ELSEWHERE
        what = f"{TRIED_BYTES >> 20} MiB cannot be written: {error.strerror}"
        yield bad("files", what, quota)
        return
    try:
        os.link(folder / "replaced", folder / "linked")
        links = "hard links work"
    except OSError:  # exFAT, some FUSE and SMB mounts
        links = "there are no hard links, files made exclusively are the locks instead"
    what = f"replacing in one step works, {links}; {TRIED_BYTES >> 20} MiB written, {_free(folder)}"
    yield fine("files", what)


def _free(folder: Path) -> str:
    """Free bytes and inodes; some file systems, such as Btrfs, have no fixed number of inodes."""
    facts = os.statvfs(folder)
    free = facts.f_bavail * facts.f_frsize
    room = f"{free / (1 << 30):.1f} GiB" if free >= 1 << 30 else f"{free >> 20} MiB"
    return f"{room} and {facts.f_favail:,} inodes free" if facts.f_files else f"{room} free"


def _write(path: Path, size: int) -> None:
    """Write random bytes and sync them: on NFS, an exhausted quota is an error of fsync or close, not of write.

    See https://man7.org/linux/man-pages/man2/fsync.2.html (EDQUOT). Zeros could be compressed away.
    """
    with path.open("wb") as file:
        file.write(secrets.token_bytes(1 << 16) * (size >> 16))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def question(**more: Any) -> dict[str, Any]:
    """A question for ``contention``."""
    return {"times": TIMES, "patience_s": PATIENCE_S, **more}


def program_text() -> str:
    """The source of ``contention``: nodes may lack it, and nothing in the logs directory may be executed."""
    return Path(contention.__file__).read_text(encoding="utf-8")


def answers(folder: Path) -> tuple[dict[str, Any], ...]:
    """The answers so far, by rank."""
    by_rank = []
    for rank in (0, 1):
        with contextlib.suppress(OSError, ValueError):
            by_rank.append(json.loads((folder / f"answer.{rank}.json").read_bytes()))
    return tuple(by_rank)


def _contend(folder: Path) -> Iterator[Finding]:
    question_text = json.dumps(question(imports=[path for path in sys.path if path]))
    outputs = [folder / f"said.{rank}" for rank in (0, 1)]
    # -I and -S: neither PYTHON* variables nor a sitecustomize of the user's run (docs.python.org/3/using/cmdline.html)
    with tempfile.TemporaryDirectory() as bare:
        argv = [sys.executable, "-I", "-S", contention.__file__, str(folder), question_text]
        running = []
        try:
            running = [
                processes.start(
                    [*argv, f"{rank}"], stdout=outputs[rank], stderr=outputs[rank], env=os.environ, cwd=Path(bare)
                )
                for rank in (0, 1)
            ]
            # a process may wait PATIENCE_S for the other one, and then for a lock
            ended = [processes.wait(process, 2 * PATIENCE_S) for process in running]
        except HpoBatchError as error:
            yield note("locks", f"not tried: {error}")
            return
        except OSError as error:
            what = f"not tried: {error.strerror}"
            yield note("locks", what, "make room, then try again")
            return
        finally:
            for process in running:
                if process.poll() is None:  # in a hanging call to the file system, where only SIGKILL helps, if any
                    processes.signal_group(process, 9)
    if any(code != 0 for code in ended):
        words = [path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] for path in outputs]
        why = "; ".join(word for line in words for word in line) or "no answer in time: does the file system hang?"
        yield bad("locks", f"two processes of this host: {why}", ELSEWHERE)
        return
    yield from judge_locks(folder, answers(folder), between="two processes of this host", one_host=True)


@dataclass(frozen=True, kw_only=True)
class Turns:
    """What two processes saw of one lock."""

    held: tuple[int, int]
    met: int
    unseen: int
    counted: int
    """the number in the file at the end"""
    lines: int
    """whole lines appended"""
    while_held: tuple[bool, bool]
    """whether each could take the lock that the other one held"""
    when_free: tuple[bool, bool]

    @property
    def excludes(self) -> bool:
        return self.counted == sum(self.held) and not any(self.while_held)


def read_turns(folder: Path, kind: str, facts: Sequence[Mapping[str, Any]]) -> Turns:
    """What both processes did under one lock. Raises OSError, KeyError or ValueError for incomplete answers."""
    one, two = facts
    with (folder / f"{kind}.count").open("rb") as file:
        counted = int(file.read(NUMBER_BYTES))
    return Turns(
        held=(one["held"], two["held"]),
        met=one["met"] + two["met"],
        unseen=one["unseen"] + two["unseen"],
        counted=counted,
        lines=(folder / f"{kind}.lines").read_bytes().count(LINE),
        while_held=(one["while_held"], two["while_held"]),
        when_free=(one["when_free"], two["when_free"]),
    )


def judge_locks(
    folder: Path, answered: Sequence[Mapping[str, Any]], *, between: str, one_host: bool
) -> Iterator[Finding]:
    """Findings about a file system's locks from the answers of two processes."""
    if len(answered) < 2 or not all(one.get("done") for one in answered):
        yield bad("locks", f"{between}: incomplete answers; not judged", ELSEWHERE)
        return
    alone = [one["alone"] for one in answered if "alone" in one]
    if alone:
        what = f"{between}: {alone[0]}: files that one writes are not seen by the other, or too late"
        yield bad("locks", what, ELSEWHERE)
        return
    for kind in (KERNEL, LINK):
        facts = [one["locks"][kind] for one in answered]
        said = next((one[key] for key in ("missing", "error") for one in facts if key in one), None)
        if said is not None and kind == KERNEL and any("missing" in one for one in facts):
            # flock(2) is optional: Lustre has it only if mounted with -o flock, some FUSE file systems never
            what = f"{between}: no kernel locks here ({said}): '.lock' alone is the lock"
            yield note("locks", what, "nothing; with many workers it is slower")
            continue
        try:
            if said is not None:
                raise ValueError(said)
            turns = read_turns(folder, kind, facts)
        except (OSError, KeyError, ValueError) as error:
            what = f"{between}: {_name(kind)} could not be tried: {error}"
            yield bad("locks", what, ELSEWHERE)
            continue
        yield judge(turns, kind, between=between, one_host=one_host)
    yield judge_journal(folder, [one["locks"].get(JOURNAL, {}) for one in answered], between=between)


def judge_journal(folder: Path, facts: Sequence[Mapping[str, Any]], *, between: str) -> Finding:
    """Whether all records that two processes appended to a journal are there, in order."""
    if any("missing" in one for one in facts):
        said = next(one["missing"] for one in facts if "missing" in one)
        return note("journal", f"{between}: not tried, {said}", "install it there")
    said = next((one["error"] for one in facts if "error" in one), "")
    total = sum(one.get("held", 0) for one in facts)
    try:
        lines = (folder / JOURNAL_FILE).read_bytes().splitlines()
        in_place = sum(_before(line) == place for place, line in enumerate(lines))
    except OSError as error:
        said, lines, in_place = said or str(error), [], 0
    if said or not in_place == len(lines) == total:
        lost = f"of {total} records that were stored, {in_place} are in their place"
        what = f"{between}: the journal does not hold what was written to it: {said or lost}"
        return bad("journal", what, ELSEWHERE)
    met = sum(one["met"] for one in facts)
    if total < len(facts) * TIMES:
        what = f"{between}: the journal took {total} records in {PATIENCE_S:.0f} s, {len(facts) * TIMES} were tried"
        return note("journal", what, "is the file server busy? Run doctor again")
    what = f"{between}: {total} records were appended to a journal in turn, and all are there ({met} changes of hands)"
    return fine("journal", what)


def _before(line: bytes) -> int | None:
    """The number of records that precede a record, as it says; None if it is not one of the test's."""
    try:
        before: int = json.loads(line)["system_attr"]["before"]
    except (ValueError, KeyError, TypeError):
        return None
    return before


def judge(turns: Turns, kind: str, *, between: str, one_host: bool) -> Finding:
    """The finding about one lock, from what two processes saw."""
    total, name = sum(turns.held), _name(kind)
    if not turns.excludes:
        lost = total - turns.counted
        how = f"{lost} of {total} changes made under it are lost" if lost else "one took it while the other held it"
        what = f"{between}: {name} do not keep each other out: {how}"
        # NFS may keep flock local to a client (local_lock, nolock): https://man7.org/linux/man-pages/man2/flock.2.html
        if kind == KERNEL and not one_host:
            do = "nothing to do: between nodes a study relies on '.lock' alone; with many workers it is slower"
            return note("locks", what, do)
        return bad("locks", what, ELSEWHERE)
    if turns.unseen or turns.lines != total:
        what = (
            f"{between}: what one appended under {name} the other did not see at once, {turns.unseen} of {total} times"
        )
        return bad("locks", f"{what}; {turns.lines} lines are there", ELSEWHERE)
    if not all(turns.when_free) or min(turns.held) < TIMES:
        times = f"{turns.held[0]} and {turns.held[1]} times held"
        what = f"{between}: {name} that were released could not be acquired ({times})"
        return bad("locks", what, ELSEWHERE)
    if not turns.met:
        what = f"{between}: {name} were held {total} times, but the processes never met"
        return note("locks", what, "run doctor again")
    counts = f"{total} times held, {turns.met} changes of hands"
    what = f"{between}: {name} keep each other out, and appends are seen ({counts})"
    return fine("locks", what)


def _name(kind: str) -> str:
    return "kernel locks" if kind == KERNEL else "'.lock' files"


def _left_over(root: Path) -> Iterator[Finding]:
    folders = sorted(nearest_folder(root).glob(f"{PREFIX}*"))
    if folders:
        what = (
            f"{count(len(folders), 'folder')} of doctors that were killed or are still running, such as '{folders[0]}'"
        )
        yield note("files", what, "remove them if no doctor is running")
