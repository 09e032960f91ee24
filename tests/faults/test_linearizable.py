"""The study under a hostile network is linearizable; and the judge of that says no where it should.

Long runs: ``python -m tests.faults.linearizable --runs 100 --processes 16 --seed 7``, or HPO_BATCH_TEST_STORMS=20.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.linearizable.check import Verdict, check
from tests.faults.linearizable.history import Notes, Operation, read_history
from tests.faults.linearizable.model import Model, Rule
from tests.faults.linearizable.storm import IMPORTS, Settings, judge_end, storm
from tests.faults.linearizable.workers import AtTheEnd
from tests.simulators.fixtures import Load
from tests.simulators.preload import HostClock, Latency, Refusals, WriteBack

STORMS = int(os.environ.get("HPO_BATCH_TEST_STORMS", "3"))
DISTRIBUTIONS = {
    "x": '{"name": "FloatDistribution", "attributes": {"low": 0.0, "high": 1.0, "log": false, "step": null}}',
    "n": '{"name": "CategoricalDistribution", "attributes": {"choices": [1, 2, 4]}}',
}


class Fake:
    """A study that one process keeps, operated by several in turn: writes a history and a journal that are right.

    Time passes by one with each event, so that no two operations overlap.
    """

    def __init__(self, target: int = 4) -> None:
        self.operations: list[Operation] = []
        self.records: list[dict[str, Any]] = []
        self.model = Model()
        self.time = 0
        self.target(target, ask=False)

    # --- what workers do

    def claim(self, worker: str) -> dict[str, Any]:
        waiting = [trial for trial in self.model.trials if trial.state == "WAITING"]
        begun = self.tick()
        token = f"token{len(self.records)}"
        facts = {"worker": worker, "token": token}
        if waiting:
            trial = waiting[0]
            number, attempt = trial.number, trial.attempt + 1
            self.write(worker, 9, trial_id=number, system_attr={f"hpo:attempt:{attempt}": facts})
            self.write(worker, 6, trial_id=number, state=0, values=None)
        elif self.model.open < self.model.target:
            number, attempt = len(self.model.trials), 1
            self.write(
                worker, 4, state=0, params={"x": number / 8, "n": 2}, distributions=DISTRIBUTIONS,
                system_attrs={"hpo:trial": {"seeds": [number]}, "hpo:attempt:1": facts},
            )  # fmt: skip
        else:
            why = "the rest is running" if self.model.finished < self.model.target else "target met"
            self.note(worker, "claim", {}, begun, {"idle": why})
            return {}
        trial = self.model.trials[number]
        claim = {"number": number, "attempt": attempt, "token": token}
        self.note(worker, "claim", {}, begun, {**claim, "seeds": list(trial.seeds), "params": dict(trial.params)})
        return claim

    def report(self, worker: str, claim: dict[str, Any], step: int, value: float) -> None:
        begun = self.tick()
        self.write(worker, 7, trial_id=claim["number"], step=step, intermediate_value=value)
        self.note(worker, "report", {**self.of(claim), "step": step, "value": value}, begun, {"verdict": "continue"})
        claim.setdefault("reports", {})[str(step)] = value

    def tell(self, worker: str, claim: dict[str, Any], how: str = "complete", value: float = 0.5) -> None:
        begun = self.tick()
        trial = self.model.trials[claim["number"]]
        current = trial.state == "RUNNING" and trial.tokens[trial.attempt] == claim["token"]
        if current:
            self.end(worker, claim, how, value)
        asked = {**self.of(claim), "how": how, "reports": claim.get("reports", {})}
        asked |= {"value": value} if how == "complete" else {}
        kind = "give_back" if how == "preempted" else "tell"
        self.note(worker, kind, asked, begun, {"outcome": "done" if current else "superseded"})

    def end(self, worker: str, claim: dict[str, Any], how: str, value: float = 0.5) -> None:
        """The records alone: also what somebody writes who takes over (``how`` is "lost")."""
        number, state = claim["number"], {"complete": 1, "exception": 3}.get(how, 4)
        self.write(worker, 9, trial_id=number, system_attr={f"hpo:ended:{claim['attempt']}": {"how": how}})
        self.write(worker, 6, trial_id=number, state=state, values=[value] if state == 1 else None)

    def take_over(self, worker: str, claim: dict[str, Any]) -> dict[str, Any]:
        self.end(worker, claim, "lost")
        return self.claim(worker)

    def retry(self, number: int) -> None:
        begun = self.tick()
        old = self.records_of(number)
        facts = {**old["system_attrs"]["hpo:trial"], "retry_of": number}
        fields = {"params": old["params"], "distributions": old["distributions"], "system_attrs": {"hpo:trial": facts}}
        self.write("retry", 4, state=4, **fields)
        self.note("r", "retry", {"numbers": [number]}, begun, {"made": [[number, len(self.model.trials) - 1]]})

    def target(self, target: int, *, ask: bool = True) -> None:
        begun = self.tick()
        self.write("submit", 3, system_attr={"hpo:revision": {"target": target}})
        if ask:
            self.note("s", "raise", {"target": target}, begun, {})

    def read(self, worker: str = "reader") -> None:
        begun = self.tick()
        view = json.loads(json.dumps([trial.view for trial in self.model.trials]))
        self.note(worker, "read", {}, begun, {"view": view, "target": self.model.target})

    # --- how it is kept

    def tick(self) -> int:
        self.time += 1
        return self.time

    def note(self, worker: str, kind: str, asked: dict[str, Any], begun: int, answer: dict[str, Any]) -> None:
        operation = Operation(worker=worker, kind=kind, asked=asked, invoked=begun, answered=self.tick(), answer=answer)
        self.operations.append(operation)

    def write(self, worker: str, code: int, **fields: Any) -> None:
        record = {"op_code": code, "worker_id": f"hpo-batch-{worker}", **fields}
        self.records.append(record)
        self.model.apply(record)

    def records_of(self, number: int) -> dict[str, Any]:
        return [record for record in self.records if record["op_code"] == 4][number]

    @staticmethod
    def of(claim: dict[str, Any]) -> dict[str, Any]:
        return {name: claim[name] for name in ("number", "attempt", "token")}

    # --- what is done to it

    def change(self, which: Callable[[Operation], bool], **changes: Any) -> None:
        """Of the first such operation."""
        at = next(i for i, operation in enumerate(self.operations) if which(operation))
        self.operations[at] = replace(self.operations[at], **changes)

    def drop(self, which: Callable[[dict[str, Any]], bool]) -> None:
        del self.records[next(i for i, record in enumerate(self.records) if which(record))]

    @property
    def journal(self) -> bytes:
        return b"".join(json.dumps(record).encode() + b"\n" for record in self.records)

    def judged(self) -> Verdict:
        return check(sorted(self.operations, key=lambda operation: operation.invoked), self.journal)


def typical() -> Fake:
    """One of everything, and right."""
    fake = Fake()
    a, b = fake.claim("a"), fake.claim("b")
    fake.report("a", a, 0, 0.9)
    fake.report("a", a, 1, 0.8)
    fake.read()
    fake.tell("a", a, value=0.75)
    again = fake.take_over("a", b)
    fake.tell("b", b, value=0.25)  # superseded
    fake.read()
    fake.tell("a", again, "exception")
    c = fake.claim("c")
    fake.tell("c", c, "preempted")
    fake.retry(1)
    fake.read()
    for _ in range(2):
        fake.tell("c", fake.claim("c"), value=0.125)
    d = fake.claim("d")
    fake.claim("c")  # the rest is running
    fake.tell("d", d, value=0.5)
    fake.target(5)
    fake.tell("d", fake.claim("d"), value=0.0625)
    fake.claim("c")  # target met
    fake.read()
    return fake


def is_(kind: str, worker: str = "", **answer: Any) -> Callable[[Operation], bool]:
    def which(operation: Operation) -> bool:
        had = {**operation.asked, **(operation.answer or {})}
        is_it = operation.kind == kind and worker in ("", operation.worker)
        return is_it and all(had.get(name) == value for name, value in answer.items())

    return which


def record(code: int, **fields: Any) -> Callable[[dict[str, Any]], bool]:
    return lambda record: record["op_code"] == code and all(record.get(name) == v for name, v in fields.items())


def test_a_history_that_is_right_is_found_right() -> None:
    fake = typical()
    verdict = fake.judged()
    assert verdict.violations == []
    assert {effect.kind for effect in verdict.effects} == {"claim", "end", "retry", "target"}
    assert [effect.writer for effect in verdict.taken_over] == ["a"]
    assert verdict.operations["tell: superseded"] == 1


def random_history(seed: int) -> Fake:
    """Workers in turn, as it comes; then each call is moved back and each answer forth, as far as others allow it."""
    rng = random.Random(seed)
    fake = Fake(target=rng.randint(2, 9))
    held: list[tuple[str, dict[str, Any]]] = []
    for _ in range(rng.randint(5, 60)):
        worker = rng.choice("abcd")
        mine = [one for one in held if one[0] == worker]
        what = rng.choice(["claim", "tell", "tell", "fail", "report", "read", "lost", "raise"])
        if what == "claim" and (claim := fake.claim(worker)):
            held.append((worker, claim))
        elif what in ("tell", "fail") and mine:
            held.remove(mine[0])
            fake.tell(worker, mine[0][1], "complete" if what == "tell" else "preempted", value=rng.random())
        elif what == "report" and mine and fake.model.trials[mine[0][1]["number"]].attempt == mine[0][1]["attempt"]:
            fake.report(worker, mine[0][1], rng.randrange(4), rng.random())
        elif what == "lost" and held:
            holder, claim = rng.choice(held)
            trial = fake.model.trials[claim["number"]]
            if holder != worker and trial.attempt == claim["attempt"] and trial.state == "RUNNING":
                held.append((worker, fake.take_over(worker, claim)))
        elif what == "read":
            fake.read()
        elif what == "raise":
            fake.target(fake.model.target + 1)
    last: dict[str, int] = {}
    for i, operation in enumerate(fake.operations):
        earliest = last.get(operation.worker, 0)
        moved = rng.uniform(max(earliest, operation.invoked - 6), operation.invoked)
        until = rng.uniform(operation.answered or 0, (operation.answered or 0) + 0.9)
        fake.operations[i] = replace(operation, invoked=round(moved * 1000), answered=round(until * 1000))
        last[operation.worker] = (operation.answered or 0) + 1
    return fake


@pytest.mark.parametrize("seed", range(40))
def test_what_overlaps_is_right_in_any_order_that_explains_it(seed: int) -> None:
    assert random_history(seed).judged().violations == []


# --- each rule, broken


def given_twice(fake: Fake) -> None:
    fake.change(is_("claim", "b", number=1), answer={**answer_of(fake, is_("claim", "a", number=0))})


def answer_of(fake: Fake, which: Callable[[Operation], bool]) -> dict[str, Any]:
    return dict(next(operation.answer or {} for operation in fake.operations if which(operation)))


def number_given_twice(fake: Fake) -> None:
    """Two acknowledged claims of one attempt; the record of one was written over by the other's: today's fault."""
    lost = replace(
        next(op for op in fake.operations if is_("claim", "a", number=0)(op)), worker="z",
        answer={**answer_of(fake, is_("claim", "a", number=0)), "token": "other"},
    )  # fmt: skip
    fake.operations.append(lost)


def same_parameters(fake: Fake) -> None:
    fake.records_of(1)["params"]["x"] = fake.records_of(0)["params"]["x"]
    fake.change(
        is_("claim", "b", number=1),
        answer={**answer_of(fake, is_("claim", "b", number=1)), "params": {"x": 0.0, "n": 4}},
    )


def token_again(fake: Fake) -> None:
    first, other = (fake.records_of(n)["system_attrs"]["hpo:attempt:1"] for n in (0, 1))
    other["token"] = first["token"]


def attempt_skipped(fake: Fake) -> None:
    taken = next(r for r in fake.records if "hpo:attempt:2" in r.get("system_attr", {}))
    taken["system_attr"] = {"hpo:attempt:3": taken["system_attr"]["hpo:attempt:2"]}


def claim_of_a_running_trial(fake: Fake) -> None:
    for code in (9, 6):
        fake.drop(lambda r, code=code: r["op_code"] == code and r.get("trial_id") == 1)  # the end of the first attempt


def zombie_speaks(fake: Fake) -> None:
    """A worker whose trial was taken over, and its result counts."""
    at = next(i for i, r in enumerate(fake.records) if r["op_code"] == 6 and r.get("trial_id") == 1 and r["state"] == 0)
    ending = {
        "op_code": 9,
        "worker_id": "hpo-batch-b",
        "trial_id": 1,
        "system_attr": {"hpo:ended:1": {"how": "complete"}},
    }
    fake.records[at + 1 : at + 1] = [ending, {**ending, "op_code": 6, "state": 1, "values": [0.25]}]


def zombie_reports(fake: Fake) -> None:
    at = next(i for i, r in enumerate(fake.records) if r["op_code"] == 6 and r.get("trial_id") == 1 and r["state"] == 0)
    said = {"op_code": 7, "worker_id": "hpo-batch-b", "trial_id": 1, "step": 0, "intermediate_value": 1.0}
    fake.records.insert(at + 1, said)


def ended_for_another(fake: Fake) -> None:
    """An end that names another worker's attempt than the one who asked for it."""
    fake.change(is_("tell", "a", number=0), worker="b")


