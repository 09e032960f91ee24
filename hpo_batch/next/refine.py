"""From the trials of studies to the next sweep: a complete file to review, its reasons, and its decisions as data.

from hpo_batch.next.refine import refine, write

next_sweep = refine(read_tables(["my-sweep"], root=root), root=root)
print(next_sweep.toml)
write(next_sweep)
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hpo_batch import __version__
from hpo_batch.errors import Declined, HpoBatchError, SweepInvalid, UserError
from hpo_batch.files import write_files
from hpo_batch.findings.known import Known
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.next import rationale
from hpo_batch.next.decide import (
    FEWEST_TO_NARROW,
    FEWEST_TO_WIDEN,
    LEAVES_OUT,
    PER_PARAMETER,
    Decision,
    decide,
    kept,
)
from hpo_batch.next.evidence import Evidence, gather
from hpo_batch.next.ranges import declared
from hpo_batch.next.spaces import SpaceChange, compared
from hpo_batch.next.write import Draft, checked
from hpo_batch.records import Value
from hpo_batch.results.stacked import stacked
from hpo_batch.results.table import TrialsTable
from hpo_batch.space.draw import at_random
from hpo_batch.space.parameters import Choices
from hpo_batch.space.space import N_PARAMS, Space
from hpo_batch.store.home import StudyHome, find_homes, home_of
from hpo_batch.study.imported import gather as gather_imports
from hpo_batch.sweep.load import loads
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.tables import to_raw
from hpo_batch.text.numbers import count

ESCAPE: Final = 0.1
"""share of the new trials that go to the old space, where something was left out: a wrong decision shows"""
OLD_SPACE: Final = "old_space"
TRIES: Final = 500
"""draws for each trial in the old space"""


@dataclass(frozen=True, kw_only=True)
class NextSweep:
    """A sweep to review, and what led to it. Nothing is written yet."""

    path: Path
    toml: str
    before: str
    """text of the sweep that was refined"""
    sweep: Sweep
    decisions: tuple[Decision, ...]
    """changes first, the most urgent one in front; then what is kept"""
    change: SpaceChange
    evidence: Evidence
    notes: tuple[str, ...]
    """what else is different, or could not be done"""

    @property
    def rationale(self) -> str:
        return rationale.markdown(self)

    @property
    def decisions_json(self) -> str:
        return rationale.as_json(self)

    @property
    def files(self) -> dict[Path, str]:
        """All three files."""
        return {
            self.path: self.toml,
            self.path.with_suffix(".rationale.md"): self.rationale,
            self.path.with_suffix(".decisions.json"): self.decisions_json,
        }


def write(next_sweep: NextSweep) -> None:
    """Write the sweep, its rationale and its decisions.

    Raises:
        UserError: one of the files exists; nothing is written.
        StorageError: they cannot be written.
    """
    write_files(next_sweep.files)


def refine(
    tables: Sequence[TrialsTable],
    *,
    root: Path,
    text: str | None = None,
    path: Path | None = None,
    known: Known | None = None,
    seed: int = 0,
) -> NextSweep:
    """The next sweep after some studies.

    Args:
        tables: the study that is refined; then others with the same objective, whose trials count too.
        root: the logs directory.
        text: the sweep's TOML, if it is not the one that the study keeps; of a table from a file it must be given.
        path: where the sweep is to be written; by default ``<name>.toml`` here.
        known: what a person knows beside the trials.
        seed: of draws.

    Raises:
        UserError: the sources do not fit together, or cannot be refined at all.
        Declined: the trials carry no change.
    """
    sweep = _same_objective(tables)
    _may_be_refined(tables, sweep)
    name = _next_name(sweep.study.name, sweep.budget, root)
    path = path or Path(f"{name}.toml")
    draft, notes = _draft_of(tables[0], sweep, text, path)
    before = draft.text
    evidence = gather(stacked(tables), sweep, known=known, seed=seed)
    decisions = decide(evidence)
    _check_carried(evidence, decisions)
    _pin_baseline(draft, evidence, decisions)
    _prepare(draft, sweep, name=name)
    draft.set(("previous", "study"), [table.source for table in tables])
    draft.set(("previous", "by"), "refine")
    notes += _import(draft, tables, sweep, root=root, path=path)
    notes += _drop_expectations(draft, path)
    decisions = _apply(draft, sweep, decisions, path)
    _check_carried(evidence, decisions)
    notes += _plan_old_space(draft, evidence, decisions, path, seed=seed)
    notes += _check_imports(draft, path, root=root)
    ordered = rationale.in_order(decisions)
    changed = {d.parameter: sweep.space_table[d.parameter] for d in ordered if d.new is not d.old}
    for parameter, raw in changed.items():
        draft.set(("previous", "space", parameter), raw)
    draft.head(_head(tables, evidence, path))
    result = checked(draft, path)
    return NextSweep(
        path=path,
        toml=draft.text,
        before=before,
        sweep=result,
        decisions=ordered,
        change=compared(sweep.space, result.space),
        evidence=evidence,
        notes=tuple(notes),
    )


# what may be refined


def _same_objective(tables: Sequence[TrialsTable]) -> Sweep:
    first, sweeps = tables[0], []
    for table in tables:
        if table.sweep is None:
            raise UserError(
                f"'{table.source}' has no sweep: --sweep takes the TOML to refine, with [space] and [objective]"
            )
        sweeps.append(table.sweep)
    own = sweeps[0]
    for table, sweep in zip(tables[1:], sweeps[1:], strict=True):
        for what, a, b in (
            ("metric", first.metrics, table.metrics),
            ("direction", first.directions, table.directions),
            ("function", own.objective.function, sweep.objective.function),
            ("command", own.objective.command, sweep.objective.command),
            ("budget", first.budget, table.budget),
        ):
            if a != b:
                raise UserError(
                    f"'{first.source}' and '{table.source}' do not have the same {what} ({a}, {b}): refine "
                    f"one of them at a time, such as 'hpo-batch refine {first.source}'"
                )
    return own


def _may_be_refined(tables: Sequence[TrialsTable], sweep: Sweep) -> None:
    for table in tables:
        if len(table.metrics) > 1:
            told = ", ".join(table.metrics)
            raise UserError(
                f"'{table.source}' has several metrics ({told}), among which no trial is the best: refine needs one"
            )
        if table.counts.running:
            raise UserError(
                f"'{table.source}' runs ({count(table.counts.running, 'trial')}): wait for it, or end it with "
                f"'hpo-batch cancel {table.source}'"
            )
    if sweep.sampler.capabilities.is_list:
        raise UserError(
            f"'{tables[0].source}' runs the [[trial]] tables only and has no space to refine; give it another [sampler]"
        )
    finished = sum(table.counts.complete for table in tables)
    if not finished:
        failed = sum(table.counts.failed for table in tables)
        done = f"{count(failed, 'trial')} failed and none completed" if failed else "it has no trials"
        raise Declined(
            f"'{tables[0].source}': {done}: nothing to refine from\n"
            f"it would take at least {FEWEST_TO_WIDEN} complete trials"
            + (f"; 'hpo-batch status {tables[0].source}' says why trials failed" if failed else "")
        )


def _check_carried(evidence: Evidence, decisions: Sequence[Decision]) -> None:
    """Refuse to write a sweep that would be the same again."""
    if any(decision.changes for decision in decisions):
        return
    n, source = evidence.n, evidence.table.source
    lines = [f"'{source}': {count(n, 'trial')} over {count(len(decisions), 'parameter')} carry no change of the space"]
    lines += [f"  {d.parameter}: {d.reason}" for d in decisions[:20]]
    lines.append(cheapest(evidence))
    raise Declined("\n".join(lines))


def cheapest(evidence: Evidence) -> str:
    """The smallest set of further trials after which something could be decided."""
    n, searched = evidence.n, len(evidence.sweep.space.searched)
    enough = max(FEWEST_TO_NARROW, PER_PARAMETER * searched)
    options: list[tuple[int, str]] = []
    for effect in evidence.effects.values():
        if effect.direction is None:
            continue
        is_told = effect.p_holm is not None and effect.p_holm < ALPHA
        more = effect.direction.trials_to_tell
        if is_told or more is not None:
            needed = max(enough - n, 0 if is_told else more or 0)
            if needed > 0:
                what = f"could leave out values of '{effect.parameter}'"
                options.append((needed, what))
    trials = evidence.sweep.study.trials
    if n < FEWEST_TO_WIDEN:
        options.append((FEWEST_TO_WIDEN - n, "could tell whether the best lies at an end of a range"))
    if not options and n < enough:
        options.append((enough - n, "could leave out values"))
    if not options:
        return "the space is right as far as these trials tell: continue with more trials, or confirm the best ones"
    needed, what = min(options)
    command = f": hpo-batch resume {evidence.table.source} --set study.trials={trials + needed}" if trials else ""
    return f"{count(needed, 'more trial')} {what}{command}"


# the file


def _draft_of(table: TrialsTable, sweep: Sweep, text: str | None, path: Path) -> tuple[Draft, list[str]]:
    """The sweep's own text, of its one budget; as frozen, where that text says something else."""
    notes: list[str] = []
    given = text is not None
    if text is None and table.home is not None:
        stored = StudyHome(path=table.home, name=table.source).sweep_toml
        try:
            text = stored.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            notes.append(
                f"the study's sweep.toml cannot be read ({error}): written from the frozen sweep, without comments"
            )
    if text is None:
        return _from_frozen(sweep), notes
    draft = Draft(text)
    try:
        sweeps = loads(text, path=path)
    except SweepInvalid as error:
        if given:
            raise
        notes.append(f"the study's sweep.toml does not load here ({error.lines[0]}): written from the frozen sweep")
        return _from_frozen(sweep), notes
    own = next((one for one in sweeps if one.budget == sweep.budget), None)
    if own is None:
        raise UserError(f"the sweep's file has no budget '{sweep.budget}', of which '{table.source}' is")
    if sweep.budget is not None:
        draft.take_budget(sweep.budget)
    edited = [
        name
        for name in dict.fromkeys([*own.space_table, *sweep.space_table])
        if json.dumps(own.space_table.get(name)) != json.dumps(sweep.space_table.get(name))
    ]
    if edited and given:
        raise UserError(
            f"{', '.join(edited)} in [space] of the file is not what the trials of '{table.source}' were drawn "
            f"from: submit it first, or refine the study as it is, by its name: 'hpo-batch refine {sweep.path}'"
        )
    for name in edited:
        if name in sweep.space_table:
            draft.set(("space", name), sweep.space_table[name], comment="as submitted")
        else:
            draft.remove("space", name)
    if sweep.study.trials is not None and own.study.trials != sweep.study.trials:
        draft.set(("study", "trials"), sweep.study.trials)
    return draft, notes


