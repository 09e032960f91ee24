"""Rules between tables that no single key can tell: what must fit together for a sweep to run as it is meant.

Pure functions from a sweep to problems and warnings. Nothing here reads a file or imports the user's code.
"""

from __future__ import annotations

import importlib.util
import math
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo_batch.errors import ExpressionError, UserError
from hpo_batch.expressions import Expression, parse, why_constant
from hpo_batch.records import Problem, Value
from hpo_batch.space.build import RESERVED, as_choice_or_value, check_values
from hpo_batch.space.cells import (
    MOST_WALKED,
    at_least,
    drawable,
    expected_distinct,
    is_empty,
    never_satisfied,
    projected_cells,
    size,
    some_are_all,
    some_values,
    valid_cells,
)
from hpo_batch.space.conditions import Cycle, decision_order
from hpo_batch.space.draw import at_random
from hpo_batch.space.parameters import Choices, Fixed, Integer, Real
from hpo_batch.space.space import Space
from hpo_batch.sweep.controls import control_problems
from hpo_batch.sweep.expect import read_statement, why_unknown
from hpo_batch.sweep.grid import left_out
from hpo_batch.sweep.options import ELSEWHERE, PATIENT, PRUNER_OPTIONS, option_problems
from hpo_batch.sweep.planned import planned_trials, resolve_planned
from hpo_batch.sweep.samplers import SAMPLERS
from hpo_batch.sweep.sbatch_options import sbatch_problems, srun_problems
from hpo_batch.sweep.schema import ENTRY, PRUNERS, Job, Sweep
from hpo_batch.sweep.walltime import WARNED_EARLY_S, format_walltime, lead_s
from hpo_batch.text.names import listed, nearest
from hpo_batch.text.values import shown

DRAWS = 4_096
"""configurations that are drawn to see how rare valid ones are: four times what a worker draws before it gives up"""
RARE = 0.01
"""share of valid configurations below which it is said how few they are"""
WIDEST = 8.0
"""times the width of a range must be a number still: samplers reckon with several widths"""
MOST_ARMS = 1_000
"""combinations of weighted choices: each is kept to its share of the trials"""


def infer_space(raw: Mapping[str, Any]) -> dict[str, Any]:
    """``[space]`` as given; for a list sampler without parameters there, the values that its ``[[trial]]``s use."""
    table: dict[str, Any] = dict(raw.get("space", {}))
    sampler = raw.get("sampler", {})
    trials = raw.get("trial", [])
    is_list = isinstance(sampler, Mapping) and sampler.get("name") == "list" and isinstance(trials, list)
    if not is_list or table.keys() - set(RESERVED):
        return table
    values: dict[str, list[Value]] = {}
    given = [t.get("params") for t in trials if isinstance(t, Mapping)] + [raw.get("baseline")]
    for params in given:
        for name, value in params.items() if isinstance(params, Mapping) else ():
            if as_choice_or_value(value) is None:
                listed = values.setdefault(name, [])
                if value not in listed:
                    listed.append(value)
    return {**{name: listed[0] if len(listed) == 1 else listed for name, listed in values.items()}, **table}


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the rules may rely on: keys that were told already are left alone, and what follows from them."""

    told: Sequence[Problem]

    def sound(self, *dotted: str) -> bool:
        """Whether nothing was said about these keys, what stands in them, or the tables around them."""
        keys = [tuple(d.split(".")) for d in dotted]
        return not any(_overlap(problem.key, key) for problem in self.told for key in keys)


def find_problems(sweep: Sweep, space: Space, *, told: Sequence[Problem] = ()) -> list[Problem]:
    """What is wrong between the tables.

    Args:
        sweep: with placeholders for what is wrong in itself.
        space: what could be built of its space.
        told: what is known to be wrong already; the rules do not build on it.
    """
    problems: list[Problem] = list(control_problems(sweep))
    known = Known(told=told)
    _objective_rules(sweep, known, problems)
    _sampler_rules(sweep, known, problems)
    _pruner_rules(sweep, known, problems)
    _metric_rules(sweep, known, problems)
    _import_rules(sweep, problems)
    _trial_rules(sweep, known, problems)
    _expect_rules(sweep, known, problems)
    _job_rules(sweep, known, problems)
    if not any(problem.key == ("space",) for problem in told):
        _space_rules(sweep, space, known, problems)
        _name_rules(sweep, problems)
    if known.sound("space"):
        _expressions(space, problems)
    if Known(told=[*told, *problems]).sound("space"):
        _emptiness(space, problems)
        _planned_rules(sweep, Known(told=[*told, *problems]), problems)
    return problems


def warnings(sweep: Sweep) -> list[str]:
    """What may be meant otherwise, or is not acted on; ``check`` prints them, ``submit`` too."""
    told: list[str] = []
    for parameter in sweep.space.searched:
        if isinstance(parameter, Integer) and (parameter.low, parameter.high) == (0, 1):
            told.append(f"space.{parameter.name} is the integers 0 and 1; write 0.0 and 1.0 for real numbers")
    told += _short_walltime(sweep.job)
    mixed = [p.name for p in sweep.space.searched if isinstance(p, Choices) and len({type(v) for v in p.values}) > 1]
    told += [f"space.{name} mixes types of values; ordered models treat it as categories" for name in mixed]
    told += _never_drawn(sweep.space)
    told += _too_few(sweep)
    told += _grid_left_out(sweep)
    told += _coverage_doubts(sweep)
    rare = rarely_valid(sweep.space)
    if rare and sweep.sampler.name not in ("grid", "list"):
        told.append(f"space.constraints: {rare}; what is valid is searched, but drawing it takes long")
    return told


def _short_walltime(job: Job) -> list[str]:
    """Where SLURM's warning of the limit may come as soon as a trial begins: it may be up to a minute early."""
    whole_s = math.ceil(job.walltime / 60) * 60  # SLURM counts in minutes
    left_s = whole_s - lead_s(job.walltime, job.signal_lead_s) - WARNED_EARLY_S
    if job.scheduler != "slurm" or left_s > 0:
        return []
    shown = format_walltime(job.walltime)
    return [
        f"job.walltime is {shown}, and SLURM may warn of the limit a minute early: trials may be told to stop at once"
    ]


