"""Hyperband's brackets: assigned under the lock when a trial is created, and stored with the trial.

Optuna hashes the study's name with the trial's number, which is unknown while a configuration is drawn, and prunes
nothing before the first complete trial fixes the number of brackets
(https://optuna.readthedocs.io/en/stable/_modules/optuna/pruners/_hyperband.html). Here every bracket keeps its share of
the trials at all times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from hpo_batch.journal.state import JournalState
from hpo_batch.records import TrialState
from hpo_batch.sweep.schema import Pruner

# key in the trial's ``hpo:trial`` attribute
BRACKET = "bracket"
# eta of the paper, which recommends 3 or 4 (https://arxiv.org/abs/1603.06560); Optuna's default too
REDUCTION = 3


class Brackets:
    """Counts the trials of each bracket. Trials of bracket ``b`` can be pruned from rung ``b`` on."""

    def __init__(self, pruner: Pruner) -> None:
        self._first = int(pruner.options.get("min_resource", pruner.first_rung))
        self._factor = int(pruner.options.get("reduction_factor", REDUCTION))
        most = pruner.options.get("max_resource", "auto")
        self._is_fixed = most != "auto"
        self._most = int(most) if self._is_fixed else 0
        self._count: dict[int, int] = {}
        self._counted = self._looked = 0

    @classmethod
    def of(cls, pruner: Pruner) -> Brackets | None:
        """None for pruners without brackets."""
        return cls(pruner) if "hyperband" in (pruner.name, pruner.around) else None

    def due(self, state: JournalState) -> int:
        """The bracket of the next new trial: the one furthest below its share."""
        for trial in state.trials[self._counted :]:
            bracket = trial.facts.get(BRACKET)
            if bracket is not None:
                self._count[bracket] = self._count.get(bracket, 0) + 1
        self._counted = len(state.trials)
        shares = self._shares(state)
        so_far = [self._count.get(bracket, 0) for bracket in range(len(shares))]
        total = sum(so_far) + 1
        return min(range(len(shares)), key=lambda bracket: (so_far[bracket] - shares[bracket] * total, bracket))

    def _shares(self, state: JournalState) -> list[float]:
        """Each bracket gets about the same number of training steps, as in Optuna."""
        number = sum(1 for _ in self._rungs(self._longest(state)))
        budgets = []
        for bracket in range(number):
            rungs = number - 1 - bracket
            # line 2 of algorithm 1 in the paper, n = ceil(B/R * eta^s / (s + 1)), with s + 1 rungs in the bracket
            budgets.append(math.ceil(number * self._factor**rungs / (rungs + 1)))
        return [budget / sum(budgets) for budget in budgets]

    def _rungs(self, longest: int) -> Iterator[int]:
        rung = self._first
        yield rung
        while (rung := rung * self._factor) <= longest:
            yield rung

    def _longest(self, state: JournalState) -> int:
        """Steps of a full training run: ``max_resource``, or the longest complete trial so far."""
        if not self._is_fixed:
            for _, number in state.endings[self._looked :]:
                trial = state.trials[number]
                if trial.state is TrialState.COMPLETE:
                    self._most = max([self._most, *trial.steps])
            self._looked = len(state.endings)
        return self._most
