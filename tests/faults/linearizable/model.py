"""A study as one process would keep it, and which changes of it are allowed: written from what users are promised.

It shares no code with hpo_batch and none of its decisions. It knows the format of the journal (Optuna's records, and
the attributes ``hpo:trial``, ``hpo:attempt:N``, ``hpo:ended:N``, ``hpo:revision``; docs/study-on-disk.md) and judges
each record as it comes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

OURS = "hpo-batch-"
STATES = ("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING")
ENDED = ("COMPLETE", "PRUNED", "FAIL")
FINISHED = ("COMPLETE", "PRUNED")
LOST = "lost"

View: TypeAlias = tuple[str, int, str, float | None]
"""of a trial, as a reader sees it: state, newest attempt, its token, value"""


class Rule(Enum):
    """What is promised."""

    READABLE = "the journal is a sequence of whole records"
    ONCE = "a number, an attempt and a token are given once"
    HOLDER = "an attempt has one holder, who alone reports and ends it, or who takes it over; the next begins after it"
    UNCHANGED = "parameters, seeds and the number of a trial never change, nor how it ended"
    TARGET = "there are never more trials than asked for, and in the end exactly so many"
    KEPT = "what was acknowledged is in the journal"
    EXACT = "what is in the journal is exactly what was acknowledged"
    ORDER = "what was acknowledged before something else was begun comes before it"
    FRESH = "a reader sees a state that the study had, and all that was acknowledged before it began"
    SUPERSEDED = "who is told that the trial has gone on elsewhere has lost it to somebody else"
    IDLE = "who is told that there is nothing to do had nothing to do"
    ASKED = "nothing happens that nobody asked for"
    ANSWERED = "nothing fails where nothing was refused"
    ALIKE = "our reader, plain Optuna and this model read the same"


class Illegal(Exception):
    """A record that may not come after those before it."""

    def __init__(self, rule: Rule, message: str) -> None:
        super().__init__(message)
        self.rule = rule


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A change that one operation has made, at a line of the journal."""

    kind: str
    """claim, end, retry, target"""
    line: int
    """index of the record by which it counts"""
    writer: str
    number: int = -1
    attempt: int = 0
    token: str = ""
    """of an end: of the attempt that ended"""
    holder: str = ""
    """of an end: whose attempt it was"""
    how: str = ""
    state: str = ""
    value: float | None = None
    seeds: tuple[int, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    retry_of: int | None = None
    target: int = 0
    reports: Mapping[int, float] = field(default_factory=dict)
    """of an end: what the attempt had reported by then"""


@dataclass(kw_only=True)
class Trial:
    number: int
    state: str
    params: Mapping[str, Any]
    """external values by name"""
    seeds: tuple[int, ...]
    facts: Mapping[str, Any]
    attempt: int = 0
    tokens: dict[int, str] = field(default_factory=dict)
    workers: dict[int, str] = field(default_factory=dict)
    values: list[float] | None = None
    steps: dict[int, float] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)
    """of the newest attempt"""
    metrics: dict[str, Any] = field(default_factory=dict)
    ending: tuple[str, str] = ("", "")
    """who has begun to end the newest attempt, and how"""
    taking: str = ""
    """who has begun to take it"""

    @property
    def view(self) -> View:
        value = self.values[0] if self.values else None
        return self.state, self.attempt, self.tokens.get(self.attempt, ""), value