def ended_trial_changes(fake: Fake) -> None:
    fake.records.append({"op_code": 6, "worker_id": "hpo-batch-c", "trial_id": 0, "state": 1, "values": [0.1]})


def parameter_set_later(fake: Fake) -> None:
    at = next(i for i, r in enumerate(fake.records) if r["op_code"] == 7)
    fake.records.insert(at, {"op_code": 5, "worker_id": "hpo-batch-a", "trial_id": 0, "param_name": "x"})


def facts_change(fake: Fake) -> None:
    at = next(i for i, r in enumerate(fake.records) if r["op_code"] == 7)
    changed = {"op_code": 9, "worker_id": "hpo-batch-a", "trial_id": 0, "system_attr": {"hpo:trial": {"seeds": [9]}}}
    fake.records.insert(at, changed)


def one_too_many(fake: Fake) -> None:
    fake.records[0]["system_attr"]["hpo:revision"]["target"] = 1


def claim_lost(fake: Fake) -> None:
    """The last trial is not there."""
    del fake.records[next(i for i, r in enumerate(fake.records) if r is fake.records_of(5)) :]


def result_lost(fake: Fake) -> None:
    del fake.records[-2:]


def retry_lost(fake: Fake) -> None:
    fake.change(is_("retry"), answer={"made": [[1, 77]]})


