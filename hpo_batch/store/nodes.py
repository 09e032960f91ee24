"""Detects nodes where trials keep failing while they succeed elsewhere: a broken GPU, a full disk, a lost mount.

Pure functions of the journal's state; events are ordered by the journal, never by clocks.

There are two questions. *Should the node's worker stop now?* ``failing_nodes`` counts the latest failures in a row:
three must suffice, and one success clears the node. *Do trials fail there more often over the whole study?*
``chance_of_share`` is Fisher's exact test; ``status`` and ``report`` correct it for their number of comparisons.
"""

from __future__ import annotations

import math
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict

from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import TrialState

IN_A_ROW: Final = 3
"""failures in a row after which a node is reported"""
LOOK_BACK: Final = 1000
"""number of latest ended trials to look at"""
UNLIKELY: Final = 0.001
"""if a row is less likely than this by chance, the node is to blame"""


class FailingNode(Struct, frozen=True, kw_only=True):
    """A node whose latest trials failed while others succeeded elsewhere."""

    node: str
    trials: tuple[int, ...]
    """numbers of the failed trials, newest last"""
    reasons: tuple[str, ...]
    """failure reasons, most frequent first"""
    succeeded: int
    """trials finished on other nodes since the first failure of the row"""
    failed: int
    """trials failed on other nodes in the same time"""
    outlived: int
    """trials still running on other nodes that started before the newest of the row"""

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
        """Probability of the row if trials failed on this node as often as on others."""
        fine = self.succeeded + self.outlived
        # Laplace's rule of succession: without failures elsewhere the rate is small, but not 0
        rate = (self.failed + 1) / (self.failed + fine + 2)
        return float(rate ** len(self.trials))

    @property
    def is_to_blame(self) -> bool:
        """Whether the row is too long for chance: if many configurations fail, three in a row are common."""
        return self.chance < UNLIKELY


def failing_nodes(state: JournalState) -> tuple[FailingNode, ...]:
    """The nodes whose last ``IN_A_ROW`` or more trials failed while trials elsewhere succeeded.

    Only trials that ended since the last submission count. A trial elsewhere succeeds if it finished after the first
    failure of the row, or is still running and started before the newest of the row.
    """
    if state.failed_since_armed < IN_A_ROW:
        return ()
    rows = _rows(state)
    failing = []
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
            failing.append(
                FailingNode(
                    node=node,
                    trials=tuple(reversed(row.trials)),
                    reasons=tuple(sorted(row.reasons, key=lambda reason: -row.reasons[reason])),
                    succeeded=succeeded,
                    failed=failed,
                    outlived=outlived,
                )
            )
    return tuple(failing)


def outliving(state: JournalState, number: int) -> list[ScannedTrial]:
    """Running trials that started before trial ``number``, by their numbers.

    Only first attempts: the number of a trial does not say when a later attempt started.
    """
    running = (state.trials[n] for n in sorted(state.by_state[TrialState.RUNNING]) if n < number)
    return [trial for trial in running if trial.attempt == 1]


def host_of(trial: ScannedTrial) -> str | None:
    """Host of a trial's newest attempt; None if plain Optuna ran it."""
    host: str | None = trial.attempt_facts(trial.attempt).get("host")
    return host


class _Row(Struct, kw_only=True):
    first: int = 0
    """index of its first trial in ``endings``"""
    trials: list[int] = []
    """newest first"""
    reasons: dict[str, int] = {}
    is_over: bool = False


def _rows(state: JournalState) -> dict[str, _Row]:
    """The latest failures in a row on each node."""
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
    """One-sided Fisher's exact test: the probability that a subset of trials has this many failures or more by chance.

    Args:
        failed_in: failed trials in the subset.
        ended_in: trials in the subset.
        failed: failed trials overall.
        ended: trials overall.
    """
    most = min(failed, ended_in)
    whole = _log_choose(ended, ended_in)
    # log-gamma instead of scipy, which status must not import (0.5 s); the upper tail of the hypergeometric
    # distribution
    terms = (
        _log_choose(failed, k) + _log_choose(ended - failed, ended_in - k) - whole for k in range(failed_in, most + 1)
    )
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def _log_choose(n: int, k: int) -> float:
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
