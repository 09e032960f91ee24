"""A trial as the records of a journal make it. What nobody has asked for yet stays the JSON that it is in the file."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import msgspec

from hpo_batch.errors import JournalCorrupt
from hpo_batch.journal.decode import NONSENSE, CreateTrial, distributions_of, external_value, loads, seconds, why
from hpo_batch.records import Attempt, TrialRecord, TrialState, Value

ATTEMPT = "hpo:attempt:"
FACTS = "hpo:trial"
SAMPLER = "hpo:sampler"
REPLICATES = "hpo:replicates"
"""a user attribute: the metrics of each seed of a complete trial that has several"""


class Identity(msgspec.Struct, gc=False):
    """The part of a trial's facts by which others find it."""

    key: str | None = None
    origin: str | None = None
    name: str | None = None


STATES = {state.value: state for state in TrialState}
NONE = b"{}"
FEW_ATTEMPTS = 64
MOST_INTEGER = 2**1023
MOST_S = 1e11
"""a time that dates are made of, in seconds since the epoch"""
MOST_ATTEMPTS = 100_000
"""a trial that is preempted every minute has them in ten weeks; who reads asks for each"""
_identity = msgspec.json.Decoder(Identity)


class ScannedTrial:
    """Changes as more records are applied; ``record`` gives the frozen view."""

    __slots__ = (
        "_attempt",
        "_attrs",
        "_distributions",
        "_ended",
        "_identity",
        "_params",
        "_raw_params",
        "_started",
        "_steps",
        "_user_attrs",
        "number",
        "state",
        "trial_id",
        "values",
    )

    def __init__(
        self, trial_id: int, number: int, line: CreateTrial, *, distributions: bytes, reports: bool, metrics: bool
    ) -> None:
        self.trial_id = trial_id
        self.number = number
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
        # copied: a part of a line would keep the whole line in memory
        self._attrs: dict[str, Any] = {name: bytes(value) for name, value in line.system_attrs.items()}
        # most trials begin with neither notes nor reports
        self._user_attrs: dict[str, Any] | None = None
        if metrics and (notes := bytes(line.user_attrs)) != NONE:
            self._user_attrs = loads(notes)
        self._steps: dict[int, float] | None = None
        if reports and (steps := bytes(line.intermediate_values)) != NONE:
            self._steps = {int(step): value for step, value in loads(steps).items()}
        self._attempt = 0
        self._identity: Identity | None = None
        for name in self._attrs:
            if name.startswith(ATTEMPT):
                self._attempt = max(self._attempt, _number_of(name))

    def end(self, time: str | None) -> None:
        self._ended = time

    def start(self, time: str | None) -> None:
        self._started = time or self._started

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
    def steps(self) -> dict[int, float]:
        """Reported values by step; none where reports were left out (``JournalState``)."""
        return {} if self._steps is None else self._steps

    @property
    def user_attrs(self) -> dict[str, Any]:
        """Metrics, and what others noted; none where reports were left out."""
        return {} if self._user_attrs is None else self._user_attrs

    @property
    def attempt(self) -> int:
        """Number of the newest attempt; 0 before the first."""
        return self._attempt

    @property
    def raw_params(self) -> bytes:
        """As they are in the file: the numbers that Optuna stores."""
        return self._raw_params

    @property
    def raw_distributions(self) -> bytes | None:
        """The distributions that ``raw_params`` belong to; None if the parameters came, or were read, one by one."""
        return self._distributions if self._params is None else None

    @property
    def note_of_others(self) -> str | None:
        """Why plain Optuna let the trial fail, in its words."""
        text: str | None = self._attr("fail_reason") if "fail_reason" in self._attrs else None
        return text

    @property
    def system_attrs(self) -> dict[str, Any]:
        return {name: self._attr(name) for name in self._attrs}

    @property
    def facts(self) -> dict[str, Any]:
        """What we wrote when the trial was made: key, seeds, origin, name, set, note, revision, derived."""
        return self._facts(FACTS)

    @property
    def noted_by_sampler(self) -> dict[str, Any]:
        """What the sampler noted when the trial ended; what it noted when it drew the trial is in ``facts``."""
        return self._facts(SAMPLER)

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
        return self.identity.key

    def raw(self, name: str) -> bytes | None:
        """A system attribute as JSON, undecoded if nobody has asked for it yet; None if there is none."""
        value = self._attrs.get(name)
        return value if value is None or isinstance(value, bytes) else msgspec.json.encode(value)

    @property
    def attempts(self) -> Iterable[int]:
        """Numbers of the attempts that something is noted of, in order. The newest may be a large number."""
        if self._attempt <= FEW_ATTEMPTS:
            return [n for n in range(1, self._attempt + 1) if f"{ATTEMPT}{n}" in self._attrs]
        return sorted(_number_of(name) for name in self._attrs if name.startswith(ATTEMPT))

    def attempt_facts(self, attempt: int) -> dict[str, Any]:
        return self._facts(f"{ATTEMPT}{attempt}")

    def ending(self, attempt: int) -> dict[str, Any]:
        return self._facts(f"hpo:ended:{attempt}")

    @property
    def failure(self) -> dict[str, Any]:
        return self._facts("hpo:failure")

    @property
    def reason(self) -> str | None:
        reason: str | None = self.failure.get("reason")
        return reason

    def record(self) -> TrialRecord:
        """Raises JournalCorrupt if what is noted with the trial makes no sense."""
        try:
            return self._record()
        except NONSENSE as error:
            what = f"the journal has a trial, {self.number}, with a record that makes no sense: {why(error)}"
            raise JournalCorrupt(what) from error

    def _record(self) -> TrialRecord:
        facts = self.facts
        attempts = tuple(self._attempt_record(n) for n in self.attempts if self.attempt_facts(n))
        failure = self.failure if self.state is TrialState.FAIL else {}
        return TrialRecord(
            number=self.number,
            state=self.state,
            values=self.values,
            params={**self.params, **facts.get("derived", {})},
            metrics={name: value for name, value in self.user_attrs.items() if is_number(value)},
            steps=dict(self.steps),
            seeds=tuple(facts.get("seeds", ())),
            origin=facts.get("origin", "optuna"),
            name=facts.get("name"),
            set=facts.get("set"),
            note=facts.get("note"),
            reason=failure.get("reason", "unknown" if self.state is TrialState.FAIL else None),
            message=failure.get("message") or self._attr("fail_reason"),
            attempts=attempts,
            revision=facts.get("revision", 0),
            started=attempts[0].started if attempts else self.started,
            ended=self.ended,
            replicates=tuple(self.user_attrs.get(REPLICATES, ())),
            replicate_of=facts.get("replicate_of"),
        )

    def _attempt_record(self, number: int) -> Attempt:
        facts, ending = self.attempt_facts(number), self.ending(number)
        held = facts.get("gpu_count")
        times = [facts["started"], *([ending["time"]] if ending.get("time") is not None else [])]
        texts = [facts["worker"], facts["job"], facts["host"], facts.get("submission", ""), ending.get("how", "")]
        if not all(is_number(time) and abs(time) < MOST_S for time in times):
            raise ValueError(f"attempt {number} at no time")
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"attempt {number}, a number for a text")
        return Attempt(
            number=number,
            worker=facts["worker"],
            job=facts["job"],
            host=facts["host"],
            gpus=tuple(facts.get("gpus", ())),
            gpu_count=len(facts.get("gpus", ())) if held is None else held,
            submission=facts.get("submission", ""),
            started=facts["started"],
            ended=ending.get("time"),
            ending=ending.get("how", ""),
        )

    def _attr(self, name: str) -> Any:
        value = self._attrs.get(name)
        if isinstance(value, bytes):
            value = self._attrs[name] = loads(value)
        return value

    def _facts(self, name: str) -> dict[str, Any]:
        """A system attribute of ours; empty if there is none."""
        found = self._attr(name) or {}
        if not isinstance(found, dict):
            raise JournalCorrupt(f"the journal has a trial, {self.number}, whose '{name}' makes no sense")
        return found

    def note_report(self, step: int, value: float) -> None:
        if self._steps is None:
            self._steps = {}
        self._steps[step] = value

    def note_metrics(self, attrs: dict[str, Any]) -> None:
        self._user_attrs = {**self._user_attrs, **attrs} if self._user_attrs else attrs

    def note(self, attrs: Mapping[str, msgspec.Raw]) -> None:
        """System attributes."""
        for name, value in attrs.items():
            self._attrs[name] = bytes(value)
            if name.startswith(ATTEMPT):
                self._attempt = max(self._attempt, _number_of(name))
            elif name == FACTS:
                self._identity = None


def _number_of(name: str) -> int:
    """Of ``hpo:attempt:N``. Raises ValueError."""
    number = int(name.removeprefix(ATTEMPT))
    if not 0 <= number <= MOST_ATTEMPTS:
        raise ValueError(f"attempt {number}")
    return number


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is finite, and no integer that no float holds."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and -MOST_INTEGER < value < MOST_INTEGER
