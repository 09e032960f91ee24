"""Checks of a sweep that need neither a lock nor SLURM; shared by ``check`` and ``submit``."""

from __future__ import annotations

from pathlib import Path

from hpo_batch.errors import StorageError, UserError
from hpo_batch.objective.load import find_function, many_of, missing_files
from hpo_batch.objective.mistakes import mistakes
from hpo_batch.store import sharing
from hpo_batch.store.home import StudyHome, who_may_replace
from hpo_batch.store.predictions import find_beside
from hpo_batch.study.imported import gather, is_frozen
from hpo_batch.study.read import read_state
from hpo_batch.sweep.schema import Sweep


def line(title: str, text: str) -> str:
    return f"  {title:<14}{text}"


def describe_sharing(sweep: Sweep, home: StudyHome) -> tuple[list[str], list[str]]:
    """The group of a shared study, and warnings if the group cannot use it or others could replace it."""
    lines, warned = [], []
    if sweep.study.shared:
        try:
            group = sharing.group_of(home)
            lines.append(line("shared", f"with group {group}: {home.path}"))
            lines.append(line("", f"members of {group} can change what its workers run, and so run code as you"))
            warned += sharing.doubts(home)
        except StorageError as error:
            warned.append(f"study.shared: {error}")
    who = who_may_replace(home.root)
    if who is not None:
        warned.append(
            f"{who} can replace studies in '{home.root}', and so run code as you: "
            f"'chmod +t {home.root}' reserves each study for its owner"
        )
    return lines, warned


def describe_imports(sweep: Sweep, home: StudyHome) -> tuple[list[str], list[str]]:
    """The history that other studies provide to the sampler, and warnings.

    Raises:
        HpoBatchError: one of them does not exist, or does not fit.
    """
    names = ", ".join(sweep.study.import_)
    if not names:
        return [], []
    if home.exists and is_frozen(read_state(home), sweep):
        return [line("history", f"of {names}, as it was when the study imported it")], []
    imports = gather(home, sweep)
    return [line("history", text) for text in imports.lines], list(imports.doubts)


def objective_warnings(sweep: Sweep) -> list[str]:
    """Missing parts of the objective, found without importing or running it."""
    objective = sweep.objective
    missing: list[str] = []
    if objective.function is not None:
        try:
            find_function(objective.function)
        except UserError as error:
            missing.append(f"objective.function: {error}")
        if objective.preload is not None:
            try:
                find_function(objective.preload)
            except UserError as error:
                missing.append(f"objective.preload: {error}")
        if sweep.job.fuse != "auto" and sweep.job.fused > 1:
            try:
                find_function(many_of(objective.function))
            except UserError as error:
                missing.append(f"job.fuse: {error}")
    if objective.command is not None:
        missing += [f"objective.command: {file}" for file in missing_files(objective)]
    return missing


def refusals(sweep: Sweep) -> tuple[list[str], list[str]]:
    """Errors in the objective for which ``submit`` rejects a sweep, and those that it only warns about.

    If the job sets up its own environment, files and modules that are missing here may exist there.
    """
    missing, wrong = objective_warnings(sweep), mistakes(sweep)
    if sweep.job.python is None and not sweep.job.setup:
        return [*wrong, *missing], []
    return wrong, missing


def predictions_beside(sweep: Sweep, home: StudyHome, folder: Path | None) -> tuple[bytes | None, str]:
    """What was predicted of a new study, as it lies beside its sweep, and why it cannot be kept, if so.

    Args:
        sweep: whose ``[previous]`` names the file.
        home: of the study; one that has predictions keeps them.
        folder: of the sweep's file; None if there is none.
    """
    previous = sweep.previous
    if previous is None or folder is None or home.decisions.exists():
        return None, ""
    return find_beside(folder, name=previous.decisions, digest=previous.digest)
