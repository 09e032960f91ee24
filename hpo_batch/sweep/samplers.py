"""The table of samplers: their capabilities, options and implementations.

To add a sampler, write a module in ``study/samplers/`` and add an entry to ``SAMPLERS``. The table does not import
these modules, because ``check`` and ``status`` must not import Optuna.
"""

from __future__ import annotations

from msgspec import Struct

from hpo_batch.sweep.options import FLAG, POSITIVE, SHARE, Options, one_of, whole


class Capabilities(Struct, frozen=True, kw_only=True):
    """What a sampler can do. Rules and claims use this instead of the sampler's name."""

    source: str
    """``module:name`` of a ``Source`` class or a ``Model`` of ``study.samplers.base``"""
    options: Options | None = {}
    """valid options by name; None: any that its class accepts"""
    is_list: bool = False
    """runs only the planned trials"""
    is_grid: bool = False
    """runs all valid cells, so every parameter needs a finite number of values"""
    is_sequence: bool = False
    """all workers share one numbered sequence that covers the space"""
    is_model_based: bool = False
    """learns from finished trials"""
    max_metrics: int | None = None
    """largest number of metrics; None: unlimited"""
    package: str | None = None
    """optional package that it needs, see ``extras``"""

    @property
    def is_finite(self) -> bool:
        """Whether its configurations are known in advance, so that it ends by itself."""
        return self.is_list or self.is_grid

    @property
    def never_repeats(self) -> bool:
        """Whether it has a fixed order of configurations, which cannot be repeated or influenced."""
        return self.is_finite or self.is_sequence

    @property
    def computes_with_ranges(self) -> bool:
        """Whether it computes with the widths of ranges, which must then be finite floats."""
        return self.is_model_based or self.is_sequence


SAMPLERS: dict[str, Capabilities] = {
    "tpe": Capabilities(
        source="hpo_batch.study.samplers.tpe:TPE",
        is_model_based=True,
        options={"n_ei_candidates": whole(1), "multivariate": FLAG, "group": FLAG, "constant_liar": FLAG},
    ),
    "random": Capabilities(source="hpo_batch.study.samplers.proposals:Proposals"),
    "grid": Capabilities(source="hpo_batch.study.samplers.enumerated:Grid", is_grid=True),
    # Sobol' and Halton points are numbered, so workers only need to agree on the next number
    "qmc": Capabilities(
        source="hpo_batch.study.samplers.qmc:Qmc",
        is_sequence=True,
        options={"qmc_type": one_of("sobol", "halton"), "scramble": FLAG},
    ),
    # Optuna fits its Gaussian process with torch
    "gp": Capabilities(
        source="hpo_batch.study.samplers.gp:GP",
        is_model_based=True,
        package="torch",
        options={"deterministic_objective": FLAG},
    ),
    # Optuna needs the package cmaes for it, and it optimizes a single objective
    "cmaes": Capabilities(
        source="hpo_batch.study.samplers.cma:CMAES",
        is_model_based=True,
        max_metrics=1,
        package="cmaes",
        options={"popsize": whole(2), "sigma0": POSITIVE},
    ),
    "nsga2": Capabilities(
        source="hpo_batch.study.samplers.nsga2:NSGA2",
        is_model_based=True,
        options={"population_size": whole(2), "mutation_prob": SHARE, "crossover_prob": SHARE, "swapping_prob": SHARE},
    ),
    "list": Capabilities(source="hpo_batch.study.samplers.enumerated:PlannedOnly", is_list=True),
}
CUSTOM = Capabilities(source="hpo_batch.study.samplers.custom:CUSTOM", is_model_based=True, options=None)
"""for ``package.module:class``: any subclass of Optuna's ``BaseSampler``"""


def capabilities_of(name: str) -> Capabilities:
    """Capabilities of a sampler; those of ``CUSTOM`` for any other name."""
    return SAMPLERS.get(name, CUSTOM)
