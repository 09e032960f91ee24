"""A trial built from journal records. Attributes stay JSON until they are first read."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final, TypeVar

import msgspec

from hpo_batch.errors import JournalCorrupt
from hpo_batch.journal.attributes import (
    ATTEMPT,
    EMPTY,
    FACTS,
    FAIL_REASON,
    FAILURE,
    REPLICATES,
    SAMPLER,
    AttemptEnd,
    AttemptFacts,
    Failure,
    TrialFacts,
    attempt_attr,
    attempt_number,
    ended_attr,
    is_number,
)
from hpo_batch.journal.decode import NONSENSE, CreateTrial, distributions_of, external_value, loads, seconds, why
from hpo_batch.records import Attempt, TrialRecord, TrialState, Value

STATES: Final = {state.value: state for state in TrialState}
# up to here, counting up is faster than looking through all attributes
FEW_ATTEMPTS = 64
T = TypeVar("T")


class Identity(msgspec.Struct, gc=False):
    """The fields of ``hpo:trial`` that the indices need."""

    key: str | None = None
    origin: str | None = None
    name: str | None = None


_identity = msgspec.json.Decoder(Identity)


class _LeftOut(Enum):
    """Marks what the reader did not decode, as opposed to an empty value."""

    LEFT_OUT = "left out"


LEFT_OUT: Final = _LeftOut.LEFT_OUT


class TrialAttributes:
    """The system attributes of a trial, each decoded when first read.

    A worker replays the records of all workers and reads few of them; decoding everything would double its time.
    """

    __slots__ = ("_attempt", "_attrs", "_identity", "number")

    def __init__(self, number: int, attrs: Mapping[str, msgspec.Raw]) -> None:
        self.number = number
        # copied: a msgspec.Raw is a view that keeps its whole line in memory
        self._attrs: dict[str, Any] = {name: bytes(value) for name, value in attrs.items()}
        self._identity: Identity | None = None
        self._attempt = 0
        for name in self._attrs:
            if name.startswith(ATTEMPT):
                self._attempt = max(self._attempt, attempt_number(name))

    def note(self, attrs: Mapping[str, msgspec.Raw]) -> None:
        """Apply a record that sets system attributes."""
        for name, value in attrs.items():
            self._attrs[name] = bytes(value)
            if name.startswith(ATTEMPT):
                self._attempt = max(self._attempt, attempt_number(name))
            elif name == FACTS:
                self._identity = None

    @property
    def attempt(self) -> int:
        """Number of the newest attempt; 0 before the first."""
        return self._attempt

    @property
    def attempts(self) -> Iterable[int]:
        """Numbers of the attempts that have attributes, in order."""
        if self._attempt <= FEW_ATTEMPTS:
            return [n for n in range(1, self._attempt + 1) if attempt_attr(n) in self._attrs]
        return sorted(attempt_number(name) for name in self._attrs if name.startswith(ATTEMPT))

    @property
    def system_attrs(self) -> dict[str, Any]:
        return {name: self._attr(name) for name in self._attrs}

    @property
    def identity(self) -> Identity:
        if self._identity is None:
            facts = self.raw(FACTS)
            self._identity = Identity() if facts is None else _identity.decode(facts)
            if self._identity.origin is not None:
                self._identity.origin = sys.intern(self._identity.origin)  # a few distinct words over all trials
        return self._identity

    @property
    def key(self) -> str | None:
        """Key of its configuration; None if plain Optuna created the trial."""
        return self.identity.key

    @property
    def facts(self) -> dict[str, Any]:
        """Written when the trial was created: key, seeds, origin, name, set, note, revision, derived."""
        return self._mapping(FACTS)

    @property
    def noted_by_sampler(self) -> dict[str, Any]:
        """Sampler data written when the trial ended; data from when it was drawn is in ``facts``."""
        return self._mapping(SAMPLER)

    def attempt_facts(self, attempt: int) -> dict[str, Any]:
        """All fields of an attempt's worker (``Owner``); empty if none were recorded."""
        return self._mapping(attempt_attr(attempt))

    def ending(self, attempt: int) -> dict[str, Any]:
        """How an attempt ended; empty while it runs."""
        return self._mapping(ended_attr(attempt))

    @property
    def reason(self) -> str | None:
        """Why the trial failed for good."""
        reason: str | None = self._mapping(FAILURE).get("reason")
        return reason

    @property
    def optunas_message(self) -> str | None:
        """Optuna's message for a trial that plain Optuna failed."""
        text: str | None = self._attr(FAIL_REASON) if FAIL_REASON in self._attrs else None
        return text

    def raw(self, name: str) -> bytes | None:
        """A system attribute as JSON; None if there is none."""
        value = self._attrs.get(name)
        return value if value is None or isinstance(value, bytes) else msgspec.json.encode(value)

    def only_attempt(self) -> tuple[bytes, bytes] | None:
        """Worker and ending of its attempt as JSON, if it had just one, which has ended, and they are unread."""
        if self._attempt != 1:
            return None
        worker, ending = self._attrs.get(attempt_attr(1)), self._attrs.get(ended_attr(1))
        if not isinstance(worker, bytes) or not isinstance(ending, bytes) or EMPTY in (worker, ending):
            return None
        return worker, ending

    def typed(self, name: str, kind: type[T]) -> T | None:
        """One of our system attributes, as its type in ``attributes``; None if missing or empty.

        ``doctor --rebuild`` writes an empty one for an attempt whose claim cannot be read.

        Raises:
            ValueError, TypeError: it does not match the type.
        """
        value = self._attrs.get(name)
        if isinstance(value, bytes):
            if value == EMPTY:
                return None
            try:
                return msgspec.json.decode(value, type=kind)
            except msgspec.DecodeError:
                value = loads(value)  # plain Optuna writes NaN and Infinity, which msgspec rejects
        return msgspec.convert(value, kind) if value else None

    def _attr(self, name: str) -> Any:
        value = self._attrs.get(name)
        if isinstance(value, bytes):
            try:
                value = self._attrs[name] = loads(value)
            except NONSENSE as error:
                raise self._makes_no_sense(error) from error
        return value

    def _makes_no_sense(self, error: Exception) -> JournalCorrupt:
        what = f"trial {self.number} in the journal has a malformed record: {why(error)}"
        return JournalCorrupt(what)

    def _mapping(self, name: str) -> dict[str, Any]:
        value = self._attr(name) or {}
        if not isinstance(value, dict):
            raise JournalCorrupt(f"trial {self.number} in the journal has a malformed attribute '{name}'")
        return value


