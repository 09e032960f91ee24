"""Is a history linearizable: is there an order of all operations, one after the other, that explains every answer?

In general that is a search (Wing and Gong 1993; Lowe 2017; porcupine), exponential in what overlaps. Here it is not,
since the study leaves its own witness: every change is a record in one file that is only appended to, and names the
operation that made it (a claim by its token, the end of an attempt by trial, attempt and writer, a retry by the number
of the new trial, a raised target by the target). So each change has one place, the order of the changes is the order of
the records, and nothing is left to be searched for:

1. *The changes.* The records are replayed through a sequential model of a study (``model``), in which each must be
   allowed where it stands. Each is linked to the operation that made it. An acknowledged operation without its record
   is lost; a record without an operation comes from nowhere; if the two differ, what was acknowledged is not what is
   there. An operation without an answer may have its record or not.
2. *Their order against time.* An operation takes effect between its call and its answer. So if one was answered before
   another was called, its record must come first. It is enough to carry the latest call along the file: whatever was
   answered before that call and stands behind it is out of order.
3. *What was only seen* (reads, "nothing to do", "superseded"): each needs a place between two records at which the
   study was as it was told. From below the place is bounded by the changes that were answered before the call, and by
   the places of what was seen before; from above by the changes that were called after the answer. The places are given
   in the order of the calls, to each the first that is possible. If this finds none there is none: an earlier place
   never takes one away from what comes later.

If 1 to 3 hold, then the records, with what was seen put in at its places, are an order that explains all answers: the
history is linearizable. The other way round: if the history is linearizable by an order of the changes other than that
of the file, then a file that is replayed by every process shows a different study than the one that was acknowledged:
that is refused too, as it should be. Linear in the records but for sorting.
"""

from __future__ import annotations

import bisect
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.linearizable.history import Operation
from tests.faults.linearizable.model import LOST, Effect, Illegal, Model, Rule, View

MOST_OF_A_KIND = 5
"""violations of one rule that are told: the first ones explain the rest"""
NEVER = 1 << 62


@dataclass(frozen=True, kw_only=True)
class Violation:
    rule: Rule
    message: str

    def __str__(self) -> str:
        return f"{self.rule.name} ({self.rule.value}): {self.message}"


@dataclass(kw_only=True)
class Verdict:
    violations: list[Violation] = field(default_factory=list)
    model: Model = field(default_factory=Model)
    """at the end of the journal"""
    effects: list[Effect] = field(default_factory=list)
    operations: Counter[str] = field(default_factory=Counter)
    """by kind and answer"""
    taken_over: list[Effect] = field(default_factory=list)
    """ends of attempts by others than their holders"""

    def blame(self, rule: Rule, message: str) -> None:
        if sum(1 for violation in self.violations if violation.rule is rule) < MOST_OF_A_KIND:
            self.violations.append(Violation(rule=rule, message=message))

    @property
    def rules(self) -> set[Rule]:
        return {violation.rule for violation in self.violations}


def check(operations: Sequence[Operation], journal: bytes) -> Verdict:
    """Judge a whole history and the journal that it left."""
    verdict = Verdict()
    for operation in operations:
        verdict.operations[_kind(operation)] += 1
        if operation.error:
            verdict.blame(Rule.ANSWERED, str(operation))
    _answers_alone(operations, verdict)
    places = _replay(journal, verdict)
    if places is None:
        return verdict
    links = _link(operations, verdict)
    _order(links, verdict)
    _seen(operations, links, places, verdict)
    return verdict


def _kind(operation: Operation) -> str:
    answer = operation.answer
    if answer is None:
        return f"{operation.kind}: {'error' if operation.error else 'no answer'}"
    return f"{operation.kind}: {answer.get('idle') or answer.get('verdict') or answer.get('outcome') or 'done'}"


