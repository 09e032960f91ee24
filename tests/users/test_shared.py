"""``[study] shared = true``: what one user of a group has begun, another goes on with."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.store.home import home_of
from hpo_batch.store.submissions import read_submissions
from tests.users.conftest import LAB, Before, Person, modes, until

People = Callable[..., Person]
SHARED = {("folder", 0o2770, LAB), ("file", 0o660, LAB)}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_whatever_the_umask(person: People, umask: int) -> None:
    alice = person("alice", umask=umask)
    assert alice.run("submit", alice.sweep(study="shared = true\nkeep_checkpoints = 'all'"), "--wait").code == 0
    study = alice.root / "toy"
    assert modes(study) == SHARED
    found = {path.name for path in study.rglob("*")}
    assert found >= {"journal.jsonl", "sweep.1.json", "submissions.jsonl", "result.json", "figure.txt", "weights"}
    assert modes(alice.root) - modes(study) == {("folder", 0o2775, LAB)}  # the logs directory is not ours


def test_modes_of_a_command(person: People) -> None:
    alice = person("alice", umask=0o077)
    script = alice.writes("train.sh", "#!/bin/sh\nmkdir $1/made; umask 022; echo 1 > $1/made/by_it; echo RESULT: 0.5\n")
    script.chmod(0o700)
    objective = f'command = "{script} {{trial_dir}}"'
    assert alice.run("submit", alice.sweep(objective=objective), "--wait").code == 0
    assert modes(alice.root / "toy") == SHARED
    assert len(list((alice.root / "toy").rglob("by_it"))) == 2


def test_modes_of_a_snapshot(person: People) -> None:
    """What git knows is opened to the group, whose workers run it; what it does not know may be a secret."""
    alice, bob = person("alice", umask=0o077), person("bob")
    (alice.home / "toys.py").chmod(0o600)
    os.chown(alice.home / "toys.py", alice.uid, alice.uid)
    alice.writes(".env", "TOKEN=1").chmod(0o600)
    alice.writes("notes", "for all").chmod(0o644)
    for words in (["init", "-q"], ["add", "toys.py"]):
        git = ["git", "-C", str(alice.home), *words]
        subprocess.run(git, user=alice.uid, group=alice.uid, extra_groups=[], check=True)
    done = alice.run("submit", alice.sweep(), "--set", "objective.snapshot=true", "--wait")
    assert done.code == 0, done.err
    assert modes(alice.root / "toy") == SHARED | {("file", 0o600, LAB), ("file", 0o644, LAB)}
    assert "the group cannot read .env in the snapshot" in done.err
    (env,) = (alice.root / "toy" / "code").glob("*/.env")
    refused = subprocess.run(["cat", env], user=bob.uid, group=bob.uid, extra_groups=[LAB], check=False)
    assert refused.returncode != 0
    assert bob.run("submit", bob.sweep(study=""), "-n").code == 0
    # nor by what opens a study that was not shared
    assert alice.run("submit", alice.sweep(study=""), "--trials", 3, "--wait").code == 0
    (alice.root / "toy").chmod(0o2750)
    assert alice.run("submit", alice.sweep(), "--trials", 4, "--wait").code == 0
    assert env.stat().st_mode & 0o777 == 0o600
    (copy,) = (alice.root / "toy" / "code").glob("*/toys.py")
    assert subprocess.run(["cat", copy], user=bob.uid, group=bob.uid, extra_groups=[LAB], check=True).returncode == 0


def test_without_shared_the_umask_rules(person: People) -> None:
    alice = person("alice", umask=0o027)
    assert alice.run("submit", alice.sweep(study=""), "--wait").code == 0
    # setgid and group come from the logs directory, as for everything that is made there
    locks = {("file", 0o600, LAB)}  # who may read must not lock
    assert modes(alice.root / "toy") == {("folder", 0o2750, LAB), ("file", 0o640, LAB)} | locks


def test_a_colleague_goes_on_and_collects(person: People) -> None:
    alice, bob = person("alice", umask=0o077), person("bob", umask=0o077)
    assert alice.run("submit", alice.sweep(), "--wait").code == 0
    more = bob.run("submit", bob.sweep(), "--trials", 4, "--wait")
    assert more.code == 0, more.err
    assert "study.trials: 2 -> 4" in more.err
    assert bob.run("worker", "toy").code == 0
    assert "4 of 4 finished" in alice.run("status", "toy").out
    assert alice.run("submit", alice.sweep(), "--trials", 5, "--wait").code == 0
    assert {path.stat().st_uid for path in alice.root.glob("toy/trials/*/*")} == {alice.uid, bob.uid}
    assert modes(alice.root / "toy") == SHARED

    (alice.root / "toy" / "results").mkdir(mode=0o770)
    os.chown(alice.root / "toy" / "results", bob.uid, LAB)
    (alice.root / "toy" / "results").chmod(0o2770)
    assert bob.run("collect", "toy", "-o", alice.root / "toy" / "results" / "all.csv").code == 0
    assert bob.run("collect", "toy", "-o", bob.home / "all.csv").code == 0
    assert (bob.home / "all.csv").read_text().count("COMPLETE") == 5
    assert modes(alice.root / "toy") == SHARED
    assert modes(bob.home / "all.csv") == {("file", 0o600, bob.uid)}


def test_one_without_the_group_is_told_so(person: People) -> None:
    alice, carol = person("alice"), person("carol", groups=())
    assert alice.run("submit", alice.sweep(), "--wait").code == 0
    before = modes(alice.root)
    study = str(alice.root / "toy")
    for argv in [
        ("submit", carol.sweep(), "--trials", 9), ("submit", carol.sweep(), "-n"), ("worker", "toy"), ("status", "toy"),
        ("logs", "toy", "0"), ("collect", "toy"), ("status", study), ("worker", study),
    ]:  # fmt: skip
        ended = carol.run(*argv)
        assert ended.code == 4, (argv, ended.err)
        told = f"error: no permission to look into '{alice.root / 'toy'}' (owner {alice.uid}, group {LAB}, mode 2770)"
        assert (ended.err.startswith(told), ended.err.count("\n")) == (True, 1)
    checked = carol.run("check", carol.sweep())
    assert (checked.code, "warning: study.shared: no permission to look into" in checked.err) == (0, True)
    listed = carol.run("list")
    assert (listed.code, listed.out) == (0, "")
    assert "no permission to look into toy" in listed.err
    assert modes(alice.root) == before


def test_a_colleague_sees_stops_and_takes_over_a_running_trial(person: People) -> None:
    """Cancelled in order: the checkpoint that alice's code made for herself alone is bob's to go on from."""
    alice, bob = person("alice", umask=0o077), person("bob", umask=0o077)
    assert alice.run("submit", alice.sweep(function="long"), "--trials", 1).code == 0
    study = alice.root / "toy"
    until(lambda: list(study.rglob("private")))
    shown = bob.run("status", "toy").out
    assert "1 running" in shown
    assert re.search(r"workers   1: 1 running\n.*running .*trial 0", shown)
    assert "1 worker is already running; none added" in bob.run("submit", bob.sweep(function="long"), "--trials", 1).err
    worker = bob.run("worker", "toy")  # her worker lives: its trial is not for the taking
    assert (worker.code, "the rest is running" in worker.err) == (0, True)

    (study / "CANCELLED").touch()
    os.chown(study / "CANCELLED", bob.uid, LAB)
    until(lambda: "1 waiting" in bob.run("status", "toy").out)
    done = bob.run("submit", bob.sweep(function="long"), "--trials", 1, "--wait")
    assert done.code == 0, done.err
    assert not (study / "CANCELLED").exists()
    assert bob.run("logs", "toy", "0").out == f"from 0600 {alice.uid}\n"
    assert modes(study) == SHARED


def test_a_killed_workers_trial_is_a_colleagues(person: People) -> None:
    """Killed: what her code made for herself alone stays hers; the trial starts over, and says why."""
    alice, bob = person("alice"), person("bob", umask=0o077)
    assert alice.run("submit", alice.sweep(function="long"), "--trials", 1).code == 0
    study = alice.root / "toy"
    until(lambda: list(study.rglob("private")))
    os.kill(int(read_submissions(home_of(alice.root, "toy"))[0].job_ids[0]), signal.SIGKILL)
    until(lambda: "no workers running" in bob.run("status", "toy").out)
    worker = bob.start("worker", "toy")
    until(lambda: list(study.glob("trials/*/*/attempts/2/checkpoint/private")))
    assert modes(study / "workers") == SHARED | {("file", 0o640, LAB)}  # leases are written by their holders only
    worker.send_signal(signal.SIGTERM)
    _, err = worker.communicate(timeout=60)
    assert re.search(r"W cannot copy the checkpoint '.*attempts/1/checkpoint', the trial starts over: .*private", err)
    assert worker.returncode == 0  # preempted
    done = alice.run("submit", alice.sweep(function="long"), "--trials", 1, "--wait")
    assert done.code == 0, done.err
    assert alice.run("logs", "toy", "0").out == f"from 0600 {bob.uid}\n"


def test_where_the_system_hides_the_processes_of_others(person: People, hidden: Callable[[Person], Before]) -> None:
    """``/proc`` with hidepid, as on many clusters: a colleague's worker that cannot be seen is not dead for that."""
    alice, bob = person("alice"), person("bob")
    as_alice, as_bob = hidden(alice), hidden(bob)
    sweep = alice.sweep(function="long", study="shared = true\nlease_s = 2")
    assert alice.run("submit", sweep, "--trials", 1, before=as_alice).code == 0
    study = alice.root / "toy"
    until(lambda: list(study.rglob("private")))
    shown = bob.run("status", "toy", before=as_bob).out
    assert re.search(r"workers   1: 1 running\n.*running .*trial 0", shown), shown
    again = bob.run("submit", bob.sweep(function="long", study="shared = true\nlease_s = 2"), "-n", before=as_bob)
    assert "1 worker is already running" in again.err + again.out
    worker = bob.run("worker", "toy", before=as_bob)
    assert (worker.code, "the rest is running" in worker.err) == (0, True)
    pid = read_submissions(home_of(alice.root, "toy"))[0].job_ids[0]
    subprocess.run([*as_bob[: as_bob.index("setpriv")], "kill", "-9", pid], check=True)
    until(lambda: "no workers running" in bob.run("status", "toy", before=as_bob).out)
    worker_again = bob.start("worker", "toy", before=as_bob)
    until(lambda: list(study.glob("trials/*/*/attempts/2/checkpoint/private")))
    (study / "CANCELLED").touch()
    assert worker_again.wait(timeout=60) == 0


