"""Describe a sweep and its mistakes for ``check``, and print the reference of the TOML."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hpo_batch.errors import UserError
from hpo_batch.launch.checks import describe_imports, describe_sharing, line
from hpo_batch.launch.task_layout import gpus_of, no_machine_named, shape_of
from hpo_batch.objective.load import find_function, import_function
from hpo_batch.objective.mistakes import doubts as objective_doubts
from hpo_batch.objective.small_models import why_no_gain
from hpo_batch.records import Value
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.space.cells import expected_distinct, size
from hpo_batch.space.draw import rarely_valid
from hpo_batch.space.parameters import Choices, Searched
from hpo_batch.store import footprint
from hpo_batch.store.home import StudyHome
from hpo_batch.sweep.doubts import warnings
from hpo_batch.sweep.planned import planned_trials
from hpo_batch.sweep.samplers import SAMPLERS
from hpo_batch.sweep.schema import Objective, Sweep
from hpo_batch.sweep.size import architecture_size, target
from hpo_batch.sweep.tables import keys_of, meanings, tables_in
from hpo_batch.sweep.walltime import format_walltime
from hpo_batch.text.numbers import count

OURS = "hpo_batch."
# configurations whose size is computed; the user's n_params function may build a model for each
MOST_COUNTED = 20_000


def describe_sweep(sweep: Sweep, *, home: StudyHome, import_code: bool) -> tuple[list[str], list[str]]:
    """A sweep's description, line by line, and warnings; ``refusals`` finds errors.

    Args:
        home: the study that it would create.
        import_code: import the objective, to find missing parts and the sizes of its models.

    Raises:
        HpoBatchError: a study that it imports does not exist, or does not fit.
    """
    warned = [*warnings(sweep), *objective_doubts(sweep), *_sampler_warnings(sweep)]
    if unnamed := no_machine_named(sweep.job, has_slurm=BATCH.is_here()):
        warned.append(unnamed)
    if import_code:
        warned += _import_warnings(sweep.objective)
    repeats = _repeated_names(sweep)
    if repeats:
        warned.append(f"{'; '.join(repeats)}: one configuration, trained once")
    metrics = ", ".join(f"{d} {m}" for m, d in zip(sweep.study.metric, sweep.study.direction, strict=True))
    lines = [f"study {sweep.path if sweep.budget else sweep.study.name}: {metrics}", _trials_line(sweep)]
    lines += _space_lines(sweep)
    lines += _parameter_count_lines(sweep, warned, import_code=import_code)
    lines += [_workers_line(sweep), line("files", f"{footprint_of(sweep)}, without output and kept checkpoints")]
    history, history_warnings = describe_imports(sweep, home)
    sharing_lines, sharing_warnings = describe_sharing(sweep, home)
    return lines + history + sharing_lines, warned + history_warnings + sharing_warnings


def _trials_line(sweep: Sweep) -> str:
    """The number of trials and their origins: ``12: 2 forced extremes, 10 by tpe``."""
    planned = planned_trials(sweep)
    by_origin = Counter(
        "forced extremes" if trial.origin.startswith("extreme") else f"from the {trial.origin}" for trial in planned
    )
    origins = [f"{count} {kind}" for kind, count in by_origin.items()]
    rest = target(sweep) - len(planned)
    origins += [f"{rest} by {sweep.sampler.name}"] if rest and not sweep.sampler.capabilities.is_list else []
    per_trial = sweep.study.seeds_per_trial
    same = "the same " if sweep.study.seeds else ""
    seeds = f", each with {same}{per_trial} seeds" if per_trial > 1 else ""
    return line("trials", f"{target(sweep)}: {', '.join(origins)}{seeds}")


def _workers_line(sweep: Sweep) -> str:
    job = sweep.job
    gpus = f", {text}" if (text := gpus_of(job).text) else ""
    return line(
        "workers",
        f"{job.workers} from template '{job.template or 'local'}': "
        f"{format_walltime(job.walltime)} each, {job.cpus} CPU{'' if job.cpus == 1 else 's'}{gpus}",
    )


def footprint_of(sweep: Sweep) -> footprint.Footprint:
    """Number of files and folders that a sweep needs."""
    job, shape = sweep.job, shape_of(sweep.job)
    return footprint.planned(
        trials=target(sweep),
        seeds=sweep.study.seeds_per_trial,
        is_command=sweep.objective.command is not None,
        workers=job.workers,
        processes=0 if job.is_local else shape.tasks_for(job.workers) * shape.nodes * shape.tasks_per_node,
    )


def _space_lines(sweep: Sweep) -> list[str]:
    space = sweep.space
    searched = ", ".join(p.name for p in space.searched)
    lines = [line("searched", f"{len(space.searched)}: {searched}; {len(space.fixed)} fixed")]
    total = size(space)
    if total.all is None:
        lines.append(line("cells", "infinite: a parameter is continuous"))
    else:
        valid = "unknown (too many to count)" if total.valid is None else f"{total.valid}"
        lines.append(line("cells", f"{total.all} in all, {valid} valid"))
    for parameter in space.searched:
        if isinstance(parameter, Choices) and parameter.weights is not None:
            parts = zip(parameter.values, parameter.weights, strict=True)
            shares = ", ".join(f"{value} {weight / sum(parameter.weights):.0%}" for value, weight in parts)
            lines.append(line("shares", f"{parameter.name}: {shares} of the drawn trials"))
    architecture = architecture_size(sweep)
    if architecture is not None:
        names, cells = architecture
        trials = target(sweep)
        lines.append(
            line(
                "architecture",
                f"{count(cells, 'valid cell')} over {', '.join(names)}: {count(trials, 'trial')} can reach "
                f"{min(trials, cells)}, "
                f"random draws {expected_distinct(trials, cells):.1f}",
            )
        )
    return lines


def _parameter_count_lines(sweep: Sweep, warned: list[str], *, import_code: bool) -> list[str]:
    """The range of parameter counts, since the label of a budget, such as 20M, may be wrong."""
    name = sweep.objective.n_params
    if name is None:
        return []
    if not (import_code or name.startswith(OURS)):
        warned.append(f"parameter counts are not shown: use --import to import '{name}'")
        return []
    try:
        count = import_function(name)
        counts = list(_counts(sweep, count))
    except Exception as error:  # the user's function may raise anything
        warned.append(f"parameter counts are not shown: {name}: {error}")
        return []
    bounded = replace(sweep.space, n_params=count)
    if any("n_params" in constraint.names for constraint in bounded.constraints.values()):
        rare = rarely_valid(bounded, also_finite=True)
        warned += [f"space.constraints: {rare}"] if rare else []
    if small := why_no_gain(max(counts), ranks=sweep.job.ranks):
        warned.append(small)
    label = f"{sweep.budget} is " if sweep.budget else ""
    low, high = _short(min(counts)), _short(max(counts))
    return [line("parameters", f"{label}{low}{f' to {high}' if high != low else ''} (from {name})")]


def _counts(sweep: Sweep, count: Callable[[Mapping[str, Value]], int]) -> Iterator[int]:
    """Parameter counts over combinations of those parameters that change the count when varied alone."""
    space = sweep.space
    middle: dict[str, Value] = {p.name: p.middle for p in space.searched}
    start = count(space.resolve(middle).values)
    yield start
    relevant: list[tuple[str, list[Value]]] = []
    for parameter in space.searched:
        values = _few(parameter)
        if any(count(space.resolve({**middle, parameter.name: value}).values) != start for value in values):
            relevant.append((parameter.name, values))
    for combination in itertools.islice(itertools.product(*(values for _, values in relevant)), MOST_COUNTED):
        chosen = dict(zip((name for name, _ in relevant), combination, strict=True))
        configuration = space.resolve({**middle, **chosen})
        if space.why_invalid(configuration, bounds=False) is None:
            yield count(configuration.values)


def _few(parameter: Searched) -> list[Value]:
    cells = parameter.cells
    if cells is not None and len(cells) <= 12:  # few enough to try all
        return list(cells)
    return [parameter.low, parameter.middle, parameter.high]


def _short(count: int) -> str:
    return f"{count / 1e6:.3g}M" if count >= 1e5 else f"{count / 1e3:.3g}k" if count >= 1e3 else str(count)


def _repeated_names(sweep: Sweep) -> list[str]:
    names: dict[str, list[str]] = {}
    for trial in planned_trials(sweep):
        if trial.name is not None:
            names.setdefault(trial.configuration.key, []).append(trial.name)
    return [" and ".join(same) for same in names.values() if len(same) > 1]


def _sampler_warnings(sweep: Sweep) -> list[str]:
    """A warning if the user's sampler class does not exist, found without importing it."""
    name = sweep.sampler.name
    if name in SAMPLERS:
        return []
    try:
        find_function(name, cwd=Path(sweep.objective.cwd) if sweep.objective.cwd else None)
    except UserError as error:
        return [f"sampler.name: {error}"]
    return []


