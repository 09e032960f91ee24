"""Reads the options that a script gives to argparse or click from its source. Nothing of the script runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from hpo_batch.errors import UserError
from hpo_batch.init.fields import dataclasses_in, fields_of
from hpo_batch.init.option import Kind, Option, kind_of
from hpo_batch.records import Value

PARSERS: Final = (
    *(
        "argparse",
        "click",
        "typer",
        "tyro",
        "jsonargparse",
        "hydra",
        "fire",
        "absl",
        "simple_parsing",
        "configargparse",
    ),
    *("HfArgumentParser", "LightningCLI"),
)
"""names in the source of a script that reads options"""
_BYTES: Final = 4 << 20
_MOST_MODULES: Final = 30
_KINDS: Final = {
    "int": Kind.INTEGER,
    "INT": Kind.INTEGER,
    "IntRange": Kind.INTEGER,
    "float": Kind.REAL,
    "FLOAT": Kind.REAL,
    "FloatRange": Kind.REAL,
    "str": Kind.TEXT,
    "STRING": Kind.TEXT,
    "Path": Kind.PATH,
    "File": Kind.PATH,
    "FileType": Kind.PATH,
    "bool": Kind.BOOLEAN,
    "BOOL": Kind.BOOLEAN,
    "str2bool": Kind.BOOLEAN,
    "strtobool": Kind.BOOLEAN,
}


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


def read_source(path: Path, text: str) -> Source:
    """Read a script, and the modules beside it that it imports if it names no options itself.

    Raises:
        UserError: it is not valid Python.
    """
    tree = parsed(path, text)
    trees: list[ast.AST] = [tree]
    names = _names(tree)
    if not names & set(PARSERS) or not _has_options(tree):
        trees += list(_local_modules(path.parent, tree))
    parsers = frozenset(set(PARSERS) & set().union(*map(_names, trees)))
    found = _Found()
    for one in trees:
        found.read(one)
    is_whole = bool(parsers) and parsers <= {"argparse", "click"} and found.is_whole and bool(found.by_receiver)
    return Source(
        parsers=parsers,
        options=found.main,
        of_subcommands=found.of_subcommands,
        fields=_fields(trees),
        is_whole=is_whole,
    )


def parsed(path: Path, text: str) -> ast.Module:
    """The syntax tree of a script; raises UserError if it is not valid Python."""
    if path.suffix not in (".py", ""):
        raise UserError(f"'{path}' is not a Python script; docs/objective.md says how a sweep runs other commands")
    try:
        return ast.parse(text, filename=str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f"{path}:{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else str(path)
        raise UserError(f"{where}: not valid Python: {getattr(error, 'msg', error)}") from None


def called(node: ast.AST) -> str:
    """The last part of a call's name: ``add_argument`` of ``parser.add_argument(...)``."""
    function = node.func if isinstance(node, ast.Call) else node
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _names(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(module=str(module), names=names):
                found |= {module.partition(".")[0]} | {alias.name for alias in names}
            case ast.Attribute(attr=name) if name in PARSERS:
                found.add(name)
    return found


def _fields(trees: Sequence[ast.AST]) -> dict[str, Option]:
    found: dict[str, Option] = {}
    for tree in trees:
        classes = dataclasses_in(tree)
        for name in classes:
            for option in fields_of(classes, name):
                found.setdefault(option.flag, option)
    return found


def _has_options(tree: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Call) and called(node) in ("add_argument", "option", "argument") for node in ast.walk(tree)
    )


def _local_modules(folder: Path, tree: ast.AST) -> Iterator[ast.AST]:
    """Modules beside the script, and those that they import in turn."""
    todo, seen = [tree], set[Path]()
    while todo and len(seen) < _MOST_MODULES:
        for name in sorted(_modules(todo.pop())):
            path = folder / f"{name.replace('.', '/')}.py"
            if path in seen or not path.is_file():
                continue
            seen.add(path)
            try:
                one = parsed(path, read_text(path))
            except UserError:
                continue
            todo.append(one)
            yield one


