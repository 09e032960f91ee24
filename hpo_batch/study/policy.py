"""Decide what follows a failure: another attempt, a failed trial, or a stopped sweep. Pure functions."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Cause, Reason, TrialState
from hpo_batch.store import nodes
from hpo_batch.study.stop_rules import StopRules
from hpo_batch.sweep.walltime import format_walltime
from hpo_batch.text.numbers import count

if TYPE_CHECKING:
    from hpo_batch.sweep.schema import Sweep

# endings of failed attempts; without "time_limit", which is also how an attempt is given back
FAILED_ENDINGS: Final = frozenset(reason.value for reason in Reason) - {Reason.TIME_LIMIT.value}
# Endings that count against ``max_attempts`` unless the attempt saved a newer checkpoint. Exit code 75 (EX_TEMPFAIL of
# sysexits.h, https://man.freebsd.org/sysexits) counts too: a command that asks to continue later but saves nothing
# would otherwise be restarted for ever.
COUNTED_ENDINGS: Final = FAILED_ENDINGS | {Cause.CHECKPOINTED.value}
# per trial, whatever they saved: code that writes a new file each time and then fails must not be retried for ever
MOST_FAILED_ATTEMPTS: Final = 100
# a trial without a checkpoint is too long after the time limit has ended so many attempts; the second one rules out a
# slow node
MOST_CUT: Final = 2
# a sweep without any finished trial stops after ``stop_after`` times this many failures, whatever their reasons
NOTHING_WORKS: Final = 3
# A sweep in which no trial has ever had a result stops after so many that trained to their end and reported none: it is
# the code that reports nothing, and each further trial costs a whole training. One alone may have diverged.
NEVER_REPORTED: Final = 2


def retries(sweep: Sweep, trial: ScannedTrial, reason: Reason, *, moved: bool) -> bool:
    """Whether a trial whose newest attempt failed for ``reason`` gets another one.

    Args:
        moved: whether that attempt saved a newer checkpoint; if so, it does not count.
    """
    if sweep.failures.policy(reason) != "retry":
        return False
    failed = sum(1 for n in range(1, trial.attempt) if trial.ending(n).get("how") in FAILED_ENDINGS)
    return _spent(trial) + (not moved) < sweep.study.max_attempts and failed + 1 < MOST_FAILED_ATTEMPTS


def why_given_up(
    sweep: Sweep, trial: ScannedTrial, cause: Cause, *, moved: bool, had_full_walltime: bool, seconds: float
) -> tuple[Reason, str] | None:
    """Why a trial fails although its newest attempt was given back: it could never finish.

    Args:
        had_full_walltime: whether that attempt had about all the time that a worker has.
        seconds: how long it ran.

    Returns:
        Reason and message; None if the trial waits for its next attempt.
    """
    if moved:
        return None
    if cause is Cause.TIME_LIMIT and had_full_walltime:
        cut = [trial.ending(n) for n in range(1, trial.attempt) if _was_cut(trial.ending(n))]
        most = sweep.study.max_attempts if sweep.failures.time_limit == "retry" else MOST_CUT
        if len(cut) + 1 >= most:
            times = [format_walltime(s) for s in (*(ending["seconds"] for ending in cut), seconds)]
            newer = "newer " if any(trial.ending(n).get("moved") for n in range(1, trial.attempt)) else ""
            return Reason.TIME_LIMIT, (
                f"needs more than the walltime ({format_walltime(sweep.job.walltime)}) and saves no {newer}checkpoint: "
                f"the time limit ended attempts after {', '.join(times)}; save checkpoints in trial.checkpoint, or "
                f"raise job.walltime"
            )
    spent = _spent(trial) + 1
    if cause is Cause.CHECKPOINTED and spent >= sweep.study.max_attempts:
        return Reason.EXIT_CODE, (
            f"exit code 75 (continue later) without a newer checkpoint in HPO_BATCH_CHECKPOINT_DIR; attempts without "
            f"progress: {spent} (study.max_attempts = {sweep.study.max_attempts})"
        )
    return None


def _spent(trial: ScannedTrial) -> int:
    """Attempts before the newest that count against ``max_attempts``."""
    endings = (trial.ending(n) for n in range(1, trial.attempt))
    return sum(1 for ending in endings if ending.get("how") in COUNTED_ENDINGS and not ending.get("moved"))


def _was_cut(ending: Mapping[str, Any]) -> bool:
    """Whether the time limit ended the attempt after a full walltime, without a newer checkpoint."""
    return ending.get("how") == Cause.TIME_LIMIT and bool(ending.get("whole")) and not ending.get("moved")


class Tripped(Struct, frozen=True, kw_only=True):
    """Why a sweep has stopped by itself."""

    study: str
    why: str
    trial: int
    """one of the failed trials"""

    def __str__(self) -> str:
        look, go_on = f"hpo-batch logs {self.study} {self.trial}", f"hpo-batch resume {self.study}"
        return f"{self.why}; see '{look}', then '{go_on}'"


def why_tripped(rules: StopRules, state: JournalState) -> Tripped | None:
    """Why the sweep should stop instead of wasting its allocation; only failures since the last submission count.

    It stops after ``stop_after`` failures in a row for the same reason, or after three times as many for any reasons if
    no trial has finished; after two without a result if no trial has ever had one. One more failure is required for
    each running trial that started before the newest failure and so outlived it: where some configurations fail at
    once, many do so before the first good one finishes.
    """
    failed, stop_after = state.failed_since_armed, rules.stop_after
    most = rules.max_failed or max(state.target, stop_after)
    name = str(state.study_name)  # a journal without a study has no trials
    if failed >= most:
        newest = next(number for reason, number in reversed(state.endings) if reason)
        return Tripped(
            study=name,
            why=f"{count(failed, 'trial has', 'trials have')} failed (study.max_failed = {most})",
            trial=newest,
        )
    if failed < min(stop_after, NEVER_REPORTED):
        return None
    row = _last_failures(state, at_most=NOTHING_WORKS * stop_after + len(state.by_state[TrialState.RUNNING]))
    alike = list(itertools.takewhile(lambda ending: ending[0] == row[0][0], row))
    if _never_reported(state, alike) and _is_enough(state, alike, min(stop_after, NEVER_REPORTED)):
        why = f"no trial has reported a result, and {len(alike)} ran to their end"
        return Tripped(study=name, why=why, trial=alike[0][1])
    if _is_enough(state, alike, stop_after):
        why = f"the last {len(alike)} trials all failed for the same reason ({alike[0][0]})"
        return Tripped(study=name, why=why, trial=alike[0][1])
    if failed == len(state.endings) - state.armed and _is_enough(state, row, NOTHING_WORKS * stop_after):
        counts = ", ".join(f"{count} {reason}" for reason, count in Counter(reason for reason, _ in row).most_common())
        why = f"no trial has finished, and the last {len(row)} all failed ({counts})"
        return Tripped(study=name, why=why, trial=row[0][1])
    return None


def _never_reported(state: JournalState, alike: Sequence[tuple[str, int]]) -> bool:
    finished = state.by_state[TrialState.COMPLETE] or state.by_state[TrialState.PRUNED]
    return not finished and alike[0][0] == Reason.NO_RESULT


def _last_failures(state: JournalState, *, at_most: int) -> list[tuple[str, int]]:
    """(reason, number) of the trials that failed since the last finished one, newest first.

    Trials that took the result of an earlier one are skipped: they never ran, so they prove nothing.
    """
    row: list[tuple[str, int]] = []
    for place in range(len(state.endings) - 1, state.armed - 1, -1):
        reason, number = state.endings[place]
        if "repeats" in state.trials[number].facts:
            continue
        if not reason or len(row) == at_most:
            break
        row.append((reason, number))
    return row


def _is_enough(state: JournalState, row: Sequence[tuple[str, int]], most: int) -> bool:
    """Whether a row of failures means that the sweep is broken, rather than some configurations or one node."""
    if len(row) < most:
        return False
    newest = max(number for _, number in row)
    if len(row) < most + len(nodes.outliving(state, newest)):
        return False
    hosts = {nodes.host_of(state.trials[number]) for _, number in row}
    running = {nodes.host_of(state.trials[number]) for number in state.by_state[TrialState.RUNNING]}
    if len(hosts) > 1 or running <= hosts | {None}:
        return True
    # one node may be to blame; its workers leave once that is certain, see worker/loop.py
    return all(node.node not in hosts for node in nodes.failing_nodes(state))
