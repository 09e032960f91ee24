"""Submitting the toys of this folder, and reading what became of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from hpo_batch.cli.main import run
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.store.submissions import read_submissions

SWEEP = """
[study]
name = "toy"
metric = "score"
direction = "minimize"
{study}

[objective]
function = "tests.slurm.toys:{function}"

[space]
{space}

[sampler]
{sampler}

[job]
template = "cpu"
cpus = 1
{job}
{more}
"""

Submit = Callable[..., tuple[StudyHome, str]]


def submit_toy(folder: Path, root: Path, function: str, **text: str) -> tuple[StudyHome, str]:
    """The study and the id of its array."""
    tables = {"study": "trials = 1", "space": "x = { low = 0.0, high = 1.0 }", "sampler": 'name = "random"', "job": ""}
    path = folder / "toy.toml"
    path.write_text(SWEEP.format(**{"function": function, "more": "", **tables, **text}))
    assert run(["submit", str(path), "--root", str(root)]) == 0
    home = home_of(root, "toy")
    (job,) = read_submissions(home)[-1].job_ids
    return home, job


def log_of(home: StudyHome) -> str:
    """What the workers said, of all tasks and runs."""
    return "".join(path.read_text() for path in sorted(home.slurm.glob("*_log.err")))


def steps(home: StudyHome, number: int, attempt: int) -> list[int]:
    """The steps that an attempt reported, in its order."""
    path = home.attempt(number, attempt) / "metrics.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []
