"""Which trials may be claimed together, to be trained as one: those with equal values of some parameters."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from hpo_batch.records import Configuration, Value
from hpo_batch.space.parameters import same


class Alike(Struct, frozen=True, kw_only=True):
    """The shape of a block of trials."""

    names: tuple[str, ...]
    """parameters that must be equal; those that the space does not have are ignored"""
    size: int
    """trials that share the worker, and so its GPU"""
    values: Mapping[str, Value] | None = None
    """theirs; None: those of the first trial"""

    def of(self, configuration: Configuration) -> Alike:
        """The shape of a configuration; unchanged if there is one already."""
        return self if self.values is not None else replace(self, values=self._shape(configuration))

    def fits(self, configuration: Configuration) -> bool:
        if self.values is None:
            return True
        shape = self._shape(configuration)
        return shape.keys() == self.values.keys() and all(same(shape[n], value) for n, value in self.values.items())

    def _shape(self, configuration: Configuration) -> dict[str, Value]:
        values = configuration.values
        return {name: values[name] for name in self.names if name in values}