def target_lost(fake: Fake) -> None:
    fake.operations.append(
        Operation(worker="s", kind="raise", asked={"target": 99}, invoked=900, answered=901, answer={})
    )


def other_value(fake: Fake) -> None:
    next(r for r in fake.records if r.get("values") == [0.75])["values"] = [0.7500001]


def other_parameters(fake: Fake) -> None:
    answer = answer_of(fake, is_("claim", "a", number=0))
    fake.change(is_("claim", "a", number=0), answer={**answer, "params": {**answer["params"], "n": 1}})


def other_seeds(fake: Fake) -> None:
    fake.change(is_("claim", "a", number=0), answer={**answer_of(fake, is_("claim", "a", number=0)), "seeds": [5]})


def report_lost(fake: Fake) -> None:
    fake.drop(record(7, step=1))


def other_way_to_end(fake: Fake) -> None:
    ended = next(r for r in fake.records if r.get("system_attr") == {"hpo:ended:2": {"how": "exception"}})
    ended["system_attr"]["hpo:ended:2"]["how"] = "nan"


def out_of_order(fake: Fake) -> None:
    """Two workers tell one after the other, and the journal has it the other way round."""
    fake.change(is_("tell", "a", number=0), invoked=900, answered=901)


def stale_read(fake: Fake) -> None:
    """It began after the first result was told and does not see it."""
    told = next(op for op in fake.operations if is_("tell", "a", number=0)(op))
    reads = [i for i, op in enumerate(fake.operations) if op.kind == "read"]
    fake.operations[reads[0]] = replace(
        fake.operations[reads[0]], invoked=(told.answered or 0) + 1, answered=(told.answered or 0) + 2
    )