def target(sweep: Sweep) -> int:
    """Finished trials wanted: ``[study] trials``, else all that a grid or a list has."""
    if sweep.sampler.name == "list":
        return len(planned_trials(sweep))
    if sweep.study.trials is not None:
        return sweep.study.trials
    assert sweep.sampler.name == "grid"
    keys = {c.key for c in valid_cells(sweep.space)} | {t.configuration.key for t in planned_trials(sweep)}
    return len(keys)


def architecture_size(sweep: Sweep) -> tuple[tuple[str, ...], int] | None:
    """The coverage parameters and the number of their valid cells; None without them or if they cannot be listed."""
    names = tuple(n for n in sweep.sampler.coverage if not isinstance(sweep.space.by_name[n], Fixed | Real))
    total = size(sweep.space, names).all if names else None
    if total is None or total > MOST_WALKED:
        return None
    return names, sum(1 for _ in projected_cells(sweep.space, names))


def _never_drawn(space: Space) -> list[str]:
    """Conditions that hold for no value of their parents: a misspelt choice, or one that was dropped from the parent.

    Not where a parent is fixed: that decides it in one budget, and not in another.
    """
    told = []
    for parameter in space.parameters:
        when = parameter.when
        if when is None or not some_are_all(space, when.names):
            continue
        if not any(when.truth(values) for values in some_values(space, when.names)):
            parents = ", ".join(sorted(when.names))
            told.append(f"space.{parameter.name} is never drawn: '{when.text}' holds for no value of {parents}")
    return told


def _grid_left_out(sweep: Sweep) -> list[str]:
    out = left_out(sweep)
    if out is None:
        return []
    levels = "every value of every parameter appears"
    if out.levels:
        levels = f"without {listed(out.levels)}"
    some = f"study.trials is {sweep.study.trials}, the grid has {out.cells} cells"
    return [f"{some}: {out.run} run, as evenly as possible ({levels}), {out.cells - out.run} are left out"]


