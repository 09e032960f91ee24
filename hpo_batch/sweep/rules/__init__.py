"""Rules between the tables of a sweep: what has to fit together although each key is valid by itself.

A rule is a generator of problems; to add one, write it in the module of its table and put it into ``RULES``. Rules read
no files and import no user code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hpo_batch.records import Problem
from hpo_batch.space.space import Space
from hpo_batch.sweep.controls import control_problems
from hpo_batch.sweep.rules import expect, job, metrics, sampler, space, trials
from hpo_batch.sweep.rules.draft import Draft, Rule
from hpo_batch.sweep.rules.pruner import fits as pruner_fits
from hpo_batch.sweep.schema import Sweep

__all__ = ["RULES", "Draft", "Rule", "find_problems"]


def control_characters(draft: Draft) -> Iterator[Problem]:
    return control_problems(draft.sweep)


RULES: Final[tuple[Rule, ...]] = (
    control_characters,
    job.one_objective,
    sampler.known_name,
    sampler.target,
    sampler.planned_only,
    sampler.coverage,
    sampler.duplicates,
    sampler.runs_here,
    sampler.options,
    pruner_fits,
    metrics.directions,
    metrics.formulas,
    metrics.formula_order,
    job.imports,
    trials.names_and_sources,
    trials.source_order,
    expect.readable,
    job.processes,
    space.searches_something,
    space.parameters_of_sampler,
    space.ranges_of_sampler,
    space.grid_cells,
    space.weights,
    space.names_elsewhere,
    space.expressions,
)
"""each judges the sweep by what the schema says of it, in the order of the messages for one line"""
RULES_ON_CONFIGURATIONS: Final[tuple[Rule, ...]] = (space.satisfiable, trials.resolvable)
"""They resolve configurations, which takes a space that all other rules accept."""


def find_problems(sweep: Sweep, space: Space, *, problems: Sequence[Problem] = ()) -> list[Problem]:
    """What is wrong between the tables.

    Args:
        sweep: with placeholders for values that the schema refused.
        space: as much of its space as could be built.
        problems: those of the schema and of the space; the rules do not build on what is wrong already.
    """
    draft = Draft(sweep=sweep, space=space, problems=problems)
    found = [problem for rule in RULES for problem in rule(draft)]
    draft = Draft(sweep=sweep, space=space, problems=[*problems, *found])
    if draft.is_sound("space"):
        found += [problem for rule in RULES_ON_CONFIGURATIONS for problem in rule(draft)]
    return found
