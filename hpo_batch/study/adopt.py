"""Make a study of finished trials from elsewhere; ``[study] import`` and every reader treat it like any other study.

Its target is the number of its trials, nothing is planned, and no trial has an attempt. It is built in a hidden folder
and renamed into place, so that a kill never leaves half a study.
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
from dataclasses import replace

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
from hpo_batch.study.translate import translate_params
from hpo_batch.sweep.schema import Pruner, Sampler, Sweep

# a second copy of the trials' records: adopted trials have no folders that a lost journal could be rebuilt from
FILE = "adopted.jsonl"
ORIGIN = "import"
# the next import of the same name removes a hidden folder of this age; a running import is younger
STALE_S = 3600.0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One finished trial, as a row of the source table."""

    file: int
    """index of the source file, from 0"""
    number: int
    """the row's number in that file"""
    params: Mapping[str, Value]
    values: tuple[float, ...]
    """finite; one for each metric of the sweep"""
    metrics: Mapping[str, float] = {}
    """finite, by name: the sweep's metrics and any others"""
    seed: int | None = None
    name: str | None = None
    set: str | None = None
    note: str | None = None
    started: float | None = None
    """seconds since the epoch"""
    ended: float | None = None


class Fitting(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows lie in a space."""

    taken: tuple[tuple[Row, Configuration], ...]
    against: Counter[str]
    """reasons for leaving rows out, with the number of rows"""
    assumed: Mapping[str, Value]
    """fixed parameters that some accepted rows do not mention, and the values assumed for them"""


def fitting(sweep: Sweep, rows: Sequence[Row]) -> Fitting:
    """The rows that lie in the sweep's space, by the rules of ``[study] import``: constraints do not count.

    A fixed parameter may be missing. A derived parameter may be present if it agrees with the sweep's formula.
    """
    taken: list[tuple[Row, Configuration]] = []
    against: Counter[str] = Counter()
    assumed: dict[str, Value] = {}
    derived = sweep.space.derived.keys()
    for row in rows:
        translated = translate_params(
            sweep.space, {name: v for name, v in row.params.items() if name not in derived}, is_whole=False
        )
        if not isinstance(translated, str):
            translated = _contradiction(row, translated) or translated
        if isinstance(translated, str):
            against[translated] += 1
            continue
        assumed |= {name: value for name, value in translated.fixed.items() if name not in row.params}
        taken.append((row, translated))
    return Fitting(taken=tuple(taken), against=against, assumed=assumed)


def _contradiction(row: Row, configuration: Configuration) -> str | None:
    """The first derived value of the row that the sweep's formula does not give."""
    for name, value in configuration.derived.items():
        in_row = row.params.get(name, value)
        is_same = in_row == value
        if isinstance(in_row, int | float) and isinstance(value, int | float):
            # CSV and JSON writers round: most print 15 to 17 digits, pandas' float_format often fewer
            is_same = math.isclose(in_row, value, rel_tol=1e-9)
        if not is_same:
            return f"'{name}' is {in_row!r} there and {value!r} by the sweep's formula"
    return None


def settled(sweep: Sweep, name: str, *, trials: int) -> Sweep:
    """The sweep of a study that has all its trials: nothing is planned, expected, pruned or imported."""
    study = replace(sweep.study, name=name, trials=trials, import_=(), replicates=1, seeds=())
    # "random" because a list or a grid would report the configurations that it still lacks
    sampler = Sampler(name="random", seed=sweep.sampler.seed, coverage=sweep.sampler.coverage)
    return replace(
        sweep, study=study, sampler=sampler, baseline=None, trial=(), expect={}, pruner=Pruner(), budget=None
    )


def adopt(home: StudyHome, sweep: Sweep, taken: Sequence[tuple[Row, Configuration]], *, facts: object) -> None:
    """Make the study.

    Args:
        home: a directory that does not exist yet.
        sweep: the study's own sweep, from ``settled``.
        facts: where the rows come from; written to the journal.

    Raises:
        UserError: the directory exists.
        StorageError: the study cannot be written.
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
            check_free(home)  # another process was quicker
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
            f"{what} already exists: choose another name with --name, or remove {home.path} if you no longer need that "
            f"import"
        )


def kept_records(home: StudyHome) -> list[bytes]:
    """The records of adopted trials, one journal line each; empty for a study that was not imported.

    Raises:
        StorageError: the file cannot be read.
    """
    path = home.path / FILE
    try:
        return read_regular(path, most=LINES_BYTES).splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError.because(f"cannot read the imported trials, '{path}'", error) from error


def kept_count(home: StudyHome) -> int:
    """How many trials of a study, counted from number 0, were adopted and have a second copy."""
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
        labels = {"name": row.name, "set": row.set, "note": row.note}
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
                    **{key: value for key, value in labels.items() if value is not None},
                    **({"replicate_of": earlier} if earlier != number else {}),
                }
            },
            user_attrs=row.metrics,
            values=row.values,
            # clocks of several hosts may put the end before the start, which Optuna's dataframes show as negative time
            ended=None if row.ended is None else max(row.ended, started),
        )


def _remove_remains(home: StudyHome) -> None:
    """Remove the hidden folders of imports that were killed."""
    for folder in home.path.parent.glob(f".{home.path.name}.*.import"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > STALE_S:
                shutil.rmtree(folder, ignore_errors=True)
