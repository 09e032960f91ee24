"""Read studies of hpo-batch, by name, directory or sweep TOML, and their journals anywhere on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from hpo_batch.errors import StorageError, StudyNotFound
from hpo_batch.journal.damage import BEGINNING
from hpo_batch.journal.decode import isolated
from hpo_batch.journal.state import StudyTrials, is_begun_here
from hpo_batch.results.study_columns import replayed
from hpo_batch.results.table import TrialsTable, trials_table
from hpo_batch.sources import optuna
from hpo_batch.sources.infer import described, distinct, from_distributions
from hpo_batch.sources.place import Place
from hpo_batch.sources.source import Request, Source
from hpo_batch.store.home import StudyHome, find_homes
from hpo_batch.study.read import read_revision
from hpo_batch.sweep.name import name_in_toml
from hpo_batch.text.names import listed


def read_study(home: StudyHome, *, reports: bool = False, attempts: bool = True, frozen: bool = True) -> TrialsTable:
    """The table of one study.

    Args:
        reports: read what trials reported step by step.
        attempts: fill in the table of attempts.
        frozen: read the frozen sweep: space, baseline, expectations.

    Raises:
        StorageError: the journal cannot be read.
    """
    _load_libraries(frozen=frozen)
    if not is_begun_here(home.journal):
        return replace(_of_plain_optuna(home), home=home.path)
    state = replayed(home.journal, reports=reports)
    table = replace(trials_table(state, source=home.name, attempts=attempts), home=home.path)
    if "/" in home.name:
        table = replace(table, budget=home.name.rpartition("/")[2])
    if not frozen:
        return table
    if not state.revision:
        return _with_distributions(table, state)
    try:
        sweep = read_revision(home, state)
    except StorageError as error:
        return replace(_with_distributions(table, state), notes=(f"{error}; continuing without it",))
    return replace(table, space=sweep.space, baseline=sweep.baseline, budget=sweep.budget, sweep=sweep)


def _load_libraries(*, frozen: bool) -> None:
    """Import lazily loaded modules before the journal is read.

    Imported later, their objects would lie between the records in memory. With 100,000 trials, 100 MB could then not be
    freed, since Python frees memory in arenas of 1 MiB (https://docs.python.org/3/c-api/memory.html), and each of them
    contained a class or two of pyarrow.
    """
    pd.Series(["text"])
    if frozen:
        import hpo_batch.study.create  # noqa: F401


def _of_plain_optuna(home: StudyHome) -> TrialsTable:
    """Read a journal in a study's directory that was started by plain Optuna, with Optuna."""
    tables = optuna.read_storage(str(home.journal))
    others = [table.label for table in tables[1:]]
    notes = (
        (f"the journal contains other studies; 'collect {home.journal}' reads them: {listed(others)}",)
        if others
        else ()
    )
    return replace(tables[0], source=home.name, notes=(*tables[0].notes, *notes))


def _with_distributions(table: TrialsTable, state: StudyTrials) -> TrialsTable:
    """Add the space from the distributions that Optuna records with each trial."""
    seen = {name: distinct(table.trials[f"params_{name}"].dropna()) for name in table.parameters}
    space, more = from_distributions(state.distributions(), seen)
    notes = (f"space from the distributions of its trials: {described(space)}", *more)
    return replace(table, space=space, space_is_inferred=True, notes=(*table.notes, *notes))


def _is_study(place: Place) -> bool:
    if place.is_url:
        return False
    if place.text.endswith(".toml"):
        return not optuna.is_storage_file(place)  # the content decides: an Optuna storage may have any name
    if place.path is not None:
        return False
    try:
        return bool(find_homes(place.root, place.text))
    except StudyNotFound:
        return False


def _read(place: Place, request: Request) -> Sequence[TrialsTable]:
    name = name_in_toml(place.text) if place.text.endswith(".toml") else place.text
    tables = []
    for home in find_homes(place.root, name):
        with isolated(home.name):
            tables.append(
                read_study(home, reports=request.reports, attempts=request.attempts, frozen=request.sweep_of_study)
            )
    return tables


SOURCE = Source(kind="a study", knows=_is_study, read=_read)


def _is_journal(place: Place) -> bool:
    if not place.is_plain_file or not place.head.lstrip().startswith(BEGINNING[:-1]):
        return False
    return is_begun_here(Path(place.text))


def _read_journal(place: Place, request: Request) -> Sequence[TrialsTable]:
    path = Path(place.text)
    with isolated(str(path)):
        state = replayed(path, reports=True)
        if len(state.studies) > 1:  # plain Optuna has added a study to it
            return optuna.read_storage(place.text)
        table = trials_table(state, source=str(path))
        return [_with_distributions(replace(table, label=state.study_name or path.stem), state)]


JOURNAL = Source(kind="an Optuna storage", knows=_is_journal, read=_read_journal)
