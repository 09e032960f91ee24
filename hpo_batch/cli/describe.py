"""A sweep in words, for ``check``; and the reference of the TOML, for ``check --schema``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, replace
from pathlib import Path

from hpo_batch.errors import UserError
from hpo_batch.launch.checks import describe_imports, describe_sharing
from hpo_batch.launch.machine import has_slurm, no_machine_named
from hpo_batch.launch.task_layout import gpus_of, shape_of
from hpo_batch.objective.load import find_function, import_function
from hpo_batch.objective.mistakes import doubts as objective_doubts
from hpo_batch.records import Value
from hpo_batch.space.cells import expected_distinct, size
from hpo_batch.space.parameters import Choices, Searched
from hpo_batch.store import footprint
from hpo_batch.store.home import StudyHome
from hpo_batch.sweep.planned import planned_trials
from hpo_batch.sweep.rules import architecture_size, rarely_valid, target, warnings
from hpo_batch.sweep.schema import SAMPLERS, Objective, Sweep
from hpo_batch.sweep.tables import TableKey, keys_of, meanings, tables_in
from hpo_batch.sweep.walltime import format_walltime

OURS = "hpo_batch."


def describe_sweep(sweep: Sweep, *, home: StudyHome, import_code: bool) -> tuple[list[str], list[str]]:
    """What a sweep means, line by line, and what should be looked at; ``refusals`` tells what is wrong."""
    told = list(warnings(sweep)) + objective_doubts(sweep) + _sampler_warnings(sweep)
    if unnamed := no_machine_named(sweep.job, has_slurm=has_slurm()):
        told.append(unnamed)
    if import_code:
        told += _import_warnings(sweep.objective)
    label = f", budget {sweep.budget}" if sweep.budget else ""
    metrics = ", ".join(f"{d} {m}" for m, d in zip(sweep.study.metric, sweep.study.direction, strict=True))
    lines = [f"study {sweep.study.name}{label}: {metrics}"]
    if sweep.budget:
        lines[0] = f"study {sweep.path}: {metrics}"
    planned = planned_trials(sweep)
    by_origin: dict[str, int] = {}
    for trial in planned:
        kind = "forced extremes" if trial.origin.startswith("extreme") else f"from the {trial.origin}"
        by_origin[kind] = by_origin.get(kind, 0) + 1
    origins = [f"{count} {kind}" for kind, count in by_origin.items()]
    rest = target(sweep) - len(planned)
    origins += [f"{rest} by {sweep.sampler.name}"] if rest and sweep.sampler.name != "list" else []
    seeds = f", each with {sweep.study.replicates} seeds" if sweep.study.replicates > 1 else ""
    lines.append(f"  trials        {target(sweep)}: {', '.join(origins)}{seeds}")
    repeats = _repeated_names(sweep)
    if repeats:
        told.append(f"{'; '.join(repeats)}: one configuration, trained once")
    lines += _space_lines(sweep)
    lines += _parameter_count_lines(sweep, told, import_code=import_code)
    job = sweep.job
    gpus = f", {text}" if (text := gpus_of(job).text) else ""
    lines.append(
        f"  workers       {job.workers} from template '{job.template or 'local'}': "
        f"{format_walltime(job.walltime)} each, {job.cpus} CPU{'' if job.cpus == 1 else 's'}{gpus}"
    )
    lines.append(f"  files         {footprint_of(sweep)}, without what trials print and the checkpoints they keep")
    history, differ = describe_imports(sweep, home)
    with_whom, doubts = describe_sharing(sweep, home)
    return lines + history + with_whom, told + differ + doubts


def footprint_of(sweep: Sweep) -> footprint.Footprint:
    """What a sweep takes on disk."""
    job, shape = sweep.job, shape_of(sweep.job)
    return footprint.planned(
        trials=target(sweep),
        seeds=sweep.study.replicates,
        is_command=sweep.objective.command is not None,
        workers=job.workers,
        processes=0 if job.scheduler == "local" else shape.tasks_for(job.workers) * shape.nodes * shape.tasks_per_node,
    )


def _space_lines(sweep: Sweep) -> list[str]:
    space = sweep.space
    searched = ", ".join(p.name for p in space.searched)
    lines = [f"  searched      {len(space.searched)}: {searched}; {len(space.fixed)} fixed"]
    total = size(space)
    if total.all is None:
        lines.append("  cells         infinite: a parameter is continuous")
    else:
        valid = "unknown (too many to walk through)" if total.valid is None else f"{total.valid}"
        lines.append(f"  cells         {total.all} in all, {valid} valid")
    for parameter in space.searched:
        if isinstance(parameter, Choices) and parameter.weights is not None:
            parts = zip(parameter.values, parameter.weights, strict=True)
            planned = ", ".join(f"{value} {weight / sum(parameter.weights):.0%}" for value, weight in parts)
            lines.append(f"  shares        {parameter.name}: {planned} of the drawn trials")
    architecture = architecture_size(sweep)
    if architecture is not None:
        names, count = architecture
        trials = target(sweep)
        lines.append(
            f"  architecture  {count} valid cells over {', '.join(names)}: "
            f"{trials} trials can reach {min(trials, count)}, random draws {expected_distinct(trials, count):.1f}"
        )
    return lines


def _parameter_count_lines(sweep: Sweep, told: list[str], *, import_code: bool) -> list[str]:
    """The range of parameter counts: a label such as 20M promises nothing."""
    name = sweep.objective.n_params
    if name is None:
        return []
    if not (import_code or name.startswith(OURS)):
        told.append(f"parameter counts are not shown: --import would import '{name}'")
        return []
    try:
        count = import_function(name)
        counts = list(_counts(sweep, count))
    except Exception as error:  # the user's function may raise anything
        told.append(f"parameter counts are not shown: {name}: {error}")
        return []
    bounded = replace(sweep.space, n_params=count)
    if any("n_params" in constraint.names for constraint in bounded.constraints.values()):
        rare = rarely_valid(bounded, finite_too=True)
        told += [f"space.constraints: {rare}"] if rare else []
    label = f"{sweep.budget} is " if sweep.budget else ""
    return [f"  parameters    {label}{_short(min(counts))} to {_short(max(counts))} (from {name})"]


def _counts(sweep: Sweep, count: Callable[[Mapping[str, Value]], int]) -> Iterator[int]:
    """Counts over the parameters that change them: which those are is found by varying each alone."""
    space = sweep.space
    middle: dict[str, Value] = {p.name: p.middle for p in space.searched}
    start = count(space.resolve(middle).values)
    yield start
    matter: list[tuple[str, list[Value]]] = []
    for parameter in space.searched:
        values = _few(parameter)
        if any(count(space.resolve({**middle, parameter.name: value}).values) != start for value in values):
            matter.append((parameter.name, values))
    for combination in itertools.islice(itertools.product(*(values for _, values in matter)), 20_000):
        chosen = dict(zip((name for name, _ in matter), combination, strict=True))
        configuration = space.resolve({**middle, **chosen})
        if space.why_invalid(configuration, bounds=False) is None:
            yield count(configuration.values)


def _few(parameter: Searched) -> list[Value]:
    cells = parameter.cells
    if cells is not None and len(cells) <= 12:
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
    """Whether a sampler class of the user's is there, found out without importing it."""
    name = sweep.sampler.name
    if name in SAMPLERS:
        return []
    try:
        find_function(name, cwd=Path(sweep.objective.cwd) if sweep.objective.cwd else None)
    except UserError as error:
        return [f"sampler.name: {error}"]
    return []


def _import_warnings(objective: Objective) -> list[str]:
    told = []
    for key in ("function", "n_params"):
        name = getattr(objective, key)
        if name is not None:
            try:
                import_function(name)
            except UserError as error:
                told.append(f"objective.{key}: {error}")
    return told


def describe_schema() -> Iterator[str]:
    """Every key with its type, default and meaning, read from the schema."""
    yield "The tables of a sweep file. [space] is described in docs/sweep-toml.md."
    told = meanings(Sweep)
    for key in keys_of(Sweep):
        tables = tables_in(key.annotation)
        if key.name == "budget":
            yield "\n[[budget]]  one study per budget: a name, and any table of the file merged over it"
        elif not tables:
            yield f"\n[{key.name}]  {told.get(key.attribute, '')}"
        else:
            yield f"\n[{key.name}]" if key.name != "trial" else "\n[[trial]]"
            inside = meanings(tables[0])
            for inner in keys_of(tables[0]):
                yield f"  {inner.name:<16} {_default(inner)}{inside.get(inner.attribute, '')}"


def _default(key: TableKey) -> str:
    if key.default is MISSING:
        return "(required) "
    if key.default is None or key.default == () or key.default == {} or key.default == "":
        return ""
    return f"(default {key.default!r}) "
