"""Create a study from the finished trials in files and storages, as history for a sweep."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hpo_batch.errors import StorageError, StudyNotFound, UserError
from hpo_batch.records import Configuration
from hpo_batch.results.table import TrialsTable
from hpo_batch.sources.columns import Columns
from hpo_batch.sources.place import existing_file, is_url, label_of, split
from hpo_batch.sources.read import read_for_sweep
from hpo_batch.sources.rows import rows_of
from hpo_batch.store.home import StudyHome, find_homes, home_of
from hpo_batch.store.sharing import check_ours
from hpo_batch.study.adopt import Fitting, Row, adopt, check_free, fitting, settled
from hpo_batch.study.imported import is_frozen
from hpo_batch.study.read import read_state
from hpo_batch.sweep.load import load
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.values import study_name
from hpo_batch.text.names import did_you_mean, listed
from hpo_batch.text.values import shown

# called with a line about each assumption, and about trials taken and left out
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Import:
    """What to import."""

    files: Sequence[str]
    """CSV, JSON or Parquet files, folders of Ray Tune, Optuna storages (with ``#name`` for one of several studies)"""
    into: Path
    """the TOML of the sweep that gets the trials as history"""
    budget: str | None = None
    """the ``[[budget]]`` of the sweep that the trials are for, if it has several"""
    name: str | None = None
    """name of the new study; derived from the first file by default"""
    columns: Columns = field(default_factory=Columns)
    """the user's options about the columns of all files"""
    columns_of: Mapping[str, Columns] = field(default_factory=dict)
    """the same for one file; takes precedence over ``columns``"""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The study that was created, or would be."""

    home: StudyHome
    count: int
    """number of its trials"""
    sweep: Sweep
    """the sweep that gets them as history"""
    is_imported: bool
    """the sweep names the study in ``[study] import`` already"""
    is_frozen: bool
    """the sweep's own study has read its imports, and will not read this one"""


def import_trials(request: Import, *, root: Path, dry_run: bool = False, tell: Tell = lambda line: None) -> Imported:
    """Create a study from the complete trials that lie in the space of a sweep.

    Args:
        root: the logs directory, in which the study is created.
        dry_run: read and check the trials, but write nothing.

    Raises:
        UserError: a file cannot be understood, none of its trials can be imported, or the name is in use.
        StorageError: a file cannot be read, or the study cannot be written.
    """
    for file in request.files:
        _check_is_file(file, root)
    sweeps = load(request.into)
    sweep = _sweep_of(sweeps, request)
    home = home_of(root, _name(request, sweep))
    check_free(home)
    taken: list[tuple[Row, Configuration]] = []
    facts: list[dict[str, object]] = []
    for number, file in enumerate(request.files):
        columns = request.columns_of.get(file, Columns()).over(request.columns)
        reading = _FileReading(
            file=file, number=number, sweep=sweep, columns=_with_mapped_metric(columns, sweep), request=request
        )
        trials = reading.trials(root, sweeps, tell)
        trials.tell(tell, request.into)
        taken += trials.fitting.taken
        facts.append({**_facts(file), "columns": dict(trials.columns), "trials": len(trials.fitting.taken)})
    if not dry_run:
        check_ours(home)
        adopt(home, settled(sweep, home.name, trials=len(taken)), taken, facts={"files": facts})
    is_imported = home.name in sweep.study.import_
    return Imported(
        home=home,
        count=len(taken),
        sweep=sweep,
        is_imported=is_imported,
        is_frozen=is_imported and _has_read_imports(root, sweep, request.budget),
    )


@dataclass(frozen=True, kw_only=True)
class _FileTrials:
    """The trials of one file, for the sweep."""

    label: str
    count: int
    """number of trials in it"""
    fitting: Fitting
    left_out: Mapping[str, int]
    notes: Sequence[str]
    columns: Mapping[str, str]

    def tell(self, tell: Tell, into: Path) -> None:
        """Report assumptions, and the number of trials taken."""
        for note in self.notes:
            tell(f"{self.label}: {note}")
        assumed = ", ".join(f"{name} = {shown(value)}" for name, value in self.fitting.assumed.items())
        if assumed:
            tell(f"{self.label}: missing in some trials, assumed as fixed in {into}: {assumed}")
        against = self.fitting.against
        reasons = [_counted(self.left_out)] if self.left_out else []
        if against:
            reasons.append(f"{against.total()} not in the space (most often: {against.most_common(1)[0][0]})")
        more = f"; left out: {', '.join(reasons)}" if reasons else ""
        tell(f"{self.label}: {len(self.fitting.taken)} of {self.count} trials taken{more}")

    def why_none(self) -> str:
        against = self.fitting.against
        if not against:
            return (
                f"{self.label}: none of its {self.count} trials is complete with a finite value: "
                f"{_counted(self.left_out) or 'it has none'}"
            )
        why, _ = against.most_common(1)[0]
        more = f"; {_counted(self.left_out)}" if self.left_out else ""
        do = "; --map PARAMETER=COLUMN names its column" if why.startswith("no value for parameter") else ""
        return (
            f"{self.label}: none of its {self.count} trials lies in the sweep's space; most frequent reason: "
            f"{why}{do}{more}"
        )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in counts.items())


