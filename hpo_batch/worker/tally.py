"""Counts of what a worker has done; they decide about a requeue and the exit code."""

from __future__ import annotations

from dataclasses import dataclass, field

from hpo_batch.records import Idle, Stopping


@dataclass(kw_only=True)
class Tally:
    """Counts of one worker, or of all workers in an array task."""

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    given_back: int = 0
    idle: Idle | None = None
    """why it found nothing more to do; None if it was told to stop"""
    stopped: Stopping | None = field(default=None, compare=False)
    """why its last trial had to stop, if that ended the worker"""
    progress: bool = field(default=False, compare=False)
    """whether a trial has ended or saved a newer checkpoint"""
    saves: bool = field(default=False, compare=False)
    """whether any trial is known to save checkpoints"""
