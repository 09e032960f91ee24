"""A worker's loop: claim a trial, run the objective, record the outcome, claim again.

The only place where the study and the user's code meet.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hpo_batch.errors import StorageError, Superseded, UserError
from hpo_batch.objective.function import FunctionObjective
from hpo_batch.records import Cause, Claim, Complete, Failed, GivenBack, Idle, IdleWhy, Outcome, Pruned, Stopping
from hpo_batch.worker.attempt import run_attempt
from hpo_batch.worker.context import WorkerContext
from hpo_batch.worker.fused import Fused
from hpo_batch.worker.settle import settle
from hpo_batch.worker.tally import Tally
from hpo_batch.worker.walltime import Fits

if TYPE_CHECKING:  # see context
    from hpo_batch.study.study import Study

log = logging.getLogger(__name__)

# seconds between looks of an idle worker for dead ones among those that run the remaining trials
LOOK_AGAIN_S = 2.0
# such looks of a worker for GPU memory, until that of a process which is just ending must be free
MEMORY_LOOKS = 30


def work(context: WorkerContext) -> Tally:
    """Run trials until there is none for this worker, or it is told to stop.

    Raises:
        StorageError: the journal or the trials' files still cannot be written after all retries.
        UserError: no trial could be started, since too little GPU memory was free.
    """
    loop = _Loop(context)
    while loop.has_next():
        claims = loop.claim()
        if not claims:
            continue
        outcome = loop.run(claims)
        if outcome is None or context.is_over():
            continue
        if isinstance(outcome, GivenBack) and outcome.cause is Cause.STORAGE:
            loop.wait_for_storage()
            continue
        loop.note(outcome)
    return context.tally


class _Loop:
    """State of the loop between two steps."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._fits = Fits(context.study, context.place, n_params=context.n_params)
        self._pauses = self._new_pauses()
        self._claimed: tuple[Claim, ...] | Idle | None = None
        """result of the next claim, if it was made together with recording the last trial"""
        self._is_over = False
        self._has_begun = False
        """whether this worker has run a trial"""
        self._fused = Fused.of(context)

    def has_next(self) -> bool:
        """Whether to go on; a trial that is already claimed is run even if a signal has arrived since."""
        if self._is_over or self._context.is_over():
            return False
        return self._claimed is not None or not self._is_stopping()

    def claim(self) -> tuple[Claim, ...]:
        """The next trial, or those of the next block; none if there is none at the moment, or none for this worker."""
        if self._claimed is None:
            if lacking := self._await_gpu_memory():
                if not self._has_begun:  # as for a GPU that is not there, so that `status` says it
                    raise UserError(f"on {self._context.study.owner.host}: {lacking}; no trial was started")
                self._end(Idle(why=IdleWhy.GPU_MEMORY, detail=lacking))
                return ()
            self._look()
        fused = self._fused
        answer = self._claimed or self._context.study.claim(fused.size, fits=self._fits, alike=fused.alike)
        self._claimed = None
        if not isinstance(answer, Idle):
            return answer
        if not self._may_change(answer):
            self._end(answer)
        return ()

    def run(self, claims: tuple[Claim, ...]) -> Outcome | GivenBack | None:
        """Run a trial or a block and record all ends; None if there is nothing to decide by."""
        self._has_begun = True
        if self._fused.alike is None:
            return self._run_alone(claims[0])
        ended = self._fused.run(claims, fits=self._fits)
        self._is_over = self._is_over or ended.is_followed
        outcomes = list(ended.outcomes)
        for claim in ended.alone:
            if outcome := self._run_alone(claim, again=True):
                outcomes.append(outcome)
        return _weightiest(outcomes)

    def _run_alone(self, claim: Claim, *, again: bool = False) -> Outcome | GivenBack | None:
        """Run an attempt and record its end; None if another worker has the trial.

        Args:
            claim: of the trial.
            again: whether it comes from a block that failed.
        """
        context, study = self._context, self._context.study
        began = time.time()
        try:
            outcome = run_attempt(context, claim, again=again)
            goes_on = isinstance(outcome, Complete | Pruned) and not self._is_stopping() and not context.is_over()
            goes_on = goes_on and not again and self._fused.alike is None and not self._lacks_gpu_memory()
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
            with contextlib.suppress(StorageError):  # includes Superseded: its end may have been written already
                study.give_back(claim, Cause.CANCELLED)
            raise

    def wait_for_storage(self) -> None:
        """Wait after the trial's files could not be written, longer each time in a row.

        Raises:
            StorageError: there were too many such errors in a row.
        """
        pause = next(self._pauses, None)
        if pause is None:
            name = self._context.study.home.name
            raise StorageError(f"cannot write the files of trials of '{name}' (see above); its trials wait")
        self._context.sleep(pause)

    def note(self, outcome: Outcome | GivenBack) -> None:
        """Decide what an attempt's end means for this worker."""
        self._pauses = self._new_pauses()
        tally = self._context.tally
        if isinstance(outcome, GivenBack) and outcome.cause is not Cause.CHECKPOINTED:
            tally.stopped = Stopping(outcome.cause.value)
            self._is_over = True
        elif isinstance(outcome, Failed):
            tally.idle = _why_leave_node(self._context.study)
            self._is_over = tally.idle is not None

    def _may_change(self, idle: Idle) -> bool:
        """Whether to claim again; waits where that may help."""
        context, study = self._context, self._context.study
        if idle.why is IdleWhy.IN_FLIGHT and study.is_in_doubt():
            # a worker that runs one of the remaining trials may be dead; this worker could take over its trial
            while context.signals.received is None and study.is_in_doubt():
                # at least four looks per lease duration: two looks further apart than that cannot prove life
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

    def _lacks_gpu_memory(self) -> str:
        check = self._context.gpu_memory
        has_run = self._has_begun and isinstance(self._context.objective, FunctionObjective)
        return "" if check is None else check.lacks(has_run=has_run)

    def _await_gpu_memory(self) -> str:
        """Wait for the memory that a trial needs; what is missing if it does not become free."""
        for look in range(MEMORY_LOOKS):
            lacking = self._lacks_gpu_memory()
            if not lacking or self._is_stopping():
                return ""
            if look == 0:
                log.warning("waiting up to %g s: %s", MEMORY_LOOKS * LOOK_AGAIN_S, lacking)
            self._context.sleep(LOOK_AGAIN_S)
        return lacking

    def _is_stopping(self) -> bool:
        return self._context.signals.why(self._context.place.is_warned) is not None

    def _look(self) -> None:
        self._fits.look(saves=self._context.tally.saves)

    def _new_pauses(self) -> Iterator[float]:
        return iter(self._context.study.retry_pauses)


def _weightiest(outcomes: Sequence[Outcome | GivenBack]) -> Outcome | GivenBack | None:
    """Of the ends of a block, the one that decides what the worker does next."""

    def weight(ended: Outcome | GivenBack) -> int:
        if isinstance(ended, GivenBack):
            return 3 if ended.cause is Cause.STORAGE else 2 if ended.cause is not Cause.CHECKPOINTED else 0
        return isinstance(ended, Failed)

    return max(outcomes, key=weight, default=None)


def _why_leave_node(study: Study) -> Idle | None:
    """Warn if trials seem to fail because of this node; a reason to leave it if that is certain and others go on."""
    node = study.failing_here()
    if node is None:
        return None
    log.warning("node %s", node)
    if not node.is_to_blame or not study.others_live():
        return None
    log.warning(
        "no more trials for this worker: %s; check the node, or exclude it with job.exclude", IdleWhy.BAD_NODE.value
    )
    return Idle(why=IdleWhy.BAD_NODE, detail=str(node))
