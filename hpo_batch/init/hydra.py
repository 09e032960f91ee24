"""Reads the options of a Hydra application from its YAML files, or from the dataclasses in its source.

The only user of yaml. Nothing of the application runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from hpo_batch.errors import UserError
from hpo_batch.init.declared import arguments, called
from hpo_batch.init.fields import MISSING, dataclasses_in, fields_of
from hpo_batch.init.modules import local_modules, read_text
from hpo_batch.init.option import Kind, Option, as_value, kind_of

_HOW: Final = frozenset(
    ("callbacks", "logger", "trainer", "paths", "experiment", "debug", "extras", "local", "launcher")
)
"""groups that say how a training runs, and not what it trains"""


def read_options(path: Path, tree: ast.Module) -> tuple[tuple[Option, ...], tuple[str, ...]]:
    """The keys of the configuration, with dots, and notes.

    Raises:
        UserError: the configuration cannot be read.
    """
    given = _main(tree)
    if given is None:
        return (), ()
    config_path, config_name = given
    notes: list[str] = []
    if config_path is not None and config_name is not None:
        folder = path.parent / config_path
        file = next((one for end in ("yaml", "yml") if (one := folder / f"{config_name}.{end}").is_file()), None)
        if file is not None:
            values = _composed(folder, file, notes)
            return tuple(_options(values)), tuple(notes)
    classes, stored = dict[str, ast.ClassDef](), dict[str, str]()
    for module in (tree, *(one for _, one in local_modules(path, tree))):
        classes = dataclasses_in(module) | classes
        stored = _stored(module) | stored
    name = stored.get(config_name or "") or next(iter(stored.values()), "")
    return tuple(fields_of(classes, name)), tuple(notes)


def _main(tree: ast.Module) -> tuple[str | None, str | None] | None:
    """``config_path`` and ``config_name`` of ``@hydra.main``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("hydra.main", "main"):
            given = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            if "config_name" in given or "config_path" in given:
                folder, name = given.get("config_path"), given.get("config_name")
                return str(folder) if folder else None, str(name).removesuffix(".yaml") if name else None
    return None


def _composed(folder: Path, file: Path, notes: list[str]) -> dict[str, Any]:
    """A file with its defaults list, as Hydra lays them over each other; groups as tables of their name.

    https://hydra.cc/docs/advanced/defaults_list/
    """
    raw = _load(file)
    defaults = raw.pop("defaults", [])
    values: dict[str, Any] = {}
    for entry in defaults if isinstance(defaults, list) else []:
        if entry == "_self_":
            values = _merged(values, raw)
            raw = {}
        elif isinstance(entry, str):
            other = folder / f"{entry}.yaml"
            values = _merged(values, _composed(folder, other, notes) if other.is_file() else {})
        elif isinstance(entry, Mapping):
            for group, choice in entry.items():
                values = _merged(values, _group(folder, str(group), choice, notes))
    return _merged(values, raw)


def _group(folder: Path, group: str, choice: object, notes: list[str]) -> dict[str, Any]:
    words = group.removeprefix("override ").removeprefix("optional ")
    name, _, package = words.partition("@")
    file = folder / name.strip("/") / f"{choice}.yaml"
    if name.strip("/").startswith("hydra") or not isinstance(choice, str) or not file.is_file():
        return {}
    others = sorted(one.stem for one in file.parent.glob("*.yaml") if one.stem != choice)
    if others and not set(name.strip("/").split("/")) & _HOW:
        notes.append(f"the group {name} could be searched too: {name} = {[choice, *others]}")
    values = _composed(file.parent, file, notes)
    text = read_text(file)
    where = package or ("_global_" if "@package _global_" in text else name.strip("/").replace("/", "."))
    if where == "_global_":
        return values
    for part in reversed(where.split(".")):
        values = {part: values}
    return values


def _load(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(read_text(file))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"'{file}' is not valid YAML: {str(error).splitlines()[0]}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"'{file}' is not a configuration of Hydra: it holds no table")
    return {str(key): value for key, value in values.items()}


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _options(values: Mapping[str, Any], prefix: str = "") -> Iterator[Option]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if name == "hydra" or str(key).startswith("_"):
            continue
        if isinstance(value, Mapping):
            yield from _options(value, f"{name}.")
        elif value == MISSING:
            yield Option(flag=name, is_required=True)
        elif isinstance(value, list) or (isinstance(value, str) and "${" in value):
            yield Option(flag=name, kind=Kind.LIST)
        else:
            # YAML 1.1 reads 1e-3 as a text, OmegaConf as a number
            plain = as_value(value) if isinstance(value, str) else value
            plain = plain if isinstance(plain, bool | int | float | str) else None
            yield Option(flag=name, kind=kind_of(plain), default=plain)


def _stored(tree: ast.Module) -> dict[str, str]:
    """The classes of ``cs.store(name="config", node=Config)``, by name."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) == "store":
            given = arguments(node, "name", "node", "group")
            name, kind = given.get("name"), given.get("node")
            if isinstance(name, ast.Constant) and kind is not None and "group" not in given:
                found[str(name.value)] = called(kind)
    return found