def _coverage_doubts(sweep: Sweep) -> list[str]:
    """Whether ``coverage_share`` makes sure of fewer cells than random draws are expected to meet."""
    share, wanted = sweep.sampler.coverage_share, sweep.study.trials
    architecture = architecture_size(sweep) if share and wanted else None
    if architecture is None or wanted is None:
        return []
    names, cells = architecture
    planned = planned_trials(sweep)
    met = len({tuple(repr(p.configuration.values.get(name)) for name in names) for p in planned})
    drawn = wanted - len(planned)
    sure, by_chance = min(cells, met + int(drawn * share)), expected_distinct(wanted, cells)
    needed = math.ceil((math.ceil(by_chance) - met) / drawn * 100) / 100 if drawn > 0 else 1.0
    if sure >= by_chance or not share < needed <= 1:
        return []
    few = f"sampler.coverage_share = {share:g} makes sure of {sure} of {cells} cells"
    return [f"{few}; random draws are expected to meet {by_chance:.1f}, as {needed:g} would make sure of"]


def rarely_valid(space: Space, *, finite_too: bool = False) -> str:
    """What is wrong if next to nothing that is drawn at random keeps the constraints; an empty text if all is well.

    Args:
        finite_too: also of a space that can be walked through, of which ``size`` tells the truth if it has no
            constraint on a function of the user's.
    """
    if not space.constraints or (size(space).all is not None and not finite_too):
        return ""
    rng = random.Random(0)
    refused: Counter[str] = Counter()
    for _ in range(DRAWS):
        try:
            why = space.why_constrained(at_random(space, rng).values)
        except ExpressionError:
            return ""  # told as a mistake of the condition or the derived value
        if why is not None:
            refused[why] += 1
    valid = 1 - refused.total() / DRAWS
    if valid >= RARE:
        return ""
    ((worst, count),) = refused.most_common(1)
    kept = f"{valid:.1%}" if refused.total() < DRAWS else "none"
    return f"{kept} of {DRAWS:,} configurations drawn at random is valid; {count:,} times: {worst}"


def _too_few(sweep: Sweep) -> list[str]:
    """Whether the study ends before its target, since no configuration is trained twice."""
    wanted = sweep.study.trials
    if sweep.sampler.duplicates == "replicate":
        return []
    if wanted is None or sweep.sampler.name == "list" or size(sweep.space).all is None:
        return []
    by_hand = {planned.configuration.key: planned.configuration for planned in planned_trials(sweep)}
    space = drawable(sweep.space)
    beyond = sum(space.why_invalid(configuration) is not None for configuration in by_hand.values())
    there = at_least(space, max(0, wanted - beyond))
    if there is None or there + beyond >= wanted:
        return []
    return [f"study.trials is {wanted}, but there are {there + beyond} configurations: the study will end with these"]


def _objective_rules(sweep: Sweep, known: Known, problems: list[Problem]) -> None:
    objective = sweep.objective
    if known.sound("objective.function", "objective.command"):
        given = [key for key in ("function", "command") if getattr(objective, key) is not None]
        if len(given) != 1:
            message = "give either function or command" + (", not both" if given else "")
            problems.append(Problem(key=("objective",), message=message, allowed="function, command"))


def _sampler_rules(sweep: Sweep, known: Known, problems: list[Problem]) -> None:
    sampler = sweep.sampler
    name = sampler.name
    if name not in SAMPLERS and not re.fullmatch(ENTRY, name):
        message = f"'{name}' is not a sampler of this version"
        guess = nearest(name, SAMPLERS)
        allowed = f'{", ".join(SAMPLERS)}, or "package.module:class"'
        problems.append(Problem(key=("sampler", "name"), message=message, allowed=allowed, guess=guess))
    elif known.sound("study.trials", "sampler.name"):
        if sweep.study.trials is None and name not in ("grid", "list"):
            message = f"is missing: sampler '{name}' has no end of its own"
            problems.append(Problem(key=("study", "trials"), message=message))
        if name == "list" and not sweep.trial and known.sound("trial"):
            problems.append(Problem(key=("sampler", "name"), message="a list sampler needs [[trial]] tables"))
        if name == "list" and sampler.extremes:
            message = "a list runs its [[trial]]s and nothing else: remove the extremes, or choose another sampler"
            problems.append(Problem(key=("sampler", "extremes"), message=message))
        if name in ("grid", "list", "qmc") and sampler.coverage_share:
            why = "whose sequence covers the space by itself" if name == "qmc" else "which draws nothing"
            message = f"means nothing to sampler '{name}', {why}"
            problems.append(Problem(key=("sampler", "coverage_share"), message=message))
        why_not = _why_not_here(sweep)
        if why_not:
            problems.append(Problem(key=("sampler", "name"), message=why_not))
    if (options := sampler.capabilities.options) is not None and known.sound("sampler.options"):
        problems += option_problems("sampler", f"sampler '{name}'", sampler.options, options, ELSEWHERE)
    if name in ("grid", "list", "qmc") and sampler.duplicates == "replicate":
        message = (
            f"means nothing to sampler '{name}', which proposes nothing twice; for several seeds: study.replicates"
        )
        problems.append(Problem(key=("sampler", "duplicates"), message=message))
    if sampler.coverage_share and not sampler.coverage and known.sound("sampler.coverage"):
        problems.append(Problem(key=("sampler", "coverage_share"), message="needs the parameters in sampler.coverage"))


