"""The modules of a script that lie beside it: where options, configurations and metrics stand that it does not name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hpo_batch.errors import UserError

_BYTES: Final = 4 << 20
_MOST_MODULES: Final = 40
_PATH_SETTERS: Final = ("sys.path", "rootutils", "autoroot")


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
    """Modules that a script imports, and those that they import in turn.

    From beside it, from the folder above, and from the one in which ``python -m`` runs it.
    """
    roots = (script.parent, script.absolute().parent.parent, Path.cwd())
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


def module_of(path: Path, tree: ast.Module, text: str) -> str:
    """The name under which ``python -m`` has to run a script of a package; empty if it runs by its path.

    By its path it would not find what it imports of its own package, unless it changes ``sys.path``.
    """
    parts = path.with_suffix("").parts
    if len(parts) < 2 or not all(part.isidentifier() for part in parts) or any(way in text for way in _PATH_SETTERS):
        return ""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom | ast.Import)]
    is_relative = any(isinstance(node, ast.ImportFrom) and node.level for node in found)
    names = {alias.name for node in found if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in found if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    is_own = parts[0] in {name.partition(".")[0] for name in names} and not list(_files(parts[0], (path.parent,)))
    return ".".join(parts) if is_relative or is_own else ""


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
