"""What follows from a failure: another attempt, the end of the trial, the end of the sweep. Pure decisions."""

from __future__ import annotations

from hpo_batch.records import Reason
from hpo_batch.store.scan import JournalState
from hpo_batch.store.scanned_trial import ScannedTrial
from hpo_batch.sweep.schema import Sweep

FAILED_ENDINGS = frozenset(reason.value for reason in Reason) - {Reason.TIME_LIMIT.value}
"""endings of attempts that count against ``max_attempts``; "time_limit" is also how an ordered give-back ends"""


def retries(sweep: Sweep, trial: ScannedTrial, reason: Reason) -> bool:
    """Whether a trial whose newest attempt failed for ``reason`` gets another one. Ordered give-backs do not count."""
    earlier = sum(1 for n in range(1, trial.attempt) if trial.ending(n).get("how") in FAILED_ENDINGS)
    return sweep.failures.policy(reason) == "retry" and earlier + 1 < sweep.study.max_attempts


def why_tripped(sweep: Sweep, state: JournalState) -> str | None:
    """Why the sweep should stop rather than burn its allocation; only failures since the last submission count."""
    failed, stop_after = state.failed_since_armed, sweep.failures.stop_after
    most = sweep.study.max_failed or max(state.target, stop_after)
    if failed >= most:
        return f"{failed} trials have failed (study.max_failed = {most}); submit again to go on"
    tail = state.endings[max(state.armed, len(state.endings) - stop_after) :]
    reasons = {reason for reason, _ in tail}
    if len(tail) == stop_after and len(reasons) == 1 and "" not in reasons:
        number = tail[-1][1]
        return (
            f"the last {len(tail)} trials all failed for the same reason ({tail[-1][0]}); "
            f"see 'hpo-batch logs {state.study_name} {number}', then submit again"
        )
    return None