def read_goes_back(fake: Fake) -> None:
    """Two reads one after the other, both during one long tell: the first sees it, the second does not."""
    told = next(i for i, op in enumerate(fake.operations) if is_("tell", "a", number=0)(op))
    reads = [i for i, op in enumerate(fake.operations) if op.kind == "read"]
    after = json.loads(json.dumps(answer_of(fake, is_("read"))))
    after["view"][0] = ["COMPLETE", 1, after["view"][0][2], 0.75]
    seen = fake.operations[reads[0]]
    fake.operations[told] = replace(fake.operations[told], invoked=seen.invoked - 1)
    fake.operations[reads[0]] = replace(seen, answered=seen.invoked, answer=after)
    fake.operations.append(replace(seen, invoked=(seen.answered or 0), answered=seen.answered))


def read_of_what_never_was(fake: Fake) -> None:
    answer = json.loads(json.dumps(answer_of(fake, is_("read"))))
    answer["view"][0][3] = 0.123
    fake.change(is_("read"), answer=answer)


def early_read(fake: Fake) -> None:
    """It sees what was asked for only after it had ended."""
    reads = [i for i, op in enumerate(fake.operations) if op.kind == "read"]
    fake.operations[reads[-1]] = replace(fake.operations[reads[-1]], invoked=2, answered=3)


