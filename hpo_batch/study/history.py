"""The history for samplers and pruners: the journal's trials as an Optuna study in memory, in the current space.

Never the journal's own study: edited choices, waiting trials and other arms of a quota would mislead a sampler there.
A trial that has ended is translated once.
"""

from __future__ import annotations

import bisect
import copy
import heapq
import math
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import optuna
from msgspec import Struct
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from hpo_batch.journal.attributes import is_ours
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import TrialState
from hpo_batch.space.space import Space
from hpo_batch.study.brackets import BRACKET
from hpo_batch.study.distributions import distribution_of, frozen_trial, values_in
from hpo_batch.study.shown_trials import OUT_OF_THE_WAY, ShownTrials

# share of a capped history for the best trials, however old: TPE models the best 10 % (its default gamma):
# https://optuna.readthedocs.io/en/stable/_modules/optuna/samplers/_tpe/sampler.html
BEST = 0.1
OPTUNAS = {state: optuna.trial.TrialState(state.value) for state in TrialState}
# Optuna's CmaEsSampler unpickles its optimizer from attributes with this prefix, and whoever can write to a shared
# journal could run code here: https://optuna.readthedocs.io/en/stable/_modules/optuna/samplers/_cmaes.html
UNPICKLED = "cma:"


class _Shown(InMemoryStorage):
    """A storage that lists our trials before those that Optuna creates in it.

    ``Study.add_trials`` would make a deep copy of each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[FrozenTrial] = []
        self.noted: dict[str, Any] = {}
        """attributes that Optuna set on one of the shown trials"""

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[optuna.trial.TrialState] | None = None
    ) -> list[FrozenTrial]:
        shown = [trial for trial in self.shown if states is None or trial.state in states]
        own = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        return (copy.deepcopy(shown) if deepcopy else shown) + own

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        return BaseStorage.get_best_trial(self, study_id)  # InMemoryStorage caches the best of its own trials only

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id >= OUT_OF_THE_WAY:
            self.noted[key] = value
        else:
            super().set_trial_system_attr(trial_id, key, value)


class Noting(Struct, frozen=True, kw_only=True):
    """A trial as its sampler sees it when it ends, and the attributes that the sampler sets on it."""

    trial: FrozenTrial
    attrs: Mapping[str, Any]


class SamplerHistory:
    """The trials that a sampler learns from in one space: the finished and running ones that lie in it.

    Args:
        cap: maximum number of trials: the best tenth, then the newest. Default: all.
        missing: attributes for trials that this sampler did not draw.
        by_step: whether a step measures progress; otherwise steps are instance ids, and a pruned trial's value is the
            mean over them.
    """

    def __init__(
        self, space: Space, *, cap: int | None = None, missing: Mapping[str, Any] | None = None, by_step: bool = True
    ) -> None:
        self._space = space
        self._cap = cap
        self._missing = missing or {}
        self._by_step = by_step
        self._distributions = {parameter.name: distribution_of(parameter) for parameter in space.searched}
        self._translated: dict[int, FrozenTrial] = {}
        """trials inside the space by number, in their latest translation"""
        self._outside: set[int] = set()
        """numbers of ended trials outside the space"""
        self._newest: list[int] = []
        """numbers of the newest ended trials inside the space, at most ``cap``, in ascending order"""
        self._ranked: dict[int, list[tuple[float, int]]] = {}
        """by metric: (loss, number) of the best complete trials inside the space, best first"""
        self._looked = self._ranked_until = 0
        """counts of endings that were processed"""
        self._shown_trials = ShownTrials(space, self._distributions)

    def study(self, state: JournalState, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
        """A study to ask for proposals."""
        storage = _Shown()
        own = self._shown_trials.merge_repeats(state, self._shown(state))
        room = None if self._cap is None else self._cap - len(own)
        storage.shown = [*self._shown_trials.imported(state, room=room), *own]
        return study_in_memory(state, sampler, storage)

    def noting(self, study: optuna.Study, number: int) -> Noting | None:
        """A trial of a ``study`` from this history; attributes that are set on it appear in ``attrs``."""
        storage = study._storage
        assert isinstance(storage, _Shown)
        trial = next((t for t in storage.shown if t.number == number + OUT_OF_THE_WAY), None)
        return None if trial is None else Noting(trial=trial, attrs=storage.noted)

    def _shown(self, state: JournalState) -> list[FrozenTrial]:
        room = len(state.trials) if self._cap is None else self._cap
        best = set(self._best_numbers(state)[:room] if len(state.trials) > room else [])
        self._look_for_newest(state, room)
        running = [n for n in state.by_state[TrialState.RUNNING] if self._frozen(state.trials[n]) is not None]
        newest = sorted({*self._newest, *running} - best, reverse=True)[: room - len(best)]
        shown: dict[int, FrozenTrial] = {}
        for number in sorted([*best, *newest]):
            frozen = self._translated.get(number) or self._frozen(state.trials[number])
            assert frozen is not None
            shown[number] = frozen
        if self._cap is not None and len(self._translated) > 2 * self._cap:
            self._translated = dict(shown)  # bound the memory of a long-lived worker
        return list(shown.values())

    # The two methods below translate trials in the order of their usefulness and stop when there are enough:
    # translating all trials of a large study took longer than reading it.

    def _look_for_newest(self, state: JournalState, room: int) -> None:
        new = [number for reason, number in state.endings[self._looked :] if not reason]
        self._looked = len(state.endings)
        for number in sorted(new, reverse=True):
            if len(self._newest) >= room and number < self._newest[0]:
                break
            if self._frozen(state.trials[number]) is not None:
                bisect.insort(self._newest, number)
                del self._newest[:-room]

    def _best_numbers(self, state: JournalState) -> list[int]:
        """Numbers of the best complete trials; with several metrics, the best by each."""
        assert self._cap is not None
        room = max(1, int(self._cap * BEST)) // len(state.directions) + 1
        ended = (state.trials[number] for reason, number in state.endings[self._ranked_until :] if not reason)
        complete = [trial for trial in ended if trial.state is TrialState.COMPLETE]
        self._ranked_until = len(state.endings)
        for metric, direction in enumerate(state.directions):
            ranked = self._ranked.setdefault(metric, [])
            entries = list(_losses(complete, metric, minimize=direction == StudyDirection.MINIMIZE))
            heapq.heapify(entries)
            while entries and (len(ranked) < room or entries[0] < ranked[-1]):
                entry = heapq.heappop(entries)
                if self._frozen(state.trials[entry[1]]) is not None:
                    bisect.insort(ranked, entry)
                    del ranked[room:]
        return [number for ranked in self._ranked.values() for _, number in ranked]

    def _frozen(self, trial: ScannedTrial) -> FrozenTrial | None:
        """A trial as Optuna's; None if it lies outside the space."""
        if trial.number in self._outside:
            return None
        frozen = self._translated.get(trial.number)
        if frozen is not None and frozen.state is OPTUNAS[trial.state]:
            if trial.state is not TrialState.RUNNING:
                return frozen
            if trial.key is not None:  # plain Optuna adds parameters one by one, so its trials are translated again
                frozen.intermediate_values = self._steps(trial)
                return frozen
        values = values_in(self._space, trial)
        if values is not None:
            frozen = frozen_trial(
                trial,
                number=trial.number + OUT_OF_THE_WAY,
                params=values,
                distributions=self._distributions,
                steps=self._steps(trial),
                attrs=self._attrs(trial),
            )
        if values is None or frozen is None:
            if trial.state.ended:
                self._outside.add(trial.number)
            return None
        frozen._trial_id += OUT_OF_THE_WAY
        self._translated[trial.number] = frozen
        return frozen

    def _steps(self, trial: ScannedTrial) -> dict[int, float]:
        steps = trial.decoded_steps
        return dict(steps) if self._by_step or not steps else {1: fmean(steps.values())}

    def _attrs(self, trial: ScannedTrial) -> dict[str, Any]:
        """Attributes that the trial's own sampler set."""
        attrs = {**trial.facts.get("sampler", {}), **trial.noted_by_sampler}
        return {**self._missing, **{k: v for k, v in attrs.items() if not k.startswith(UNPICKLED)}}


