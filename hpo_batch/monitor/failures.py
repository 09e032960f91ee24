"""Group failures by cause and find where they cluster: on a node, at a value, in part of a parameter's range.

A region is shown only if chance does not explain it: one-sided Fisher's exact test of (in the region, elsewhere) by
(failed for this cause, did not), https://docs.scipy.org/doc/scipy/reference/generated/scipy.stats.fisher_exact.html, at
a level of 1 % for the whole screen after a Bonferroni correction over all regions examined. It also needs three
failures and twice the rate of elsewhere. Cuts depend on the values tried, not on the failures, so the test is exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct
from msgspec.structs import asdict

from hpo_batch.journal.attempt_intervals import Span
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Reason, Value
from hpo_batch.store.nodes import chance_of_share, host_of

# for all regions together: `status` is looked at many times, and a false alarm costs trust
LEVEL: Final = 0.01
# minimum number of failures in a region
LEAST: Final = 3
# minimum ratio of the failure rates inside and outside a region
TIMES: Final = 2.0
# most recently ended trials to examine: older ones ran before the last edit, and the screen must stay quick
LOOK_BACK: Final = 2000
# up to so many distinct values, each value is a region and each gap a cut
FEW: Final = 8
# regions shown per cause: a node and a parameter, or two parameters; more would overlap
SHOWN: Final = 2
NODE: Final = "node"
SUBSTITUTES: Final = frozenset(reason.value for reason in Reason)
Column: TypeAlias = Sequence[Value | None]


class Region(Struct, frozen=True, kw_only=True):
    """Where failures of one cause cluster."""

    parameter: str
    """a parameter's name, or ``node``"""
    relation: str
    """``==``, ``>=`` or ``<``"""
    value: Value
    failed: int
    """trials in it that failed for the cause"""
    ended: int
    """trials in it that ended"""
    failed_elsewhere: int
    ended_elsewhere: int
    p: float
    """probability of that many failures or more by chance, times the number of regions examined"""

    def __str__(self) -> str:
        value = f"{self.value:.6g}" if isinstance(self.value, float) else str(self.value)
        where = f"on {value}" if self.parameter == NODE else f"where {self.parameter} {self.relation} {value}"
        all_failed = self.failed + self.failed_elsewhere
        return (
            f"{self.failed} of {all_failed} {where} ({self.failed} of {self.ended} trials failed so there, "
            f"{self.failed_elsewhere} of {self.ended_elsewhere} elsewhere)"
        )


class FailureGroup(Struct, frozen=True, kw_only=True):
    """Failures of one cause."""

    reason: str
    trials: int
    """number of trials that failed for it"""
    attempts: int
    """number of attempts that ended this way, including those whose trial was retried"""
    nodes: Mapping[str, int]
    """failed trials by the node of their last attempt, most first"""
    newest: int | None
    """number of the newest trial that failed for it"""
    regions: tuple[Region, ...]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "nodes": dict(self.nodes), "regions": [asdict(region) for region in self.regions]}


def group(state: JournalState, spans: Sequence[Span]) -> tuple[FailureGroup, ...]:
    """Failures by cause, the most frequent first, including causes whose trials were all retried."""
    trials: dict[str, list[int]] = {}
    for reason, number in state.endings:
        if reason:
            trials.setdefault(reason, []).append(number)
    attempts = Counter(span.how for span in spans if span.how in SUBSTITUTES)
    # an attempt given back at the time limit is not a failure
    attempts.pop(Reason.TIME_LIMIT.value, None)
    found = []
    regions = _regions(state, {reason: set(numbers) for reason, numbers in trials.items() if len(numbers) >= LEAST})
    for reason in sorted({*trials, *attempts}, key=lambda r: (-len(trials.get(r, ())), -attempts[r], r)):
        numbers = trials.get(reason, [])
        nodes = Counter(host for host in (host_of(state.trials[n]) for n in numbers) if host is not None)
        found.append(
            FailureGroup(
                reason=reason,
                trials=len(numbers),
                attempts=max(attempts[reason], len(numbers)),
                nodes=dict(nodes.most_common()),
                newest=numbers[-1] if numbers else None,
                regions=regions.get(reason, ()),
            )
        )
    return tuple(found)


