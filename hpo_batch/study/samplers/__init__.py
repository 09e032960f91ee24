"""Draw configurations, outside the journal's lock; the claim then takes the first untried one.

Samplers work on ``history``, never on the journal's own study. ``sweep.samplers`` lists them with their modules; only
the module of the sampler that a sweep names is imported.
"""

from __future__ import annotations

import importlib

from hpo_batch.space.space import Space
from hpo_batch.study.quota import Arm, Quotas
from hpo_batch.study.samplers.base import Candidate, Draw, Model, Source
from hpo_batch.study.samplers.proposals import Proposals
from hpo_batch.sweep.schema import Sweep

__all__ = ["Candidate", "Draw", "Source", "check_sampler", "make_source"]


def make_source(sweep: Sweep, space: Space, arm: Arm) -> Source:
    """The source of one quota arm for the sampler that the sweep names.

    Raises:
        UserError: the sampler rejects its options.
    """
    module, _, name = sweep.sampler.capabilities.source.partition(":")
    sampler = getattr(importlib.import_module(module), name)
    if isinstance(sampler, Model):
        return Proposals(sweep, space, arm, model=sampler)
    source: Source = sampler(sweep, space, arm)
    return source


def check_sampler(sweep: Sweep) -> None:
    """Construct the sampler once.

    Raises:
        UserError: the sampler rejects its options.
    """
    if sweep.sampler.capabilities.is_model_based:  # the options of all others were checked with the sweep file
        make_source(sweep, sweep.space, Quotas(sweep.space).arms[0])
