"""What to do with each parameter in the next sweep, by rules whose hit rates were measured.

Widening is cheap and can be taken back, so that little evidence is enough: a model that puts the optimum at the end of
a range more likely than not. Leaving values out can lose the best configuration for good, so that it needs many
trials, an effect that the adjusted test carries, and a bound: even an optimistic reading of what is left out stays
below what the best configuration is expected to give.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpo_batch.next.decision import ACTIONS, LEAVES_OUT, Decision, kept
from hpo_batch.next.evidence import Evidence
from hpo_batch.next.rules.enough import LEAST_KEPT
from hpo_batch.next.rules.expand import expand
from hpo_batch.next.rules.keep import keep, why_kept
from hpo_batch.next.rules.leave_out import leave_out
from hpo_batch.next.rules.quota import quota
from hpo_batch.next.rules.repair import repair
from hpo_batch.space.parameters import Searched

RULES = (repair, expand, leave_out, quota)
"""in order: the first that has a decision decides"""


def decide(evidence: Evidence) -> tuple[Decision, ...]:
    """One decision for each searched parameter, in the order of the file; at most half of them change."""
    proposed = [_of_parameter(evidence, parameter) for parameter in evidence.sweep.space.searched]
    return tuple(_limited(evidence, proposed))


def most_changes(searched: int) -> int:
    """How many of so many parameters may change in one sweep: half of them."""
    return max(1, searched // 2)


def _limited(evidence: Evidence, proposed: Sequence[Decision]) -> Iterator[Decision]:
    """Keep the most important changes; the others wait for the next sweep."""
    wanted = sorted((d for d in proposed if d.changes), key=_urgency)
    most = most_changes(len(proposed))
    done: set[str] = set()
    room = 1.0
    whys: dict[str, str] = {}
    for decision in wanted:
        if len(done) == most:
            whys[decision.parameter] = f"at most {most} of {len(proposed)} parameters change in one sweep"
        elif decision.action in LEAVES_OUT and room * decision.kept < LEAST_KEPT:
            whys[decision.parameter] = f"less than {LEAST_KEPT:.0%} of the space would be left"
        else:
            done.add(decision.parameter)
            room *= min(1.0, decision.kept) if decision.action in LEAVES_OUT else 1.0
    for decision in proposed:
        if decision.changes and decision.parameter not in done:
            yield kept(decision, f"waits ({whys[decision.parameter]}); {decision.action}: {decision.reason}")
        else:
            yield decision


def _urgency(decision: Decision) -> tuple[int, float]:
    return ACTIONS.index(decision.action), -(decision.probability or 0.0)


def _of_parameter(evidence: Evidence, parameter: Searched) -> Decision:
    info = evidence.data.by_name.get(parameter.name)
    if parameter.count == 1:
        return keep(evidence, parameter, "not varied: it has a single value", needs="other values of it in [space]")
    if info is None or not info.levels:
        return keep(evidence, parameter, "no complete trial has a value of it", needs="trials with it")
    for rule in RULES:
        decision = rule(evidence, parameter, info)
        if decision is not None:
            return decision
    return keep(evidence, parameter, why_kept(evidence, parameter, info))