class ScannedTrial(TrialAttributes):
    """A trial that changes as more records are applied; ``record`` gives the frozen view.

    Args:
        distributions: of the parameters, as JSON; one shared object for all trials with the same ones.
        reports: whether the reader decodes reports.
        metrics: whether the reader decodes metrics.
    """

    __slots__ = (
        "_distributions",
        "_ended",
        "_params",
        "_raw_params",
        "_started",
        "_steps",
        "_user_attrs",
        "state",
        "trial_id",
        "values",
    )

    def __init__(
        self, trial_id: int, number: int, line: CreateTrial, *, distributions: bytes, reports: bool, metrics: bool
    ) -> None:
        super().__init__(number, line.system_attrs)
        self.trial_id = trial_id
        self.state = STATES[line.state or 0]
        self.values: tuple[float, ...] | None = None
        if line.values is not None:
            self.values = tuple(line.values)
        elif line.value is not None:
            self.values = (line.value,)
        self._started: str | None = line.datetime_start
        self._ended: str | None = line.datetime_complete
        self._raw_params = bytes(line.params)
        self._distributions = distributions
        self._params: dict[str, Value] | None = None
        # None instead of an empty dict saves memory: most of up to 100,000 trials start without any
        self._user_attrs: dict[str, Any] | _LeftOut | None = None if metrics else LEFT_OUT
        if metrics and (notes := bytes(line.user_attrs)) != EMPTY:
            self._user_attrs = loads(notes)
        self._steps: dict[int, float] | _LeftOut | None = None if reports else LEFT_OUT
        if reports and (steps := bytes(line.intermediate_values)) != EMPTY:
            # a null is no report, in a record of its own (``StudyTrials._set_report``) and here
            self._steps = {int(step): value for step, value in loads(steps).items() if value is not None}

    def start(self, time: str | None) -> None:
        self._started = time or self._started

    def end(self, time: str | None) -> None:
        self._ended = time

    def note_report(self, step: int, value: float) -> None:
        if not isinstance(self._steps, dict):
            self._steps = {}
        self._steps[step] = value

    def note_metrics(self, attrs: dict[str, Any]) -> None:
        self._user_attrs = {**self._user_attrs, **attrs} if isinstance(self._user_attrs, dict) else attrs

    @property
    def started(self) -> float | None:
        """Seconds since the epoch."""
        return seconds(self._started)

    @property
    def ended(self) -> float | None:
        """Seconds since the epoch."""
        return seconds(self._ended)

    @property
    def params(self) -> dict[str, Value]:
        """Searched and fixed values by name.

        Raises:
            JournalCorrupt: the numbers in the file are values of no such distributions. They are decoded here for the
                first time, in commands that write, too.
        """
        if self._params is None:
            try:
                distributions = distributions_of(self._distributions)
                values = loads(self._raw_params)
                self._params = {name: external_value(distributions[name], value) for name, value in values.items()}
            except NONSENSE as error:
                raise self._makes_no_sense(error) from error
        return self._params

    @property
    def stored_params(self) -> tuple[dict[str, float], dict[str, str]]:
        """Parameters (internal values) and distributions of the record that created the trial.

        Raises:
            JournalCorrupt: they are none.
        """
        try:
            return dict(loads(self._raw_params)), dict(distributions_of(self._distributions))
        except NONSENSE as error:
            raise self._makes_no_sense(error) from error

    @property
    def raw_params(self) -> bytes:
        """The same parameters as JSON: Optuna's internal values."""
        return self._raw_params

    @property
    def raw_distributions(self) -> bytes | None:
        """The distributions of ``raw_params``; None once ``params`` were read, or set one by one."""
        return self._distributions if self._params is None else None

    @property
    def steps(self) -> dict[int, float]:
        """Reported values by step.

        Raises:
            RuntimeError: the reader skips reports.
        """
        if self._steps is LEFT_OUT:
            raise RuntimeError("reports were skipped when the journal was read")
        return self._steps or {}

    @property
    def decoded_steps(self) -> dict[int, float]:
        """Reported values by step; empty if the reader skips reports."""
        return {} if self._steps is LEFT_OUT else self._steps or {}

    @property
    def user_attrs(self) -> dict[str, Any]:
        """Metrics, and user attributes set by other programs.

        Raises:
            RuntimeError: the reader skips metrics.
        """
        if self._user_attrs is LEFT_OUT:
            raise RuntimeError("metrics were skipped when the journal was read")
        return self._user_attrs or {}

    def record(self) -> TrialRecord:
        """A frozen copy of the trial, without steps or metrics if the reader skips them.

        Raises:
            JournalCorrupt: an attribute is malformed.
        """
        try:
            return _record(
                self,
                steps=self.decoded_steps,
                user_attrs={} if self._user_attrs is LEFT_OUT else self.user_attrs,
            )
        except NONSENSE as error:
            raise self._makes_no_sense(error) from error