def test_a_colleague_adds_a_budget(person: People) -> None:
    alice, bob = person("alice", umask=0o077), person("bob", umask=0o077)
    budget = '[[budget]]\nname = "{}"\n'
    assert alice.run("submit", alice.sweep(more=budget.format("2M")), "--wait").code == 0
    done = bob.run("submit", bob.sweep(more=budget.format("20M")), "--wait")
    assert done.code == 0, done.err
    assert modes(alice.root / "toy") == SHARED
    assert {path.stat().st_uid for path in (alice.root / "toy").iterdir()} == {alice.uid, bob.uid}


def test_sharing_a_study_that_was_not(person: People) -> None:
    alice, bob = person("alice", umask=0o077), person("bob")
    assert alice.run("submit", alice.sweep(study=""), "--wait").code == 0
    study = alice.root / "toy"
    assert ("file", 0o600, LAB) in modes(study)
    assert bob.run("submit", bob.sweep(), "--trials", 3).code == 4
    (study / "notes").write_text("by root")
    done = alice.run("submit", alice.sweep(), "--wait")
    assert (done.code, "study.shared: False -> True" in done.err) == (0, True), done.err
    assert (study / "notes").stat().st_mode & 0o777 == 0o644  # what is not hers is not touched
    (study / "notes").unlink()
    assert modes(study) == SHARED
    assert bob.run("submit", bob.sweep(), "--trials", 3, "--wait").code == 0

    # and back: what is there stays, new files follow the umask
    assert alice.run("submit", alice.sweep(study=""), "--trials", 4, "--wait").code == 0
    assert modes(study) == SHARED | {("file", 0o600, LAB), ("folder", 0o2700, LAB)}


