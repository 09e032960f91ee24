"""``cancel`` signals the workers of the study that is meant, and nobody else a file may name."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpo_batch import processes
from hpo_batch.journal import locks
from hpo_batch.store import leases
from hpo_batch.store.home import home_of
from tests.cli.conftest import Cli
from tests.cli.conftest import cli as cli
from tests.cli.conftest import write_sweep as write_sweep
from tests.cli.test_lifecycle import alive, pids, state_of
from tests.users.conftest import PYTHON_ENV, Before, Person, until

People = Callable[..., Person]
WRITE_CARD = """
import json, sys
from hpo_batch import processes
path, pid, start = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
facts = {"worker": "x", "job": "local", "gpus": [], "submission": "", **processes.identity(), "pid": pid}
facts["start"] = start or processes.started_at(pid if processes.is_number(pid) else 1)
open(path, "w").write(json.dumps(facts))
"""


@pytest.fixture(autouse=True)
def _no_worker_outlives_its_test(root: Path) -> Iterator[None]:
    yield
    for path in root.glob("*/submissions.jsonl"):
        for pid in pids(root, path.parent.name):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_a_copy_of_a_study_ends_nobody(cli: Cli, write_sweep, root: Path) -> None:
    """It has the cards, the submissions and the logs of the workers that are at the original."""
    assert cli("submit", write_sweep("sleeps", trials=2, workers=2)).code == 0
    until(lambda: state_of(home_of(root, "toy")).counts().running == 2)
    shutil.copytree(root / "toy", root / "copy")
    ended = cli("cancel", "copy")
    assert ended.code == 0, ended.err
    assert "local workers ended" not in ended.err
    assert ended.err.count("cannot be ended from here") == 2
    assert all(alive(pid) for pid in pids(root))
    # nor does one whose files are the original's by links
    shutil.rmtree(root / "copy" / "workers")
    (root / "copy" / "workers").symlink_to(root / "toy" / "workers")
    assert cli("cancel", "copy").code == 0
    assert all(alive(pid) for pid in pids(root))
    (root / "copy" / "workers").unlink()
    (root / "copy" / "workers").mkdir()
    for card in (root / "toy" / "workers").glob("*.json"):
        (root / "copy" / "workers" / card.name).hardlink_to(card)
    assert cli("cancel", "copy").code == 0
    assert all(alive(pid) for pid in pids(root))
    shutil.rmtree(root / "copy")

    (root / "toy").rename(root / "moved")  # while its own workers are found wherever it lies
    ended = cli("cancel", "moved")
    assert "local workers ended" in ended.err, ended.err
    assert not any(alive(pid) for pid in pids(root))


NAMED = ("-1", "0", "1", "victim", "-victim", "victim later", '"self"', "true", "4194304000000")


def test_a_study_of_a_stranger_ends_nobody(person: People, hidden: Callable[[Person], Before]) -> None:
    alice, mallory = person("alice"), person("mallory", groups=(31002,))
    mallory.root = alice.root = mallory.home / "logs"
    alone = mallory.run("submit", mallory.sweep(study=""), "--wait")
    assert alone.code == 0, alone.err
    before = hidden(alice)
    victims = [
        subprocess.Popen([*before, "sh", "-c", "echo $$; exec sleep 60"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        inside = int(victims[0].stdout.readline())  # type: ignore[union-attr]
        victims[1].stdout.readline()  # type: ignore[union-attr]
        for folder, _, files in os.walk(mallory.root):
            os.chmod(folder, 0o777)  # noqa: PTH101
            for name in files:
                os.chmod(Path(folder, name), 0o666)  # noqa: PTH101
        card = mallory.root / "toy" / "workers" / "x.json"
        for pid in NAMED:
            number, _, later = pid.replace("victim", str(inside)).partition(" ")
            words = [*before[:4], alice.python, "-B", "-c", WRITE_CARD, str(card), number, "77" if later else "0"]
            subprocess.run(words, env=PYTHON_ENV, check=True)
            ended = alice.run("cancel", "toy", "-y", before=before)
            assert ended.code == 0, ended.err
            assert "local workers" not in ended.err
            assert [victim.poll() for victim in victims] == [None, None], pid
    finally:
        for victim in victims:
            victim.kill()
            victim.stdout.close()  # type: ignore[union-attr]  # what it started ends with its namespace
            victim.wait()


@pytest.mark.parametrize("pid", [-1, 0, -5, True, "self", "1/../self", 1 << 40, None, 1.5])
def test_what_is_no_number_of_a_process_is_dead_and_gets_no_signal(
    monkeypatch: pytest.MonkeyPatch, pid: object
) -> None:
    monkeypatch.setattr(os, "kill", lambda *args: pytest.fail(f"kill{args}"))
    assert processes.is_dead_here({**processes.identity(), "pid": pid}) is True
    assert processes.prove(pid, holds=[Path(__file__)]) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("has_pidfds", [True, False])
def test_a_process_is_proven_by_what_it_has_open(
    tmp_path: Path, has_pidfds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_pidfds:  # before Linux 5.3
        monkeypatch.delattr(os, "pidfd_open")
    card = tmp_path / "card"
    card.touch()
    with card.open("w") as file:
        writer = subprocess.Popen(["sleep", "100"], stdout=file)
    with card.open() as file:
        reader = subprocess.Popen(["sleep", "100"], stdin=file)
    try:
        start = processes.started_at(writer.pid)
        assert processes.prove(reader.pid, holds=[card]) is None
        assert processes.prove(writer.pid, holds=[card], start=start + 1) is None
        found = processes.prove(writer.pid, holds=[card], start=start)
        assert found is not None
        assert found.is_alive
        found.kill_family()
        writer.wait(10)
        assert not found.is_alive
        assert not found.send(15)
        assert reader.poll() is None
    finally:
        for process in (writer, reader):
            process.kill()
            process.wait()


@pytest.mark.parametrize("worker", ["../outside/x", "/etc/x", ".", "..", "a/b", "a\nb", ""])
def test_the_names_of_dead_workers_lead_nowhere_else(tmp_path: Path, worker: str) -> None:
    """They are read from the journal, which may be anybody's."""
    folder, outside = tmp_path / "workers", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "a").mkdir()
    kept = [outside / "x.json", outside / "x.lease", folder / "a" / "b.json", folder / ".json"]
    for path in kept:
        path.write_text(json.dumps({}))
    leases.remove_dead(folder, {**processes.identity(), "worker": worker})
    assert all(path.exists() for path in kept)


def test_the_numbers_of_dead_workers_are_no_patterns(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with locks.journal_lock(journal):
        (card,) = tmp_path.glob(".journal.jsonl.lock.*")
        for pid in ("*", f"{os.getpid()}", "?" * len(str(os.getpid()))):
            locks.remove_cards(journal, {**processes.identity(), "pid": pid})
        assert card.exists()
