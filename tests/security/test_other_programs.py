"""What git is configured to run is not run, and what it keeps for us can be used; what is secret stays so."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.cli.main import run
from hpo_batch.launch.provenance import code_changes, describe_code, snapshot, without_values
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.store.submissions import read_submissions
from hpo_batch.text.secrets import assigns_secret, looks_secret, masked_words
from tests.helpers import write_program
from tests.users.conftest import SWEEP, Person, everybodys_python, person, place  # noqa: F401

SECRET = "hf_0123456789abcdef"


@pytest.fixture
def home(tmp_path: Path) -> StudyHome:
    made = home_of(tmp_path / "logs", "s")
    made.path.mkdir(parents=True)
    return made


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = a\n\temail = a@example.org\n")
    git(folder, "init", "-q")
    files = {
        "train.py": b"a\r\nb\r\nc\r\n" * 9,
        "latin": "größe\n".encode("latin-1") * 9,
        "binary": bytes(range(256)) * 8,
        "sub/deep.py": b"x = 1\n" * 30,
        "with space": b"1\n",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    for name, content in files.items():
        (folder / name).write_bytes(content + content[: len(content) // 2] + content[:3])
    (folder / "sub" / "deep.py").write_bytes(files["sub/deep.py"].replace(b"1", b"2", 1))
    return folder


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout


def marking(path: Path, output: str = "spoilt") -> Path:
    """A program that leaves a mark where it was run."""
    program = path.with_suffix(".sh")
    write_program(program, f"#!/bin/sh\necho \"$@\" >> {path}\necho '{output}'\n")
    return program


CONFIGURED: dict[str, Callable[[Path, Path, Path], object]] = {
    "nothing": lambda code, ran, program: None,
    "diff.external": lambda code, ran, program: git(code, "config", "diff.external", str(program)),
    "textconv": lambda code, ran, program: (
        git(code, "config", "diff.x.textconv", str(program)),
        (code / ".git" / "info" / "attributes").write_text("* diff=x\n"),
    ),
    "diff.x.command": lambda code, ran, program: (
        git(code, "config", "diff.x.command", str(program)),
        (code / ".git" / "info" / "attributes").write_text("* diff=x\n"),
    ),
    "fsmonitor": lambda code, ran, program: git(code, "config", "core.fsmonitor", str(program)),
    "hook": lambda code, ran, program: [
        (code / ".git" / "hooks" / name).write_bytes(program.read_bytes())
        and (code / ".git" / "hooks" / name).chmod(0o755)
        for name in ("post-index-change", "fsmonitor-watchman")
    ],
    "hooksPath": lambda code, ran, program: (
        git(code, "config", "core.hooksPath", str(program.parent / "hooks")),
        (program.parent / "hooks").mkdir(),
        (program.parent / "hooks" / "post-index-change").write_bytes(program.read_bytes()),
        (program.parent / "hooks" / "post-index-change").chmod(0o755),
    ),
    "pager": lambda code, ran, program: git(code, "config", "core.pager", str(program)),
    "noprefix": lambda code, ran, program: git(code, "config", "diff.noprefix", "true"),
    "mnemonicPrefix": lambda code, ran, program: git(code, "config", "diff.mnemonicPrefix", "true"),
    "relative": lambda code, ran, program: git(code, "config", "diff.relative", "true"),
    "color": lambda code, ran, program: git(code, "config", "color.ui", "always"),
    "context": lambda code, ran, program: git(code, "config", "diff.context", "0"),
    "moved": lambda code, ran, program: git(code, "config", "diff.colorMoved", "zebra"),
    "errors": lambda code, ran, program: git(code, "config", "diff.wsErrorHighlight", "all"),
    "order": lambda code, ran, program: git(code, "config", "diff.orderFile", str(program)),
}


@pytest.mark.parametrize("kind", CONFIGURED)
@pytest.mark.parametrize("below", ["", "sub"])
def test_the_patch_applies_and_nothing_was_run(
    home: StudyHome, code: Path, tmp_path: Path, kind: str, below: str
) -> None:
    ran = tmp_path / "ran"
    CONFIGURED[kind](code, ran, marking(ran))
    for path in code.rglob("*.py"):
        os.utime(path, (5, 5))  # the index is refreshed, which hooks are told of
    facts = describe_code(home, "0123", workdir=code / below, argv=["hpo-batch"])
    assert not ran.exists()
    assert facts["changed"] is True
    fresh = tmp_path / "fresh"
    subprocess.run(["git", "clone", "-q", code, fresh], check=True, capture_output=True)
    subprocess.run(["git", "-C", fresh, "apply", str(home.path / facts["diff"])], check=True)
    changed = git(code, "-c", "core.fsmonitor=", "-c", "core.hooksPath=", "ls-files", "-z").split("\0")
    for name in filter(None, changed):
        assert (fresh / name).read_bytes() == (code / name).read_bytes(), name
    assert code_changes(home, facts, workdir=code / below) == []
    (code / "train.py").write_bytes(b"other")
    assert code_changes(home, facts, workdir=code / below) == ["other uncommitted changes"]
    assert not ran.exists()


def test_external_diff_of_the_environment(
    home: StudyHome, code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(marking(tmp_path / "ran")))
    monkeypatch.setenv("GIT_PAGER", str(marking(tmp_path / "ran")))
    assert describe_code(home, "0123", workdir=code, argv=[])["changed"] is True
    assert not (tmp_path / "ran").exists()


def test_a_snapshot_has_links_as_links(home: StudyHome, code: Path, tmp_path: Path) -> None:
    """A tracked link to a private file was copied as the file."""
    (tmp_path / "private").write_text(SECRET)
    (code / "full").symlink_to(tmp_path / "private")
    (code / "sub" / "out").symlink_to("../../private")
    (code / "same").symlink_to("sub/deep.py")
    (code / "folder").symlink_to("sub")
    git(code, "add", "-A")
    copy, private = snapshot(home, "0123", workdir=code)
    assert private == frozenset()
    assert all((copy / name).is_symlink() for name in ("full", "sub/out", "same", "folder"))
    assert (copy / "sub" / "out").resolve() == (code / "sub" / "out").resolve()
    assert (copy / "same").resolve() == copy / "sub" / "deep.py"
    found = [path for path in copy.rglob("*") if not path.is_symlink() and path.is_file()]
    assert not any(SECRET.encode() in path.read_bytes() for path in found)


def test_modes_of_a_snapshot_are_kept(home: StudyHome, code: Path) -> None:
    (code / ".env").write_text(SECRET)
    (code / ".env").chmod(0o600)
    (code / ".gitignore").write_text("ignored\n")
    (code / "ignored").write_text(SECRET)
    copy, private = snapshot(home, "0123", workdir=code)
    assert stat.S_IMODE((copy / ".env").stat().st_mode) == 0o600
    assert private == {copy / ".env", copy / ".gitignore"}
    assert not (copy / "ignored").exists()


@pytest.mark.parametrize(
    "words",
    [
        [f"objective.env.HF_TOKEN={SECRET}"], [f'objective.env.X="{SECRET}"'],
        [f'objective.env={{HF_TOKEN="{SECRET}"}}'],
        [f'"objective"."env".X={SECRET}'], [f" objective . env . X = {SECRET}"], [f"objective.env.X=a\nb={SECRET}"],
        [f'job.setup=["export WANDB_API_KEY={SECRET}"]'], [f"study.storage=postgresql://u:{SECRET}@host/db"],
    ],
)  # fmt: skip
def test_secrets_of_a_command_line_are_not_kept(words: list[str]) -> None:
    for argv in (["submit", "s.toml", "--set", *words], ["submit", *(f"--set={word}" for word in words)]):
        kept = without_values(argv)
        assert SECRET not in repr(kept)
        assert kept[0] == "submit"
        assert len(kept) == len(argv)


def test_what_is_no_secret_is_kept() -> None:
    argv = ["submit", "s.toml", "--set", "study.trials=9", "--set=space.max_tokens=512", "--set", "objective.command=x"]
    argv += ["--set", 'job.setup=["module load cuda"]', "--set", "objective.environment=3"]
    assert without_values(argv) == argv


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        ("HF_TOKEN", True), ("WANDB_API_KEY", True), ("AWS_SECRET_ACCESS_KEY", True), ("PGPASSWORD", True),
        ("GITHUB_PAT", True), ("SENTRY_DSN", True), ("COMET_APIKEY", True), ("AUTH_HEADER", True),
        ("TOKENIZERS_PARALLELISM", False), ("OMP_NUM_THREADS", False), ("PATH", False), ("MAX_TOKENS", False),
        ("AUTHOR", False), ("KEYS", False), ("CUDA_VISIBLE_DEVICES", False),
    ],
)  # fmt: skip
def test_which_names_are_secrets(name: str, is_secret: bool) -> None:
    assert looks_secret(name) is is_secret
    assert assigns_secret(f"module load x\nexport {name}=1") is is_secret


def test_another_user_reads_no_token(person: Callable[..., Person]) -> None:  # noqa: F811
    """Typed on the command line, it stood in three files for everybody to read, and was told at the next change."""
    alice, carol = person("alice"), person("carol", groups=())
    sweep = alice.sweep(study="")
    alice.root.chmod(0o2777)
    done = alice.run("submit", sweep, "--set", f"objective.env.HF_TOKEN={SECRET}", "--wait")
    assert done.code == 0, done.err
    study = alice.root / "toy"
    words = ["grep", "-rl", SECRET, study]
    found = subprocess.run(words, user=carol.uid, group=carol.uid, extra_groups=[], capture_output=True, check=False)
    assert found.stdout == b""
    mine = subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()
    assert [Path(name).name for name in mine] == ["sweep.1.json"]
    assert stat.S_IMODE((study / "sweep.1.json").stat().st_mode) == 0o600
    told = alice.run("submit", sweep, "--set", f"objective.env.HF_TOKEN={SECRET}2", "--trials", 3, "--wait")
    assert "objective.env.HF_TOKEN: *** -> ***" in told.err
    assert SECRET not in told.err + told.out
    # who may read the study still can
    listed = carol.run("list")
    assert "3 of 3" in listed.out
    assert carol.run("collect", "toy", "-o", carol.home / "x.csv").code == 0
    assert carol.run("status", "toy").code == 0
    assert "*" not in json.dumps(read_submissions(home_of(alice.root, "toy"))[0].code["versions"])


@pytest.mark.parametrize(
    "option", ["--api-key={0}", "--hf-token {0}", "-token={0}", "--url=https://me:{0}@host/x", "WANDB_API_KEY={0}"]
)
def test_a_secret_of_the_trials_command_is_for_its_owner(tmp_path: Path, option: str) -> None:
    """It stood in the 0644 result of every attempt, and in a 0644 sweep, if it was the only one there."""
    command = f"sh -c 'echo RESULT: 1.0' {option.format(SECRET)}"
    text = SWEEP.format(study="", objective=f'command = "{command}"', more="")
    (tmp_path / "sweep.toml").write_text(text)
    before = os.umask(0o022)
    try:
        assert run(["submit", str(tmp_path / "sweep.toml"), "--root", str(tmp_path / "logs"), "--wait"]) == 0
    finally:
        os.umask(before)
    study = tmp_path / "logs" / "toy"
    telling = [path for path in study.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in telling} == {
        "sweep.1.json": 0o600,
        "sweep.toml": 0o600,
    }
    assert "RESULT: 1.0" in next(study.rglob("result.json")).read_text()


def test_words_of_a_command_that_are_no_secrets_stay() -> None:
    words = (
        "train",
        "--max-tokens=512",
        "--tokenizer",
        "bert",
        "--author=me",
        "-x",
        "key",
        "PATH=/bin",
        "--keys",
        "a=b",
    )
    assert masked_words(words) == words
    assert masked_words(["--token", "--other", "-token", "t"]) == ("--token", "--other", "-token", "***")


def test_without_secrets_everybody_reads_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "toys.py").write_text("def quick(trial):\n    return trial.params['x']\n")
    text = SWEEP.format(study="", objective='function = "toys:quick"\nenv = { OMP_NUM_THREADS = "1" }', more="")
    (tmp_path / "sweep.toml").write_text(text)
    before = os.umask(0o022)
    try:
        assert run(["submit", "sweep.toml", "--root", str(tmp_path / "logs"), "--wait"]) == 0
    finally:
        os.umask(before)
    for name in ("sweep.1.json", "sweep.toml", "submissions.jsonl"):
        assert stat.S_IMODE((tmp_path / "logs" / "toy" / name).stat().st_mode) == 0o644