def test_a_running_worker_learns_that_its_study_is_shared(person: People) -> None:
    alice = person("alice", umask=0o077)
    assert alice.run("submit", alice.sweep(function="until_told", study="")).code == 0
    study = alice.root / "toy"
    until(lambda: list(study.rglob("waits")))
    assert alice.run("submit", alice.sweep(function="until_told")).code == 0
    alice.writes("go", "")
    until(lambda: "2 of 2 finished" in alice.run("status", "toy").out)
    assert modes(study / "trials" / "0000" / "0001") == SHARED


def test_the_group_is_that_of_the_logs_directory(person: People, place: Path) -> None:
    """Without setgid it is given; without being in it one's own group has to do, and that is told before."""
    alice = person("alice")
    alice.root.chmod(0o777)
    told = alice.run("check", alice.sweep())
    assert f"shared        with group {LAB}: {alice.root / 'toy'}" in told.out
    assert alice.run("submit", alice.sweep(), "--wait").code == 0
    assert modes(alice.root / "toy") == SHARED

    carol = person("carol", groups=())
    carol.root = place / "others"
    carol.root.mkdir()
    carol.root.chmod(0o1777)
    warning = (
        f"warning: study.shared: the study will belong to your group '{carol.uid}', because you are not a member of "
        f"'root', the group of '{carol.root}'; to change it: 'chgrp -R GROUP {carol.root / 'toy'}'"
    )
    assert warning in carol.run("check", carol.sweep()).err
    done = carol.run("submit", carol.sweep(), "--wait")
    assert (done.code, warning in done.err) == (0, True)
    assert modes(carol.root / "toy") == {("folder", 0o2770, carol.uid), ("file", 0o660, carol.uid)}
    assert "warning" not in carol.run("check", carol.sweep()).err


