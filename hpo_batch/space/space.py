"""The search space: resolves values into configurations and checks them against bounds and constraints.

``draw`` draws configurations, ``cells`` counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from msgspec import structs

from hpo_batch.errors import ExpressionError, UserError
from hpo_batch.expressions import Expression
from hpo_batch.records import Configuration, Value
from hpo_batch.space.conditions import decision_order
from hpo_batch.space.parameters import Fixed, Parameter, Searched, same

N_PARAMS = "n_params"
"""name of the result of ``[objective] n_params`` in constraints"""


@dataclass(frozen=True, kw_only=True)  # no Struct, because of compare=False
class Space:
    """Parameters in file order, and derived values and constraints by name."""

    parameters: tuple[Parameter, ...] = ()
    derived: Mapping[str, Expression] = field(default_factory=dict)
    constraints: Mapping[str, Expression] = field(default_factory=dict)
    n_params: Callable[[Mapping[str, Value]], int] | None = field(default=None, compare=False)
    """counts the model parameters of a configuration; only set where the user's code may be imported"""

    @cached_property
    def by_name(self) -> dict[str, Parameter]:
        return {parameter.name: parameter for parameter in self.parameters}

    @cached_property
    def searched(self) -> tuple[Searched, ...]:
        return tuple(p for p in self.parameters if not isinstance(p, Fixed))

    @cached_property
    def fixed(self) -> tuple[Fixed, ...]:
        return tuple(p for p in self.parameters if isinstance(p, Fixed))

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Names of parameters and derived values in decision order."""
        return decision_order(self.parents)

    @cached_property
    def parents(self) -> dict[str, tuple[str, ...]]:
        """The names in the condition of each parameter, and in each derived value."""
        whens = {p.name: tuple(sorted(p.when.names)) if p.when else () for p in self.parameters}
        return {**whens, **{name: tuple(sorted(e.names)) for name, e in self.derived.items()}}

    @cached_property
    def varying(self) -> frozenset[str]:
        """Searched names and those that depend on them; all others are the same in every configuration."""
        names: set[str] = set()
        for name in self.order:
            if self.is_searched(name) or not names.isdisjoint(self.parents[name]):
                names.add(name)
        return frozenset(names)

    def is_searched(self, name: str) -> bool:
        return name in self.by_name and not isinstance(self.by_name[name], Fixed)

    def is_active(self, name: str, decided: Mapping[str, Value]) -> bool:
        """Whether ``name`` is active, given the values of all names before it in ``order``.

        A child of an inactive parent is inactive.
        """
        if not all(parent in decided for parent in self.parents[name]):
            return False
        if name in self.derived:
            return True
        when = self.by_name[name].when
        return when is None or when.truth(decided)

    def decide(self, value_of: Callable[[Searched], Value]) -> Configuration:
        """Build a configuration in decision order; ``value_of`` supplies the active searched parameters."""
        decided: dict[str, Value] = {}
        for name in self.order:
            if not self.is_active(name, decided):
                continue
            if name in self.derived:
                decided[name] = self.derived[name].evaluate(decided)
            else:
                parameter = self.by_name[name]
                decided[name] = parameter.value if isinstance(parameter, Fixed) else value_of(parameter)
        return Configuration(
            searched={p.name: decided[p.name] for p in self.searched if p.name in decided},
            fixed={p.name: decided[p.name] for p in self.fixed if p.name in decided},
            derived={name: decided[name] for name in self.derived if name in decided},
        )

    def resolve(self, values: Mapping[str, Value], *, strict: bool = False) -> Configuration:
        """The configuration for ``values``; values of inactive parameters are dropped.

        Args:
            values: by parameter. They may override fixed parameters, since planned trials may lie outside the space.
            strict: refuse values of unknown and inactive parameters.

        Raises:
            UserError: an active parameter has no value, or ``strict`` refuses one.
        """
        space = self._with_fixed(values)

        def value_of(parameter: Searched) -> Value:
            if parameter.name not in values:
                raise UserError(f"no value for parameter '{parameter.name}'")
            return parameter.normalise(values[parameter.name])

        configuration = space.decide(value_of)
        if strict:
            extra = sorted(values.keys() - configuration.searched.keys() - configuration.fixed.keys())
            if extra:
                raise UserError(f"parameter '{extra[0]}' is {self.why_unwanted(extra[0])}")
        return configuration

    def why_unwanted(self, name: str) -> str:
        """Why a configuration has no value for ``name``."""
        if name in self.by_name:
            return "not active"
        return "derived from others" if name in self.derived else "not in [space]"

    def _with_fixed(self, values: Mapping[str, Value]) -> Space:
        """The space with fixed parameters overridden by ``values``."""
        changed: dict[str, Parameter] = {}
        for parameter in self.fixed:
            if parameter.name in values:
                value = parameter.normalise(values[parameter.name])
                if not same(value, parameter.value):  # not `!=`, because 1 == 1.0 == True
                    changed[parameter.name] = structs.replace(parameter, value=value)
        if not changed:
            return self
        # a new Space, so its cached properties are computed again
        return replace(self, parameters=tuple(changed.get(p.name, p) for p in self.parameters))

    def why_invalid(self, configuration: Configuration, *, bounds: bool = True) -> str | None:
        """Why a configuration is invalid, or None. ``bounds=False`` checks constraints only."""
        if bounds:
            for parameter in self.searched:
                if parameter.name in configuration.searched:
                    outside = parameter.why_outside(configuration.searched[parameter.name])
                    if outside:
                        return f"'{parameter.name}' {outside}"
        return self.why_constrained(configuration.values)

    def why_constrained(self, values: Mapping[str, Value]) -> str | None:
        """The first broken constraint, or None. Constraints with inactive or undecided names do not apply."""
        for name in self.constraints:
            reason = self.why_broken(name, values)
            if reason is not None:
                return reason
        return None

    def why_broken(self, name: str, values: Mapping[str, Value]) -> str | None:
        """Why ``values`` break constraint ``name``, or None."""
        constraint = self.constraints[name]
        missing = constraint.names - values.keys()
        if missing and (missing != {N_PARAMS} or self.n_params is None):
            return None
        try:
            known = {**values, N_PARAMS: self._count(values)} if missing else values
            holds = constraint.truth(known)
        except ExpressionError as error:
            return f"constraint '{name}' cannot be evaluated: {error}"
        return None if holds else f"constraint '{name}' ({constraint.text}) does not hold"

    def _count(self, values: Mapping[str, Value]) -> int:
        assert self.n_params is not None
        try:
            return self.n_params(values)
        except Exception as error:  # user code may raise anything; that only refuses this configuration
            raise ExpressionError(f"[objective] n_params: {type(error).__name__}: {error}") from error
