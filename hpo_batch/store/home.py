"""The paths of a study on disk, and finding studies by name or directory.

No file of a study contains an absolute path, so a study can be copied or moved.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from hpo_batch.envvars import EnvVar
from hpo_batch.errors import StorageError, StudyNotFound, UserError
from hpo_batch.text.names import did_you_mean

JOURNAL = "journal.jsonl"
DECISIONS = "decisions.json"
TRIALS_PER_FOLDER = 1000
MOST_DIGITS = 9
"""of the number of a trial, an attempt or a revision"""


class Marker(StrEnum):
    """A file in a study's directory that stops workers from starting trials while it exists."""

    CANCELLED = "CANCELLED"
    """also stops running trials"""
    DRAIN = "DRAIN"
    """running trials finish normally"""


class StudyHome(Struct, frozen=True, kw_only=True):
    """A study's directory. Creating the object does not touch the disk."""

    path: Path
    name: str
    """as users type it: ``patchtst-2m`` or ``patchtst-2m/2M``"""

    @property
    def journal(self) -> Path:
        return self.path / JOURNAL

    @property
    def sweep_toml(self) -> Path:
        return self.path / "sweep.toml"

    @property
    def decisions(self) -> Path:
        """What the command that wrote the sweep predicted, as it was when the study was made."""
        return self.path / DECISIONS

    def revision(self, number: int) -> Path:
        return self.path / f"sweep.{number}.json"

    @property
    def submissions(self) -> Path:
        return self.path / "submissions.jsonl"

    @property
    def workers(self) -> Path:
        return self.path / "workers"

    @property
    def slurm(self) -> Path:
        """submitit's files, and the logs of array tasks."""
        return self.path / "slurm"

    def local_log(self, submission: str, index: int) -> Path:
        """Output of a local worker."""
        return self.path / "local" / f"{submission}_{index}.log"

    @property
    def code(self) -> Path:
        return self.path / "code"

    def marker(self, name: str) -> Path:
        """Path of the marker file of this name."""
        return self.path / name

    def is_marked(self, name: str) -> bool:
        """Whether a marker is there, whatever it is: a link counts for itself, and may lead where nobody may look.

        Raises:
            OSError: nobody can tell.
        """
        try:
            os.lstat(f"{self.path}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def markers(self) -> tuple[Marker, ...]:
        """The markers that exist."""
        return tuple(marker for marker in Marker if self.is_marked(marker))

    def trial(self, number: int) -> Path:
        return Path(f"{self.path}/trials/{number // TRIALS_PER_FOLDER:04}/{number:04}")

    def attempt(self, number: int, attempt: int) -> Path:
        # one f-string: joining Path parts would take as long as creating the folder
        return Path(f"{self.path}/trials/{number // TRIALS_PER_FOLDER:04}/{number:04}/attempts/{attempt}")

    @property
    def exists(self) -> bool:
        """Raises StorageError if this user may not look."""
        try:
            return self.journal.is_file()
        except PermissionError as error:
            check_enterable(self.path)
            raise StorageError.because(f"cannot look at '{self.journal}'", error) from error

    @property
    def root(self) -> Path:
        """The logs directory."""
        return self.path.parents[self.name.count("/")]

    def make(self) -> None:
        """Create the directory and its folders.

        Raises:
            StorageError: from the file system.
        """
        for folder in (self.workers, self.slurm, self.path / "trials"):
            make_folder(folder)


def is_counted(name: str) -> bool:
    """Whether a name, or a piece of one, is a number as we write them: of a trial, an attempt, a revision."""
    return name.isascii() and name.isdigit() and len(name) <= MOST_DIGITS


def make_folder(folder: Path) -> None:
    """Create a folder and its parents; raises StorageError on failure."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        where = error.filename or folder
        raise StorageError.because(
            f"cannot create the study's directory '{where}'", error, do="choose another with --root"
        ) from error


def find_root(option: Path | None, *, environ: Mapping[str, str], cwd: Path) -> Path:
    """The logs directory: ``--root``, ``HPO_BATCH_ROOT``, the nearest ``logs`` upwards, else ``logs`` here."""
    if option is not None:
        return option.resolve()
    if environ.get(EnvVar.ROOT):
        return Path(environ[EnvVar.ROOT]).resolve()
    # like git: commands work from any subdirectory of a project
    for folder in (cwd, *cwd.parents):
        if _may(folder, os.X_OK) and (folder / "logs").is_dir():
            return (folder / "logs").resolve()
    return (cwd / "logs").resolve()


def why_not_trusted(folder: Path) -> str | None:
    """Why code in, or named by, a directory may belong to somebody else; None if it is this user's or missing.

    The same check as git's for repositories (``safe.directory``, git-config(1)).
    """
    try:
        facts = folder.stat()
    except OSError:
        return None
    if facts.st_uid != os.geteuid():
        return f"'{folder}' belongs to {user_name(facts.st_uid)}"
    if facts.st_mode & stat.S_IWOTH and not facts.st_mode & stat.S_ISVTX:
        return f"'{folder}' is writable for everybody"
    return None


def who_may_replace(root: Path) -> str | None:
    """Who else may replace studies in the logs directory; None if nobody can.

    Whoever may write to a directory may rename its entries, regardless of their owner, unless it has the sticky bit
    (rename(2), EPERM).
    """
    try:
        facts = root.stat()
    except OSError:
        return None
    if facts.st_mode & stat.S_ISVTX:
        return None
    if facts.st_mode & stat.S_IWOTH:
        return "everybody"
    if not facts.st_mode & stat.S_IWGRP or _is_private(facts.st_gid):
        return None
    return f"group {group_name(facts.st_gid)}"


def _is_private(gid: int) -> bool:
    """Whether it is the user's private group, which many distributions create for each user."""
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return gid == os.getuid()
    return group.gr_name == user_name(os.getuid()) and set(group.gr_mem) <= {group.gr_name}


def home_of(root: Path, name: str) -> StudyHome:
    return StudyHome(path=root / name, name=name)


def all_homes(root: Path) -> Iterator[StudyHome]:
    """All studies below ``root``, including those of budgets, by name. Skips folders that this user may not enter.

    Raises:
        StorageError: ``root`` is not readable.
    """
    check_enterable(root)
    if root.is_dir() and not _may(root, os.R_OK):
        raise _closed(root)
    for folder in _folders(root):
        if _has_journal(folder):
            yield home_of(root, folder.name)
            continue
        for inner in _folders(folder):
            if _has_journal(inner):
                yield home_of(root, f"{folder.name}/{inner.name}")


def find_homes(root: Path, study: str) -> tuple[StudyHome, ...]:
    """The studies with a name or directory: one, or all budgets of a sweep.

    Raises:
        StudyNotFound: there is none.
        StorageError: this user may not look where it would be.
    """
    directory = Path(study).resolve()
    if _has_journal(directory):
        return (_home_at(directory, root),)
    budgets = [folder for folder in _folders(directory) if _has_journal(folder)] if directory != root else []
    if budgets:
        return tuple(_home_at(folder, root) for folder in budgets)
    homes = list(all_homes(root))
    matches = tuple(home for home in homes if home.name == study or home.name.startswith(f"{study}/"))
    if matches:
        return matches
    for folder in (root / study, directory):
        check_enterable(folder)
    names = sorted({home.name for home in homes})
    if find_remains(root, study):
        raise StudyNotFound(
            f"the study '{study}' in {root} has lost its journal; rebuild it with 'hpo-batch doctor {study} --rebuild'"
        )
    meant = did_you_mean(study, names)
    listed = (
        f"; there {'is' if len(names) == 1 else 'are'} {', '.join(names[:10])}"
        f"{f' and {len(names) - 10} more' if len(names) > 10 else ''}"
        if names
        else "; it has no studies"
    )
    raise StudyNotFound(f"no study '{study}' in {root}{meant or listed}")


def find_remains(root: Path, study: str) -> tuple[StudyHome, ...]:
    """The studies with a name or directory that have lost their journal, but still have a frozen sweep."""
    remains: dict[Path, StudyHome] = {}
    for folder in (Path(study).resolve(), (root / study).resolve()):
        for path in (folder, *_folders(folder)) if folder != root else ():
            if not _has_journal(path) and any(path.glob("sweep.*.json")):
                remains[path] = _home_at(path, root)
    return tuple(remains.values())


def _home_at(path: Path, root: Path) -> StudyHome:
    # outside the logs directory it is unknown whether the parent folder is part of the study's name
    inside = path.is_relative_to(root)
    return StudyHome(path=path, name=str(path.relative_to(root)) if inside else path.name)


def _folders(path: Path) -> list[Path]:
    """Folders in ``path``, without hidden ones (being created or removed); none if this user may not look.

    Raises:
        StorageError: another error, which must not look like an empty folder.
    """
    try:
        with os.scandir(path) as entries:  # knows which entries are folders without a stat(2) for each
            return sorted(Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    except OSError as error:
        raise StorageError.because(f"cannot read '{path}'", error) from error


def closed_folders(root: Path) -> list[Path]:
    """Folders in ``root`` that this user may not enter, and which may be studies."""
    return [folder for folder in _folders(root) if not _may(folder, os.X_OK)]


def check_enterable(path: Path) -> None:
    """Raises StorageError if ``path`` or a parent exists and this user may not enter it."""
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            return
        if not _may(folder, os.X_OK):
            raise _closed(folder)


def _may(folder: Path, right: int) -> bool:
    return os.access(folder, right, effective_ids=True)


def _closed(folder: Path) -> StorageError:
    facts = folder.stat()
    mode = stat.S_IMODE(facts.st_mode)
    return StorageError(
        f"no permission to look into '{folder}' (owner {user_name(facts.st_uid)}, group {group_name(facts.st_gid)}, "
        f"mode {mode:04o}); its owner can grant it ('chgrp -R', 'chmod -R g+rX'; [study] shared = true keeps it)"
    )


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _has_journal(folder: Path) -> bool:
    try:
        return (folder / JOURNAL).is_file()
    except OSError:
        return False


def newest_home(root: Path) -> StudyHome:
    """The study whose journal changed last.

    Raises:
        StudyNotFound: the logs directory has none.
    """
    homes = list(all_homes(root))
    if not homes:
        raise StudyNotFound(f"no studies in {root}; start one with 'hpo-batch submit SWEEP', or pass --root")
    return max(homes, key=_changed)


def _changed(home: StudyHome) -> float:
    try:
        return home.journal.stat().st_mtime
    except OSError:
        return 0.0


def check_writable(path: Path) -> None:
    """Fail early if nothing can be written at ``path``.

    Raises:
        StorageError: the nearest existing folder is not writable.
        UserError: it is not a folder.
    """
    check_enterable(path)
    folder = path
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(f"'{folder}' exists and is not a directory")
    # access(2) does not report a read-only file system for root
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        refused = OSError(errno.EROFS, os.strerror(errno.EROFS))
        raise StorageError.because(f"cannot write to '{folder}'", refused, do="choose another directory with --root")
    if not _may(folder, os.W_OK | os.X_OK):
        raise StorageError(f"no permission to write to '{folder}'; choose another directory with --root")
