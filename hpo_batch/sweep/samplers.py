"""What each sampler can do, declared once: rules, counts and the claim ask this table, never a sampler's name.

To add a sampler by name: an entry here, and its code in ``study/samplers``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from hpo_batch.sweep.options import FLAG, POSITIVE, SHARE, Options, one_of, whole


@dataclass(frozen=True, kw_only=True)
class SamplerTraits:
    """How a sampler behaves; the defaults are those of a sampler that draws without end."""

    finite: bool = False
    """proposes a set that the sweep decides, so that ``study.trials`` may be left out"""
    planned_only: bool = False
    """runs the ``[[trial]]`` tables and proposes nothing itself"""
    needs_cells: bool = False
    """takes no continuous parameter"""
    enumerates: bool = False
    """goes through a fixed sequence: proposes nothing twice, and knows neither quotas nor coverage"""
    takes_weights: bool = True
    """keeps each of the weighted choices to its share of the trials"""
    model_based: bool = True
    """computes with several widths of a range, which have to be finite numbers"""
    several_metrics: bool = True
    package: str = ""
    """what has to be installed beside Optuna"""
    options: Options = field(default_factory=dict)


SAMPLERS: Final[dict[str, SamplerTraits]] = {
    "tpe": SamplerTraits(
        options={"n_ei_candidates": whole(1), "multivariate": FLAG, "group": FLAG, "constant_liar": FLAG}
    ),
    "random": SamplerTraits(model_based=False),
    "grid": SamplerTraits(finite=True, needs_cells=True, enumerates=True, takes_weights=False, model_based=False),
    "qmc": SamplerTraits(enumerates=True, options={"qmc_type": one_of("sobol", "halton"), "scramble": FLAG}),
    "gp": SamplerTraits(options={"deterministic_objective": FLAG}),
    "cmaes": SamplerTraits(several_metrics=False, package="cmaes", options={"popsize": whole(2), "sigma0": POSITIVE}),
    "nsga2": SamplerTraits(
        options={
            "population_size": whole(2),
            "mutation_prob": SHARE,
            "crossover_prob": SHARE,
            "swapping_prob": SHARE,
        }
    ),
    "list": SamplerTraits(finite=True, planned_only=True, enumerates=True, takes_weights=False, model_based=False),
}
CUSTOM: Final = SamplerTraits()
"""a class of the user's, named as ``package.module:class``: it judges its options itself"""


def traits(name: str) -> SamplerTraits:
    """The traits of a sampler by its name in ``[sampler]``."""
    return SAMPLERS.get(name, CUSTOM)
