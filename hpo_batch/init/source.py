"""Reads the options that a script gives to argparse or click from its source. Nothing of the script runs."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hpo_batch.init.declared import (
    DEFINES,
    called,
    declared,
    defined,
    destination,
    is_literal,
    switched,
    without_effect,
)
from hpo_batch.init.fields import dataclasses_in, fields_of
from hpo_batch.init.literals import NONE, Constants, constants_of, literal
from hpo_batch.init.modules import local_modules, parsed
from hpo_batch.init.option import Option

PARSERS: Final = (
    *("argparse", "click", "typer", "tyro", "jsonargparse", "hydra", "fire", "absl", "simple_parsing"),
    *("configargparse", "tap", "cyclopts", "pyrallis", "draccus", "docopt"),
    *("HfArgumentParser", "LightningCLI"),
)
"""names in the source of a script that reads options"""
_PARSER_CLASSES: Final = ("ArgumentParser", "ArgParser")
# what click 8.2 drops from the name of a function
_SUFFIXES: Final = ("_command", "_cmd", "_group", "_grp")
_DECLARING: Final = frozenset(("add_argument", "option", "argument", *DEFINES))
_HARMLESS: Final = ("pass_context", "pass_obj", "version_option", "help_option", "command", "option", "argument")


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the source of a script says of its options."""

    parsers: frozenset[str]
    """the names of ``PARSERS`` in it"""
    options: tuple[Option, ...] = ()
    of_subcommands: dict[str, tuple[Option, ...]]
    fields: dict[str, Option]
    """of dataclasses, which some parsers make options of, by name"""
    is_whole: bool
    """whether everything in it was understood, so that the script need not be asked"""
    has_fit: bool
    """whether it is a LightningCLI with subcommands, of which fit trains: one that does not say ``run=False``"""


def read_source(path: Path, text: str) -> Source:
    """Read a script, and the modules beside it if it does not name all of its options itself.

    Raises:
        UserError: it is not valid Python.
    """
    tree = parsed(path, text)
    trees: list[ast.Module] = [tree]
    if not _names(tree) & set(PARSERS) or not _has_options(tree) or not _reads_alone(tree):
        trees += [module for _, module in local_modules(path, tree)]
    parsers = frozenset(set(PARSERS) & set().union(*map(_names, trees)))
    found = _Found()
    for one in trees:
        found.read(one)
    if "" in found.by_receiver and "absl" not in parsers:
        parsers |= {"absl"}  # tf.app.flags is that of absl
    is_alone = parsers <= {"argparse", "click"} and _reads_alone(tree) and sum(map(_has_options, trees)) == 1
    return Source(
        parsers=parsers,
        options=found.main,
        of_subcommands=found.of_subcommands,
        fields=_fields(trees),
        has_fit="LightningCLI" in parsers and not any(_is_not_run(node) for one in trees for node in ast.walk(one)),
        is_whole=found.is_whole and bool(found.by_receiver) and (is_alone or parsers == {"absl"}),
    )


