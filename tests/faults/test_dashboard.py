"""optuna-dashboard, really serving the journal of a study and writing notes into it, while workers run."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.records import TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.study.study import Study
from tests.journal.helpers import assert_read_as_optuna_reads
from tests.processes import answer, start
from tests.study.helpers import complete, make, owner, plain, state_of

TRIALS = 80
START_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    url: str

    def ask(self, path: str, **body: Any) -> Any:
        """GET, or PUT with a body."""
        data = json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(
            f"{self.url}{path}", data=data, headers=headers, method="PUT" if body else "GET"
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read()
        return json.loads(text) if text else None


@pytest.fixture
def home(root: Path) -> StudyHome:
    return make(root, study=f"trials = {TRIALS}")


@pytest.fixture
def dashboard(home: StudyHome, tmp_path: Path) -> Iterator[Dashboard]:
    program = Path(sys.executable).with_name("optuna-dashboard")
    if not program.exists() and shutil.which("optuna-dashboard") is None:
        pytest.skip("needs optuna-dashboard, which is among the development packages")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "dashboard.log"
    command = [program, home.journal, "--port", str(port), "--server", "wsgiref"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        found = Dashboard(url=f"http://127.0.0.1:{port}/api")
        end = time.monotonic() + START_S
        while True:
            try:
                found.ask("/studies")
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
        yield found
        assert process.poll() is None, log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.kill()
        process.wait()


def works(home: StudyHome, index: int) -> int:
    done = 0
    with Study.open(home, owner(index)) as study:
        while isinstance(given := study.claim(), tuple):
            claim = given[0]
            study.open_attempt(claim)
            for step in range(4):
                time.sleep(0.03)
                study.reports.add(claim, step, {"loss": 1.0 / (step + 1)})
            study.tell(claim, complete(claim))
            done += 1
    return done


def test_the_dashboard_reads_and_writes_a_journal_while_workers_run(home: StudyHome, dashboard: Dashboard) -> None:
    (study,) = dashboard.ask("/studies")["study_summaries"]
    assert (study["study_id"], study["study_name"]) == (0, "s")
    workers = [start(works, home, i) for i in range(4)]
    notes, trial_notes, seen = 0, 0, 0
    while any(process.is_alive() for process, _ in workers):
        # within our appends: each note is two locked appends of plain Optuna's
        notes += 1
        dashboard.ask("/studies/0/note", version=notes, body=f"Note {notes} of the *study*")
        details = dashboard.ask("/studies/0?after=0")
        assert len(details["trials"]) >= seen
        seen = len(details["trials"])
        if state_of(home).trials:
            trial_notes += 1
            dashboard.ask("/studies/0/0/note", version=trial_notes, body=f"note {trial_notes} of trial 0")
    assert sum(answer(process, pipe) for process, pipe in workers) == TRIALS
    assert min(notes, trial_notes) >= 3, "the dashboard was to write while workers run"

    assert seen > 0
    end = time.monotonic() + 20  # it keeps what it has read for two seconds
    while len((details := dashboard.ask("/studies/0?after=0"))["trials"]) < TRIALS or not _all_ended(details):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert len(details["trials"]) == TRIALS
    assert {trial["state"] for trial in details["trials"]} == {"Complete"}
    assert all(len(trial["intermediate_values"]) == 4 for trial in details["trials"])
    assert details["note"] == {"version": notes, "body": f"Note {notes} of the *study*"}

    state = state_of(home)
    assert (state.counts().complete, len(state.trials)) == (TRIALS, TRIALS)
    assert len({trial.key for trial in state.trials}) == TRIALS
    assert all(trial.state is TrialState.COMPLETE for trial in state.trials)
    for line in home.journal.read_bytes().splitlines():
        assert isinstance(json.loads(line), dict)
    optuna_study = plain(home)
    for attrs in (state.attrs, optuna_study._storage.get_study_system_attrs(optuna_study._study_id)):
        assert attrs["dashboard:note_ver"] == notes
        assert attrs["dashboard:note_str:0"] == f"Note {notes} of the *study*"
        assert attrs["dashboard:0:note_str:0"] == f"note {trial_notes} of trial 0"
    assert_read_as_optuna_reads(home.journal)


def _all_ended(details: Any) -> bool:
    return not any(trial["state"] in ("Running", "Waiting") for trial in details["trials"])
