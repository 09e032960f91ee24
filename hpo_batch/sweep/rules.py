"""Rules between tables that no single key can tell: what must fit together for a sweep to run as it is meant.

Pure functions from a sweep to problems and warnings. Nothing here reads a file or imports the user's code.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from hpo_batch.errors import ExpressionError, UserError
from hpo_batch.expressions import parse
from hpo_batch.records import Problem, Value
from hpo_batch.space.build import as_choice_or_value, check_values
from hpo_batch.space.cells import MOST_WALKED, projected_cells, size, valid_cells
from hpo_batch.space.parameters import Choices, Fixed, Integer, Real
from hpo_batch.sweep.planned import planned_trials, resolve_planned
from hpo_batch.sweep.schema import PRUNERS, SAMPLERS, Sweep


def infer_space(raw: Mapping[str, Any]) -> dict[str, Any]:
    """``[space]`` as given; for a list sampler without one, the values that its ``[[trial]]``s use."""
    table: dict[str, Any] = dict(raw.get("space", {}))
    sampler = raw.get("sampler", {})
    trials = raw.get("trial", [])
    if table or not isinstance(sampler, Mapping) or sampler.get("name") != "list" or not isinstance(trials, list):
        return table
    values: dict[str, list[Value]] = {}
    given = [t.get("params") for t in trials if isinstance(t, Mapping)] + [raw.get("baseline")]
    for params in given:
        for name, value in params.items() if isinstance(params, Mapping) else ():
            listed = values.setdefault(name, [])
            if as_choice_or_value(value) is None and value not in listed:
                listed.append(value)
    return {name: listed[0] if len(listed) == 1 else listed for name, listed in values.items()}


def find_problems(sweep: Sweep, *, space_is_sound: bool) -> list[Problem]:
    """What is wrong between the tables; rules about the space only if the space itself has no mistakes."""
    problems: list[Problem] = []
    _sampler_rules(sweep, problems)
    _metric_rules(sweep, problems)
    _trial_rules(sweep, problems)
    if space_is_sound:
        _space_rules(sweep, problems)
        _planned_rules(sweep, problems)
    return problems


def warnings(sweep: Sweep) -> list[str]:
    """What may be meant otherwise, or is not acted on; ``check`` prints them, ``submit`` too."""
    told: list[str] = []
    for parameter in sweep.space.searched:
        if isinstance(parameter, Integer) and (parameter.low, parameter.high) == (0, 1):
            told.append(f"space.{parameter.name} is the integers 0 and 1; write 0.0 and 1.0 for real numbers")
    if sweep.job.walltime <= sweep.job.signal_lead_s and sweep.job.scheduler == "slurm":
        told.append(f"job.walltime is not above job.signal_lead_s ({sweep.job.signal_lead_s} s): no trial would start")
    if sweep.expect:
        told.append(f"[expect]: {len(sweep.expect)} expectations are stored with the study and not judged yet")
    mixed = [p.name for p in sweep.space.searched if isinstance(p, Choices) and len({type(v) for v in p.values}) > 1]
    told += [f"space.{name} mixes types of values; ordered models treat it as categories" for name in mixed]
    return told


def target(sweep: Sweep) -> int:
    """Finished trials wanted: ``[study] trials``, else all that a grid or a list has."""
    planned = len(planned_trials(sweep))
    if sweep.sampler.name == "list":
        return planned
    if sweep.study.trials is not None:
        return sweep.study.trials
    assert sweep.sampler.name == "grid"
    keys = {c.key for c in valid_cells(sweep.space)} | {t.configuration.key for t in planned_trials(sweep)}
    return len(keys)


def _sampler_rules(sweep: Sweep, problems: list[Problem]) -> None:
    name = sweep.sampler.name
    if name not in SAMPLERS:
        guess = difflib.get_close_matches(name, SAMPLERS, n=1)
        problems.append(
            Problem(
                key=("sampler", "name"), message=f"'{name}' is not a sampler of this version",
                allowed=", ".join(SAMPLERS), guess=guess[0] if guess else "",
            )
        )  # fmt: skip
    if sweep.study.trials is None and name not in ("grid", "list"):
        problems.append(Problem(key=("study", "trials"), message=f"is missing: sampler '{name}' has no end of its own"))
    if len(sweep.study.metric) > 1 and sweep.pruner.name != "none":
        problems.append(Problem(key=("pruner", "name"), message="a pruner needs a single metric", allowed=PRUNERS[0]))
    if sweep.sampler.coverage_share and not sweep.sampler.coverage:
        problems.append(Problem(key=("sampler", "coverage_share"), message="needs the parameters in sampler.coverage"))


def _metric_rules(sweep: Sweep, problems: list[Problem]) -> None:
    if len(sweep.study.metric) != len(sweep.study.direction):
        message = f"{len(sweep.study.direction)} directions for {len(sweep.study.metric)} metrics"
        problems.append(Problem(key=("study", "direction"), message=message, allowed="minimize, maximize"))
    if len(set(sweep.study.metric)) != len(sweep.study.metric):
        problems.append(Problem(key=("study", "metric"), message="a metric is named twice"))
    for name, text in sweep.metrics.items():
        if name in parse(text).names:
            problems.append(Problem(key=("metrics", name), message="a computed metric cannot be computed from itself"))


def _trial_rules(sweep: Sweep, problems: list[Problem]) -> None:
    names = [trial.name for trial in sweep.trial]
    for i, trial in enumerate(sweep.trial):
        if trial.name in names[:i]:
            problems.append(Problem(key=("trial", i, "name"), message=f"two trials are called '{trial.name}'"))
        source = trial.from_
        if source is None or (source == "baseline" and sweep.baseline is not None):
            continue
        if source == "baseline":
            problems.append(Problem(key=("trial", i, "from"), message="there is no [baseline] to take values from"))
        elif source not in names or source == trial.name:
            guess = difflib.get_close_matches(source, names, n=1)
            message = f"'{source}' is not the name of another trial"
            problems.append(Problem(key=("trial", i, "from"), message=message, guess=guess[0] if guess else ""))
    if sweep.sampler.name == "list" and not sweep.trial:
        problems.append(Problem(key=("sampler", "name"), message="a list sampler needs [[trial]] tables"))


def _space_rules(sweep: Sweep, problems: list[Problem]) -> None:
    space = sweep.space
    if sweep.sampler.name != "list" and not space.searched:
        message = "nothing to search: [space] needs at least one parameter with choices or a range"
        problems.append(Problem(key=("space",), message=message))
        return
    for option in ("extremes", "coverage"):
        for name in getattr(sweep.sampler, option):
            parameter = space.by_name.get(name)
            if parameter is None:
                guess = difflib.get_close_matches(name, space.by_name, n=1)
                message = f"'{name}' is not a parameter of [space]"
                problems.append(Problem(key=("sampler", option), message=message, guess=guess[0] if guess else ""))
            elif option == "extremes" and isinstance(parameter, Choices) and not parameter.ordered:
                message = f"'{name}' has no order: its smallest and largest value mean nothing; write ordered = true"
                problems.append(Problem(key=("sampler", option), message=message))
            elif option == "coverage" and not isinstance(parameter, Fixed) and parameter.cells is None:
                problems.append(Problem(key=("sampler", option), message=f"'{name}' is continuous and has no cells"))
    if sweep.sampler.name == "grid":
        for parameter in space.searched:
            if parameter.cells is None:
                key = ("space", parameter.name)
                message = "a grid needs choices, or a range with a step"
                problems.append(Problem(key=key, message=message))
    _emptiness(sweep, problems)
    _weights(sweep, problems)


def _emptiness(sweep: Sweep, problems: list[Problem]) -> None:
    """A constraint, or all of them together, that no cell satisfies."""
    space = sweep.space
    if not space.constraints:
        return
    for name, constraint in space.constraints.items():
        names = [p.name for p in space.searched if p.name in _ancestors(sweep, constraint.names)]
        small = all(space.by_name[n].cells is not None for n in names)
        alone = space.__class__(
            parameters=space.parameters, derived=space.derived, constraints={name: constraint}, n_params=space.n_params
        )
        try:
            counted = size(alone, names).valid if small else None
        except ExpressionError as error:
            problems.append(Problem(key=("space", "constraints", name), message=str(error)))
            return
        if counted == 0:
            problems.append(Problem(key=("space", "constraints", name), message="nothing in [space] satisfies it"))
            return
    if size(space).valid == 0:
        problems.append(
            Problem(key=("space", "constraints"), message="nothing in [space] satisfies all of them together")
        )


def _ancestors(sweep: Sweep, names: frozenset[str]) -> set[str]:
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += sweep.space.parents.get(name, ())
    return found


def _weights(sweep: Sweep, problems: list[Problem]) -> None:
    weighted = [p for p in sweep.space.searched if p.weights is not None]
    for parameter in weighted:
        if parameter.when is not None:
            key = ("space", parameter.name, "weights")
            problems.append(Problem(key=key, message="weights of a conditional parameter are not supported"))
    if weighted and sweep.sampler.name in ("grid", "list"):
        key = ("space", weighted[0].name, "weights")
        problems.append(Problem(key=key, message=f"weights mean nothing to sampler '{sweep.sampler.name}'"))


def _planned_rules(sweep: Sweep, problems: list[Problem]) -> None:
    before = len(problems)
    given: list[tuple[tuple[str | int, ...], dict[str, Value]]]
    given = [(("trial", i, "params"), trial.params) for i, trial in enumerate(sweep.trial)]
    if sweep.baseline is not None:
        given.append((("baseline",), sweep.baseline))
    for key, params in given:
        check_values(sweep.space, params, key, problems)
    if len(problems) > before:
        return
    for key, planned in resolve_planned(sweep):
        if isinstance(planned, UserError):
            problems.append(Problem(key=key, message=str(planned)))
            continue
        reason = sweep.space.why_invalid(planned.configuration, bounds=False)
        if reason:
            problems.append(Problem(key=key, message=reason))
    if len(problems) > before:
        return
    planned_count = len(planned_trials(sweep))
    if sweep.study.trials is not None and planned_count > sweep.study.trials:
        message = f"{sweep.study.trials} trials are wanted, but {planned_count} are planned by [[trial]], [baseline]"
        problems.append(Problem(key=("study", "trials"), message=f"{message} and sampler.extremes"))
    if sweep.sampler.name == "list" and sweep.study.trials not in (None, planned_count):
        message = f"the list has {planned_count} trials; leave 'trials' out, or make them equal"
        problems.append(Problem(key=("study", "trials"), message=message))


def architecture_size(sweep: Sweep) -> tuple[tuple[str, ...], int] | None:
    """The coverage parameters and the number of their valid cells; None without them or if they cannot be listed."""
    names = tuple(n for n in sweep.sampler.coverage if not isinstance(sweep.space.by_name[n], Fixed | Real))
    total = size(sweep.space, names).all if names else None
    if total is None or total > MOST_WALKED:
        return None
    return names, sum(1 for _ in projected_cells(sweep.space, names))
