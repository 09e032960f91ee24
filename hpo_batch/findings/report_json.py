"""report.json: every number with its method and n, under keys that are the fields of ``findings.records``.

``keys`` lists them from the types, ``reference`` with the fields' own words: docs/report-json.md is made of it.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from hpo_batch.findings.actions import ActionKind
from hpo_batch.findings.json_keys import keys_of
from hpo_batch.findings.records import Findings
from hpo_batch.findings.subject import Subject
from hpo_batch.findings.subjects import SUBJECTS
from hpo_batch.records import Answer, Value

FORMAT: Final = 1
"""raised when a key changes its meaning or goes; new keys do not raise it"""


MORE: Final = "more"
"""the field whose entries stand beside the other keys of its record"""
MOST_TRIALS: Final = 10_000
"""that a record lists one by one: more would make a file of hundreds of megabytes, and ``collect`` writes them all"""


def as_json(
    findings: Findings, *, version: str, sources: tuple[str, ...] = (), subjects: Sequence[Subject] = SUBJECTS
) -> dict[str, Any]:
    """All findings as JSON values. What is not finite is null.

    Of a very large study the records that hold each trial hold some of them, and ``warnings`` say so.
    """
    return {"format": FORMAT, "hpo_batch": version, "sources": list(sources), **_record(_shortened(findings, subjects))}


def _shortened(findings: Findings, subjects: Sequence[Subject]) -> Findings:
    studies, warnings = [], []
    for study in findings.studies:
        label = study.label
        for shorten in (subject.shorten for subject in subjects if subject.shorten is not None):
            study, what, n, n_all = shorten(study, MOST_TRIALS)
            if n < n_all:
                warnings.append(f"{label}: {what} of {n} of {n_all} trials in report.json")
        studies.append(study)
    return dataclasses.replace(findings, studies=tuple(studies), warnings=(*findings.warnings, *warnings))


def _record(record: Any) -> dict[str, Any]:
    keys = {
        field.name: _value(getattr(record, field.name), keys_of(field))
        for field in dataclasses.fields(record)
        if field.name != MORE
    }
    return keys | {key: _value(each, None) for key, each in getattr(record, MORE, {}).items()}


def _value(value: Any, names: tuple[str, ...] | None) -> Any:
    if dataclasses.is_dataclass(value):
        return _record(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _value(each, names) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        if names is not None and value and all(isinstance(each, tuple) for each in value):
            return [{n: _value(v, None) for n, v in zip(names, each, strict=True)} for each in value]
        return [_value(each, None) for each in value]
    if hasattr(value, "item"):  # numpy's numbers
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def keys() -> Iterator[tuple[str, str, str]]:
    """Every key as a path (``studies[].summary.n``), the record's field, and its type in words. A record that stands in
    several places is listed once, under its own name: ``Estimate.low``."""
    for kind in records_of_findings():
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            if field.name == MORE:
                continue
            names = keys_of(field)
            yield f"{kind.__name__}.{field.name}", _type(hints[field.name], names), _words(kind).get(field.name, "")


def records_of_findings() -> list[type]:
    """The records that can be reached from ``Findings``, each behind the first that holds it; ``Findings`` first."""
    results: dict[type, None] = {}

    def visit(hint: Any) -> None:
        if isinstance(hint, type) and dataclasses.is_dataclass(hint) and hint not in results:
            results[hint] = None
            for each in typing.get_type_hints(hint).values():
                visit(each)
        for argument in typing.get_args(hint):
            visit(argument)

    visit(Findings)
    return list(results)


def _type(hint: Any, names: tuple[str, ...] | None) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint == Value:
        return "value"
    if origin in (typing.Union, types.UnionType):
        kept = [a for a in arguments if a is not type(None)]
        whole = "value" if set(kept) == {bool, int, float, str} else " or ".join(_type(a, names) for a in kept)
        return f"{whole} or null" if type(None) in arguments else whole
    if origin is typing.Literal:
        return " or ".join(f"`{each}`" if each else "empty" for each in arguments)
    if (origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis) or origin is Sequence:
        return f"list of {_type(arguments[0], names)}"
    if origin is tuple:
        parts = [_type(a, None) for a in arguments]
        if names is None and len(set(parts)) == 1:
            return f"{len(parts)} of {parts[0]}"
        if names is None:
            return f"list: {', '.join(parts)}"
        return "{" + ", ".join(f"{n}: {t}" for n, t in zip(names, parts, strict=True)) + "}"
    if origin is not None and issubclass(origin, Mapping):
        return f"object, values: {_type(arguments[1], names)}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "answer" if hint is Answer else hint.__name__
    if dataclasses.is_dataclass(hint):
        return hint.__name__ if isinstance(hint, type) else ""
    return {int: "integer", float: "number", str: "text", bool: "true or false"}.get(hint, str(hint))


def _words(kind: type) -> dict[str, str]:
    """The fields' docstrings, which Python itself forgets."""
    tree = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(tree, ast.ClassDef)
    words: dict[str, str] = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        target = (
            field.target
            if isinstance(field, ast.AnnAssign)
            else field.targets[0]
            if isinstance(field, ast.Assign)
            else None
        )
        if isinstance(target, ast.Name) and text:
            words[target.id] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return words


def reference() -> str:
    """The tables of docs/report-json.md."""
    lines: list[str] = []
    current = ""
    kinds = {kind.__name__: kind for kind in records_of_findings()}
    for path, kind, words in keys():
        name, key = path.split(".")
        if name != current:
            described = inspect.getdoc(kinds[name]) or ""
            plain = "" if described.startswith(f"{name}(") else " ".join(described.split())
            lines += [
                "",
                f"### {name}",
                "",
                *([plain, ""] if plain else []),
                "| key | type | meaning |",
                "|---|---|---|",
            ]
            current = name
        lines.append(f"| `{key}` | {kind} | {words.replace('|', chr(92) + '|').replace('``', '`')} |")
    said = _words(ActionKind)
    lines += [
        "",
        "### ActionKind",
        "",
        " ".join(str(inspect.getdoc(ActionKind)).split()),
        "",
        "| value | what to do |",
        "|---|---|",
    ]
    lines += [f"| `{kind.value}` | {said[kind.name].replace('``', '`')} |" for kind in ActionKind]
    return "\n".join(lines).strip() + "\n"


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201 - `python -m hpo_batch.findings.report_json` makes the tables of the document