def _from_frozen(sweep: Sweep) -> Draft:
    draft = Draft("")
    for key, value in to_raw(sweep).items():
        if key == "budget" or value in ({}, []):
            continue
        if key == "trial":
            draft.add_trials(value)
        elif isinstance(value, Mapping):
            for inner, held in value.items():
                draft.set((key, inner), held)
        else:
            draft.set((key,), value)
    return draft


def _next_name(name: str, budget: str | None, root: Path) -> str:
    """``sweep`` -> ``sweep-v2``, ``sweep-v2`` -> ``sweep-v3``: the first without a study."""
    stem = name if budget is None else f"{name}-{re.sub(r'[^a-z0-9._-]', '-', budget.lower())}"
    version = 1
    found = re.fullmatch(r"(.+)([-_.])v(\d{1,6})", stem)
    separator = "-"
    if found is not None:
        stem, separator, version = found[1], found[2], int(found[3])
    while True:
        version += 1
        new = f"{stem}{separator}v{version}"
        if not home_of(root, new).path.exists():
            return new


def _pin_baseline(draft: Draft, evidence: Evidence, decisions: Sequence[Decision]) -> None:
    """Write down what the baseline takes from the middle of a range that changes: it stays the same configuration."""
    sweep = evidence.sweep
    if sweep.baseline is None:
        return
    for decision in decisions:
        name = decision.parameter
        if decision.changes and name in evidence.baseline and name not in sweep.baseline:
            value = decision.old.normalise(evidence.baseline[name])
            draft.set(("baseline", name), value, comment="the middle of the earlier range")


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


