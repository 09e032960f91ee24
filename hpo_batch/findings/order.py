"""What a reader is told first: each finding has its place here, and a lower one is told earlier."""

from __future__ import annotations

from typing import Final, TypeAlias

from hpo_batch.findings.records import Finding

Told: TypeAlias = tuple[float, Finding]
"""its place, and what is told"""

# what makes the numbers wrong, or the report be read wrongly
NO_TRIALS: Final = 0.0
CONSTANT_METRIC: Final = 0.5
COLLAPSE: Final = 3.0
NOT_DETERMINISTIC: Final = 4.0
SUSPECT: Final = 5.0
OUTLIER_THAT_DECIDES: Final = 5.5
INFLUENCE: Final = 6.0
NOT_DETERMINISTIC_BY_SUSPECTS: Final = 6.5
BAD_NODE: Final = 10.0
ONE_STUDY_FILLS_THE_TOP: Final = 20.0

# what the trials carry
ALL_NOISE: Final = 38.0
INTERACTION: Final = 39.0
SURVIVORS: Final = 40.0
EFFECT: Final = 41.0
"""and its p after Holm beyond it: the clearest first"""
ORDER_OF_BESTS: Final = 42.5
SLOPE: Final = 43.0
TOP_OF_ALL: Final = 44.0
OUTLIER: Final = 46.0
NO_INFLUENCE: Final = 47.0
EXPECTED: Final = 47.0
"""one place with ``NO_INFLUENCE``: both come study by study"""
OPTIMISM: Final = 48.0
BASELINE: Final = 49.0
NOISE_FLOOR: Final = 50.0

# what the search could have done better
COVERAGE_BELOW_RANDOM: Final = 52.0
WASTED_REPEATS: Final = 55.0
COLLAPSE_NOT_MEASURED: Final = 58.0
EDGES_THAT_MATTER: Final = 60.0

# what they do not carry, and what is as it should be
IMPORTANCE: Final = 65.0
NO_CLEAR_EFFECT: Final = 70.0
CONSISTENCY: Final = 72.0
TRANSFER: Final = 73.0
FIDELITY: Final = 74.0
UNTESTED_EFFECT: Final = 75.0
NOT_VARIED: Final = 80.0
NO_COLLAPSE: Final = 82.0
REPLICATES: Final = 83.0
EDGES: Final = 83.5
COVERAGE: Final = 85.0
COVERAGE_UNKNOWN: Final = 90.0
HOURS: Final = 95.0
