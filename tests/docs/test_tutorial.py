"""The tutorial's commands, typed one after the other: a whole loop with real trainings on this machine.

docs/tutorial.md is the only source: its commands are what runs here, and what it shows of their output is compared.
Numbers differ from machine to machine; a line without any must be printed as it stands in the tutorial.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from hpo_batch.cli.main import run
from hpo_batch.errors import Exit
from tests import forked
from tests.helpers import REPOSITORY

TUTORIAL = REPOSITORY / "docs" / "tutorial.md"


def steps() -> list[tuple[str, list[str]]]:
    """Each command of the tutorial with the lines that are shown below it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", TUTORIAL.read_text(), flags=re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            else:
                found[-1][1].append(line)
    return found


def words_of(text: str) -> list[str]:
    """Lines without numbers, with single spaces: the same on every machine."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if re.search("[a-z]", line) and not re.search(r"\d", line)]


@pytest.mark.timeout(900)  # 35 small trainings by real workers, one after the other
def test_the_whole_loop_as_the_tutorial_types_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_BATCH_ROOT", raising=False)
    forked.workers(monkeypatch, "torch", "pandas")
    (tmp_path / "logs").mkdir()
    typed = [shlex.split(command) for command, _ in steps()]
    verbs = [argv[1] for argv in typed]
    loop = ["submit", "report", "refine", "submit", "confirm", "submit", "report", "ledger"]
    assert [verb for verb in verbs if verb in loop] == loop
    for argv, (command, shown) in zip(typed, steps(), strict=True):
        assert argv[0] == "hpo-batch"
        code = run(argv[1:])
        captured = capsys.readouterr()
        assert code == Exit.OK, (command, captured.err)
        printed = words_of((captured.out + captured.err).replace(str(tmp_path), "/home/me"))
        missing = [line for line in words_of("\n".join(shown)) if line not in printed]
        assert missing == [], command
    check_files(tmp_path)


def check_files(folder: Path) -> None:
    """What the loop has left: three studies, in which every planned trial has finished, and their predictions."""
    logs = folder / "logs"
    assert {path.name for path in logs.iterdir() if path.is_dir() and not path.name.startswith(".")} == {
        "quickstart", "quickstart-v2", "quickstart-v2-confirm",
    }  # fmt: skip
    for name, sweep in (("quickstart-v2", "second"), ("quickstart-v2-confirm", "third")):
        kept = (logs / name / "decisions.json").read_bytes()
        assert kept == (folder / f"{sweep}.decisions.json").read_bytes()
        report = json.loads(capture_report(folder, name))
        ledger = report["studies"][0]["ledger"]
        assert ledger["why"] == ""
        assert all(one["why"] == "" for one in ledger["predictions"])
        assert ledger["predictions"]


def capture_report(folder: Path, study: str) -> str:
    assert run(["report", study, "-o", str(folder / f"report-{study}")]) == Exit.OK
    return (folder / f"report-{study}" / "report.json").read_text()
