"""Hyperband's brackets by a rule of our own: decided when a trial is made, inside the lock, and stored with it.

Optuna's is a hash of the study's name and the trial's number, which is not known when a configuration is drawn, and its
brackets begin to exist when the first trial is complete. Here each bracket keeps to its share in every block of trials.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from hpo_batch.journal.state import JournalState
from hpo_batch.records import TrialState
from hpo_batch.sweep.schema import Pruner

BRACKET = "bracket"
"""name of the fact in ``hpo:trial``"""
REDUCTION = 3


class Brackets:
    """How many trials each bracket has got so far. Trials of bracket ``b`` are judged from the rung ``b`` on."""

    def __init__(self, pruner: Pruner) -> None:
        self._first = int(pruner.options.get("min_resource", pruner.first_rung))
        self._factor = int(pruner.options.get("reduction_factor", REDUCTION))
        most = pruner.options.get("max_resource", "auto")
        self._is_given = most != "auto"
        self._most = int(most) if self._is_given else 0
        self._count: dict[int, int] = {}
        self._counted = self._looked = 0

    @classmethod
    def of(cls, pruner: Pruner) -> Brackets | None:
        """None for the pruners that have no brackets."""
        return cls(pruner) if "hyperband" in (pruner.name, pruner.around) else None

    def due(self, state: JournalState) -> int:
        """The bracket furthest below its share: of a new trial."""
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
        """As in Optuna: a bracket gets about as many steps of training as each other one."""
        number = sum(1 for _ in self._rungs(self._longest(state)))
        budgets = []
        for bracket in range(number):
            rungs = number - 1 - bracket
            budgets.append(math.ceil(number * self._factor**rungs / (rungs + 1)))
        return [budget / sum(budgets) for budget in budgets]

    def _rungs(self, longest: int) -> Iterator[int]:
        rung = self._first
        yield rung
        while (rung := rung * self._factor) <= longest:
            yield rung

    def _longest(self, state: JournalState) -> int:
        """Steps of a whole training: given, or the longest that is complete."""
        if not self._is_given:
            for _, number in state.endings[self._looked :]:
                trial = state.trials[number]
                if trial.state is TrialState.COMPLETE:
                    self._most = max([self._most, *trial.steps])
            self._looked = len(state.endings)
        return self._most