def superseded_by_nobody(fake: Fake) -> None:
    """An attempt that was given up by its own worker, which is then told that somebody else took it."""
    fake.operations.append(
        replace(next(op for op in fake.operations if is_("give_back", "c")(op)), kind="report", asked={
            **next(op for op in fake.operations if is_("give_back", "c")(op)).asked, "step": 0, "value": 0.0},
            answer={"verdict": "superseded"}, invoked=800, answered=801)
    )  # fmt: skip


def superseded_too_early(fake: Fake) -> None:
    """Before anybody took it over."""
    claimed = next(op for op in fake.operations if is_("claim", "b", number=1)(op))
    fake.change(is_("tell", "b", outcome="superseded"), invoked=(claimed.answered or 0), answered=claimed.answered)


def superseded_is_still_running(fake: Fake) -> None:
    fake.change(is_("report", "a"), answer={"verdict": "superseded"})


def idle_too_early(fake: Fake) -> None:
    """The target is met, says the study, while a trial runs."""
    fake.change(is_("claim", "c", idle="the rest is running"), answer={"idle": "target met"})


def idle_with_room(fake: Fake) -> None:
    asked = Operation(worker="z", kind="claim", asked={}, invoked=1, answered=2, answer={"idle": "the rest is running"})
    fake.operations.append(asked)


def idle_for_no_reason(fake: Fake) -> None:
    fake.change(is_("claim", "c", idle="target met"), answer={"idle": "too many failures"})


def claim_of_nobody(fake: Fake) -> None:
    fake.operations = [op for op in fake.operations if not is_("claim", "d")(op)]


def end_of_nobody(fake: Fake) -> None:
    fake.operations = [op for op in fake.operations if not is_("tell", "a", number=0)(op)]


def retry_of_nobody(fake: Fake) -> None:
    fake.operations = [op for op in fake.operations if op.kind != "retry"]


def call_failed(fake: Fake) -> None:
    fake.operations.append(
        Operation(worker="a", kind="read", asked={}, invoked=900, answered=901, error="JournalCorrupt: x")
    )


