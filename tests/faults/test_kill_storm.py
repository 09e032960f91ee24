"""The kill storm of the benchmarks, shorter: nothing stuck, lost, doubled, or read otherwise by plain Optuna."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import REPOSITORY

ON_HOSTS = ("--mounts", "3", "--rtt-ms", "0.2")


def storm(folder: Path, *options: str) -> dict[str, str]:
    """What its table says; nothing that went wrong."""
    script = REPOSITORY / "benchmarks" / "kill_storm.py"
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    argv = [sys.executable, str(script), *options, "--folder", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    table = dict(line.strip("| ").rsplit(" | ", 1) for line in done.stdout.splitlines()[2:])
    assert table["finished"] == table["trials asked for"]
    assert not [name for name, count in table.items() if name.startswith("**") and count != "0"]
    return table


def test_a_storm_of_kills_leaves_exactly_the_trials_asked_for(tmp_path: Path) -> None:
    table = storm(tmp_path, "--kills", "40", "--at-each-point", "3", "--trials", "60", "--workers", "4")
    kills = {name: int(count) for name, count in table.items() if name.startswith("SIGKILLs")}
    assert kills.pop("SIGKILLs at random") >= 40
    assert len(kills) == 8
    assert set(kills.values()) == {3}


def test_a_storm_over_workers_that_train_several_trials_together(tmp_path: Path) -> None:
    """Each trial goes on from its own checkpoint, and their hours are those of the workers, not a multiple of them."""
    table = storm(tmp_path, "--fuse", "4", "--kills", "20", "--at-each-point", "1", "--trials", "60", "--workers", "4")
    assert int(table["SIGKILLs at random"]) >= 20
    assert table["attempts in blocks"] == table["attempts"]


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("fuse")
class TestOnHosts:
    """Workers on hosts of a network file system, each with the caches of an NFS client; the server is judged."""

    def test_hosts_under_load_write_nothing_over_each_other(self, tmp_path: Path) -> None:
        """A busy thread in each worker makes the time long between its release of the lock and what follows."""
        options = ("--workers", "3", "--busy", "--trials", "30", "--kills", "0", "--at-each-point", "0")
        storm(tmp_path, *ON_HOSTS, *options)

    @pytest.mark.parametrize("locks", ["shared", "none"])
    def test_kills(self, tmp_path: Path, locks: str) -> None:
        options = ("--workers", "4", "--trials", "60", "--kills", "12", "--at-each-point", "1", "--pause", "0.1")
        table = storm(tmp_path, *ON_HOSTS, *options, "--locks", locks)
        assert int(table["SIGKILLs at random"]) >= 12

    def test_hosts_that_lose_their_power(self, tmp_path: Path) -> None:
        options = ("--workers", "5", "--trials", "60", "--kills", "0", "--at-each-point", "0", "--pause", "0.3")
        table = storm(tmp_path, *ON_HOSTS, *options, "--power-cuts", "5")
        assert table["hosts that lost their power"] == "5"
