"""Optuna's journal records, read: lines -> trials and counts, without Optuna. One scan serves workers and readers.

Our own facts are system attributes that begin with ``hpo:``; everything else is Optuna's format (version 5), so that
plain Optuna reads the file. Records are applied in the order of the file, as Optuna replays them: what Optuna ignores
(a change of a finished trial) is ignored here too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hpo_batch.errors import JournalCorrupt
from hpo_batch.records import Attempt, Configuration, Counts, TrialRecord, TrialState, Value
from hpo_batch.store.decode import Line, decode, distribution_facts, external_value, seconds, shown
from hpo_batch.store.format import FORMAT, STUDY_ID, Op

DEFERRED = (b'{"op_code":7,', b'{"op_code":8,')
"""reports and metrics, as we and Optuna write them"""
TRIAL_ID = re.compile(rb'"trial_id":(\d{1,12})[,}]')


ATTEMPT = "hpo:attempt:"
OURS = "hpo-batch-"
"""how the ids of our writers begin"""


class ScannedTrial:
    """A trial as the records so far make it. Changes as more are applied; ``record`` gives the frozen view."""

    __slots__ = (
        "_pending",
        "_steps",
        "_user_attrs",
        "attempt",
        "ended",
        "number",
        "params",
        "started",
        "state",
        "system_attrs",
        "trial_id",
        "values",
    )

    def __init__(self, trial_id: int, number: int) -> None:
        self.trial_id = trial_id
        self.number = number
        self.state = TrialState.RUNNING
        self.values: tuple[float, ...] | None = None
        self.params: dict[str, Value] = {}
        self.system_attrs: dict[str, Any] = {}
        self._user_attrs: dict[str, Any] = {}
        self._steps: dict[int, float] = {}
        self._pending: list[bytes] = []
        self.started: float | None = None
        self.ended: float | None = None
        self.attempt = 0
        """number of the newest attempt; 0 before the first"""

    def defer(self, line: bytes) -> None:
        """Keep a report or a metric as it stands in the file.

        Most are never asked for, and every worker reads what all others write: with 32 workers this gives a sixth more
        throughput (docs/benchmarks.md).
        """
        self._pending.append(line)

    @property
    def steps(self) -> dict[int, float]:
        """Reported values by step."""
        self._decode_pending()
        return self._steps

    @steps.setter
    def steps(self, steps: dict[int, float]) -> None:
        self._decode_pending()
        self._steps = steps

    @property
    def user_attrs(self) -> dict[str, Any]:
        self._decode_pending()
        return self._user_attrs

    @user_attrs.setter
    def user_attrs(self, attrs: dict[str, Any]) -> None:
        self._decode_pending()
        self._user_attrs = attrs

    def _decode_pending(self) -> None:
        lines, self._pending = self._pending, []
        for line in lines:
            record = decode(line)
            if record.op_code == Op.SET_TRIAL_USER_ATTR:
                self._user_attrs.update(record.user_attr)
            elif record.intermediate_value is not None:
                self._steps[record.step] = record.intermediate_value

    @property
    def facts(self) -> dict[str, Any]:
        """What we wrote when the trial was made: key, seeds, origin, name, set, note, revision, derived."""
        facts: dict[str, Any] = self.system_attrs.get("hpo:trial", {})
        return facts

    @property
    def key(self) -> str | None:
        return self.facts.get("key")

    def note(self, attrs: Mapping[str, Any]) -> None:
        """Take over system attributes."""
        self.system_attrs.update(attrs)
        for name in attrs:
            if name.startswith(ATTEMPT):
                self.attempt = max(self.attempt, int(name.removeprefix(ATTEMPT)))

    def attempt_facts(self, attempt: int) -> dict[str, Any]:
        facts: dict[str, Any] = self.system_attrs.get(f"{ATTEMPT}{attempt}", {})
        return facts

    def ending(self, attempt: int) -> dict[str, Any]:
        facts: dict[str, Any] = self.system_attrs.get(f"hpo:ended:{attempt}", {})
        return facts

    @property
    def reason(self) -> str | None:
        reason: str | None = self.system_attrs.get("hpo:failure", {}).get("reason")
        return reason

    def record(self) -> TrialRecord:
        facts = self.facts
        attempts = tuple(self._attempt(n) for n in range(1, self.attempt + 1) if self.attempt_facts(n))
        failure = self.system_attrs.get("hpo:failure", {}) if self.state is TrialState.FAIL else {}
        return TrialRecord(
            number=self.number,
            state=self.state,
            values=self.values,
            params={**self.params, **facts.get("derived", {})},
            metrics={name: value for name, value in self.user_attrs.items() if _is_number(value)},
            steps=dict(self.steps),
            seeds=tuple(facts.get("seeds", ())),
            origin=facts.get("origin", "optuna"),
            name=facts.get("name"),
            set=facts.get("set"),
            note=facts.get("note"),
            reason=failure.get("reason", "unknown" if self.state is TrialState.FAIL else None),
            message=failure.get("message") or self.system_attrs.get("fail_reason"),
            attempts=attempts,
            revision=facts.get("revision", 0),
            started=attempts[0].started if attempts else self.started,
            ended=self.ended,
        )

    def _attempt(self, number: int) -> Attempt:
        facts, ending = self.attempt_facts(number), self.ending(number)
        return Attempt(
            number=number,
            worker=facts["worker"],
            job=facts["job"],
            host=facts["host"],
            gpus=tuple(facts.get("gpus", ())),
            submission=facts.get("submission", ""),
            started=facts["started"],
            ended=ending.get("time"),
            ending=ending.get("how", ""),
        )


class JournalState:
    """The first study of a journal, as its records make it. Other studies in the file only take up trial ids."""

    def __init__(self) -> None:
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
        self.made: set[tuple[str | None, str | None, str | None]] = set()
        """origin, name and key of the trials that hpo-batch made: which of the planned ones exist"""
        self.endings: list[tuple[float, str, int]] = []
        """time, reason and number of each trial that ended, in the order of the file; no reason if it did not fail"""
        self.armed = 0
        """how many trials had ended when the breaker was last armed"""
        self.failed_since_armed = 0
        self._studies: dict[int, str] = {}
        self._next_study = 0
        self._ids: list[ScannedTrial | None] = []
        self._first_kinds: dict[str, tuple[int, object]] = {}

    @property
    def target(self) -> int:
        target: int = self.attrs.get("hpo:revision", {}).get("target", 0)
        return target

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the objectives; a journal that is not ours gives none."""
        return tuple(self.attrs.get("hpo:metrics") or self.attrs.get("study:metric_names") or ())

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

    def apply(self, lines: Iterable[bytes]) -> None:
        """Replay lines of the journal.

        Raises:
            JournalCorrupt: a line is not a journal record, the journal was written by a newer hpo-batch, or the study
                was deleted from it.
        """
        for line in lines:
            if line.startswith(DEFERRED) and self._defer(line):
                continue
            if line.strip():
                record = decode(line)
                try:
                    self._apply(record)
                except (ValueError, KeyError, IndexError, TypeError) as error:
                    raise JournalCorrupt(f"the journal has a record that makes no sense: {shown(line)}") from error

    def _defer(self, line: bytes) -> bool:
        """Whether the line was given to its trial undecoded. Now, since a trial that has ended takes no more."""
        found = TRIAL_ID.search(line)
        if found is None or not line.endswith(b"}"):
            return False
        number = int(found[1])
        trial = self._ids[number] if number < len(self._ids) else None
        if trial is not None and not trial.state.ended:
            trial.defer(line)
        return True

    def _apply(self, line: Line) -> None:
        op = line.op_code
        if op == Op.CREATE_TRIAL:
            self._create_trial(line)
        elif op in (Op.CREATE_STUDY, Op.DELETE_STUDY, Op.SET_STUDY_SYSTEM_ATTR):
            self._study(line)
        elif op >= Op.SET_TRIAL_PARAM and 0 <= line.trial_id < len(self._ids):
            trial = self._ids[line.trial_id]
            if trial is not None and not trial.state.ended:
                self._change_trial(trial, line)

    def _study(self, line: Line) -> None:
        if line.op_code == Op.CREATE_STUDY:
            if line.study_name in self._studies.values():
                return
            if self._next_study == STUDY_ID:
                self.study_name = line.study_name
                self.directions = tuple(line.directions)
                self.is_ours = line.worker_id.startswith(OURS)
            self._studies[self._next_study] = line.study_name
            self._next_study += 1
        elif line.op_code == Op.DELETE_STUDY:
            name = self._studies.pop(line.study_id, None)
            if line.study_id == STUDY_ID and name is not None:
                raise JournalCorrupt(
                    f"the study '{name}' was deleted from its journal by a program of Optuna's; "
                    f"restore the journal from a backup, or remove the study's directory to begin anew"
                )
        elif line.study_id == STUDY_ID and STUDY_ID in self._studies:
            self.attrs.update(line.system_attr)
            _check_format(self.attrs)
            if "hpo:armed" in line.system_attr:
                self.armed, self.failed_since_armed = len(self.endings), 0

    def _create_trial(self, line: Line) -> None:
        if line.study_id not in self._studies:
            return
        if line.study_id != STUDY_ID:
            self._ids.append(None)
            return
        trial = ScannedTrial(trial_id=len(self._ids), number=len(self.trials))
        trial.state = TrialState(line.state if line.state is not None else TrialState.RUNNING.value)
        for name, value in line.params.items():
            trial.params[name] = external_value(line.distributions[name], value)
            self._note_kind(trial, name, line.distributions[name])
        trial.user_attrs = dict(line.user_attrs)
        trial.note(line.system_attrs)
        trial.steps = {int(step): value for step, value in line.intermediate_values.items()}
        trial.started = seconds(line.datetime_start)
        trial.ended = seconds(line.datetime_complete)
        if line.values is not None:
            trial.values = tuple(line.values)
        elif line.value is not None:
            trial.values = (line.value,)
        self._ids.append(trial)
        self.trials.append(trial)
        self.by_state[trial.state].add(trial.number)
        self._note_facts(trial)
        if trial.state.ended:
            self._note_end(trial)

    def _change_trial(self, trial: ScannedTrial, line: Line) -> None:
        op = line.op_code
        if op == Op.SET_TRIAL_STATE_VALUES:
            state = TrialState(line.state)
            if state is trial.state is TrialState.RUNNING:
                return
            self.by_state[trial.state].discard(trial.number)
            self.by_state[state].add(trial.number)
            trial.state = state
            if line.values is not None:
                trial.values = tuple(line.values)
            if state is TrialState.RUNNING:
                trial.started = seconds(line.datetime_start) or trial.started
            if state.ended:
                trial.ended = seconds(line.datetime_complete)
                self._note_end(trial)
        elif op == Op.SET_TRIAL_INTERMEDIATE_VALUE and line.intermediate_value is not None:
            trial.steps[line.step] = line.intermediate_value
        elif op == Op.SET_TRIAL_SYSTEM_ATTR:
            trial.note(line.system_attr)
            if "hpo:trial" in line.system_attr:
                self._note_facts(trial)
        elif op == Op.SET_TRIAL_USER_ATTR:
            trial.user_attrs.update(line.user_attr)
        elif op == Op.SET_TRIAL_PARAM and self._is_like_others(line):
            trial.params[line.param_name] = external_value(line.distribution, line.param_value_internal)
            self._note_kind(trial, line.param_name, line.distribution)

    def _note_facts(self, trial: ScannedTrial) -> None:
        if trial.key is not None:
            self.number_of_key[trial.key] = trial.number
            self.made.add((trial.facts.get("origin"), trial.facts.get("name"), trial.key))

    def _note_end(self, trial: ScannedTrial) -> None:
        reason = (trial.reason or "unknown") if trial.state is TrialState.FAIL else ""
        self.endings.append((trial.ended or 0.0, reason, trial.number))
        self.failed_since_armed += bool(reason)
        if trial.key is None and trial.params:
            # made by plain Optuna, one parameter at a time: what it is can be told when it has all of them
            self.number_of_key.setdefault(Configuration(searched=trial.params, fixed={}).key, trial.number)

    def _note_kind(self, trial: ScannedTrial, name: str, distribution: str) -> None:
        first = self._first_kinds.get(name)
        if first is None or trial.number < first[0]:
            self._first_kinds[name] = (trial.number, distribution_facts(distribution).kind)

    def _is_like_others(self, line: Line) -> bool:
        """Optuna ignores a parameter whose distribution is of another kind than that of the first trial with it."""
        first = self._first_kinds.get(line.param_name)
        return first is None or first[1] == distribution_facts(line.distribution).kind


def _check_format(attrs: Mapping[str, Any]) -> None:
    """At the mark itself, which is the first record of its format: what follows may make no sense to us."""
    found = attrs.get("hpo:format", FORMAT)
    if found > FORMAT:
        raise JournalCorrupt(f"this study has format {found}, this hpo-batch reads up to {FORMAT}: upgrade hpo-batch")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
