"""Which study came from which: the line from the first to today, from the ``[previous]`` of frozen sweeps.

Studies are moved, removed and edited by hand, so nothing here fails: what does not fit together is a problem in words.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict, replace

from hpo_batch.errors import HpoBatchError
from hpo_batch.journal.attempt_intervals import Span, spans
from hpo_batch.journal.decode import isolated
from hpo_batch.journal.state import JournalState
from hpo_batch.monitor import hours
from hpo_batch.monitor.listed import SCHEMA_VERSION
from hpo_batch.monitor.reader import load_state
from hpo_batch.monitor.status import best_trial
from hpo_batch.space.build import build
from hpo_batch.space.changes import compared
from hpo_batch.space.space import Space
from hpo_batch.store.attempt_folder import last_sign
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study.read import read_revision
from hpo_batch.sweep.factors import OBJECTIVE, factors
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.tables import to_raw
from hpo_batch.text.lines import printable
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count, label

MOST_CHANGES: Final = 8
"""parameters named of one change"""
MOST_STUDIES: Final = 1000
"""of a line: it is a circle by then, or written by a program that went wrong"""


class Link(Struct, frozen=True, kw_only=True):
    """One study of a line."""

    study: str
    by: str | None
    """the command that wrote its sweep: refine, propose, confirm or transfer; None: by hand, or unknown"""
    previous: tuple[str, ...]
    """studies that its sweep names as those it continues"""
    metric: str
    best: float | None
    """the best value; None without one, or with several metrics"""
    finished: int
    failed: int
    hours: float | None
    """of attempts and between them; None if none were recorded"""
    unit: str
    """of the hours: ``GPU`` or ``worker``"""
    changes: tuple[str, ...] = ()
    """what is different from the study before it, in words"""
    problem: str = ""
    """why it cannot be read, or why the line breaks off above it"""
    unreadable: bool = False


class Branch(Struct, frozen=True, kw_only=True):
    """A study in the tree of a logs directory."""

    link: Link
    depth: int
    """0: it comes from no study that is there"""

    def as_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            **asdict(self.link),
            "previous": list(self.link.previous),
            "changes": list(self.link.changes),
            "problem": self.link.problem or None,
            "depth": self.depth,
        }


class _Read(Struct, frozen=True, kw_only=True):
    """A study as it lies on disk."""

    home: StudyHome
    link: Link
    sweep: Sweep | None = None


def line_of(path: Path, *, budget: str | None) -> tuple[Link, ...]:
    """The studies that one comes from, the first one first, and itself; empty if it continues none.

    Args:
        path: its directory.
        budget: label of its budget, whose directory lies in that of the sweep.
    """
    name = path.name if budget is None else f"{path.parent.name}/{path.name}"
    line = [_read(StudyHome(path=path, name=name))]
    if not line[0].link.previous:
        return ()
    while line[0].link.previous and len(line) < MOST_STUDIES:
        newer = line[0]
        older = _parent(newer, {one.home.name: one for one in line})
        if older is None:
            line[0] = _with(newer, problem=_missing(newer), changes=_changes(None, newer))
            break
        line[0] = _with(newer, changes=_changes(older, newer))
        if any(older.home == one.home for one in line):
            newest_first = [one.home.name for one in reversed(line)]
            around = newest_first[newest_first.index(older.home.name) :]
            line[0] = _with(line[0], problem=_circle([*around, older.home.name]))
            break
        line.insert(0, older)
    return tuple(one.link for one in line)


def tree(homes: Sequence[StudyHome]) -> Iterator[Branch]:
    """The studies of a logs directory, each below the one that it comes from; all of them, whatever they name."""
    every = {home.name: _read(home) for home in homes}
    parent = {
        name: next((every[older] for older in _named(study) if older in every), None) for name, study in every.items()
    }
    children: dict[str, list[str]] = {}
    for name, older in parent.items():
        if older is not None:
            children.setdefault(older.home.name, []).append(name)
    shown: set[str] = set()

    def below(name: str, depth: int) -> Iterator[Branch]:
        # a loop, not a recursion: a line may be longer than Python's stack
        waiting = [(name, depth)]
        while waiting:
            name, depth = waiting.pop()
            if name in shown:
                continue
            shown.add(name)
            study = every[name]
            older = parent[name]
            link = replace(study.link, changes=_changes(older, study) if study.link.previous else ())
            if not link.problem and older is None and link.previous:
                link = replace(link, problem=_missing(study))
            yield Branch(link=link, depth=depth)
            waiting += [(child, depth + 1) for child in reversed(children.get(name, []))]

    for name in every:
        if parent[name] is None:
            yield from below(name, 0)
    for name in every:  # what is left names itself, through others or at once
        if name not in shown:
            every[name] = _with(every[name], problem=_circle(_around(name, parent)))
            yield from below(name, 0)


def _around(name: str, parent: Mapping[str, _Read | None]) -> list[str]:
    """The studies of the circle that one belongs to, or comes from."""
    met = [name]
    while (older := parent[met[-1]]) is not None and older.home.name not in met:
        met.append(older.home.name)
    assert older is not None
    return [*met[met.index(older.home.name) :], older.home.name]


def _read(home: StudyHome) -> _Read:
    link = Link(
        study=home.name, by=None, previous=(), metric="", best=None, finished=0, failed=0, hours=None, unit="worker"
    )
    try:
        with isolated(home.name):
            state = load_state(home)
            counts, best = state.counts(), best_trial(state)
            used = _hours(home, state)
            link = replace(
                link,
                metric=", ".join(state.metrics) if state.metrics else "",
                best=best.values[0] if best is not None and best.values else None,
                finished=counts.finished,
                failed=counts.failed,
                hours=None if used is None else used.used,
                unit="worker" if used is None else used.unit,
            )
            sweep = read_revision(home, state)
    except (HpoBatchError, OSError) as error:
        return _Read(home=home, link=replace(link, problem=f"unreadable: {printable(error)}", unreadable=True))
    previous = sweep.previous
    if previous is None:
        return _Read(home=home, link=link, sweep=sweep)
    link = replace(link, by=previous.by, previous=tuple(printable(name) for name in previous.study))
    return _Read(home=home, link=link, sweep=sweep)


def _hours(home: StudyHome, state: JournalState) -> hours.Hours | None:
    """From the journal alone: an attempt that nobody has ended lasts until its last sign of life."""
    every = [span for trial in state.trials for span in spans(trial)]
    if not every:
        return None

    def end_of(span: Span) -> float:
        seen = None
        with contextlib.suppress(OSError):
            seen = last_sign(home.attempt(span.trial, span.attempt))
        noticed = span.started if span.ended is None else span.ended
        return noticed if seen is None else max(seen, span.started)

    return hours.add_up(
        every, state_of=lambda n: state.trials[n].state, end_of=end_of, workers=(), task_gpus=0.0, work_s=None
    )


def _parent(study: _Read, met: Mapping[str, _Read]) -> _Read | None:
    """The first of the studies that it names that is in its logs directory."""
    for name in _named(study):
        if name in met:
            return met[name]
        home = _home(study.home.root, name)
        if home is not None:
            return _read(home)
    return None


def _named(study: _Read) -> tuple[str, ...]:
    """In the order in which they count as its parents; of a transfer, that of its own budget first."""
    sweep = study.sweep
    if sweep is None or sweep.previous is None:
        return ()
    named = sweep.previous.study
    sources = list(dict.fromkeys(trial.set for trial in sweep.trial))
    if sweep.previous.by == "transfer" and len(sources) == len(named) and sweep.budget in sources:
        own = named[sources.index(sweep.budget)]
        named = (own, *(name for name in named if name != own))
    return named


def _home(root: Path, name: str) -> StudyHome | None:
    """The study of that name. A name from a file is not followed out of the logs directory."""
    parts = name.split("/")
    if not 1 <= len(parts) <= 2 or any(part in ("", ".", "..") or "\0" in part for part in parts):
        return None
    home = home_of(root, name)
    try:
        return home if home.exists else None
    except (HpoBatchError, OSError, ValueError):
        return None


def _with(study: _Read, *, changes: tuple[str, ...] = (), problem: str = "") -> _Read:
    link = study.link
    return replace(study, link=replace(link, changes=changes or link.changes, problem=problem or link.problem))


def _missing(study: _Read) -> str:
    named = listed((f"'{name}'" for name in study.link.previous), most=3)
    return f"named in [previous], but not in this logs directory: {named} (moved, renamed, removed, or a file)"


def _circle(names: Sequence[str]) -> str:
    return f"[previous] goes round in a circle: {', '.join(names)}"


def _changes(older: _Read | None, newer: _Read) -> tuple[str, ...]:
    """What a study does otherwise than the one before it; without that one, what its ``[previous]`` has kept of it."""
    sweep = newer.sweep
    if sweep is None or sweep.previous is None:
        return ()
    told = []
    others = [name for name in newer.link.previous if older is None or name != older.link.study]
    if older is not None and others:
        gone = {name for name in others if _home(newer.home.root, name) is None}
        told.append(f"also from {listed((f'{o} (not here)' if o in gone else o for o in others), most=3)}")
    is_list = sweep.sampler.capabilities.is_list
    if is_list:
        seeds = sweep.study.seeds_per_trial
        each = f", each with {count(seeds, 'seed')}" if seeds > 1 else ""
        beside = " and the baseline" if sweep.baseline is not None else ""
        told.append(f"{count(len(sweep.trial), 'configuration')} from a list{beside}{each}; no search")
    before = older.sweep.space if older is not None and older.sweep is not None else _space_before(sweep)
    if before is not None and sweep.previous.by != "transfer":  # which has the space of its own budget
        change = compared(before, sweep.space)
        lines = change.lines[:MOST_CHANGES]
        told += lines
        if len(change.lines) > len(lines):
            told.append(f"{count(len(change.lines) - len(lines), 'other parameter')} changed")
        if lines and not is_list:
            told.append(change.text)
        told += _expressions(before, sweep.space)
    if older is not None and older.sweep is not None:
        told += _settings(older.sweep, sweep)
    if older is not None and older.link.metric and older.link.metric != newer.link.metric:
        told.append(f"metric: {older.link.metric} -> {newer.link.metric}")
    return tuple(told) or ("the same space",)


def _expressions(before: Space, after: Space) -> Iterator[str]:
    for kind, old, new in (
        ("derived", before.derived, after.derived),
        ("constraint", before.constraints, after.constraints),
    ):
        for name in dict.fromkeys((*old, *new)):
            texts = [one[name].text if name in one else "not there" for one in (old, new)]
            if texts[0] != texts[1]:
                yield f"{kind} {name}: {texts[0]} -> {texts[1]}"


def _settings(older: Sweep, newer: Sweep) -> Iterator[str]:
    if not newer.sampler.capabilities.is_list:
        yield from _search(older, newer)
    for factor in factors((older, newer)):
        if factor.name.startswith(OBJECTIVE):
            a, b = ("not set" if value is None else label(value) for value in factor.values)
            yield f"{factor.name}: {a} -> {b}"


def _search(older: Sweep, newer: Sweep) -> Iterator[str]:
    """How configurations are chosen and stopped. The seed, which each sweep has for itself, is no change."""
    for table in ("sampler", "pruner"):
        before, after = (to_raw(getattr(sweep, table)) for sweep in (older, newer))
        for key in after:
            if before.get(key) != after[key] and (table, key) != ("sampler", "seed"):
                name = table if key == "name" else f"{table} {key}"
                yield f"{name}: {_setting(before.get(key))} -> {_setting(after[key])}"


def _setting(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_setting(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return listed(map(_setting, value)) or "none"
    return "not set" if value is None else label(value) if isinstance(value, str | bool | int | float) else str(value)


def _space_before(sweep: Sweep) -> Space | None:
    """From the declarations that refine has kept."""
    assert sweep.previous is not None
    kept: Mapping[str, object] = sweep.previous.space
    if not kept:
        return None
    space, problems = build({**sweep.space_table, **kept}, with_n_params=sweep.objective.n_params is not None)
    return None if problems else space
