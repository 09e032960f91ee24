"""``[study] import``: finished trials of other studies, as history for the sampler.

They are copied into the study's directory when the study is created or its list of imports changes; the other studies
may then go on or be removed. Readers decide which of them lie in the space, since the space may be edited. They do not
count towards the target, and an imported configuration may be trained here.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import asdict

from hpo_batch.errors import StorageError, UserError
from hpo_batch.files import LINES_BYTES, read_regular
from hpo_batch.journal.attributes import IMPORTED
from hpo_batch.journal.encode import DIRECTIONS
from hpo_batch.journal.reader import JournalReader
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import ImportedTrial, TrialState
from hpo_batch.store.home import StudyHome, find_homes, is_counted
from hpo_batch.study.replicates import mean_values
from hpo_batch.study.translate import translate_params
from hpo_batch.sweep.schema import Sweep


class Imports(msgspec.Struct, frozen=True, kw_only=True):
    """The trials that ``[study] import`` provides."""

    trials: tuple[ImportedTrial, ...] = ()
    lines: tuple[str, ...] = ()
    """one sentence per study: how many of its finished trials fit"""
    doubts: tuple[str, ...] = ()


def gather(home: StudyHome, sweep: Sweep) -> Imports:
    """Read the studies that a sweep imports.

    Raises:
        StudyNotFound: one of them does not exist.
        UserError: one has no finished trial, none with this study's metric, or none inside this space.
        StorageError: one cannot be read.
    """
    trials: list[ImportedTrial] = []
    lines: list[str] = []
    doubts: list[str] = []
    for name in sweep.study.import_:
        homes = find_homes(home.root, name)
        if any(other.path.resolve() == home.path.resolve() for other in homes):
            raise UserError(f"study.import: '{name}' is this study itself")
        same_budget = [other for other in homes if len(homes) > 1 and other.path.name == sweep.budget]
        for other in same_budget or homes:
            state = _read(other)
            offered = list(_offered(other, state, sweep))
            lines.append(_fit(other, offered, sweep))
            doubts += _doubts(other, state, sweep)
            trials += offered
    return Imports(trials=tuple(trials), lines=tuple(lines), doubts=tuple(doubts))


def is_frozen(state: JournalState, sweep: Sweep) -> bool:
    """Whether the study already holds the sweep's imports."""
    return list(sweep.study.import_) == list(state.attrs.get(IMPORTED, {}).get("studies", []))


def encoded(trials: Sequence[ImportedTrial]) -> bytes:
    return b"".join(msgspec.json.encode({**asdict(t), "state": t.state.name}) + b"\n" for t in trials)


def attribute(sweep: Sweep, *, file: str, content: bytes) -> dict[str, object]:
    """The journal attribute that describes a file of imported trials."""
    digest = hashlib.sha256(content).hexdigest()
    return {"studies": list(sweep.study.import_), "file": file, "digest": digest}


def found_again(home: StudyHome, sweep: Sweep) -> dict[str, object] | None:
    """The same attribute when the journal is lost, from the newest such file in the study's directory."""
    numbers = [path.name.split(".")[1] for path in home.path.glob("imported.*.jsonl")]
    newest = max((int(number) for number in numbers if is_counted(number)), default=None)
    if not sweep.study.import_ or newest is None:
        return None
    path = home.path / f"imported.{newest}.jsonl"
    return attribute(sweep, file=path.name, content=read_regular(path, most=LINES_BYTES))


def read_imported(home: StudyHome, state: JournalState) -> tuple[ImportedTrial, ...]:
    """The frozen trials of other studies.

    Raises:
        StorageError: the file is missing or was changed.
    """
    facts = state.attrs.get(IMPORTED, {})
    if not facts.get("studies"):
        return ()
    path = home.path / str(facts["file"])
    try:
        content = read_regular(path, most=LINES_BYTES)
    except OSError as error:
        raise StorageError.because(f"cannot read the trials that the study imported, '{path}'", error) from error
    if hashlib.sha256(content).hexdigest() != facts["digest"]:
        raise StorageError(f"'{path}' was changed after it was frozen: remove the import from the sweep, then submit")
    records = (msgspec.json.decode(line) for line in content.splitlines())
    return tuple(
        ImportedTrial(**{**record, "state": TrialState[record["state"]], "values": tuple(record["values"])})
        for record in records
    )


