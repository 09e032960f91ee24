"""docs/first-hour.md, typed as it stands: from a bare folder with a script to a report, without a failed trial."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import REPOSITORY, needs, run

TEXT = (REPOSITORY / "docs" / "first-hour.md").read_text()
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Section:
    title: str
    trials: int
    needs: tuple[str, ...] = ()
    forked: bool = True
    """False where the program itself must find the user's function, which none of its folders has"""


SECTIONS = (
    Section(title="A script with argparse", trials=20),
    Section(title="A Hydra application", trials=6, needs=("hydra",)),
    Section(title="A training with Lightning", trials=2, needs=("lightning",)),
    Section(title="A training with Hugging Face", trials=2, needs=("transformers", "accelerate")),
    Section(title="No script yet", trials=12, forked=False),
)


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def write(block: str) -> None:
    first, text = block.split("\n", 1)
    path = Path(first.removeprefix("# file: "))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def edit(block: str) -> None:
    """Apply a diff without line numbers: what it shows of the file must be there once."""
    first, *lines = block.splitlines()
    path = Path(first.removeprefix("--- "))
    old = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
    new = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


def typed(line: str, *, forked: bool) -> str:
    """The output of a command of ours, which must end well.

    Args:
        forked: not from the program that users start, which takes a second for its imports.
    """
    words = shlex.split(line.removeprefix("$ "))
    assert words[0] == "hpo-batch"
    env = {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    if forked:
        ended = run(*words[1:], cwd=Path.cwd(), env={**env, "PYTHONPATH": ""})
        code, out, err = ended.code, ended.out, ended.err
    else:
        argv = [str(Path(sys.executable).with_name("hpo-batch")), *words[1:]]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **env})
        code, out, err = done.returncode, done.stdout, done.stderr
    assert code == 0, f"{line}\n{out}{err}"
    return out


@pytest.mark.timeout(400)  # dozens of processes that import torch, on a machine that does much else
@pytest.mark.parametrize("one", SECTIONS, ids=lambda one: one.title)
def test_what_the_page_says_ends_with_a_report(
    one: Section, no_slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(*one.needs)
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    commands = []
    for language, block in BLOCK.findall(section(one.title)):
        if language in ("python", "yaml"):
            write(block)
        elif language == "diff":
            edit(block)
        elif language == "console":
            for line in block.splitlines():
                commands.append(line.split()[2])
                typed(line, forked=one.forked)
    for line in re.findall(r"`(printed = [^`]+)`", section(one.title)):
        assert line in Path("sweep.toml").read_text().splitlines()
    assert commands == ["init", "check", "submit", "status", "report"]
    counts = json.loads(typed("$ hpo-batch status --json", forked=one.forked))[0]["trials"]
    assert (counts["complete"] + counts["pruned"], counts["failed"]) == (one.trials, 0)
    (report,) = Path("logs").rglob("report.html")
    assert report.stat().st_size > 10_000


def test_every_section_is_typed() -> None:
    titles = re.findall(r"^## (.*)$", TEXT, flags=re.MULTILINE)
    assert titles == [*(one.title for one in SECTIONS), "What init does"]
