"""What counts as a metric: a real number with a name, given by the user's code or computed from others.

``Wanted`` is what a study asks of an objective: its own metrics, in order, and the formulas of ``[metrics]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from hpo_batch.errors import ExpressionError, UserError
from hpo_batch.expressions import Expression, parse


def as_number(value: object) -> float:
    """``value`` as a float: Python's numbers, and NumPy's or torch's with one element.

    Raises:
        TypeError: it is something else. The message is what it is, to be put after "is": ``a text ('0.7')``.
    """
    if not isinstance(value, int | float):
        value = _item(value)
    if isinstance(value, bool):
        raise TypeError(f"{'true' if value else 'false'}, not a number")
    if isinstance(value, str | bytes):
        raise TypeError(f"a text ({value[:40]!r})")
    if value is None:
        raise TypeError("None")
    if not hasattr(value, "__float__") and not hasattr(value, "__index__"):
        raise TypeError(f"a {type(value).__name__}")
    try:
        return float(value)  # type: ignore[arg-type]  # checked in the lines above
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"a {type(value).__name__} that is no real number ({error})") from None


def _item(value: object) -> object:
    """The element of an array or tensor that has one; anything else as it is."""
    item = getattr(value, "item", None)
    if not callable(item):
        return value
    try:
        return item()
    except (TypeError, ValueError):
        pass
    except RuntimeError as error:
        # torch: what a pending CUDA error says is not about the tensor's shape, and must not be hidden
        if "cannot be converted to Scalar" not in str(error):
            raise
    raise TypeError(f"a {type(value).__name__} with other than one element")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The metrics that a study needs from each trial."""

    names: tuple[str, ...]
    """of ``[study] metric``: a trial's values are theirs, in this order"""
    computed: Mapping[str, Expression]
    """of ``[metrics]``, each after those it is computed from"""

    @classmethod
    def parse(cls, names: tuple[str, ...], computed: Mapping[str, str]) -> Wanted:
        """Raises UserError for a formula that is refused, and for formulas that need each other."""
        formulas = {name: parse(text) for name, text in computed.items()}
        inputs = {name: sorted(formula.names & formulas.keys()) for name, formula in formulas.items()}
        try:
            order = tuple(TopologicalSorter(inputs).static_order())
        except CycleError as error:
            circle = " -> ".join(f"'{name}'" for name in error.args[1])
            raise UserError(f"[metrics] are computed from each other: {circle}; one of them must be given") from None
        return cls(names=names, computed={name: formulas[name] for name in order})

    @property
    def single(self) -> str | None:
        """The metric that a number without a name stands for; None if it could be any of several."""
        return self.names[0] if len(self.names) == 1 and self.names[0] not in self.computed else None

    def complete(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """``metrics`` with every computed one that they allow. A formula comes before a given metric of its name."""
        known = {name: value for name, value in metrics.items() if name not in self.computed}
        for name, formula in self.computed.items():
            try:
                known[name] = as_number(formula.evaluate(known))
            except (ExpressionError, TypeError):
                continue
        return known

    def why_missing(self, name: str, metrics: Mapping[str, float]) -> str:
        """Why the computed metric ``name`` cannot be had from completed ``metrics``: the first formula that fails."""
        formula = self.computed[name]
        for other in self.computed:
            if other in formula.names and other not in metrics:
                return self.why_missing(other, metrics)
        try:
            return f"[metrics] {name} is {as_number(formula.evaluate(metrics))}"
        except ExpressionError as error:
            return f"[metrics] {name} cannot be computed: {error}"
        except TypeError as error:
            return f"[metrics] {name} is {error}"
