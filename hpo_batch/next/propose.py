"""Propose: supplementary trials around the best one, in sets with a hypothesis each, ready to submit.

A local design tells the main effects of all parameters apart from the same few runs, where changing one at a time would
need several times as many. Single parameters get a set of their own only where the change that the model expects is
large enough to be told from chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from hpo_batch.errors import Declined, UserError
from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.best.subject import SUBJECT as BEST
from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.effects.subject import SUBJECT as EFFECTS
from hpo_batch.findings.health.subject import SUBJECT as HEALTH
from hpo_batch.findings.hours.subject import SUBJECT as HOURS
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.surrogate import surrogate
from hpo_batch.findings.noise.numbers import single_sd
from hpo_batch.findings.noise.subject import SUBJECT as NOISE
from hpo_batch.next.around import Move, changed, moves
from hpo_batch.next.confirm import unexplained
from hpo_batch.next.parent import (
    Parent,
    best_configurations,
    free_name,
    list_sweep,
    new_seeds,
    own_params,
    time_text,
    used_seeds,
    with_workers,
)
from hpo_batch.next.predictions import Contrast, document, of_contrasts
from hpo_batch.next.sweep_text import sweep_text
from hpo_batch.records import Configuration, Value
from hpo_batch.results.table import TrialsTable
from hpo_batch.space.space import Space
from hpo_batch.sweep.planned import Planned, planned_trials, resolve_planned
from hpo_batch.sweep.schema import Expectation, PlannedTrial, Previous, Sweep
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count, number

REFERENCE: Final = "reference"
LOCAL: Final = "local"
COMBINED: Final = "combined"
POWER: Final = 2.8
"""standard errors of a difference that is found with 80 % power at p < 0.05: 1.96 + 0.84"""
MOST_FACTORS: Final = 11
MOST_SEEDS: Final = 3
MOST_SINGLE: Final = 3
"""parameters that get a set of their own"""
LIKELY: Final = 0.6
"""chance of being better from which a move is part of the combined trial"""
# first row of the design of 12 runs: Plackett and Burman 1946, Biometrika 33(4), pages 305-325
TWELVE: Final = (1, 1, -1, 1, 1, 1, -1, -1, -1, 1, -1)


@dataclass(frozen=True, kw_only=True)
class TrialSet:
    """Trials that answer one question."""

    name: str
    hypothesis: str
    contrasts: Mapping[str, str]
    """what is expected, in words, and what is compared, as [expect] writes it"""
    predicted: float | None
    """largest gain that the model expects of its contrasts"""
    detectable: float | None
    """smallest difference that these trials tell from chance with 80 % power"""
    trials: tuple[PlannedTrial, ...]
    moves: tuple[str, ...] = ()
    """each change with its prediction"""
    expected: Mapping[str, Contrast] = field(default_factory=dict)
    """by the words of ``contrasts``: what the model expects, where it expects anything"""

    @property
    def lines(self) -> Sequence[str]:
        """Comment above it."""
        sizes = f"Predicted gain {number(self.predicted)}, " if self.predicted is not None else "No prediction; "
        found = number(self.detectable) if self.detectable is not None else "unknown, as the noise is"
        told = ""
        if self.predicted is not None and self.detectable is not None and abs(self.predicted) < self.detectable:
            told = ": an effect as small as predicted would not be told from chance"
        return (
            f"{self.name}: {self.hypothesis} ({count(len(self.trials), 'trial')})",
            *self.moves,
            f"{sizes}detectable with 80 % power {found}{told}.",
        )


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A sweep of supplementary trials."""

    sweep: Sweep
    sets: tuple[TrialSet, ...]
    left_out: tuple[str, ...]
    """parameters without trials, and why"""
    trainings: int
    text: str
    decisions_json: str
    """the file beside it: what is predicted"""


@dataclass(frozen=True, kw_only=True)
class _Local:
    """What is around the best configuration, and what ran already."""

    space: Space
    data: Data
    best: Configuration
    moves: Mapping[str, list[Move]]
    effects: Mapping[str, Effect]
    sd: float | None
    ran: Mapping[str, str]

    @property
    def order(self) -> list[str]:
        """Parameters with moves, those that explain most first."""

        def share(name: str) -> float:
            effect = self.effects.get(name)
            found = effect.variance_share if effect is not None else None
            return found.value if found is not None else 0.0

        return sorted(self.moves, key=lambda name: -share(name))

    def detectable(self, runs: int, seeds: int) -> float | None:
        """Between the two halves of so many runs."""
        return None if self.sd is None else POWER * self.sd * math.sqrt(4 / (runs * seeds))


