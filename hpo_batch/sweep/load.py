"""Read a sweep file, and report every mistake in it at once, with file, line, key and a suggestion.

One ``Sweep`` per ``[[budget]]``. Nothing of the user's code is imported here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli

from hpo_batch.errors import SweepInvalid, UserError
from hpo_batch.records import Problem, Value
from hpo_batch.space.build import RESERVED, build
from hpo_batch.space.declaration import why_no_value
from hpo_batch.sweep.lines import Key, key_lines
from hpo_batch.sweep.mistakes import Mistake, Source, put
from hpo_batch.sweep.rules import find_problems
from hpo_batch.sweep.samplers import capabilities_of
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.tables import to_raw
from hpo_batch.sweep.templates import Raw, merge, read_template
from hpo_batch.sweep.validate import checked, known_keys, validate
from hpo_batch.text.lines import one_line
from hpo_batch.text.values import shown

LATER: dict[str, str] = {
    "previous": "what refine remembers",
}
"""keys of a later version: refused with a message of their own"""
FROZEN = {
    "job.template": "the study's job is kept as it was submitted; to take another template give the sweep's TOML",
    "study.name": "a study keeps its name",
    "budget": "a budget cannot be changed from outside; set the key itself",
}
"""keys that ``override`` cannot change, since templates and budgets are merged already"""
LOCAL = "local"
"""the template of a sweep that names none"""
LOCAL_KEYS = (
    *("template", "workers", "workers_per_gpu", "walltime", "device", "cpus", "python", "setup"),
    *("grace_s", "signal_lead_s"),
)
"""keys of [job] that have an effect without SLURM"""


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
        text = path.read_text(encoding="utf-8-sig")  # utf-8-sig: some editors begin a file with a byte order mark
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
        lines = key_lines(text)
    except RecursionError as error:
        raise SweepInvalid((one_line(f"{path}: not valid TOML: its tables are nested too deeply"),)) from error
    except ValueError as error:
        raise SweepInvalid((one_line(f"{_place(path, text, error)}: not valid TOML: {error}"),)) from error
    return _Loader(path, Source(file=str(path), raw=raw, lines=lines), overrides).load()


def override(sweep: Sweep, overrides: Sequence[str]) -> Sweep:
    """A frozen sweep with keys changed by ``--set``; its job is the one that was frozen, whatever templates say today.

    Raises:
        SweepInvalid: a text or what follows from it is a mistake; the error holds all of them.
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
    """File and line of a mistake in the TOML itself; Python has no place for an integer of thousands of digits."""
    line = getattr(error, "lineno", None)
    digits = re.search(r"[0-9_]{4301}", text) if line is None else None
    if digits:
        line = text.count("\n", 0, digits.start()) + 1
    return str(path) if line is None else f"{path}:{line}"


