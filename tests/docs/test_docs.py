"""Documents say what the code does: their examples run, their links lead somewhere, nothing is left undocumented."""

from __future__ import annotations

import ast
import json
import re
import shlex
import types
from pathlib import Path
from typing import Any

import click
import pytest
import tomli
import tomlkit

from hpo_batch.cli.main import SECTIONS, cli
from hpo_batch.errors import Exit
from hpo_batch.objective.function import FunctionObjective
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.trial import Trial, TrialContext
from hpo_batch.objective.variables import VARIABLES
from hpo_batch.records import Complete, Reason, Verdict
from hpo_batch.sweep.load import load
from hpo_batch.sweep.schema import Failures, Sweep
from hpo_batch.sweep.tables import keys_of, meanings, tables_in
from tests.helpers import REPOSITORY

DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
README = (REPOSITORY / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), target


def test_the_readme_shows_the_quickstart_as_it_is() -> None:
    (shown,) = blocks(README, "toml")
    assert shown == (REPOSITORY / "configs" / "quickstart.toml").read_text()


def test_the_readme_function_runs(tmp_path: Path) -> None:
    (source,) = blocks(README, "python")
    module = types.ModuleType("readme_example")
    exec(compile(source, "README.md", "exec"), module.__dict__)

    class Engine:
        def take_report(self, step: int, metrics: object) -> Verdict:
            return Verdict.CONTINUE

        def stopping(self) -> None:
            return None

    context = TrialContext(
        number=0, attempt=1, params={"width": 8, "lr": 0.02}, seed=1, dir=tmp_path, checkpoint=tmp_path
    )
    trial = Trial(context, Engine())
    objective = FunctionObjective(function=module.train, wanted=Wanted.parse(("accuracy",), {}))
    outcome = objective.run(trial)
    assert isinstance(outcome, Complete)
    assert outcome.values == (pytest.approx(1 - 1 / 80 - 0.01),)


def commands_of(document: Path) -> list[list[str]]:
    """Those of console blocks, and those that stand alone in the cell of a table."""
    text = document.read_text()
    lines = [line for block in blocks(text, "console") for line in block.splitlines()]
    lines += [f"$ {line}" for line in re.findall(r"\| `(hpo-batch [a-z][^`|]*)` \|", text)]
    typed = [line.removeprefix("$ ").partition(" | ")[0] for line in lines if line.startswith("$ hpo-batch")]
    return [shlex.split(line, comments=True) for line in typed]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_commands_are_understood(document: Path) -> None:
    """Parsed to the end by click: no unknown command or option. What they do is tested with the commands."""
    if document.name in ("README.md", "tasks.md"):
        assert len(commands_of(document)) > {"README.md": 8, "tasks.md": 40}[document.name]
    for argv in commands_of(document):
        with click.Context(cli) as context:
            command = cli.get_command(context, argv[1])
            assert command is not None, argv
            command.make_context(argv[1], argv[2:], parent=context)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_blocks_are_of_the_language_that_they_say(document: Path) -> None:
    """What they do is tested where a test of the page runs them."""
    text = document.read_text()
    for block in blocks(text, "toml"):
        tomli.loads(block)
    for block in blocks(text, "python"):
        ast.parse(block)
    for block in blocks(text, "json"):
        json.loads(block)


def test_the_readme_is_short_and_shows_its_pictures() -> None:
    assert len(README.splitlines()) < 150
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", README)
    assert [Path(path).suffix for _, path in pictures] == [".png", ".svg"]
    for alt, path in pictures:
        assert len(alt) > 40  # what a screen reader reads
        assert (REPOSITORY / path).stat().st_size < 200_000
    assert "http" not in re.sub("http://www.w3.org/2000/svg|https://www.textualize.io", "", svg(pictures[1][1]))


def svg(path: str) -> str:
    return (REPOSITORY / path).read_text()


def test_every_task_has_its_command_on_one_page() -> None:
    argvs = commands_of(REPOSITORY / "docs" / "tasks.md")
    assert {argv[1] for argv in argvs} == {name for section in SECTIONS.values() for name in section} - {"worker"}


def test_every_test_that_a_promise_names_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)`", (REPOSITORY / "docs" / "promises.md").read_text())
    assert len(named) > 30
    assert [name for name in named if not (REPOSITORY / "tests" / name).exists()] == []


def test_every_how_to_that_was_asked_for_is_there() -> None:
    """Headings are what people search for; each has lines to copy."""
    text = (REPOSITORY / "docs" / "how-to.md").read_text()
    sections = {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}
    asked = (
        "preemptible", "time limit", "several trials on one GPU", "GPUs or nodes", "container", "without internet",
        "shared file system", "inode quota", "Hydra", "Lightning", "Hugging Face", "JAX", "shell script",
    )  # fmt: skip
    for words in asked:
        (found,) = [part for heading, part in sections.items() if words in heading]
        assert "```" in found, words


def test_make_targets_of_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))
    for document in DOCUMENTS:
        used = set(re.findall(r"(?:`|\$ )make ([a-z-]+)", document.read_text()))
        assert used <= targets, document


def test_the_example_of_the_reference_loads(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "sweep-toml.md").read_text()
    path = tmp_path / "example.toml"
    path.write_text("".join(blocks(text, "toml")))  # the later ones are tables of the same sweep
    (sweep,) = load(path)
    assert len(sweep.space.searched) == 10
    assert sweep.failures.stall == 3600


