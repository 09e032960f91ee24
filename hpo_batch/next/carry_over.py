"""What the next sweep takes over from the earlier one beside its space: name, seed, baseline, trials to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hpo_batch.errors import HpoBatchError, SweepInvalid
from hpo_batch.next.decision import Decision
from hpo_batch.next.evidence import Evidence
from hpo_batch.next.old_space import OLD_SPACE
from hpo_batch.next.write import Draft, checked
from hpo_batch.results.table import TrialsTable
from hpo_batch.store.home import find_homes, home_of
from hpo_batch.study.imported import gather as gather_imports
from hpo_batch.sweep.schema import Sweep
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count


def pin_baseline(draft: Draft, evidence: Evidence, decisions: Sequence[Decision]) -> None:
    """Write down what the baseline takes from the middle of a range that changes: it stays the same configuration."""
    sweep = evidence.sweep
    if sweep.baseline is None:
        return
    for decision in decisions:
        name = decision.parameter
        if decision.changes and name in evidence.baseline and name not in sweep.baseline:
            value = decision.old.normalise(evidence.baseline[name])
            draft.set(("baseline", name), value, comment="the middle of the earlier range")


def carry_over(
    draft: Draft, tables: Sequence[TrialsTable], sweep: Sweep, *, name: str, root: Path, path: Path
) -> list[str]:
    """Everything beside the space: name, seed, what has run already; returns what a person should know."""
    _prepare(draft, sweep, name=name)
    draft.set(("previous", "study"), [table.source for table in tables])
    draft.set(("previous", "by"), "refine")
    return [*_left(sweep), *_import(draft, tables, sweep, root=root, path=path), *_drop_expectations(draft, path)]


def _left(sweep: Sweep) -> Iterator[str]:
    """What the earlier study has run and the next one does not."""
    listed_ones = [trial.name for trial in sweep.trial if trial.set != OLD_SPACE]
    if listed_ones:
        yield f"left out, since the earlier study has run it: {count(len(listed_ones), '[[trial]]')}"
    if sweep.sampler.extremes:
        yield f"left out, since the earlier study has run them: the extremes of {listed(sweep.sampler.extremes)}"


def _prepare(draft: Draft, sweep: Sweep, *, name: str) -> None:
    """Everything beside the space: name, seed, what has run already."""
    sampler = sweep.sampler
    draft.set(("study", "name"), name)
    draft.remove("previous")
    draft.remove("trial")
    if not sampler.capabilities.is_grid:
        draft.set(("sampler", "seed"), (sampler.seed + 1) % 2**32, comment="another one: other draws")
    if sampler.extremes:
        draft.remove("sampler", "extremes")


def _import(draft: Draft, tables: Sequence[TrialsTable], sweep: Sweep, *, root: Path, path: Path) -> list[str]:
    """Let the sampler learn from the old trials."""
    notes: list[str] = []
    names: list[str] = []
    for table in tables:
        if table.home is None:
            notes.append(
                f"to let the sampler learn from '{table.source}': hpo-batch import {table.source} --into {path}"
            )
        else:
            is_below = table.home.resolve() == home_of(root, table.source).path.resolve()
            names.append(table.source if is_below else str(table.home))
    for name in sweep.study.import_:
        try:
            find_homes(root, name)
        except HpoBatchError as error:
            notes.append(f"no longer imported: {error}")
        else:
            names.append(name)
    draft.remove("study", "import")
    if names:
        draft.set(("study", "import"), list(dict.fromkeys(names)))
    return notes


def check_imports(draft: Draft, path: Path, *, root: Path) -> list[str]:
    """Leave out studies of which nothing fits, for which submit would refuse the sweep."""
    sweep = checked(draft, path)
    notes, fitting = [], []
    for name in sweep.study.import_:
        alone = replace(sweep, study=replace(sweep.study, import_=(name,)))
        try:
            gather_imports(home_of(root, alone.path), alone)
        except HpoBatchError as error:
            notes.append(f"'{name}' is not imported: {error}")
        else:
            fitting.append(name)
    if notes:
        draft.remove("study", "import")
        if fitting:
            draft.set(("study", "import"), fitting)
    return notes


def _drop_expectations(draft: Draft, path: Path) -> list[str]:
    """[expect] goes where it names trials that have run: the report of the old study judges it."""
    if "expect" not in draft.document:
        return []
    try:
        checked(draft, path)
    except SweepInvalid:
        draft.remove("expect")
        return ["[expect] is left out: it is about trials of the earlier study, whose report judges it"]
    return []