def _why_not_here(sweep: Sweep) -> str:
    """Why a sampler that exists cannot run this sweep; an empty text if it can."""
    name = sweep.sampler.name
    if name == "cmaes" and len(sweep.study.metric) > 1:
        return "'cmaes' needs a single metric; nsga2, tpe and gp search several"
    if name == "cmaes" and sweep.job.python is None and importlib.util.find_spec("cmaes") is None:
        return "'cmaes' needs the package cmaes, which is not installed here: pip install 'hpo-batch[cmaes]'"
    if re.fullmatch(r"optuna\..*:CmaEsSampler", name):
        return 'Optuna\'s CmaEsSampler keeps its state pickled in the trials, which is never read; write name = "cmaes"'
    if re.fullmatch(r"optuna\..*:(GridSampler|BruteForceSampler)", name):
        return f"'{name}' numbers its cells by itself; write name = \"grid\""
    return ""


def _pruner_rules(sweep: Sweep, known: Known, problems: list[Problem]) -> None:
    pruner = sweep.pruner
    if not known.sound("pruner"):
        return
    if len(sweep.study.metric) > 1 and pruner.name != "none":
        problems.append(Problem(key=("pruner", "name"), message="a pruner needs a single metric", allowed=PRUNERS[0]))
    if pruner.around is not None and pruner.name != "patient":
        message = f"means nothing to pruner '{pruner.name}'; name = \"patient\" waits before another pruner decides"
        problems.append(Problem(key=("pruner", "around"), message=message))
    options = PRUNER_OPTIONS[pruner.name]
    if pruner.name == "patient" and pruner.around is not None:
        options = {**PATIENT, **PRUNER_OPTIONS[pruner.around]}
    problems += option_problems("pruner", f"pruner '{pruner.name}'", pruner.options, options, {})
    if "threshold" in (pruner.name, pruner.around) and not {"lower", "upper"} & pruner.options.keys():
        message = "threshold needs options = { lower = ... }, { upper = ... } or both"
        problems.append(Problem(key=("pruner", "options"), message=message))
    ends = [pruner.options.get(end) for end in ("lower", "upper")]
    if all(isinstance(end, int | float) for end in ends) and ends[0] > ends[1]:  # type: ignore[operator]
        message = f"lower ({ends[0]}) is above upper ({ends[1]}): every trial would be pruned"
        problems.append(Problem(key=("pruner", "options", "lower"), message=message))