def _modules(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


class _Found:
    """Collects the options of calls of ``add_argument``, and of click's decorators."""

    def __init__(self) -> None:
        self.by_receiver: dict[str, list[Option]] = {}
        """the variable that the parser is in, or the function that click decorates"""
        self.subcommands: dict[str, str] = {}
        """receiver -> subcommand"""
        self.is_whole = True

    @property
    def main(self) -> tuple[Option, ...]:
        return tuple(
            option for name, options in self.by_receiver.items() if name not in self.subcommands for option in options
        )

    @property
    def of_subcommands(self) -> dict[str, tuple[Option, ...]]:
        return {command: tuple(self.by_receiver.get(name, ())) for name, command in self.subcommands.items()}

    def read(self, tree: ast.AST) -> None:
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef():
                    self._read_click(node)
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call) if called(call) == "add_parser":
                    self._add_subcommand(name, call)
                case ast.For() | ast.While() if _has_options(node):
                    self.is_whole = False  # one call for several options
                case ast.Call(func=ast.Attribute(attr="add_argument", value=receiver)):
                    self._read_argument(node, ast.unparse(receiver))
                case ast.Call() if called(node) in ("set_defaults", "parents"):
                    self.is_whole = False
        self._resolve_groups(tree)

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
        name = _literal(call.args[0]) if call.args else None
        if isinstance(name, str):
            self.subcommands[receiver] = name
        else:
            self.is_whole = False

    def _read_argument(self, call: ast.Call, receiver: str) -> None:
        option = _option(call)
        if option is None:
            self.is_whole = False
        elif option.flag not in ("--help", "--version"):
            self.is_whole = self.is_whole and _is_literal(call)
            self.by_receiver.setdefault(receiver, []).append(option)

    def _read_click(self, function: ast.FunctionDef) -> None:
        calls = [one for one in function.decorator_list if isinstance(one, ast.Call)]
        if not any(called(one) in ("option", "argument") for one in calls):
            return
        groups = [ast.unparse(one.func) for one in calls if called(one) == "command"]
        if any(not name.startswith("click.") and "." in name for name in groups):  # @cli.command() of a group
            self.subcommands[function.name] = function.name.replace("_", "-")
        for call in calls:
            if called(call) in ("option", "argument"):
                self._read_argument(call, function.name)


def _option(call: ast.Call) -> Option | None:
    """The option of one call; None if it cannot be known without running the script."""
    words = [_literal(argument) for argument in call.args]
    if not words or not all(isinstance(word, str) for word in words) or any(k.arg is None for k in call.keywords):
        return None
    given = {str(k.arg): k.value for k in call.keywords}
    names = [str(word) for word in words]
    of_click = called(call) in ("option", "argument")
    flags = [name for name in names if name.startswith("-")]
    first = max(flags, key=lambda flag: (flag.startswith("--"), len(flag)), default=names[0])
    flag, _, off = (part.strip() for part in first.partition("/"))
    option = Option(
        flag=flag,
        off=off,
        kind=_kind(given),
        default=_value(given.get("default")),
        choices=_choices(given),
        is_positional=not flags or called(call) == "argument",
        is_required=_is_true(given.get("required")),
    )
    return _as_click(option, given) if of_click else _as_argparse(option, given)


def _is_literal(call: ast.Call) -> bool:
    """Whether the default and the choices stand in the source, and are not computed by it."""
    given = [k.value for k in call.keywords if k.arg in ("default", "choices")]
    return all(_literal(node) is not None or ast.unparse(node) == "None" for node in given)


