"""Documents say what the code does: their examples run, their links lead somewhere, nothing is left undocumented."""

from __future__ import annotations

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


def readme_commands() -> list[list[str]]:
    lines = [line for block in blocks(README, "console") for line in block.splitlines()]
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if line.startswith("$ hpo-batch")]


@pytest.mark.parametrize("argv", readme_commands(), ids=" ".join)
def test_readme_commands_are_understood(argv: list[str]) -> None:
    """Parsed to the end by click: no unknown command or option. What they do is tested with the commands."""
    with click.Context(cli) as context:
        command = cli.get_command(context, argv[1])
        assert command is not None
        command.make_context(argv[1], argv[2:], parent=context)


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
        "objective": {} if "command" in given.get("objective", {}) else {"command": "python train.py {args}"},
        "space": {"x": {"low": 0.0, "high": 1.0}, "epochs": 2},
        "job": {"template": "lab"},
    }
    for table, content in given.items():
        sweep[table] = {**sweep[table], **content} if table in sweep else content
    path = tmp_path / "s.toml"
    path.write_text(tomlkit.dumps(sweep))
    loaded = load(path)
    assert len(loaded) == len(given.get("budget", [0]))
