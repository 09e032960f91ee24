"""What ran: git commit, uncommitted changes, package versions, command line; and the snapshot of the code."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpo_batch import processes
from hpo_batch.errors import CommandMissing, UserError
from hpo_batch.files import write_atomic
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import told_workdir

PACKAGES = ("hpo-batch", "torch", "optuna", "submitit", "numpy", "pandas", "scikit-learn")
GIT_TIMEOUT_S = 30.0


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
    facts: dict[str, Any] = {"python": platform.python_version(), "versions": versions, "argv": list(argv)}
    facts["workdir"] = told_workdir(home, workdir)
    commit = _git(workdir, "rev-parse", "HEAD")
    if commit is None:
        return {**facts, "commit": None}
    diff = _git(workdir, "diff", "HEAD", "--no-color") or ""
    untracked = (_git(workdir, "ls-files", "--others", "--exclude-standard") or "").split("\n")
    facts |= {"commit": commit.strip(), "changed": bool(diff.strip()), "untracked": [u for u in untracked if u][:100]}
    if diff.strip():
        home.code.mkdir(exist_ok=True)
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
        kept = (home.path / code["diff"]).read_text(encoding="utf-8", errors="replace") if "diff" in code else ""
    except OSError:
        return changes
    now = _git(workdir, "diff", "HEAD", "--no-color") or ""
    return [*changes, "other uncommitted changes"] if now.strip() != kept.strip() else changes


def snapshot(home: StudyHome, submission: str, *, workdir: Path) -> Path:
    """Copy the code that git knows or would add, below ``workdir``, into the study; the copy's path.

    Raises:
        UserError: ``workdir`` is not in a git repository.
    """
    listed = _git(workdir, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is None:
        raise UserError(
            f"[objective] snapshot = true copies what git lists, but '{workdir}' is not in a git repository"
        )
    copy = home.code / submission
    for name in filter(None, listed.split("\0")):
        source, target = workdir / name, copy / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return copy


def command_line() -> list[str]:
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def _git(workdir: Path, *arguments: str) -> str | None:
    try:
        done = processes.run(["git", "-C", str(workdir), *arguments], timeout_s=GIT_TIMEOUT_S)
    except CommandMissing:
        return None
    return done.stdout if done.returncode == 0 else None