def _read(home: StudyHome) -> JournalState:
    state = JournalReader(home.journal, JournalState()).read()
    if state.study_name is None:
        raise UserError(f"study.import: the journal '{home.journal}' holds no study")
    return state


def _offered(home: StudyHome, state: JournalState, sweep: Sweep) -> Iterator[ImportedTrial]:
    """The finished trials with this study's metrics; repeats of a configuration as one trial with their mean."""
    alike: dict[str, list[ScannedTrial]] = {}
    for trial in state.trials:
        if trial.key is not None and trial.state is TrialState.COMPLETE:
            alike.setdefault(trial.key, []).append(trial)
    same = state.metrics == sweep.study.metric or (not state.metrics and len(state.directions) == 1)
    finished = [trial for trial in state.trials if trial.state.finished and "repeats" not in trial.facts]
    if not finished:
        raise UserError(f"study.import: '{home.name}' has no finished trial")
    count = 0
    for trial in finished:
        group = alike.get(trial.key or "", [trial])
        if trial.state is TrialState.COMPLETE and trial is not next(t for t in group if "repeats" not in t.facts):
            continue
        values, step = _values(trial, group, state, sweep, same=same), None
        if trial.state is TrialState.PRUNED:
            if not (same and trial.steps) or len(sweep.study.metric) > 1:
                continue
            step = max(trial.steps)
            values = (trial.steps[step],)
        if values is None:
            continue
        count += 1
        yield ImportedTrial(
            study=home.name,
            number=trial.number,
            state=trial.state,
            params=trial.params,
            values=values,
            step=step,
            is_whole=trial.key is not None,
        )
    if not count:
        there = ", ".join(f"'{name}'" for name in state.metrics)
        here = ", ".join(f"'{name}'" for name in sweep.study.metric)
        raise UserError(
            f"study.import: '{home.name}' optimizes {there}, not {here}, and its trials do not report {here} either"
        )


def _values(
    trial: ScannedTrial, alike: Sequence[ScannedTrial], state: JournalState, sweep: Sweep, *, same: bool
) -> tuple[float, ...] | None:
    """The trial's values of this study's metrics, from its objective values or its other metrics."""
    if same:
        return mean_values(alike)
    judged = dict(zip(state.metrics, mean_values(alike) or (), strict=False))
    values = [judged.get(name, trial.user_attrs.get(name)) for name in sweep.study.metric]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return None
    return tuple(float(value) for value in values if value is not None)


def _fit(home: StudyHome, offered: Sequence[ImportedTrial], sweep: Sweep) -> str:
    against: Counter[str] = Counter()
    for trial in offered:
        translated = translate_params(sweep.space, trial.params, is_whole=trial.is_whole)
        if isinstance(translated, str):
            against[translated] += 1
    fit = len(offered) - against.total()
    why = f"; most common problem of the others: {against.most_common(1)[0][0]}" if against else ""
    if not fit:
        raise UserError(f"study.import: none of the {len(offered)} trials of '{home.name}' lies in this space{why}")
    return f"{fit} of {len(offered)} finished trials of '{home.name}' fit{why}"


def _doubts(home: StudyHome, state: JournalState, sweep: Sweep) -> Iterator[str]:
    there = dict(zip(state.metrics, state.directions, strict=False))
    for name, direction in zip(sweep.study.metric, sweep.study.direction, strict=True):
        if there.get(name, DIRECTIONS[direction]) != DIRECTIONS[direction]:
            yield f"study.import: '{home.name}' does not {direction} '{name}': is it the same metric?"