def _answers_alone(operations: Iterable[Operation], verdict: Verdict) -> None:
    """What needs no journal: nothing was given to two."""
    given: dict[object, Operation] = {}
    for operation in operations:
        if operation.kind != "claim" or operation.answer is None or "idle" in operation.answer:
            continue
        answer = operation.answer
        for thing in (answer["token"], (answer["number"], answer["attempt"])):
            if thing in given:
                verdict.blame(Rule.ONCE, f"{thing} was given twice: {given[thing]} and {operation}")
            given[thing] = operation


class Places:
    """What the study was between any two records: place ``p`` is before the record with index ``p``."""

    def __init__(self) -> None:
        self.finished: list[int] = []
        self.open: list[int] = []
        self.waiting: list[int] = []
        self.target: list[int] = []
        self._prints: dict[int, list[int]] = defaultdict(list)
        self._print = 0
        self._views: dict[int, View] = {}

    @property
    def last(self) -> int:
        return len(self.finished) - 1

    def add(self, model: Model, changed: Iterable[int]) -> None:
        for number in changed:
            if number in self._views:
                self._print ^= hash((number, self._views[number]))
            self._views[number] = model.trials[number].view
            self._print ^= hash((number, self._views[number]))
        self._prints[self._print ^ hash(("target", model.target))].append(len(self.finished))
        self.finished.append(model.finished)
        self.open.append(model.open)
        self.waiting.append(model.counts["WAITING"])
        self.target.append(model.target)

    def of(self, views: Sequence[View], target: int) -> Sequence[int]:
        """The places at which the study looked like that."""
        combined = hash(("target", target))
        for number, view in enumerate(views):
            combined ^= hash((number, view))
        return self._prints.get(combined, ())


def _replay(journal: bytes, verdict: Verdict) -> Places | None:
    places, model = Places(), verdict.model
    places.add(model, ())
    *lines, rest = journal.split(b"\n")
    if rest:
        verdict.blame(Rule.READABLE, f"the journal ends within a record: {rest[:200]!r}")
    for index, line in enumerate(lines):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise TypeError("no record")
        except (ValueError, TypeError) as error:
            verdict.blame(Rule.READABLE, f"line {index} is no record ({error}): {line[:200]!r}")
            return None
        try:
            effect = model.apply(record)
        except Illegal as illegal:
            verdict.blame(illegal.rule, f"line {index}: {illegal}")
            effect = None
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            verdict.blame(Rule.READABLE, f"line {index} is no record of ours ({error!r}): {line[:200]!r}")
            return None
        if effect is not None:
            verdict.effects.append(effect)
        number = record.get("trial_id", len(model.trials) - 1 if record["op_code"] == 4 else -1)
        places.add(model, [number] if 0 <= number < len(model.trials) else [])
    return places


Link = tuple[Effect, Operation]


def _link(operations: Sequence[Operation], verdict: Verdict) -> list[Link]:
    """Each change with the operation that made it, in the order of the journal."""
    claims, ends = _by_token(operations), _by_attempt(operations)
    retries = {new: op for op in operations if op.kind == "retry" for _, new in (op.answer or {}).get("made", ())}
    raises = {op.asked["target"]: op for op in operations if op.kind == "raise"}
    unanswered = _unanswered(operations)
    links: list[Link] = []
    linked: set[int] = set()

    def link(effect: Effect, operation: Operation | None, what: str) -> None:
        if operation is None:
            verdict.blame(Rule.ASKED, f"{what}, which nobody asked for: {effect}")
            return
        links.append((effect, operation))
        linked.add(id(operation))

    for effect in verdict.effects:
        if effect.kind == "claim":
            operation = claims.get(effect.token) or next(unanswered["claim", effect.writer], None)
            link(effect, operation, f"{effect.writer} was given trial {effect.number}")
            if operation is not None and operation.answer is not None:
                _exact_claim(effect, operation, verdict)
        elif effect.kind == "end":
            operation = ends.get((effect.number, effect.attempt))
            if effect.writer != effect.holder:
                verdict.taken_over.append(effect)
            if effect.writer != effect.holder and effect.how == LOST:
                continue
            link(effect, operation, f"attempt {effect.attempt} of trial {effect.number} ended ({effect.how})")
            if operation is not None:
                _exact_end(effect, operation, verdict)
        elif effect.kind == "retry":
            link(effect, retries.get(effect.number) or next(unanswered["retry", ""], None), "a retry was made")
        elif effect.target in raises:
            link(effect, raises[effect.target], "the target was set")
        # else: when the study was made
    by_kind = Counter(effect.kind for effect in verdict.effects)
    for operation in operations:
        if not operation.is_acknowledged or id(operation) in linked:
            continue
        answer = operation.answer or {}
        changes = {
            "claim": "idle" not in answer,
            "tell": answer.get("outcome") != "superseded",
            "give_back": answer.get("outcome") != "superseded",
            "retry": bool(answer.get("made")),
            "raise": True,
        }
        if changes.get(operation.kind, False):
            verdict.blame(Rule.KEPT, f"not among the {by_kind.total()} changes in the journal: {operation}")
    return links