def _regions(state: JournalState, failed: Mapping[str, set[int]]) -> dict[str, tuple[Region, ...]]:
    """Regions by cause that chance does not explain, the clearest first, at most one per parameter."""
    if not failed:
        return {}
    ended = [state.trials[number] for _, number in state.endings[-LOOK_BACK:]]
    ended = [
        trial for trial in ended if trial.attempt
    ]  # without an attempt it took another trial's result and never ran
    columns = _columns(ended)
    candidates = [(name, *cut) for name, column in columns.items() for cut in _cuts(column)]
    looked_at = len(candidates) * len(failed)
    found: dict[str, tuple[Region, ...]] = {}
    for reason, numbers in failed.items():
        is_failed = [trial.number in numbers for trial in ended]
        regions = []
        for name, relation, value in candidates:
            inside = [_holds(v, relation, value) for v in columns[name]]
            region = _region(name, relation, value, inside=inside, failed=is_failed, looked_at=looked_at)
            if region is not None:
                regions.append(region)
        best: dict[str, Region] = {}
        for region in sorted(regions, key=lambda r: (r.p, -r.failed)):
            best.setdefault(region.parameter, region)
        found[reason] = tuple(list(best.values())[:SHOWN])
    return found


def _columns(trials: Sequence[ScannedTrial]) -> dict[str, Column]:
    """Values by parameter, for each that varied (derived ones excluded), and the nodes."""
    rows = [trial.params for trial in trials]
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, Column] = {name: [row.get(name) for row in rows] for name in names if name != NODE}
    columns[NODE] = [host_of(trial) for trial in trials]
    return {name: column for name, column in columns.items() if len({(type(v), v) for v in column}) > 1}


def _cuts(column: Column) -> Iterator[tuple[str, Value]]:
    """The regions of one parameter: each value if there are few, and the upper and lower parts of numbers."""
    values = {(type(value), value): value for value in column if value is not None}
    numeric = all(kind in (int, float) for kind, _ in values)
    if not numeric or len(values) <= FEW:
        yield from (("==", value) for value in values.values())
    if not numeric or len(values) < 2:
        return
    ordered = sorted(float(value) for value in values.values())
    if len(values) > FEW:
        tried = sorted(float(value) for value in column if value is not None)
        ordered = sorted({tried[len(tried) * quarter // 4] for quarter in (1, 2, 3)} - {tried[0]})
    else:
        ordered = ordered[1:]
    exact = {float(value): value for value in values.values()}
    for cut in ordered:
        yield ">=", exact[cut]
        yield "<", exact[cut]


def _holds(value: Value | None, relation: str, bound: Value) -> bool:
    if value is None:
        return False
    if relation == "==":
        return type(value) is type(bound) and value == bound
    is_above = float(value) >= float(bound)
    return is_above if relation == ">=" else not is_above


def _region(
    name: str, relation: str, value: Value, *, inside: Sequence[bool], failed: Sequence[bool], looked_at: int
) -> Region | None:
    ended_in, all_failed = sum(inside), sum(failed)
    failed_in = sum(map(min, inside, failed))
    ended_out, failed_out = len(inside) - ended_in, all_failed - failed_in
    if failed_in < LEAST or ended_out == 0 or failed_in * ended_out < TIMES * failed_out * ended_in:
        return None
    p = looked_at * chance_of_share(failed_in, ended_in, all_failed, len(inside))
    if p > LEVEL:
        return None
    return Region(
        parameter=name,
        relation=relation,
        value=value,
        failed=failed_in,
        ended=ended_in,
        failed_elsewhere=failed_out,
        ended_elsewhere=ended_out,
        p=p,
    )
