"""The environment variables of hpo-batch: those that users set or read, and those between its own processes."""

from __future__ import annotations

from enum import StrEnum


class EnvVar(StrEnum):
    """By name. What a command is told of its trial is documented in docs/objective.md."""

    ROOT = "HPO_BATCH_ROOT"
    """the logs directory, where ``--root`` is not given"""
    SHARED_DISK = "HPO_BATCH_SHARED_DISK"
    """set to 1: every file system is taken for one that several hosts write to"""

    # set by whoever starts a worker
    SUBMISSION = "HPO_BATCH_SUBMISSION"
    WORKER = "HPO_BATCH_WORKER"
    """index of a local worker in its submission"""
    CPUS = "HPO_BATCH_CPUS"
    GPUS = "HPO_BATCH_GPUS"
    """how many it holds: 1/k of one that k workers share"""
    SLOT = "HPO_BATCH_SLOT"
    """number of a worker in an array task of several"""
    TALLY = "HPO_BATCH_TALLY"
    """the file into which such a worker writes what it has done, as its last act"""

    # set for all that a worker starts, so that it is found again
    WORKER_NAME = "HPO_BATCH_WORKER_NAME"
    LIFE = "HPO_BATCH_LIFE"
    RANKS = "HPO_BATCH_RANKS"
    """how a process of the user's code finds rank 0; it takes the variable out of its environment"""
    RANK_LIFE = "HPO_BATCH_RANK_LIFE"
    CONTENTION = "HPO_BATCH_CONTENTION"

    # what a command is told of its trial
    TRIAL = "HPO_BATCH_TRIAL"
    ATTEMPT = "HPO_BATCH_ATTEMPT"
    SEED = "HPO_BATCH_SEED"
    TRIAL_DIR = "HPO_BATCH_TRIAL_DIR"
    CHECKPOINT_DIR = "HPO_BATCH_CHECKPOINT_DIR"
    METRICS_FILE = "HPO_BATCH_METRICS_FILE"
    STOP_FILE = "HPO_BATCH_STOP_FILE"
    PARAMS = "HPO_BATCH_PARAMS"
    DEADLINE = "HPO_BATCH_DEADLINE"
    """in seconds since the epoch; also set for local workers, which have no time limit of SLURM's"""
