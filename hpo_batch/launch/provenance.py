"""What ran: git commit, uncommitted changes, package versions, command line; and the snapshot of the code."""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hpo_batch import processes
from hpo_batch.errors import CommandMissing, UserError
from hpo_batch.files import LINES_BYTES, make_real_folder, read_regular, write_atomic
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import portable_workdir
from hpo_batch.text.secrets import MASK, assigns_secret, masked, secrets_in

PACKAGES = ("hpo-batch", "torch", "optuna", "submitit", "numpy", "pandas", "scikit-learn")
GIT_TIMEOUT_S = 30.0
_SETTINGS: Final = (
    "core.fsmonitor=",
    f"core.hooksPath={os.devnull}",
    "diff.noprefix=false",
    "diff.mnemonicPrefix=false",
    "diff.relative=false",
    "diff.context=3",
    "diff.submodule=short",
    "diff.ignoreSubmodules=none",
    "diff.wsErrorHighlight=none",
)
"""against what in somebody's configuration runs other programs, or makes a patch that cannot be applied. As settings,
not as options: an old git passes over those that it does not know"""
_SETUP: Final = re.compile(r"\A((?:--set=)?\s*[\"']?job[\"']?\s*\.\s*[\"']?setup[\"']?\s*=).*\Z", re.DOTALL)
_ENV: Final = re.compile(r"\A((?:--set=)?\s*[\"']?objective[\"']?\s*\.\s*[\"']?env[\"']?\b[^=]*=).*\Z", re.DOTALL)


def describe_code(home: StudyHome, submission: str, *, workdir: Path, argv: Sequence[str]) -> dict[str, Any]:
    """The state of the code in ``workdir``; uncommitted changes are written to a file of the study.

    A folder without git, or a machine without it, is told as such: it is no reason not to run.
    """
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    facts: dict[str, Any] = {"python": platform.python_version(), "versions": versions, "argv": without_values(argv)}
    facts["workdir"] = portable_workdir(home, workdir)
    commit = _git(workdir, "rev-parse", "HEAD")
    if commit is None:
        return {**facts, "commit": None}
    diff = _diff(workdir)
    untracked = (_git(workdir, "ls-files", "--others", "--exclude-standard") or "").split("\n")
    facts |= {"commit": commit.strip(), "changed": bool(diff.strip()), "untracked": [u for u in untracked if u][:100]}
    if diff.strip():
        make_real_folder(home.code)
        name = f"{submission}.diff"
        write_atomic(home.code / name, diff)
        facts["diff"] = f"{home.code.name}/{name}"
    return facts


def code_changes(home: StudyHome, code: Mapping[str, Any], *, workdir: Path) -> list[str]:
    """What of the code in ``workdir`` is not as a submission noted it; nothing where one of the two is unknown."""
    before, after = code.get("commit"), _git(workdir, "rev-parse", "HEAD")
    if before is None or after is None:
        return []
    changes = [f"commit {before[:10]} -> {after[:10]}"] if after.strip() != before else []
    try:
        kept = read_regular(home.path / str(code["diff"]), most=LINES_BYTES) if "diff" in code else b""
    except OSError:
        return changes
    now = _diff(workdir)
    return [*changes, "other uncommitted changes"] if now.strip() != kept.strip() else changes


def snapshot(home: StudyHome, submission: str, *, workdir: Path) -> tuple[Path, frozenset[Path]]:
    """Copy the code that git knows or would add, below ``workdir``, into the study. Modes are kept, links stay links.

    Returns:
        The copy, and what in it git would add but nobody has: an ``.env`` may be among it.

    Raises:
        UserError: ``workdir`` is not in a git repository.
    """
    tracked = _git(workdir, "ls-files", "-z", "--cached")
    others = _git(workdir, "ls-files", "-z", "--others", "--exclude-standard")
    if tracked is None or others is None:
        raise UserError(
            f"[objective] snapshot = true copies what git lists, but '{workdir}' is not in a git repository"
        )
    copy = home.code / submission
    make_real_folder(home.code)
    copy.mkdir()  # a new one: what somebody has put there before is not filled
    for name in filter(None, f"{tracked}{others}".split("\0")):
        source, target = workdir / name, copy / name
        if source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(_leads_to(source, workdir))
        elif source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    private = frozenset(copy / name for name in others.split("\0") if name)
    return copy, private


def _leads_to(link: Path, workdir: Path) -> Path:
    """As it is within the code; by its full path where a relative one would lead elsewhere from the copy."""
    leads = link.readlink()
    inside = Path(os.path.normpath(link.parent / leads)).is_relative_to(workdir)
    return leads if leads.is_absolute() or inside else Path(os.path.normpath(link.parent / leads))


def command_line() -> list[str]:
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def without_values(argv: Sequence[str]) -> list[str]:
    """A command line as it is kept: without the values that ``--set objective.env.NAME=VALUE`` gives, nor passwords.

    The frozen sweep has them, and is readable to fewer (``study.create``).
    """
    secrets = secrets_in(argv)
    words = [_SETUP.sub(rf"\1{MASK}", word) if assigns_secret(word) else word for word in argv]
    return [masked(_ENV.sub(rf"\1{MASK}", word), known=secrets) for word in words]


def _diff(workdir: Path) -> bytes:
    """The uncommitted changes as a patch that ``git apply`` takes, whatever the user has configured for reading.

    Through a file: as text it would lose other encodings and line endings.
    """
    with tempfile.TemporaryDirectory(prefix="hpo-batch-") as folder:
        path = Path(folder) / "diff"
        options = ("--no-ext-diff", "--no-textconv", "--no-color", "--binary", f"--output={path}")
        return path.read_bytes() if _git(workdir, "diff", *options, "HEAD", "--") is not None and path.exists() else b""


def _git(workdir: Path, *arguments: str) -> str | None:
    settings = itertools.chain.from_iterable(("-c", setting) for setting in _SETTINGS)
    try:
        done = processes.run(
            ["git", *settings, "-C", str(workdir), *arguments],
            timeout_s=GIT_TIMEOUT_S,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # reading changes nothing, and no hook is told that it did
        )
    except CommandMissing:
        return None
    return done.stdout if done.returncode == 0 else None