BAD = {
    Rule.ONCE: (given_twice, number_given_twice, same_parameters, token_again, attempt_skipped),
    Rule.HOLDER: (claim_of_a_running_trial, zombie_speaks, zombie_reports, ended_for_another),
    Rule.UNCHANGED: (ended_trial_changes, parameter_set_later, facts_change),
    Rule.TARGET: (one_too_many,),
    Rule.KEPT: (claim_lost, result_lost, retry_lost, target_lost, number_given_twice),
    Rule.EXACT: (other_value, other_parameters, other_seeds, report_lost, other_way_to_end),
    Rule.ORDER: (out_of_order,),
    Rule.FRESH: (stale_read, read_goes_back, read_of_what_never_was, early_read),
    Rule.SUPERSEDED: (superseded_by_nobody, superseded_too_early, superseded_is_still_running),
    Rule.IDLE: (idle_too_early, idle_with_room, idle_for_no_reason),
    Rule.ASKED: (claim_of_nobody, end_of_nobody, retry_of_nobody),
    Rule.ANSWERED: (call_failed,),
}
"""by the rule that each breaks, beside others that follow"""


@pytest.mark.parametrize(("rule", "spoil"), [(rule, one) for rule, spoils in BAD.items() for one in spoils])
def test_what_breaks_a_rule_is_found(rule: Rule, spoil: Callable[[Fake], None]) -> None:
    fake = typical()
    spoil(fake)
    assert rule in fake.judged().rules, fake.judged().violations


@pytest.mark.parametrize(
    "damage",
    [lambda j: j[:-9], lambda j: j.replace(b'{"op_code": 6', b'{"op_code":: 6', 1), lambda j: j + b"\0\0\0\n",
     lambda j: j + b'{"op_code": 4, "worker_id": "x", "state": 0}\n', lambda j: j + b"17\n",
     lambda j: j + b'{"op_code": 6, "worker_id": "x", "trial_id": 99, "state": 1}\n'],
)  # fmt: skip
def test_a_damaged_journal_is_found(damage: Callable[[bytes], bytes]) -> None:
    fake = typical()
    verdict = check(fake.operations, damage(fake.journal))
    assert Rule.READABLE in verdict.rules


def at_the_end(model: Model) -> AtTheEnd:
    seen = [(t.view[0], t.view[3], dict(t.params), dict(t.steps)) for t in model.trials]
    views = [trial.view for trial in model.trials]
    return AtTheEnd(ours=views, ours_target=model.target, optunas=seen, ours_again=list(seen))


def ends_of(end: AtTheEnd, model: Model) -> set[Rule]:
    found: set[Rule] = set()
    judge_end(end, model, lambda rule, _: found.add(rule), is_over=True)
    return found


def test_readers_that_differ_are_found() -> None:
    model = typical().model
    end = at_the_end(model)
    assert ends_of(end, model) == set()
    state, _, params, steps = end.optunas[0]
    for wrong in (
        replace(end, ours=end.ours[:-1]),
        replace(end, ours_target=6),
        replace(end, optunas=[(state, 0.1, params, steps), *end.optunas[1:]]),
        replace(end, optunas=[(state, end.optunas[0][1], params, {**steps, 7: 0.5}), *end.optunas[1:]]),
        replace(end, ours_again=[(state, end.optunas[0][1], {**params, "x": 0.9}, steps), *end.ours_again[1:]]),
    ):
        assert ends_of(wrong, model) == {Rule.ALIKE}


def test_a_study_that_does_not_come_to_its_end_is_found() -> None:
    fake = Fake(target=2)
    fake.tell("a", fake.claim("a"))
    fake.claim("a")
    assert ends_of(at_the_end(fake.model), fake.model) == {Rule.TARGET}


def test_there_is_a_bad_history_for_every_rule() -> None:
    elsewhere = {Rule.READABLE, Rule.ALIKE}  # the two tests above
    assert set(BAD) | elsewhere == set(Rule)


# --- calls without an answer


def unanswered(fake: Fake, which: Callable[[Operation], bool]) -> None:
    fake.change(which, answered=None, answer=None)


