"""Replays journal records into trials and counts, for workers and readers, without importing Optuna.

Our own data are system attributes (``attributes``); everything else is Optuna's format, so plain Optuna can read the
file. Records are applied in file order, as Optuna does, and what Optuna ignores (a change to a finished trial) is
ignored here too.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from hpo_batch.errors import JournalCorrupt
from hpo_batch.files import loads
from hpo_batch.journal.attributes import ARMED, FACTS, FORMAT_MARK, METRIC_NAMES, METRICS, REVISION, STUDY_TYPES
from hpo_batch.journal.decode import (
    NONSENSE,
    CreateStudy,
    CreateTrial,
    DeleteStudy,
    Line,
    SetStudySystemAttr,
    SetTrialIntermediateValue,
    SetTrialParam,
    SetTrialStateValues,
    SetTrialSystemAttr,
    SetTrialUserAttr,
    decode_lines,
    external_value,
    why,
)
from hpo_batch.journal.distributions import Distributions
from hpo_batch.journal.encode import FORMAT, STUDY_ID, WRITER_PREFIX
from hpo_batch.journal.trial import STATES, ScannedTrial
from hpo_batch.records import Configuration, Counts, ImportedTrial, TrialState

PIECE = 1 << 18
"""bytes decoded at once: small enough that the decoded records are still in the CPU cache when applied"""


class StudyAttributes:
    """The system attributes of a study."""

    def __init__(self) -> None:
        self.attrs: dict[str, Any] = {}
        """by name, as stored"""

    @property
    def target(self) -> int:
        """Number of trials to finish; 0 in a study created by plain Optuna."""
        target: int = self.attrs.get(REVISION, {}).get("target", 0)
        return target

    @property
    def revision(self) -> int:
        """Revision of the current frozen sweep; 0 in a study created by plain Optuna."""
        number: int = self.attrs.get(REVISION, {}).get("number", 0)
        return number

    @property
    def digest(self) -> str:
        """SHA-256 of that sweep's file; empty in a study created by plain Optuna."""
        digest: str = self.attrs.get(REVISION, {}).get("digest", "")
        return digest

    @property
    def format(self) -> int:
        """Version of our attributes and files. A study created by plain Optuna has the current one."""
        number: int = self.attrs.get(FORMAT_MARK, FORMAT)
        return number

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the objectives; empty if plain Optuna created the study without names."""
        return tuple(self.attrs.get(METRICS) or self.attrs.get(METRIC_NAMES) or ())


class StudyTrials(StudyAttributes):
    """The first study of a journal. Other studies in the file only use up trial ids.

    Args:
        reports: decode reports. A worker without a pruner does not need them, and they are most of the file.
        metrics: decode metrics and other user attributes.
    """

    def __init__(self, *, reports: bool = True, metrics: bool = True) -> None:
        super().__init__()
        self.reports = reports
        self.metrics_decoded = metrics
        self.study_name: str | None = None
        """None while the journal has no study"""
        self.directions: tuple[int, ...] = ()
        self.is_ours = False
        """whether hpo-batch created the study"""
        self.trials: list[ScannedTrial] = []
        self.by_state: dict[TrialState, set[int]] = {state: set() for state in TrialState}
        """trial numbers by state"""
        self._studies: dict[int, str] = {}
        self._next_study = 0
        self._by_id: list[ScannedTrial | None] = []
        self._distributions = Distributions()
        self._corrupt = ""

    @property
    def studies(self) -> tuple[str, ...]:
        """Names of all studies in the journal; ``trials`` are those of the first."""
        return tuple(self._studies.values())

    def distributions(self) -> dict[str, tuple[dict[str, Any], ...]]:
        """All distributions of each parameter: ``{"name": "IntDistribution", "attributes": {...}}``."""
        return self._distributions.of_params()

    def counts(self) -> Counts:
        count = {state: len(numbers) for state, numbers in self.by_state.items()}
        return Counts(
            target=self.target,
            waiting=count[TrialState.WAITING],
            running=count[TrialState.RUNNING],
            complete=count[TrialState.COMPLETE],
            pruned=count[TrialState.PRUNED],
            failed=count[TrialState.FAIL],
        )

    def apply(self, lines: bytes) -> None:
        """Replay whole lines of the journal.

        Raises:
            JournalCorrupt: a line is not a record, the journal was written by a newer hpo-batch, or the study was
                deleted from it. Later calls raise it again, so that no caller continues with part of the journal.
        """
        if self._corrupt:
            raise JournalCorrupt(self._corrupt)
        try:
            with contextlib.nullcontext() if len(lines) < PIECE else no_collections():
                for piece in _pieces(lines):
                    self._replay(piece)
        except JournalCorrupt as error:
            self._corrupt = str(error)
            raise

    def _facts_changed(self, trial: ScannedTrial) -> None:
        """Hook for indices: ``hpo:trial`` was written."""

    def _trial_ended(self, trial: ScannedTrial) -> None:
        """Hook for indices: the trial reached a final state."""

    def _was_armed(self) -> None:
        """Hook for indices: ``hpo:armed`` was written."""

    def _replay(self, lines: memoryview) -> None:
        record: Line | None = None
        try:
            for record in decode_lines(lines, reports=self.reports, metrics=self.metrics_decoded):
                apply = _APPLY.get(type(record))
                if apply is not None:
                    apply(self, record)
        except NONSENSE as error:
            what = f"the journal has a malformed record: {record}"[:200]
            raise JournalCorrupt(f"{what} ({why(error)})") from error
        _check_format(self.format)  # again, for callers that caught the first error

    def _create_study(self, record: CreateStudy) -> None:
        # Optuna ignores a second study of the same name: two writers may create it at once
        if record.study_name in self._studies.values():
            return
        if self._next_study == STUDY_ID:
            if not record.directions:
                raise ValueError("a study without a direction")
            self.study_name = record.study_name
            self.directions = tuple(record.directions)
            self.is_ours = record.worker_id.startswith(WRITER_PREFIX)
        self._studies[self._next_study] = record.study_name
        self._next_study += 1

    def _delete_study(self, record: DeleteStudy) -> None:
        name = self._studies.pop(record.study_id, None)
        if record.study_id == STUDY_ID and name is not None:
            raise JournalCorrupt(
                f"the study '{name}' was deleted from its journal, by Optuna or its dashboard; "
                f"restore the journal from a backup, or remove the study's directory to start over"
            )

    def _set_study_attr(self, record: SetStudySystemAttr) -> None:
        if record.study_id == STUDY_ID and STUDY_ID in self._studies:
            for name, kind in STUDY_TYPES.items():
                if name in record.system_attr:
                    msgspec.convert(record.system_attr[name], kind)
            self.attrs.update(record.system_attr)
            _check_format(self.format)
            if ARMED in record.system_attr:
                self._was_armed()

    def _create_trial(self, record: CreateTrial) -> None:
        if record.study_id not in self._studies:
            return
        if record.study_id != STUDY_ID:
            # other studies use up trial ids, which count over the whole file
            self._by_id.append(None)
            return
        number = len(self.trials)
        trial = ScannedTrial(
            len(self._by_id),
            number,
            record,
            distributions=self._distributions.shared(number, bytes(record.distributions)),
            reports=self.reports,
            metrics=self.metrics_decoded,
        )
        self._by_id.append(trial)
        self.trials.append(trial)
        self.by_state[trial.state].add(number)
        self._facts_changed(trial)
        if trial.state.ended:
            self._trial_ended(trial)

    def _changing(self, trial_id: int) -> ScannedTrial | None:
        """The trial that a record changes; None if there is none, or it is finished: Optuna ignores such records."""
        trial = self._by_id[trial_id] if 0 <= trial_id < len(self._by_id) else None
        return None if trial is None or trial.state.ended else trial

    def _set_param(self, record: SetTrialParam) -> None:
        trial = self._changing(record.trial_id)
        if trial is not None and self._distributions.accept(record):
            trial.params[record.param_name] = external_value(record.distribution, record.param_value_internal)
            self._distributions.add(trial.number, record.param_name, record.distribution)

    def _set_state(self, record: SetTrialStateValues) -> None:
        trial = self._changing(record.trial_id)
        if trial is None:
            return
        state = STATES[record.state]
        # as in Optuna: of two workers that set a waiting trial to RUNNING only the first succeeds
        if state is trial.state is TrialState.RUNNING:
            return
        self.by_state[trial.state].discard(trial.number)
        self.by_state[state].add(trial.number)
        if record.values is not None:
            trial.values = tuple(record.values)
        if state is TrialState.RUNNING:
            trial.start(record.datetime_start)
        trial.state = state
        if state.ended:
            trial.end(record.datetime_complete)
            self._trial_ended(trial)

    def _set_report(self, record: SetTrialIntermediateValue) -> None:
        trial = self._changing(record.trial_id)
        if trial is not None and record.intermediate_value is not None:
            trial.note_report(record.step, record.intermediate_value)

    def _set_metric(self, record: SetTrialUserAttr) -> None:
        trial = self._changing(record.trial_id)
        if trial is not None:
            trial.note_metrics(record.user_attr)

    def _set_trial_attr(self, record: SetTrialSystemAttr) -> None:
        trial = self._changing(record.trial_id)
        if trial is not None:
            trial.note(record.system_attr)
            if FACTS in record.system_attr:
                self._facts_changed(trial)


class JournalState(StudyTrials):
    """The same, with the indices that workers need. Tables do without them to save memory."""

    def __init__(self, *, reports: bool = True, metrics: bool = True) -> None:
        super().__init__(reports=reports, metrics=metrics)
        self.number_of_key: dict[str, int] = {}
        """the newest trial with a configuration's key"""
        self.alike: dict[str, list[int]] = {}
        """numbers of all trials with the same key, if there are several"""
        self.made: set[tuple[str | None, str | None, str | None]] = set()
        """origin, name and key of all our trials, to find planned trials that exist already"""
        self.endings: list[tuple[str, int]] = []
        """failure reason (empty if none) and number of each ended trial, in file order"""
        self.armed = 0
        """number of ended trials when the circuit breaker was last armed"""
        self.failed_since_armed = 0
        self.imported: tuple[ImportedTrial, ...] = ()
        """finished trials of other studies, shown to samplers; not part of the journal"""

    def also_known_as(self, number: int, key: str) -> None:
        """Add the key that a trial's configuration has now, beside the one it was created with."""
        identity = self.trials[number].identity
        self.number_of_key.setdefault(key, number)
        self.made.add((identity.origin, identity.name, key))

    def _facts_changed(self, trial: ScannedTrial) -> None:
        identity = trial.identity
        key = identity.key
        if key is None:
            return
        earlier = self.number_of_key.get(key)
        if earlier is not None and earlier != trial.number and self.trials[earlier].key == key:
            alike = self.alike.setdefault(key, [earlier])
            if trial.number not in alike:  # ``hpo:trial`` may be written twice
                alike.append(trial.number)
        self.number_of_key[key] = trial.number
        self.made.add((identity.origin, identity.name, key))

    def _trial_ended(self, trial: ScannedTrial) -> None:
        reason = (trial.reason or "unknown") if trial.state is TrialState.FAIL else ""
        self.endings.append((reason, trial.number))
        self.failed_since_armed += bool(reason)
        if trial.key is None and trial.params:
            # plain Optuna creates trials one parameter at a time, so only now are all of them known
            self.number_of_key.setdefault(Configuration(searched=trial.params, fixed={}).key, trial.number)

    def _was_armed(self) -> None:
        self.armed, self.failed_since_armed = len(self.endings), 0


