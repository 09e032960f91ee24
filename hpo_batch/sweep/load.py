"""Loads a sweep file, and reports all mistakes in it with file, line, key and a suggestion.

Returns one ``Sweep`` per ``[[budget]]``. Does not import the user's code.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli
from msgspec import structs

from hpo_batch.errors import SweepInvalid, UserError
from hpo_batch.records import Problem, Value
from hpo_batch.space.build import RESERVED, build
from hpo_batch.space.declaration import why_no_value
from hpo_batch.sweep.lines import Key, key_lines
from hpo_batch.sweep.mistakes import Mistake, Source, put
from hpo_batch.sweep.name import no_file
from hpo_batch.sweep.rules import find_problems
from hpo_batch.sweep.samplers import capabilities_of
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.tables import to_raw
from hpo_batch.sweep.templates import Raw, merge, read_template
from hpo_batch.sweep.validate import checked, known_keys, validate
from hpo_batch.text.lines import one_line
from hpo_batch.text.values import shown

FROZEN = {
    "job.template": "a study keeps its job as submitted; to use another template, pass the sweep's TOML file",
    "study.name": "the name of a study cannot be changed",
    "budget": "budgets cannot be changed with --set; set the key itself",
}
"""keys that ``override`` cannot change, because templates and budgets are merged already"""
LOCAL = "local"
"""default template"""
LOCAL_KEYS = (
    *("template", "workers", "workers_per_gpu", "fuse", "walltime", "device", "cpus", "gpu_mem_gb", "python", "setup"),
    *("grace_s", "signal_lead_s"),
)
"""keys of [job] that also apply without SLURM"""


def load(path: Path, *, overrides: Sequence[str] = ()) -> tuple[Sweep, ...]:
    """Load the sweeps in a file, one per budget.

    Args:
        path: the TOML file.
        overrides: ``key=value`` texts of ``--set``, such as ``job.workers=4``. Values that are not TOML are strings.

    Raises:
        UserError: the file is missing or cannot be read.
        SweepInvalid: the file has mistakes; contains all of them.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # utf-8-sig: some editors write a byte order mark
    except FileNotFoundError as error:
        raise no_file(path) from error
    except IsADirectoryError as error:
        raise UserError(f"'{path}' is a directory, not a sweep file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from error
    return loads(text, path=path, overrides=overrides)


def loads(text: str, *, path: Path, overrides: Sequence[str] = ()) -> tuple[Sweep, ...]:
    """``load`` for the text of a file that need not exist yet.

    Args:
        text: TOML.
        path: what messages call the file; templates are looked for beside it.

    Raises:
        SweepInvalid: the text has mistakes; contains all of them.
    """
    try:
        raw = tomli.loads(text)
        lines = key_lines(text)
    except RecursionError as error:
        raise SweepInvalid((one_line(f"{path}: not valid TOML: its tables are nested too deeply"),)) from error
    except ValueError as error:
        raise SweepInvalid((one_line(f"{_place(path, text, error)}: not valid TOML: {error}"),)) from error
    return _Loader(path, Source(file=str(path), raw=raw, lines=lines), overrides).load()


def override(sweep: Sweep, overrides: Sequence[str]) -> Sweep:
    """Change keys of a frozen sweep with ``--set``. Templates are not read again.

    Args:
        sweep: the frozen sweep.
        overrides: as in ``load``.

    Raises:
        SweepInvalid: there are mistakes; contains all of them.
    """
    if not overrides:
        return sweep
    raw: Raw = to_raw(sweep)
    raw.pop("budget", None)
    sources = []
    problems: list[Problem] = []
    for text in overrides:
        try:
            source = Source(file=f"--set {text}", raw=_parse_override(text))
        except UserError as error:
            raise SweepInvalid((f"--set {text}: {error}",)) from error
        for key, message in FROZEN.items():
            if _has(source.raw, key.split(".")):
                problems.append(Problem(key=tuple(key.split(".")), message=message))
        sources.append(source)
        raw = merge(raw, source.raw)
    changed = None if problems else _validated(raw, problems)
    if changed is None:
        here = Source(file="the study's sweep", raw=raw)
        raise SweepInvalid(tuple(str(put(problem, [here, *sources])) for problem in problems))
    return dataclasses.replace(changed, budget=sweep.budget)


def _place(path: Path, text: str, error: ValueError) -> str:
    """File and line of a TOML syntax error."""
    line = getattr(error, "lineno", None)
    # int() refuses more than 4300 digits, with a ValueError without a line:
    # https://github.com/python/cpython/issues/95778
    digits = re.search(r"[0-9_]{4301}", text) if line is None else None
    if digits:
        line = text.count("\n", 0, digits.start()) + 1
    return str(path) if line is None else f"{path}:{line}"


class _Loader:
    """Loads one file, and collects its mistakes."""

    def __init__(self, path: Path, file: Source, overrides: Sequence[str]) -> None:
        self.path = path
        self.file = file
        self.mistakes: dict[Mistake, set[int]] = {}
        """each mistake with the indices of the budgets that have it"""
        self.override_files = [f"--set {text}" for text in overrides]
        self.overrides = [source for text in overrides if (source := self._override(text)) is not None]

    def load(self) -> tuple[Sweep, ...]:
        base = dict(self.file.raw)
        budgets = base.pop("budget", [])
        if not isinstance(budgets, list) or not all(isinstance(budget, Mapping) for budget in budgets):
            self._add([Problem(key=("budget",), message="budgets must be [[budget]] tables")], [self.file])
            budgets = []
        self._add(_budget_problems(budgets), [self.file])
        sweeps = [self._sweep(base, i, budget, is_budget=bool(budgets)) for i, budget in enumerate(budgets or [{}])]
        if self.mistakes:
            mistakes = [self._with_budgets(mistake, budgets) for mistake in self.mistakes]
            mistakes.sort(key=lambda m: (self._rank(m.file), m.line or 0, m.key))
            raise SweepInvalid(tuple(str(mistake) for mistake in mistakes))
        return tuple(sweep for sweep in sweeps if sweep is not None)

    def _sweep(self, base: Raw, number: int, budget: Mapping[str, Any], *, is_budget: bool) -> Sweep | None:
        """The sweep of one budget, merged in this order: defaults, template, [job], [[budget]], --set."""
        sources = [self.file]
        merged = base
        if is_budget:
            own = {key: value for key, value in budget.items() if key not in ("name", "budget")}
            here = ("budget", number)
            lines = {key[2:]: line for key, line in self.file.lines.items() if key[:2] == here}
            header = self.file.lines.get(here)
            sources.append(Source(file=self.file.file, raw=own, lines=lines, header=header, prefix=here))
            merged = merge(merged, own)
        for override in self.overrides:
            sources.append(override)
            merged = merge(merged, override.raw)
        problems: list[Problem] = []
        template = self._template(merged.get("job", {}), sources, problems)
        sweep = _validated({**merged, "job": merge(template, merged.get("job", {}))} if template else merged, problems)
        self._check_local(template, sources, wrong={problem.key[:2] for problem in problems}, budget=number)
        self._add(problems, sources, budget=number)
        if sweep is None:
            return None
        if template.get("scheduler") == "local":
            # keys for SLURM do not apply here, and must not make --local fail
            local = {key: value for key, value in merged.get("job", {}).items() if key in LOCAL_KEYS}
            # validated as part of the sweep, because a separate pydantic schema for the job would have to be built
            job = checked(Sweep, {**to_raw(sweep), "job": merge(template, local)}).job
            sweep = dataclasses.replace(sweep, job=job)
        # the budget's name was checked in _budget_problems
        return dataclasses.replace(sweep, budget=budget.get("name")) if is_budget else sweep

    def _template(self, job: Any, sources: list[Source], problems: list[Problem]) -> Raw:
        """The keys of the job's template, which becomes the first of the sources."""
        name = job.get("template", LOCAL) if isinstance(job, Mapping) else None
        if not isinstance(name, str):
            return {}  # the schema reports it
        try:
            template = read_template(name, self.path.parent)
        except UserError as error:
            problems.append(Problem(key=("job", "template"), message=str(error)))
            return {}
        lines = {("job", *key): line for key, line in key_lines(template.text).items()}
        sources.insert(0, Source(file=str(template.path), raw={"job": template.raw}, lines=lines, hidden=1))
        if "template" in template.raw:
            message = f"job template {template.path}: templates cannot be nested; remove its key 'template'"
            problems.append(Problem(key=("job", "template"), message=message))
        return template.raw

    def _check_local(self, template: Raw, sources: Sequence[Source], *, wrong: Container[Key], budget: int) -> None:
        """Report keys for SLURM in a sweep that runs on this machine, where they would be ignored.

        With ``--local``, keys of the file are ignored silently, so that every sweep can be tried without SLURM.

        Args:
            template: keys of the job's template.
            sources: of the sweep.
            wrong: keys with a problem already.
            budget: index of the budget.
        """
        if template.get("scheduler") != "local":
            for source in sources:
                if _job(source).get("scheduler") == "local" and not source.hidden:
                    message = "only a template can say where a sweep runs: use --local, or template = 'local'"
                    self._add([Problem(key=("job", "scheduler"), message=message)], [source], budget=budget)
            return
        named = [source for source in sources if "template" in _job(source)]
        name = _job(named[-1])["template"] if named else None
        is_override = named and named[-1] in self.overrides
        checked_sources = [source for source in sources if source.hidden or source in self.overrides or not is_override]
        for source in checked_sources:
            allowed = (*LOCAL_KEYS, "scheduler") if source.hidden else LOCAL_KEYS  # hidden: the template itself
            for key in [key for key in _job(source) if key not in allowed and ("job", key) not in wrong]:
                what = "which only a template can set" if key == "scheduler" else "which is for SLURM"
                where = f"template '{name}' runs" if name else "without [job] template the sweep runs"
                message = f"{where} on this machine: remove '{key}', {what}, or use a template for SLURM"
                self._add([Problem(key=("job", key), message=message)], [source], budget=budget)

    def _override(self, text: str) -> Source | None:
        """``key=value`` as a source. Values that are not TOML are strings, so that users need not quote twice."""
        file = f"--set {text}"
        try:
            raw = _parse_override(text)
        except UserError as error:
            self.mistakes[Mistake(file=file, line=None, key="", message=str(error))] = set()
            return None
        if "budget" in raw:
            message = "budgets cannot be changed with --set; set the key itself, for all budgets"
            self.mistakes[Mistake(file=file, line=None, key="budget", message=message)] = set()
            return None
        return Source(file=file, raw=raw)

    def _add(self, problems: Sequence[Problem], sources: Sequence[Source], *, budget: int | None = None) -> None:
        for problem in problems:
            of_budgets = self.mistakes.setdefault(put(problem, sources), set())
            if budget is not None:
                of_budgets.add(budget)

    def _rank(self, file: str) -> int:
        """Sort key for files: the sweep file, then templates, then overrides in the given order."""
        if file == self.file.file:
            return -2
        return self.override_files.index(file) if file in self.override_files else -1

    def _with_budgets(self, mistake: Mistake, budgets: Sequence[Mapping[str, Any]]) -> Mistake:
        """Add the names of the budgets to a mistake that only some of them have."""
        numbers = self.mistakes[mistake]
        if not numbers or len(numbers) == len(budgets or [{}]) or mistake.key.startswith("budget["):
            return mistake
        names = ", ".join(shown(budgets[i].get("name", i + 1)) for i in sorted(numbers))
        return structs.replace(mistake, message=f"{mistake.message} (in budget {names})")


def _job(source: Source) -> Mapping[str, Any]:
    """The table ``[job]`` of a source; empty if it is not a table."""
    job = source.raw.get("job") if isinstance(source.raw, Mapping) else None
    return job if isinstance(job, Mapping) else {}


def _budget_problems(budgets: Sequence[Mapping[str, Any]]) -> list[Problem]:
    problems: list[Problem] = []
    seen: set[str] = set()
    known = [key for key in known_keys() if key != "budget"]
    for i, budget in enumerate(budgets):
        label = budget.get("name")
        if not isinstance(label, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,49}", label):
            message = 'each budget needs a name that can be a folder (letters, digits and . _ + -), for example "2M"'
            problems.append(Problem(key=("budget", i, "name"), message=message))
        elif label in seen:
            problems.append(Problem(key=("budget", i, "name"), message=f"two budgets are called '{label}'"))
        else:
            seen.add(label)
        if "budget" in budget:
            message = "a budget cannot contain budgets"
            problems.append(Problem(key=("budget", i, "budget"), message=message, allowed=f"name, {', '.join(known)}"))
    return problems


def _parse_override(text: str) -> Raw:
    """Parse ``key=value`` of ``--set``; raises UserError."""
    key, equals, value = text.partition("=")
    usage = "--set takes key=value, for example job.workers=4"
    if not equals or "\n" in key:
        raise UserError(usage)
    if not text.isascii() and text != text.encode(errors="replace").decode():
        raise UserError("it is not UTF-8 text")
    try:
        if "\n" not in text:
            raw = tomli.loads(text)
            if len(raw) == 1 and not text.lstrip().startswith("["):
                return raw
    except (ValueError, RecursionError) as error:
        if value.lstrip()[:1] in tuple("[{\"'"):
            raise UserError(f"the value is not valid TOML: {error}") from error
    try:
        raw = tomli.loads(f"{key} = 0")
    except (ValueError, RecursionError) as error:
        raise UserError(usage) from error
    node = raw
    if not raw:  # the key is a comment
        raise UserError(usage)
    while True:
        ((name, inner),) = node.items()
        if inner == 0:
            node[name] = value.strip()
            return raw
        node = inner


def _validated(raw: Raw, problems: list[Problem]) -> Sweep | None:
    """Validate a merged sweep; None if there are problems, which are added to ``problems``."""
    raw = dict(raw)
    objective = raw.get("objective", {})
    with_n_params = isinstance(objective, Mapping) and "n_params" in objective
    is_table = isinstance(raw.get("space", {}), Mapping)
    if is_table:
        raw["space"] = infer_space(raw)
    space, space_problems = build(raw["space"] if is_table else {}, with_n_params=with_n_params)
    problems += space_problems
    sweep, schema_problems = validate(raw)
    problems += schema_problems
    if sweep is not None:
        problems += find_problems(sweep, space, problems=problems)
    return None if problems else sweep


def _has(raw: Mapping[str, Any], parts: Sequence[str]) -> bool:
    node: Any = raw
    for part in parts:
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


def infer_space(raw: Mapping[str, Any]) -> dict[str, Any]:
    """``[space]`` as written. For a list sampler without parameters, they are inferred from the ``[[trial]]``
    tables."""
    table: dict[str, Any] = dict(raw.get("space", {}))
    sampler, trials = raw.get("sampler", {}), raw.get("trial", [])
    name = sampler.get("name") if isinstance(sampler, Mapping) else None
    is_list = isinstance(name, str) and capabilities_of(name).is_list and isinstance(trials, list)
    if not is_list or table.keys() - set(RESERVED):
        return table
    values: dict[str, list[Value]] = {}
    for params in [t.get("params") for t in trials if isinstance(t, Mapping)] + [raw.get("baseline")]:
        for parameter, value in params.items() if isinstance(params, Mapping) else ():
            if why_no_value(value) is None and value not in values.setdefault(parameter, []):
                values[parameter].append(value)
    inferred = {name: choices[0] if len(choices) == 1 else choices for name, choices in values.items()}
    return {**inferred, **table}
