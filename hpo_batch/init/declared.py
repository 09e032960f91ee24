"""The option that one call of ``add_argument``, ``click.option`` or ``DEFINE_float`` declares. Nothing of it runs."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Final

from hpo_batch.init.literals import Constants, literal, plain
from hpo_batch.init.option import Kind, Option, kind_of
from hpo_batch.records import Value

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
}
DEFINES: Final = {
    "DEFINE_integer": Kind.INTEGER,
    "DEFINE_float": Kind.REAL,
    "DEFINE_bool": Kind.BOOLEAN,
    "DEFINE_boolean": Kind.BOOLEAN,
    "DEFINE_string": Kind.TEXT,
    "DEFINE_enum": Kind.TEXT,
    "DEFINE_list": Kind.LIST,
    "DEFINE_spaceseplist": Kind.LIST,
    "DEFINE_multi_integer": Kind.LIST,
    "DEFINE_multi_float": Kind.LIST,
    "DEFINE_multi_string": Kind.LIST,
    "DEFINE_multi_enum": Kind.LIST,
}
"""of absl, and of TensorFlow 1"""
_TRUTHY: Final = "type=bool makes True of every text: use action=argparse.BooleanOptionalAction"
_NO_CHANGE: Final = "its flag gives what holds without it: use action=argparse.BooleanOptionalAction"
# types that the script makes itself differ in what they take; all that are known take True and False,
# some no other spelling: s in {"True", "False"}, ast.literal_eval
_OWN_BOOLEAN: Final = ("True", "False")


def called(node: ast.AST) -> str:
    """The last part of a call's name: ``add_argument`` of ``parser.add_argument(...)``."""
    function = node.func if isinstance(node, ast.Call) else node
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def arguments(call: ast.Call, *names: str) -> dict[str, ast.expr]:
    """The arguments of a call by name, of which the first may stand without it."""
    found = dict(zip(names, call.args, strict=False))
    return found | {k.arg: k.value for k in call.keywords if k.arg is not None}


def declared(call: ast.Call, constants: Constants) -> Option | None:
    """The option of one call; None if it cannot be known without running the script."""
    words = [literal(argument, constants) for argument in call.args]
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
        default=plain(given.get("default"), constants),
        choices=_choices(given, constants),
        is_positional=not flags or called(call) == "argument",
        is_required=_is_true(given.get("required")),
    )
    return _as_click(option, given, constants) if of_click else _as_argparse(option, given)


def defined(call: ast.Call, constants: Constants) -> Option | None:
    """The flag that a call of absl's ``DEFINE_float("lr", 0.1, "its help")`` makes; None if it cannot be known."""
    given = arguments(call, "name", "default", "enum_values" if called(call) == "DEFINE_enum" else "help")
    name = literal(given["name"], constants) if "name" in given else None
    kind = DEFINES.get(called(call))
    if not isinstance(name, str) or kind is None:
        return None
    option = Option(
        flag=f"--{name}",
        kind=kind,
        default=plain(given.get("default"), constants),
        choices=_choices({"choices": given["enum_values"]} if "enum_values" in given else {}, constants),
        low=_number(given.get("lower_bound"), constants),
        high=_number(given.get("upper_bound"), constants),
        is_required=_is_true(given.get("required")),
    )
    if kind is Kind.BOOLEAN:
        return replace(option, is_flag=True, off=f"--no{name}", default=option.default is True)
    return _with_kind(option)


def destination(call: ast.Call, option: Option) -> str:
    """The name under which argparse keeps what an option is given."""
    given = {k.arg: k.value for k in call.keywords}
    named = literal(given["dest"]) if "dest" in given else None
    return named if isinstance(named, str) else option.name.replace("-", "_")


def switched(call: ast.Call) -> str:
    """``store_true`` or ``store_false`` if that is what a flag of argparse does, else nothing."""
    action = next((literal(k.value) for k in call.keywords if k.arg == "action"), None)
    return action if action in ("store_true", "store_false") else ""


def is_literal(call: ast.Call, constants: Constants) -> bool:
    """Whether the default and the choices stand in the source, and are not computed by it."""
    given = [k.value for k in call.keywords if k.arg in ("default", "choices")]
    return all(literal(node, constants) is not None or ast.unparse(node) == "None" for node in given)


