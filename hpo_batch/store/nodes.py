"""Nodes on which trials fail one after another while they do well on others: a broken GPU, a full disk, a lost mount.

Pure functions of the journal's state. What came first is decided by the order of the journal, never by clocks.

Two questions are asked of a node, and both are answered here. *Should its worker stop now?* ``failing_nodes`` looks at
the failures in a row with which its trials end: three must be enough, and one success clears the node. *Do trials fail
there more often than elsewhere, over the whole study?* ``chance_of_share`` is Fisher's exact test, of which ``status``
(all regions that failures concentrate in) and ``report`` (all nodes) correct for the number of their own comparisons.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import TrialState

IN_A_ROW: Final = 3
"""failed trials in a row after which a node is named"""
LOOK_BACK: Final = 1000
"""trials that ended last; a row that began before them is as long as can be seen"""
UNLIKELY: Final = 0.001
"""a row that would come about by chance less often than this says that it is the node"""


@dataclass(frozen=True, kw_only=True)
class FailingNode:
    """A node whose last trials failed while the study went on elsewhere."""

    node: str
    trials: tuple[int, ...]
    """numbers of the trials that failed there in a row"""
    reasons: tuple[str, ...]
    """why, the most frequent first"""
    succeeded: int
    """trials that finished on other nodes after the first of the row had failed"""
    failed: int
    """trials that failed there in the same time"""
    outlived: int
    """trials that run on other nodes and were begun before the newest of the row"""

    def __str__(self) -> str:
        others = ", ".join(
            f"{count} {what}"
            for count, what in (
                (self.succeeded, "have finished"),
                (self.failed, "have failed"),
                (self.outlived, "were begun before and still run"),
            )
            if count
        )
        why = ", ".join(self.reasons)
        return f"{self.node}: the last {len(self.trials)} trials failed ({why}); on other nodes {others}"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "is_to_blame": self.is_to_blame}

    @property
    def chance(self) -> float:
        """How likely the row would be if trials failed on this node as often as on the others."""
        fine = self.succeeded + self.outlived
        rate = (self.failed + 1) / (self.failed + fine + 2)
        return float(rate ** len(self.trials))

    @property
    def is_to_blame(self) -> bool:
        """Whether the row is too long to be chance: where many configurations fail, rows of three are common."""
        return self.chance < UNLIKELY


def failing_nodes(state: JournalState) -> tuple[FailingNode, ...]:
    """The nodes on which the last ``IN_A_ROW`` trials or more failed while trials did well elsewhere.

    Only trials that ended since the last submission count. Doing well is to have finished after the first of the row
    had failed, or to be running since before the newest of the row was begun.
    """
    rows = _rows(state)
    found = []
    for node, row in rows.items():
        if len(row.trials) < IN_A_ROW:
            continue
        succeeded = failed = 0
        for reason, number in state.endings[row.first :]:
            host = host_of(state.trials[number])
            if host not in (None, node):
                succeeded += not reason
                failed += bool(reason)
        outlived = sum(host_of(trial) != node for trial in outliving(state, max(row.trials)))
        if succeeded or outlived:
            found.append(
                FailingNode(
                    node=node,
                    trials=tuple(reversed(row.trials)),
                    reasons=tuple(sorted(row.reasons, key=lambda reason: -row.reasons[reason])),
                    succeeded=succeeded,
                    failed=failed,
                    outlived=outlived,
                )
            )
    return tuple(found)


def outliving(state: JournalState, number: int) -> list[ScannedTrial]:
    """Running trials that were begun before trial ``number``: they have lived longer than it, if it has ended.

    Only first attempts: when a later one was begun, its number does not tell.
    """
    running = (state.trials[n] for n in sorted(state.by_state[TrialState.RUNNING]) if n < number)
    return [trial for trial in running if trial.attempt == 1]


def host_of(trial: ScannedTrial) -> str | None:
    """Where the newest attempt of a trial ran; None if no worker of ours ran it."""
    host: str | None = trial.attempt_facts(trial.attempt).get("host")
    return host


@dataclass(kw_only=True)
class _Row:
    first: int = 0
    """place of its first trial among the endings"""
    trials: list[int] = field(default_factory=list)
    """newest first"""
    reasons: dict[str, int] = field(default_factory=dict)
    is_over: bool = False


def _rows(state: JournalState) -> dict[str, _Row]:
    """The failures with which the endings on each node end."""
    rows: dict[str, _Row] = {}
    end = len(state.endings)
    for place in range(end - 1, max(state.armed, end - LOOK_BACK) - 1, -1):
        reason, number = state.endings[place]
        host = host_of(state.trials[number])
        if host is None:
            continue
        row = rows.setdefault(host, _Row())
        row.is_over = row.is_over or not reason
        if not row.is_over:
            row.first = place
            row.trials.append(number)
            row.reasons[reason] = row.reasons.get(reason, 0) + 1
    return rows


def chance_of_share(failed_in: int, ended_in: int, failed: int, ended: int) -> float:
    """Fisher's exact test, one-sided: how likely a part of the trials has so many of the failures, or more, by chance.

    Args:
        failed_in: trials of the part that failed.
        ended_in: trials of the part.
        failed: trials that failed, of all.
        ended: all trials.
    """
    most = min(failed, ended_in)
    whole = _log_choose(ended, ended_in)
    terms = (
        _log_choose(failed, k) + _log_choose(ended - failed, ended_in - k) - whole for k in range(failed_in, most + 1)
    )
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def _log_choose(n: int, k: int) -> float:
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