def _by_token(operations: Iterable[Operation]) -> dict[str, Operation]:
    return {op.answer["token"]: op for op in operations if op.kind == "claim" and op.answer and "token" in op.answer}


def _by_attempt(operations: Iterable[Operation]) -> dict[tuple[int, int], Operation]:
    """Who says how an attempt ended: its holder does so once."""
    return {(op.asked["number"], op.asked["attempt"]): op for op in operations if op.kind in ("tell", "give_back")}


def _unanswered(operations: Iterable[Operation]) -> Mapping[tuple[str, str], Any]:
    """Operations that may have happened, by kind and worker."""
    waiting: dict[tuple[str, str], list[Operation]] = defaultdict(list)
    for op in operations:
        if not op.is_acknowledged and op.kind in ("claim", "retry"):
            waiting[op.kind, op.worker if op.kind == "claim" else ""].append(op)
    return defaultdict(lambda: iter(()), {key: iter(ops) for key, ops in waiting.items()})


def _exact_claim(effect: Effect, operation: Operation, verdict: Verdict) -> None:
    answer = operation.answer or {}
    told = (answer["number"], answer["attempt"], tuple(answer["seeds"]), answer["params"], operation.worker)
    if told != (effect.number, effect.attempt, effect.seeds, effect.params, effect.writer):
        verdict.blame(Rule.EXACT, f"the journal has {effect}, acknowledged was {operation}")


def _exact_end(effect: Effect, operation: Operation, verdict: Verdict) -> None:
    asked = operation.asked
    if operation.worker != effect.holder or asked["token"] != effect.token:
        verdict.blame(Rule.HOLDER, f"{operation} ended an attempt of {effect.holder}: {effect}")
    if effect.how != asked["how"] or (effect.state != "FAIL" and effect.value != asked.get("value")):
        if effect.how != LOST or operation.is_acknowledged:
            verdict.blame(Rule.EXACT, f"the journal has {effect}, asked for was {operation}")
        return
    if not operation.is_acknowledged or operation.answer == {"outcome": "superseded"} or effect.writer != effect.holder:
        return
    wanted = {int(step): value for step, value in asked["reports"].items()}
    if effect.reports != wanted:
        verdict.blame(Rule.EXACT, f"reported was {wanted}, the journal has {effect.reports}: {operation}")


def _order(links: Iterable[Link], verdict: Verdict) -> None:
    latest: Link | None = None
    for effect, operation in links:
        answered = operation.answered if operation.is_acknowledged and operation.answered else NEVER
        if latest is not None and answered < latest[1].invoked:
            verdict.blame(
                Rule.ORDER, f"line {effect.line} comes after line {latest[0].line}: {operation} before {latest[1]}"
            )
        if latest is None or operation.invoked > latest[1].invoked:
            latest = effect, operation


