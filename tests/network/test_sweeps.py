"""Whole commands on a host whose file server refuses: what is wrong with the disk costs no trial, and is no bug."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hpo_batch.errors import Exit
from hpo_batch.monitor.workers import _seen
from hpo_batch.store.home import home_of
from hpo_batch.store.leases import lease_path
from hpo_batch.study.read import read_state
from tests.helpers import Ended, run
from tests.network.mount import Host

Hosts = Callable[..., Sequence[Host]]

SWEEP = """
[study]
name = "s"
metric = "score"
direction = "maximize"
trials = 3
[objective]
function = "tests.cli.toys:quadratic"
[space]
x = { low = 0.0, high = 1.0 }
n = [1, 2, 3]
[sampler]
name = "random"
[job]
template = "local"
workers = 1
"""


def command(host: Host, *argv: str) -> Ended:
    """Run on a host, with the project of the tests as the user's."""
    return run(*argv, "--root", host.path / "logs", env={"SLURMD_NODENAME": host.path.name})


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP)
    return path


@pytest.mark.parametrize(
    ("operation", "glob"), [("create", "*/stdout"), ("mkdir", "*/attempts/*"), ("create", "*/claim.json")]
)
def test_a_disk_that_is_full_for_a_moment_costs_no_trial(hosts: Hosts, sweep: Path, operation: str, glob: str) -> None:
    (host,) = hosts(1)
    host.fail("ENOSPC", operation, glob, times=3)
    ended = command(host, "submit", str(sweep), "--local", "--wait")
    assert ended.code == 0, ended.err
    state = read_state(home_of(host.source / "logs", "s"))
    counts = state.counts()
    assert (counts.complete, counts.failed, len(state.trials)) == (3, 0, 3)
    assert all(trial.reason is None for trial in state.trials)
    log = next((host.source / "logs" / "s" / "local").glob("*")).read_text()
    assert "No space left on device (make room)" in log


def test_how_long_ago_a_worker_was_seen_is_asked_of_the_server(hosts: Hosts) -> None:
    """A host answers ``stat`` from its cache for up to a minute: it took the living for silent."""
    here, there = hosts(2, attr_timeout=60.0)
    folder = here.path / "workers"
    folder.mkdir()
    lease_path(folder, "w").touch()
    old = time.time() - 100
    os.utime(lease_path(folder, "w"), (old, old))
    seen_from = there.path / "workers"
    assert (_seen(seen_from, "w", time.time()) or 0) > 99
    os.utime(lease_path(folder, "w"))
    assert time.time() - lease_path(seen_from, "w").stat().st_mtime > 99  # what the cache says
    assert (_seen(seen_from, "w", time.time()) or 0) < 5


@pytest.mark.parametrize("argv", [("status", "s"), ("doctor", "s"), ("list",), ("collect", "s")])
def test_a_file_system_that_has_gone_is_no_bug_of_ours(hosts: Hosts, sweep: Path, argv: tuple[str, ...]) -> None:
    (host,) = hosts(1)
    assert command(host, "submit", str(sweep), "--local", "--wait").code == 0
    assert host._process is not None
    host._process.kill()  # the mount is there, and whatever is asked of it fails: ENOTCONN
    host._process.wait()
    ended = command(host, *argv)
    assert "a bug in hpo-batch" not in ended.err, ended.err
    assert ended.code in (Exit.STORAGE, Exit.BAD_INPUT)


def test_doctor_says_that_a_disk_is_full(hosts: Hosts, sweep: Path) -> None:
    (host,) = hosts(1)
    host.fail("ENOSPC", "write", "*", times=-1)
    host.fail("ENOSPC", "create", "*/said.*", times=-1)
    (host.source / "logs").mkdir()
    ended = command(host, "doctor", str(sweep))
    assert "a bug in hpo-batch" not in ended.err, ended.err
    assert "No space left on device" in ended.out + ended.err
    assert ended.code == Exit.STORAGE


@pytest.mark.parametrize("argv", [("list",), ("status", "s"), ("collect", "s")])
def test_a_logs_directory_that_cannot_be_read_is_not_taken_for_an_empty_one(
    hosts: Hosts, argv: tuple[str, ...]
) -> None:
    (host,) = hosts(1)
    (host.source / "logs" / "other").mkdir(parents=True)
    host.fail("EIO", "readdir", "*", times=-1)
    ended = command(host, *argv)
    assert ended.code == Exit.STORAGE, ended.out + ended.err
    assert "Input/output error" in ended.err