class Model:
    """The study after some records."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self.target = 0
        self.tokens: set[str] = set()
        self.counts: Counter[str] = Counter()
        """of trials, by state"""
        self._line = -1

    @property
    def finished(self) -> int:
        return self.counts["COMPLETE"] + self.counts["PRUNED"]

    @property
    def open(self) -> int:
        """Trials that are finished or will be."""
        return self.finished + self.counts["RUNNING"] + self.counts["WAITING"]

    def apply(self, record: Mapping[str, Any]) -> Effect | None:
        """The next record, and the change that it completes, if it completes one.

        Raises:
            Illegal: it may not come now; the study is as it was.
        """
        self._line += 1
        writer = str(record["worker_id"]).removeprefix(OURS)
        code = record["op_code"]
        if code in (0, 2, 3):
            revision = record.get("system_attr", {}).get("hpo:revision")
            if revision is None:
                return None
            self.target = revision["target"]
            return Effect(kind="target", line=self._line, writer=writer, target=self.target)
        if code == 4:
            return self._create(record, writer)
        if not 0 <= record["trial_id"] < len(self.trials):
            raise Illegal(Rule.READABLE, f"a record of trial {record['trial_id']}, which does not exist: {record}")
        trial = self.trials[record["trial_id"]]
        if trial.state in ENDED:
            raise Illegal(
                Rule.UNCHANGED, f"trial {trial.number} had ended ({trial.state}) when {writer} wrote {record}"
            )
        if code == 6:
            return self._state(trial, record, writer)
        if code == 7:
            self._needs_holder(trial, writer, "a report")
            trial.steps[record["step"]] = trial.reports[record["step"]] = record["intermediate_value"]
        elif code == 8:
            self._needs_running(trial, writer, "metrics")
            trial.metrics |= record["user_attr"]
        elif code == 9:
            ((name, value),) = record["system_attr"].items()
            self._attribute(trial, name, value, writer)
        else:
            raise Illegal(Rule.UNCHANGED, f"a parameter of trial {trial.number} was set after the trial was made")
        return None

    def _create(self, record: Mapping[str, Any], writer: str) -> Effect:
        attrs, state = record["system_attrs"], STATES[record["state"]]
        facts = attrs["hpo:trial"]
        trial = Trial(
            number=len(self.trials),
            state=state,
            params=external(record["params"], record["distributions"]),
            seeds=tuple(facts["seeds"]),
            facts=facts,
        )
        effect = Effect(
            kind="claim", line=self._line, writer=writer, number=trial.number, seeds=trial.seeds, params=trial.params
        )
        if self.open >= self.target:
            raise Illegal(Rule.TARGET, f"{writer} made trial {trial.number}: {self.open} of {self.target} were there")
        alike = [other.number for other in self.trials if other.params == trial.params]
        if "retry_of" in facts:
            old = self.trials[facts["retry_of"]]
            if old.state != "FAIL" or old.params != trial.params or old.seeds != trial.seeds or state != "WAITING":
                raise Illegal(Rule.UNCHANGED, f"trial {trial.number} is no retry of {old.number}, which is {old.state}")
            if any(self.trials[n].state != "FAIL" for n in alike):
                raise Illegal(Rule.ONCE, f"trial {trial.number}: its configuration is tried already in one of {alike}")
            effect = Effect(
                kind="retry", line=self._line, writer=writer, number=trial.number, retry_of=facts["retry_of"]
            )
        elif alike:
            raise Illegal(Rule.ONCE, f"trial {trial.number} has the parameters of {alike}")
        else:
            attempt = attrs["hpo:attempt:1"]
            self._begin(trial, 1, attempt, writer)
            effect = Effect(**{**vars(effect), "attempt": 1, "token": attempt["token"]})
        self.trials.append(trial)
        self.counts[state] += 1
        return effect

    def _begin(self, trial: Trial, number: int, facts: Mapping[str, Any], writer: str) -> None:
        if facts["token"] in self.tokens:
            raise Illegal(Rule.ONCE, f"the token {facts['token']} of trial {trial.number} was given before")
        if facts["worker"] != writer:
            raise Illegal(Rule.HOLDER, f"{writer} gave trial {trial.number} to {facts['worker']}")
        self.tokens.add(facts["token"])
        trial.attempt = number
        trial.tokens[number], trial.workers[number] = facts["token"], facts["worker"]
        trial.ending, trial.reports = ("", ""), {}

    def _attribute(self, trial: Trial, name: str, value: Any, writer: str) -> None:
        if name.startswith("hpo:attempt:"):
            number = int(name.rpartition(":")[2])
            if trial.state != "WAITING":
                raise Illegal(Rule.HOLDER, f"{writer} took trial {trial.number} when it was {trial.state}")
            if number != trial.attempt + 1:
                raise Illegal(Rule.ONCE, f"attempt {number} of trial {trial.number} came after {trial.attempt}")
            self._begin(trial, number, value, writer)
            trial.taking = writer
        elif name.startswith("hpo:ended:"):
            number = int(name.rpartition(":")[2])
            self._needs_running(trial, writer, "an end")
            if number != trial.attempt:
                raise Illegal(
                    Rule.HOLDER, f"{writer} ended attempt {number} of trial {trial.number}: {trial.attempt} runs"
                )
            trial.ending = writer, value["how"]
        elif name == "hpo:trial":
            raise Illegal(Rule.UNCHANGED, f"{writer} changed what trial {trial.number} is")

    def _state(self, trial: Trial, record: Mapping[str, Any], writer: str) -> Effect:
        new, values = STATES[record["state"]], record["values"]
        if new == "RUNNING":
            if trial.state != "WAITING" or trial.taking != writer:
                raise Illegal(Rule.HOLDER, f"{writer} began trial {trial.number}, {trial.state}, without taking it")
            effect = self._effect("claim", trial, writer)
        else:
            self._needs_running(trial, writer, f"the state {new}")
            if trial.ending[0] != writer:
                raise Illegal(Rule.HOLDER, f"{writer} made trial {trial.number} {new} without ending its attempt")
            value = values[0] if values else None
            effect = self._effect("end", trial, writer, how=trial.ending[1], state=new, value=value)
        self.counts[trial.state] -= 1
        self.counts[new] += 1
        trial.state, trial.taking = new, ""
        if new in ENDED:
            trial.values = values
        return effect

    def _effect(self, kind: str, trial: Trial, writer: str, **more: Any) -> Effect:
        return Effect(
            kind=kind, line=self._line, writer=writer, number=trial.number, attempt=trial.attempt,
            token=trial.tokens[trial.attempt], holder=trial.workers[trial.attempt], seeds=trial.seeds,
            params=trial.params, reports=dict(trial.reports), **more,
        )  # fmt: skip

    def _needs_running(self, trial: Trial, writer: str, what: str) -> None:
        if trial.state != "RUNNING":
            raise Illegal(Rule.HOLDER, f"{writer} wrote {what} of trial {trial.number}, which is {trial.state}")

    def _needs_holder(self, trial: Trial, writer: str, what: str) -> None:
        self._needs_running(trial, writer, what)
        holder = trial.workers[trial.attempt]
        if holder != writer:
            raise Illegal(Rule.HOLDER, f"{writer} wrote {what} of trial {trial.number}, which {holder} holds")


def external(stored: Mapping[str, float], distributions: Mapping[str, str]) -> dict[str, Any]:
    """Values as users know them: of a choice the journal has the index."""
    values: dict[str, Any] = {}
    for name, value in stored.items():
        distribution = json.loads(distributions[name])
        attributes = distribution["attributes"]
        if distribution["name"] == "CategoricalDistribution":
            values[name] = attributes["choices"][int(value)]
        else:
            values[name] = int(value) if distribution["name"] == "IntDistribution" else float(value)
    return values
