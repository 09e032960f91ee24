"""Rules for ``[pruner]``."""

from __future__ import annotations

from collections.abc import Iterator

from hpo_batch.records import Problem
from hpo_batch.sweep.options import PATIENT, PRUNER_OPTIONS, option_problems
from hpo_batch.sweep.rules.draft import Draft
from hpo_batch.sweep.schema import PRUNERS, Pruner


def fits(draft: Draft) -> Iterator[Problem]:
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


def _thresholds(pruner: Pruner) -> Iterator[Problem]:
    if "threshold" in (pruner.name, pruner.around) and not {"lower", "upper"} & pruner.options.keys():
        message = 'pruner "threshold" needs options = { lower = ... }, { upper = ... } or both'
        yield Problem(key=("pruner", "options"), message=message)
    lower, upper = pruner.options.get("lower"), pruner.options.get("upper")
    if isinstance(lower, int | float) and isinstance(upper, int | float) and lower > upper:
        message = f"lower ({lower}) is above upper ({upper}): every trial would be pruned"
        yield Problem(key=("pruner", "options", "lower"), message=message)
