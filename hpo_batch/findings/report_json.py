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
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from hpo_batch.findings import records
from hpo_batch.findings.json_keys import keys_of
from hpo_batch.findings.records import Findings, StudyFindings
from hpo_batch.records import Answer, Estimate, Value

FORMAT: Final = 1
"""raised when a key changes its meaning or goes; new keys do not raise it"""


MOST_TRIALS: Final = 10_000
MOST_STEPS: Final = 100_000
"""of learning curves; with more the file would be of hundreds of megabytes, which ``collect`` tells in less"""


def as_json(findings: Findings, *, version: str, sources: tuple[str, ...] = ()) -> dict[str, Any]:
    """All findings as JSON values. What is not finite is null.

    What is told of each trial of a very large study is told of some, and ``warnings`` say so.
    """
    return {"format": FORMAT, "hpo_batch": version, "sources": list(sources), **_record(_shortened(findings))}


def _shortened(findings: Findings) -> Findings:
    studies, told = [], []
    for study in findings.studies:
        history = _of_history(study.history, better=max if study.direction == "maximize" else min)
        trials = _of_trials(study.collapse.trials)
        curves = _of_curves(study)
        for what, kept, every in (
            ("history", history, study.history),
            ("collapse.trials", trials, study.collapse.trials),
            ("curves", curves, study.curves),
        ):
            if len(kept) < len(every):
                told.append(f"{study.label}: {what} of {len(kept)} of {len(every)} trials in report.json")
        collapse = dataclasses.replace(study.collapse, trials=trials)
        studies.append(dataclasses.replace(study, history=history, collapse=collapse, curves=curves))
    return dataclasses.replace(findings, studies=tuple(studies), warnings=(*findings.warnings, *told))


def _of_history(
    history: tuple[tuple[int, float], ...], *, better: Callable[[float, float], float]
) -> tuple[tuple[int, float], ...]:
    """Every so many, and each new best."""
    every = math.ceil(len(history) / MOST_TRIALS)
    if every < 2:
        return history
    kept, best = [], history[0][1]
    for i, (number, value) in enumerate(history):
        if i % every == 0 or better(value, best) != best:
            kept.append((number, value))
        best = better(value, best)
    return tuple(kept)


def _of_trials(trials: tuple[tuple[int, Answer], ...]) -> tuple[tuple[int, Answer], ...]:
    """Every so many, and those that collapsed."""
    every = math.ceil(len(trials) / MOST_TRIALS)
    if every < 2:
        return trials
    collapsed = [i for i, (_, answer) in enumerate(trials) if answer is Answer.YES][:MOST_TRIALS]
    return tuple(trials[i] for i in sorted({*range(0, len(trials), every), *collapsed}))


def _of_curves(study: StudyFindings) -> Mapping[int, tuple[tuple[int, float], ...]]:
    """Every so many, and that of the best trial."""
    steps = sum(map(len, study.curves.values()))
    every = math.ceil(steps / MOST_STEPS)
    best = study.summary.best.number if study.summary.best is not None else None
    return {
        number: tuple(curve)
        for i, (number, curve) in enumerate(study.curves.items())
        if every < 2 or i % every == 0 or number == best
    }


def _record(record: Any) -> dict[str, Any]:
    kind = type(record).__name__
    return {field.name: _value(getattr(record, field.name), keys_of(field)) for field in dataclasses.fields(record)}


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
    for kind in _records():
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            names = keys_of(field)
            yield f"{kind.__name__}.{field.name}", _type(hints[field.name], names), _words(kind).get(field.name, "")


def _records() -> list[type]:
    """The records that can be reached from ``Findings``, in the order of the module; ``Findings`` first."""
    every = [v for v in vars(records).values() if isinstance(v, type) and dataclasses.is_dataclass(v)]
    every = [kind for kind in every if kind.__module__ == records.__name__ or kind is Estimate]
    return [Findings, *(kind for kind in every if kind is not Findings)]


def _type(hint: Any, names: tuple[str, ...] | None) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint == Value:
        return "value"
    if origin in (typing.Union, types.UnionType):
        kept = [a for a in arguments if a is not type(None)]
        whole = "value" if set(kept) == {bool, int, float, str} else " or ".join(_type(a, names) for a in kept)
        return f"{whole} or null" if type(None) in arguments else whole
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
        return "answer"
    if dataclasses.is_dataclass(hint):
        return hint.__name__ if isinstance(hint, type) else ""
    return {int: "integer", float: "number", str: "text", bool: "true or false"}.get(hint, str(hint))


def _words(kind: type) -> dict[str, str]:
    """The fields' docstrings, which Python itself forgets."""
    tree = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(tree, ast.ClassDef)
    words: dict[str, str] = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and told:
            words[field.target.id] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return words


def reference() -> str:
    """The tables of docs/report-json.md."""
    lines: list[str] = []
    current = ""
    for path, kind, words in keys():
        name, key = path.split(".")
        if name != current:
            described = inspect.getdoc(getattr(records, name)) or ""
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
    return "\n".join(lines).strip() + "\n"


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201 - `python -m hpo_batch.findings.report_json` makes the tables of the document