def without_effect(option: Option) -> Option:
    """A flag that gives what holds anyway."""
    return replace(option, default=True, why_left=_NO_CHANGE)


def _as_argparse(option: Option, given: dict[str, ast.expr]) -> Option:
    action = literal(given["action"]) if "action" in given else None
    if "action" in given and called(given["action"]) == "BooleanOptionalAction":
        off = f"--no-{option.flag.removeprefix('--')}"
        option = replace(option, kind=Kind.BOOLEAN, is_flag=True, off=off)
    elif action in ("store_true", "store_false"):
        flag = replace(option, kind=Kind.BOOLEAN, is_flag=True, default=False)
        return without_effect(flag) if option.default is (action == "store_true") and "default" in given else flag
    elif action in ("append", "extend", "append_const") or ("nargs" in given and literal(given["nargs"]) != "?"):
        option = replace(option, kind=Kind.LIST)
    elif action not in (None, "store"):
        # count, version, help, and actions of the script's own
        return replace(option, kind=Kind.LIST, is_required=False)
    if "type" in given:
        option = _typed(option, given["type"])
    if option.is_positional:
        optional = "nargs" in given and literal(given["nargs"]) in ("?", "*")
        option = replace(option, is_required=not optional)
    if "type" not in given and not option.is_flag and option.kind is Kind.UNKNOWN:
        return replace(option, kind=Kind.TEXT)  # argparse hands the text to the script, whatever the default is
    return _with_kind(option)


def _typed(option: Option, of: ast.expr) -> Option:
    """argparse calls any function with the text: bool makes True of all, and some take only their own spelling."""
    name = called(of)
    if name == "bool":
        return replace(option, kind=Kind.LIST, why_left=_TRUTHY)
    is_boolean = isinstance(option.default, bool) or "bool" in name.lower() or bool(option.choices)
    if name in _KINDS or name == "loads" or not is_boolean or option.kind is Kind.LIST:
        return option
    if all(isinstance(choice, bool) for choice in option.choices):
        return replace(option, kind=Kind.TEXT, choices=_OWN_BOOLEAN)
    return option


def _as_click(option: Option, given: dict[str, ast.expr], constants: Constants) -> Option:
    match given.get("type"):
        case ast.Call() as kind if called(kind) in ("IntRange", "FloatRange"):
            ends = arguments(kind, "min", "max")
            low, high = (_number(ends.get(end), constants) for end in ("min", "max"))
            option = replace(option, low=low, high=high)
    if _is_true(given.get("is_flag")) or option.off:
        option = replace(option, kind=Kind.BOOLEAN, is_flag=True, default=option.default or False)
        if option.default is True and not option.off:
            option = without_effect(option)
    elif _is_true(given.get("multiple")) or _is_true(given.get("count")) or "nargs" in given:
        option = replace(option, kind=Kind.LIST)
    if option.is_positional:
        option = replace(option, is_required="default" not in given and _literal_of(given, "required") is not False)
    if "prompt" in given and _literal_of(given, "prompt") is not False:
        option = replace(option, is_required=True)  # it asks, and a trial has nobody to answer
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


def _choices(given: dict[str, ast.expr], constants: Constants) -> tuple[Value, ...]:
    node = given.get("choices")
    if node is None and "type" in given and called(given["type"]) == "Choice":
        call = given["type"]
        node = call.args[0] if isinstance(call, ast.Call) and call.args else None
    values = literal(node, constants) if node is not None else None
    if isinstance(values, range):
        values = list(values)
    if not isinstance(values, list | tuple | set | frozenset):
        return ()
    known = [value for value in values if isinstance(value, bool | int | float | str)]
    return tuple(sorted(known, key=str) if isinstance(values, set | frozenset) else known)


def _number(node: ast.expr | None, constants: Constants) -> float | None:
    value = plain(node, constants)
    return float(value) if isinstance(value, int | float) else None


def _is_true(node: ast.expr | None) -> bool:
    return node is not None and literal(node) is True


def _literal_of(given: dict[str, ast.expr], key: str) -> object:
    return literal(given[key]) if key in given else None
