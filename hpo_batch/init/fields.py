"""The fields of dataclasses in a script's source, which Hydra, tyro and HfArgumentParser make options of."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Final

from hpo_batch.init.declared import called
from hpo_batch.init.option import Kind, Option, kind_of

MISSING: Final = "???"
"""Hydra's mark for a value that must be given"""
_KINDS: Final = {"int": Kind.INTEGER, "float": Kind.REAL, "bool": Kind.BOOLEAN, "str": Kind.TEXT, "Path": Kind.PATH}
_DEEPEST: Final = 8
_DECORATORS: Final = frozenset(("define", "frozen", "mutable", "attrs", "configclass"))
_BASES: Final = frozenset(("Tap", "BaseModel", "BaseSettings", "Serializable"))


def dataclasses_in(tree: ast.AST) -> dict[str, ast.ClassDef]:
    """Classes with a decorator such as ``dataclass``, and those that derive from a parser's class, by name."""
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return {one.name: one for one in classes if _is_configuration(one)}


def _is_configuration(node: ast.ClassDef) -> bool:
    """dataclass, attrs, pydantic, typed-argument-parser, and their like: ``chex.dataclass``, ``configclass``."""
    decorators = [called(one) for one in node.decorator_list]
    bases = [called(one) for one in node.bases]
    return any("dataclass" in name or name in _DECORATORS for name in decorators) or bool(_BASES & set(bases))


def fields_of(classes: Mapping[str, ast.ClassDef], name: str, prefix: str = "") -> Iterator[Option]:
    """The fields of a dataclass, and with dots those of the dataclasses in it."""
    if name not in classes or prefix.count(".") > _DEEPEST:
        return
    for node in classes[name].body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        kind, flag = ast.unparse(node.annotation), f"{prefix}{node.target.id}"
        if kind in classes:
            yield from fields_of(classes, kind, f"{flag}.")
            continue
        given = _default(node.value)
        value = given.value if isinstance(given, ast.Constant) else None
        plain = value if isinstance(value, bool | int | float | str) and value != MISSING else None
        known = _KINDS.get(kind.removeprefix("Optional[").removesuffix("]").removesuffix(" | None"))
        is_missing = given is None or value == MISSING or ast.unparse(given).endswith("MISSING")
        if known is Kind.REAL and isinstance(plain, int) and not isinstance(plain, bool):
            plain = float(plain)
        yield Option(flag=flag, kind=known or kind_of(plain), default=plain, is_required=is_missing)


def _default(node: ast.expr | None) -> ast.expr | None:
    """The default of a field, also in ``field(default=0.1)``."""
    if isinstance(node, ast.Call):
        given = {k.arg: k.value for k in node.keywords}
        return given.get("default", given.get("default_factory"))
    return node
