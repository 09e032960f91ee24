"""Options that override what stands in Python: the configurator of nanoGPT, and config files of ml_collections.

Both take ``--name=value`` and print no help that names them. Nothing of them runs.

https://github.com/karpathy/nanoGPT/blob/master/configurator.py
https://github.com/google/ml_collections#config-flags
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from hpo_batch.errors import UserError
from hpo_batch.init.declared import arguments, called
from hpo_batch.init.literals import constants_of, literal
from hpo_batch.init.modules import parsed, read_text
from hpo_batch.init.option import Kind, Option, kind_of

_EXECUTED = "sys.argv", "globals()"
"""what a file has that is executed to set variables of the script"""
_USUAL: Final = ("default.py", "config.py")


def variables(path: Path, tree: ast.Module, *, files: Sequence[str] = ()) -> tuple[Option, ...]:
    """The variables of a script that executes another file to set them: ``exec(open("configurator.py").read())``.

    Args:
        path: of the script.
        tree: of the script.
        files: with other values for them, which the user names behind the script.
    """
    executed = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node) == "exec"]
    names = [literal(inner) for node in executed for inner in ast.walk(node) if isinstance(inner, ast.Constant)]
    if not any(isinstance(name, str) and _sets_variables(path.parent / name) for name in names):
        return ()
    first = min(node.lineno for node in executed)
    before = ast.Module(body=[node for node in tree.body if node.lineno < first], type_ignores=[])
    found = dict(constants_of(before))
    for file in files:
        given = constants_of(parsed(Path(file), read_text(Path(file)))) if Path(file).is_file() else {}
        found |= {name: value for name, value in given.items() if name in found}
    return tuple(_option(name, value) for name, value in found.items() if not name.startswith("_"))


def config_file(path: Path, tree: ast.Module) -> tuple[tuple[Option, ...], str]:
    """The entries of a configuration that ``DEFINE_config_file`` reads, and the option that names its file.

    Raises:
        UserError: the file is not valid Python.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) == "DEFINE_config_file":
            given = arguments(node, "name", "default")
            name = literal(given["name"]) if "name" in given else "config"
            file = _config_of(path, literal(given["default"]) if "default" in given else None)
            if file is not None:
                entries = _entries(parsed(file, read_text(file)))
                options = tuple(replace(_option(key, value), flag=f"--{name}.{key}") for key, value in entries)
                return options, f"--{name}={file}"
    return (), ""


def _sets_variables(path: Path) -> bool:
    try:
        text = read_text(path)
    except UserError:
        return False
    return all(word in text for word in _EXECUTED)


def _option(name: str, value: object) -> Option:
    plain = value if isinstance(value, bool | int | float | str) else None
    if isinstance(plain, bool):
        # both read Python's spelling
        return Option(flag=f"--{name}", kind=Kind.TEXT, choices=("True", "False"), default=str(plain))
    return Option(flag=f"--{name}", kind=kind_of(plain), default=plain)


def _config_of(path: Path, default: object) -> Path | None:
    """The file that is named, else that of the usual name, else the only one."""
    if isinstance(default, str) and (path.parent / default).is_file():
        return path.parent / default
    files = sorted((path.parent / "configs").glob("*.py"))
    files = [file for file in files if file.stem != "__init__"]
    usual = [file for file in files if file.name in _USUAL]
    return usual[0] if usual else files[0] if len(files) == 1 else None


def _entries(tree: ast.Module) -> Iterator[tuple[str, object]]:
    """``config.model.width = 64``, and the keys of ``ConfigDict(dict(width=64))``."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Attribute() as target], value=value):
                name = ast.unparse(target).partition(".")[2]
                if called(value) != "ConfigDict" and ast.unparse(value) != "None":
                    yield name, literal(value)
                yield from _keys(value, f"{name}.")
            case ast.Assign(targets=[ast.Name()], value=ast.Call() as value):
                yield from _keys(value, "")


def _keys(node: ast.expr, prefix: str) -> Iterator[tuple[str, object]]:
    if called(node) != "ConfigDict" or not isinstance(node, ast.Call):
        return
    for one in node.args:
        match one:
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        yield f"{prefix}{key.value}", literal(value)
            case ast.Call(keywords=keywords) if called(one) == "dict":
                yield from ((f"{prefix}{k.arg}", literal(k.value)) for k in keywords if k.arg)
