"""Draw configurations, outside the journal's lock: the claim then takes the first that nobody has tried.

Samplers work on ``history``, never on the journal's own study. A list needs no drawing: its next trial is decided
inside the lock. To add a sampler: an entry in ``models.MODELS`` if it is one of Optuna's kind, else in ``SOURCES``.
"""

from __future__ import annotations

from collections.abc import Callable

from hpo_batch.space.space import Space
from hpo_batch.study.quota import Arm, Quotas
from hpo_batch.study.samplers.base import Candidate, Draw, Source
from hpo_batch.study.samplers.enumerated import Grid, Nothing
from hpo_batch.study.samplers.proposals import Sampled
from hpo_batch.study.samplers.qmc import Qmc
from hpo_batch.sweep.schema import Sweep

__all__ = ["Candidate", "Draw", "Source", "check_sampler", "make_source"]

SOURCES: dict[str, Callable[[Sweep, Space, Arm], Source]] = {"list": Nothing, "grid": Grid, "qmc": Qmc}


def make_source(sweep: Sweep, space: Space, arm: Arm) -> Source:
    """The source of one quota arm for the sampler that the sweep names.

    Raises:
        UserError: the sampler refuses its options.
    """
    return SOURCES.get(sweep.sampler.name, Sampled)(sweep, space, arm)


def check_sampler(sweep: Sweep) -> None:
    """Raises UserError: the sampler cannot be made as the sweep says."""
    if sweep.sampler.name not in SOURCES:
        make_source(sweep, sweep.space, Quotas(sweep.space).arms[0])
