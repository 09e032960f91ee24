"""Finished trials from outside as a study of their own, which ``[study] import`` and all readers take like any other.

It is complete from the beginning: as many trials are wanted as there are, nothing is planned, nobody ran an attempt. It
is built beside its place and renamed into it, so that a kill leaves no half of it.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from hpo_batch.errors import StorageError, UserError
from hpo_batch.files import LINES_BYTES, read_regular, sync_directory, write_atomic
from hpo_batch.journal.attributes import ADOPTED, ARMED, FACTS
from hpo_batch.journal.encode import Record, Writer
from hpo_batch.records import Configuration, TrialState, Value
from hpo_batch.store import sharing
from hpo_batch.store.home import StudyHome
from hpo_batch.study.create import meaning, mode_of, revision
from hpo_batch.study.journal_params import JournalParams
from hpo_batch.study.translate import translated
from hpo_batch.sweep.schema import Pruner, Sampler, Sweep

"""of the study: which files its trials are from, their digests, and what their columns were taken for"""
FILE = "adopted.jsonl"
"""a second copy of the trials' records, from which a lost journal is made again: they have no folders"""
ORIGIN = "import"
STALE_S = 3600.0
"""what an import that was killed has left is removed by the next one of this name after so long"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One finished trial, as somebody's table has it."""

    file: int
    """which of the files it stands in, counted from 0"""
    number: int
    """there"""
    params: Mapping[str, Value]
    values: tuple[float, ...]
    """finite, of the metrics of the sweep that it is for"""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """finite, by name: those of the sweep, and others"""
    seed: int | None = None
    name: str | None = None
    set: str | None = None
    note: str | None = None
    started: float | None = None
    """seconds since the epoch"""
    ended: float | None = None


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """Which rows lie in a space."""

    taken: tuple[tuple[Row, Configuration], ...]
    against: Counter[str]
    """why the others do not, and how many"""
    assumed: Mapping[str, Value]
    """fixed parameters that some of the rows taken do not tell, and what they count with"""


def fitting(sweep: Sweep, rows: Sequence[Row]) -> Fitting:
    """The rows that lie in the sweep's space, as ``[study] import`` judges: constraints do not count.

    A fixed parameter may be missing; a derived one may be there if it is what the others make it.
    """
    taken: list[tuple[Row, Configuration]] = []
    against: Counter[str] = Counter()
    assumed: dict[str, Value] = {}
    derived = sweep.space.derived.keys()
    for row in rows:
        found = translated(
            sweep.space, {name: v for name, v in row.params.items() if name not in derived}, is_whole=False
        )
        if not isinstance(found, str):
            found = _contradicted(row, found) or found
        if isinstance(found, str):
            against[found] += 1
            continue
        assumed |= {name: value for name, value in found.fixed.items() if name not in row.params}
        taken.append((row, found))
    return Fitting(taken=tuple(taken), against=against, assumed=assumed)


def _contradicted(row: Row, configuration: Configuration) -> str | None:
    """Why a derived value that the row tells cannot be."""
    for name, value in configuration.derived.items():
        told = row.params.get(name, value)
        alike = told == value
        if isinstance(told, int | float) and isinstance(value, int | float):
            alike = math.isclose(told, value, rel_tol=1e-9)
        if not alike:
            return f"'{name}' is {told!r} there and {value!r} by the sweep's formula"
    return None


def settled(sweep: Sweep, name: str, *, trials: int) -> Sweep:
    """The sweep of a study that has all its trials: nothing is planned, expected, pruned or imported."""
    study = replace(sweep.study, name=name, trials=trials, import_=(), replicates=1)
    # nobody has drawn them; and a list or a grid would count what it still lacks
    sampler = Sampler(name="random", seed=sweep.sampler.seed, coverage=sweep.sampler.coverage)
    return replace(
        sweep, study=study, sampler=sampler, baseline=None, trial=(), expect={}, pruner=Pruner(), budget=None
    )


