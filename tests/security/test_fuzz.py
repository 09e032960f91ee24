"""Texts that nobody thought of: whatever a reader is given, it answers or refuses in words of ours. A small budget.

``benchmarks/fuzz.py`` runs the same fuzzers for as long as one likes; what is found becomes a test of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from hpo_batch.scheduler.slurm.accounts import parse_sacct
from tests.fuzzers.cases import Case
from tests.fuzzers.running import surroundings
from tests.fuzzers.targets import TARGETS, tried

EXAMPLES = {
    "toml": 50,
    "csv": 50,
    "json": 50,
    "parquet": 40,
    "damage": 20,
    "second-hand": 20,
    "squeue": 15,
    "sacct": 15,
    "reports": 10,
    "sqlite": 8,
}
"""of targets whose inputs take longer than some milliseconds"""


@pytest.fixture(scope="module")
def around() -> Iterator[Path]:
    with surroundings() as folder:
        yield folder


@pytest.mark.filterwarnings("ignore")  # of libraries that are given nonsense; a command shows none of them
@pytest.mark.parametrize("name", TARGETS)
def test_it_holds(name: str, around: Path) -> None:
    @hypothesis.settings(
        max_examples=EXAMPLES.get(name, 100), deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(TARGETS[name].inputs())
    def holds(case: Case) -> None:
        tried(name, case, around)

    holds()


@pytest.mark.parametrize("count", ["999999999999", "9" * 5_000])
def test_an_array_of_any_size(count: str) -> None:
    assert len(parse_sacct(f"7_[0-{count}]|PENDING|0:0|1|1|1|1|1||n")) <= 1_000_000