# A dict by type: an if-chain took a third of the replay of a journal with a million records. Records of other types
# have no effect: notes of a dashboard, reports and metrics that are skipped, operations newer than this version.
_APPLY: Mapping[type, Callable[[StudyTrials, Any], None]] = {
    CreateStudy: StudyTrials._create_study,
    DeleteStudy: StudyTrials._delete_study,
    SetStudySystemAttr: StudyTrials._set_study_attr,
    CreateTrial: StudyTrials._create_trial,
    SetTrialParam: StudyTrials._set_param,
    SetTrialStateValues: StudyTrials._set_state,
    SetTrialIntermediateValue: StudyTrials._set_report,
    SetTrialUserAttr: StudyTrials._set_metric,
    SetTrialSystemAttr: StudyTrials._set_trial_attr,
}


def is_begun_here(path: Path) -> bool:
    """Whether hpo-batch created a journal; True as well if its first line cannot be read, which the replay reports."""
    try:
        with path.open("rb") as file:
            first = loads(file.readline(PIECE))
        return str(first["worker_id"]).startswith(WRITER_PREFIX)
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _check_format(number: int) -> None:
    """Called at the format mark itself, since later records may be unreadable for this version."""
    if number > FORMAT:
        raise JournalCorrupt(f"this study has format {number}, this hpo-batch reads up to {FORMAT}: upgrade hpo-batch")


def _pieces(lines: bytes) -> Iterator[memoryview]:
    """Whole lines, about ``PIECE`` bytes each."""
    view, start = memoryview(lines), 0
    while start < len(lines):
        end = lines.find(b"\n", start + PIECE) + 1 or len(lines)
        yield view[start:end]
        start = end


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Pause the garbage collector: a replay allocates many objects that all stay, and it would scan them repeatedly."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