def test_every_reason_stands_in_the_reference_with_its_default() -> None:
    text = (REPOSITORY / "docs" / "sweep-toml.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| .* \| (\w+) \|$", text, flags=re.MULTILINE))
    assert told == {reason.value: Failures().policy(reason) for reason in Reason}


def test_every_key_of_the_toml_has_a_meaning() -> None:
    for key in keys_of(Sweep):
        tables = tables_in(key.annotation)
        assert tables or meanings(Sweep).get(key.attribute) or key.name == "budget", key.name
        for table in tables:
            for inner in keys_of(table):
                assert meanings(table).get(inner.attribute), (key.name, inner.name)


def test_every_exit_code_stands_in_the_reference() -> None:
    text = (REPOSITORY / "docs" / "sweep-toml.md").read_text().split("\n## Exit codes\n")[1].split("\n## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)] == [int(e) for e in Exit]


def glossary() -> set[str]:
    text = (REPOSITORY / "docs" / "glossary.md").read_text()
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
    return {word.strip().lower() for cell in cells for word in re.split(r",|\(", cell)}


def test_the_glossary_has_the_words_of_the_arguments() -> None:
    """STUDY, TRIAL, SOURCE, SWEEP: what ``--help`` writes in capitals and a newcomer has to know."""
    words = glossary()
    assert len(words) > 70
    plain = {"dir", "file", "folder", "other", "sbatch_options"}
    with click.Context(cli) as context:
        for name in (name for section in SECTIONS.values() for name in section):
            command = cli.get_command(context, name)
            assert command is not None
            for parameter in command.params:
                if isinstance(parameter, click.Argument):
                    usage = parameter.make_metavar(context).lower()
                    assert set(re.findall(r"\w+", usage)) - plain <= words, (name, usage)


def test_the_glossary_has_each_word_once() -> None:
    text = (REPOSITORY / "docs" / "glossary.md").read_text()
    cells = [line.split("|")[1].strip() for line in text.splitlines() if re.match(r"\| (?!word)", line)]
    assert sorted(cells) == sorted(set(cells))


def test_every_command_has_its_help_and_stands_in_the_overview() -> None:
    modules = {path.stem for path in (REPOSITORY / "hpo_batch" / "cli").glob("*.py")}
    commands = {name for section in SECTIONS.values() for name in section}
    found = {name for name in modules if "command(" in source_of(name)} - {"main"}
    assert commands == {name.removesuffix("_") for name in found}  # a module cannot be called import
    with click.Context(cli) as context:
        for name in commands:
            command = cli.get_command(context, name)
            assert command is not None
            assert command.help
            for parameter in command.params:
                if isinstance(parameter, click.Option):
                    assert parameter.help, (name, parameter.name)


def test_same_letter_same_meaning() -> None:
    meanings: dict[str, set[str]] = {}
    with click.Context(cli) as context:
        for section in SECTIONS.values():
            for name in section:
                command = cli.get_command(context, name)
                assert command is not None
                for parameter in command.params:
                    short = [o for o in parameter.opts if re.fullmatch(r"-\w", o)]
                    long = [o for o in parameter.opts if o.startswith("--")]
                    for letter in short:
                        meanings.setdefault(letter, set()).update(long)
    assert all(len(long) == 1 for long in meanings.values()), meanings


def test_environment_variables_of_a_command_are_documented() -> None:
    text = (REPOSITORY / "docs" / "objective.md").read_text()
    assert len(VARIABLES) >= 8
    assert set(VARIABLES) <= set(re.findall(r"HPO_BATCH_[A-Z_]+", text))


def source_of(name: str) -> str:
    return (REPOSITORY / "hpo_batch" / "cli" / f"{name}.py").read_text()


def how_to_blocks() -> list[tuple[str, str]]:
    """Headings of docs/how-to.md, each with a TOML block below it."""
    text = (REPOSITORY / "docs" / "how-to.md").read_text()
    found = []
    for section in text.split("\n## ")[1:]:
        heading = section.partition("\n")[0]
        found += [(heading, block) for block in blocks(section, "toml")]
    return found


@pytest.mark.parametrize(("heading", "block"), how_to_blocks(), ids=[heading for heading, _ in how_to_blocks()])
def test_lines_of_the_how_to_page_are_valid(
    heading: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merged into a small sweep, or used as a job template, by the loader."""
    monkeypatch.chdir(tmp_path)
    templates = tmp_path / "job_templates"
    templates.mkdir()
    lab = next(block for _, block in how_to_blocks() if "job_templates/lab.toml" in block)
    (templates / "lab.toml").write_text(lab)
    given = {} if "job_templates/lab.toml" in block else tomli.loads(block)
    sweep: dict[str, Any] = {
        "study": {"name": "s", "metric": "loss", "direction": "minimize", "trials": 3},
        "objective": {}
        if {"command", "function"} & {*given.get("objective", {})}
        else {"command": "python train.py {args}"},
        "space": {"x": {"low": 0.0, "high": 1.0}, "epochs": 2},
        "job": {"template": "lab"},
    }
    for table, content in given.items():
        sweep[table] = {**sweep[table], **content} if table in sweep else content
    path = tmp_path / "s.toml"
    path.write_text(tomlkit.dumps(sweep))
    loaded = load(path)
    assert len(loaded) == len(given.get("budget", [0]))
