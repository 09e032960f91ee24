"""Rules for ``[objective]``, ``[study] import`` and ``[job]``."""

from __future__ import annotations

from collections.abc import Iterator

from hpo_batch.records import Problem
from hpo_batch.sweep.rules.draft import Draft
from hpo_batch.sweep.sbatch_options import sbatch_problems, srun_problems


def one_objective(draft: Draft) -> Iterator[Problem]:
    objective = draft.sweep.objective
    if not draft.is_sound("objective.function", "objective.command"):
        return
    if objective.function is not None and objective.command is not None:
        message = "give either function or command, not both"
    elif objective.function is None and objective.command is None:
        message = "give either function or command"
    elif objective.command is not None and objective.preload is not None:
        message = "preload is for functions: a command's process imports its own modules, and shares no memory"
        yield Problem(key=("objective", "preload"), message=message)
        return
    else:
        return
    yield Problem(key=("objective",), message=message, allowed="function, command")


def imports(draft: Draft) -> Iterator[Problem]:
    """Checks without opening the other studies; ``study.imported`` does the rest."""
    study = draft.sweep.study
    if {study.name, draft.sweep.path} & set(study.import_):
        yield Problem(key=("study", "import"), message="a study cannot import itself")
    if len(set(study.import_)) < len(study.import_):
        yield Problem(key=("study", "import"), message="a study is listed twice")


def fused(draft: Draft) -> Iterator[Problem]:
    """Trials trained together are those of a function, each with one seed, in one process."""
    sweep = draft.sweep
    if sweep.job.fused == 1 or not draft.is_sound("job", "objective", "study"):
        return
    key = ("job", "fuse")
    if sweep.objective.command is not None:
        yield Problem(key=key, message="a command trains one trial at a time; fuse is for functions with a train_many")
    if sweep.job.ranks > 1:
        yield Problem(key=key, message="trials of several processes (nodes, tasks_per_node) cannot be trained together")
    if sweep.study.seeds_per_trial > 1:
        message = "a trial with several seeds is trained seed after seed; remove fuse, or study.replicates and seeds"
        yield Problem(key=key, message=message)


def processes(draft: Draft) -> Iterator[Problem]:
    """Workers may share a GPU, or have several processes, but not both."""
    job = draft.sweep.job
    if not draft.is_sound("job"):
        return
    key = "job.nodes" if job.nodes > 1 else "job.tasks_per_node"
    if job.workers_per_gpu is not None and job.ranks > 1:
        message = f"{key} gives several processes to each worker: remove one of the two"
        yield Problem(key=("job", "workers_per_gpu"), message=message)
    yield from sbatch_problems(job)
    yield from srun_problems(job)
    if job.mps and job.workers_per_gpu is None:
        message = "MPS is for workers that share a GPU, but each worker has its own; set job.workers_per_gpu"
        yield Problem(key=("job", "mps"), message=message)
    if job.ranks > 1 and not job.srun:
        message = f"the processes requested by {key} can only be started with srun"
        yield Problem(key=("job", "srun"), message=message, allowed="true")
