"""What ``[job] scheduler`` and a submission's ``kind`` may say. Apart from ``registry``, since a sweep is read without
any scheduler's code."""

from __future__ import annotations

from typing import Literal, TypeAlias

SchedulerName: TypeAlias = Literal["slurm", "local"]
"""``local`` is this machine; every other one is a batch scheduler, whose jobs wait in a queue and are found again"""
