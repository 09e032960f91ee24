"""Make the sample study of a format: ``python -m tests.store.make_sample FOLDER``, a folder with sweep and objective.

Runs the sweep as a user does, with workers that are killed and stopped, and writes ``FOLDER/study``. Names of this
machine and its paths are replaced: samples are kept for good.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hpo_batch.processes import boot_id, is_alive
from hpo_batch.records import TrialState
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.store.submissions import read_submissions
from tests.helpers import REPOSITORY
from tests.journal.helpers import read_state

NODE = "n1"
BOOT = "00000000-0000-4000-8000-000000000000"
PATIENCE_S = 60.0


def make(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        project = Path(name).resolve()
        for file in ("sweep.toml", "objective.py"):
            shutil.copy(folder / file, project)
        home = home_of(project / "logs", "sample")
        _submit(project, home, "--workers", "1")
        _submit(project, home, "--workers", "2", "--trials", "9")
        running = read_state(home.journal).by_state[TrialState.RUNNING]
        assert len(running) == 1, "one trial was to be left to a killed worker"
        _make_neutral(home.path, project)
        shutil.rmtree(folder / "study", ignore_errors=True)
        shutil.copytree(home.path, folder / "study")


def _submit(project: Path, home: StudyHome, *options: str) -> None:
    """Submit, and wait until the workers have ended, each in its way."""
    env = {"PATH": os.defpath, "PYTHONPATH": str(REPOSITORY), "SLURMD_NODENAME": NODE, "PYTHONDONTWRITEBYTECODE": "1"}
    words = ["-m", "hpo_batch", "submit", "sweep.toml", "--local", "--root", "logs", *options]
    subprocess.run([sys.executable, *words], cwd=project, env=env, check=True)
    end = time.monotonic() + PATIENCE_S
    while any(is_alive(int(pid)) for pid in read_submissions(home)[-1].job_ids):
        assert time.monotonic() < end, "the workers do not end"
        time.sleep(0.05)


def _make_neutral(study: Path, project: Path) -> None:
    host = socket.gethostname().encode()
    for path in [path for path in study.rglob("*") if path.is_file()]:
        content = path.read_bytes().replace(boot_id().encode(), BOOT.encode())
        content = content.replace(b"host=" + host + b"\n", f"host={NODE}\n".encode())  # in leases
        for place, name in ((project, b"/home/user/project"), (REPOSITORY, b"/home/user/hpo-batch")):
            content = content.replace(os.fsencode(place), name)
        path.write_bytes(content)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
