"""The simulators as fixtures; ``tests/conftest.py`` has them for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.simulators.preload import Latency, Refusals, Simulator, WriteBack, can_compile, together
from tests.simulators.processes import Preloaded

Load = Callable[..., Preloaded]


@pytest.fixture(scope="session")
def network_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that plays the network: one for the session, since processes know it by their environment."""
    if not can_compile():
        pytest.skip("needs gcc, which compiles the simulators")
    return tmp_path_factory.mktemp("network")


@pytest.fixture
def network_root(network_folder: Path, tmp_path: Path) -> Path:
    """An empty logs directory on the network."""
    folder = network_folder / tmp_path.name
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def write_back(network_folder: Path) -> WriteBack:
    return WriteBack(root=network_folder)


@pytest.fixture(scope="session")
def refusals(network_folder: Path) -> Refusals:
    return Refusals(root=network_folder)


@pytest.fixture
def latency(network_folder: Path, tmp_path: Path) -> Latency:
    """A server one millisecond away."""
    return Latency(root=network_folder, round_trip_s=0.001, out=tmp_path / "operations")


@pytest.fixture(scope="session")
def load() -> Iterator[Load]:
    """Starts processes with simulators, in the order in which an operation passes them; kept for the session.

    Args of what it gives: the simulators, and ``imports``: modules that the processes need and that take long.
    """
    with ExitStack() as stack:
        started: dict[str, Preloaded] = {}

        def start(*simulators: Simulator, imports: Sequence[str] = ()) -> Preloaded:
            environ = together(simulators)
            name = repr((sorted(environ.items()), imports))
            if name not in started:
                started[name] = stack.enter_context(Preloaded(environ, imports=imports))
            return started[name]

        yield start
