"""Record what ran: git commit, uncommitted changes, package versions, command line, and a snapshot of the code."""

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
# Settings that override a user's configuration where it would run other programs or produce a patch that cannot be
# applied. Settings instead of options, because an old git ignores unknown settings (https://git-scm.com/docs/git-config).
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
_SETUP: Final = re.compile(r"\A((?:--set=)?\s*[\"']?job[\"']?\s*\.\s*[\"']?setup[\"']?\s*=).*\Z", re.DOTALL)
_ENV: Final = re.compile(r"\A((?:--set=)?\s*[\"']?objective[\"']?\s*\.\s*[\"']?env[\"']?\b[^=]*=).*\Z", re.DOTALL)


def describe_code(home: StudyHome, submission: str, *, workdir: Path, argv: Sequence[str]) -> dict[str, Any]:
    """Facts about the code in ``workdir``; uncommitted changes are written to a file of the study.

    Without git, or outside a repository, the commit is None; that is no reason not to run.
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
    """Differences of the code in ``workdir`` from a submission's; empty if either is unknown."""
    before, after = code.get("commit"), _git(workdir, "rev-parse", "HEAD")
    if before is None or after is None:
        return []
    changes = [f"commit {before[:10]} -> {after[:10]}"] if after.strip() != before else []
    try:
        before_diff = read_regular(home.path / str(code["diff"]), most=LINES_BYTES) if "diff" in code else b""
    except OSError:
        return changes
    is_changed = _diff(workdir).strip() != before_diff.strip()
    return [*changes, "other uncommitted changes"] if is_changed else changes


def snapshot(home: StudyHome, submission: str, *, workdir: Path) -> tuple[Path, frozenset[Path]]:
    """Copy tracked and untracked (not ignored) files below ``workdir`` into the study, with modes and symbolic links.

    Returns:
        The copy's path, and the paths of untracked files in it, which may include secrets such as ``.env``.

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
    copy.mkdir()  # fails if it exists: never write into a folder that somebody else prepared
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
    """The target of a link in the copy: unchanged inside the code, absolute if a relative one would point elsewhere."""
    leads = link.readlink()
    inside = Path(os.path.normpath(link.parent / leads)).is_relative_to(workdir)
    return leads if leads.is_absolute() or inside else Path(os.path.normpath(link.parent / leads))


def command_line() -> list[str]:
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def without_values(argv: Sequence[str]) -> list[str]:
    """A command line without the values of ``--set objective.env.NAME=VALUE`` and without passwords.

    The frozen sweep has them, with a stricter file mode (``study.create``).
    """
    secrets = secrets_in(argv)
    words = [_SETUP.sub(rf"\1{MASK}", word) if assigns_secret(word) else word for word in argv]
    return [masked(_ENV.sub(rf"\1{MASK}", word), known=secrets) for word in words]


def _diff(workdir: Path) -> bytes:
    """The uncommitted changes as a patch for ``git apply``, whatever the user's configuration.

    Written by git to a file, since decoding would lose other encodings and line endings.
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
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # do not refresh the user's index
        )
    except CommandMissing:
        return None
    return done.stdout if done.returncode == 0 else None
