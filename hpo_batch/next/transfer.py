"""Transfer: the best configurations of every budget trained on all budgets, their own included, with common new seeds.

A budget is what studies fix differently (``sweep.factors``); what one of them searches belongs to a configuration and
goes with it. Studies that would train each configuration alike have no budgets, whatever they are called, and are
refused. With new seeds on the diagonal too, no cell of the matrix holds the luck by which a configuration was chosen.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from hpo_batch.errors import Declined, UserError
from hpo_batch.findings.best.numbers import TopTrial
from hpo_batch.next.parent import (
    Parent,
    best_configurations,
    free_name,
    list_sweep,
    new_seeds,
    time_text,
    used_seeds,
    with_workers,
)
from hpo_batch.next.sweep_text import budgets_text
from hpo_batch.records import Configuration, Value, is_number
from hpo_batch.space.parameters import Integer, Real, same
from hpo_batch.space.space import N_PARAMS
from hpo_batch.sweep.factors import Factor, alike, factor_text, factors, settings_differ, travelling
from hpo_batch.sweep.schema import PlannedTrial, Previous, Sampler, Sweep
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count, label

LONGEST_LABEL: Final = 50
Placed: TypeAlias = dict[tuple[str, str], Configuration]
"""by name of the trial and label of the budget that it is trained on"""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A configuration that cannot run in another budget."""

    name: str
    """of its ``[[trial]]`` in the budgets in which it can"""
    trial: str
    """``trial 3 of toy``"""
    budget: str
    reason: str

    @property
    def text(self) -> str:
        return f"{self.name} ({self.trial}) cannot run in {self.budget}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A sweep whose budgets train each other's best configurations."""

    name: str
    """of the study"""
    sweeps: tuple[Sweep, ...]
    factors: tuple[Factor, ...]
    """what varies between the budgets, in their order"""
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    text: str
    """the file"""
    trainings: int
    """over all budgets, seeds counted"""


