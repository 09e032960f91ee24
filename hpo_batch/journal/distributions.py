"""Collects the distributions of each parameter from a journal."""

from __future__ import annotations

import json
from typing import Any

from hpo_batch.journal.decode import SetTrialParam, distribution_facts, distributions_of


class Distributions:
    """The distributions of a study by parameter; identical sets are stored once."""

    def __init__(self) -> None:
        self._sets: dict[bytes, bytes] = {}
        self._of_param: dict[str, dict[str, None]] = {}
        """JSON as written by Optuna, in file order"""
        self._first_kinds: dict[str, tuple[int, object]] = {}
        """per parameter: the first trial that has it, and the kind of its distribution there"""

    def of_params(self) -> dict[str, tuple[dict[str, Any], ...]]:
        """By parameter: ``{"name": "IntDistribution", "attributes": {...}}``."""
        return {name: tuple(map(json.loads, texts)) for name, texts in self._of_param.items()}

    def shared(self, trial: int, distributions: bytes) -> bytes:
        """The same JSON, as one object shared by all trials with it."""
        shared = self._sets.get(distributions)
        if shared is None:
            shared = self._sets[distributions] = distributions
            for name, text in distributions_of(distributions).items():
                self.add(trial, name, text)
        return shared

    def add(self, trial: int, param: str, distribution: str) -> None:
        """Record the distribution of a parameter in a trial."""
        self._of_param.setdefault(param, {})[distribution] = None
        first = self._first_kinds.get(param)
        if first is None or trial < first[0]:
            self._first_kinds[param] = (trial, distribution_facts(distribution).kind)

    def accept(self, record: SetTrialParam) -> bool:
        """Whether Optuna accepts the parameter: it ignores one incompatible with the first trial that has it."""
        first = self._first_kinds.get(record.param_name)
        return first is None or first[1] == distribution_facts(record.distribution).kind
