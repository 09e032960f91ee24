"""What can be told of a sweep before anything is locked or asked of SLURM; ``check`` and ``submit`` say the same."""

from __future__ import annotations

from hpo_batch.errors import StorageError, UserError
from hpo_batch.objective.load import find_function, missing_files
from hpo_batch.objective.mistakes import mistakes
from hpo_batch.store import sharing
from hpo_batch.store.home import StudyHome, who_may_replace
from hpo_batch.study.imported import gather, is_frozen
from hpo_batch.study.read import read_state
from hpo_batch.sweep.schema import Sweep


def describe_sharing(sweep: Sweep, home: StudyHome) -> tuple[list[str], list[str]]:
    """With whom a study is shared, and why that group may not get at it; who else may replace it."""
    lines, told = [], []
    if sweep.study.shared:
        try:
            group = sharing.group_of(home)
            lines.append(f"  shared        with group {group}: {home.path}")
            lines.append(
                f"                whoever is in {group} may change what its workers run, and so run code as you"
            )
            told += sharing.doubts(home)
        except StorageError as error:
            told.append(f"study.shared: {error}")
    who = who_may_replace(home.root)
    if who is not None:
        told.append(
            f"{who} may put other studies in the place of those in '{home.root}', and so run code as you: "
            f"'chmod +t {home.root}' leaves each study to its owner"
        )
    return lines, told


def describe_imports(sweep: Sweep, home: StudyHome) -> tuple[list[str], list[str]]:
    """What other studies give the sampler, and what may be meant otherwise.

    Raises:
        HpoBatchError: one of them is not there, or does not fit.
    """
    names = ", ".join(sweep.study.import_)
    if not names:
        return [], []
    if home.exists and is_frozen(read_state(home), sweep):
        return [f"  history       of {names}, as it was when the study imported it"], []
    found = gather(home, sweep)
    return [f"  history       {line}" for line in found.lines], list(found.doubts)


def objective_warnings(sweep: Sweep) -> list[str]:
    """What of the objective is not there, found out without importing or starting it."""
    objective = sweep.objective
    told: list[str] = []
    if objective.function is not None:
        try:
            find_function(objective.function)
        except UserError as error:
            told.append(f"objective.function: {error}")
    if objective.command is not None:
        told += [f"objective.command: {missing}" for missing in missing_files(objective)]
    return told


def refusals(sweep: Sweep) -> tuple[list[str], list[str]]:
    """Why ``submit`` does not start a sweep for its objective; and what it only warns of.

    Where the job brings its own environment, what is missing here may be there.
    """
    missing, wrong = objective_warnings(sweep), mistakes(sweep)
    if sweep.job.python is None and not sweep.job.setup:
        return [*wrong, *missing], []
    return wrong, missing
