"""The modules of a script that lie beside it: where options, configurations and metrics stand that it does not name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hpo_batch.errors import UserError

_BYTES: Final = 4 << 20
_MOST_MODULES: Final = 40


def read_text(path: Path) -> str:
    """The text of a script.

    Raises:
        UserError: there is no such file, or it is not a text.
    """
    try:
        with path.open("rb") as file:
            return file.read(_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"no script '{path}'") from None
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"'{path}' is not a Python script: {error}") from error


def parsed(path: Path, text: str) -> ast.Module:
    """The syntax tree of a script; raises UserError if it is not valid Python."""
    if path.suffix not in (".py", ""):
        raise UserError(f"'{path}' is not a Python script; docs/objective.md says how a sweep runs other commands")
    try:
        return ast.parse(text, filename=str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f"{path}:{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else str(path)
        raise UserError(f"{where}: not valid Python: {getattr(error, 'msg', error)}") from None


def local_modules(script: Path, tree: ast.Module) -> Iterator[tuple[Path, ast.Module]]:
    """Modules that a script imports from beside it or from the folder above, and those that they import in turn."""
    roots = (script.parent, script.absolute().parent.parent)
    todo, seen = [(script, tree)], {script.absolute()}
    while todo:
        importer, one = todo.pop(0)
        for path in _imported(importer, one, roots):
            if path.absolute() in seen or len(seen) > _MOST_MODULES:
                continue
            seen.add(path.absolute())
            try:
                module = parsed(path, read_text(path))
            except UserError:
                continue
            todo.append((path, module))
            yield path, module


def _imported(importer: Path, tree: ast.Module, roots: tuple[Path, ...]) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(alias.name, roots)
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            above = [importer.parent, *importer.absolute().parent.parents]
            places = (above[min(node.level, len(above)) - 1],) if node.level else roots
            if name:
                yield from _files(name, places)
            for alias in node.names:
                yield from _files(f"{name}.{alias.name}" if name else alias.name, places)


def _files(name: str, places: tuple[Path, ...]) -> Iterator[Path]:
    """The file of a module, and those of the packages that it is in."""
    parts = name.split(".")
    for place in places:
        for count in range(1, len(parts) + 1):
            path = place.joinpath(*parts[:count])
            found = [one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()]
            yield from found
            if not found and not path.is_dir():
                break
