"""Flatten objects in cells to columns: ``{"params": {"lr": 0.1}}`` in JSON, and dicts printed into a CSV file."""

from __future__ import annotations

import ast
import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pandas as pd

from hpo_batch.results.cells import is_empty
from hpo_batch.sources.cells import column_of_json
from hpo_batch.text.names import listed

# maximum nesting of objects; deeper ones stay text
DEEPEST: Final = 20
# name of an object -> prefix of the columns made of it
_PREFIXES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("params", "parameters", "hyperparameters", "config"), "params_"),
    **dict.fromkeys(("metrics", "user_attrs", "results", "summary"), "user_attrs_"),
}
# ``np.float64(0.5)``, as NumPy 2 prints its scalars: https://numpy.org/neps/nep-0051-scalar-representation.html
_NUMPY_SCALAR: Final = re.compile(r"\b(?:np|numpy)\.\w+\(([^()]*)\)")
_NAN: Final = re.compile(r"(?<!['\"\w])nan(?!['\"\w])")
_INF: Final = re.compile(r"(?<!['\"\w])inf(?!['\"\w])")


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object without objects in it: ``params_lr`` for ``{"params": {"lr": ...}}``, ``a.b`` for others."""
    cells: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict) and value:
            prefix = _PREFIXES.get(name, f"{name}.")
            cells |= {f"{prefix}{inner}": cell for inner, cell in _leaves(value)}
        else:
            cells[name] = value
    return cells


def _leaves(value: Mapping[str, Any], depth: int = 1) -> Iterator[tuple[str, Any]]:
    for name, cell in value.items():
        if isinstance(cell, dict) and cell and depth < DEEPEST:
            yield from ((f"{name}.{inner}", each) for inner, each in _leaves(cell, depth + 1))
        else:
            yield str(name), cell


def without_printed_dicts(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Columns of printed dicts (``params`` of scikit-learn's ``cv_results_``) as columns of their own, and notes."""
    notes = []
    for name in [str(c) for c in frame.columns if str(c).lower() in _PREFIXES]:
        dicts = [_printed_dict(cell) for cell in frame[name].tolist()]
        if None in dicts or not any(dicts):
            continue
        prefix = _PREFIXES[name.lower()]
        rows = [{f"{prefix}{inner}": cell for inner, cell in _leaves(each or {})} for each in dicts]
        names = list(dict.fromkeys(inner for row in rows for inner in row))
        bare = {inner.removeprefix(prefix) for inner in names}
        columns = set(map(str, frame.columns))
        if {f"param_{inner}" for inner in bare} <= columns or set(names) & columns:
            notes.append(f"'{name}' repeats other columns: left out")
        else:
            more = pd.DataFrame({inner: column_of_json([row.get(inner) for row in rows]) for inner in names})
            frame = pd.concat([frame, more.set_index(frame.index)], axis=1)
            notes.append(f"'{name}' holds {listed(sorted(bare))}: one column each")
        frame = frame.drop(columns=name)
    return frame, tuple(notes)


def _printed_dict(cell: Any) -> dict[str, Any] | None:
    """The dict that a text is; an empty one for an empty cell; None for anything else."""
    if is_empty(cell):
        return {}
    if not isinstance(cell, str) or not cell.startswith("{"):
        return None
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads(cell)
        return content if isinstance(content, dict) else None
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        # literal_eval knows no nan and inf: they become None and 1e999, which overflows to infinity
        literal = _INF.sub("1e999", _NAN.sub("None", _NUMPY_SCALAR.sub(r"\1", cell)))
        content = ast.literal_eval(literal)
        return content if isinstance(content, dict) else None
    return None
