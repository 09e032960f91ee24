"""Record how an attempt ended: in the study, in the worker's tally and in the log."""

from __future__ import annotations

import logging
import time

from hpo_batch.records import Claim, Complete, GivenBack, Idle, Outcome, Pruned
from hpo_batch.store.checkpoints import moved_forward
from hpo_batch.worker.context import WorkerContext
from hpo_batch.worker.walltime import Fits

log = logging.getLogger(__name__)


def settle(
    context: WorkerContext, claim: Claim, ended: Outcome | GivenBack, *, began: float, fits: Fits | None = None
) -> tuple[Claim, ...] | Idle | None:
    """Record how an attempt ended.

    Args:
        began: start of the attempt, in seconds since the epoch.
        fits: if given, also claim the next trial.

    Returns:
        The result of the next claim; None without one.

    Raises:
        Superseded: another worker has the trial.
    """
    if isinstance(ended, GivenBack):
        _give_back(context, claim, ended, began=began)
        return None
    study = context.study
    answer = None
    if fits is None:
        study.tell(claim, ended)
    else:
        answer = study.tell_and_claim(claim, ended, fits=fits)
    note(context, claim, ended, began=began)
    return answer


def note(context: WorkerContext, claim: Claim, ended: Outcome, *, began: float) -> None:
    """Count and log an outcome that the study has recorded."""
    study, tally = context.study, context.tally
    seconds = time.time() - began
    tally.progress = tally.progress or study.has_ended(claim)
    if isinstance(ended, Complete):
        tally.complete += 1
        log.info("trial %s: %s after %.1f s", claim.number, ", ".join(f"{v:.6g}" for v in ended.values), seconds)
    elif isinstance(ended, Pruned):
        tally.pruned += 1
        log.info("trial %s: pruned at step %s after %.1f s", claim.number, ended.step, seconds)
    else:
        again = "" if study.has_ended(claim) else ", will be retried"
        tally.failed += not again
        why = f"{ended.reason.value}: {ended.message}"
        log.warning("trial %s: failed after %.1f s%s: %s", claim.number, seconds, again, why)


def _give_back(context: WorkerContext, claim: Claim, ended: GivenBack, *, began: float) -> None:
    study, tally, now = context.study, context.tally, time.time()
    had_full_walltime = context.place.was_whole(began, now)
    moved = moved_forward(study.home, claim.number, claim.attempt)
    study.give_back(claim, ended.cause, had_full_walltime=had_full_walltime, usage=ended.usage)
    # one trial that used a full walltime without saving may be an exception, if others have finished
    is_exception = had_full_walltime and bool(study.newest_durations())
    has_ended = study.has_ended(claim)
    tally.progress = tally.progress or moved or has_ended or is_exception
    if has_ended:
        tally.failed += 1
        log.warning("trial %s: failed after %.1f s: %s", claim.number, now - began, study.why_failed(claim))
    else:
        tally.given_back += 1
        log.info("trial %s: given back after %.1f s (%s)", claim.number, now - began, ended.cause.value)
