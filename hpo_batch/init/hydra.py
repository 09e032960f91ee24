"""Reads the options of a Hydra application from its YAML files, or from the dataclasses in its source.

Nothing of the application runs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from hpo_batch.init import sweeper
from hpo_batch.init.declared import arguments, called
from hpo_batch.init.defaults_list import Composer, load
from hpo_batch.init.fields import MISSING, dataclasses_in, fields_of
from hpo_batch.init.literals import constants_of, literal
from hpo_batch.init.modules import local_modules
from hpo_batch.init.option import Kind, Option, as_value, kind_of

_ABOVE: Final = 3
"""folders above the script where its configuration may lie, if its place is computed"""
_CALLBACK: Final = "+callbacks.hpo_batch._target_=hpo_batch.integrations.LightningCallback"


@dataclass(frozen=True, kw_only=True)
class Application:
    """What the configuration of a Hydra application says."""

    options: tuple[Option, ...] = ()
    """its keys, with dots"""
    notes: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    """overrides that a sweep needs"""
    metric: str = ""
    """what its author optimizes"""
    direction: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Main:
    """A function with ``@hydra.main``."""

    module: Path
    tree: ast.Module
    config_path: str | None
    """relative to the module; None if there is none"""
    is_computed: bool
    """whether it is an expression, of which only a part is known"""
    config_name: str | None


def read_application(path: Path, tree: ast.Module, *, words: Sequence[str] = ()) -> Application:
    """The configuration of an application; without options if it has none that can be read.

    Args:
        path: of its script.
        tree: of its script.
        words: that the user types, such as ``model=large``.

    Raises:
        UserError: the configuration cannot be read.
    """
    modules = [(path, tree), *local_modules(path, tree)]
    main = next((found for module, one in modules if (found := _main(module, one)) is not None), None)
    if main is None:
        return Application()
    main = _as_typed(main, words)
    classes, stored = dict[str, ast.ClassDef](), dict[str, str]()
    for _, module_tree in modules:
        classes = dataclasses_in(module_tree) | classes
        stored = _stored(module_tree) | stored
    file = _file(main)
    if file is not None:
        root, config = file
        chosen = dict(word.lstrip("+").split("=", 1) for word in words if "=" in word and not word.startswith("-"))
        composer = Composer(root, chosen)
        values = composer.compose(config)
        schemas = [stored[one] for one in load(config).get("defaults", []) if isinstance(one, str) and one in stored]
        fields = [option for name in schemas for option in fields_of(classes, name)]
        return _application(values, fields, notes=tuple(composer.notes))
    name = stored.get(main.config_name or "") or next(iter(stored.values()), "")
    return Application(options=tuple(fields_of(classes, name)))


def _application(values: dict[str, Any], fields: Sequence[Option], *, notes: tuple[str, ...]) -> Application:
    own = values.pop("hydra", None)
    search = _resolved(own.get("sweeper"), values) if isinstance(own, Mapping) else None
    domains = sweeper.domains(search)
    options = {option.flag: option for option in (*fields, *options_of(values))}
    for name, domain in domains.items():
        if name in options or (domain is not None and not name.startswith(("+", "~"))):  # written as name=value
            option = options.get(name, Option(flag=name, kind=Kind.TEXT))
            options[name] = replace(option, domain=domain, is_searched=True)
    given: tuple[str, ...] = (_CALLBACK,) if _has_lightnings_callbacks(values.get("callbacks")) else ()
    if isinstance(own, Mapping) and str(own.get("mode")).upper() == "MULTIRUN":
        given += ("hydra.mode=RUN",)  # or else each trial would be a sweep of Hydra's
    trainer = values.get("trainer")
    if isinstance(trainer, Mapping) and _is_lightnings(trainer) and "default_root_dir" not in trainer:
        given += ("+trainer.default_root_dir={trial_dir}",)  # trials that start together would share lightning_logs
    monitor = next(_monitors(values.get("callbacks")), ("", None))
    metric = values.get("optimized_metric")  # of https://github.com/ashleve/lightning-hydra-template
    return Application(
        options=tuple(options.values()),
        notes=notes,
        given=given,
        metric=metric if isinstance(metric, str) else monitor[0],
        direction=sweeper.direction(search) or (monitor[1] if metric in (None, monitor[0]) else None),
    )


def _resolved(search: object, values: dict[str, Any]) -> object:
    """A sweeper's configuration with tables for ``${search_space}``, which are taken out of the values."""
    if not isinstance(search, Mapping):
        return search
    resolved = dict(search)
    for key, value in search.items():
        name = re.fullmatch(r"\$\{(\w+)\}", value) if isinstance(value, str) else None
        if name is not None and isinstance(values.get(name[1]), Mapping):
            resolved[key] = values.pop(name[1])
    return resolved