@pytest.mark.parametrize("which", [is_("claim", "d"), is_("tell", "a", number=0), is_("retry"), is_("raise")])
def test_what_was_not_answered_may_have_happened(which: Callable[[Operation], bool]) -> None:
    fake = typical()
    unanswered(fake, which)
    assert fake.judged().violations == []


def test_what_was_not_answered_may_not_have_happened() -> None:
    fake = typical()
    for operation in (
        Operation(worker="c", kind="claim", asked={}, invoked=900),
        Operation(worker="r", kind="retry", asked={"numbers": [1]}, invoked=901),
        Operation(worker="s", kind="raise", asked={"target": 8}, invoked=902),
    ):
        fake.operations.append(operation)
    assert fake.judged().violations == []


def test_one_call_without_an_answer_explains_one_change_only() -> None:
    fake = typical()
    fake.operations = [op for op in fake.operations if not is_("claim", "d")(op)]
    fake.operations.append(Operation(worker="d", kind="claim", asked={}, invoked=1))
    assert Rule.ASKED in fake.judged().rules  # d had claimed twice


def test_a_result_that_was_not_answered_is_as_it_was_asked_for_or_not_there() -> None:
    fake = typical()
    unanswered(fake, is_("tell", "a", number=0))
    other_value(fake)
    assert Rule.EXACT in fake.judged().rules


# --- notes


def test_notes_of_a_killed_process_end_with_a_call_without_an_answer(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "w1.notes")
    assert notes.call("claim", {}, lambda: 7, lambda seven: {"is": seven}) == 7

    def refuse() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        notes.call("tell", {"number": 1}, refuse, lambda _: {})
    whole = (tmp_path / "w1.notes").read_bytes()
    lines = whole.splitlines(keepends=True)
    (tmp_path / "w2.notes").write_bytes(lines[0])  # killed within the call
    (tmp_path / "w3.notes").write_bytes(whole[:-20])  # killed within a note
    found = {name: [op for op in read_history(tmp_path) if op.worker == name] for name in ("w1", "w2", "w3")}
    done, failed = found["w1"]
    assert (done.kind, done.answer, done.error) == ("claim", {"is": 7}, "")
    assert (failed.kind, failed.asked, failed.answer, failed.error) == ("tell", {"number": 1}, None, "OSError: no")
    assert done.invoked <= (done.answered or 0) <= failed.invoked <= (failed.answered or 0)
    assert [(op.kind, op.answered) for op in found["w2"]] == [("claim", None)]
    assert [(op.kind, op.answered is None) for op in found["w3"]] == [("claim", False), ("tell", True)]


# --- the study itself


@pytest.fixture
def run_storm(
    load: Load, network_root: Path, network_folder: Path, tmp_path: Path, write_back: WriteBack, refusals: Refusals
) -> Iterator[Callable[..., None]]:
    def run(settings: Settings, *, clients: WriteBack | None = None) -> None:
        latency = Latency(root=network_folder, round_trip_s=0.0005, out=tmp_path.parent / "operations")
        preloaded = load(HostClock(), refusals, clients or write_back, latency, imports=IMPORTS)
        done = storm(settings, network_root / str(settings.seed), tmp_path / "notes" / str(settings.seed), preloaded)
        print(done)
        assert done.is_fine, f"{done}\nhistories and journal: {done.folder}"

    return run


@pytest.mark.parametrize("seed", range(STORMS))
def test_a_study_among_write_back_clients_is_linearizable(run_storm: Callable[..., None], seed: int) -> None:
    """Late writes, a server half a millisecond away, clocks hours apart, processes killed and stopped anywhere."""
    run_storm(Settings(seed=seed, processes=3, trials_each=8))


def test_so_it_is_where_the_network_has_no_flock(run_storm: Callable[..., None], network_folder: Path) -> None:
    run_storm(
        Settings(seed=7, processes=3, trials_each=8, flock=False), clients=WriteBack(root=network_folder, flock=False)
    )


def test_so_it_is_with_more_processes_of_which_none_is_killed(run_storm: Callable[..., None]) -> None:
    run_storm(Settings(seed=11, processes=6, trials_each=5, kills=False))
