"""The cluster of this folder's tests: one for the session, clean for each test, its logs shown when one fails.

With pytest-xdist each process has its own: the tests mostly wait for SLURM.

Where a cluster cannot be started the tests are skipped, or fail if HPO_BATCH_REQUIRE_SLURM=1 (`make test-slurm`).
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from hpo_batch.cli.main import run
from tests.conftest import REPOSITORY, Hosts
from tests.network.mount import Host, in_view

from .cluster import SLURM_VARIABLES, SlurmCluster, missing

_TEST_TIMEOUT_S = 600
"""Above the sum of a test's own waits, which say what they waited for."""
_HERE = Path(__file__).parent
_LONGEST_FIRST = (
    "test_walltime",
    "test_node_failure",
    "test_network",
    "test_preemption",
    "test_ranks",
    "test_failures",
    "test_documents",
)
"""Files with a test of a minute, which would run last and alone; the others follow in their order."""
_CLUSTERS_OF_A_FILE = ("strict", "strict_site")
"""Fixtures whose tests stay in one process of pytest-xdist, so that their cluster is started once."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slurm: needs root and SLURM's Debian packages; starts a real cluster")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # pytest hands the items of every folder to this hook.
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker("slurm")
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_TEST_TIMEOUT_S))
            for name in _CLUSTERS_OF_A_FILE:
                if name in getattr(item, "fixturenames", ()):
                    item.add_marker(pytest.mark.xdist_group(name))
    rank = {name: place for place, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)) if _HERE in item.path.parents else -1)


@pytest.fixture(scope="session")
def _running_cluster() -> Iterator[SlurmCluster]:
    if reason := missing():
        if os.environ.get("HPO_BATCH_REQUIRE_SLURM") == "1":
            pytest.fail(f"HPO_BATCH_REQUIRE_SLURM=1, but {reason}", pytrace=False)
        pytest.skip(reason)
    with SlurmCluster.started() as cluster:
        yield cluster


@pytest.fixture
def slurm_cluster(_running_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """A ready, empty cluster with four nodes of four GPUs each; SLURM's commands of this process reach it."""
    for name in [name for name in os.environ if name.startswith(SLURM_VARIABLES)]:
        monkeypatch.delenv(name)
    for name, value in _running_cluster.own_env.items():
        monkeypatch.setenv(name, value)
    yield _running_cluster
    _running_cluster.reset()


@pytest.fixture
def mounts(slurm_cluster: SlurmCluster, hosts: Hosts) -> Iterator[dict[str, Host]]:
    """The logs directory on a network file system: a mount for each node, and one for this process, the ``login``.

    All see it at the path of the login's mount.
    """
    login, *nodes = hosts(1 + len(slurm_cluster.nodes))
    by_name = dict(zip(slurm_cluster.nodes, nodes, strict=True))
    with slurm_cluster.views({name: in_view(host.path, login.path) for name, host in by_name.items()}):
        yield {"login": login, **by_name}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    cluster = getattr(item, "funcargs", {}).get("slurm_cluster")
    # Still as the test left it: the report of the call is made before the fixture is torn down.
    if report.failed and isinstance(cluster, SlurmCluster):
        report.sections.append(("SLURM: queue and nodes", cluster.overview()))
        report.sections.append((f"SLURM: ends of the logs in {cluster.root}", cluster.log_tails()))
    return report


@pytest.fixture
def cli(root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """The command line in the repository's root, as on a login node."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("HPO_BATCH_ROOT", str(root))

    def call(*argv: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run([str(word) for word in argv])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call