@dataclass(frozen=True, kw_only=True)
class _Budget:
    label: str
    parent: Parent
    sweep: Sweep


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """One of the best configurations of a budget."""

    name: str
    source: _Budget
    trial: TopTrial
    values: Mapping[str, Value]
    """of the parameters that go with it"""

    @property
    def called(self) -> str:
        return f"trial {self.trial.number} of {self.source.parent.label}"


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is trained where."""

    budgets: Sequence[_Budget]
    candidates: Sequence[_Candidate]
    placed: Placed
    left_out: Sequence[LeftOut]


def transfer(
    parents: Sequence[Parent], *, top: int = 3, seeds: int = 3, root: Path = Path("logs"), near: Path = Path()
) -> Transfer:
    """The sweep that trains the best configurations of each study in each of them.

    Args:
        parents: the studies, one for each budget.
        top: number of configurations of each.
        seeds: number of new seeds, the same for all.
        root: the logs directory, for a name that no study has.
        near: folder that the file is for.

    Raises:
        UserError: there are fewer than two studies, one is given twice, or they have different metrics.
        Declined: nothing varies between two of them, or no configuration can run in another budget.
    """
    _check(parents)
    budgets = _budgets(parents, root)
    what = factors([budget.sweep for budget in budgets])
    names = travelling([budget.sweep for budget in budgets])
    candidates, notes = _candidates(budgets, top, names)
    placed, left_out = _place_all(candidates, budgets)
    _decline_if_nothing_varies(budgets, candidates, placed)
    if all(candidate.source.label == tag for candidate in candidates for tag in _tags(candidate, budgets, placed)):
        raise Declined(f"no configuration can run in another budget: {listed((o.text for o in left_out), most=4)}")
    plan = _Plan(budgets=budgets, candidates=candidates, placed=placed, left_out=left_out)
    name = budgets[0].sweep.study.name
    chosen = new_seeds(seeds, used=frozenset().union(*(used_seeds(parent.table) for parent in parents)), of=name)
    sweeps = tuple(_sweep(budget, plan, chosen) for budget in budgets)
    trainings = sum(_runs(budget, plan) * seeds for budget in budgets)
    return Transfer(
        name=name,
        sweeps=sweeps,
        factors=what,
        left_out=tuple(left_out),
        notes=(*notes, *(f"{budget.label}: {line}" for budget in budgets for line in _unchecked(budget))),
        text=budgets_text(
            sweeps,
            near=near,
            header=_header(budgets, what, sweeps[0], trainings),
            above={budget.label: _above(budget, plan, sweep) for budget, sweep in zip(budgets, sweeps, strict=True)},
        ),
        trainings=trainings,
    )


def _budgets(parents: Sequence[Parent], root: Path) -> list[_Budget]:
    first = parents[0].sweep
    name = free_name(f"{first.study.name}-transfer", root)
    sampler = Sampler(name="list", seed=first.sampler.seed)
    return [
        _Budget(label=tag, parent=parent, sweep=replace(list_sweep(parent.sweep, name=name), sampler=sampler))
        for tag, parent in zip(_labels(parents), parents, strict=True)
    ]


def _check(parents: Sequence[Parent]) -> None:
    if len(parents) < 2:
        named = f"{parents[0].label} is one" if parents else "none is given"
        raise UserError(f"transfer needs two or more studies, one for each budget, and {named}")
    homes = [str(parent.table.home or parent.source) for parent in parents]
    twice = next((parent for i, parent in enumerate(parents) if homes[i] in homes[:i]), None)
    if twice is not None:
        raise UserError(f"'{twice.source}' is given twice; name each study once")
    measured = {_measure(parent.sweep) for parent in parents}
    if len(measured) > 1:
        texts = (f"{parent.label} {_measure(parent.sweep)}" for parent in parents)
        raise UserError(f"the studies measure different things, so their values cannot be compared: {listed(texts)}")


def _measure(sweep: Sweep) -> str:
    (metric,), (direction,) = sweep.study.metric, sweep.study.direction
    formula = f" = {sweep.metrics[metric]}" if metric in sweep.metrics else ""
    return f"{direction}s {metric}{formula}"


def _labels(parents: Sequence[Parent]) -> list[str]:
    """Names of budgets: those of the studies' own ``[[budget]]``s if all differ, else made of the studies' names."""
    own = [parent.sweep.budget for parent in parents]
    if all(own) and len(set(own)) == len(own):
        return [str(name) for name in own]
    found: list[str] = []
    for parent in parents:
        plain = re.sub(r"[^A-Za-z0-9._+-]+", "-", parent.label).strip("-._+")[:LONGEST_LABEL] or "study"
        numbered = (plain if i == 1 else f"{plain[: LONGEST_LABEL - 5]}-{i}" for i in itertools.count(1))
        found.append(next(name for name in numbered if name not in found))
    return found


def _candidates(budgets: Sequence[_Budget], top: int, names: Sequence[str]) -> tuple[list[_Candidate], list[str]]:
    """The best configurations of each budget, and what was passed over: trials that were not run at their budget."""
    found, notes = [], []
    prefixes = _identifiers([budget.label for budget in budgets])
    for budget, prefix in zip(budgets, prefixes, strict=True):
        without: set[str] = set()
        while True:
            best = best_configurations(budget.parent, top, without=without)
            other = [(trial, one) for trial, one in best if _not_at_its_budget(budget, one, names)]
            if not other:
                break
            without |= {one.key for _, one in other}
            notes += [
                f"trial {trial.number} of {budget.parent.label} is passed over: it was run with "
                f"{_not_at_its_budget(budget, one, names)}, which is not that study's own value"
                for trial, one in other
            ]
        if not best:
            raise UserError(f"no trial of {budget.parent.label} was run with the values that its space fixes")
        for i, (trial, one) in enumerate(best, start=1):
            values = {name: one.values[name] for name in names if name in one.values}
            found.append(_Candidate(name=f"{prefix}_{i}", source=budget, trial=trial, values=values))
    return found, notes


def _identifiers(labels: Sequence[str]) -> list[str]:
    """``from_2M``: a prefix for the names of trials, which are identifiers."""
    found: list[str] = []
    for tag in labels:
        plain = f"from_{re.sub(r'[^A-Za-z0-9]', '_', tag)}"
        numbered = (plain if i == 1 else f"{plain}_{chr(96 + i)}" for i in itertools.count(1))
        found.append(next(name for name in numbered if name not in found))
    return found


def _not_at_its_budget(budget: _Budget, configuration: Configuration, names: Collection[str]) -> str:
    """What a trial given by hand has changed of what its study fixes; empty if nothing."""
    fixed = {parameter.name: parameter.value for parameter in budget.sweep.space.fixed if parameter.name not in names}
    return listed(
        f"{name} = {label(value)}"
        for name, value in configuration.fixed.items()
        if name in fixed and not same(value, fixed[name])
    )


def _place_all(candidates: Sequence[_Candidate], budgets: Sequence[_Budget]) -> tuple[Placed, list[LeftOut]]:
    placed: Placed = {}
    left_out = []
    for candidate, budget in itertools.product(candidates, budgets):
        try:
            placed[candidate.name, budget.label] = _place(candidate.values, budget.sweep)
        except UserError as error:
            left_out.append(
                LeftOut(name=candidate.name, trial=candidate.called, budget=budget.label, reason=str(error))
            )
    return placed, left_out


def _place(values: Mapping[str, Value], sweep: Sweep) -> Configuration:
    """The configuration in another budget's space; raises UserError with the reason why it cannot run there.

    Values may lie outside what that space searches, as those of every ``[[trial]]`` may, but not outside ``limits``.
    """
    space = sweep.space
    for name in values:
        if name not in space.by_name:
            is_derived = name in space.derived
            raise UserError(f"{name} is derived from others there" if is_derived else f"it has no parameter '{name}'")
    configuration = space.resolve(values)
    for parameter in space.searched:
        value = configuration.searched.get(parameter.name)
        if value is None or not isinstance(parameter, Integer | Real):
            continue
        if not is_number(value) or (isinstance(parameter, Integer) and not isinstance(value, int)):
            kind = "an integer" if isinstance(parameter, Integer) else "a number"
            raise UserError(f"{parameter.name} = {label(value)} is not {kind}")
        assert isinstance(value, int | float)
        if parameter.limits is not None and not parameter.limits[0] <= value <= parameter.limits[1]:
            low, high = parameter.limits
            raise UserError(f"{parameter.name} = {label(value)} lies outside its limits, {label(low)} to {label(high)}")
    broken = space.why_invalid(configuration, bounds=False)
    if broken:
        raise UserError(broken)
    return configuration


def _tags(candidate: _Candidate, budgets: Sequence[_Budget], placed: Placed) -> list[str]:
    return [budget.label for budget in budgets if (candidate.name, budget.label) in placed]


def _decline_if_nothing_varies(budgets: Sequence[_Budget], candidates: Sequence[_Candidate], placed: Placed) -> None:
    """Compares what the trainings would see, not what files say: a value may be fixed where it is never active."""
    for a, b in itertools.combinations(budgets, 2):
        both = [
            (placed[one.name, a.label].values, placed[one.name, b.label].values)
            for one in candidates
            if {(one.name, a.label), (one.name, b.label)} <= placed.keys()
        ]
        same_training = all(_equal(x, y) for x, y in both) and (both or not factors((a.sweep, b.sweep)))
        if same_training and not settings_differ(a.sweep, b.sweep):
            raise Declined(_nothing_varies(a, b, several=len(budgets) > 2))


def _equal(x: Mapping[str, Value], y: Mapping[str, Value]) -> bool:
    return x.keys() == y.keys() and all(alike(value, y[name]) for name, value in x.items())


def _nothing_varies(a: _Budget, b: _Budget, *, several: bool) -> str:
    tables = [{name: repr(entry) for name, entry in one.sweep.space_table.items()} for one in (a, b)]
    names = sorted(name for name in {**tables[0], **tables[1]} if tables[0].get(name) != tables[1].get(name))
    searched = f" and in their spaces ({listed(names)}), which are about what to try" if names else ""
    do = "leave one of them out" if several else "there is nothing to transfer between"
    return (
        f"{a.parent.label} and {b.parent.label} would train every configuration alike: no parameter that stays fixed "
        f"and no setting of [objective] differs between them. They differ in their names{searched}, so a matrix would "
        f"vary nothing: {do}; 'hpo-batch compare {a.parent.label} {b.parent.label}' sets their trials side by side"
    )


def _sweep(budget: _Budget, plan: _Plan, seeds: tuple[int, ...]) -> Sweep:
    trials = []
    for candidate in plan.candidates:
        configuration = plan.placed.get((candidate.name, budget.label))
        if configuration is not None:
            own = {**configuration.searched, **configuration.fixed}
            times = f", the best of {candidate.trial.count} trials with it" if candidate.trial.count > 1 else ""
            note = f"{candidate.called}: {candidate.source.parent.data.metric} = {candidate.trial.value!r}{times}"
            params = {name: own[name] for name in candidate.values if name in own}
            trials.append(PlannedTrial(name=candidate.name, set=candidate.source.label, params=params, note=note))
    sweep = replace(
        budget.sweep,
        study=replace(budget.sweep.study, seeds=seeds),
        baseline=None,
        trial=tuple(trials),
        budget=budget.label,
        previous=Previous(
            study=tuple(one.parent.source for one in plan.budgets),
            by="transfer",
            trials={one.name: one.trial.number for one in plan.candidates},
            values={one.name: one.trial.value for one in plan.candidates},
            left_out={one.name: one.reason for one in plan.left_out if one.budget == budget.label},
        ),
    )
    return with_workers(sweep, _runs(budget, plan))


def _runs(budget: _Budget, plan: _Plan) -> int:
    """Different configurations in a budget: two trials with the same one are trained once."""
    return len({one.key for (_, tag), one in plan.placed.items() if tag == budget.label})


def _above(budget: _Budget, plan: _Plan, sweep: Sweep) -> list[str]:
    """The comment above a budget."""
    n = _runs(budget, plan) * len(sweep.study.seeds)
    return [
        f"{budget.label}: {time_text(budget.parent.table, trainings=n, workers=sweep.job.workers)}",
        *_unchecked(budget),
        *_outside(budget, plan),
        *(f"Left out: {one.text}" for one in plan.left_out if one.budget == budget.label),
    ]


def _unchecked(budget: _Budget) -> list[str]:
    return [
        f"constraint '{name}' is not checked here, as {N_PARAMS} takes your code: {constraint.text}"
        for name, constraint in budget.sweep.space.constraints.items()
        if N_PARAMS in constraint.names
    ]


def _outside(budget: _Budget, plan: _Plan) -> list[str]:
    """What a reader of the file should know: values that the budget's own search could not try, or does not use."""
    lines = []
    for candidate in plan.candidates:
        configuration = plan.placed.get((candidate.name, budget.label))
        if configuration is None or candidate.source is budget:
            continue
        values = {**configuration.searched, **configuration.fixed}
        beyond = [
            f"{name} = {label(value)}"
            for name, value in values.items()
            if name in candidate.values and budget.sweep.space.by_name[name].why_outside(value)
        ]
        unused = [name for name in candidate.values if name not in values]
        told = [f"outside its space: {listed(beyond)}"] if beyond else []
        told += [f"not active here: {listed(unused)}"] if unused else []
        if told:
            lines.append(f"{candidate.name}: {'; '.join(told)}")
    return lines


def _header(budgets: Sequence[_Budget], what: Sequence[Factor], sweep: Sweep, trainings: int) -> list[str]:
    labels = [budget.label for budget in budgets]
    study = sweep.study
    varies = (factor_text(factor.name, dict(zip(labels, factor.values, strict=True))) for factor in what)
    return [
        f"Transfer: the best configurations of {listed(labels)}, each trained on every one of them with the same "
        f"{count(len(study.seeds), 'new seed')}.",
        f"What varies: {listed(varies)}.",
        f"{count(trainings, 'training')} in all.",
        f"Judged by 'hpo-batch report {study.name}': a matrix of means, and what a configuration loses off its budget.",
    ]