def _as_argparse(option: Option, given: dict[str, ast.expr]) -> Option:
    action = _literal(given["action"]) if "action" in given else None
    if "action" in given and called(given["action"]) == "BooleanOptionalAction":
        off = f"--no-{option.flag.removeprefix('--')}"
        option = replace(option, kind=Kind.BOOLEAN, is_flag=True, off=off)
    elif action in ("store_true", "store_false"):
        return replace(option, kind=Kind.BOOLEAN, is_flag=True, default=False)
    elif action in ("append", "extend", "append_const") or ("nargs" in given and _literal(given["nargs"]) != "?"):
        option = replace(option, kind=Kind.LIST)
    elif action not in (None, "store"):
        # count, version, help, and actions of the script's own
        return replace(option, kind=Kind.LIST, is_required=False)
    if "type" in given and called(given["type"]) == "bool":
        option = replace(option, kind=Kind.LIST)  # bool("false") is true
    if option.is_positional:
        optional = "nargs" in given and _literal(given["nargs"]) in ("?", "*")
        option = replace(option, is_required=not optional)
    if "type" not in given and not option.is_flag and option.kind is Kind.UNKNOWN:
        return replace(option, kind=Kind.TEXT)  # argparse hands the text to the script, whatever the default is
    return _with_kind(option)


def _as_click(option: Option, given: dict[str, ast.expr]) -> Option:
    if _is_true(given.get("is_flag")) or option.off:
        option = replace(option, kind=Kind.BOOLEAN, is_flag=True, default=option.default or False)
    elif _is_true(given.get("multiple")) or _is_true(given.get("count")) or "nargs" in given:
        option = replace(option, kind=Kind.LIST)
    if option.is_positional:
        option = replace(option, is_required="default" not in given and _literal_of(given, "required") is not False)
    return _with_kind(option)


def _with_kind(option: Option) -> Option:
    """A type that was not given follows from the default, as in click; argparse's is text."""
    if option.kind is Kind.UNKNOWN:
        kind = kind_of(option.choices[0] if option.choices else option.default)
        return replace(option, kind=kind)
    if option.kind is Kind.REAL and isinstance(option.default, int) and not isinstance(option.default, bool):
        return replace(option, default=float(option.default))
    return option


def _kind(given: dict[str, ast.expr]) -> Kind:
    if "type" not in given:
        return Kind.UNKNOWN
    return _KINDS.get(called(given["type"]), Kind.UNKNOWN)


def _choices(given: dict[str, ast.expr]) -> tuple[Value, ...]:
    node = given.get("choices")
    if node is None and "type" in given and called(given["type"]) == "Choice":
        call = given["type"]
        node = call.args[0] if isinstance(call, ast.Call) and call.args else None
    values = _literal(node) if node is not None else None
    if isinstance(values, range):
        values = list(values)
    if not isinstance(values, list | tuple | set | frozenset):
        return ()
    plain = [value for value in values if isinstance(value, bool | int | float | str)]
    return tuple(sorted(plain, key=str) if isinstance(values, set | frozenset) else plain)


def _value(node: ast.expr | None) -> Value | None:
    value = _literal(node) if node is not None else None
    return value if isinstance(value, bool | int | float | str) else None


def _is_true(node: ast.expr | None) -> bool:
    return node is not None and _literal(node) is True


def _literal_of(given: dict[str, ast.expr], key: str) -> object:
    return _literal(given[key]) if key in given else None


def _literal(node: ast.expr) -> object:
    """The value of a literal, of ``range(3)`` and of simple arithmetic such as ``2**10``; None if it is neither."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        pass
    match node:
        case ast.Call(func=ast.Name(id="range"), args=[*arguments]) if 0 < len(arguments) < 4:
            ends = [_literal(one) for one in arguments]
            if all(isinstance(end, int) and abs(end) < 1000 for end in ends):
                return range(*ends)  # type: ignore[call-overload]
        case ast.BinOp(left=left, op=op, right=right):
            return _computed(_literal(left), op, _literal(right))
    return None


def _computed(a: object, op: ast.operator, b: object) -> object:
    numbers = isinstance(a, int | float) and isinstance(b, int | float) and abs(a) < 1e6 and abs(b) < 64
    if numbers and isinstance(op, ast.Mult | ast.Div | ast.Pow) and not (isinstance(op, ast.Div) and not b):
        assert isinstance(a, int | float)
        assert isinstance(b, int | float)
        value: Any = a * b if isinstance(op, ast.Mult) else a / b if isinstance(op, ast.Div) else a**b
        return value if isinstance(value, int | float) else None
    return None
