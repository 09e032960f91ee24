"""A worker's name: built and read in one place."""

from __future__ import annotations

import re

import pytest

from hpo_batch.envvars import EnvVar
from hpo_batch.store.worker_name import WorkerName
from hpo_batch.worker import guardian


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("7-r2-0.1", WorkerName(origin="7", run=2, index=0, slot=1)),
        ("7-r0-12", WorkerName(origin="7", run=0, index=12)),
        ("457915f1b8aa-3", WorkerName(origin="457915f1b8aa", index=3)),
        ("gpu-r2-n1-4711-a1b2c3-0", WorkerName(origin="gpu-r2-n1-4711-a1b2c3")),
    ],
)
def test_a_workers_name_is_what_its_parts_say(text: str, name: WorkerName) -> None:
    assert WorkerName.parse(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    ("text", "lane"), [("w", (0, None)), ("5", (5, None)), ("w-x.y", (0, None)), ("w-3.x", (3, None))]
)
def test_a_name_of_another_form_has_the_lane_it_always_had(text: str, lane: tuple[int, int | None]) -> None:
    """The search is seeded with it: a study that went on must draw as it did before."""
    name = WorkerName.parse(text)
    assert (name.index, name.slot) == lane


def test_the_workers_of_one_array_task() -> None:
    pattern = WorkerName.pattern_of_task("7", 1)
    assert [bool(re.fullmatch(pattern, name)) for name in ("7-r0-1", "7-r3-1.2", "7-r0-11", "77-r0-1", "7-1")] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_the_guardian_knows_its_variable() -> None:
    assert guardian.MARK == EnvVar.LIFE  # it is started without our package, and cannot import the name
