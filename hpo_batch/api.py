"""hpo-batch from Python and notebooks: start a sweep, wait for it, and look at its trials.

The command line is built on the same functions; these find the logs directory as it does.
"""

from __future__ import annotations

import html
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo_batch.document.html import figure_file
from hpo_batch.errors import UserError
from hpo_batch.findings.known import Known
from hpo_batch.findings.records import Findings
from hpo_batch.findings.report import Report, report
from hpo_batch.launch.facts import Fact, Note, Submitted, Warned
from hpo_batch.launch.submit import requests_of_file, submit_sweeps
from hpo_batch.monitor.waiting import wait_for_workers
from hpo_batch.records import Counts, Value
from hpo_batch.results.cells import plain
from hpo_batch.results.choose import Choice, choose
from hpo_batch.results.table import TrialsTable
from hpo_batch.sources.columns import Columns
from hpo_batch.sources.read import read_tables
from hpo_batch.store.home import StudyHome, find_homes, find_root

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5
"""configurations in a notebook's view of trials"""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of a report; notebooks draw it."""

    name: str
    svg: str = field(repr=False)
    """the whole file"""

    def _repr_svg_(self) -> str:
        return self.svg


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """The trials of one study, file or storage, as they were when they were loaded.

    The names of properties and columns are Optuna's.
    """

    table: TrialsTable

    @property
    def name(self) -> str:
        return self.table.label

    @property
    def counts(self) -> Counts:
        """Numbers of trials by state, and the target."""
        return self.table.counts

    def trials_dataframe(self) -> pd.DataFrame:
        """One row per trial: Optuna's columns ``number value ... params_* user_attrs_* state``, then ours.

        Several metrics: ``values_<metric>`` instead of ``value``.
        """
        return self.table.trials.copy()

    def attempts_dataframe(self) -> pd.DataFrame:
        """One row per attempt at a trial: ``number attempt how started ended seconds node gpus gpu_count job``."""
        return self.table.attempts.copy()

    @cached_property
    def best_number(self) -> int:
        """The number of the best complete trial that keeps all constraints.

        Raises:
            UserError: there is none, or there are several metrics: see ``best_trials``.
        """
        if len(self.table.metrics) > 1:
            raise UserError(f"{self.name} has several metrics and no single best trial; see best_trials()")
        first = self.table.best_first(1)
        if first.empty or first["state"].iloc[0] != "COMPLETE":
            raise UserError(f"{self.name} has no complete trial yet")
        return int(first["number"].iloc[0])

    @property
    def best_value(self) -> float:
        """The metric of the best trial; see ``best_number`` for errors."""
        return float(self._best_row()["value"])

    @property
    def best_params(self) -> dict[str, Value]:
        """The active parameters of the best trial; see ``best_number`` for errors."""
        params = {name: plain(self._best_row()[f"params_{name}"]) for name in self.table.parameters}
        return {name: value for name, value in params.items() if value is not None}

    def best_trials(self) -> pd.DataFrame:
        """The best trial; with several metrics, the trials of the Pareto front."""
        if len(self.table.metrics) == 1:
            return self.table.best_first(1)
        ordered = self.table.best_first()
        return ordered[ordered["front"].astype(bool)]

    def findings(self, *, known: Known | None = None, seed: int = 0) -> Findings:
        """What the trials show, with the uncertainty of every number: effects, noise, advice (docs/methods.md)."""
        return self.report(known=known, seed=seed).findings

    def report(self, *, known: Known | None = None, seed: int = 0) -> Report:
        """The report; ``hpo_batch.findings.report.write`` writes it into a folder.

        Args:
            known: facts beyond the trials, such as the number of cases that the metric is computed on.
            seed: of resampling and forests.
        """
        return report([self.table], known=known, seed=seed)

    def figures(self) -> dict[str, Figure]:
        """The figures of the report by name."""
        made = self.report().document.figures
        return {figure.name: Figure(name=figure.name, svg=figure_file(figure)) for figure in made}

    def _best_row(self) -> pd.Series[Any]:
        trials = self.table.trials
        return trials[trials["number"] == self.best_number].iloc[0]

    def __str__(self) -> str:
        c = self.counts
        return f"{self.name}: {c.complete} complete, {c.pruned} pruned, {c.failed} failed, {c.running} running"

    def __repr__(self) -> str:
        return f"<Results of {self}>"

    def _repr_html_(self) -> str:
        top = SHOWN if len(self.table.metrics) == 1 else None
        frame, notes = choose([self.table], Choice(top=top, best=top is None, for_people=True))
        said = "".join(f"<br>{html.escape(note)}" for note in notes)
        return f"<p>{html.escape(str(self))}{said}</p>{frame.to_html(index=False, escape=True, na_rep='')}"


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Studies that ``submit`` has started or continued."""

    studies: tuple[str, ...]
    """names: one, or one for each budget"""
    root: Path
    """the logs directory"""
    workers: int
    """workers that were started now; others may have been running"""
    job_ids: tuple[str, ...] = ()
    """ids of their SLURM jobs or local processes"""
    messages: tuple[str, ...] = field(default=(), repr=False)
    """notes and warnings, as the command prints them"""


