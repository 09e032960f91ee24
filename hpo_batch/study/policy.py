"""What follows from a failure: another attempt, the end of the trial, the end of the sweep. Pure decisions."""

from __future__ import annotations

from hpo_batch.records import Reason
from hpo_batch.store.scan import JournalState, ScannedTrial
from hpo_batch.sweep.schema import Sweep

FAILED_ENDINGS = frozenset(reason.value for reason in Reason) - {Reason.TIME_LIMIT.value}
"""endings of attempts that count against ``max_attempts``; "time_limit" is also how an ordered give-back ends"""


def retries(sweep: Sweep, trial: ScannedTrial, reason: Reason) -> bool:
    """Whether a trial whose attempt failed for ``reason`` gets another one. Ordered give-backs do not count."""
    failed = sum(1 for n in range(1, trial.attempt + 1) if trial.ending(n).get("how") in FAILED_ENDINGS)
    return sweep.failures.policy(reason) == "retry" and failed + 1 < sweep.study.max_attempts


def why_tripped(sweep: Sweep, state: JournalState) -> str | None:
    """Why the sweep should stop rather than burn its allocation; only failures since the last submission count."""
    since = float(state.attrs.get("hpo:armed", 0.0))
    recent = [(reason, number) for time, reason, number in state.endings if time >= since]
    failed = sum(1 for reason, _ in recent if reason)
    most = sweep.study.max_failed or max(state.target, sweep.failures.stop_after)
    if failed >= most:
        return f"{failed} trials have failed (study.max_failed = {most})"
    tail = [reason for reason, _ in recent[-sweep.failures.stop_after :]]
    if len(tail) == sweep.failures.stop_after and tail[0] and len(set(tail)) == 1:
        number = recent[-1][1]
        return (
            f"the last {len(tail)} trials all failed for the same reason ({tail[0]}); "
            f"see 'hpo-batch logs {state.study_name} {number}', then submit again"
        )
    return None
