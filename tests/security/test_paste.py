"""Lines that a user pastes: whatever a colleague's study holds, they run the trial and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.text.lines import shell_word
from tests.cli.conftest import cli as cli  # a fixture
from tests.cli.conftest import lines_by_hand
from tests.helpers import run_shell, write_program

SHOW = """
import json, os, sys
told = {"argv": sys.argv[1:], "env": {k: v for k, v in os.environ.items() if k.startswith("X")}, "cwd": os.getcwd(),
        "dir": os.environ["HPO_BATCH_TRIAL_DIR"], "params": json.loads(os.environ["HPO_BATCH_PARAMS"])}
print(json.dumps(told), flush=True)
print("RESULT: 1")
"""
EVIL = "a'b\"c$(touch OWNED)`touch OWNED`\\\n)\ntouch OWNED\n( ;&|<>*?~#!{}\t\x1b[2J\u202eé 學"
PLAIN = EVIL.replace("{}", "")
SWEEP = """
[study]
name = "toy"
metric = "score"
direction = "minimize"
trials = 1
[objective]
command = {command}
cwd = {cwd}
env = {env}
[space]
x = {{ low = 0.0, high = 1.0 }}
evil = {evil}
[sampler]
name = "random"
[job]
template = "local"
setup = {setup}
"""


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


@pytest.fixture
def study(cli: Callable[..., object], tmp_path: Path) -> Path:
    place = tmp_path / "-it's $(touch OWNED)"
    place.mkdir()
    (place / "show it.py").write_text(SHOW)
    sweep = tmp_path / "toy.toml"
    env = {"X1": EVIL, "X.2": "dotted", "X3-$(touch OWNED)": EVIL}
    sweep.write_text(
        SWEEP.format(
            command=toml(["python", str(place / "show it.py"), "--a={evil}", "{args}", "--dir={trial_dir}/x", PLAIN]),
            cwd=toml(str(place)), env=toml(env), evil=toml([EVIL]), setup=toml(["true\n: touch OWNED", "true # x"]),
        )
    )  # fmt: skip
    ended = cli("submit", sweep, "--wait")
    assert ended.code == 0, ended  # type: ignore[attr-defined]
    return place


def test_a_command_runs_as_it_ran_and_nothing_else(cli, study: Path, root: Path, tmp_path: Path) -> None:
    first = json.loads((root / "toy/trials/0000/0000/attempts/1/stdout").read_text().splitlines()[0])
    here = tmp_path / "here"
    here.mkdir()
    done = run_shell(lines_by_hand(cli, "toy", "0"), here, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done
    again = json.loads(done.stdout.splitlines()[0])
    for told in (first, again):
        folder = told.pop("dir")
        told["argv"] = [word.replace(folder, "DIR") for word in told["argv"]]
    assert again == first
    assert again["params"]["evil"] == EVIL
    assert not list(tmp_path.rglob("OWNED"))
    assert list(here.iterdir()) == []


def test_the_folder_is_new_each_time(cli, study: Path, tmp_path: Path) -> None:
    """One that is there already may be somebody's, who waits for the checkpoint that is loaded from it."""
    lines = lines_by_hand(cli, "toy", "0")
    found = {run_shell(lines, tmp_path, TMPDIR=str(tmp_path)).stderr.splitlines()[0] for _ in range(2)}
    assert len(found) == 2
    for line in found:
        assert (Path(line.removeprefix("in ")).stat().st_mode & 0o777) == 0o700


def test_nothing_runs_where_the_directory_is_gone(cli, study: Path, tmp_path: Path) -> None:
    lines = lines_by_hand(cli, "toy", "0")
    study.rename(tmp_path / "moved")
    done = run_shell(lines, tmp_path, TMPDIR=str(tmp_path))
    assert done.returncode != 0
    assert done.stdout == ""


def test_a_function_runs_as_it_ran(cli, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def f(trial):\n    print(repr(trial.params['evil']))\n    return 1.0\n")
    sweep = tmp_path / "toy.toml"
    text = SWEEP.format(command="X", cwd=toml(str(tmp_path)), env="{}", evil=toml([EVIL]), setup="[]")
    sweep.write_text(text.replace("command = X", 'function = "mine:f"'))
    assert cli("submit", sweep, "--wait").code == 0
    path = os.environ.get("PYTHONPATH", "")
    done = run_shell(lines_by_hand(cli, "toy", "0"), tmp_path, TMPDIR=str(tmp_path), PYTHONPATH=path)
    assert done.returncode == 0, done
    assert repr(EVIL) in done.stdout
    assert not list(tmp_path.rglob("OWNED"))


@pytest.mark.parametrize("program", ["if", "time", "%1", "exit"])
def test_a_first_word_that_a_shell_reads_in_its_own_way(cli, root: Path, tmp_path: Path, program: str) -> None:
    """What is called so is a program of the PATH for us, and so it is for the shell."""
    bin = tmp_path / "bin"
    bin.mkdir()
    write_program(bin / program, "#!/bin/sh\necho this one\necho 'RESULT: 1'\n")
    sweep = tmp_path / "toy.toml"
    env = {"PATH": f"{bin}:{os.environ['PATH']}"}
    command = [program] if program != "exit" else [str(bin / program)]
    sweep.write_text(
        SWEEP.format(command=toml(command), cwd=toml(str(tmp_path)), env=toml(env), evil="[1]", setup="[]")
    )
    assert cli("submit", sweep, "--wait").code in (0, 1)
    done = run_shell(lines_by_hand(cli, "toy", "0"), tmp_path, TMPDIR=str(tmp_path))
    assert "this one" in done.stdout, (done, lines_by_hand(cli, "toy", "0"))


@pytest.mark.parametrize("text", [EVIL, "", "a", "\n", "'", "\\", "\x01\x7f\x80\x9b", "a\\'\n", "\U0001f600\n"])
def test_one_word_on_one_line(text: str) -> None:
    assert "\n" not in shell_word(text)
    done = subprocess.run(
        ["bash", "-c", f"printf %s {shell_word(text)}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert done.stdout.decode() == text
