"""The text that the next sweep is edited from: the earlier sweep's own, of its one budget, and its next name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpo_batch.errors import SweepInvalid, UserError
from hpo_batch.next.write import Draft
from hpo_batch.results.table import TrialsTable
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.sweep.load import loads
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.tables import to_raw


def draft_of(table: TrialsTable, sweep: Sweep, text: str | None, path: Path) -> tuple[Draft, list[str]]:
    """The sweep's own text, of its one budget; as frozen, where that text says something else.

    Raises:
        UserError: ``text``, which was given, does not say what the trials were drawn from.
    """
    notes: list[str] = []
    given = text is not None
    if text is None and table.home is not None:
        text = _stored(table.home, table.source, notes)
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
    edited = _edited(own, sweep)
    if edited and given:
        raise UserError(
            f"{', '.join(edited)} in [space] of the file is not what the trials of '{table.source}' were drawn "
            f"from: submit it first, or refine the study as it is, by its name: 'hpo-batch refine {sweep.path}'"
        )
    _as_submitted(draft, own, sweep, edited)
    return draft, notes


def _stored(home: Path, source: str, notes: list[str]) -> str | None:
    """The TOML that the study keeps; None with a note if it cannot be read."""
    try:
        return StudyHome(path=home, name=source).sweep_toml.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        notes.append(
            f"the study's sweep.toml cannot be read ({error}): written from the frozen sweep, without comments"
        )
        return None


def _edited(own: Sweep, sweep: Sweep) -> list[str]:
    """Parameters that the file declares in another way than the sweep that ran."""
    return [
        name
        for name in dict.fromkeys([*own.space_table, *sweep.space_table])
        if json.dumps(own.space_table.get(name)) != json.dumps(sweep.space_table.get(name))
    ]


def _as_submitted(draft: Draft, own: Sweep, sweep: Sweep, edited: Sequence[str]) -> None:
    """What ``--set`` or an edit has changed since becomes what ran."""
    for name in edited:
        if name in sweep.space_table:
            draft.set(("space", name), sweep.space_table[name], comment="as submitted")
        else:
            draft.remove("space", name)
    if sweep.study.trials is not None and own.study.trials != sweep.study.trials:
        draft.set(("study", "trials"), sweep.study.trials)


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


def next_name(name: str, budget: str | None, root: Path) -> str:
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
