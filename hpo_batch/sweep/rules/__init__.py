"""Rules that involve several tables of a sweep.

A rule is a generator of problems. To add one, write it in the module of its table and add it to ``RULES``. Rules do not
read files or import user code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hpo_batch.records import Problem
from hpo_batch.space.space import Space
from hpo_batch.sweep.controls import control_problems
from hpo_batch.sweep.rules import expect, fill_in, job, metrics, sampler, space, trials
from hpo_batch.sweep.rules.draft import Draft, Rule
from hpo_batch.sweep.schema import Sweep

__all__ = ["RULES", "Draft", "Rule", "find_problems"]


def control_characters(draft: Draft) -> Iterator[Problem]:
    return control_problems(draft.sweep)


RULES: Final[tuple[Rule, ...]] = (
    control_characters,
    fill_in.filled_in,
    job.one_objective,
    sampler.known_name,
    sampler.target,
    sampler.planned_only,
    sampler.coverage,
    sampler.duplicates,
    sampler.seeds,
    sampler.runs_here,
    sampler.options,
    sampler.pruner_fits,
    metrics.directions,
    metrics.formulas,
    metrics.formula_order,
    job.imports,
    trials.names_and_sources,
    trials.source_order,
    expect.readable,
    job.processes,
    job.fused,
    space.searches_something,
    space.parameters_of_sampler,
    space.ranges_of_sampler,
    space.grid_cells,
    space.weights,
    space.names_elsewhere,
    space.expressions,
)
"""all rules on single values, in the order of their messages for the same line"""
RULES_ON_CONFIGURATIONS: Final[tuple[Rule, ...]] = (space.satisfiable, trials.resolvable)
"""rules that resolve configurations, which requires a space without problems"""


def find_problems(sweep: Sweep, space: Space, *, problems: Sequence[Problem] = ()) -> list[Problem]:
    """Run all rules.

    Args:
        sweep: with placeholders for values that the schema refused.
        space: the valid part of its space.
        problems: from the schema and the space; rules skip keys that have problems.
    """
    draft = Draft(sweep=sweep, space=space, problems=problems)
    more = [problem for rule in RULES for problem in rule(draft)]
    draft = Draft(sweep=sweep, space=space, problems=[*problems, *more])
    if draft.is_sound("space"):
        more += [problem for rule in RULES_ON_CONFIGURATIONS for problem in rule(draft)]
    return more