def _import_warnings(objective: Objective) -> list[str]:
    failed = []
    for key in ("function", "n_params", "preload"):
        name = getattr(objective, key)
        if name is not None:
            try:
                import_function(name)
            except UserError as error:
                failed.append(f"objective.{key}: {error}")
    return failed


def describe_schema() -> Iterator[str]:
    """The reference of the TOML: every key with its default and meaning, from the schema."""
    yield "The tables of a sweep file. [space] is described in docs/sweep-toml.md."
    table = ""
    for one in schema_keys():
        if one.name == "":
            yield f"\n{one.table}  {one.meaning}"
        else:
            if one.table != table:
                yield f"\n{one.table}"
            yield f"  {one.name:<16} {_default(one)}{one.meaning}"
        table = one.table


@dataclass(frozen=True, kw_only=True)
class SchemaKey:
    """One key of the TOML."""

    table: str
    """as it stands in a file: ``[study]``, ``[[trial]]``"""
    name: str
    """empty for a table whose keys are the user's, such as ``[space]``"""
    required: bool
    default: Any
    """None if it is required, or has none"""
    meaning: str

    def as_json(self) -> dict[str, Any]:
        """With a default of its own class as text."""
        known = self.default is None or isinstance(self.default, str | int | float | bool | list | tuple | dict)
        return {**asdict(self), "default": self.default if known else str(self.default)}


def schema_keys() -> Iterator[SchemaKey]:
    """Every key of the TOML, in the order of the schema."""
    meaning = meanings(Sweep)
    for key in keys_of(Sweep):
        tables = tables_in(key.annotation)
        if key.name == "budget":
            text = "one study per budget: a name, and any table of the file merged over it"
            yield SchemaKey(table="[[budget]]", name="", required=False, default=None, meaning=text)
        elif not tables:
            text = meaning.get(key.attribute, "")
            yield SchemaKey(table=f"[{key.name}]", name="", required=False, default=None, meaning=text)
        else:
            inside = meanings(tables[0])
            for inner in keys_of(tables[0]):
                yield SchemaKey(
                    table=f"[{key.name}]" if key.name != "trial" else "[[trial]]",
                    name=inner.name,
                    required=inner.default is MISSING,
                    default=None if inner.default is MISSING else inner.default,
                    meaning=inside.get(inner.attribute, ""),
                )


def _default(key: SchemaKey) -> str:
    if key.required:
        return "(required) "
    if key.default is None or key.default == () or key.default == {} or key.default == "":
        return ""
    return f"(default {key.default!r}) "
