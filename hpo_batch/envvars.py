"""The environment variables of hpo-batch, for users and between its own processes."""

from __future__ import annotations

from enum import StrEnum


class EnvVar(StrEnum):
    """Names of the variables. docs/objective.md documents those for commands."""

    ROOT = "HPO_BATCH_ROOT"
    """the logs directory, unless ``--root`` is given"""
    SHARED_DISK = "HPO_BATCH_SHARED_DISK"
    """if 1, all file systems count as shared between hosts"""

    # set by the process that starts a worker
    SUBMISSION = "HPO_BATCH_SUBMISSION"
    WORKER = "HPO_BATCH_WORKER"
    """index of a local worker in its submission"""
    CPUS = "HPO_BATCH_CPUS"
    GPUS = "HPO_BATCH_GPUS"
    """number of GPUs of a worker; 1/k for each of k workers sharing one"""
    SLOT = "HPO_BATCH_SLOT"
    """index of a worker in an array task with several"""
    TALLY = "HPO_BATCH_TALLY"
    """file in which such a worker summarizes its work before it ends"""

    # inherited by all processes that a worker starts, to find them again
    WORKER_NAME = "HPO_BATCH_WORKER_NAME"
    LIFE = "HPO_BATCH_LIFE"
    RANKS = "HPO_BATCH_RANKS"
    """how a rank's process finds rank 0; removed from its environment at start"""
    RANK_LIFE = "HPO_BATCH_RANK_LIFE"
    CONTENTION = "HPO_BATCH_CONTENTION"

    # the trial of a command
    TRIAL = "HPO_BATCH_TRIAL"
    ATTEMPT = "HPO_BATCH_ATTEMPT"
    SEED = "HPO_BATCH_SEED"
    TRIAL_DIR = "HPO_BATCH_TRIAL_DIR"
    CHECKPOINT_DIR = "HPO_BATCH_CHECKPOINT_DIR"
    METRICS_FILE = "HPO_BATCH_METRICS_FILE"
    STOP_FILE = "HPO_BATCH_STOP_FILE"
    PARAMS = "HPO_BATCH_PARAMS"
    DEADLINE = "HPO_BATCH_DEADLINE"
    """in seconds since the epoch; also set for local workers, which have no SLURM time limit"""
