"""What every test gets: no real SLURM within reach, no settings of the user's, a logs directory of its own."""

from __future__ import annotations

import compileall
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.helpers import REPOSITORY, write_program
from tests.network import mount

# fixtures: pytest finds them by their being here
from tests.simulators.fixtures import (  # noqa: F401
    latency,
    load,
    network_folder,
    network_root,
    refusals,
    write_back,
)

SHARED = REPOSITORY.parent / "shared"
Hosts = Callable[..., list[mount.Host]]
SLURM_PROGRAMS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "sinfo")

# several tests run at once on two cores: how long one example takes says nothing
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

# a shell that runs the tests in the background (`pytest ... &`) has them ignore Ctrl-C, and so would what they start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# collection makes a million objects to keep, at which the collector would look again and again
gc.disable()


def pytest_collection_finish() -> None:
    """Take what was collected, modules and 6,000 tests, out of the garbage collector's sight.

    It is there to stay, and each look at all of it takes a third of a second. statsmodels' multipletests, which adjusts
    p values by Holm, asks for one on every call (``gc.collect()`` in statsmodels/stats/multitest.py); pytest's own
    checks do too. Processes that are forked afterwards share these pages longer.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    """Hundreds of tests start processes of ours: with PYTHONDONTWRITEBYTECODE each would compile every module anew."""
    for package in ("hpo_batch", "benchmarks"):
        compileall.compile_dir(REPOSITORY / package, quiet=2)


@pytest.fixture(autouse=True)
def _clean_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the user's settings, and the real SLURM from all tests but those marked ``slurm``."""
    for name in list(os.environ):
        if name.startswith("HPO_BATCH_") and not name.startswith("HPO_BATCH_REQUIRE_"):
            monkeypatch.delenv(name)
    if request.node.get_closest_marker("slurm") is not None:
        return
    for name in list(os.environ):
        if name.startswith(("SLURM", "SBATCH_", "SUBMITIT_")) or name == "CUDA_VISIBLE_DEVICES":
            monkeypatch.delenv(name)
    guard = request.getfixturevalue("slurm_guard")
    monkeypatch.setenv("PATH", f"{guard}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="session")
def slurm_guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder, first on PATH, whose sbatch fails: a unit test must not reach a cluster."""
    folder = tmp_path_factory.mktemp("guard")
    for name in SLURM_PROGRAMS:
        write_program(
            folder / name,
            f"#!/bin/sh\necho '{name}: error: a test without the slurm marker reached SLURM' >&2\nexit 97\n",
        )
    return folder


@pytest.fixture
def no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without SLURM: only Python and the system's own folders on PATH, where nothing is called sbatch."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("git", "sh", "env", "sleep"):
        for where in ("/usr/bin", "/bin"):
            if (Path(where) / name).exists():
                (folder / name).symlink_to(Path(where) / name)
                break
    (folder / "python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(folder))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty logs directory."""
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


@pytest.fixture
def shared() -> Path:
    """The reference data beside the project; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference data in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def fuse() -> None:
    """Skips where nothing can be mounted, unless HPO_BATCH_REQUIRE_FUSE is set."""
    if reason := mount.missing():
        if os.environ.get("HPO_BATCH_REQUIRE_FUSE"):
            pytest.fail(f"HPO_BATCH_REQUIRE_FUSE is set, but {reason}", pytrace=False)
        pytest.skip(reason)
    mount.program()


@pytest.fixture
def hosts(fuse: None) -> Iterator[Hosts]:
    """``hosts(3, attr_timeout=0.2)``: three mounts of one fresh folder, as hosts of a cluster see it; see ``mount``."""
    with contextlib.ExitStack() as stack:
        yield lambda count, **options: stack.enter_context(mount.mounted(count, **options))
