"""Rules for ``[[trial]]`` and ``[baseline]``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hpo_batch.errors import UserError
from hpo_batch.records import Problem
from hpo_batch.space.conditions import Cycle, decision_order
from hpo_batch.sweep.planned import planned_trials, resolve_planned
from hpo_batch.sweep.rules.draft import Draft
from hpo_batch.text.names import listed, nearest


def names_and_sources(draft: Draft) -> Iterator[Problem]:
    """Names are unique, and ``from`` is another trial or the baseline."""
    sweep = draft.sweep
    count = Counter(trial.name for trial in sweep.trial)
    are_all_named = not any(p.key[:1] == ("trial",) and p.key[2:] in ((), ("name",)) for p in draft.problems)
    seen: set[str] = set()
    for i, trial in enumerate(sweep.trial):
        if trial.name in seen:
            yield Problem(key=("trial", i, "name"), message=f"two trials are called '{trial.name}'")
        seen.add(trial.name)
        source = trial.from_
        if source == "baseline":
            if sweep.baseline is None and draft.is_sound("baseline"):
                yield Problem(key=("trial", i, "from"), message="there is no [baseline] to take values from")
        elif source is not None and are_all_named and (source not in count or source == trial.name):
            names = [name for name in count if name != trial.name]
            yield Problem(
                key=("trial", i, "from"),
                message=f"'{source}' is not the name of another trial",
                allowed=listed(["baseline", *names] if sweep.baseline is not None else names),
                guess=nearest(source, names),
            )


def source_order(draft: Draft) -> Iterator[Problem]:
    sources: dict[str, list[str]] = {}
    index: dict[str, int] = {}
    for i, trial in enumerate(draft.sweep.trial):
        # duplicate names and trials that refer to themselves are reported elsewhere
        sources.setdefault(trial.name, [trial.from_] if trial.from_ and trial.from_ != trial.name else [])
        index.setdefault(trial.name, i)
    try:
        decision_order(sources)
    except Cycle as error:
        for cycle in error.cycles:
            message = f"these trials take their values from each other: {' -> '.join((*cycle, cycle[0]))}"
            yield Problem(key=("trial", index[cycle[0]], "from"), message=message)


def resolvable(draft: Draft) -> Iterator[Problem]:
    """Planned trials are valid configurations, and the target is large enough for them."""
    sweep = draft.sweep
    if not draft.is_sound("baseline") or any(problem.key == ("trial",) for problem in draft.problems):
        return
    indices = {problem.key[1] for problem in draft.problems if problem.key[:1] == ("trial",)}
    sources = {None, "baseline", *(trial.name for trial in sweep.trial)}
    # trials with problems, and those that inherit from them, would only produce follow-up errors
    wrong = {trial.name for i, trial in enumerate(sweep.trial) if i in indices or trial.from_ not in sources}
    are_sound = not wrong
    for key, planned in resolve_planned(sweep, without=wrong):
        if isinstance(planned, UserError):
            message: str | None = str(planned)
        else:
            message = sweep.space.why_invalid(planned.configuration, bounds=False)
        if message:
            are_sound = False
            yield Problem(key=key, message=message)
    if are_sound and draft.is_sound("study.trials", "sampler"):
        yield from _target(draft)


def _target(draft: Draft) -> Iterator[Problem]:
    sweep = draft.sweep
    target, count = sweep.study.trials, len(planned_trials(sweep))
    if target is None:
        return
    if sweep.sampler.capabilities.is_list and target != count:
        message = f"the list has {count} trial{'s' if count != 1 else ''}; remove 'trials', or make the two equal"
        yield Problem(key=("study", "trials"), message=message)
    elif count > target:
        message = f"the target is {target} trials, but [[trial]], [baseline] and sampler.extremes plan {count}"
        yield Problem(key=("study", "trials"), message=message)
