"""Read a sweep file and report every mistake in it at once, each with file, line, key, what is allowed, nearest name.

One ``Sweep`` per ``[[budget]]``. Nothing of the user's code is imported here.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pydantic
import tomli

from hpo_batch.errors import SweepInvalid, UserError
from hpo_batch.records import Problem
from hpo_batch.space.build import build
from hpo_batch.sweep.lines import Key, key_lines, line_of
from hpo_batch.sweep.rules import find_problems, infer_space
from hpo_batch.sweep.schema import Sweep, Table
from hpo_batch.sweep.templates import Raw, merge, read_template

LATER: dict[str, str] = {
    "study.replicates": "several seeds for each trial",
    "study.import": "history from other studies",
    "study.shared": "studies shared by a group",
    "failures.stall": "ending attempts that show no progress",
    "job.auto_resume": "resuming without being asked",
    "job.workers_per_gpu": "several workers on one GPU",
    "previous": "what refine remembers",
}
"""keys of the design that this version does not act on: refused by name, rather than as unknown or in silence"""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A problem with its place in a file."""

    file: str
    line: int | None
    key: str
    message: str
    allowed: str = ""
    guess: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        text = f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"
        if self.guess:
            text += f"; did you mean '{self.guess}'?"
        if self.allowed:
            text += f" (allowed: {self.allowed})"
        return text