class _Loader:
    """Reads one file into its sweeps, and collects what is wrong with it."""

    def __init__(self, path: Path, file: Source, overrides: Sequence[str]) -> None:
        self.path = path
        self.file = file
        self.mistakes: dict[Mistake, set[int]] = {}
        """each mistake with the budgets that have it"""
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
        """One budget's sweep: defaults < template < [job] < [[budget]] < --set."""
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
            # what the sweep asks of SLURM means nothing here, and must not make --local fail
            local = {key: value for key, value in merged.get("job", {}).items() if key in LOCAL_KEYS}
            # as part of the sweep, since pydantic would have to learn of the job's table alone
            job = checked(Sweep, {**to_raw(sweep), "job": merge(template, local)}).job
            sweep = dataclasses.replace(sweep, job=job)
        # the name of a budget was judged with those of the others
        return dataclasses.replace(sweep, budget=budget.get("name")) if is_budget else sweep

    def _template(self, job: Any, sources: list[Source], problems: list[Problem]) -> Raw:
        """The keys of the job's template, which becomes the lowest of the sources."""
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
            message = f"job template {template.path}: a template cannot name another one; remove its key 'template'"
            problems.append(Problem(key=("job", "template"), message=message))
        return template.raw

    def _check_local(self, template: Raw, sources: Sequence[Source], *, wrong: Container[Key], budget: int) -> None:
        """Whoever lets a sweep run on this machine asks nothing of SLURM beside it: that would be dropped.

        Whoever names the template: the file, or what is said beside it. ``--local`` leaves what the file asks of SLURM
        aside, so that every sweep can be tried without it.

        Args:
            wrong: keys about which something is said already.
        """
        if template.get("scheduler") != "local":
            for source in sources:
                if _job(source).get("scheduler") == "local" and not source.hidden:
                    message = "only a template can say where a sweep runs: use --local, or template = 'local'"
                    self._add([Problem(key=("job", "scheduler"), message=message)], [source], budget=budget)
            return
        named = [source for source in sources if "template" in _job(source)]
        name = _job(named[-1])["template"] if named else None
        beside = named and named[-1] in self.overrides
        asked = [source for source in sources if source.hidden or source in self.overrides or not beside]
        for source in asked:
            left_out = (*LOCAL_KEYS, "scheduler") if source.hidden else LOCAL_KEYS  # hidden: the template itself
            for key in [key for key in _job(source) if key not in left_out and ("job", key) not in wrong]:
                what = "which only a template can set" if key == "scheduler" else "which is for SLURM"
                where = f"template '{name}' runs" if name else "without [job] template the sweep runs"
                message = f"{where} on this machine: leave out '{key}', {what}, or name a template for SLURM"
                self._add([Problem(key=("job", key), message=message)], [source], budget=budget)

    def _override(self, text: str) -> Source | None:
        """``key=value`` as a layer of its own. What is no TOML value is a string, so that nobody must quote twice."""
        file = f"--set {text}"
        try:
            raw = _parse_override(text)
        except UserError as error:
            self.mistakes[Mistake(file=file, line=None, key="", message=str(error))] = set()
            return None
        if "budget" in raw:
            message = "a budget cannot be changed from outside; set the key itself, for all budgets"
            self.mistakes[Mistake(file=file, line=None, key="budget", message=message)] = set()
            return None
        return Source(file=file, raw=raw)

    def _add(self, problems: Sequence[Problem], sources: Sequence[Source], *, budget: int | None = None) -> None:
        for problem in problems:
            of_budgets = self.mistakes.setdefault(put(problem, sources), set())
            if budget is not None:
                of_budgets.add(budget)

    def _rank(self, file: str) -> int:
        """The sweep file comes first, templates next, then the overrides as they were given."""
        if file == self.file.file:
            return -2
        return self.override_files.index(file) if file in self.override_files else -1

    def _with_budgets(self, mistake: Mistake, budgets: Sequence[Mapping[str, Any]]) -> Mistake:
        """A mistake that only some budgets have, and that does not stand in one of them, says which."""
        numbers = self.mistakes[mistake]
        if not numbers or len(numbers) == len(budgets or [{}]) or mistake.key.startswith("budget["):
            return mistake
        names = ", ".join(shown(budgets[i].get("name", i + 1)) for i in sorted(numbers))
        return dataclasses.replace(mistake, message=f"{mistake.message} (in budget {names})")


def _job(source: Source) -> Mapping[str, Any]:
    """What a source says of the job, if that is a table."""
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
    """Raises UserError."""
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
    """The sweep, unless there are ``problems``; those of the schema, the space and between the tables are added."""
    for dotted, what in LATER.items():
        if _has(raw, dotted.split(".")):
            message = f"this version does not support it yet ({what}); remove the key"
            problems.append(Problem(key=tuple(dotted.split(".")), message=message))
    raw = _without(raw, {tuple(dotted.split(".")) for dotted in LATER})
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


def _without(raw: Mapping[str, Any], keys: set[tuple[str, ...]], path: tuple[str, ...] = ()) -> Raw:
    return {
        key: _without(value, keys, (*path, key)) if isinstance(value, Mapping) and len(path) < 1 else value
        for key, value in raw.items()
        if (*path, key) not in keys
    }


def infer_space(raw: Mapping[str, Any]) -> dict[str, Any]:
    """``[space]`` as written; of a list without parameters there, the values that its ``[[trial]]`` tables use."""
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