def _monitors(callbacks: object) -> Iterator[tuple[str, str | None]]:
    """What a checkpoint or early stopping of Lightning judges by."""
    for one in callbacks.values() if isinstance(callbacks, Mapping) else ():
        if isinstance(one, Mapping) and isinstance(one.get("monitor"), str) and "${" not in one["monitor"]:
            mode = {"min": "minimize", "max": "maximize"}.get(str(one.get("mode", "min")))
            yield one["monitor"], mode


def _has_lightnings_callbacks(callbacks: object) -> bool:
    """Whether callbacks are a table of objects of Lightning, to which ours can be added on the command line."""
    tables = callbacks.values() if isinstance(callbacks, Mapping) else ()
    return any(_is_lightnings(one) for one in tables if isinstance(one, Mapping))


def _is_lightnings(table: Mapping[Any, Any]) -> bool:
    return "lightning" in str(table.get("_target_"))


def _main(module: Path, tree: ast.Module) -> _Main | None:
    constants = constants_of(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) not in ("hydra.main", "main"):
            continue
        given = arguments(node, "config_path", "config_name")
        if not given.keys() & {"config_path", "config_name"}:
            continue
        folder, name = given.get("config_path"), given.get("config_name")
        found = literal(folder, constants) if folder is not None else None
        is_none = folder is None or ast.unparse(folder) == "None"
        texts = [] if folder is None else [one.value for one in ast.walk(folder) if isinstance(one, ast.Constant)]
        parts = [text for text in texts if isinstance(text, str) and text not in ("..", ".", "")]
        config_name = literal(name, constants) if name is not None else None
        return _Main(
            module=module,
            tree=tree,
            config_path=found if isinstance(found, str) else None if is_none or not parts else parts[-1],
            is_computed=not is_none and not isinstance(found, str),
            config_name=config_name if isinstance(config_name, str) else None,
        )
    return None


def _as_typed(main: _Main, words: Sequence[str]) -> _Main:
    """With the configuration that the user names: ``--config-name small``, ``-cn small``, ``--config-path conf``."""
    given = dict(pairwise(words)) | dict(word.split("=", 1) for word in words if "=" in word)
    name = given.get("--config-name", given.get("-cn", main.config_name))
    path = given.get("--config-path", given.get("-cp"))
    return replace(main, config_name=name, config_path=path if path is not None else main.config_path)


def _file(main: _Main) -> tuple[Path, Path] | None:
    """The folder of the configuration and its file, if there is one."""
    if main.config_path is None:
        return None
    above = [main.module.parent, *main.module.absolute().parent.parents[:_ABOVE], Path()] if main.is_computed else []
    name = main.config_name or ""
    for place in above or [main.module.parent]:
        folder = place / main.config_path.removeprefix("file://").removeprefix("pkg://")
        if folder.suffix in (".yaml", ".yml") and folder.is_file() and not name:  # of Hydra 1.0
            return folder.parent, folder
        stem = name.removesuffix(".yaml").removesuffix(".yml")
        for end in ("yaml", "yml"):
            if stem and (file := folder / f"{stem}.{end}").is_file():
                return folder, file
    return None


def options_of(values: Mapping[str, Any], prefix: str = "") -> Iterator[Option]:
    """The keys of a configuration, with dots."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if str(key).startswith("_") or key == "class_path":
            continue
        if isinstance(value, Mapping):
            yield from options_of(value, f"{name}.")
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
