"""The search space as one frozen value: which configurations exist, and what a set of values means in it.

``resolve`` turns values into a configuration (inactive parameters dropped, fixed and derived ones added);
``why_invalid`` says which constraint or bound refuses it. Drawing is the samplers' work, counting that of ``cells``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from hpo_batch.errors import ExpressionError, UserError
from hpo_batch.expressions import Expression
from hpo_batch.records import Configuration, Value
from hpo_batch.space.conditions import decision_order
from hpo_batch.space.parameters import Fixed, Parameter, Searched

N_PARAMS = "n_params"
"""the name under which ``[objective] n_params`` may stand in constraints"""


@dataclass(frozen=True, kw_only=True)
class Space:
    """Parameters in the order of the file, derived values, and constraints by name."""

    parameters: tuple[Parameter, ...] = ()
    derived: Mapping[str, Expression] = field(default_factory=dict)
    constraints: Mapping[str, Expression] = field(default_factory=dict)
    n_params: Callable[[Mapping[str, Value]], int] | None = field(default=None, compare=False)
    """counts a model's parameters from a configuration; loaded by whoever may import the user's code"""

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
        """Names of parameters and derived values so that each comes after what it depends on."""
        return decision_order(self.parents)

    @cached_property
    def parents(self) -> dict[str, tuple[str, ...]]:
        """The names each parameter's condition, or each derived value, mentions."""
        whens = {p.name: tuple(sorted(p.when.names)) if p.when else () for p in self.parameters}
        return {**whens, **{name: tuple(sorted(e.names)) for name, e in self.derived.items()}}

    def is_active(self, name: str, decided: Mapping[str, Value]) -> bool:
        """Whether ``name`` has a value, given the values of everything before it in ``order``.

        A condition on an inactive parent does not hold: the child of an inactive parent is inactive.
        """
        if not all(parent in decided for parent in self.parents[name]):
            return False
        if name in self.derived:
            return True
        when = self.by_name[name].when
        return when is None or when.truth(decided)

    def decide(self, value_of: Callable[[Searched], Value]) -> Configuration:
        """Walk the space in ``order``, asking ``value_of`` for each searched parameter that is active."""
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
        """The configuration that ``values`` describes; values of inactive parameters are dropped.

        A fixed parameter that stands in ``values`` takes the value given there: a trial given by hand may leave the
        space. ``strict`` refuses values of parameters that are not in the space or not active.

        Raises:
            UserError: an active parameter has no value, or ``strict`` found one too many.
        """
        overridden = tuple(
            replace(p, value=p.normalise(values[p.name])) if isinstance(p, Fixed) and p.name in values else p
            for p in self.parameters
        )
        space = replace(self, parameters=overridden) if overridden != self.parameters else self

        def value_of(parameter: Searched) -> Value:
            if parameter.name not in values:
                raise UserError(f"no value for parameter '{parameter.name}'")
            return parameter.normalise(values[parameter.name])

        configuration = space.decide(value_of)
        if strict:
            extra = sorted(set(values) - set(configuration.values))
            if extra:
                kind = "not active" if extra[0] in self.by_name else "not in [space]"
                raise UserError(f"parameter '{extra[0]}' is {kind}")
        return configuration

    def why_invalid(self, configuration: Configuration, *, bounds: bool = True) -> str | None:
        """The first reason against a configuration, or None. ``bounds=False`` judges by constraints alone."""
        if bounds:
            for parameter in self.searched:
                if parameter.name in configuration.searched:
                    outside = parameter.why_outside(configuration.searched[parameter.name])
                    if outside:
                        return f"'{parameter.name}' {outside}"
        return self.why_constrained(configuration.values)

    def why_constrained(self, values: Mapping[str, Value]) -> str | None:
        """The first constraint that ``values`` break. One that names an inactive or undecided value does not apply."""
        for name, constraint in self.constraints.items():
            known: Mapping[str, Value] = values
            if N_PARAMS in constraint.names and N_PARAMS not in values:
                if self.n_params is None:
                    continue
                known = {**values, N_PARAMS: self.n_params(values)}
            if not constraint.names <= known.keys():
                continue
            try:
                holds = constraint.truth(known)
            except ExpressionError as error:
                return f"constraint '{name}' cannot be evaluated: {error}"
            if not holds:
                return f"constraint '{name}' ({constraint.text}) does not hold"
        return None
