"""The samplers by name: what each can do, the options it takes, and where its code is.

To add one: a module in ``study/samplers/`` and an entry in ``SAMPLERS``. The table imports none of these modules, since
``check`` and ``status`` must not load Optuna.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hpo_batch.sweep.options import FLAG, POSITIVE, SHARE, Options, one_of, whole


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a sampler can do; the rules of the sweep file and the claims of workers ask this, never its name."""

    source: str
    """``module:name`` of a class of ``study.samplers.base.Source``, or of a ``Model`` there"""
    options: Options | None = field(default_factory=dict)
    """by name; None: whatever its class takes"""
    is_list: bool = False
    """it runs the planned trials and proposes none itself"""
    is_grid: bool = False
    """it walks through all valid cells, so every parameter needs a finite number of values"""
    is_sequence: bool = False
    """all workers walk through one numbered sequence that covers the space"""
    is_model_based: bool = False
    """it learns from finished trials"""
    max_metrics: int | None = None
    """metrics it can search at once; None: any number"""
    package: str | None = None
    """the optional dependency it needs"""

    @property
    def is_finite(self) -> bool:
        """Whether it ends by itself: its configurations are known beforehand, and each is tried once."""
        return self.is_list or self.is_grid

    @property
    def never_repeats(self) -> bool:
        """Whether it walks through an order of its own, which nothing can be drawn again from or steered within."""
        return self.is_finite or self.is_sequence

    @property
    def computes_with_ranges(self) -> bool:
        """Whether it computes with the width of a range, which must then be a finite float."""
        return self.is_model_based or self.is_sequence


SAMPLERS: dict[str, Capabilities] = {
    "tpe": Capabilities(
        source="hpo_batch.study.samplers.tpe:TPE",
        is_model_based=True,
        options={"n_ei_candidates": whole(1), "multivariate": FLAG, "group": FLAG, "constant_liar": FLAG},
    ),
    "random": Capabilities(source="hpo_batch.study.samplers.proposals:Proposals"),
    "grid": Capabilities(source="hpo_batch.study.samplers.enumerated:Grid", is_grid=True),
    "qmc": Capabilities(
        source="hpo_batch.study.samplers.qmc:Qmc",
        is_sequence=True,
        options={"qmc_type": one_of("sobol", "halton"), "scramble": FLAG},
    ),
    "gp": Capabilities(
        source="hpo_batch.study.samplers.gp:GP", is_model_based=True, options={"deterministic_objective": FLAG}
    ),
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
"""of ``package.module:class``: any sampler class of Optuna's kind"""


def capabilities_of(name: str) -> Capabilities:
    """Of a sampler by name; of any other name, those of a class of Optuna's kind."""
    return SAMPLERS.get(name, CUSTOM)
