"""Validates metrics from the user's code, and computes those of ``[metrics]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from hpo_batch.errors import ExpressionError, UserError
from hpo_batch.expressions import Expression, parse
from hpo_batch.reported import as_number


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The metrics that a study requires from each trial."""

    names: tuple[str, ...]
    """``[study] metric``, in the order of a trial's values"""
    computed: Mapping[str, Expression]
    """``[metrics]``, each after those it depends on"""

    @classmethod
    def parse(cls, names: tuple[str, ...], computed: Mapping[str, str]) -> Wanted:
        """Parse the formulas; raises UserError for invalid and cyclic ones."""
        formulas = {name: parse(text) for name, text in computed.items()}
        inputs = {name: sorted(formula.names & formulas.keys()) for name, formula in formulas.items()}
        try:
            order = tuple(TopologicalSorter(inputs).static_order())
        except CycleError as error:
            circle = " -> ".join(f"'{name}'" for name in error.args[1])
            raise UserError(
                f"[metrics] depend on each other: {circle}; the objective must return one of them"
            ) from None
        return cls(names=names, computed={name: formulas[name] for name in order})

    @property
    def single(self) -> str | None:
        """The metric meant by a number without a name; None if that is ambiguous."""
        return self.names[0] if len(self.names) == 1 and self.names[0] not in self.computed else None

    def complete(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Add all computable metrics. A formula takes precedence over a reported metric with the same name."""
        complete = {name: value for name, value in metrics.items() if name not in self.computed}
        for name, formula in self.computed.items():
            try:
                complete[name] = as_number(formula.evaluate(complete))
            except (ExpressionError, TypeError):
                continue
        return complete

    def why_missing(self, name: str, metrics: Mapping[str, float]) -> str:
        """Why the computed metric ``name`` is missing from completed ``metrics``: the first formula that fails."""
        formula = self.computed[name]
        # in dependency order, so this is the root cause
        for other in self.computed:
            if other in formula.names and other not in metrics:
                return self.why_missing(other, metrics)
        try:
            return f"[metrics] {name} is {as_number(formula.evaluate(metrics))}"
        except ExpressionError as error:
            return f"[metrics] {name} cannot be computed: {error}"
        except TypeError as error:
            return f"[metrics] {name} is {error}"
