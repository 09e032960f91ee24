"""``doctor`` runs nothing that lies in the logs directory, where others may write."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

from hpo_batch.doctor import file_system
from hpo_batch.doctor.finding import Level
from hpo_batch.doctor.node_job import Order, script
from hpo_batch.sweep.schema import Job
from tests.doctor.test_nodes import PARTITION

PROGRAMS = ("contention.py", "json.py", "fcntl.py", "hpo_batch.py", "sitecustomize.py", "usercustomize.py", "random.py")


def plant(folder: Path, mark: Path) -> None:
    """What an attacker would put there: programs by all names that might be run, and a question that names one."""
    for name in PROGRAMS:
        (folder / name).write_text(f"open({str(mark)!r}, 'a').write(__name__)\n")
    (folder / "question.json").write_text(json.dumps({"facts": "hpo_batch", "imports": [str(folder)], "times": 1}))


def test_what_is_planted_is_not_run(root: Path, tmp_path: Path) -> None:
    mark, over, planted = tmp_path / "run", threading.Event(), set()

    def attack() -> None:
        while not over.wait(0.001):
            for folder in root.glob(".doctor.*"):
                if folder not in planted and stat.S_IMODE(folder.stat().st_mode) == 0o700:
                    planted.add(folder)
                    plant(folder, mark)

    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        findings = list(file_system.self_test(root))
    finally:
        over.set()
        attacker.join()
    assert planted
    assert not mark.exists()
    about = {finding.about: finding.level for finding in findings}
    assert about["journal"] is Level.FINE, findings
    assert about["locks"] is Level.FINE, findings


def test_the_job_brings_its_program(root: Path, tmp_path: Path) -> None:
    """Run by the shell as SLURM would: with nothing in the folder but what was planted there."""
    mark = tmp_path / "run"
    (folder := root / '.doctor.it\'s "1"').mkdir()
    plant(folder, mark)
    order = Order(
        job=Job(template="t", srun=False), root=root, workdir=tmp_path, paths=(), partitions=(PARTITION,),
        with_gpus=False, start_within_s=1.0,
    )  # fmt: skip
    imports = [path for path in sys.path if path]
    text = script(order, folder, file_system.question(times=3, patience_s=30.0, imports=imports))
    probe = text.partition("# command\n")[0] + re.search(r"^.* 1 & .* && wait \$!$", text, re.MULTILINE)[0]  # type: ignore[index]
    began = time.monotonic()
    done = subprocess.run(["bash", "-c", probe], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [told["done"] for told in file_system.answers(folder)] == [True, True], time.monotonic() - began
    assert not mark.exists()
