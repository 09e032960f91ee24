"""The distributions that the parameters of a study have had, as its journal tells them."""

from __future__ import annotations

import json
from typing import Any

from hpo_batch.journal.decode import SetTrialParam, distribution_facts, distributions_of


class Distributions:
    """All distributions of a study by parameter. The trials of a study share a few sets of them."""

    def __init__(self) -> None:
        self._sets: dict[bytes, bytes] = {}
        self._of_param: dict[str, dict[str, None]] = {}
        """texts as Optuna wrote them, in the order of the file"""
        self._first_kinds: dict[str, tuple[int, object]] = {}
        """of each parameter: the first trial that has it, and the kind of its distribution there"""

    def of_params(self) -> dict[str, tuple[dict[str, Any], ...]]:
        """By parameter: ``{"name": "IntDistribution", "attributes": {...}}``."""
        return {name: tuple(map(json.loads, texts)) for name, texts in self._of_param.items()}

    def shared(self, trial: int, distributions: bytes) -> bytes:
        """The same JSON, as one object for all trials that have it."""
        known = self._sets.get(distributions)
        if known is None:
            known = self._sets[distributions] = distributions
            for name, text in distributions_of(distributions).items():
                self.add(trial, name, text)
        return known

    def add(self, trial: int, param: str, distribution: str) -> None:
        """Note the distribution that a parameter has in a trial."""
        self._of_param.setdefault(param, {})[distribution] = None
        first = self._first_kinds.get(param)
        if first is None or trial < first[0]:
            self._first_kinds[param] = (trial, distribution_facts(distribution).kind)

    def accept(self, record: SetTrialParam) -> bool:
        """Whether Optuna takes the parameter: it ignores one of another kind than the first trial with it has."""
        first = self._first_kinds.get(record.param_name)
        return first is None or first[1] == distribution_facts(record.distribution).kind