def test_a_logs_directory_that_only_its_owner_may_enter_is_told(person: People) -> None:
    alice = person("alice")
    alice.root = alice.home / "logs"
    alice.home.chmod(0o700)
    warning = f"warning: study.shared: only its owner may enter '{alice.home}', so nobody else can use the study"
    assert warning in alice.run("check", alice.sweep()).err
    done = alice.run("submit", alice.sweep(), "--wait")
    assert (done.code, warning in done.err) == (0, True)
    assert modes(alice.root / "toy") == {("folder", 0o2770, alice.uid), ("file", 0o660, alice.uid)}
    assert alice.root.stat().st_mode & 0o7777 == 0o755  # made by us, and not part of the study


def test_modes_that_are_not_to_be_had_are_told_and_fail_nothing(person: People) -> None:
    """The study's directory is an administrator's: not ours to change, as on a file system without such modes."""
    alice = person("alice")
    study = alice.root / "toy"
    study.mkdir()
    os.chown(study, 0, LAB)
    study.chmod(0o775)
    done = alice.run("submit", alice.sweep(), "--wait")
    assert (done.code, done.err.count("cannot set the mode of a shared study (2770, files 0660)")) == (0, 1)

    # not in the group of the directory: chmod drops setgid there, and says nothing
    study = alice.root / "toy2"
    study.mkdir()
    os.chown(study, alice.uid, 0)
    sweep = alice.sweep()
    sweep.write_text(sweep.read_text().replace('"toy"', '"toy2"'))
    done = alice.run("submit", sweep, "--wait")
    assert done.code == 0
    assert f"W cannot set the mode of a shared study (2770, files 0660) on '{study}'" in done.err
    assert f"'{study}' belongs to group 'root', of which you are not a member" in done.err
