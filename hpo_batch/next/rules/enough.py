"""How many trials a change needs, how sure it must be, and how much of a space stays."""

from __future__ import annotations

from typing import Final

from hpo_batch.next.evidence import Evidence
from hpo_batch.records import Value
from hpo_batch.space.parameters import Searched, same

# Conventions: the two bounds on leaving out are those that reviewers of a sweep ask for, and far above what the tests
# need. What the best thousandth survives with them is in docs/benchmarks.md (``benchmarks/refine.py``, survival).
FEWEST_TO_NARROW: Final = 20
PER_PARAMETER: Final = 10
"""trials for each searched parameter, without which no value is left out"""
FEWEST_TO_WIDEN: Final = 10
"""a convention: the model has no say below 6, and its first searches are random draws"""
PER_VALUE: Final = 5
"""trials of each value that is compared, for a parameter to be fixed"""
SURE: Final = 0.95
"""chance from which a direction is certain, as in the report; and an expansion has high confidence"""
LEAST_KEPT: Final = 0.25
"""of the space, after everything that is narrowed or left out; a convention, so that one round cannot undo a search"""


def to_leave_out(searched: int) -> int:
    """Trials from which values of one of so many searched parameters may be left out."""
    return max(FEWEST_TO_NARROW, PER_PARAMETER * searched)


def may_go(evidence: Evidence, parameter: Searched, value: Value | None) -> bool:
    """Whether a value is neither the baseline's nor the best configuration's."""
    if value is None:
        return False
    kept_ones = (evidence.baseline.get(parameter.name), evidence.incumbent.get(parameter.name))
    return not any(v is not None and same(parameter.normalise(v), parameter.normalise(value)) for v in kept_ones)
