"""Workers in PID namespaces of their own, as apptainer --pid, docker and podman make them, on one host."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from hpo_batch.records import TrialState
from hpo_batch.store.leases import read_owners
from hpo_batch.store.liveness import holders
from tests.worker.conftest import Project

CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")
OUTER_PROC = tuple(word for word in CONTAINER if word != "--mount-proc")
"""its ``/proc`` shows the processes of the host, whose pids mean others in it"""
HOST = ()
KINDS = [(CONTAINER, CONTAINER), (CONTAINER, HOST), (OUTER_PROC, OUTER_PROC), (OUTER_PROC, CONTAINER, HOST)]


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    tried = subprocess.run([*CONTAINER, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no namespaces of users and processes can be made here: {tried.stderr.strip()}")


@pytest.mark.parametrize("kinds", KINDS, ids=["both", "one", "outer proc", "all kinds"])
def test_workers_in_containers_of_one_host_do_not_take_each_other_for_dead(
    project: Callable[..., Project], kinds: tuple[tuple[str, ...], ...]
) -> None:
    it = project("half_a_second", study="trials = 8")
    workers = [it.start(*kind) for kind in kinds]
    assert [worker.wait() for worker in workers] == [0] * len(kinds), [worker.said for worker in workers]
    trials = it.state.trials
    assert [(trial.state, trial.attempt) for trial in trials] == [(TrialState.COMPLETE, 1)] * 8
    assert not read_owners(it.home.workers)


def test_a_container_that_is_killed_is_told_by_its_lease(project: Callable[..., Project]) -> None:
    it = project("half_a_second", study="trials = 1\nlease_s = 2")
    worker = it.start(*CONTAINER)
    it.until(lambda: it.state.trials and it.home.attempt(0, 1).exists())
    worker.process.kill()  # the container ends with it
    worker.process.wait()
    (left,) = holders(it.home.workers)
    assert left.alive is None  # its pid, which is 1 or close to it, is somebody else's out here
    assert it.run(*CONTAINER).process.returncode == 0
    assert (it.state.trials[0].state, it.state.trials[0].attempt) == (TrialState.COMPLETE, 2)


def test_cancel_signals_nobody_in_the_place_of_a_worker_in_a_container(project: Callable[..., Project]) -> None:
    """Out here its pid may be anybody's: the first processes of a container are those of the machine's start."""
    from hpo_batch.monitor.live import local_workers

    it = project("half_a_second", study="trials = 6")
    worker = it.start(*CONTAINER)
    it.until(lambda: read_owners(it.home.workers))
    assert [one.is_here for one in local_workers(it.home, [])] == [False]
    assert worker.wait() == 0