def _metric_rules(sweep: Sweep, known: Known, problems: list[Problem]) -> None:
    if len(sweep.study.metric) != len(sweep.study.direction) and known.sound("study.metric", "study.direction"):
        message = f"{len(sweep.study.direction)} directions for {len(sweep.study.metric)} metrics"
        problems.append(Problem(key=("study", "direction"), message=message, allowed="minimize, maximize"))
    if len(set(sweep.study.metric)) != len(sweep.study.metric):
        problems.append(Problem(key=("study", "metric"), message="a metric is named twice"))
    if len(sweep.study.metric) > 1:
        for what, expectation in sweep.expect.items():
            text = expectation if isinstance(expectation, str) else expectation.if_
            if "best" in _names_in(text):
                message = "with several metrics there is no single 'best' trial to expect something of"
                problems.append(Problem(key=("expect", what), message=message))
    derived = sweep.space_table.get("derived", {})
    parameters = {name for name in sweep.space_table if name not in RESERVED}
    parameters |= set(derived) if isinstance(derived, Mapping) else set()
    for name, text in sweep.metrics.items():
        if constant := why_constant(parse(text), ()):
            problems.append(Problem(key=("metrics", name), message=constant))
        for other in sorted(parse(text).names & parameters):
            message = f"'{other}' is a parameter, and metrics are computed from metrics: report or return it, too"
            problems.append(Problem(key=("metrics", name), message=message))
    try:
        decision_order({name: sorted(parse(text).names) for name, text in sweep.metrics.items()})
    except Cycle as cycle:
        for circle in cycle.circles:
            message = f"metrics are computed from each other in a circle: {' -> '.join((*circle, circle[0]))}"
            problems.append(Problem(key=("metrics", circle[0]), message=message))


def _names_in(text: str) -> set[str]:
    """The identifiers of an expectation, whose language is richer than that of constraints."""
    return set(re.findall(r"(?<![\w.])[A-Za-z_]\w*", re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "", text)))


def _import_rules(sweep: Sweep, problems: list[Problem]) -> None:
    """What can be told without looking at the other studies; ``study.imported`` tells the rest."""
    names = sweep.study.import_
    if {sweep.study.name, sweep.path} & set(names):
        problems.append(Problem(key=("study", "import"), message="a study cannot import itself"))
    if len(set(names)) < len(names):
        problems.append(Problem(key=("study", "import"), message="a study is named twice"))


def _job_rules(sweep: Sweep, known: Known, problems: list[Problem]) -> None:
    """How processes lie on GPUs and nodes: several workers to a GPU, or several processes to a worker, not both."""
    job = sweep.job
    if not known.sound("job"):
        return
    spread = "job.nodes" if job.nodes > 1 else "job.tasks_per_node"
    if job.workers_per_gpu is not None and job.ranks > 1:
        message = f"{spread} gives several processes to each worker: leave one of the two out"
        problems.append(Problem(key=("job", "workers_per_gpu"), message=message))
    problems += [*sbatch_problems(job), *srun_problems(job)]
    if job.mps and job.workers_per_gpu is None:
        message = "MPS lets workers share a GPU, and none do; say how many in job.workers_per_gpu"
        problems.append(Problem(key=("job", "mps"), message=message))
    if job.ranks > 1 and not job.srun:
        message = f"only srun can start the processes that {spread} asks for"
        problems.append(Problem(key=("job", "srun"), message=message, allowed="true"))


def _trial_rules(sweep: Sweep, known: Known, problems: list[Problem]) -> None:
    count = Counter(trial.name for trial in sweep.trial)
    seen: set[str] = set()
    links: dict[str, list[str]] = {}
    all_named = not any(p.key[:1] == ("trial",) and p.key[2:] in ((), ("name",)) for p in known.told)
    for i, trial in enumerate(sweep.trial):
        if trial.name in seen:
            problems.append(Problem(key=("trial", i, "name"), message=f"two trials are called '{trial.name}'"))
        seen.add(trial.name)
        source = trial.from_
        links.setdefault(trial.name, [source] if source else [])
        if source == "baseline":
            if sweep.baseline is None and known.sound("baseline"):
                problems.append(Problem(key=("trial", i, "from"), message="there is no [baseline] to take values from"))
        elif source is not None and all_named and (source not in count or source == trial.name):
            message = f"'{source}' is not the name of another trial"
            names = [name for name in count if name != trial.name]
            allowed = listed(["baseline", *names] if sweep.baseline is not None else names)
            problems.append(
                Problem(key=("trial", i, "from"), message=message, allowed=allowed, guess=nearest(source, names))
            )
    try:
        decision_order({name: [n for n in its if n != name] for name, its in links.items()})
    except Cycle as cycle:
        place = {trial.name: i for i, trial in reversed(list(enumerate(sweep.trial)))}
        for circle in cycle.circles:
            message = f"trials take their values from each other in a circle: {' -> '.join((*circle, circle[0]))}"
            problems.append(Problem(key=("trial", place[circle[0]], "from"), message=message))


