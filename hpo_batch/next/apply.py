"""Puts decisions into the file, one by one; one that makes the sweep wrong is taken back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpo_batch.errors import SweepInvalid
from hpo_batch.next.decision import Decision, in_order, kept
from hpo_batch.next.ranges import declared
from hpo_batch.next.write import Draft, checked
from hpo_batch.space.parameters import Choices
from hpo_batch.sweep.schema import Sweep


def apply(draft: Draft, sweep: Sweep, decisions: Sequence[Decision], path: Path) -> tuple[Decision, ...]:
    """Put the decisions into the file, one by one; one that makes the sweep wrong is taken back."""
    checked(draft, path)
    done: dict[str, Decision] = {}
    for decision in in_order(decisions):
        if decision.changes:
            trial = draft.copy()
            _put(trial, sweep, decision)
            try:
                checked(trial, path)
            except SweepInvalid as error:
                why = error.lines[0].removeprefix(f"{path}:").lstrip("0123456789: ")
                decision = kept(decision, f"not possible here ({why}); {decision.action}: {decision.reason}")
            else:
                draft.document = trial.document
        if not decision.changes:
            _comment(draft, sweep, decision)
        done[decision.parameter] = decision
    return tuple(done[decision.parameter] for decision in decisions)


def _put(draft: Draft, sweep: Sweep, decision: Decision) -> None:
    name, raw = decision.parameter, sweep.space_table[decision.parameter]
    new = raw if decision.new is decision.old else declared(decision.new, raw)
    draft.set(("space", name), new, comment=decision.comment)
    at_ends = draft.document.get("sampler", {}).get("extremes", [])
    is_wider = decision.action == "expand" and name in sweep.sampler.extremes
    if decision.extremes or is_wider:
        draft.set(("sampler", "extremes"), [*at_ends, name])
    if decision.action == "fix" or (isinstance(decision.new, Choices) and decision.new.count == 1):
        rest = [other for other in draft.document.get("sampler", {}).get("coverage", []) if other != name]
        if name in sweep.sampler.coverage:
            draft.set(("sampler", "coverage"), rest)


def _comment(draft: Draft, sweep: Sweep, decision: Decision) -> None:
    draft.set(("space", decision.parameter), sweep.space_table[decision.parameter], comment=decision.comment)