def _losses(trials: Sequence[ScannedTrial], metric: int, *, minimize: bool) -> Iterator[tuple[float, int]]:
    """(loss, number) of each trial with a value; NaN is skipped, since it cannot be sorted."""
    for trial in trials:
        if trial.values is not None and not math.isnan(value := trial.values[metric]):
            yield value if minimize else -value, trial.number


class PrunerHistory:
    """All trials under their own numbers, with Hyperband's brackets and without parameters, which pruners ignore."""

    def __init__(self) -> None:
        self._storage = _Noting()
        self._study: optuna.Study | None = None
        self._open: set[int] = set()

    def ask(
        self,
        pruner: optuna.pruners.BasePruner,
        state: JournalState,
        number: int,
        step: int,
        *,
        reported: Mapping[int, float] | None = None,
    ) -> tuple[bool, dict[str, Any]]:
        """Whether to prune a trial at ``step``, and the attributes that the pruner wants to store with it.

        Args:
            reported: the trial's values by step that are not in the journal yet.
        """
        by_step = not isinstance(pruner, optuna.pruners.WilcoxonPruner)  # its steps are instance ids
        if self._study is None:
            self._study = study_in_memory(state, optuna.samplers.RandomSampler(), self._storage)
        shown = self._storage.shown
        changed = [*self._open, *range(len(shown), len(state.trials))]
        self._open = {n for n in changed if not state.trials[n].state.ended}
        shown += [_failed(-1)] * (len(state.trials) - len(shown))
        for n in changed:
            # a resumed attempt is judged by its own progress, not by the later steps of an earlier attempt
            ours = n == number
            shown[n] = _for_pruner(
                state.trials[n], last_step=step if ours and by_step else None, reported=reported if ours else None
            )
        self._storage.noted = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # WilcoxonPruner warns about every trial with other instances
            return bool(pruner.prune(self._study, shown[number])), self._storage.noted


class _Noting(_Shown):
    """Collects the values that successive halving stores at each rung, as system attributes of the trial."""

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.noted[key] = value


def _for_pruner(
    trial: ScannedTrial, *, last_step: int | None, reported: Mapping[int, float] | None = None
) -> FrozenTrial:
    reports = {**trial.steps, **(reported or {})}
    steps = {step: value for step, value in reports.items() if last_step is None or step <= last_step}
    attrs = {name: value for name, value in trial.system_attrs.items() if not is_ours(name)}
    attrs[BRACKET] = trial.facts.get(BRACKET, 0)
    frozen = frozen_trial(trial, number=trial.number, params={}, distributions={}, steps=steps, attrs=attrs)
    return _failed(trial.number) if frozen is None else frozen


def _failed(number: int) -> FrozenTrial:
    failed = optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL)
    failed.number = number
    return failed


def study_in_memory(
    state: JournalState, sampler: optuna.samplers.BaseSampler, storage: InMemoryStorage | None = None
) -> optuna.Study:
    """A study with the journal's name and directions, and only the trials of ``storage``."""
    directions = [StudyDirection(d) for d in state.directions]
    # else Optuna logs "A new study created in memory" for every proposal
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.create_study(directions=directions, sampler=sampler, study_name=state.study_name, storage=storage)