def propose(
    parent: Parent,
    *,
    others: Sequence[TrialsTable] = (),
    seeds: int | None = None,
    root: Path = Path("logs"),
    near: Path = Path(),
) -> Proposal:
    """Supplementary trials around the best one of a study.

    Args:
        parent: the study.
        others: further studies, whose trials are not repeated either.
        seeds: for each trial; by default as many as the predicted effects need, at most ``MOST_SEEDS``.
        root: the logs directory, for a name that no study has.
        near: folder that the file is for.

    Raises:
        Declined: the trials are too few to know what is around the best one, or everything there was tried.
        UserError: the best trial cannot be run in the space of today.
    """
    ((top, best),) = best_configurations(parent, 1)
    data, sweep = parent.data, parent.sweep
    with threadpool_limits(limits=1, user_api="blas"):
        model = surrogate(data, data.distinct)
        if model is None:
            raise Declined(
                f"{parent.label} has {count(len(data.configurations), 'configuration')}, too few to know what is "
                "around the best: 6 with different values are the least"
            )
        row = int(np.flatnonzero(data.numbers == top.number)[0])
        local = _Local(
            space=sweep.space,
            data=data,
            best=best,
            moves=moves(data, model, sweep.space, best, row),
            effects={effect.parameter: effect for effect in _effects(parent.table)},
            sd=single_sd(parent.noise) or unexplained(data, 5),
            ran=already_run(sweep, [parent.table, *others]),
        )
    r = seeds or _seeds(local, is_known=_is_measured(parent))
    sets, left_out = _sets(local, r)
    if not sets:
        raise Declined(f"everything around the best trial of {parent.label} was tried: {'; '.join(left_out)}")
    return _made(parent, local, sets, left_out, seeds=r, number_of_best=top.number, root=root, near=near)


def already_run(sweep: Sweep, tables: Iterable[TrialsTable]) -> dict[str, str]:
    """Key of each configuration of these studies that fits into the space: which trial had it first."""
    ran: dict[str, str] = {}
    for table in tables:
        columns = {name: f"params_{name}" for name in table.parameters}
        names = [name for name in columns if name in sweep.space.by_name]
        for number_, *cells in zip(
            table.trials["number"].tolist(), *(table.trials[columns[name]].tolist() for name in names), strict=True
        ):
            values = {name: _plain(cell) for name, cell in zip(names, cells, strict=True) if _is_there(cell)}
            try:
                key = sweep.space.resolve(values).key
            except UserError:
                continue
            ran.setdefault(key, f"trial {number_} of {table.label or table.source}")
    return ran


def repeated(sweep: Sweep, tables: Iterable[TrialsTable]) -> list[str]:
    """Of the ``[[trial]]``s of a sweep: which are listed twice, and which ran before; a sentence each."""
    ran = already_run(sweep, tables)
    first: dict[str, str] = {}
    found = []
    for _, planned in resolve_planned(sweep):
        if not isinstance(planned, Planned) or planned.name is None:
            continue
        key = planned.configuration.key
        if key in first:
            found.append(f"{planned.name} has the configuration of {first[key]}")
        elif key in ran:
            found.append(f"{planned.name} ran before: {ran[key]}")
        first.setdefault(key, planned.name)
    return found


def _plain(cell: object) -> Value:
    value = cell.item() if isinstance(cell, np.generic) else cell
    assert isinstance(value, bool | int | float | str)
    return value


def _is_there(cell: object) -> bool:
    plain = cell.item() if isinstance(cell, np.generic) else cell
    return isinstance(plain, bool | int | str) or (isinstance(plain, float) and math.isfinite(plain))


def _effects(table: TrialsTable) -> tuple[Effect, ...]:
    return analyse([table], subjects=(BEST, NOISE, HEALTH, EFFECTS, HOURS)).studies[0].effects


