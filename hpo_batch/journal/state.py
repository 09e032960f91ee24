"""Optuna's journal records, read: lines -> trials and counts, without Optuna. One scan serves workers and readers.

Our own facts are system attributes that begin with ``hpo:``; everything else is Optuna's format (version 5), so that
plain Optuna reads the file. Records are applied in the order of the file, as Optuna replays them: what Optuna ignores
(a change of a finished trial) is ignored here too.
"""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from hpo_batch.errors import JournalCorrupt
from hpo_batch.files import loads
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
    distribution_facts,
    distributions_of,
    external_value,
    why,
)
from hpo_batch.journal.encode import FORMAT, STUDY_ID
from hpo_batch.journal.trial import FACTS, STATES, ScannedTrial
from hpo_batch.records import Configuration, Counts, ImportedTrial, TrialState

OURS = "hpo-batch-"
"""how the ids of our writers begin"""
PIECE = 1 << 18
"""bytes that are decoded at once: few enough that their records are still in the processor's cache when applied"""


class JournalState:
    """The first study of a journal, as its records make it. Other studies in the file only take up trial ids.

    Args:
        reports: keep reports. A worker without a pruner has no use for them, and they are most of the file.
        metrics: keep metrics and what else was noted with a trial.
        finding: keep by what workers find trials: ``number_of_key``, ``alike``, ``made``, ``endings``. A table has no
            use for it.
    """

    def __init__(self, *, reports: bool = True, metrics: bool = True, finding: bool = True) -> None:
        self.reports = reports
        self.finding = finding
        self.metrics_kept = metrics
        self.study_name: str | None = None
        self.directions: tuple[int, ...] = ()
        self.is_ours = False
        """whether hpo-batch made the study"""
        self.attrs: dict[str, Any] = {}
        """system attributes of the study"""
        self.trials: list[ScannedTrial] = []
        self.by_state: dict[TrialState, set[int]] = {state: set() for state in TrialState}
        """numbers of the trials in each state"""
        self.number_of_key: dict[str, int] = {}
        """the newest trial with a configuration's key"""
        self.alike: dict[str, list[int]] = {}
        """numbers of all trials with a key, where several were made with it"""
        self.made: set[tuple[str | None, str | None, str | None]] = set()
        """origin, name and key of the trials that hpo-batch made: which of the planned ones exist"""
        self.endings: list[tuple[str, int]] = []
        """reason and number of each trial that ended, in the order of the file; no reason if it did not fail"""
        self.armed = 0
        """how many trials had ended when the breaker was last armed"""
        self.failed_since_armed = 0
        self.imported: tuple[ImportedTrial, ...] = ()
        """finished trials of other studies, which samplers are shown beside these; not of the journal"""
        self._studies: dict[int, str] = {}
        self._next_study = 0
        self._ids: list[ScannedTrial | None] = []
        self._corrupt = ""
        self._first_kinds: dict[str, tuple[int, object]] = {}
        self._distributions: dict[bytes, bytes] = {}
        """each set of distributions once, for all trials that have it"""
        self._distributions_of: dict[str, dict[str, None]] = {}
        """different distributions of each parameter, as Optuna wrote them, in the order of the file"""

    @property
    def target(self) -> int:
        target: int = self.attrs.get("hpo:revision", {}).get("target", 0)
        return target

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the objectives; a journal that is not ours gives none."""
        return tuple(self.attrs.get("hpo:metrics") or self.attrs.get("study:metric_names") or ())

    @property
    def studies(self) -> tuple[str, ...]:
        """Names of all studies in the journal; the trials are those of the first."""
        return tuple(self._studies.values())

    def distributions(self) -> dict[str, tuple[dict[str, Any], ...]]:
        """The distributions that each parameter had: ``{"name": "IntDistribution", "attributes": {...}}``."""
        return {name: tuple(map(json.loads, texts)) for name, texts in self._distributions_of.items()}

    @property
    def revision(self) -> int:
        number: int = self.attrs.get("hpo:revision", {}).get("number", 0)
        return number

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

    def also_known_as(self, number: int, key: str) -> None:
        """Note the key that a trial's configuration has today, beside the one it was made with."""
        identity = self.trials[number].identity
        self.number_of_key.setdefault(key, number)
        self.made.add((identity.origin, identity.name, key))

    def apply(self, lines: bytes) -> None:
        """Replay whole lines of the journal.

        Raises:
            JournalCorrupt: a line is not a journal record, the journal was written by a newer hpo-batch, or the study
                was deleted from it. Later calls raise it too: whoever went on would act on a part of the journal.
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

    def _replay(self, lines: memoryview) -> None:
        record: Line | None = None
        try:
            for record in decode_lines(lines, reports=self.reports, metrics=self.metrics_kept):
                apply = _APPLY.get(type(record))
                if apply is not None:
                    apply(self, record)
        except NONSENSE as error:
            what = f"the journal has a record that makes no sense: {record}"[:200]
            raise JournalCorrupt(f"{what} ({why(error)})") from error
        _check_format(self.attrs)  # again: whoever caught it once must not go on

    def _note_report(self, record: SetTrialIntermediateValue) -> None:
        trial = self._changing(record.trial_id)
        if trial is not None and record.intermediate_value is not None:
            trial.note_report(record.step, record.intermediate_value)

    def _note_metric(self, record: SetTrialUserAttr) -> None:
        trial = self._changing(record.trial_id)
        if trial is not None:
            trial.note_metrics(record.user_attr)

    def _note_of_ours(self, record: SetTrialSystemAttr) -> None:
        trial = self._changing(record.trial_id)
        if trial is not None:
            trial.note(record.system_attr)
            if FACTS in record.system_attr:
                self._note_facts(trial)

    def _set_param(self, record: SetTrialParam) -> None:
        trial = self._changing(record.trial_id)
        if trial is not None and self._is_like_others(record):
            trial.params[record.param_name] = external_value(record.distribution, record.param_value_internal)
            self._note_kind(trial, record.param_name, record.distribution)

    def _changing(self, trial_id: int) -> ScannedTrial | None:
        """The trial that a record changes; None if there is none, or it has ended: such a record changes nothing."""
        trial = self._ids[trial_id] if 0 <= trial_id < len(self._ids) else None
        return None if trial is None or trial.state.ended else trial

    def _create_study(self, record: CreateStudy) -> None:
        if record.study_name in self._studies.values():
            return
        if self._next_study == STUDY_ID:
            self.study_name = record.study_name
            self.directions = tuple(record.directions)
            self.is_ours = record.worker_id.startswith(OURS)
        self._studies[self._next_study] = record.study_name
        self._next_study += 1

    def _delete_study(self, record: DeleteStudy) -> None:
        name = self._studies.pop(record.study_id, None)
        if record.study_id == STUDY_ID and name is not None:
            raise JournalCorrupt(
                f"the study '{name}' was deleted from its journal by a program of Optuna's; "
                f"restore the journal from a backup, or remove the study's directory to begin anew"
            )

    def _note_in_study(self, record: SetStudySystemAttr) -> None:
        if record.study_id == STUDY_ID and STUDY_ID in self._studies:
            for name, kind in _KINDS.items():
                if name in record.system_attr:
                    msgspec.convert(record.system_attr[name], kind)
            self.attrs.update(record.system_attr)
            _check_format(self.attrs)
            if "hpo:armed" in record.system_attr:
                self.armed, self.failed_since_armed = len(self.endings), 0

    def _create_trial(self, record: CreateTrial) -> None:
        if record.study_id not in self._studies:
            return
        if record.study_id != STUDY_ID:
            self._ids.append(None)
            return
        distributions = bytes(record.distributions)
        known = self._distributions.get(distributions)
        trial = ScannedTrial(
            len(self._ids),
            len(self.trials),
            record,
            distributions=distributions if known is None else known,
            reports=self.reports,
            metrics=self.metrics_kept,
        )
        if known is None:
            self._know(trial, distributions)
        self._ids.append(trial)
        self.trials.append(trial)
        self.by_state[trial.state].add(trial.number)
        self._note_facts(trial)
        if trial.state.ended:
            self._note_end(trial)

    def _know(self, trial: ScannedTrial, distributions: bytes) -> None:
        """Note a set of distributions that no trial before had."""
        self._distributions[distributions] = distributions
        for name, text in distributions_of(distributions).items():
            self._note_kind(trial, name, text)

    def _change_state(self, record: SetTrialStateValues) -> None:
        trial = self._changing(record.trial_id)
        if trial is None:
            return
        state = STATES[record.state]
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
            self._note_end(trial)

    def _note_facts(self, trial: ScannedTrial) -> None:
        if not self.finding:
            return
        identity = trial.identity
        key = identity.key
        if key is None:
            return
        earlier = self.number_of_key.get(key)
        if earlier is not None and earlier != trial.number and self.trials[earlier].key == key:
            alike = self.alike.setdefault(key, [earlier])
            if trial.number not in alike:  # its facts may be noted again
                alike.append(trial.number)
        self.number_of_key[key] = trial.number
        self.made.add((identity.origin, identity.name, key))

    def _note_end(self, trial: ScannedTrial) -> None:
        if not self.finding:
            return
        reason = (trial.reason or "unknown") if trial.state is TrialState.FAIL else ""
        self.endings.append((reason, trial.number))
        self.failed_since_armed += bool(reason)
        if trial.key is None and trial.params:
            # made by plain Optuna, one parameter at a time: what it is can be told when it has all of them
            self.number_of_key.setdefault(Configuration(searched=trial.params, fixed={}).key, trial.number)

    def _note_kind(self, trial: ScannedTrial, name: str, distribution: str) -> None:
        self._distributions_of.setdefault(name, {})[distribution] = None
        first = self._first_kinds.get(name)
        if first is None or trial.number < first[0]:
            self._first_kinds[name] = (trial.number, distribution_facts(distribution).kind)

    def _is_like_others(self, line: SetTrialParam) -> bool:
        """Optuna ignores a parameter whose distribution is of another kind than that of the first trial with it."""
        first = self._first_kinds.get(line.param_name)
        return first is None or first[1] == distribution_facts(line.distribution).kind


# By type: a large journal has a million records, and asking each what it is took a third of the replay. What is not
# here changes nothing: a dashboard's notes, what was left out, what is newer than this program.
_APPLY: Mapping[type, Callable[[JournalState, Any], None]] = {
    CreateStudy: JournalState._create_study,
    DeleteStudy: JournalState._delete_study,
    SetStudySystemAttr: JournalState._note_in_study,
    CreateTrial: JournalState._create_trial,
    SetTrialParam: JournalState._set_param,
    SetTrialStateValues: JournalState._change_state,
    SetTrialIntermediateValue: JournalState._note_report,
    SetTrialUserAttr: JournalState._note_metric,
    SetTrialSystemAttr: JournalState._note_of_ours,
}


class _Revision(msgspec.Struct):
    number: Annotated[int, msgspec.Meta(ge=0, le=10**9)]
    target: Annotated[int, msgspec.Meta(ge=0, le=10**12)]
    digest: str


_KINDS: Mapping[str, Any] = {
    "hpo:format": int,
    "hpo:metrics": list[str],
    "hpo:revision": _Revision,
    "hpo:imported": dict[str, Any],
    "study:metric_names": list[str],
}
"""attributes of a study that readers rely on"""


def is_begun_here(path: Path) -> bool:
    """Whether hpo-batch began a journal; also if its beginning cannot be read, which the replay tells in words."""
    try:
        with path.open("rb") as file:
            first = loads(file.readline(PIECE))
        return str(first["worker_id"]).startswith(OURS)
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _check_format(attrs: Mapping[str, Any]) -> None:
    """At the mark itself, which is the first record of its format: what follows may make no sense to us."""
    found = attrs.get("hpo:format", FORMAT)
    if found > FORMAT:
        raise JournalCorrupt(f"this study has format {found}, this hpo-batch reads up to {FORMAT}: upgrade hpo-batch")


def _pieces(lines: bytes) -> Iterator[memoryview]:
    """Whole lines, about ``PIECE`` bytes each."""
    view, start = memoryview(lines), 0
    while start < len(lines):
        end = lines.find(b"\n", start + PIECE) + 1 or len(lines)
        yield view[start:end]
        start = end


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """All that a replay makes stays: the garbage collector would look at it again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