def _check_imports(draft: Draft, path: Path, *, root: Path) -> list[str]:
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


def _apply(draft: Draft, sweep: Sweep, decisions: Sequence[Decision], path: Path) -> tuple[Decision, ...]:
    """Put the decisions into the file, one by one; one that makes the sweep wrong is taken back."""
    checked(draft, path)
    done: dict[str, Decision] = {}
    for decision in rationale.in_order(decisions):
        if decision.changes:
            trial = draft.copy()
            _put(trial, sweep, decision)
            try:
                checked(trial, path)
            except SweepInvalid as error:
                why = error.lines[0].removeprefix(f"{path}:").lstrip("0123456789: ")
                decision = kept(decision, f"not possible here ({why}); {decision.action}: {decision.reason}")
            else:
                draft.document = trial.document
        if not decision.changes:
            _comment(draft, sweep, decision)
        done[decision.parameter] = decision
    return tuple(done[decision.parameter] for decision in decisions)


def _put(draft: Draft, sweep: Sweep, decision: Decision) -> None:
    name, raw = decision.parameter, sweep.space_table[decision.parameter]
    new = raw if decision.new is decision.old else declared(decision.new, raw)
    draft.set(("space", name), new, comment=decision.comment)
    at_ends = draft.document.get("sampler", {}).get("extremes", [])
    is_wider = decision.action == "expand" and name in sweep.sampler.extremes
    if decision.extremes or is_wider:
        draft.set(("sampler", "extremes"), [*at_ends, name])
    if decision.action == "fix" or (isinstance(decision.new, Choices) and decision.new.count == 1):
        rest = [other for other in draft.document.get("sampler", {}).get("coverage", []) if other != name]
        if name in sweep.sampler.coverage:
            draft.set(("sampler", "coverage"), rest)