def _expect_rules(sweep: Sweep, known: Known, problems: list[Problem]) -> None:
    """Expectations can be read, and what they name is in the sweep."""
    trials = [trial.name for trial in sweep.trial]
    sets = [trial.set for trial in sweep.trial if trial.set]
    parameters = [name for name in sweep.space_table if name not in RESERVED]
    derived = sweep.space_table.get("derived", {})
    parameters += derived if isinstance(derived, Mapping) else ()
    for text, entry in sweep.expect.items():
        key = ("expect", text) if isinstance(entry, str) else ("expect", text, "if")
        if any(problem.key[:2] in (("expect",), ("expect", text)) for problem in known.told):
            continue
        try:
            statement = read_statement(entry if isinstance(entry, str) else entry.if_)
        except ExpressionError as error:
            problems.append(Problem(key=key, message=str(error)))
            continue
        message = why_unknown(statement, trials=trials, sets=sets) if known.sound("trial") else ""
        for statistic in statement.statistics.values():
            if statistic.where is not None:
                message = message or why_constant(statistic.where, parameters)
            for name in sorted(statistic.where.names if statistic.where else ()):
                if name not in parameters:
                    message = message or f"'{name}' is not a parameter of [space]"
        if message:
            problems.append(Problem(key=key, message=message))


def _space_rules(sweep: Sweep, space: Space, known: Known, problems: list[Problem]) -> None:
    if sweep.sampler.name != "list" and not space.searched and known.sound("space"):
        message = "nothing to search: [space] needs at least one parameter with choices or a range"
        problems.append(Problem(key=("space",), message=message))
    for option in ("extremes", "coverage"):
        for name in getattr(sweep.sampler, option):
            parameter = space.by_name.get(name)
            if option == "extremes" and isinstance(parameter, Choices) and not parameter.ordered:
                message = f"'{name}' has no order: its smallest and largest value mean nothing; write ordered = true"
                problems.append(Problem(key=("sampler", option), message=message))
            elif option == "coverage" and parameter is not None and parameter.count is None:
                problems.append(Problem(key=("sampler", option), message=f"'{name}' is continuous and has no cells"))
    for parameter in space.searched if sweep.sampler.name not in ("random", "grid", "list") else ():
        if not isinstance(parameter, Real) or parameter.log:
            continue
        if not math.isfinite(WIDEST * (parameter.high - parameter.low)):
            ends = f"{parameter.low!r} to {parameter.high!r}"
            message = f"the range from {ends} is too wide for the sums of sampler '{sweep.sampler.name}'"
            problems.append(Problem(key=("space", parameter.name, "high"), message=f"{message}; use 'random'"))
    if sweep.sampler.name == "grid":
        endless = [p.name for p in space.searched if p.count is None]
        for name in endless:
            problems.append(Problem(key=("space", name), message="a grid needs choices, or a range with a step"))
        cells = size(space).all
        if cells is not None and cells > MOST_WALKED:
            message = f"a grid of {cells:,} cells is too large (at most {MOST_WALKED:,}); use sampler 'random'"
            problems.append(Problem(key=("sampler", "name"), message=message))
    _weights(sweep, space, problems)


def _name_rules(sweep: Sweep, problems: list[Problem]) -> None:
    """Names of parameters that stand elsewhere; those with mistakes of their own are known names too."""
    names = [name for name in sweep.space_table if name not in RESERVED]
    for option in ("extremes", "coverage"):
        given = getattr(sweep.sampler, option)
        for name in given:
            if name not in names:
                message = f"'{name}' is not a parameter of [space]"
                problems.append(
                    Problem(key=("sampler", option), message=message, allowed=listed(names), guess=nearest(name, names))
                )
        if len(set(given)) < len(given):
            problems.append(Problem(key=("sampler", option), message="a parameter is named twice"))
    for i, trial in enumerate(sweep.trial):
        check_values(trial.params, names, ("trial", i, "params"), problems)
    check_values(sweep.baseline or {}, names, ("baseline",), problems)


