"""Whatever refine, propose and confirm write passes check, submits as it is, and submits twice without a change."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.next.written import holds


@settings(max_examples=6, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_written_passes_check_and_submits_twice(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    holds(seed, tmp_path_factory.mktemp("any"))