def _comment(draft: Draft, sweep: Sweep, decision: Decision) -> None:
    draft.set(("space", decision.parameter), sweep.space_table[decision.parameter], comment=decision.comment)


def _plan_old_space(
    draft: Draft, evidence: Evidence, decisions: Sequence[Decision], path: Path, *, seed: int
) -> list[str]:
    """A tenth of the trials in what was left out, so that a wrong decision shows."""
    sweep = evidence.sweep
    left = [decision for decision in decisions if decision.action in LEAVES_OUT]
    total = sweep.study.trials
    if not left or total is None or sweep.sampler.capabilities.is_grid:
        draft.set(("previous", "share"), 0.0)
        return []
    wanted = max(1, round(ESCAPE * total))
    if any(N_PARAMS in constraint.names for constraint in sweep.space.constraints.values()):
        draft.set(("previous", "share"), 0.0)
        return [
            "no trials in the earlier space: whether they keep the constraint on n_params is known on the nodes only"
        ]
    tried = {_values_key(row) for row in _tried(evidence)}
    drawn = list(_outside(sweep.space, left, decisions, tried, wanted, seed=seed))
    if not drawn:
        draft.set(("previous", "share"), 0.0)
        return ["no valid configuration was found in what was left out: no trials there"]
    trials = [
        {
            "name": f"old{i + 1}",
            "set": OLD_SPACE,
            "params": dict(values),
            "note": f"in the earlier space, beyond the new {', '.join(d.parameter for d in left)}",
        }
        for i, values in enumerate(drawn)
    ]
    attempt = draft.copy()
    attempt.add_trials(trials)
    attempt.set(("previous", "share"), round(len(trials) / total, 4))
    try:
        checked(attempt, path)
    except SweepInvalid as error:
        draft.set(("previous", "share"), 0.0)
        return [f"no trials in the earlier space: {error.lines[0]}"]
    draft.document = attempt.document
    return []


def _tried(evidence: Evidence) -> Iterator[Mapping[str, Value]]:
    for row in range(evidence.data.n):
        yield evidence.data.configuration(row)


def _values_key(values: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, repr(value)) for name, value in values.items()))


def _outside(
    space: Space,
    left: Sequence[Decision],
    decisions: Sequence[Decision],
    tried: set[tuple[tuple[str, str], ...]],
    wanted: int,
    *,
    seed: int,
) -> Iterator[Mapping[str, Value]]:
    """Configurations of the old space, less what never works, that the new one leaves out and nobody has tried."""
    repaired = {d.parameter: d.new for d in decisions if d.action == "repair" and d.new is not d.old}
    source = replace(space, parameters=tuple(repaired.get(p.name, p) for p in space.parameters))
    rng = random.Random(seed)
    found = 0
    for _ in range(TRIES * wanted):
        configuration = at_random(source, rng)
        values = {**configuration.searched, **configuration.fixed}
        beyond = any(d.parameter in values and d.new.why_outside(values[d.parameter]) is not None for d in left)
        if not beyond or source.why_constrained(configuration.values) is not None:
            continue
        key = _values_key(configuration.searched)
        if key in tried:
            continue
        tried.add(key)
        found += 1
        yield values
        if found == wanted:
            return


def _head(tables: Sequence[TrialsTable], evidence: Evidence, path: Path) -> list[str]:
    names = ", ".join(table.source for table in tables)
    complete = sum(table.counts.complete for table in tables)
    return [
        f"refined from {names} ({count(complete, 'complete trial')}, n = {evidence.n}) by hpo-batch {__version__}",
        f"reasons: {path.with_suffix('.rationale.md').name}; earlier declarations: [previous], at the end",
    ]
