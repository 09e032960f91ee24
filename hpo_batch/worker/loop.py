"""The loop of a worker: claim a trial, run the objective on it, tell how it ended, claim again.

The only place where the study and the user's code meet: neither knows the other.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from hpo_batch.errors import StorageError, Superseded
from hpo_batch.records import Cause, Claim, Complete, Failed, GivenBack, Idle, IdleWhy, Outcome, Pruned, Stopping
from hpo_batch.worker.attempt import run_attempt
from hpo_batch.worker.context import WorkerContext
from hpo_batch.worker.settle import settle
from hpo_batch.worker.tally import Tally
from hpo_batch.worker.walltime import Fits

if TYPE_CHECKING:  # see context
    from hpo_batch.study.study import Study

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 2.0
"""how often a worker without a trial looks whether those who hold the rest have died"""


def work(context: WorkerContext) -> Tally:
    """Run trials until there is none for this worker, or it is told to stop.

    Raises:
        StorageError: the journal, or the trials' own files, cannot be written, also not after waiting.
    """
    loop = _Loop(context)
    while loop.has_next():
        claim = loop.claim()
        if claim is None:
            continue
        outcome = loop.run(claim)
        if outcome is None or context.is_over():
            continue
        if isinstance(outcome, GivenBack) and outcome.cause is Cause.STORAGE:
            loop.wait_for_storage()
            continue
        loop.note(outcome)
    return context.tally


class _Loop:
    """Where the loop stands between two of its steps."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._fits = Fits(context.study, context.place, n_params=context.n_params)
        self._pauses = self._new_pauses()
        self._claimed: tuple[Claim, ...] | Idle | None = None
        """what came of the next claim, if the end of the last trial was told together with it"""
        self._is_over = False

    def has_next(self) -> bool:
        """Whether to claim another trial; one that is claimed already is run, whatever SLURM has said since."""
        if self._is_over or self._context.is_over():
            return False
        return self._claimed is not None or not self._is_stopping()

    def claim(self) -> Claim | None:
        """The next trial; None if there is none now, or none for this worker any more."""
        if self._claimed is None:
            self._look()
        answer, self._claimed = self._claimed or self._context.study.claim(fits=self._fits), None
        if not isinstance(answer, Idle):
            return answer[0]
        if not self._may_change(answer):
            self._end(answer)
        return None

    def run(self, claim: Claim) -> Outcome | GivenBack | None:
        """Run an attempt and tell how it ended; None if the trial has gone on elsewhere."""
        context, study = self._context, self._context.study
        began = time.time()
        try:
            outcome = run_attempt(context, claim)
            goes_on = isinstance(outcome, Complete | Pruned) and not self._is_stopping() and not context.is_over()
            if goes_on:
                self._look()
            self._claimed = settle(context, claim, outcome, began=began, fits=self._fits if goes_on else None)
            return outcome
        except Superseded as error:
            log.warning("%s: its outcome does not count", error)
            if study.is_followed(claim):
                log.warning("SLURM has restarted this array task elsewhere; this worker exits")
                self._is_over = True
            return None
        except KeyboardInterrupt:
            with contextlib.suppress(StorageError):  # among them: its end was written already
                study.give_back(claim, Cause.CANCELLED)
            raise

    def wait_for_storage(self) -> None:
        """The trial's files could not be written: wait, longer each time in a row.

        Raises:
            StorageError: that was so for too long.
        """
        pause = next(self._pauses, None)
        if pause is None:
            name = self._context.study.home.name
            raise StorageError(f"the files of trials of '{name}' cannot be written (above); its trials wait")
        self._context.sleep(pause)

    def note(self, outcome: Outcome | GivenBack) -> None:
        """What an attempt's end means for this worker."""
        self._pauses = self._new_pauses()
        tally = self._context.tally
        if isinstance(outcome, GivenBack) and outcome.cause is not Cause.CHECKPOINTED:
            tally.stopped = Stopping(outcome.cause.value)
            self._is_over = True
        elif isinstance(outcome, Failed):
            tally.idle = _why_leave_node(self._context.study)
            self._is_over = tally.idle is not None

    def _may_change(self, idle: Idle) -> bool:
        """Whether to claim again at once, having waited where that may help."""
        context, study = self._context, self._context.study
        if idle.why is IdleWhy.IN_FLIGHT and study.is_in_doubt():
            # one of the workers that hold the rest may be dead: its trial would be ours
            while context.signals.received is None and study.is_in_doubt():
                # several looks for each duration of a lease: two with more than that between them prove no life
                context.sleep(min(LOOK_AGAIN_S, study.sweep.study.lease_s / 4))
            return True
        return idle.why is IdleWhy.NO_TIME and context.place.has_more_time(time.time())

    def _end(self, idle: Idle) -> None:
        if idle.why is IdleWhy.NO_TIME and self._fits.refusal:
            idle = replace(idle, detail=self._fits.refusal)
        detail = f" ({idle.detail})" if idle.detail else ""
        log.info("no more trials for this worker: %s%s", idle.why.value, detail)
        self._context.tally.idle = idle
        self._is_over = True

    def _is_stopping(self) -> bool:
        return self._context.signals.why(self._context.place.is_warned) is not None

    def _look(self) -> None:
        self._fits.look(saves=self._context.tally.saves)

    def _new_pauses(self) -> Iterator[float]:
        return iter(self._context.study.retry_pauses)


def _why_leave_node(study: Study) -> Idle | None:
    """Say so if it seems to be this node that makes trials fail; leave it if that is certain and others go on."""
    node = study.failing_here()
    if node is None:
        return None
    log.warning("node %s", node)
    if not node.is_to_blame or not study.others_live():
        return None
    log.warning(
        "no more trials for this worker: %s; look at the node, or leave it out with job.exclude", IdleWhy.BAD_NODE.value
    )
    return Idle(why=IdleWhy.BAD_NODE, detail=str(node))