def load(
    source: str | Path | Submission,
    *,
    root: Path | str | None = None,
    sweep: Path | str | None = None,
    columns: Columns | None = None,
) -> Results:
    """The trials of one study, which may be running, or of a file or storage of another tool.

    Args:
        source: a study's name or directory, a sweep's TOML, a CSV, JSON or Parquet file, a Ray Tune folder, an Optuna
            storage (a path or URL, with ``#NAME`` for one of several studies), or what ``submit`` returned.
        root: the logs directory; by default ``$HPO_BATCH_ROOT``, else the nearest ``logs`` upwards.
        sweep: the sweep of a file's trials, which defines their space; by default it is inferred.
        columns: the meaning of a file's columns, if their names do not tell.

    Raises:
        UserError: there is no such source, it cannot be understood, or it is several studies (see ``load_all``).
        StorageError: it cannot be read.
    """
    found = load_all(source, root=root, sweep=sweep, columns=columns)
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise UserError(f"'{_text(source)}' is several studies: {names}; load one of them, or call load_all")
    return found[0]


def load_all(
    *sources: str | Path | Submission,
    root: Path | str | None = None,
    sweep: Path | str | None = None,
    columns: Columns | None = None,
) -> list[Results]:
    """The trials of several sources, and of all budgets of a study. Arguments and errors are those of ``load``."""
    names: list[str] = []
    for source in sources:
        names += source.studies if isinstance(source, Submission) else [str(source)]
    if not names:
        raise UserError("load takes at least one source: a study, a file or a storage")
    submitted = next((source.root for source in sources if isinstance(source, Submission)), None)
    tables = read_tables(
        names, root=_root(root, submitted), sweep=None if sweep is None else Path(sweep), columns=columns
    )
    return [Results(table=table) for table in tables]


def submit(
    sweep: Path | str,
    *,
    root: Path | str | None = None,
    local: bool = False,
    set: Sequence[str] = (),  # the name of the command's option
    fresh: bool = False,
    tell: Callable[[Fact], None] | None = None,
) -> Submission:
    """Start a sweep, or continue it, as ``hpo-batch submit`` does. Returns at once, while the workers run.

    Args:
        sweep: its TOML file.
        root: see ``load``.
        local: run on this machine; SLURM settings of the sweep are ignored.
        set: changes to the sweep, ``["job.workers=4"]``.
        fresh: move an existing study to the trash and start over.
        tell: called with each event as it happens, see ``launch.facts``.

    Raises:
        SweepInvalid: the file has mistakes; the error lists all of them.
        UserError: the objective or an edit is invalid.
        StorageError: a study cannot be read or written.
        SlurmError: SLURM rejects the job or cannot be reached.
    """
    where = _root(root, None)
    said: list[Fact] = []

    def listen(fact: Fact) -> None:
        said.append(fact)
        if tell is not None:
            tell(fact)

    overrides = [*set, *(["job.template=local"] if local else [])]
    requests = requests_of_file(Path(sweep), root=where, overrides=overrides)
    result = submit_sweeps(requests, tell=listen, fresh=fresh)
    if result.error is not None:
        raise result.error
    return Submission(
        studies=tuple(one.home.name for one in requests),
        root=where,
        workers=sum(plan.workers for plan in result.started),
        job_ids=tuple(number for fact in said if isinstance(fact, Submitted) for number in fact.submission.job_ids),
        messages=tuple(str(fact) for fact in said if isinstance(fact, Note | Warned)),
    )


def wait(
    study: str | Submission,
    *,
    root: Path | str | None = None,
    timeout_s: float | None = None,
    progress: Callable[[Sequence[Counts]], None] | None = None,
) -> list[Counts]:
    """Wait until all workers of a study have ended. Interrupting it ends the waiting, not the sweep.

    Args:
        study: a study's name, or what ``submit`` returned.
        root: see ``load``.
        timeout_s: give up after so many seconds.
        progress: called about twice a second with the counts of each study.

    Returns:
        The numbers of trials of each study; ``remaining`` is 0 where its target was met.

    Raises:
        TimeoutError: the workers still run after ``timeout_s``.
        StudyNotFound: there is no such study.
        StorageError: it cannot be read.
    """
    homes = _homes(study, root)
    end = None if timeout_s is None else time.monotonic() + timeout_s
    counts: list[Counts] = []
    for counts in wait_for_workers(homes, tell=lambda line: None):
        if progress is not None:
            progress(counts)
        if end is not None and time.monotonic() > end and any(c.remaining for c in counts):
            raise TimeoutError(f"{', '.join(home.name for home in homes)}: workers still run after {timeout_s:g} s")
    return counts


def _homes(study: str | Submission, root: Path | str | None) -> tuple[StudyHome, ...]:
    if isinstance(study, Submission):
        where = _root(root, study.root)
        return tuple(home for name in study.studies for home in find_homes(where, name))
    return find_homes(_root(root, None), study)


def _root(given: Path | str | None, submitted: Path | None) -> Path:
    option = Path(given) if given is not None else submitted
    return find_root(option, environ=os.environ, cwd=Path.cwd())


def _text(source: str | Path | Submission) -> str:
    return ", ".join(source.studies) if isinstance(source, Submission) else str(source)