def _weights(sweep: Sweep, space: Space, problems: list[Problem]) -> None:
    weighted = [p for p in space.searched if isinstance(p, Choices) and p.weights is not None]
    for parameter in weighted:
        key = ("space", parameter.name, "weights")
        if parameter.when is not None:
            problems.append(Problem(key=key, message="weights of a conditional parameter are not supported"))
        if sweep.sampler.name in ("grid", "list"):
            problems.append(Problem(key=key, message=f"weights mean nothing to sampler '{sweep.sampler.name}'"))
    arms = math.prod(p.count for p in weighted)
    if arms > MOST_ARMS:
        message = (
            f"the weighted choices make {arms:,} combinations, each with a share of its own; at most {MOST_ARMS:,}"
        )
        problems.append(Problem(key=("space", weighted[-1].name, "weights"), message=message))


def _expressions(space: Space, problems: list[Problem]) -> None:
    """Conditions and derived values must have a result whatever is drawn; they are tried with some values."""
    failed: set[str] = set()
    for name in space.order:
        is_derived = name in space.derived
        expression = space.derived[name] if is_derived else space.by_name[name].when
        if expression is None:
            continue
        if not failed.isdisjoint(expression.names):
            failed.add(name)  # what it depends on was told
            continue
        for values in some_values(space, expression.names):
            try:
                expression.evaluate(values) if is_derived else expression.truth(values)
            except ExpressionError as error:
                failed.add(name)
                given = ", ".join(f"{n} = {shown(values[n])}" for n in sorted(expression.names))
                key = ("space", "derived", name) if is_derived else ("space", name, "when")
                problems.append(Problem(key=key, message=f"cannot be computed for {given}: {error}"))
                break


def _emptiness(space: Space, problems: list[Problem]) -> None:
    """Constraints, or all of them together, that nothing satisfies."""
    never = set(never_satisfied(space))
    found: list[Problem] = []
    for name, constraint in space.constraints.items():
        error = _error_everywhere(space, constraint)
        if error or name in never:
            message = f"nothing in [space] satisfies it{': ' if error else ''}{error}"
            found.append(Problem(key=("space", "constraints", name), message=message))
    if not found and is_empty(space):
        found.append(Problem(key=("space", "constraints"), message="nothing in [space] satisfies all of them together"))
    rare = rarely_valid(space) if not found else ""
    if rare.startswith("none"):
        worst = next((name for name in space.constraints if f"constraint '{name}'" in rare), None)
        key = ("space", "constraints") if worst is None else ("space", "constraints", worst)
        found.append(Problem(key=key, message=f"next to nothing in [space] satisfies it: {rare}"))
    problems += found


def _error_everywhere(space: Space, expression: Expression) -> str:
    """What keeps an expression from being computed, if it can be computed for none of the values tried."""
    first = ""
    for values in some_values(space, expression.names):
        try:
            expression.truth(values)
        except ExpressionError as error:
            first = first or str(error)
        else:
            return ""
    return first


def _planned_rules(sweep: Sweep, known: Known, problems: list[Problem]) -> None:
    if not known.sound("baseline") or any(problem.key == ("trial",) for problem in known.told):
        return
    before = len(problems)
    told = {problem.key[1] for problem in known.told if problem.key[:1] == ("trial",)}
    sources = {None, "baseline", *(trial.name for trial in sweep.trial)}
    wrong = {trial.name for i, trial in enumerate(sweep.trial) if i in told or trial.from_ not in sources}
    for key, planned in resolve_planned(sweep, without=wrong):
        reason = (
            str(planned)
            if isinstance(planned, UserError)
            else sweep.space.why_invalid(planned.configuration, bounds=False)
        )
        if reason:
            problems.append(Problem(key=key, message=reason))
    if wrong or len(problems) > before or not known.sound("study.trials", "sampler"):
        return
    planned_count = len(planned_trials(sweep))
    if sweep.sampler.name == "list" and sweep.study.trials not in (None, planned_count):
        message = f"the list has {planned_count} trials; leave 'trials' out, or make them equal"
        problems.append(Problem(key=("study", "trials"), message=message))
    elif sweep.study.trials is not None and planned_count > sweep.study.trials:
        message = f"{sweep.study.trials} trials are wanted, but {planned_count} are planned by [[trial]], [baseline]"
        problems.append(Problem(key=("study", "trials"), message=f"{message} and sampler.extremes"))


def _overlap(a: tuple[str | int, ...], b: tuple[str | int, ...]) -> bool:
    return all(x == y for x, y in zip(a, b, strict=False))