@dataclass(frozen=True, kw_only=True)
class _FileReading:
    file: str
    number: int
    """position of the file, from 0"""
    sweep: Sweep
    columns: Columns
    request: Import

    def trials(self, root: Path, budgets: Sequence[Sweep], tell: Tell) -> _FileTrials:
        """The trials that can be taken.

        Raises:
            UserError: there is none, or the file cannot be understood.
            StorageError: it cannot be read.
        """
        tables = self._tables(root)
        budget = self.request.budget
        others = {one.budget.lower() for one in budgets if one.budget is not None and one.budget != budget}
        rows: list[Row] = []
        left_out: Counter[str] = Counter()
        notes: dict[str, None] = {}
        renamed: dict[str, str] = {}
        for table in tables:
            if budget is not None and (table.budget or "").lower() in others:
                if len(tables) > 1:
                    left_out[f"of budget {table.budget}"] += len(table.trials)
                    continue
                notes[f"its name says budget {table.budget}; --budget {budget} is used instead"] = None
            offer = rows_of(table, self.sweep, self.columns, file=self.number)
            rows += offer.rows
            left_out += offer.left_out
            notes |= dict.fromkeys((*table.notes, *offer.notes))
            renamed |= offer.columns
        trials = _FileTrials(
            label=label_of(self.file),
            count=sum(len(table.trials) for table in tables),
            fitting=fitting(self.sweep, rows),
            left_out=left_out,
            notes=tuple(notes),
            columns=renamed,
        )
        if not trials.fitting.taken:
            for note in trials.notes:
                tell(f"{trials.label}: {note}")
            raise UserError(trials.why_none())
        return trials

    def _tables(self, root: Path) -> Sequence[TrialsTable]:
        columns = self.columns
        if columns.value and not columns.directions:
            columns = replace(columns, directions=tuple(self.sweep.study.direction))
        tables = read_for_sweep(self.file, self.sweep, columns, root=root)
        label = label_of(self.file)
        if len(tables) > 1 and any(table.sweep is None for table in tables):
            raise UserError(
                f"{label} holds several studies ({', '.join(table.label for table in tables)}): pick one with "
                f"'{self.file}#NAME'"
            )
        return tables


def _sweep_of(sweeps: Sequence[Sweep], request: Import) -> Sweep:
    """The sweep whose space must contain the trials, without the label of its budget.

    Raises:
        UserError: several budgets differ and none was chosen, or the chosen one does not exist.
    """
    budget = request.budget
    labels = [sweep.budget for sweep in sweeps if sweep.budget is not None]
    if budget is not None and budget not in labels:
        there = f"; there are {listed(labels)}" if labels else "; there is none"
        meant = did_you_mean(budget, labels, otherwise=there)
        raise UserError(f"--budget: no [[budget]] of {request.into} is called '{budget}'{meant}")
    candidates = [sweep for sweep in sweeps if budget in (None, sweep.budget)]
    meanings = [(repr(one.space_table), one.study.metric, one.study.direction) for one in candidates]
    if any(meaning != meanings[0] for meaning in meanings):
        raise UserError(
            f"{request.into} has several budgets with different spaces or metrics: choose one for the trials with "
            f"--budget NAME ({', '.join(labels)})"
        )
    return replace(candidates[0], budget=None)


def _name(request: Import, sweep: Sweep) -> str:
    """The name of the new study.

    Raises:
        UserError: it is not a valid name, or is that of the sweep's own study.
    """
    name = name_for(request.files[0]) if request.name is None else request.name
    try:
        study_name(name)
    except ValueError as error:
        raise UserError(f"--name: {error}") from error
    if name == sweep.study.name:
        raise UserError(
            f"'{name}' is the study of {request.into} itself, which does not import itself: choose another name with "
            "--name"
        )
    return name


def name_for(file: str) -> str:
    """A study name derived from a file, or from the study in it."""
    place, study = split(file)
    text = study or Path(label_of(place)).stem
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).lstrip("._-")[:80].rstrip("._-")
    name = name.removesuffix(".toml")
    return name if re.search(r"[a-z_.]", name) else f"import-{name}".rstrip("-")


def _with_mapped_metric(columns: Columns, sweep: Sweep) -> Columns:
    """``--map METRIC=COLUMN`` is ``--value COLUMN``."""
    metrics = sweep.study.metric
    if columns.value or not any(metric in columns.mapping for metric in metrics):
        return columns
    rest = {ours: theirs for ours, theirs in columns.mapping.items() if ours not in metrics}
    return replace(columns, mapping=rest, value=tuple(columns.mapping.get(metric, metric) for metric in metrics))


def _check_is_file(file: str, root: Path) -> None:
    """Raises UserError for anything but a file: a study needs no import, a sweep has no trials."""
    if file.endswith(".toml"):
        raise UserError(f"'{file}' is a sweep file, which has no trials; pass it to --into")
    if is_url(file) or existing_file(file) is not None:
        return
    try:
        names = [home.name for home in find_homes(root, file)]
    except (StudyNotFound, ValueError):
        if "\0" not in file and os.path.isdir(file):  # noqa: PTH112  # False, not an error, without permission
            return  # a folder of another program, such as Ray Tune
        raise UserError(f"no file '{Path(file).absolute()}'") from None
    name = names[0].partition("/")[0]
    raise UserError(f"'{file}' is already a study: add import = [\"{name}\"] to [study] of the sweep")


def _facts(file: str) -> dict[str, object]:
    """What the study records about a file."""
    path = existing_file(file)
    try:
        digest = "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise StorageError.because(f"cannot read '{path}'", error) from error
    return {"source": label_of(file), "sha256": digest}


def _has_read_imports(root: Path, sweep: Sweep, budget: str | None) -> bool:
    """Whether the sweep's own study exists, and has frozen what it imports."""
    name = sweep.study.name if budget is None else f"{sweep.study.name}/{budget}"
    home = home_of(root, name)
    return home.exists and is_frozen(read_state(home), sweep)