class Bounds:
    """Between which places of the journal an operation happened, by what was answered before and called after it."""

    def __init__(self, links: Iterable[Link]) -> None:
        answered = sorted((op.answered, effect.line + 1) for effect, op in links if op.is_acknowledged and op.answered)
        called = sorted((op.invoked, effect.line) for effect, op in links)
        self._answered, self._called = [t for t, _ in answered], [t for t, _ in called]
        self._least = _running(max, [0, *(place for _, place in answered)])
        self._most = _running(min, [NEVER, *(place for _, place in reversed(called))])[::-1]

    def of(self, operation: Operation) -> tuple[int, int]:
        assert operation.answered is not None
        least = self._least[bisect.bisect_left(self._answered, operation.invoked)]
        most = self._most[bisect.bisect_right(self._called, operation.answered)]
        return least, most


def _running(better: Callable[[int, int], int], values: Sequence[int]) -> list[int]:
    found = [values[0]]
    for value in values[1:]:
        found.append(better(found[-1], value))
    return found


def _seen(operations: Sequence[Operation], links: Sequence[Link], places: Places, verdict: Verdict) -> None:
    bounds = Bounds(links)
    ends = {(effect.number, effect.attempt): effect for effect in verdict.effects if effect.kind == "end"}
    earlier: list[tuple[int, int]] = []
    """answers to what was seen, with the highest place so far: in the order of the answers"""
    for operation in sorted(operations, key=lambda op: op.invoked):
        if operation.answer is None:
            continue
        rule, possible = _possible(operation, places, ends, verdict)
        if possible is None:
            continue
        least, most = bounds.of(operation)
        before = bisect.bisect_left(earlier, (operation.invoked, -1))
        if before:
            least = max(least, earlier[before - 1][1])
        place = possible(least, min(most, places.last))
        if place is None:
            verdict.blame(rule, f"at no place from {least} to {min(most, places.last)} was it so: {operation}")
            continue
        assert operation.answered is not None
        at = bisect.bisect_left(earlier, (operation.answered, -1))
        highest = max(place, earlier[at - 1][1] if at else 0)
        earlier.insert(at, (operation.answered, highest))
        for i in range(at + 1, len(earlier)):
            if earlier[i][1] >= highest:
                break
            earlier[i] = earlier[i][0], highest


Possible = Callable[[int, int], int | None]
"""the first place between two, both included, at which something was so"""


def _possible(
    operation: Operation, places: Places, ends: Mapping[tuple[int, int], Effect], verdict: Verdict
) -> tuple[Rule, Possible | None]:
    answer, asked = operation.answer or {}, operation.asked
    if operation.kind == "read":
        views = [(str(s), int(a), str(t), v) for s, a, t, v in answer["view"]]
        found = places.of(views, answer["target"])

        def look(least: int, most: int) -> int | None:
            at = bisect.bisect_left(found, least)
            return found[at] if at < len(found) and found[at] <= most else None

        return Rule.FRESH, look
    if "idle" in answer:

        def is_idle(place: int) -> bool:
            remain = places.finished[place] < places.target[place]
            if answer["idle"] == "target met":
                return not remain
            none_free = places.open[place] >= places.target[place] and not places.waiting[place]
            return answer["idle"] == "the rest is running" and remain and none_free

        return Rule.IDLE, lambda least, most: next((p for p in range(least, most + 1) if is_idle(p)), None)
    if answer.get("outcome") == "superseded" or answer.get("verdict") == "superseded":
        end = ends.get((asked["number"], asked["attempt"]))
        if end is None or end.writer == operation.worker:
            verdict.blame(Rule.SUPERSEDED, f"its attempt was ended by {end}: {operation}")
            return Rule.SUPERSEDED, None
        return Rule.SUPERSEDED, lambda least, most: p if (p := max(least, end.line + 1)) <= most else None
    return Rule.FRESH, None