def adopt(home: StudyHome, sweep: Sweep, taken: Sequence[tuple[Row, Configuration]], *, facts: object) -> None:
    """Make the study.

    Args:
        home: where nothing is yet.
        sweep: of the study itself, as ``settled`` makes it.
        facts: where the rows are from; kept in the journal.

    Raises:
        UserError: something is there already.
        StorageError: the file system refuses.
    """
    check_free(home)
    _remove_remains(home)
    arriving = StudyHome(path=home.path.with_name(f".{home.path.name}.{secrets.token_hex(4)}.import"), name=home.name)
    try:
        with sharing.umask_for(shared=sweep.study.shared):
            _build(arriving, sweep, taken, facts)
        try:
            arriving.path.rename(home.path)
        except OSError:
            check_free(home)  # somebody was quicker
            raise
    except OSError as error:
        raise StorageError.because(f"cannot make the study '{home.path}'", error) from error
    finally:
        shutil.rmtree(arriving.path, ignore_errors=True)
    sync_directory(home.path.parent)


def check_free(home: StudyHome) -> None:
    """Raises UserError if something has the study's name already."""
    if os.path.lexists(home.path):
        what = f"the study '{home.name}'" if home.exists else f"'{home.path}'"
        raise UserError(
            f"{what} exists already: choose another name with --name, or remove {home.path} if it is an import that is "
            f"not wanted any more"
        )


def kept_records(home: StudyHome) -> list[bytes]:
    """The records of adopted trials, each as one line of the journal; none in a study that was not made of them.

    Raises:
        StorageError: their file cannot be read.
    """
    path = home.path / FILE
    try:
        return read_regular(path, most=LINES_BYTES).splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError.because(f"cannot read the imported trials, '{path}'", error) from error


def kept_count(home: StudyHome) -> int:
    """How many trials of a study, the first ones, were adopted and have their second copy."""
    return max(0, len(kept_records(home)) - 1)


def _build(home: StudyHome, sweep: Sweep, taken: Sequence[tuple[Row, Configuration]], facts: object) -> None:
    if sweep.study.shared:
        sharing.make(home)
    else:
        home.make()
    writer, text = Writer("import"), sweep.to_json()
    write_atomic(home.revision(1), text, mode=mode_of(sweep))
    adopted = _encoded([writer.study_attr(ADOPTED, facts), *_trials(writer, sweep, taken)])
    write_atomic(home.path / FILE, adopted)
    first = [
        writer.create_study(home.name, sweep.study.direction),
        *meaning(writer, sweep),
        revision(writer, number=1, content=text.encode(), wanted=len(taken)),
    ]
    armed = [writer.study_attr(ARMED, time.time())]
    write_atomic(home.journal, _encoded(first) + adopted + _encoded(armed))


def _encoded(records: Sequence[Record]) -> bytes:
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def _trials(writer: Writer, sweep: Sweep, taken: Sequence[tuple[Row, Configuration]]) -> Iterator[Record]:
    journal_params = JournalParams(sweep.space)
    number_of_key: dict[str, int] = {}
    now = time.time()
    for number, (row, configuration) in enumerate(taken):
        params, distributions = journal_params(configuration)
        told = {"name": row.name, "set": row.set, "note": row.note}
        earlier = number_of_key.setdefault(configuration.key, number)
        started = row.started if row.started is not None else row.ended if row.ended is not None else now
        yield writer.create_trial(
            now=started,
            state=TrialState.COMPLETE,
            params=params,
            distributions=distributions,
            system_attrs={
                FACTS: {
                    "key": configuration.key,
                    "seeds": [] if row.seed is None else [row.seed],
                    "origin": ORIGIN,
                    "revision": 1,
                    "derived": dict(configuration.derived),
                    "adopted": {"file": row.file, "number": row.number},
                    **{key: value for key, value in told.items() if value is not None},
                    **({"replicate_of": earlier} if earlier != number else {}),
                }
            },
            user_attrs=row.metrics,
            values=row.values,
            ended=None if row.ended is None else max(row.ended, started),
        )


def _remove_remains(home: StudyHome) -> None:
    """Of imports that were killed; one that is at work is younger."""
    for folder in _beside(home):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > STALE_S:
                shutil.rmtree(folder, ignore_errors=True)


def _beside(home: StudyHome) -> list[Path]:
    return list(home.path.parent.glob(f".{home.path.name}.*.import"))
