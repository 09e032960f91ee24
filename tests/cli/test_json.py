"""``--json`` of every command that reads or starts workers: one document on stdout, whose keys docs/json.md names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from hpo_batch.cli.main import SECTIONS
from hpo_batch.cli.main import cli as commands
from hpo_batch.errors import Exit
from hpo_batch.objective.function import captured
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.store.submissions import read_submissions
from hpo_batch.study.study import Study
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.tables import keys_of, tables_in
from tests.cli.conftest import Cli
from tests.helpers import REPOSITORY
from tests.study.helpers import claimed, complete, make, owner

TEXT = (REPOSITORY / "docs" / "json.md").read_text()
WRITING = {
    "init", "submit", "resume", "retry", "cancel", "rm", "worker", "dashboard", "refine", "confirm", "transfer",
    "propose", "import",
}  # fmt: skip
READING = {name for section in SECTIONS.values() for name in section} - WRITING
STARTING = {"submit", "resume"}


BUDGETS = """
[[budget]]
name = "small"
space.kind = "a"

[[budget]]
name = "large"
space.kind = "b"
"""


def documented(section: str) -> set[str]:
    text = TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE))


def keys(value: Any, prefix: str = "") -> set[str]:
    """All keys in the notation of the page: ``studies[].study``."""
    if isinstance(value, list):
        return set().union(*(keys(one, f"{prefix}[]") for one in value))
    if not isinstance(value, dict):
        return set()
    dot = "." if prefix else ""
    return set().union(*({f"{prefix}{dot}{name}"} | keys(one, f"{prefix}{dot}{name}") for name, one in value.items()))


@pytest.fixture
def study(root: Path) -> StudyHome:
    """A trial that printed something in two files, and one that printed nothing."""
    home = make(root)
    with Study.open(home, owner()) as study:
        for text in ("\x1b[31mepoch 1\x1b[0m\n", ""):
            claim = claimed(study)
            with captured(study.open_attempt(claim)):
                print(text, end="", flush=True)
            study.tell(claim, complete(claim))
    return home


def test_every_command_that_reads_or_starts_has_it_and_stands_on_the_page() -> None:
    with click.Context(commands) as context:
        for name in READING | STARTING:
            command = commands.get_command(context, name)
            assert command is not None
            assert any("--json" in parameter.opts for parameter in command.params), name
    table = TEXT.split("|---|---|---|\n")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)[^`]*--json`", table)) == READING | STARTING


@pytest.mark.parametrize(
    "words",
    [("status",), ("list",), ("list", "--tree"), ("explain", "s", "0"), ("logs", "s", "0-1"), ("collect", "s"),
     ("report", "s"), ("compare", "s", "s"), ("ledger", "s")],
    ids=" ".join,
)  # fmt: skip
def test_stdout_is_one_document(cli: Cli, study: StudyHome, words: tuple[str, ...]) -> None:
    before = sorted(study.path.rglob("*"))
    ended = cli(*words, "--json")
    assert ended.code == Exit.OK, ended.err
    assert json.loads(ended.out)
    assert sorted(study.path.rglob("*")) == before


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize("words", [("status", "t"), ("explain", "t", "0"), ("logs", "s", "9"), ("collect", "t")])
def test_an_error_leaves_stdout_empty(cli: Cli, words: tuple[str, ...]) -> None:
    ended = cli(*words, "--json")
    assert (ended.code, ended.out) == (Exit.BAD_INPUT, "")
    assert ended.err.startswith("error: ")


def test_json_is_a_format_and_cannot_be_another_one(cli: Cli, study: StudyHome) -> None:
    assert cli("collect", "s", "--json").out == cli("collect", "s", "--format", "json").out
    refused = cli("collect", "s", "--json", "--format", "csv")
    assert (refused.code, refused.out) == (Exit.BAD_INPUT, "")
    assert "--json is --format json, not csv: leave one out" in refused.err
    refused = cli("report", "s", "--json", "-o", "report")
    assert (refused.code, refused.out) == (Exit.BAD_INPUT, "")


def test_logs(cli: Cli, study: StudyHome) -> None:
    printed, silent = json.loads(cli("logs", "s", "0-1", "--json").out)
    assert printed["output"] == [{"path": str(study.attempt(0, 1) / "stdout"), "text": "epoch 1\n"}]
    assert "COMPLETE" in printed["notes"][0]
    assert silent["output"] == []
    assert keys([printed, silent]) == {f"[].{key}" for key in documented("logs")}
    assert cli("logs", "s", "0", "--json", "-f").code == Exit.BAD_INPUT


def test_check(cli: Cli, write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    path = write_sweep(trials=6)
    ended = cli("check", path, "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["exit_code"], found["errors"]) == (Exit.OK, 0, [])
    (study,) = found["studies"]
    assert (study["study"], study["trials"], study["searched"], study["fixed"]) == ("toy", 6, ["x", "n"], ["kind"])
    assert keys(found) == documented("check")

    path.write_text(path.read_text().replace("trials = 6", "trails = 6").replace("low = 0.0", "low = 2.0"))
    ended = cli("check", path, "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["exit_code"], found["studies"]) == (Exit.BAD_INPUT, 2, [])
    assert any("did you mean 'trials'" in error for error in found["errors"])
    assert len(found["errors"]) == 3  # as many as without --json
    assert cli("check", path).err.count("error: ") == 3


def test_whatever_check_finds_is_in_its_json(cli: Cli, write_sweep: Callable[..., Path]) -> None:
    path = write_sweep(trials=6)
    path.write_text(path.read_text().replace("trials = 6", 'trials = 6\nimport = ["absent"]'))
    for given, said in ((path, "no study 'absent'"), (path.with_name("other.toml"), "no sweep file")):
        ended = cli("check", given, "--json")
        found = json.loads(ended.out)
        assert (ended.code, found["exit_code"], found["studies"]) == (Exit.BAD_INPUT, 2, [])
        assert said in found["errors"][0]


def test_what_submit_refuses_is_an_error_of_its_study(cli: Cli, write_sweep: Callable[..., Path]) -> None:
    ended = cli("check", write_sweep("absent"), "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["exit_code"]) == (Exit.BAD_INPUT, 2)
    assert found["errors"] == found["studies"][0]["errors"] != []


def test_the_schema(cli: Cli) -> None:
    found = json.loads(cli("check", "--schema", "--json").out)
    named = {(one["table"], one["name"]) for one in found}
    for key in keys_of(Sweep):
        for table in tables_in(key.annotation):
            brackets = "[[trial]]" if key.name == "trial" else f"[{key.name}]"
            assert {(brackets, inner.name) for inner in keys_of(table)} <= named or key.name == "budget"
    assert all(f"`{key}`" in TEXT for key in found[0])
    assert ("[space]", "") in named


def started(cli: Cli, *words: object) -> dict[str, Any]:
    ended = cli(*words, "--json")
    assert ended.code == Exit.OK, ended.err
    found = json.loads(ended.out)
    assert keys(found) == {"[].trials"} | {f"[].{key}" for key in documented("submit")}
    (one,) = found
    return dict(one)


def test_submit_and_resume(cli: Cli, write_sweep: Callable[..., Path], root: Path) -> None:
    path = write_sweep(trials=2)
    planned = started(cli, "submit", path, "-n")
    assert (planned["dry_run"], planned["workers"], planned["job_ids"], planned["trials"]["remaining"]) == (
        True, 1, [], 2,
    )  # fmt: skip
    assert not (root / "toy").exists()
    first = started(cli, "submit", path, "--wait")
    (submission,) = read_submissions(home_of(root, "toy"))
    assert first["job_ids"] == list(submission.job_ids)
    assert (first["workers"], first["scheduler"], first["path"]) == (1, "local", str(root / "toy"))
    again = started(cli, "resume", "toy")
    assert (again["workers"], again["job_ids"]) == (0, [])
    assert again["trials"] == {"finished": 2, "remaining": 0}


def test_json_of_a_dry_run_has_the_scripts_and_what_is_refused(cli: Cli, write_sweep: Callable[..., Path]) -> None:
    path = write_sweep(more='[job.sbatch]\ncomment = "x"\n')
    path.write_text(path.read_text().replace('template = "local"', 'template = "cpu"'))
    ended = cli("submit", path, "-n", "--json")
    (planned,) = json.loads(ended.out)
    assert any("#SBATCH --comment=x" in text for text in planned["lines"])
    assert (planned["scheduler"], planned["error"]) == ("slurm", None)


def test_json_of_several_budgets_tells_which_was_refused(
    cli: Cli, write_sweep: Callable[..., Path], root: Path
) -> None:
    path = write_sweep(trials=1, more=BUDGETS)
    assert cli("submit", path, "--wait").code == Exit.OK
    path.write_text(path.read_text().replace('direction = "minimize"', 'direction = "maximize"'))
    ended = cli("submit", path, "-n", "--json")
    found = json.loads(ended.out)
    assert ended.code == Exit.BAD_INPUT
    assert [one["study"] for one in found] == ["toy/small", "toy/large"]
    assert all("direction" in one["error"] for one in found)
