"""A trial as the records of a journal make it. What nobody has asked for yet stays the JSON that it is in the file."""

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
FEW_ATTEMPTS = 64
T = TypeVar("T")


class Identity(msgspec.Struct, gc=False):
    """The part of a trial's facts by which other trials find it."""

    key: str | None = None
    origin: str | None = None
    name: str | None = None


_identity = msgspec.json.Decoder(Identity)


class _LeftOut(Enum):
    """Stands in place of what the reader of the journal did not decode, which is not the same as an empty value."""

    LEFT_OUT = "left out"


LEFT_OUT: Final = _LeftOut.LEFT_OUT


class TrialAttributes:
    """The system attributes of a trial, each decoded when it is first asked for.

    A worker replays what all workers write and looks at few of them: decoding at once doubles the time of a replay.
    """

    __slots__ = ("_attempt", "_attrs", "_identity", "number")

    def __init__(self, number: int, attrs: Mapping[str, msgspec.Raw]) -> None:
        self.number = number
        # copied: a part of a line would keep the whole line in memory
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
        """Numbers of the attempts that have attributes, in order. The newest may be a large number."""
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
                self._identity.origin = sys.intern(self._identity.origin)  # a handful of words, for all trials
        return self._identity

    @property
    def key(self) -> str | None:
        """That of its configuration; None if plain Optuna made the trial."""
        return self.identity.key

    @property
    def facts(self) -> dict[str, Any]:
        """What was written when the trial was made: key, seeds, origin, name, set, note, revision, derived."""
        return self._mapping(FACTS)

    @property
    def noted_by_sampler(self) -> dict[str, Any]:
        """What the sampler noted when the trial ended; what it noted when it drew the trial is in ``facts``."""
        return self._mapping(SAMPLER)

    def attempt_facts(self, attempt: int) -> dict[str, Any]:
        """The worker of an attempt, all that is known of it (``Owner``); empty if nothing is."""
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
        """Why plain Optuna let the trial fail, in its words."""
        text: str | None = self._attr(FAIL_REASON) if FAIL_REASON in self._attrs else None
        return text

    def raw(self, name: str) -> bytes | None:
        """A system attribute as JSON, undecoded if nobody has asked for it yet; None if there is none."""
        value = self._attrs.get(name)
        return value if value is None or isinstance(value, bytes) else msgspec.json.encode(value)

    def typed(self, name: str, kind: type[T]) -> T | None:
        """A system attribute of ours as its type in ``attributes``; None if there is none, or an empty one.

        ``doctor --rebuild`` writes an empty one for an attempt whose claim cannot be read.

        Raises:
            ValueError, TypeError: it does not have this type.
        """
        value = self._attrs.get(name)
        if isinstance(value, bytes):
            if value == EMPTY:
                return None
            try:
                return msgspec.json.decode(value, type=kind)
            except msgspec.DecodeError:
                value = loads(value)  # plain Optuna writes NaN and Infinity, which are not JSON
        return msgspec.convert(value, kind) if value else None

    def _attr(self, name: str) -> Any:
        value = self._attrs.get(name)
        if isinstance(value, bytes):
            value = self._attrs[name] = loads(value)
        return value

    def _mapping(self, name: str) -> dict[str, Any]:
        value = self._attr(name) or {}
        if not isinstance(value, dict):
            raise JournalCorrupt(f"the journal has a trial, {self.number}, whose '{name}' makes no sense")
        return value


class ScannedTrial(TrialAttributes):
    """A trial that changes as more records are applied; ``record`` gives the frozen view.

    Args:
        distributions: of the parameters, as JSON; the same object for all trials that have the same ones.
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
        # None instead of an empty dict: most trials begin without any, and there may be 100,000
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
        """Searched and fixed values by name."""
        if self._params is None:
            distributions = distributions_of(self._distributions)
            values = loads(self._raw_params)
            self._params = {name: external_value(distributions[name], value) for name, value in values.items()}
        return self._params

    @property
    def stored_params(self) -> tuple[dict[str, float], dict[str, str]]:
        """Parameters and distributions as the record that made the trial holds them; later records are not in it."""
        return loads(self._raw_params), dict(distributions_of(self._distributions))

    @property
    def raw_params(self) -> bytes:
        """As they are in the file: the numbers that Optuna stores."""
        return self._raw_params

    @property
    def raw_distributions(self) -> bytes | None:
        """The distributions that ``raw_params`` belong to; None if the parameters came, or were read, one by one."""
        return self._distributions if self._params is None else None

    @property
    def steps(self) -> dict[int, float]:
        """Reported values by step.

        Raises:
            RuntimeError: the reader of the journal left reports out.
        """
        if self._steps is LEFT_OUT:
            raise RuntimeError("reports were left out when the journal was read")
        return self._steps or {}

    @property
    def decoded_steps(self) -> dict[int, float]:
        """Reported values by step, as far as the reader decoded them: empty where it left reports out."""
        return {} if self._steps is LEFT_OUT else self._steps or {}

    @property
    def user_attrs(self) -> dict[str, Any]:
        """Metrics, and what other programs noted.

        Raises:
            RuntimeError: the reader of the journal left metrics out.
        """
        if self._user_attrs is LEFT_OUT:
            raise RuntimeError("metrics were left out when the journal was read")
        return self._user_attrs or {}

    def record(self) -> TrialRecord:
        """The trial as it is now. Without steps or metrics, where the reader left them out.

        Raises:
            JournalCorrupt: an attribute of the trial makes no sense.
        """
        try:
            return _record(
                self,
                steps=self.decoded_steps,
                user_attrs={} if self._user_attrs is LEFT_OUT else self.user_attrs,
            )
        except NONSENSE as error:
            what = f"the journal has a trial, {self.number}, with a record that makes no sense: {why(error)}"
            raise JournalCorrupt(what) from error


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
    )