def _names(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(module=str(module), names=names, level=0):
                found |= {module.partition(".")[0]} | {alias.name for alias in names}
            case ast.Attribute(attr=name) if name in PARSERS:
                found.add(name)
    return found


def _is_not_run(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not called(node).endswith("CLI"):
        return False
    return any(k.arg == "run" and literal(k.value) is False for k in node.keywords)


def _fields(trees: Sequence[ast.AST]) -> dict[str, Option]:
    found: dict[str, Option] = {}
    for tree in trees:
        classes = dataclasses_in(tree)
        for name in classes:
            for option in fields_of(classes, name):
                found.setdefault(option.flag, option)
    return found


def _has_options(tree: ast.AST) -> bool:
    return any(isinstance(node, ast.Call) and called(node) in _DECLARING for node in ast.walk(tree))


def _reads_alone(tree: ast.AST) -> bool:
    """Whether no parser goes to, or comes from, functions that stand elsewhere: ``Model.add_arguments(parser)``."""
    here = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    parsers = _parsers_in(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or called(node) in here:
            continue
        handed = [*node.args, *(k.value for k in node.keywords if k.arg != "parents")]
        if any(ast.unparse(one) in parsers for one in handed if isinstance(one, ast.Name | ast.Attribute)):
            return False
        for parents in (k.value for k in node.keywords if k.arg == "parents"):
            known = parsers | here
            if not isinstance(parents, ast.List | ast.Tuple):
                return False
            if not all((called(one) or ast.unparse(one)) in known for one in parents.elts):
                return False
    return True


def _parsers_in(tree: ast.AST) -> set[str]:
    """Variables that hold a parser."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=ast.Call() as call) if called(call) in _PARSER_CLASSES:
                found |= {ast.unparse(target) for target in targets}
            case ast.Call(func=ast.Attribute(attr="add_argument", value=receiver)):
                found.add(ast.unparse(receiver))
    return found


class _Found:
    """Collects the options of calls of ``add_argument``, and of click's decorators."""

    def __init__(self) -> None:
        self.by_receiver: dict[str, list[Option]] = {}
        """the variable that the parser is in, or the function that click decorates"""
        self.subcommands: dict[str, str] = {}
        """receiver -> subcommand"""
        self.parents: dict[str, list[str]] = {}
        """receiver of a subcommand -> those whose options it has too"""
        self.required: set[object] = set()
        """names of flags of absl"""
        self.is_whole = True
        self._constants: Constants = NONE
        self._switches: dict[tuple[str, str], list[tuple[Option, bool]]] = {}
        """receiver and destination -> flags of argparse, and what each of them gives"""
        self._defaults: dict[str, object] = {}
        """of ``set_defaults``"""

    @property
    def main(self) -> tuple[Option, ...]:
        return tuple(
            replace(option, is_required=option.is_required or option.name in self.required)
            for name, options in self.by_receiver.items()
            if name not in self.subcommands
            for option in options
        )

    @property
    def of_subcommands(self) -> dict[str, tuple[Option, ...]]:
        return {
            command: tuple(
                option for one in (*self.parents.get(name, ()), name) for option in self.by_receiver.get(one, ())
            )
            for name, command in self.subcommands.items()
        }

    def read(self, tree: ast.Module) -> None:
        self._constants = {**self._constants, **constants_of(tree)}
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    self._read_click(node)
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call) if called(call) == "add_parser":
                    self._add_subcommand(name, call)
                case ast.For() | ast.While() if _has_options(node):
                    self.is_whole = False  # one call for several options
                case ast.Call(func=ast.Attribute(attr="add_argument", value=receiver)):
                    self._read_argument(node, ast.unparse(receiver))
                case ast.Call() if called(node).startswith("DEFINE_"):
                    self._read_flag(node)
                case ast.Call() if called(node) in ("mark_flag_as_required", "mark_flags_as_required"):
                    self.required |= {word.value for word in ast.walk(node) if isinstance(word, ast.Constant)}
                case ast.Call() if called(node) == "set_defaults":
                    self._set_defaults(node)
                case ast.Call() if called(node) in ("add_command", "add_typer"):
                    self.is_whole = False
        self._resolve_switches()
        self._resolve_groups(tree)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node) == "add_parser"]
        self.is_whole = self.is_whole and len(calls) <= len(self.subcommands)

    def _resolve_groups(self, tree: ast.AST) -> None:
        """Options of a group belong to the parser that the group is of."""
        for node in ast.walk(tree):
            match node:
                case ast.Assign(
                    targets=[ast.Name(id=name)],
                    value=ast.Call(
                        func=ast.Attribute(attr="add_argument_group" | "add_mutually_exclusive_group", value=of)
                    ),
                ) if name in self.by_receiver:
                    options = self.by_receiver.pop(name)
                    self.by_receiver.setdefault(ast.unparse(of), []).extend(options)

    def _add_subcommand(self, receiver: str, call: ast.Call) -> None:
        name = literal(call.args[0]) if call.args else None
        if not isinstance(name, str):
            self.is_whole = False
            return
        self.subcommands[receiver] = name
        for parents in (k.value for k in call.keywords if k.arg == "parents"):
            if isinstance(parents, ast.List | ast.Tuple) and all(isinstance(one, ast.Name) for one in parents.elts):
                self.parents[receiver] = [ast.unparse(one) for one in parents.elts]
            else:
                self.is_whole = False

    def _read_argument(self, call: ast.Call, receiver: str) -> None:
        option = declared(call, self._constants)
        if option is None:
            self.is_whole = False
        elif option.flag not in ("--help", "--version"):
            self.is_whole = self.is_whole and is_literal(call, self._constants)
            self.by_receiver.setdefault(receiver, []).append(option)
            if gives := switched(call):
                switch = (receiver, destination(call, option))
                self._switches.setdefault(switch, []).append((option, gives == "store_true"))

    def _read_flag(self, call: ast.Call) -> None:
        """A flag of absl, which any module may define."""
        option = defined(call, self._constants)
        if option is None:
            self.is_whole = False
        else:
            self.by_receiver.setdefault("", []).append(option)

    def _set_defaults(self, call: ast.Call) -> None:
        for keyword in call.keywords:
            if keyword.arg is None:
                self.is_whole = False  # set_defaults(**config)
            elif (value := literal(keyword.value, self._constants)) is not None:
                self._defaults[keyword.arg] = value
                self.is_whole = self.is_whole and isinstance(value, bool)

    def _resolve_switches(self) -> None:
        """Of ``--freeze`` and ``--no-freeze``, which set one value, that is searched which changes it."""
        for (receiver, name), flags in self._switches.items():
            holds = bool(self._defaults.get(name, len(flags) == 1 and not flags[0][1]))
            changes = next((flag for flag, gives in flags if gives != holds), None)
            for flag, _ in flags:
                if flag is changes or flag.why_left or flag not in self.by_receiver.get(receiver, ()):
                    continue
                other = replace(flag, why_left=f"see {changes.flag}") if changes else without_effect(flag)
                options = self.by_receiver[receiver]
                options[options.index(flag)] = other

    def _read_click(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        names = {called(one) for one in function.decorator_list}
        if not names & {"option", "argument"}:
            return
        if names - set(_HARMLESS) - {"group"} or "group" in names:
            self.is_whole = False  # decorators of the script's own may add options; options before a subcommand
        for one in function.decorator_list:
            made = ast.unparse(one.func if isinstance(one, ast.Call) else one)
            if called(one) == "command" and "." in made and not made.startswith("click."):  # @cli.command() of a group
                self._add_click(function.name, one)
        for call in (one for one in function.decorator_list if isinstance(one, ast.Call)):
            if called(call) in ("option", "argument"):
                self._read_argument(call, function.name)

    def _add_click(self, function: str, decorator: ast.expr) -> None:
        given = (
            [*decorator.args, *(k.value for k in decorator.keywords if k.arg == "name")]
            if isinstance(decorator, ast.Call)
            else []
        )
        named = literal(given[0]) if given else None
        self.subcommands[function] = named if isinstance(named, str) else function.replace("_", "-")
        if function.endswith(_SUFFIXES) and not named:
            self.is_whole = False