def _seeds(local: _Local, *, is_known: bool) -> int:
    """As few as the largest predicted effect needs; two at least where they have to measure the noise."""
    fewest = 1 if is_known else 2
    runs = len(design(min(MOST_FACTORS, len(local.moves))))
    gains = [abs(move.gain) for each in local.moves.values() for move in each[:1] if move.gain is not None]
    for r in range(fewest, MOST_SEEDS):
        limit = local.detectable(runs, r)
        if limit is None or (gains and max(gains) >= limit):
            return r
    return MOST_SEEDS


def design(factors: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Which factors are changed in which run, shape (runs, factors): main effects do not depend on each other.

    The first run changes nothing. Hadamard matrices of 4, 8 and 12 rows (Plackett and Burman).

    Args:
        factors: 1 to ``MOST_FACTORS``.
    """
    if factors <= 1:
        return np.array([[False], [True]])
    if factors <= 7:
        two = np.array([[1, 1], [1, -1]])
        whole = np.kron(two, two) if factors <= 3 else np.kron(two, np.kron(two, two))
        return np.asarray(whole[:, 1 : factors + 1] < 0)
    rows = [np.roll(TWELVE, i) for i in range(11)]
    return np.vstack([np.zeros(11, dtype=bool), np.array(rows) > 0])[:, :factors]


def _sets(local: _Local, seeds: int) -> tuple[tuple[TrialSet, ...], tuple[str, ...]]:
    taken = dict(local.ran)
    reference = PlannedTrial(
        name=REFERENCE,
        set=LOCAL,
        params={},
        note=f"the best: {local.ran.get(local.best.key, 'so far')}, with new seeds",
    )
    taken[local.best.key] = REFERENCE
    sets: list[TrialSet] = []
    left_out: list[str] = []
    found = _local_set(local, reference, taken, seeds)
    if found is not None:
        sets.append(found)
    letters = iter("ABCDEFGHIJ")
    for name in local.order:
        own = _single_set(local, name, taken, seeds, letters) if len(sets) <= MOST_SINGLE else None
        if isinstance(own, TrialSet):
            sets.append(own)
        elif isinstance(own, str):
            left_out.append(own)
    combined = _combined_set(local, taken, seeds)
    if combined is not None:
        sets.append(combined)
    if sets and sets[0].name != LOCAL:
        sets.insert(0, TrialSet(name=LOCAL, hypothesis="the best again, to compare with", contrasts={}, predicted=None,
                                detectable=None, trials=(reference,)))  # fmt: skip
    left_out += [
        f"{p.name}: not active in the best trial" for p in local.space.searched if p.name not in local.best.searched
    ]
    left_out += [f"{name}: no other value is valid" for name in local.best.searched if name not in local.moves]
    return tuple(sets), tuple(left_out)


def _local_set(local: _Local, reference: PlannedTrial, taken: dict[str, str], seeds: int) -> TrialSet | None:
    """The design over the most telling parameters; runs that are invalid or ran before are avoided."""
    names = local.order[:MOST_FACTORS]
    while len(names) > 1:
        chosen = _alternatives(local, names, taken)
        if chosen is not None:
            break
        names = names[:-1]
    else:
        return None
    runs = design(len(names))
    trials, of_run = [reference], {0: REFERENCE}
    for i, run in enumerate(runs[1:], start=1):
        values = {move.parameter: move.value for move, is_changed in zip(chosen, run, strict=True) if is_changed}
        configuration = changed(local.space, local.best, values)
        assert configuration is not None
        name = f"L{i}"
        taken[configuration.key] = of_run[i] = name
        trials.append(
            PlannedTrial(name=name, set=LOCAL, from_=REFERENCE, params=_own(configuration, values), note=_note(values))
        )
    contrasts, expected = {}, {}
    for j, move in enumerate(chosen):
        with_it = [of_run[i] for i in range(len(runs)) if runs[i, j]]
        without = [of_run[i] for i in range(len(runs)) if not runs[i, j]]
        words = f"{move.text} is better than {_text(local.best.searched[move.parameter])}"
        contrasts[words] = _better(local, f"mean({', '.join(with_it)})", f"mean({', '.join(without)})")
        if move.gain is not None:
            expected[words] = Contrast(names=tuple(with_it), others=tuple(without), gain=move.gain, error=move.error)
    gains = [move.gain for move in chosen if move.gain is not None]
    return TrialSet(
        name=LOCAL,
        hypothesis="which of these changes is better? Each is compared in all runs",
        contrasts=contrasts,
        moves=tuple(_told(local, move) for move in chosen),
        predicted=max(gains, default=None),
        detectable=local.detectable(len(runs), seeds),
        trials=tuple(trials),
        expected=expected,
    )


def _alternatives(local: _Local, names: Sequence[str], taken: Mapping[str, str]) -> list[Move] | None:
    """A move for each parameter, so that no run is invalid or was taken; None if there are none."""
    runs = design(len(names))
    at = [0] * len(names)
    for _ in range(1 + sum(len(local.moves[name]) - 1 for name in names)):
        chosen = [local.moves[name][i] for name, i in zip(names, at, strict=True)]
        wrong = None
        for run in runs[1:]:
            values = {move.parameter: move.value for move, is_changed in zip(chosen, run, strict=True) if is_changed}
            configuration = changed(local.space, local.best, values)
            if configuration is None or configuration.key in taken:
                wrong = run
                break
        if wrong is None:
            return chosen
        # another value for the least telling parameter of the run that has one left
        later = [j for j in np.flatnonzero(wrong)[::-1].tolist() if at[j] + 1 < len(local.moves[names[j]])]
        if not later:
            return None
        at[later[0]] += 1
    return None


def _single_set(
    local: _Local, name: str, taken: dict[str, str], seeds: int, letters: Iterable[str]
) -> TrialSet | str | None:
    """Further values of one parameter, if the model expects a difference that can be told from chance."""
    limit = local.detectable(2, seeds)
    own = [move for move in local.moves[name] if move.where != "tried" or not local.data.by_name[name].numeric]
    worth = [
        move for move in own if move.gain is not None and limit is not None and abs(move.gain) + move.error >= limit
    ]
    if not own:
        return None
    if not worth:
        largest = max((abs(move.gain) for move in own if move.gain is not None), default=None)
        return (
            f"{name} alone: {listed([_text(move.value) for move in own])} would differ by {number(largest)} at most, "
            f"and one against one tells {number(limit)}; the local set compares it in all its runs"
        )
    trials: list[PlannedTrial] = []
    contrasts, expected = {}, {}
    letter = ""
    for move in worth:
        configuration = changed(local.space, local.best, {name: move.value})
        if configuration is None or configuration.key in taken:
            continue
        letter = letter or next(iter(letters))
        trial = f"{letter}{len(trials) + 1}"
        taken[configuration.key] = trial
        trials.append(
            PlannedTrial(name=trial, set=letter, from_=REFERENCE, params=_own(configuration, {name: move.value}),
                         note=f"{move.text}, {move.where} tried values")
        )  # fmt: skip
        words = f"{trial}: {move.value!r} is better than {local.best.searched[name]!r}"
        contrasts[words] = _better(local, trial, REFERENCE)
        assert move.gain is not None
        expected[words] = Contrast(names=(trial,), others=(REFERENCE,), gain=move.gain, error=move.error)
    if not trials:
        return None
    gains = [move.gain for move in worth if move.gain is not None]
    return TrialSet(
        name=letter,
        hypothesis=f"{name}: is another value better than {_text(local.best.searched[name])}?",
        contrasts=contrasts,
        expected=expected,
        moves=tuple(_told(local, move) for move in worth),
        predicted=max(gains, default=None),
        detectable=limit,
        trials=tuple(trials),
    )


def _combined_set(local: _Local, taken: dict[str, str], seeds: int) -> TrialSet | None:
    """All changes together that the model expects to be better."""
    first = [each[0] for each in local.moves.values() if each[0].chance >= LIKELY and (each[0].gain or 0) > 0]
    first.sort(key=lambda move: -move.chance)
    trials: list[PlannedTrial] = []
    expected: dict[str, Contrast] = {}
    for n in dict.fromkeys((len(first), min(2, len(first)))):
        if n < 2:
            continue
        values = {move.parameter: move.value for move in first[:n]}
        configuration = changed(local.space, local.best, values)
        if configuration is None or configuration.key in taken:
            continue
        name = f"combined_{len(trials) + 1}"
        taken[configuration.key] = name
        trials.append(
            PlannedTrial(
                name=name, set=COMBINED, from_=REFERENCE, params=_own(configuration, values), note=_note(values)
            )
        )
        expected[f"{name} is better than the best so far"] = Contrast(
            names=(name,),
            others=(REFERENCE,),
            gain=sum(move.gain or 0.0 for move in first[:n]),
            error=math.hypot(*(move.error for move in first[:n])),
        )
    if not trials:
        return None
    return TrialSet(
        name=COMBINED,
        hypothesis="the changes that are probably better, together: do their gains add up?",
        contrasts={words: _better(local, *contrast.names, *contrast.others) for words, contrast in expected.items()},
        expected=expected,
        predicted=max(contrast.gain for contrast in expected.values()),
        detectable=local.detectable(2, seeds),
        trials=tuple(trials),
    )


def _own(configuration: Configuration, values: Mapping[str, Value]) -> dict[str, Value]:
    return {name: configuration.searched[name] for name in values}


def _better(local: _Local, a: str, b: str) -> str:
    return f"{a} {'>' if local.data.sign > 0 else '<'} {b}"


def _text(value: Value) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _told(local: _Local, move: Move) -> str:
    """A change with what is predicted of it, and what the trials so far could have told."""
    effect = local.effects.get(move.parameter)
    sizes = f"gain {number(move.gain)} +- {number(move.error)} predicted" if move.gain is not None else "no prediction"
    so_far = ""
    if effect is not None and effect.detectable is not None:
        so_far = f"; the trials so far tell {number(effect.detectable)} on average over settings"
    return f"  {move.text} ({move.where}) instead of {_text(local.best.searched[move.parameter])}: {sizes}{so_far}"


def _note(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} = {_text(value)}" for name, value in values.items())


def _is_measured(parent: Parent) -> bool:
    """Whether seeds have measured the noise: what the size of the validation set tells is shared by all trials."""
    return single_sd(parent.noise) is not None and parent.noise.source == "replicates"


def _source(parent: Parent) -> str:
    if _is_measured(parent):
        return " (replicates)"
    if single_sd(parent.noise) is not None:
        return f" ({parent.noise.source}: of the validation set, shared by all trials; what seeds do was not measured)"
    return ", an upper bound: it was never measured, and the model of the trials leaves so much unexplained"


def _made(
    parent: Parent,
    local: _Local,
    sets: Sequence[TrialSet],
    left_out: Sequence[str],
    *,
    seeds: int,
    number_of_best: int,
    root: Path,
    near: Path,
) -> Proposal:
    sweep = list_sweep(parent.sweep, name=free_name(f"{parent.sweep.study.name}-propose", root))
    trials = tuple(
        replace(trial, params=own_params(sweep, local.best)) if trial.name == REFERENCE else trial
        for one in sets
        for trial in one.trials
    )
    expect: dict[str, str | Expectation] = {}
    for one in sets:
        expect |= one.contrasts
    sweep = replace(
        sweep,
        study=replace(sweep.study, seeds=new_seeds(seeds, used=used_seeds(parent.table), of=sweep.study.name)),
        baseline=None,
        trial=trials,
        expect=expect,
        previous=Previous(study=(parent.source,), by="propose", trials={REFERENCE: number_of_best},
                          values={REFERENCE: float(local.data.y[local.data.best_row])}),
    )  # fmt: skip
    n = len(planned_trials(sweep))
    assert n == len({trial.name for trial in trials}) == len(trials)
    sweep = with_workers(sweep, n)
    expected = {words: contrast for one in sets for words, contrast in one.expected.items()}
    predictions = of_contrasts(expected, sd=local.sd, seeds=seeds, n=local.data.n)
    trainings = n * seeds
    header = [
        f"Supplementary trials around the best of {parent.label} (trial {number_of_best}): {count(n, 'trial')} in "
        f"{count(len(sets), 'set')}, each with the same {count(seeds, 'new seed')}.",
        f"{count(trainings, 'training')}: {time_text(parent.table, trainings=trainings, workers=sweep.job.workers)}.",
        *(() if local.sd is None else (f"Noise of one training: {number(local.sd)}{_source(parent)}.",)),
        *(f"Not tried: {text}." for text in left_out),
        f"Run all: hpo-batch submit FILE; one set: hpo-batch submit FILE --set-of {sets[-1].name}. The report judges "
        "[expect].",
    ]
    text = sweep_text(sweep, near=near, header=header, above={one.name: one.lines for one in sets})
    return Proposal(
        sweep=sweep,
        sets=tuple(sets),
        left_out=tuple(left_out),
        trainings=trainings,
        text=text,
        decisions_json=document(sweep, predictions, local.data),
    )