def _record(trial: ScannedTrial, *, steps: Mapping[int, float], user_attrs: Mapping[str, Any]) -> TrialRecord:
    facts = trial.typed(FACTS, TrialFacts) or TrialFacts()
    attempts = tuple(attempt for number in trial.attempts if (attempt := _attempt(trial, number)) is not None)
    has_failed = trial.state is TrialState.FAIL
    failure = (trial.typed(FAILURE, Failure) or Failure()) if has_failed else None
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        values=trial.values,
        params={**trial.params, **facts.derived},
        metrics={name: value for name, value in user_attrs.items() if is_number(value)},
        steps=dict(steps),
        seeds=tuple(facts.seeds),
        origin=facts.origin,
        name=facts.name,
        set=facts.set,
        note=facts.note,
        reason=None if failure is None else failure.reason,
        message=(failure.message if failure is not None else None) or trial.optunas_message,
        attempts=attempts,
        revision=facts.revision,
        started=attempts[0].started if attempts else trial.started,
        ended=trial.ended,
        replicates=tuple(user_attrs.get(REPLICATES, ())),
        replicate_of=facts.replicate_of,
    )


def _attempt(trial: ScannedTrial, number: int) -> Attempt | None:
    facts = trial.typed(attempt_attr(number), AttemptFacts)
    if facts is None:
        return None
    end = trial.typed(ended_attr(number), AttemptEnd) or AttemptEnd()
    return Attempt(
        number=number,
        worker=facts.worker,
        job=facts.job,
        host=facts.host,
        gpus=tuple(facts.gpus),
        gpu_count=facts.gpus_held,
        submission=facts.submission,
        started=facts.started,
        ended=end.time,
        ending=end.how,
        fused=facts.fused,
    )
