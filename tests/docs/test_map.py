"""The map in tests/README.md is whole: each module has a test of its name, or a row whose tests reach it."""

from __future__ import annotations

import ast
import fnmatch
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers import REPOSITORY

PACKAGE, TESTS = REPOSITORY / "hpo_batch", REPOSITORY / "tests"
HEADLINE = "## What is tested where"


@dataclass(frozen=True, kw_only=True)
class Row:
    modules: tuple[str, ...]
    tests: tuple[str, ...]


def rows() -> list[Row]:
    found = []
    for line in (TESTS / "README.md").read_text().split(HEADLINE)[1].splitlines():
        if line.startswith("| ") and "---" not in line:
            _, modules, tests = (tuple(re.findall(r"`([^`]+)`", cell)) for cell in line.strip("|").split("|"))
            found.append(Row(modules=modules, tests=tests))
    return found


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def files() -> dict[str, Path]:
    """Modules of the product and of the tests, by name."""
    return {name_of(path): path for folder in (PACKAGE, TESTS) for path in folder.rglob("*.py")}


@functools.cache
def imports(module: str) -> frozenset[str]:
    """What a module imports anywhere in it, also below ``if TYPE_CHECKING`` and within functions."""
    if module == "tests.forked":
        return frozenset({"hpo_batch.__main__"})  # which it runs; all the others are imported to save time
    found = set()
    for node in ast.walk(ast.parse(files()[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # modules that are imported when they are needed: samplers by name, commands by f"hpo_batch.cli.{name}"
            found.add(node.value.rpartition(":")[0] or node.value)
            found |= set(fnmatch.filter(files(), f"{node.value}*")) if node.value.startswith("hpo_batch.") else set()
    if module == "tests.helpers":
        found.add("hpo_batch.__main__")  # which it starts as a process
    return frozenset(found & files().keys())


def reached(start: str) -> set[str]:
    """All that a module imports, directly or through others; a test that gets a fixture reaches its conftest."""
    todo, seen = [start, *conftests(start)], set[str]()
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += imports(module)
    return seen


def conftests(test: str) -> Iterator[str]:
    for folder in Path(test.replace(".", "/")).parents:
        name = ".".join((*folder.parts, "conftest"))
        if name in files() and folder.parts != ("tests",):
            yield name


@functools.cache
def modules() -> frozenset[str]:
    """Modules with code of their own."""
    return frozenset(m for m, path in files().items() if path.is_relative_to(PACKAGE) and path.name != "__init__.py")


@functools.cache
def with_a_test_of_their_name() -> frozenset[str]:
    return frozenset(
        module
        for test in files()
        for module in modules() & imports(test)
        if test.rpartition(".")[2] == f"test_{module.rpartition('.')[2]}"
    )


@functools.cache
def named(pattern: str) -> frozenset[str]:
    return frozenset(fnmatch.filter(modules(), f"hpo_batch.{pattern}"))


def test_every_module_has_a_test_of_its_name_or_a_row_of_the_map() -> None:
    on_the_map = {module for row in rows() for pattern in row.modules for module in named(pattern)}
    assert sorted(modules() - with_a_test_of_their_name() - on_the_map) == []


def test_every_row_names_what_there_is() -> None:
    assert len(rows()) > 30
    for row in rows():
        assert [pattern for pattern in row.modules if not named(pattern)] == []
        assert [test for test in row.tests if not (TESTS / test).exists()] == []


def test_the_tests_of_a_row_reach_its_modules() -> None:
    missed = {}
    for row in rows():
        found = set().union(*(reached(name_of(TESTS / test)) for test in row.tests if test.endswith(".py")))
        wanted = {module for pattern in row.modules for module in named(pattern)}
        missed |= dict.fromkeys(wanted - with_a_test_of_their_name() - found, row.tests)
    assert missed == {}


def test_every_folder_of_tests_is_on_the_map() -> None:
    folders = {path.parent.name for path in TESTS.glob("*/test_*.py")}
    assert folders == {test.split("/")[0] for row in rows() for test in row.tests if "/" in test}
