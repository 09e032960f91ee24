"""Rules for ``[sampler]``, based on the capabilities in ``sweep/samplers.py``, and for ``[pruner]``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hpo_batch.extras import install, is_installed
from hpo_batch.records import Problem
from hpo_batch.sweep.options import ELSEWHERE, PATIENT, PRUNER_OPTIONS, option_problems
from hpo_batch.sweep.rules.draft import Draft
from hpo_batch.sweep.samplers import SAMPLERS
from hpo_batch.sweep.schema import PRUNERS, Pruner
from hpo_batch.sweep.values import ENTRY
from hpo_batch.text.names import nearest

# Optuna's samplers that do not work here, and what to use instead
_OPTUNAS: dict[str, str] = {
    "CmaEsSampler": 'pickles its state into the trials, and hpo-batch never unpickles; use name = "cmaes"',
    "GridSampler": 'numbers its cells by itself; use name = "grid"',
    "BruteForceSampler": 'numbers its cells by itself; use name = "grid"',
}


def known_name(draft: Draft) -> Iterator[Problem]:
    name = draft.sweep.sampler.name
    if not _is_known(name):
        allowed = f'{", ".join(SAMPLERS)}, or "package.module:class"'
        guess = nearest(name, SAMPLERS)
        yield Problem(key=("sampler", "name"), message=f"unknown sampler '{name}'", allowed=allowed, guess=guess)


def target(draft: Draft) -> Iterator[Problem]:
    """The number of trials is optional only for finite samplers."""
    sweep = draft.sweep
    if _is_usable(draft) and sweep.study.trials is None and not sweep.sampler.capabilities.is_finite:
        message = f"is missing: sampler '{sweep.sampler.name}' does not stop by itself"
        yield Problem(key=("study", "trials"), message=message)


def planned_only(draft: Draft) -> Iterator[Problem]:
    """A list needs trials, and has no extremes."""
    sweep = draft.sweep
    name = sweep.sampler.name
    if not _is_usable(draft) or not sweep.sampler.capabilities.is_list:
        return
    if not sweep.trial and draft.is_sound("trial"):
        yield Problem(key=("sampler", "name"), message=f"sampler '{name}' needs at least one [[trial]] table")
    if sweep.sampler.extremes:
        message = f"sampler '{name}' runs the [[trial]] tables only; remove extremes, or choose another sampler"
        yield Problem(key=("sampler", "extremes"), message=message)


def coverage(draft: Draft) -> Iterator[Problem]:
    sampler = draft.sweep.sampler
    if not sampler.coverage_share:
        return
    if sampler.capabilities.never_repeats and _is_usable(draft):
        why = "which draws nothing" if sampler.capabilities.is_finite else "whose sequence covers the space already"
        message = f"has no effect with sampler '{sampler.name}', {why}"
        yield Problem(key=("sampler", "coverage_share"), message=message)
    if not sampler.coverage and draft.is_sound("sampler.coverage"):
        yield Problem(key=("sampler", "coverage_share"), message="needs the parameters in sampler.coverage")


def duplicates(draft: Draft) -> Iterator[Problem]:
    sampler = draft.sweep.sampler
    if sampler.duplicates == "replicate" and sampler.capabilities.never_repeats:
        message = (
            f"has no effect with sampler '{sampler.name}', which proposes no configuration twice; "
            "to train with several seeds, set study.replicates"
        )
        yield Problem(key=("sampler", "duplicates"), message=message)


def seeds(draft: Draft) -> Iterator[Problem]:
    """``study.seeds`` are different, and as many as ``study.replicates`` if that is given too."""
    study = draft.sweep.study
    if not draft.is_sound("study.seeds", "study.replicates"):
        return
    if len(set(study.seeds)) < len(study.seeds):
        yield Problem(key=("study", "seeds"), message="a seed is listed twice")
    if study.seeds and study.replicates not in (1, len(study.seeds)):
        message = f"there are {len(study.seeds)} in study.seeds, which say it already; remove 'replicates'"
        yield Problem(key=("study", "replicates"), message=message)
    if study.seeds and draft.sweep.sampler.duplicates == "replicate":
        message = "every trial has the same seeds: a configuration that is trained again would give the same"
        yield Problem(key=("sampler", "duplicates"), message=message)


def runs_here(draft: Draft) -> Iterator[Problem]:
    """Known samplers that cannot run this sweep."""
    sweep = draft.sweep
    name = sweep.sampler.name
    if not _is_usable(draft):
        return
    can = sweep.sampler.capabilities
    optunas = re.fullmatch(rf"optuna\..*:({'|'.join(_OPTUNAS)})", name)
    if can.max_metrics is not None and len(sweep.study.metric) > can.max_metrics:
        message = f"'{name}' takes a single metric; for several use nsga2, tpe or gp"
        yield Problem(key=("sampler", "name"), message=message)
    # with job.python, the nodes use another Python, which may have the package
    elif can.package and sweep.job.python is None and not is_installed(can.package):
        message = f"'{name}' needs the package {can.package}, which is not installed here: {install(can.package)}"
        yield Problem(key=("sampler", "name"), message=message)
    elif optunas:
        yield Problem(key=("sampler", "name"), message=f"Optuna's {optunas[1]} {_OPTUNAS[optunas[1]]}")


def options(draft: Draft) -> Iterator[Problem]:
    sampler = draft.sweep.sampler
    known = sampler.capabilities.options
    if known is not None and draft.is_sound("sampler.options"):
        yield from option_problems("sampler", f"sampler '{sampler.name}'", sampler.options, known, ELSEWHERE)


def pruner_fits(draft: Draft) -> Iterator[Problem]:
    """The pruner supports this study, and its options are valid."""
    pruner = draft.sweep.pruner
    if not draft.is_sound("pruner"):
        return
    if len(draft.sweep.study.metric) > 1 and pruner.name != "none":
        message = "pruning needs a study with a single metric"
        yield Problem(key=("pruner", "name"), message=message, allowed=PRUNERS[0])
    if pruner.around is not None and pruner.name != "patient":
        message = f"has no effect with pruner '{pruner.name}'; only \"patient\" waits before another pruner decides"
        yield Problem(key=("pruner", "around"), message=message)
    options = PRUNER_OPTIONS[pruner.name]
    if pruner.name == "patient" and pruner.around is not None:
        options = {**PATIENT, **PRUNER_OPTIONS[pruner.around]}
    yield from option_problems("pruner", f"pruner '{pruner.name}'", pruner.options, options, {})
    yield from _thresholds(pruner)


def _is_known(name: str) -> bool:
    return name in SAMPLERS or re.fullmatch(ENTRY, name) is not None


def _is_usable(draft: Draft) -> bool:
    return _is_known(draft.sweep.sampler.name) and draft.is_sound("study.trials", "sampler.name")


def _thresholds(pruner: Pruner) -> Iterator[Problem]:
    if "threshold" in (pruner.name, pruner.around) and not {"lower", "upper"} & pruner.options.keys():
        message = 'pruner "threshold" needs options = { lower = ... }, { upper = ... } or both'
        yield Problem(key=("pruner", "options"), message=message)
    lower, upper = pruner.options.get("lower"), pruner.options.get("upper")
    if isinstance(lower, int | float) and isinstance(upper, int | float) and lower > upper:
        message = f"lower ({lower}) is above upper ({upper}): every trial would be pruned"
        yield Problem(key=("pruner", "options", "lower"), message=message)