def load(path: Path, *, overrides: Sequence[str] = ()) -> tuple[Sweep, ...]:
    """The sweeps that a file describes, one for each budget.

    Args:
        path: the TOML file.
        overrides: ``key=value`` texts of ``--set``, for example ``job.workers=4``; values are TOML, else strings.

    Raises:
        UserError: the file is missing or cannot be read.
        SweepInvalid: the file has mistakes; the error holds all of them.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"no sweep file '{path}'; 'hpo-batch submit' takes the path of a TOML file") from error
    except IsADirectoryError as error:
        raise UserError(f"'{path}' is a directory, not a sweep file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from error
    try:
        raw = tomli.loads(text)
    except (tomli.TOMLDecodeError, RecursionError) as error:
        raise SweepInvalid((f"{path}: not valid TOML: {error}",)) from error
    return _sweeps(raw, key_lines(text), path=path, overrides=overrides)


def _sweeps(raw: Raw, lines: Mapping[Key, int], *, path: Path, overrides: Sequence[str]) -> tuple[Sweep, ...]:
    mistakes: dict[str, Mistake] = {}

    def tell(problems: Sequence[Problem], prefix: Key = ()) -> None:
        for problem in problems:
            key = problem.key
            # a table of a budget is merged over the file's: the key's own line is in the budget if it stands there
            own = line_of((*prefix, *key), dict(lines)) if prefix and (*prefix, *key)[:3] in lines else None
            mistake = Mistake(
                file=str(path),
                line=own if own is not None else line_of(key, dict(lines)),
                key=_dotted(key),
                message=problem.message,
                allowed=problem.allowed,
                guess=problem.guess,
            )
            mistakes.setdefault(str(mistake), mistake)

    base, problems = _with_overrides(raw, overrides)
    tell(problems)
    budgets = base.pop("budget", [])
    if not isinstance(budgets, list) or not all(isinstance(b, Mapping) for b in budgets):
        tell([Problem(key=("budget",), message="budgets are written as [[budget]] tables")])
        budgets = []
    sweeps: list[Sweep] = []
    names: set[str] = set()
    for i, budget in enumerate(budgets or [{}]):
        prefix: Key = ("budget", i) if budgets else ()
        label = budget.get("name")
        if budgets:
            tell(_budget_problems(budget, names), prefix)
            if isinstance(label, str):
                names.add(label)
        merged = merge(base, {key: value for key, value in budget.items() if key != "name"})
        merged, problems = _with_template(merged, near=path.parent, overrides=overrides)
        tell(problems, prefix)
        sweep, problems = _validate(merged, label if budgets and isinstance(label, str) else None)
        tell(problems, prefix)
        if sweep is not None:
            sweeps.append(sweep)
    if mistakes:
        ordered = sorted(mistakes.values(), key=lambda m: (m.line or 0, m.key))
        raise SweepInvalid(tuple(str(mistake) for mistake in ordered))
    return tuple(sweeps)


def _budget_problems(budget: Mapping[str, Any], names: set[str]) -> list[Problem]:
    label = budget.get("name")
    if not isinstance(label, str) or not label.strip() or "/" in label or label.startswith("."):
        return [Problem(key=("name",), message='each budget has a name that can be a folder, for example "2M"')]
    if label in names:
        return [Problem(key=("name",), message=f"two budgets are called '{label}'")]
    return []


def _with_overrides(raw: Raw, overrides: Sequence[str]) -> tuple[Raw, list[Problem]]:
    problems: list[Problem] = []
    merged = dict(raw)
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = tuple(part.strip() for part in key.split("."))
        if not equals or not all(parts):
            problems.append(
                Problem(key=(), message=f"--set takes key=value, for example job.workers=4, not '{override}'")
            )
            continue
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        nested: Any = value
        for part in reversed(parts):
            nested = {part: nested}
        merged = merge(merged, nested)
    return merged, problems


def _with_template(raw: Raw, *, near: Path, overrides: Sequence[str]) -> tuple[Raw, list[Problem]]:
    """Put the job template below ``[job]``. Overrides were merged already: they stay on top of both."""
    job = raw.get("job", {})
    if not isinstance(job, Mapping):
        return raw, []
    name = job.get("template", "local")
    if not isinstance(name, str):
        return raw, []
    try:
        template = read_template(name, near)
    except UserError as error:
        return {**raw, "job": {**job, "template": "local"}}, [Problem(key=("job", "template"), message=str(error))]
    if template.get("scheduler") == "local":
        # what the sweep asks of SLURM means nothing here, and must not make --local fail
        kept = {"template", "workers", "walltime", "device", "cpus", "python", "setup"}
        job = {key: value for key, value in job.items() if key in kept or key not in _keys("job")}
    return {**raw, "job": merge(template, job)}, []


def _validate(raw: Raw, budget: str | None) -> tuple[Sweep | None, list[Problem]]:
    """The sweep, and what the schema, the space and the rules between tables have against it."""
    problems = [
        Problem(key=tuple(dotted.split(".")), message=f"this version does not act on it yet ({what}); remove the key")
        for dotted, what in LATER.items()
        if _has(raw, dotted.split("."))
    ]
    raw = _without(raw, {tuple(dotted.split(".")) for dotted in LATER})
    space_table = raw.get("space", {})
    if isinstance(space_table, Mapping):
        raw["space"] = space_table = infer_space(raw)
        objective = raw.get("objective", {})
        _, found = build(space_table, with_n_params=isinstance(objective, Mapping) and "n_params" in objective)
        problems += found
    try:
        sweep = Sweep.model_validate({**raw, "budget": budget} if budget else raw)
    except pydantic.ValidationError as error:
        return None, problems + [_problem(detail) for detail in error.errors(include_url=False)]
    if problems:
        return None, problems + find_problems(sweep, space_is_sound=False)
    problems = find_problems(sweep, space_is_sound=True)
    return (None, problems) if problems else (sweep, [])


def _has(raw: Mapping[str, Any], parts: Sequence[str]) -> bool:
    node: Any = raw
    for part in parts:
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


def _without(raw: Mapping[str, Any], keys: set[tuple[str, ...]], path: tuple[str, ...] = ()) -> Raw:
    return {
        key: _without(value, keys, (*path, key)) if isinstance(value, Mapping) and len(path) < 1 else value
        for key, value in raw.items()
        if (*path, key) not in keys
    }


def _problem(detail: Any) -> Problem:
    """A pydantic error in our words."""
    key = tuple(part for part in detail["loc"] if part not in ("function-before", "function-after"))
    kind, context, given = detail["type"], detail.get("ctx", {}), detail.get("input")
    if kind == "extra_forbidden":
        known = [k for k in _keys(*key[:-1]) if k != "budget"] + ([] if key[:-1] else ["budget"])
        guess = difflib.get_close_matches(str(key[-1]), known, n=1)
        return Problem(
            key=key, message="unknown key", allowed=", ".join(known), guess=guess[0] if guess else ""
        )  # fmt: skip
    if kind == "missing":
        allowed = "minimize, maximize" if key[-1] == "direction" else ""
        return Problem(key=key, message="is missing", allowed=allowed)
    if kind == "literal_error":
        allowed = str(context["expected"]).replace("'", "").replace(" or ", ", ")
        guess = difflib.get_close_matches(str(given), allowed.split(", "), n=1)
        return Problem(key=key, message=f"{given!r} is not allowed", allowed=allowed, guess=guess[0] if guess else "")
    message = str(detail["msg"]).removeprefix("Value error, ")
    if kind == "string_pattern_mismatch" and key[-1] in ("function", "n_params"):
        message = f'{given!r} is not of the form "package.module:function"'
    elif kind == "string_pattern_mismatch":
        message = f"{given!r} is not an identifier (letters, digits and _)"
    elif kind != "value_error":
        message = f"{message[0].lower()}{message[1:]}, not {given!r}"
    return Problem(key=key, message=message)


def _keys(*path: str | int) -> list[str]:
    """Known keys of the table at ``path``, as they are written in the TOML."""
    model: type[Table] = Sweep
    for part in path:
        if isinstance(part, int):
            continue
        field = next((f for n, f in model.model_fields.items() if (f.alias or n) == part), None)
        nested = [] if field is None else _models(field.annotation)
        if not nested:
            return []
        model = nested[0]
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> list[type[Table]]:
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _dotted(key: Sequence[str | int]) -> str:
    """A key as one would write it in TOML; tables of an array by their place, from 1."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            bare = part.replace("-", "").replace("_", "").isalnum() and part.isascii()
            text += ("." if text else "") + (part if bare else '"' + part.replace('"', '\\"') + '"')
    return text
